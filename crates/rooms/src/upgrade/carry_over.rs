//! Which state goes over into the new room.

use hs_model::ids::EventNid;
use hs_room_rules::{
    canonical_json::{Object, ParseOptions},
    client_content,
    pdu::Pdu,
    room_version::RoomVersionRules,
};
use ruma::events::room::member::MembershipState;
use serde::Deserialize;

use super::OldRoom;
use crate::{Intent, Room};

/// State that means the same whoever set it.
const TYPES: [&str; 9] = [
    "m.room.avatar",
    "m.room.canonical_alias",
    "m.room.encryption",
    "m.room.guest_access",
    "m.room.history_visibility",
    "m.room.join_rules",
    "m.room.name",
    "m.room.server_acl",
    "m.room.topic",
];
/// What else makes up a space.
const SPACE_CHILD: &str = "m.space.child";
/// Bans are found among these.
const MEMBER: &str = "m.room.member";

/// The events of a room that may go over, in their order. Members who are not banned are told apart once they are read.
pub(super) fn wanted(room: &Room) -> Vec<EventNid> {
    let state = room.read();
    let by_type = |event_type: &str| state.state.get(event_type).into_iter().flat_map(|keys| keys.values());
    let singles = TYPES.iter().filter_map(|event_type| state.state_event(event_type, ""));
    let many = [SPACE_CHILD, MEMBER].into_iter().flat_map(by_type).copied();
    let mut wanted: Vec<EventNid> = singles.chain(many).collect();
    wanted.sort_unstable();
    wanted
}

/// What the new room gets of the old one's state.
pub(super) fn state(old: &OldRoom, rules: &'static RoomVersionRules) -> impl Iterator<Item = Intent> {
    let is_space = old.create.content_as::<Create>().is_ok_and(|c| c.room_type.as_deref() == Some("m.space"));
    old.state.iter().filter_map(move |pdu| {
        let state_key = pdu.state_key()?;
        let content = match pdu.type_str() {
            MEMBER => banned(pdu)?,
            SPACE_CHILD if !is_space => return None,
            "m.room.join_rules" => join_rules(pdu, rules),
            _ => pdu.content_str().to_owned(),
        };
        // Servers may have let in what we would not send.
        let object = Object::parse(&content, ParseOptions::client(rules)).ok()?;
        client_content::check(pdu.type_str(), Some(state_key), &object).ok()?;
        let is_empty = object.is_empty();
        (!is_empty).then(|| Intent::state(pdu.type_str(), state_key, content))
    })
}

#[derive(Deserialize)]
struct Create {
    #[serde(rename = "type")]
    room_type: Option<String>,
}

fn banned(pdu: &Pdu) -> Option<String> {
    (pdu.membership() == Ok(&MembershipState::Ban)).then(|| pdu.content_str().to_owned())
}

/// The join rules, or those of a private room where the new version does not know them.
fn join_rules(pdu: &Pdu, rules: &RoomVersionRules) -> String {
    #[derive(Deserialize)]
    struct Content {
        join_rule: String,
    }
    let rule = pdu.content_as::<Content>().map(|content| content.join_rule).unwrap_or_default();
    let is_known = match &*rule {
        "knock" => rules.authorization.knocking,
        "restricted" => rules.authorization.restricted_join_rule,
        "knock_restricted" => rules.authorization.knock_restricted_join_rule,
        _ => true,
    };
    if is_known { pdu.content_str().to_owned() } else { r#"{"join_rule":"invite"}"#.to_owned() }
}
