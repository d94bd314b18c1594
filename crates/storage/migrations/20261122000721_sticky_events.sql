-- Events that are delivered for a while whatever comes after them (MSC4354).

CREATE TABLE sticky_events (
    event_nid BIGINT PRIMARY KEY,
    room_nid BIGINT NOT NULL,
    stream_position BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
COMMENT ON COLUMN sticky_events.expires_at IS 'Milliseconds since 1970. Rows that have expired mean nothing any more, and are cleared away.';
CREATE INDEX sticky_events_by_expiry ON sticky_events (expires_at);
