-- What can be searched: messages by their words, people by their names. A follower of the log keeps these tables, and they can
-- be made anew from the others.

CREATE TABLE search_index (
    event_nid BIGINT PRIMARY KEY,
    room_nid BIGINT NOT NULL,
    sender_nid BIGINT NOT NULL,
    field SMALLINT NOT NULL,
    stream_position BIGINT NOT NULL,
    words TSVECTOR NOT NULL
);
COMMENT ON COLUMN search_index.field IS 'Which text it is: 0 content.body, 1 content.name, 2 content.topic.';
COMMENT ON COLUMN search_index.words IS 'Made by hs-search, in any language; no configuration of Postgres is involved.';
CREATE INDEX search_index_words ON search_index USING gin (words);

CREATE TABLE user_directory (
    user_nid BIGINT PRIMARY KEY,
    localpart TEXT NOT NULL,
    display_name TEXT,
    avatar_url TEXT,
    name_key TEXT NOT NULL,
    words TSVECTOR NOT NULL
);
COMMENT ON TABLE user_directory IS 'Everybody who can be found: local accounts that are open, and remote users whom somebody here has met.';
COMMENT ON COLUMN user_directory.name_key IS 'The display name folded, to be compared with what is searched for.';
CREATE INDEX user_directory_words ON user_directory USING gin (words);

CREATE TABLE open_rooms (
    room_nid BIGINT PRIMARY KEY
);
COMMENT ON TABLE open_rooms IS 'Rooms that anybody may join or read: their members can be found by everybody.';

CREATE TABLE search_state (
    only_row BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (only_row),
    position BIGINT NOT NULL,
    rebuild_events BIGINT,
    rebuild_users BIGINT,
    rebuild_rooms BIGINT
);
COMMENT ON COLUMN search_state.position IS 'How far the follower has read the log.';
COMMENT ON COLUMN search_state.rebuild_events IS 'Up to which number events are indexed anew; NULL when that is done. Likewise the other two.';
INSERT INTO search_state (position, rebuild_events, rebuild_users, rebuild_rooms)
SELECT COALESCE((SELECT position FROM log_head), 0), 0, 0, 0;
