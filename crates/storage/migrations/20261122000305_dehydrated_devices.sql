-- A device that is kept here, encrypted, to receive room keys while its user is logged in nowhere (MSC3814).

CREATE TABLE dehydrated_devices (
    user_nid BIGINT PRIMARY KEY REFERENCES accounts,
    device_nid BIGINT NOT NULL UNIQUE REFERENCES devices ON DELETE CASCADE,
    device_data TEXT NOT NULL
);
COMMENT ON TABLE dehydrated_devices IS 'Which device of a user is the dehydrated one; it has keys and messages as any other.';
COMMENT ON COLUMN dehydrated_devices.device_data IS 'JSON object, as the client gave it.';
