-- Keys that devices publish for end-to-end encryption. They go with their device.

CREATE TABLE device_keys (
    device_nid BIGINT PRIMARY KEY REFERENCES devices ON DELETE CASCADE,
    keys TEXT NOT NULL
);
COMMENT ON COLUMN device_keys.keys IS 'Canonical JSON as uploaded, with the device''s own signature and without unsigned.';

CREATE TABLE one_time_keys (
    device_nid BIGINT NOT NULL REFERENCES devices ON DELETE CASCADE,
    algorithm TEXT NOT NULL,
    key_id TEXT NOT NULL,
    ordinal BIGINT GENERATED ALWAYS AS IDENTITY,
    key TEXT NOT NULL,
    PRIMARY KEY (device_nid, algorithm, key_id)
);
COMMENT ON TABLE one_time_keys IS 'Keys that nobody has claimed yet. Claiming deletes the row.';
COMMENT ON COLUMN one_time_keys.ordinal IS 'Order of upload, in which keys are handed out.';
CREATE INDEX one_time_keys_in_order ON one_time_keys (device_nid, algorithm, ordinal);

CREATE TABLE fallback_keys (
    device_nid BIGINT NOT NULL REFERENCES devices ON DELETE CASCADE,
    algorithm TEXT NOT NULL,
    key_id TEXT NOT NULL,
    key TEXT NOT NULL,
    is_used BOOLEAN NOT NULL DEFAULT FALSE,
    PRIMARY KEY (device_nid, algorithm)
);
COMMENT ON TABLE fallback_keys IS 'What is handed out when a device has no one-time keys left.';
