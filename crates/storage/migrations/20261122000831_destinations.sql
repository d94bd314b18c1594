-- How far other servers have been told of what happened here. There is no row for an event and a server: what a server has
-- missed is looked up when it answers again.

CREATE TABLE federation_sender (
    only_row BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (only_row),
    position BIGINT NOT NULL
) WITH (fillfactor = 10);
COMMENT ON TABLE federation_sender IS 'How far the log has been worked off for other servers: what lies before has been taken by its destinations, or their row says that it has not.';
INSERT INTO federation_sender (position) SELECT position FROM log_head;

CREATE TABLE destinations (
    destination_nid BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    server_name TEXT NOT NULL UNIQUE,
    pending_since BIGINT,
    failing_since BIGINT,
    retry_at BIGINT,
    failures INTEGER NOT NULL DEFAULT 0,
    last_success_at BIGINT
) WITH (fillfactor = 80);
CREATE INDEX destinations_unsettled ON destinations (server_name)
    WHERE pending_since IS NOT NULL OR failing_since IS NOT NULL;
COMMENT ON TABLE destinations IS 'Other servers that something was not delivered to at some time.';
COMMENT ON COLUMN destinations.pending_since IS 'What happened after this position may not have been delivered; NULL when all was.';
COMMENT ON COLUMN destinations.failing_since IS 'Since when nothing gets through; NULL when the last attempt did.';
COMMENT ON COLUMN destinations.retry_at IS 'Nothing is sent before.';
COMMENT ON COLUMN destinations.failures IS 'Attempts that failed in a row.';

CREATE TABLE forwarded_events (
    event_nid BIGINT PRIMARY KEY,
    position BIGINT NOT NULL
);
COMMENT ON TABLE forwarded_events IS 'Events made elsewhere that this server sends to the servers of the room, since it was asked to take them into the room (send_join and the like).';
