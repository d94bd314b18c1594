-- Events that their senders want to be sent later (MSC4140).

CREATE TABLE delayed_events (
    delayed_nid BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    delay_id TEXT NOT NULL UNIQUE,
    user_nid BIGINT NOT NULL REFERENCES accounts,
    device_nid BIGINT NOT NULL,
    room_nid BIGINT NOT NULL,
    event_type TEXT NOT NULL,
    state_key TEXT,
    slot_nid BIGINT,
    content TEXT NOT NULL,
    sticky_ms BIGINT,
    txn_id TEXT,
    since_position BIGINT NOT NULL,
    delay_ms BIGINT NOT NULL,
    scheduled_at BIGINT NOT NULL,
    send_at BIGINT NOT NULL,
    finalised_at BIGINT,
    event_id TEXT,
    error TEXT
) WITH (fillfactor = 80);
COMMENT ON COLUMN delayed_events.device_nid IS 'The device that scheduled it, which may be gone since.';
COMMENT ON COLUMN delayed_events.sticky_ms IS 'For how long the event is to be sticky once it is sent.';
COMMENT ON COLUMN delayed_events.txn_id IS 'The transaction id of the request that scheduled it.';
COMMENT ON COLUMN delayed_events.since_position IS 'Where the log stood when it was scheduled: who changes the same state later makes it void.';
COMMENT ON COLUMN delayed_events.scheduled_at IS 'When it was scheduled or restarted, in milliseconds, like all times here.';
COMMENT ON COLUMN delayed_events.finalised_at IS 'When it was sent, failed or was cancelled. Whoever is about to do so holds the lock of the row.';
COMMENT ON COLUMN delayed_events.event_id IS 'The event it has become.';
COMMENT ON COLUMN delayed_events.error IS 'Why it was not sent: the body of an error response.';
CREATE INDEX delayed_events_due ON delayed_events (send_at, delayed_nid) WHERE finalised_at IS NULL;
CREATE INDEX delayed_events_scheduled ON delayed_events (user_nid, send_at) WHERE finalised_at IS NULL;
CREATE INDEX delayed_events_finalised ON delayed_events (user_nid, finalised_at) WHERE finalised_at IS NOT NULL;
CREATE UNIQUE INDEX delayed_events_by_transaction ON delayed_events (device_nid, room_nid, txn_id) WHERE txn_id IS NOT NULL;
