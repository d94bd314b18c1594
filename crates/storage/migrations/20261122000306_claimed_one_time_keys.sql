-- A client that repeats an upload, since it never got the answer, must not have keys handed out a second time.

CREATE TABLE claimed_one_time_keys (
    device_nid BIGINT NOT NULL REFERENCES devices ON DELETE CASCADE,
    algorithm TEXT NOT NULL,
    key_id TEXT NOT NULL,
    key_hash BYTEA NOT NULL,
    claimed_at BIGINT NOT NULL,
    PRIMARY KEY (device_nid, algorithm, key_id)
);
COMMENT ON TABLE claimed_one_time_keys IS 'Keys handed out lately.';
COMMENT ON COLUMN claimed_one_time_keys.key_hash IS 'SHA-256 of the key.';
