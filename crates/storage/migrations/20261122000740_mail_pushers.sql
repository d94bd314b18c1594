-- Notifications by mail: how to get rid of them, and how often a room may be mailed about.

ALTER TABLE pushers ADD COLUMN unsubscribe_token TEXT;
COMMENT ON COLUMN pushers.unsubscribe_token IS 'Made with the first mail. Who has it may delete the pusher: it stands in a link of each mail.';
CREATE UNIQUE INDEX pushers_by_unsubscribe_token ON pushers (unsubscribe_token) WHERE unsubscribe_token IS NOT NULL;

CREATE TABLE mail_pauses (
    pusher_nid BIGINT NOT NULL REFERENCES pushers ON DELETE CASCADE,
    room_nid BIGINT NOT NULL REFERENCES rooms ON DELETE CASCADE,
    last_event_nid BIGINT NOT NULL,
    mailed_at BIGINT NOT NULL,
    pause_ms BIGINT NOT NULL,
    PRIMARY KEY (pusher_nid, room_nid)
);
COMMENT ON TABLE mail_pauses IS 'The rooms that a pusher has mailed about.';
COMMENT ON COLUMN mail_pauses.last_event_nid IS 'The newest event that was mailed. Once the user has read it, there is no pause any more.';
COMMENT ON COLUMN mail_pauses.pause_ms IS 'No mail because of this room sooner than this after the last one.';
