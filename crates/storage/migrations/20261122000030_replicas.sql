-- The processes that serve this database at the moment. While there is more than one, a request first waits for what the
-- others have committed, so that whoever was told that something is done sees it done everywhere.

CREATE TABLE replicas (
    replica TEXT PRIMARY KEY,
    alive_until BIGINT NOT NULL
);
COMMENT ON COLUMN replicas.alive_until IS 'Milliseconds since the epoch, by the clock of the database.';
