//! Power levels of the room that takes another's place, and of the one that is closed.

use hs_room_rules::{pdu::Pdu, room_version::RoomVersionRules};
use ruma::{OwnedUserId, UserId};
use serde_json::{Map, Value, json};

use super::OldRoom;
use crate::create::{CREATORS_ONLY, default_power_levels, to_text};

/// The level of those who run a room.
const ADMIN: i64 = 100;
/// What a closed room asks of those who want to go on talking in it.
const CLOSED: i64 = 50;

/// The power levels of the new room.
pub(super) struct NewPowerLevels {
    content: Map<String, Value>,
    /// The level that the user who upgrades needs to fill the new room, when theirs is lower.
    raised: Option<(OwnedUserId, i64)>,
}

impl NewPowerLevels {
    /// Those of the old room, as far as the new version can have them.
    pub(super) fn new(
        old: &OldRoom,
        rules: &RoomVersionRules,
        sender: &UserId,
        additional_creators: &[OwnedUserId],
    ) -> Self {
        let has_privileged_creators = rules.authorization.explicitly_privilege_room_creators;
        let had_privileged_creators = old.room.rules.authorization.explicitly_privilege_room_creators;
        let old_creators =
            old.create.create_facts().map(|facts| facts.creators.as_slice()).unwrap_or_default();
        let mut content = match &old.power_levels {
            Some(pdu) => with_integers(pdu),
            None => text_to_map(&to_text(&default_power_levels(old.room.rules, sender, old_creators, 0))),
        };
        if has_privileged_creators {
            let users = section(&mut content, "users");
            users.remove(sender.as_str());
            if rules.authorization.additional_room_creators {
                for creator in additional_creators {
                    users.remove(creator.as_str());
                }
            }
            let state_default = level(&content, "state_default", 50);
            let events = section(&mut content, "events");
            let tombstone = level(events, "m.room.tombstone", state_default);
            events.insert(
                "m.room.tombstone".to_owned(),
                json!(tombstone.max(CREATORS_ONLY).max(state_default + 1)),
            );
            return Self { content, raised: None };
        }
        if had_privileged_creators {
            // Nobody has infinite power any more: creators become admins, and what only they could do is for admins.
            let users = section(&mut content, "users");
            for creator in old_creators {
                users.insert(creator.to_string(), json!(ADMIN));
            }
            let events = section(&mut content, "events");
            for required in events.values_mut() {
                *required = json!(required.as_i64().unwrap_or(ADMIN).min(ADMIN));
            }
        }
        let users_default = level(&content, "users_default", 0);
        let own = level(section(&mut content, "users"), sender.as_str(), users_default);
        let needed = needed_level(&mut content);
        let raised = (own < needed).then(|| (sender.to_owned(), needed));
        Self { content, raised }
    }

    /// The content with which the room begins.
    pub(super) fn first(&self) -> String {
        let mut content = self.content.clone();
        if let Some((user_id, needed)) = &self.raised {
            section(&mut content, "users").insert(user_id.to_string(), json!(needed));
        }
        Value::Object(content).to_string()
    }

    /// The content at the end, when it is another.
    pub(super) fn last(&self) -> Option<String> {
        self.raised.is_some().then(|| Value::Object(self.content.clone()).to_string())
    }
}

/// The power levels of a room that was replaced: those who could only talk can not any more.
pub(super) fn closed(current: &Pdu) -> String {
    let mut content = with_integers(current);
    let restricted = CLOSED.max(level(&content, "users_default", 0) + 1);
    for key in ["events_default", "invite"] {
        let present = level(&content, key, 0);
        content.insert(key.to_owned(), json!(present.max(restricted)));
    }
    Value::Object(content).to_string()
}

/// The level that setting everything needs that a new room is filled with.
fn needed_level(content: &mut Map<String, Value>) -> i64 {
    let general = ["ban", "state_default"].map(|key| level(content, key, 50));
    let events = section(content, "events");
    let special = events.values().filter_map(Value::as_i64);
    special.chain(general).max().unwrap_or(ADMIN)
}

/// The content of a power levels event with integers where old room versions allow text.
fn with_integers(pdu: &Pdu) -> Map<String, Value> {
    fn integers(content: Map<String, Value>) -> Map<String, Value> {
        let convert = |value: Value| match value {
            Value::String(text) => text.trim().parse::<i64>().ok().map(Value::from),
            Value::Number(number) => {
                number.as_i64().or_else(|| number.as_f64().map(|float| float.trunc() as i64)).map(Value::from)
            }
            Value::Object(levels) => Some(Value::Object(integers(levels))),
            Value::Null | Value::Bool(_) | Value::Array(_) => None,
        };
        content.into_iter().filter_map(|(key, value)| Some((key, convert(value)?))).collect()
    }
    integers(text_to_map(pdu.content_str()))
}

fn text_to_map(text: &str) -> Map<String, Value> {
    serde_json::from_str(text).unwrap_or_default()
}

fn level(levels: &Map<String, Value>, key: &str, default: i64) -> i64 {
    levels.get(key).and_then(Value::as_i64).unwrap_or(default)
}

/// The object under a key, made when there is none.
fn section<'a>(content: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    let value = content.entry(key).or_insert_with(|| json!({}));
    if !value.is_object() {
        *value = json!({});
    }
    value.as_object_mut().expect("it was just made an object")
}
