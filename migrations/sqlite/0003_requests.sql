-- Idempotency keys (draft-ietf-httpapi-idempotency-key-header): written in the transaction of the change that was asked for
-- under them, so that a repetition finds the change or there is none.
CREATE TABLE idempotency_keys (
    principal  BLOB    NOT NULL CHECK (length(principal) = 16),
    name       TEXT    NOT NULL,
    digest     BLOB    NOT NULL CHECK (length(digest) = 32),
    change_id  BLOB    NOT NULL CHECK (length(change_id) = 16),
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (principal, name)
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_keys_by_expiry ON idempotency_keys (expires_at);

-- Changes that were accepted to be made later, and what became of them: whoever was told "accepted" can ask, after a crash too.
CREATE TABLE operations (
    change_id   BLOB NOT NULL PRIMARY KEY CHECK (length(change_id) = 16),
    request_id  BLOB NOT NULL CHECK (length(request_id) = 16),
    principal   BLOB NOT NULL CHECK (length(principal) = 16),
    node        BLOB NOT NULL CHECK (length(node) = 16),
    kind        TEXT NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('running', 'succeeded', 'failed', 'unknown')),
    code        TEXT,
    detail      TEXT,
    accepted_at INTEGER NOT NULL,
    finished_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX operations_by_time ON operations (accepted_at);
