-- The public keys of other servers, which outlive the servers: without them the events of a server that is gone could
-- not be checked any more.
CREATE TABLE server_keys (
    server_name TEXT NOT NULL,
    key_id TEXT NOT NULL,
    public_key TEXT NOT NULL,
    valid_until_ms BIGINT NOT NULL,
    is_retired BOOLEAN NOT NULL,
    document TEXT NOT NULL,
    fetched_at BIGINT NOT NULL,
    PRIMARY KEY (server_name, key_id)
);
COMMENT ON TABLE server_keys IS 'Public keys of other servers.';
COMMENT ON COLUMN server_keys.public_key IS 'Unpadded base64.';
COMMENT ON COLUMN server_keys.valid_until_ms IS 'What was signed later must not be signed with it; for a retired key, until when it was used.';
COMMENT ON COLUMN server_keys.is_retired IS 'Whether its server uses it no longer.';
COMMENT ON COLUMN server_keys.document IS 'The document that told of it last, signed by its server, for passing on to others.';
COMMENT ON COLUMN server_keys.fetched_at IS 'When that was, in milliseconds since 1970.';
