-- The log: one sequence of positions for everything that clients and followers must hear of.
--
-- A writer takes its positions by updating log_head at the very end of its transaction. The row lock is held until the
-- commit is on disk, so positions become visible in order and without gaps, over any number of replicas.

CREATE TABLE log_head (
    only_row BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (only_row),
    position BIGINT NOT NULL
) WITH (fillfactor = 10);
COMMENT ON TABLE log_head IS 'The highest position taken so far; one row.';
INSERT INTO log_head (position) VALUES (0);

CREATE TABLE log (
    position BIGINT PRIMARY KEY,
    kind SMALLINT NOT NULL,
    room_nid BIGINT,
    user_nid BIGINT,
    subject BIGINT
);
COMMENT ON TABLE log IS 'What happened at each position. Followers read it in order; old entries may be pruned, since each kind keeps its position in its own table too.';
COMMENT ON COLUMN log.kind IS 'See storage::log::LogKind.';
COMMENT ON COLUMN log.subject IS 'The event or device that the entry is about, depending on its kind.';

CREATE TABLE server_identity (
    only_row BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (only_row),
    server_name TEXT NOT NULL
);
COMMENT ON TABLE server_identity IS 'The server name this database belongs to. User ids contain it, so it can never change.';

CREATE TABLE leases (
    name TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    expires_at BIGINT NOT NULL
);
COMMENT ON TABLE leases IS 'Work that only one replica may do at a time; taken over when it expires.';
COMMENT ON COLUMN leases.expires_at IS 'Milliseconds since the epoch, by the clock of the database.';
