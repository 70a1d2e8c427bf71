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
