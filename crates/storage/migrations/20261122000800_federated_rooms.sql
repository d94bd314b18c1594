-- What rooms need that other servers write to as well: forks whose resolution changes the state, events that arrive without
-- their place, and history that arrives after what follows it.

CREATE TABLE state_corrections (
    room_nid BIGINT NOT NULL,
    stream_position BIGINT NOT NULL,
    slot_nid BIGINT NOT NULL,
    event_nid BIGINT,
    replaces BIGINT,
    PRIMARY KEY (room_nid, stream_position, slot_nid)
);
COMMENT ON TABLE state_corrections IS 'Changes of the current state that are not simply the next state event of the timeline: state resolution has preferred another event.';
COMMENT ON COLUMN state_corrections.event_nid IS 'What fills the slot from here on; NULL when nothing does.';
COMMENT ON COLUMN state_corrections.replaces IS 'What filled it before.';
CREATE INDEX state_corrections_by_slot ON state_corrections (slot_nid, room_nid, stream_position);

-- The graph of auth events of a room, messages aside.
CREATE INDEX events_state_by_room ON events (room_nid) WHERE slot_nid IS NOT NULL;

CREATE INDEX missing_prev_events_by_id ON missing_prev_events (prev_event_id);

-- Positions of events that arrive after those that follow them: negative, so that they come before all others.
CREATE SEQUENCE history_positions AS BIGINT INCREMENT -1 START -1 MAXVALUE -1;
