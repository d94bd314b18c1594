-- Rooms as signed event graphs. Strings are interned: rows hold numbers, the strings stand once in their own tables.

CREATE TABLE users (
    user_nid BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id TEXT NOT NULL UNIQUE
);
COMMENT ON TABLE users IS 'Every user id ever seen, local or remote.';

CREATE TABLE event_types (
    type_nid BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_type TEXT NOT NULL UNIQUE
);

CREATE TABLE state_slots (
    slot_nid BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_type TEXT NOT NULL,
    state_key TEXT NOT NULL,
    UNIQUE (event_type, state_key)
);
COMMENT ON TABLE state_slots IS 'Interned pairs of event type and state key.';

-- Numbers for new events, rooms and state groups are handed out in blocks, so that a writer knows them before it inserts.
CREATE SEQUENCE event_nids AS BIGINT START 1 INCREMENT 1000;
CREATE SEQUENCE state_group_nids AS BIGINT START 1 INCREMENT 1000;
CREATE SEQUENCE room_nids AS BIGINT START 1 INCREMENT 1;

CREATE TABLE rooms (
    room_nid BIGINT PRIMARY KEY,
    room_id TEXT NOT NULL UNIQUE,
    room_version TEXT NOT NULL,
    is_published BOOLEAN NOT NULL DEFAULT FALSE,
    created_at BIGINT NOT NULL
);
COMMENT ON COLUMN rooms.is_published IS 'Whether the room is listed in the public directory of this server.';

