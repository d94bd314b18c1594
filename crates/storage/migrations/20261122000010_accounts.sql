-- Accounts of this server: who they are, where they are logged in, and what proves it.
--
-- Secrets that clients hold (access, refresh and login tokens) are stored as their SHA-256: they are long and random, so
-- nothing slower is needed, and a stolen database opens no session. Times are milliseconds since the epoch, by our clock.

CREATE TABLE accounts (
    user_nid BIGINT PRIMARY KEY REFERENCES users,
    password_hash TEXT,
    is_admin BOOLEAN NOT NULL DEFAULT FALSE,
    user_type TEXT,
    created_at BIGINT NOT NULL,
    deactivated_at BIGINT,
    is_erased BOOLEAN NOT NULL DEFAULT FALSE,
    accepted_terms TEXT
) WITH (fillfactor = 90);
COMMENT ON TABLE accounts IS 'Users who can log in here. Never deleted, so that nobody gets the name of a deactivated one.';
COMMENT ON COLUMN accounts.password_hash IS 'Argon2id as a PHC string; NULL when there is no password to log in with.';
COMMENT ON COLUMN accounts.user_type IS 'What a provisioning tool said the account is for: bot or support.';
COMMENT ON COLUMN accounts.is_erased IS 'Whether the user asked to be forgotten when deactivating.';
COMMENT ON COLUMN accounts.accepted_terms IS 'JSON object: the version of each policy accepted at registration.';

CREATE TABLE devices (
    device_nid BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_nid BIGINT NOT NULL REFERENCES accounts,
    device_id TEXT NOT NULL,
    display_name TEXT,
    created_at BIGINT NOT NULL,
    last_seen_at BIGINT,
    last_seen_ip TEXT,
    UNIQUE (user_nid, device_id)
) WITH (fillfactor = 80);
COMMENT ON COLUMN devices.last_seen_at IS 'Written every few minutes at most.';

CREATE TABLE refresh_tokens (
    token_hash BYTEA PRIMARY KEY,
    device_nid BIGINT NOT NULL REFERENCES devices ON DELETE CASCADE,
    created_at BIGINT NOT NULL,
    replaces BYTEA
);
COMMENT ON TABLE refresh_tokens IS 'A device has one in use, and for a while the one it replaces.';
COMMENT ON COLUMN refresh_tokens.replaces IS 'The token this one was made from, which stays valid until this one, or the access token made with it, is first used.';
CREATE INDEX refresh_tokens_by_device ON refresh_tokens (device_nid);

CREATE TABLE access_tokens (
    token_hash BYTEA PRIMARY KEY,
    device_nid BIGINT NOT NULL REFERENCES devices ON DELETE CASCADE,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    refresh_hash BYTEA
);
COMMENT ON COLUMN access_tokens.expires_at IS 'NULL: never. Expired tokens stay until they are replaced, so that their client is told to refresh.';
COMMENT ON COLUMN access_tokens.refresh_hash IS 'The refresh token it was handed out with.';
CREATE INDEX access_tokens_by_device ON access_tokens (device_nid);

CREATE TABLE login_tokens (
    token_hash BYTEA PRIMARY KEY,
    user_nid BIGINT NOT NULL REFERENCES accounts,
    expires_at BIGINT NOT NULL
);
COMMENT ON TABLE login_tokens IS 'Tokens for m.login.token: deleted when used.';

CREATE TABLE registration_tokens (
    token TEXT PRIMARY KEY,
    uses_allowed INTEGER,
    uses_completed INTEGER NOT NULL DEFAULT 0,
    expires_at BIGINT,
    grants_admin BOOLEAN NOT NULL DEFAULT FALSE,
    created_at BIGINT NOT NULL
);
COMMENT ON TABLE registration_tokens IS 'Tokens that people register with. Stored as they are, since administrators hand them out.';
COMMENT ON COLUMN registration_tokens.uses_allowed IS 'NULL: any number.';
COMMENT ON COLUMN registration_tokens.grants_admin IS 'The token printed by the first start, for the first administrator.';
CREATE UNIQUE INDEX registration_tokens_of_first_run ON registration_tokens (grants_admin) WHERE grants_admin;

CREATE TABLE registration_nonces (
    nonce TEXT PRIMARY KEY,
    expires_at BIGINT NOT NULL
);
COMMENT ON TABLE registration_nonces IS 'Nonces given out for registration by shared secret: deleted when used.';

CREATE TABLE uia_sessions (
    session_id TEXT PRIMARY KEY,
    operation TEXT NOT NULL,
    user_nid BIGINT,
    request TEXT NOT NULL,
    completed TEXT NOT NULL,
    expires_at BIGINT NOT NULL
);
COMMENT ON TABLE uia_sessions IS 'User-interactive authentication in progress; in the database, so that any replica can go on with it.';
COMMENT ON COLUMN uia_sessions.operation IS 'What is being authorised, with its target: the session is good for nothing else.';
COMMENT ON COLUMN uia_sessions.request IS 'JSON object: the parameters of the request without secrets, for clients that do not repeat them.';
COMMENT ON COLUMN uia_sessions.completed IS 'JSON object: the stages done, with what each left behind.';
CREATE INDEX uia_sessions_by_expiry ON uia_sessions (expires_at);

CREATE TABLE profile_fields (
    user_nid BIGINT NOT NULL REFERENCES users,
    field TEXT NOT NULL,
    value TEXT NOT NULL,
    stream_position BIGINT NOT NULL,
    PRIMARY KEY (user_nid, field)
);
COMMENT ON COLUMN profile_fields.value IS 'JSON, as the client gave it.';

CREATE TABLE filters (
    filter_id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_nid BIGINT NOT NULL REFERENCES accounts,
    definition_hash BYTEA NOT NULL,
    definition TEXT NOT NULL,
    UNIQUE (user_nid, definition_hash)
);
COMMENT ON COLUMN filters.definition IS 'JSON, as the client gave it.';
COMMENT ON COLUMN filters.definition_hash IS 'SHA-256 of the definition: the same filter is stored once.';
