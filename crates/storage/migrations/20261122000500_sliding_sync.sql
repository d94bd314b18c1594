-- What each sliding sync connection has been told, so that any replica can answer its next request.

CREATE TABLE sliding_connections (
    serial BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    device_nid BIGINT NOT NULL REFERENCES devices ON DELETE CASCADE,
    conn_id TEXT NOT NULL,
    stream_position BIGINT NOT NULL,
    state BYTEA NOT NULL
);
COMMENT ON TABLE sliding_connections IS 'Rows never change. A response that tells a client of other rooms than before makes a new one; the client names a row in its pos.';
COMMENT ON COLUMN sliding_connections.conn_id IS 'The client''s name for the connection; empty when it gave none.';
COMMENT ON COLUMN sliding_connections.stream_position IS 'The position of the response that made the row: no pos that names the row is older.';
COMMENT ON COLUMN sliding_connections.state IS 'Which rooms the client was sent, and how: see sliding::connection in hs-sync.';
CREATE INDEX sliding_connections_by_device ON sliding_connections (device_nid, conn_id, serial);
