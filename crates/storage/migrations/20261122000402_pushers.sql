-- Pushers: where users want their notifications sent to, and what waits to be sent there.

CREATE TABLE pushers (
    pusher_nid BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_nid BIGINT NOT NULL REFERENCES accounts,
    app_id TEXT NOT NULL,
    pushkey TEXT NOT NULL,
    kind TEXT NOT NULL,
    app_display_name TEXT NOT NULL,
    device_display_name TEXT NOT NULL,
    profile_tag TEXT,
    lang TEXT NOT NULL,
    data TEXT NOT NULL,
    device_nid BIGINT REFERENCES devices ON DELETE CASCADE,
    created_at BIGINT NOT NULL,
    since_position BIGINT NOT NULL,
    failures INTEGER NOT NULL DEFAULT 0,
    retry_at BIGINT NOT NULL DEFAULT 0,
    badge BIGINT,
    UNIQUE (user_nid, app_id, pushkey)
) WITH (fillfactor = 80);
COMMENT ON COLUMN pushers.device_nid IS 'The device that set it; it goes with the device.';
COMMENT ON COLUMN pushers.since_position IS 'Events up to here came before the pusher.';
COMMENT ON COLUMN pushers.failures IS 'How often sending has failed in a row.';
COMMENT ON COLUMN pushers.retry_at IS 'Nothing is sent before this time, in milliseconds.';
COMMENT ON COLUMN pushers.badge IS 'The count of unread messages that was sent last.';
CREATE INDEX pushers_by_key ON pushers (pushkey, app_id);
CREATE INDEX pushers_by_device ON pushers (device_nid) WHERE device_nid IS NOT NULL;

CREATE TABLE push_queue (
    pusher_nid BIGINT NOT NULL REFERENCES pushers ON DELETE CASCADE,
    stream_position BIGINT NOT NULL,
    event_nid BIGINT NOT NULL,
    room_nid BIGINT NOT NULL,
    attention SMALLINT NOT NULL,
    tweaks TEXT,
    queued_at BIGINT NOT NULL,
    PRIMARY KEY (pusher_nid, stream_position)
);
COMMENT ON TABLE push_queue IS 'What waits to be sent: written together with push_progress, deleted when the other side has it.';

CREATE TABLE push_progress (
    only_row BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (only_row),
    position BIGINT NOT NULL
) WITH (fillfactor = 10);
COMMENT ON TABLE push_progress IS 'Up to which position of the log events have been put into push_queue.';
INSERT INTO push_progress (position) SELECT position FROM log_head;

-- For notifications that stand out, which are few among many.
CREATE INDEX events_highlighting ON events (room_nid, stream_position) WHERE notice & 2 <> 0;
