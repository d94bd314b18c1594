-- Rooms that this server is not in, as users see them who are invited to them or have knocked.
CREATE TABLE stripped_states (
    room_nid BIGINT NOT NULL REFERENCES rooms,
    user_nid BIGINT NOT NULL,
    state TEXT NOT NULL,
    servers TEXT[] NOT NULL,
    PRIMARY KEY (room_nid, user_nid)
);
COMMENT ON TABLE stripped_states IS 'What came with an invite or the answer to a knock; gone when the user is in the room or wants no more of it.';
COMMENT ON COLUMN stripped_states.state IS 'A JSON array of stripped state events.';
COMMENT ON COLUMN stripped_states.servers IS 'Servers to ask about the room, the likeliest first.';
