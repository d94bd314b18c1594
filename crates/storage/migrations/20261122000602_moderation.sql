-- What administrators need to keep order: reports, locks and suspensions, and the rooms in which the server speaks to people.

ALTER TABLE accounts ADD COLUMN locked_at BIGINT;
ALTER TABLE accounts ADD COLUMN suspended_at BIGINT;
COMMENT ON COLUMN accounts.locked_at IS 'Since when nothing can be done with the account but log out; NULL: it is not locked.';
COMMENT ON COLUMN accounts.suspended_at IS 'Since when the account can only read, and tidy up; NULL: it is not suspended.';

CREATE TABLE reports (
    report_id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind SMALLINT NOT NULL,
    reporter_nid BIGINT NOT NULL REFERENCES users,
    room_nid BIGINT REFERENCES rooms,
    event_nid BIGINT REFERENCES events,
    user_nid BIGINT REFERENCES users,
    reason TEXT NOT NULL,
    score INTEGER,
    created_at BIGINT NOT NULL
);
COMMENT ON COLUMN reports.kind IS 'What is reported: 0 an event, 1 a room, 2 a user.';
COMMENT ON COLUMN reports.user_nid IS 'The reported user, or the sender of the reported event.';
COMMENT ON COLUMN reports.score IS 'From -100 (most offensive) to 0; older clients send it with events.';

CREATE TABLE server_notice_rooms (
    user_nid BIGINT PRIMARY KEY REFERENCES users,
    room_nid BIGINT NOT NULL REFERENCES rooms
);
COMMENT ON TABLE server_notice_rooms IS 'The one room in which the server speaks to each user it has spoken to.';
