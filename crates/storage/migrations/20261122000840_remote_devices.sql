-- The devices and keys of users of other servers, as their servers told. Kept for users who share a room with one of ours:
-- only of those do we hear when something changes. One copy for each user, whatever the number of rooms.

CREATE TABLE remote_device_lists (
    user_nid BIGINT PRIMARY KEY REFERENCES users,
    server_name TEXT NOT NULL,
    stream_id BIGINT,
    fetched_at BIGINT,
    version BIGINT NOT NULL DEFAULT 0,
    resync_at BIGINT,
    failures INTEGER NOT NULL DEFAULT 0
) WITH (fillfactor = 80);
COMMENT ON COLUMN remote_device_lists.stream_id IS 'The newest change that the list holds, as its server counts them; NULL when that is not known.';
COMMENT ON COLUMN remote_device_lists.fetched_at IS 'The position of our log when the list was fetched: it holds as long as a room has been shared ever since. NULL: the list must be fetched again.';
COMMENT ON COLUMN remote_device_lists.version IS 'Counts what was heard of the list, so that an answer asked for before does not replace what came after.';
COMMENT ON COLUMN remote_device_lists.resync_at IS 'When to fetch the list again, in milliseconds.';
COMMENT ON COLUMN remote_device_lists.failures IS 'How often that has failed since it last succeeded.';
CREATE INDEX remote_device_lists_to_sync ON remote_device_lists (resync_at) WHERE resync_at IS NOT NULL;

CREATE TABLE remote_devices (
    user_nid BIGINT NOT NULL REFERENCES remote_device_lists ON DELETE CASCADE,
    device_id TEXT NOT NULL,
    display_name TEXT,
    keys TEXT NOT NULL,
    PRIMARY KEY (user_nid, device_id)
);
COMMENT ON COLUMN remote_devices.keys IS 'Canonical JSON with all signatures, without unsigned.';

CREATE TABLE received_to_device (
    origin TEXT NOT NULL,
    message_id TEXT NOT NULL,
    received_at BIGINT NOT NULL,
    PRIMARY KEY (origin, message_id)
);
COMMENT ON TABLE received_to_device IS 'Messages between devices that other servers have delivered, so that a repeated one is not put into an inbox again; forgotten after some weeks.';
CREATE INDEX received_to_device_by_time ON received_to_device (received_at);
