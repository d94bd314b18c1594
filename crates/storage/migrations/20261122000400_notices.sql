-- Whom events notify. Decided once, when the event is stored, by the push rules of that moment.
--
-- What holds for everybody whose rules say nothing else stands in the event's own row, so that a message to a large room
-- costs no row for each member; only those who are named, or whose rules differ, have rows of their own.

ALTER TABLE events ADD COLUMN notice SMALLINT NOT NULL DEFAULT 0;
ALTER TABLE events ADD COLUMN thread_root TEXT;
COMMENT ON COLUMN events.notice IS 'Bits: 1 notifies, 2 highlights, 4 default sound, 8 ringing, 16 marks what came before as read by the sender, 32 there are rows in notices.';
COMMENT ON COLUMN events.thread_root IS 'The thread that the event belongs to; only for events with a notice.';
CREATE INDEX events_with_notice ON events (room_nid, stream_position) WHERE notice <> 0;

CREATE TABLE notices (
    room_nid BIGINT NOT NULL,
    user_nid BIGINT NOT NULL,
    event_nid BIGINT NOT NULL,
    stream_position BIGINT NOT NULL,
    attention SMALLINT NOT NULL,
    tweaks TEXT,
    PRIMARY KEY (user_nid, stream_position)
);
COMMENT ON TABLE notices IS 'What an event means to one user, where that differs from what it means to everybody.';
COMMENT ON COLUMN notices.attention IS 'Bits 1 to 8 of events.notice; 0 for an event that does not notify this user.';
COMMENT ON COLUMN notices.tweaks IS 'JSON object: the tweaks of the rule, where the bits cannot say them.';
CREATE INDEX notices_by_room ON notices (room_nid, stream_position);
