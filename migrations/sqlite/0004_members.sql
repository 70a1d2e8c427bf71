-- The nodes whose answers a control change waits for: one row each, from before a node reads control state until it has left
-- or its lease is surely over. `joining`, which no other joining has, and `renewals` tell whether it still renews; `revision`
-- what it has applied and drained.
CREATE TABLE members (
    node      BLOB    NOT NULL PRIMARY KEY CHECK (length(node) = 16),
    kind      TEXT    NOT NULL CHECK (kind IN ('server', 'host')),
    address   TEXT    NOT NULL,
    region    TEXT    NOT NULL,
    version   TEXT    NOT NULL,
    joined_at INTEGER NOT NULL,
    joining   INTEGER NOT NULL CHECK (joining > 0),
    renewals  INTEGER NOT NULL CHECK (renewals >= 0),
    revision  INTEGER NOT NULL CHECK (revision >= 0)
) STRICT;

-- What all members agree on, and how often somebody has joined: one row.
CREATE TABLE agreement (
    one      INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    joins    INTEGER NOT NULL CHECK (joins > 0),
    settings TEXT    NOT NULL
) STRICT;
