-- Tokens by which a user shows another service who they are, and nothing more.
CREATE TABLE openid_tokens (
    token_hash BYTEA PRIMARY KEY,
    user_nid BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
COMMENT ON COLUMN openid_tokens.expires_at IS 'Milliseconds since 1970.';
CREATE INDEX openid_tokens_by_expiry ON openid_tokens (expires_at);
