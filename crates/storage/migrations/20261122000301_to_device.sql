-- Messages from device to device, until their receiver confirms them by syncing from a later token.

CREATE TABLE to_device_messages (
    device_nid BIGINT NOT NULL REFERENCES devices ON DELETE CASCADE,
    position BIGINT NOT NULL,
    sender_nid BIGINT NOT NULL,
    event_type TEXT NOT NULL,
    content TEXT NOT NULL,
    received_at BIGINT NOT NULL,
    PRIMARY KEY (device_nid, position)
);
COMMENT ON COLUMN to_device_messages.position IS 'A transaction has at most one message for a device; the messages to all devices of a user share a position.';

CREATE TABLE to_device_transactions (
    device_nid BIGINT NOT NULL REFERENCES devices ON DELETE CASCADE,
    transaction_hash BYTEA NOT NULL,
    received_at BIGINT NOT NULL,
    PRIMARY KEY (device_nid, transaction_hash)
);
COMMENT ON TABLE to_device_transactions IS 'Requests that were carried out, so that a repeated one is not; forgotten after some days.';
COMMENT ON COLUMN to_device_transactions.device_nid IS 'The device that sends.';
COMMENT ON COLUMN to_device_transactions.transaction_hash IS 'SHA-256 of event type and transaction id, which can be longer than an index takes.';
