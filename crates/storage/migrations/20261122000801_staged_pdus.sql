-- Events of other servers whose predecessors have to be fetched first. They are written down before the server that sent
-- them has its answer.

CREATE TABLE staged_pdus (
    event_id TEXT PRIMARY KEY,
    room_nid BIGINT NOT NULL,
    origin TEXT NOT NULL,
    json TEXT NOT NULL,
    depth BIGINT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    retry_at BIGINT NOT NULL
);
CREATE INDEX staged_pdus_by_room ON staged_pdus (room_nid, depth);
CREATE INDEX staged_pdus_by_origin ON staged_pdus (origin);
COMMENT ON TABLE staged_pdus IS 'Gone when the event has its place, or when the gap before it could not be closed.';
COMMENT ON COLUMN staged_pdus.json IS 'Signatures and hash are checked; redacted if the hash was wrong.';
COMMENT ON COLUMN staged_pdus.retry_at IS 'Whoever works on it moves this on: before it, nobody else does.';
