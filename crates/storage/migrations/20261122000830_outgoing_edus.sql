-- What other servers must be told and is no event of a room: it waits here until its destination has it.

CREATE TABLE outgoing_edus (
    destination TEXT NOT NULL,
    position BIGINT NOT NULL,
    ordinal INTEGER NOT NULL,
    edu_type TEXT NOT NULL,
    content TEXT NOT NULL,
    queued_at BIGINT NOT NULL,
    PRIMARY KEY (destination, position, ordinal)
);
CREATE INDEX outgoing_edus_by_position ON outgoing_edus (position);
CREATE INDEX outgoing_edus_by_age ON outgoing_edus (queued_at);
COMMENT ON TABLE outgoing_edus IS 'EDUs that must not be lost: messages from device to device. What can be derived from other tables (device lists, receipts) or passes (typing, presence) is not here.';
COMMENT ON COLUMN outgoing_edus.destination IS 'The server name.';
COMMENT ON COLUMN outgoing_edus.position IS 'Where the log says that there is something new: all EDUs of one call share it.';
COMMENT ON COLUMN outgoing_edus.content IS 'JSON object, sent as it is.';
