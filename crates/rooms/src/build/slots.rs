//! What of the state an event is looked at with.

use hs_room_rules::{auth, pdu::Pdu, policy::POLICY};

use super::{Request, Slot};
use crate::{Intent, Room, WriteError, intent::Sender};

/// The slots that a request looks at.
pub(super) fn slots_of_request(room: &Room, request: Request<'_>) -> Vec<Slot> {
    match request {
        // What is malformed is told when it is built, to the one who sent it.
        Request::Write(request) => {
            let needed = request.intents.iter().map(|intent| needed_slots(room, &request.sender, intent));
            needed.flatten().flatten().collect()
        }
        Request::Receive(events) => {
            events.iter().flat_map(|incoming| slots_of_pdu(room, &incoming.pdu)).collect()
        }
    }
}

/// The slots that checking an event looks at.
pub(super) fn slots_of_pdu(room: &Room, pdu: &Pdu) -> Vec<Slot> {
    let keys = auth::auth_types(pdu.type_str(), pdu.sender(), pdu.state_key(), pdu.content_str(), room.rules);
    // What is malformed does not pass the rules, whatever the state.
    let keys = keys.unwrap_or_default();
    let mut slots: Vec<Slot> =
        keys.into_iter().map(|(event_type, key)| (event_type.to_owned(), key.into_owned())).collect();
    slots.push(("m.room.create".to_owned(), String::new()));
    slots.push((POLICY.to_owned(), String::new()));
    slots.push(("m.room.power_levels".to_owned(), String::new()));
    if let Some(state_key) = pdu.state_key() {
        slots.push((pdu.type_str().to_owned(), state_key.to_owned()));
    }
    slots
}

/// The slots that building and checking an intent looks at.
fn needed_slots(room: &Room, sender: &Sender, intent: &Intent) -> Result<Vec<Slot>, WriteError> {
    let state_key = intent.state_key.as_deref();
    let keys = auth::auth_types(&intent.event_type, &sender.user_id, state_key, &intent.content, room.rules)
        .map_err(|error| WriteError::Forbidden(error.0))?;
    let mut slots: Vec<Slot> =
        keys.into_iter().map(|(event_type, key)| (event_type.to_owned(), key.into_owned())).collect();
    slots.push(("m.room.create".to_owned(), String::new()));
    slots.push((POLICY.to_owned(), String::new()));
    if let Some(state_key) = state_key {
        slots.push((intent.event_type.clone(), state_key.to_owned()));
    }
    Ok(slots)
}
