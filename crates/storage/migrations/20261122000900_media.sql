-- The media repository: what media ids stand for, and where the bytes lie.

CREATE TABLE media_blobs (
    hash BYTEA PRIMARY KEY,
    store SMALLINT NOT NULL,
    key TEXT NOT NULL,
    size BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
COMMENT ON TABLE media_blobs IS 'Contents, each stored once whatever number of media ids have it. The row is written after the file and deleted before it: a crash leaves files too many, never too few.';
COMMENT ON COLUMN media_blobs.hash IS 'SHA-256 of the content.';
COMMENT ON COLUMN media_blobs.store IS 'Where the file lies: 1 on disk, 2 in the object store.';
COMMENT ON COLUMN media_blobs.key IS 'The name of the file. It is never used again, so that a file can be deleted without regard to who writes the same content anew.';

CREATE TABLE media (
    media_nid BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    origin TEXT NOT NULL,
    media_id TEXT NOT NULL,
    kind SMALLINT NOT NULL,
    hash BYTEA REFERENCES media_blobs,
    uploader_nid BIGINT,
    content_type TEXT,
    file_name TEXT,
    created_at BIGINT NOT NULL,
    stored_at BIGINT,
    expires_at BIGINT,
    used_at BIGINT NOT NULL,
    quarantined_by TEXT,
    quarantined_at BIGINT,
    is_protected BOOLEAN NOT NULL DEFAULT FALSE,
    UNIQUE (origin, media_id)
) WITH (fillfactor = 85);
COMMENT ON TABLE media IS 'Media ids of this server, and those of others that are kept here.';
COMMENT ON COLUMN media.origin IS 'The server in the mxc URI; empty for this one.';
COMMENT ON COLUMN media.kind IS '0 uploaded by a user, 1 copied from another server, 2 a picture of a URL preview.';
COMMENT ON COLUMN media.hash IS 'NULL while nothing has been uploaded under the id yet.';
COMMENT ON COLUMN media.stored_at IS 'When the content came; milliseconds, like all times here.';
COMMENT ON COLUMN media.expires_at IS 'When an id that nothing was uploaded under is forgotten.';
COMMENT ON COLUMN media.used_at IS 'When it was last asked for, give or take some minutes.';
COMMENT ON COLUMN media.quarantined_by IS 'The administrator who had it withheld from everybody.';
COMMENT ON COLUMN media.is_protected IS 'Whether it is spared when media are quarantined by room or user.';
CREATE INDEX media_by_hash ON media (hash);
CREATE INDEX media_by_uploader ON media (uploader_nid, created_at) WHERE uploader_nid IS NOT NULL;
CREATE INDEX media_pending ON media (expires_at) WHERE hash IS NULL;
CREATE INDEX media_by_use ON media (kind, used_at) WHERE hash IS NOT NULL;

CREATE TABLE media_usage (
    user_nid BIGINT PRIMARY KEY,
    files BIGINT NOT NULL,
    bytes BIGINT NOT NULL
) WITH (fillfactor = 60);
COMMENT ON TABLE media_usage IS 'What each user has stored, kept with every change, for quotas.';

CREATE TABLE media_thumbnails (
    source_hash BYTEA NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    method SMALLINT NOT NULL,
    is_animated BOOLEAN NOT NULL,
    hash BYTEA NOT NULL REFERENCES media_blobs,
    content_type TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (source_hash, width, height, method, is_animated)
);
COMMENT ON TABLE media_thumbnails IS 'Smaller pictures of contents, by the content: media ids that share one share them.';
COMMENT ON COLUMN media_thumbnails.width IS 'The width and height that were asked for, after rounding to the sizes that are made.';
COMMENT ON COLUMN media_thumbnails.method IS '0 crop, 1 scale.';
CREATE INDEX media_thumbnails_by_hash ON media_thumbnails (hash);

CREATE TABLE media_blocked_hashes (
    hash BYTEA PRIMARY KEY,
    reason TEXT,
    blocked_by TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
COMMENT ON TABLE media_blocked_hashes IS 'Contents that this server neither takes nor hands out.';

CREATE TABLE media_uses (
    event_nid BIGINT NOT NULL,
    origin TEXT NOT NULL,
    media_id TEXT NOT NULL,
    room_nid BIGINT NOT NULL,
    sender_nid BIGINT NOT NULL,
    PRIMARY KEY (event_nid, origin, media_id)
);
COMMENT ON TABLE media_uses IS 'Which events name which media, as far as events can be read. Events may name media that are not known here.';
CREATE INDEX media_uses_by_media ON media_uses (origin, media_id);
CREATE INDEX media_uses_by_room ON media_uses (room_nid);

CREATE TABLE media_follower (
    only_row BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (only_row),
    position BIGINT NOT NULL
);
COMMENT ON TABLE media_follower IS 'How far the log has been read for media_uses.';
INSERT INTO media_follower (position) SELECT position FROM log_head;
