-- How many wraps under each version nodes have reserved: never fewer than were made.
CREATE TABLE wrap_counts (
    key_id   UUID   NOT NULL,
    version  BIGINT NOT NULL CHECK (version > 0),
    reserved BIGINT NOT NULL CHECK (reserved BETWEEN 1 AND 2147483648),
    PRIMARY KEY (key_id, version)
);

-- How much of the waiting period before a key's destruction was really observed by some node. `basis` is the revision from
-- which it counts; the tag covers all but `seen_at`.
CREATE TABLE deletion_watches (
    key_id   UUID   NOT NULL PRIMARY KEY,
    basis    BIGINT NOT NULL CHECK (basis > 0),
    node     UUID   NOT NULL,
    observed BIGINT NOT NULL CHECK (observed >= 0),
    seen_at  BIGINT NOT NULL,
    mac      BYTEA  NOT NULL CHECK (length(mac) = 32)
);
