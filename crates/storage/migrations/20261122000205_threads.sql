-- The list of a room's threads must not read every reaction of the room.
CREATE INDEX event_relations_of_threads ON event_relations (room_nid, parent_id) WHERE rel_type = 'm.thread';
