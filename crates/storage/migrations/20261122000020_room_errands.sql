-- What an account's change still has to bring about in the user's rooms. It takes a write for each room, so that it is
-- done after the change and in the background; what stands here is not forgotten when the server stops meanwhile.

CREATE SEQUENCE room_errand_requests AS BIGINT;

CREATE TABLE room_errands (
    user_nid BIGINT NOT NULL,
    kind SMALLINT NOT NULL,
    request BIGINT NOT NULL,
    PRIMARY KEY (user_nid, kind)
);
COMMENT ON COLUMN room_errands.kind IS 'See storage::errands::ErrandKind.';
COMMENT ON COLUMN room_errands.request IS 'Grows with each request, so that one which comes while the last is worked off is not taken for done.';
