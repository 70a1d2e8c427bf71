-- How many wraps under each version nodes have reserved: never fewer than were made.
CREATE TABLE wrap_counts (
    key_id   BLOB    NOT NULL CHECK (length(key_id) = 16),
    version  INTEGER NOT NULL CHECK (version > 0),
    reserved INTEGER NOT NULL CHECK (reserved BETWEEN 1 AND 2147483648),
    PRIMARY KEY (key_id, version)
) STRICT, WITHOUT ROWID;

-- How much of the waiting period before a key's destruction was really observed by some node. `basis` is the revision from
-- which it counts; the tag covers all but `seen_at`.
CREATE TABLE deletion_watches (
    key_id   BLOB    NOT NULL PRIMARY KEY CHECK (length(key_id) = 16),
    basis    INTEGER NOT NULL CHECK (basis > 0),
    node     BLOB    NOT NULL CHECK (length(node) = 16),
    observed INTEGER NOT NULL CHECK (observed >= 0),
    seen_at  INTEGER NOT NULL,
    mac      BLOB    NOT NULL CHECK (length(mac) = 32)
) STRICT, WITHOUT ROWID;