CREATE TABLE room_heads (
    room_nid BIGINT PRIMARY KEY REFERENCES rooms,
    version BIGINT NOT NULL,
    state_group BIGINT NOT NULL,
    forward_extremities BIGINT[] NOT NULL,
    depth BIGINT NOT NULL,
    last_position BIGINT NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE room_heads IS 'Where each room stands: the part of a room that every append changes.';
COMMENT ON COLUMN room_heads.version IS 'Counts appends. A writer names the version it built on; the loser of a race builds again.';
COMMENT ON COLUMN room_heads.state_group IS 'The current state: the resolution of the state after all forward extremities.';

CREATE TABLE state_groups (
    state_group BIGINT PRIMARY KEY,
    room_nid BIGINT NOT NULL,
    parent BIGINT,
    height BIGINT NOT NULL,
    slots BIGINT[] NOT NULL,
    events BIGINT[] NOT NULL
);
COMMENT ON TABLE state_groups IS 'Immutable sets of state, each stored as the difference from its parent.';
COMMENT ON COLUMN state_groups.height IS 'Number of the group in its line. The parent is chosen by its digits, so that chains stay short (see hs-rooms, state_groups).';
COMMENT ON COLUMN state_groups.events IS 'The event that fills slots[i] in this group.';

CREATE TABLE events (
    event_nid BIGINT PRIMARY KEY,
    event_id TEXT NOT NULL UNIQUE,
    room_nid BIGINT NOT NULL,
    sender_nid BIGINT NOT NULL,
    type_nid BIGINT NOT NULL,
    slot_nid BIGINT,
    stream_position BIGINT,
    depth BIGINT NOT NULL,
    origin_server_ts BIGINT NOT NULL,
    state_before BIGINT,
    state_after BIGINT,
    outcome SMALLINT NOT NULL,
    reason TEXT,
    redacted_by BIGINT,
    replaces BIGINT,
    txn_device_nid BIGINT,
    txn_id TEXT,
    prev_nids BIGINT[] NOT NULL,
    auth_nids BIGINT[] NOT NULL
);
COMMENT ON COLUMN events.stream_position IS 'Order of arrival: its position in the log. NULL for outliers, negative for backfilled events.';
COMMENT ON COLUMN events.state_before IS 'The state group before the event; NULL for outliers.';
COMMENT ON COLUMN events.state_after IS 'Only for events that change the state.';
COMMENT ON COLUMN events.outcome IS '0 accepted, 1 soft-failed, 2 rejected.';
COMMENT ON COLUMN events.reason IS 'Why the event was soft-failed or rejected.';
COMMENT ON COLUMN events.redacted_by IS 'The redaction in force; readers prune the JSON.';
COMMENT ON COLUMN events.replaces IS 'The state event that filled the same slot before, for prev_content.';
COMMENT ON COLUMN events.prev_nids IS 'The known prev_events; those we do not hold are in missing_prev_events.';
CREATE INDEX events_by_room_stream ON events (room_nid, stream_position);
CREATE INDEX events_by_room_depth ON events (room_nid, depth, stream_position);
CREATE INDEX events_by_slot ON events (slot_nid, room_nid, stream_position) WHERE slot_nid IS NOT NULL;
CREATE UNIQUE INDEX events_by_transaction ON events (txn_device_nid, room_nid, txn_id) WHERE txn_device_nid IS NOT NULL;
CREATE INDEX events_by_room_time ON events (room_nid, origin_server_ts);

CREATE TABLE event_json (
    event_nid BIGINT PRIMARY KEY,
    json TEXT NOT NULL
);
COMMENT ON TABLE event_json IS 'The event exactly as received or built, without unsigned. Stored once, read only when the event itself is wanted.';

CREATE TABLE missing_prev_events (
    room_nid BIGINT NOT NULL,
    prev_event_id TEXT NOT NULL,
    event_nid BIGINT NOT NULL,
    PRIMARY KEY (room_nid, prev_event_id, event_nid)
);
COMMENT ON TABLE missing_prev_events IS 'Backward extremities: events we know of only because others name them as predecessors.';

CREATE TABLE current_state (
    room_nid BIGINT NOT NULL,
    slot_nid BIGINT NOT NULL,
    event_nid BIGINT NOT NULL,
    PRIMARY KEY (room_nid, slot_nid)
) WITH (fillfactor = 80);
COMMENT ON TABLE current_state IS 'The members of room_heads.state_group, unfolded for queries.';

CREATE TABLE memberships (
    room_nid BIGINT NOT NULL,
    user_nid BIGINT NOT NULL,
    membership SMALLINT NOT NULL,
    event_nid BIGINT NOT NULL,
    stream_position BIGINT NOT NULL,
    is_forgotten BOOLEAN NOT NULL DEFAULT FALSE,
    PRIMARY KEY (room_nid, user_nid)
) WITH (fillfactor = 80);
COMMENT ON TABLE memberships IS 'The present membership of every user who ever had one.';
COMMENT ON COLUMN memberships.membership IS '0 leave, 1 invite, 2 join, 3 knock, 4 ban.';
CREATE INDEX memberships_by_user ON memberships (user_nid, room_nid);

CREATE TABLE event_relations (
    event_nid BIGINT PRIMARY KEY,
    room_nid BIGINT NOT NULL,
    parent_id TEXT NOT NULL,
    rel_type TEXT NOT NULL,
    aggregation_key TEXT
);
COMMENT ON TABLE event_relations IS 'What m.relates_to says, for aggregations. The parent is named by id, since it may arrive later.';
CREATE INDEX event_relations_by_parent ON event_relations (room_nid, parent_id, rel_type);

CREATE TABLE redactions (
    redaction_nid BIGINT PRIMARY KEY,
    room_nid BIGINT NOT NULL,
    redacts_id TEXT NOT NULL
);
COMMENT ON TABLE redactions IS 'Redactions by the event they name, which may arrive later.';
CREATE INDEX redactions_by_target ON redactions (room_nid, redacts_id);

CREATE TABLE room_aliases (
    alias TEXT PRIMARY KEY,
    room_nid BIGINT NOT NULL REFERENCES rooms,
    creator_nid BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX room_aliases_by_room ON room_aliases (room_nid);

-- For the collection of unused state groups and for news of redactions.
CREATE INDEX state_groups_by_parent ON state_groups (parent);
CREATE INDEX events_by_redaction ON events (redacted_by) WHERE redacted_by IS NOT NULL;
