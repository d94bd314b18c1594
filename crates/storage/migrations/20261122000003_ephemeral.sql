-- What passes: typing, receipts, presence. Each row carries the position at which it last changed.

CREATE TABLE receipts (
    room_nid BIGINT NOT NULL,
    user_nid BIGINT NOT NULL,
    receipt_type TEXT NOT NULL,
    thread_id TEXT NOT NULL,
    event_id TEXT NOT NULL,
    ts BIGINT NOT NULL,
    stream_position BIGINT NOT NULL,
    PRIMARY KEY (room_nid, user_nid, receipt_type, thread_id)
) WITH (fillfactor = 80);
COMMENT ON COLUMN receipts.thread_id IS 'Empty for an unthreaded receipt.';
CREATE INDEX receipts_by_position ON receipts (room_nid, stream_position);

CREATE TABLE typing (
    room_nid BIGINT NOT NULL,
    user_nid BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (room_nid, user_nid)
) WITH (fillfactor = 50);
COMMENT ON TABLE typing IS 'Who is typing where; a row past its time counts as absent.';

CREATE TABLE presence (
    user_nid BIGINT PRIMARY KEY,
    presence TEXT NOT NULL,
    status_msg TEXT,
    last_active_at BIGINT NOT NULL,
    currently_active BOOLEAN NOT NULL,
    stream_position BIGINT NOT NULL
) WITH (fillfactor = 50);
CREATE INDEX presence_by_position ON presence (stream_position);
