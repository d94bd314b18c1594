-- What other servers have been told of the devices of the users of this one. The updates of a user form a chain, each naming
-- the one before: who has missed one notices, and asks for the whole list.

CREATE TABLE device_announcements (
    user_nid BIGINT PRIMARY KEY REFERENCES users,
    stream_id BIGINT NOT NULL,
    prev_id BIGINT,
    device_id TEXT NOT NULL,
    signing_keys_hash BYTEA,
    signing_keys_at BIGINT
) WITH (fillfactor = 80);
COMMENT ON TABLE device_announcements IS 'The latest update of each user.';
COMMENT ON COLUMN device_announcements.stream_id IS 'The id of the update, which is a position in the log; 0 while there was none of a device.';
COMMENT ON COLUMN device_announcements.prev_id IS 'The id of the update before.';
COMMENT ON COLUMN device_announcements.device_id IS 'The device that the update was about.';
COMMENT ON COLUMN device_announcements.signing_keys_hash IS 'SHA-256 of the cross-signing keys that everybody sees, as last announced.';
COMMENT ON COLUMN device_announcements.signing_keys_at IS 'The position at which those were announced.';

CREATE TABLE announced_devices (
    user_nid BIGINT NOT NULL REFERENCES users,
    device_id TEXT NOT NULL,
    hash BYTEA NOT NULL,
    PRIMARY KEY (user_nid, device_id)
);
COMMENT ON TABLE announced_devices IS 'The devices with keys that have been announced and not withdrawn.';
COMMENT ON COLUMN announced_devices.hash IS 'SHA-256 of what was said of the device.';
