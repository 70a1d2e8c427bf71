-- Keyward on SQLite. `postgres/` holds the same tables under the same names; a test compares them.
-- UUIDs are 16 bytes, times are microseconds since 1970-01-01 UTC, booleans are 0 and 1.

-- The newest control change: one row, moved by compare-and-set in the change's own transaction.
CREATE TABLE control_head (
    one          INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    revision     INTEGER NOT NULL CHECK (revision > 0),
    hash         BLOB    NOT NULL CHECK (length(hash) = 32),
    state_digest BLOB    NOT NULL CHECK (length(state_digest) = 32),
    mac          BLOB    NOT NULL CHECK (length(mac) = 32)
) STRICT;

-- Control state. Rows are replaced, never deleted.
CREATE TABLE control_rows (
    kind     TEXT    NOT NULL,
    id       BLOB    NOT NULL CHECK (length(id) = 16),
    revision INTEGER NOT NULL CHECK (revision > 0),
    body     TEXT    NOT NULL,
    mac      BLOB    NOT NULL CHECK (length(mac) = 32),
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX control_rows_by_revision ON control_rows (revision);

-- How control state came to be: one row for each revision, each with the hash of the one before.
CREATE TABLE control_changes (
    revision     INTEGER NOT NULL PRIMARY KEY CHECK (revision > 0),
    change_id    BLOB    NOT NULL UNIQUE CHECK (length(change_id) = 16),
    digest       BLOB    NOT NULL CHECK (length(digest) = 32),
    body         TEXT    NOT NULL,
    principal    BLOB             CHECK (length(principal) = 16),
    committed_at INTEGER NOT NULL,
    previous     BLOB    NOT NULL CHECK (length(previous) = 32),
    hash         BLOB    NOT NULL CHECK (length(hash) = 32),
    state_digest BLOB    NOT NULL CHECK (length(state_digest) = 32),
    mac          BLOB    NOT NULL CHECK (length(mac) = 32),
    rows         TEXT    NOT NULL,
    receipt      TEXT
) STRICT;

-- The installation's own secrets, wrapped by the system key in the HSM.
CREATE TABLE system_secrets (
    label      TEXT    NOT NULL,
    version    INTEGER NOT NULL CHECK (version > 0),
    wrapped    BLOB    NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (label, version)
) STRICT, WITHOUT ROWID;

-- The two objects in the HSM that an installation begins with, and its identity: one row.
CREATE TABLE hsm_roots (
    one              INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    installation     BLOB    NOT NULL CHECK (length(installation) = 16),
    system_object    BLOB    NOT NULL CHECK (length(system_object) = 16),
    system_canary    BLOB    NOT NULL,
    audit_object     BLOB    NOT NULL CHECK (length(audit_object) = 16),
    audit_public_key TEXT    NOT NULL,
    created_at       INTEGER NOT NULL
) STRICT;

-- Every object this installation made in the HSM, from before it was made.
CREATE TABLE hsm_objects (
    object     BLOB    NOT NULL PRIMARY KEY CHECK (length(object) = 16),
    key_id     BLOB    NOT NULL CHECK (length(key_id) = 16),
    version    INTEGER NOT NULL CHECK (version > 0),
    state      TEXT    NOT NULL CHECK (state IN ('creating', 'live', 'abandoned')),
    maker      BLOB    NOT NULL CHECK (length(maker) = 16),
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX hsm_objects_not_live ON hsm_objects (state) WHERE state <> 'live';

-- One hash chain of records for each run of a node. `number` stands for the node in `audit_records`: it is short.
CREATE TABLE audit_chains (
    number           INTEGER NOT NULL PRIMARY KEY CHECK (number > 0),
    node             BLOB    NOT NULL UNIQUE CHECK (length(node) = 16),
    predecessor      BLOB             CHECK (length(predecessor) = 16),
    predecessor_head BLOB             CHECK (length(predecessor_head) = 32),
    public_key       BLOB    NOT NULL CHECK (length(public_key) = 32),
    certification    BLOB    NOT NULL CHECK (length(certification) = 64),
    head_sequence    INTEGER NOT NULL CHECK (head_sequence >= 0),
    head_hash        BLOB    NOT NULL CHECK (length(head_hash) = 32),
    head_signature   BLOB    NOT NULL CHECK (length(head_signature) = 64),
    closed           INTEGER NOT NULL CHECK (closed IN (0, 1))
) STRICT;

-- Records of committed control changes that no chain holds yet.
CREATE TABLE audit_intents (
    change_id BLOB    NOT NULL PRIMARY KEY CHECK (length(change_id) = 16),
    node      BLOB    NOT NULL CHECK (length(node) = 16),
    revision  INTEGER NOT NULL CHECK (revision > 0),
    record    BLOB    NOT NULL
) STRICT, WITHOUT ROWID;

-- The records. `leaf` is what counts; the other columns repeat what searches need. `head_signature` stands on the last
-- record of each batch.
-- With a row id: 585 bytes a record, indexes included, where WITHOUT ROWID takes 614.
CREATE TABLE audit_records (
    chain          INTEGER NOT NULL,
    sequence       INTEGER NOT NULL,
    at             INTEGER NOT NULL,
    request_id     BLOB    NOT NULL,
    principal      BLOB,
    action         TEXT    NOT NULL,
    outcome        TEXT    NOT NULL,
    key_id         BLOB,
    data_key       BLOB,
    context_digest BLOB,
    change_id      BLOB,
    leaf           BLOB    NOT NULL,
    head_signature BLOB,
    PRIMARY KEY (chain, sequence)
) STRICT;

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
