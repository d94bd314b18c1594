-- Backups of room keys: encrypted by the client, kept for the user.

CREATE TABLE key_backups (
    user_nid BIGINT NOT NULL REFERENCES accounts,
    version BIGINT NOT NULL,
    algorithm TEXT NOT NULL,
    auth_data TEXT NOT NULL,
    etag BIGINT NOT NULL DEFAULT 0,
    key_count BIGINT NOT NULL DEFAULT 0,
    is_deleted BOOLEAN NOT NULL DEFAULT FALSE,
    PRIMARY KEY (user_nid, version)
) WITH (fillfactor = 80);
COMMENT ON COLUMN key_backups.auth_data IS 'JSON object, as the client gave it.';
COMMENT ON COLUMN key_backups.etag IS 'Counts the changes of the keys in it.';
COMMENT ON COLUMN key_backups.is_deleted IS 'A deleted version is remembered: its number is not used again, and deleting it twice is no error.';

CREATE TABLE key_backup_sessions (
    user_nid BIGINT NOT NULL,
    version BIGINT NOT NULL,
    room_id TEXT NOT NULL,
    session_id TEXT NOT NULL,
    first_message_index BIGINT NOT NULL,
    forwarded_count BIGINT NOT NULL,
    is_verified BOOLEAN NOT NULL,
    session_data TEXT NOT NULL,
    PRIMARY KEY (user_nid, version, room_id, session_id),
    FOREIGN KEY (user_nid, version) REFERENCES key_backups
);
COMMENT ON COLUMN key_backup_sessions.session_data IS 'JSON object, as the client gave it.';
