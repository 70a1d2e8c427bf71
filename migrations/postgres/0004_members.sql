-- The nodes whose answers a control change waits for: one row each, from before a node reads control state until it has left
-- or its lease is surely over. `joining`, which no other joining has, and `renewals` tell whether it still renews; `revision`
-- what it has applied and drained.
CREATE TABLE members (
    node      UUID   NOT NULL PRIMARY KEY,
    kind      TEXT   NOT NULL CHECK (kind IN ('server', 'host')),
    address   TEXT   NOT NULL,
    region    TEXT   NOT NULL,
    version   TEXT   NOT NULL,
    joined_at BIGINT NOT NULL,
    joining   BIGINT NOT NULL CHECK (joining > 0),
    renewals  BIGINT NOT NULL CHECK (renewals >= 0),
    revision  BIGINT NOT NULL CHECK (revision >= 0)
);

-- What all members agree on, and how often somebody has joined: one row.
CREATE TABLE agreement (
    one      BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
    joins    BIGINT NOT NULL CHECK (joins > 0),
    settings TEXT   NOT NULL
);
