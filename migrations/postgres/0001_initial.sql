-- Keyward on PostgreSQL. `sqlite/` holds the same tables under the same names; a test compares them.
-- Times are microseconds since 1970-01-01 UTC.

-- The newest control change: one row, moved by compare-and-set in the change's own transaction.
CREATE TABLE control_head (
    one          BIGINT  NOT NULL PRIMARY KEY CHECK (one = 1),
    revision     BIGINT  NOT NULL CHECK (revision > 0),
    hash         BYTEA   NOT NULL CHECK (length(hash) = 32),
    state_digest BYTEA   NOT NULL CHECK (length(state_digest) = 32),
    mac          BYTEA   NOT NULL CHECK (length(mac) = 32)
);

-- Control state. Rows are replaced, never deleted.
CREATE TABLE control_rows (
    kind     TEXT    NOT NULL,
    id       UUID    NOT NULL,
    revision BIGINT  NOT NULL CHECK (revision > 0),
    body     TEXT    NOT NULL,
    mac      BYTEA   NOT NULL CHECK (length(mac) = 32),
    PRIMARY KEY (kind, id)
);

CREATE INDEX control_rows_by_revision ON control_rows (revision);

-- How control state came to be: one row for each revision, each with the hash of the one before.
CREATE TABLE control_changes (
    revision     BIGINT  NOT NULL PRIMARY KEY CHECK (revision > 0),
    change_id    UUID    NOT NULL UNIQUE,
    digest       BYTEA   NOT NULL CHECK (length(digest) = 32),
    body         TEXT    NOT NULL,
    principal    UUID,
    committed_at BIGINT  NOT NULL,
    previous     BYTEA   NOT NULL CHECK (length(previous) = 32),
    hash         BYTEA   NOT NULL CHECK (length(hash) = 32),
    state_digest BYTEA   NOT NULL CHECK (length(state_digest) = 32),
    mac          BYTEA   NOT NULL CHECK (length(mac) = 32),
    rows         TEXT    NOT NULL,
    receipt      TEXT
);

-- The installation's own secrets, wrapped by the system key in the HSM.
CREATE TABLE system_secrets (
    label      TEXT    NOT NULL,
    version    BIGINT  NOT NULL CHECK (version > 0),
    wrapped    BYTEA   NOT NULL,
    created_at BIGINT  NOT NULL,
    PRIMARY KEY (label, version)
);

-- The two objects in the HSM that an installation begins with, and its identity: one row.
CREATE TABLE hsm_roots (
    one              BIGINT  NOT NULL PRIMARY KEY CHECK (one = 1),
    installation     UUID    NOT NULL,
    system_object    UUID    NOT NULL,
    system_canary    BYTEA   NOT NULL,
    audit_object     UUID    NOT NULL,
    audit_public_key TEXT    NOT NULL,
    created_at       BIGINT  NOT NULL
);

-- Every object this installation made in the HSM, from before it was made.
CREATE TABLE hsm_objects (
    object     UUID    NOT NULL PRIMARY KEY,
    key_id     UUID    NOT NULL,
    version    BIGINT  NOT NULL CHECK (version > 0),
    state      TEXT    NOT NULL CHECK (state IN ('creating', 'live', 'abandoned')),
    maker      UUID    NOT NULL,
    created_at BIGINT  NOT NULL
);

CREATE INDEX hsm_objects_not_live ON hsm_objects (state) WHERE state <> 'live';

-- One hash chain of records for each run of a node. `number` stands for the node in `audit_records`: it is short.
CREATE TABLE audit_chains (
    number           BIGINT  NOT NULL PRIMARY KEY CHECK (number > 0),
    node             UUID    NOT NULL UNIQUE,
    predecessor      UUID,
    predecessor_head BYTEA            CHECK (length(predecessor_head) = 32),
    public_key       BYTEA   NOT NULL CHECK (length(public_key) = 32),
    certification    BYTEA   NOT NULL CHECK (length(certification) = 64),
    head_sequence    BIGINT  NOT NULL CHECK (head_sequence >= 0),
    head_hash        BYTEA   NOT NULL CHECK (length(head_hash) = 32),
    head_signature   BYTEA   NOT NULL CHECK (length(head_signature) = 64),
    closed           BOOLEAN NOT NULL
);

-- Records of committed control changes that no chain holds yet.
CREATE TABLE audit_intents (
    change_id UUID    NOT NULL PRIMARY KEY,
    node      UUID    NOT NULL,
    revision  BIGINT  NOT NULL CHECK (revision > 0),
    record    BYTEA   NOT NULL
);

-- The records. `leaf` is what counts; the other columns repeat what searches need. `head_signature` stands on the last
-- record of each batch.
CREATE TABLE audit_records (
    chain          BIGINT  NOT NULL,
    sequence       BIGINT  NOT NULL,
    at             BIGINT  NOT NULL,
    request_id     UUID    NOT NULL,
    principal      UUID,
    action         TEXT    NOT NULL,
    outcome        TEXT    NOT NULL,
    key_id         UUID,
    data_key       UUID,
    context_digest BYTEA,
    change_id      UUID,
    leaf           BYTEA   NOT NULL,
    head_signature BYTEA,
    PRIMARY KEY (chain, sequence)
);

CREATE INDEX audit_records_by_time ON audit_records (at);
CREATE INDEX audit_records_by_request ON audit_records (request_id);
CREATE INDEX audit_records_by_principal ON audit_records (principal, at) WHERE principal IS NOT NULL;
CREATE INDEX audit_records_by_key ON audit_records (key_id, at) WHERE key_id IS NOT NULL;
CREATE INDEX audit_records_by_data_key ON audit_records (data_key) WHERE data_key IS NOT NULL;
CREATE INDEX audit_records_by_context ON audit_records (context_digest) WHERE context_digest IS NOT NULL;
CREATE INDEX audit_records_by_change ON audit_records (change_id) WHERE change_id IS NOT NULL;
-- What is frequent is found by time; these hold the rest.
CREATE INDEX audit_records_not_allowed ON audit_records (outcome, at) WHERE outcome <> 'allowed';
CREATE INDEX audit_records_by_action ON audit_records (action, at)
    WHERE action NOT IN ('generate', 'generate_without_plaintext', 'wrap', 'unwrap', 'rewrap');
