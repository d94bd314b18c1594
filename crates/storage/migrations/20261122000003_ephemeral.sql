-- What passes: typing, receipts, presence. Each row carries the position at which it last changed.

CREATE TABLE receipts (
    room_nid BIGINT NOT NULL,
    user_nid BIGINT NOT NULL,
    receipt_type TEXT NOT NULL,
    thread_id TEXT NOT NULL,
    event_id TEXT NOT NULL,
    event_position BIGINT,
    ts BIGINT NOT NULL,
    stream_position BIGINT NOT NULL,
    PRIMARY KEY (room_nid, user_nid, receipt_type, thread_id)
) WITH (fillfactor = 80);
COMMENT ON COLUMN receipts.thread_id IS 'Empty for an unthreaded receipt.';
COMMENT ON COLUMN receipts.event_position IS 'Where the event stands in the log; NULL when it was not in the room when the receipt came.';
CREATE INDEX receipts_by_position ON receipts (room_nid, stream_position);

CREATE TABLE typing (
    room_nid BIGINT NOT NULL,
    user_nid BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (room_nid, user_nid)
) WITH (fillfactor = 50);
COMMENT ON TABLE typing IS 'Who is typing where. A row past its time stands until a replica deletes it, so that its end takes a position too.';

CREATE TABLE presence (
    user_nid BIGINT PRIMARY KEY,
    presence SMALLINT NOT NULL,
    status_msg TEXT,
    last_active_at BIGINT NOT NULL,
    currently_active BOOLEAN NOT NULL,
    stream_position BIGINT NOT NULL
) WITH (fillfactor = 50);
COMMENT ON COLUMN presence.presence IS '0 offline, 1 unavailable, 2 online.';
CREATE INDEX presence_by_position ON presence (stream_position);
CREATE INDEX presence_not_offline ON presence (user_nid) WHERE presence <> 0;

CREATE TABLE presence_holds (
    user_nid BIGINT NOT NULL,
    replica TEXT NOT NULL,
    presence SMALLINT NOT NULL,
    PRIMARY KEY (user_nid, replica)
) WITH (fillfactor = 80);
COMMENT ON TABLE presence_holds IS 'What each replica has seen of a user lately; the most present of them is the presence of the user. Holds of a replica count while its lease (presence:REPLICA) lasts.';
