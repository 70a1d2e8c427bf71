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

-- Changes that were accepted to be made later, and what became of them: whoever was told "accepted" can ask, after a crash too.
CREATE TABLE operations (
    change_id   UUID NOT NULL PRIMARY KEY,
    request_id  UUID NOT NULL,
    principal   UUID NOT NULL,
    node        UUID NOT NULL,
    kind        TEXT NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('running', 'succeeded', 'failed', 'unknown')),
    code        TEXT,
    detail      TEXT,
    accepted_at BIGINT NOT NULL,
    finished_at BIGINT
);

CREATE INDEX operations_by_time ON operations (accepted_at);
