-- Account data: what a client keeps with us, global or for one room, tags and read markers included.

CREATE TABLE account_data (
    user_nid BIGINT NOT NULL,
    room_nid BIGINT NOT NULL,
    data_type TEXT NOT NULL,
    content TEXT NOT NULL,
    stream_position BIGINT NOT NULL,
    PRIMARY KEY (user_nid, room_nid, data_type)
);
COMMENT ON COLUMN account_data.room_nid IS '0 for global account data.';
CREATE INDEX account_data_by_position ON account_data (user_nid, stream_position);
