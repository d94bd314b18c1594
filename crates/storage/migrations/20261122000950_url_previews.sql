-- What pages said of themselves when somebody asked for a preview of their URL. Every replica reads what one has fetched.
CREATE TABLE url_previews (
    url_hash BYTEA NOT NULL,
    languages TEXT NOT NULL,
    fetched_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    body TEXT NOT NULL,
    image_uri TEXT,
    PRIMARY KEY (url_hash, languages, fetched_at)
);
COMMENT ON TABLE url_previews IS 'Previews of URLs. Several of one URL may be kept, of several times; who asked is not.';
COMMENT ON COLUMN url_previews.url_hash IS 'SHA-256 of the URL: URLs are long, and some of them are secrets.';
COMMENT ON COLUMN url_previews.languages IS 'What the page was asked for in Accept-Language.';
COMMENT ON COLUMN url_previews.fetched_at IS 'Milliseconds since 1970.';
COMMENT ON COLUMN url_previews.expires_at IS 'Milliseconds since 1970, from when on the page is asked for again.';
COMMENT ON COLUMN url_previews.body IS 'The preview as clients get it: a JSON object.';
COMMENT ON COLUMN url_previews.image_uri IS 'The mxc:// URI in it. The media is there for this preview alone.';
CREATE INDEX url_previews_by_expiry ON url_previews (expires_at);
