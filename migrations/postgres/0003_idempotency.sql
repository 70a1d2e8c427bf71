-- Idempotency keys (draft-ietf-httpapi-idempotency-key-header): written in the transaction of the change that was asked for
-- under them, so that a repetition finds the change or there is none.
CREATE TABLE idempotency_keys (
    principal  UUID    NOT NULL,
    name       TEXT    NOT NULL,
    digest     BYTEA   NOT NULL CHECK (length(digest) = 32),
    change_id  UUID    NOT NULL,
    expires_at BIGINT  NOT NULL,
    PRIMARY KEY (principal, name)
);

CREATE INDEX idempotency_keys_by_expiry ON idempotency_keys (expires_at);
