-- Rooms that this server joined through another, which left out most of the members: the rest of the state arrives while the
-- room is used already.

CREATE TABLE partial_rooms (
    room_nid BIGINT PRIMARY KEY,
    join_nid BIGINT NOT NULL,
    asked TEXT NOT NULL,
    servers TEXT[] NOT NULL,
    retry_at BIGINT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    whole_at BIGINT
);
CREATE INDEX partial_rooms_open ON partial_rooms (retry_at) WHERE whole_at IS NULL;
CREATE INDEX partial_rooms_whole ON partial_rooms (whole_at) WHERE whole_at IS NOT NULL;
COMMENT ON TABLE partial_rooms IS 'A row stays when the room is whole, for clients that were not shown the room until then.';
COMMENT ON COLUMN partial_rooms.join_nid IS 'The event by which this server came in; the state before it is what is missing.';
COMMENT ON COLUMN partial_rooms.asked IS 'The server that let the user in: the first to be asked for the rest.';
COMMENT ON COLUMN partial_rooms.servers IS 'The servers that were in the room, as that server said.';
COMMENT ON COLUMN partial_rooms.retry_at IS 'Whoever fetches the rest moves this on: before it, nobody else does.';
COMMENT ON COLUMN partial_rooms.whole_at IS 'Where in the log the room became whole; NULL while it is not.';
