//! The shapes of before `/sync`: the same news, as one list of events or as one list of rooms.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3events>,
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3initialsync>

use std::collections::HashSet;

use ruma::{OwnedRoomId, RoomId};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{Batch, Response};

/// What happened, as one list.
#[derive(Debug, Serialize)]
pub struct EventStream {
    start: String,
    end: String,
    chunk: Vec<Box<RawValue>>,
}

impl EventStream {
    /// Events between two tokens.
    pub fn new(start: String, end: String, chunk: Vec<Box<RawValue>>) -> Self {
        Self { start, end, chunk }
    }
}

/// All there is for a user.
#[derive(Debug, Serialize)]
pub struct InitialState {
    end: String,
    presence: Vec<Box<RawValue>>,
    account_data: Vec<Box<RawValue>>,
    rooms: Vec<RoomInfo>,
}

#[derive(Debug, Serialize)]
struct RoomInfo {
    room_id: OwnedRoomId,
    membership: &'static str,
    visibility: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    invite: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<Messages>,
    state: Vec<Box<RawValue>>,
    account_data: Vec<Box<RawValue>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    receipts: Vec<Box<RawValue>>,
}

#[derive(Debug, Serialize)]
struct Messages {
    start: String,
    end: String,
    chunk: Vec<Box<RawValue>>,
}

impl Response {
    /// The rooms that it tells of.
    pub fn room_ids(&self) -> Vec<OwnedRoomId> {
        let rooms = &self.rooms;
        let outside = rooms.invite.keys().chain(rooms.knock.keys()).chain(rooms.leave.keys());
        rooms.join.keys().chain(outside).cloned().collect()
    }

    /// As one list of what happened since `start`.
    pub fn into_event_stream(self, start: String) -> EventStream {
        let mut chunk = self.presence.events;
        chunk.extend(self.account_data.events);
        for (room_id, room) in self.rooms.join {
            let state = [room.state, room.state_after].into_iter().flatten();
            let events = state.chain([room.timeline.batch, room.ephemeral, room.account_data]);
            chunk.extend(events.flat_map(|batch| batch.events).map(|event| in_room(&event, &room_id)));
        }
        for (room_id, room) in self.rooms.leave {
            let state = [room.state, room.state_after].into_iter().flatten();
            let events = state.chain([room.timeline.batch, room.account_data]);
            chunk.extend(events.flat_map(|batch| batch.events).map(|event| in_room(&event, &room_id)));
        }
        let outside = self.rooms.invite.into_iter().map(|(id, room)| (id, room.invite_state));
        let knocks = self.rooms.knock.into_iter().map(|(id, room)| (id, room.knock_state));
        for (room_id, state) in outside.chain(knocks) {
            chunk.extend(state.events.last().map(|event| in_room(event, &room_id)));
        }
        EventStream { start, end: self.next_batch, chunk }
    }

    /// As a list of rooms; `published` are those that anybody finds.
    pub fn into_initial_state(self, published: &HashSet<OwnedRoomId>) -> InitialState {
        let end = self.next_batch;
        let visibility =
            |room_id: &OwnedRoomId| if published.contains(room_id) { "public" } else { "private" };
        let mut rooms = Vec::new();
        for (room_id, room) in self.rooms.join {
            let state = room.state_after.or(room.state).unwrap_or_default();
            rooms.push(RoomInfo {
                membership: "join",
                visibility: visibility(&room_id),
                invite: None,
                messages: Some(Messages {
                    start: room.timeline.prev_batch,
                    end: end.clone(),
                    chunk: all_in_room(room.timeline.batch, &room_id),
                }),
                state: all_in_room(state, &room_id),
                account_data: room.account_data.events,
                receipts: all_in_room(room.ephemeral, &room_id),
                room_id,
            });
        }
        for (room_id, room) in self.rooms.leave {
            let state = room.state_after.or(room.state).unwrap_or_default();
            rooms.push(RoomInfo {
                membership: "leave",
                visibility: visibility(&room_id),
                invite: None,
                messages: Some(Messages {
                    start: room.timeline.prev_batch,
                    end: end.clone(),
                    chunk: all_in_room(room.timeline.batch, &room_id),
                }),
                state: all_in_room(state, &room_id),
                account_data: room.account_data.events,
                receipts: Vec::new(),
                room_id,
            });
        }
        for (room_id, room) in self.rooms.invite {
            rooms.push(RoomInfo {
                membership: "invite",
                visibility: visibility(&room_id),
                invite: room.invite_state.events.last().map(|event| in_room(event, &room_id)),
                messages: None,
                state: all_in_room(room.invite_state, &room_id),
                account_data: Vec::new(),
                receipts: Vec::new(),
                room_id,
            });
        }
        let (presence, account_data) = (self.presence.events, self.account_data.events);
        InitialState { end, presence, account_data, rooms }
    }
}

fn all_in_room(batch: Batch, room_id: &RoomId) -> Vec<Box<RawValue>> {
    batch.events.iter().map(|event| in_room(event, room_id)).collect()
}

/// An event that names its room, which `/sync` leaves out.
fn in_room(event: &RawValue, room_id: &RoomId) -> Box<RawValue> {
    let fields = event.get().strip_prefix('{').unwrap_or_default();
    let comma = if fields.trim_start().starts_with('}') { "" } else { "," };
    let room_id = serde_json::to_string(room_id).unwrap_or_default();
    let text = format!("{{\"room_id\":{room_id}{comma}{fields}");
    RawValue::from_string(text).unwrap_or_else(|_| event.to_owned())
}

#[cfg(test)]
mod tests {
    use ruma::room_id;

    use super::*;

    #[test]
    fn events_are_told_with_their_room() {
        let told = |event: &str| {
            let event = RawValue::from_string(event.to_owned()).expect("JSON");
            in_room(&event, room_id!("!a:b")).get().to_owned()
        };

        assert_eq!(told(r#"{"type":"x"}"#), r#"{"room_id":"!a:b","type":"x"}"#);
        assert_eq!(told("{}"), r#"{"room_id":"!a:b"}"#);
    }
}
