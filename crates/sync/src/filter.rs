//! Filters, applied to what a response would hold.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#filtering>

use hs_model::records::EventRecord;
use ruma::{
    RoomId, UserId,
    api::client::filter::{Filter, RoomEventFilter, RoomFilter, UrlFilter},
};
use serde_json::{Map, Value, value::RawValue};

/// Whether a type is one of those named, where `*` at any place stands for any number of characters.
fn matches_type(pattern: &str, event_type: &str) -> bool {
    let Some((prefix, rest)) = pattern.split_once('*') else { return pattern == event_type };
    let Some(mut text) = event_type.strip_prefix(prefix) else { return false };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return text.ends_with(part);
        }
        match text.find(part) {
            Some(at) => text = &text[at + part.len()..],
            None => return false,
        }
    }
    true
}

fn allows_type(types: Option<&[String]>, not_types: &[String], event_type: &str) -> bool {
    !not_types.iter().any(|pattern| matches_type(pattern, event_type))
        && types.is_none_or(|types| types.iter().any(|pattern| matches_type(pattern, event_type)))
}

fn allows_sender<T: AsRef<UserId>>(senders: Option<&[T]>, not_senders: &[T], sender: &UserId) -> bool {
    !not_senders.iter().any(|user| user.as_ref() == sender)
        && senders.is_none_or(|senders| senders.iter().any(|user| user.as_ref() == sender))
}

/// Whether a filter lets data of a type and sender pass.
pub(crate) fn allows(filter: &Filter, event_type: &str, sender: Option<&UserId>) -> bool {
    allows_type(filter.types.as_deref(), &filter.not_types, event_type)
        && sender.is_none_or(|sender| allows_sender(filter.senders.as_deref(), &filter.not_senders, sender))
}

/// Whether a filter for a section of a room lets that room pass.
pub(crate) fn allows_room_section(filter: &RoomEventFilter, room_id: &RoomId) -> bool {
    !filter.not_rooms.iter().any(|id| id == room_id)
        && filter.rooms.as_ref().is_none_or(|rooms| rooms.iter().any(|id| id == room_id))
}

/// Whether a filter lets a room pass at all.
pub(crate) fn allows_room(filter: &RoomFilter, room_id: &RoomId) -> bool {
    !filter.not_rooms.iter().any(|id| id == room_id)
        && filter.rooms.as_ref().is_none_or(|rooms| rooms.iter().any(|id| id == room_id))
}

/// Whether a filter lets data of a room that is no event (account data, receipts) pass, by type.
pub(crate) fn allows_room_data(filter: &RoomEventFilter, event_type: &str) -> bool {
    allows_type(filter.types.as_deref(), &filter.not_types, event_type)
}

/// Whether a filter lets an event pass.
pub(crate) fn allows_event(filter: &RoomEventFilter, event: &EventRecord) -> bool {
    allows_type(filter.types.as_deref(), &filter.not_types, &event.event_type)
        && allows_sender(filter.senders.as_deref(), &filter.not_senders, &event.sender)
        && match &filter.url_filter {
            None => true,
            Some(UrlFilter::EventsWithUrl) => has_url(event),
            Some(UrlFilter::EventsWithoutUrl) => !has_url(event),
        }
}

fn has_url(event: &EventRecord) -> bool {
    #[derive(serde::Deserialize)]
    struct Event {
        content: Content,
    }
    #[derive(serde::Deserialize)]
    struct Content {
        url: Option<Value>,
    }
    serde_json::from_str::<Event>(&event.json)
        .is_ok_and(|event| event.content.url.is_some_and(|url| url.is_string()))
}

/// An event reduced to the fields that a filter names with dots between the keys; a backslash keeps a dot from dividing.
pub(crate) fn project(event: Box<RawValue>, fields: &[String]) -> Box<RawValue> {
    let Ok(Value::Object(full)) = serde_json::from_str(event.get()) else { return event };
    let mut reduced = Map::new();
    for field in fields {
        copy(&full, &mut reduced, &split_field(field));
    }
    serde_json::value::to_raw_value(&reduced).unwrap_or(event)
}

fn copy(from: &Map<String, Value>, to: &mut Map<String, Value>, path: &[String]) {
    let Some((key, rest)) = path.split_first() else { return };
    let Some(value) = from.get(key) else { return };
    if rest.is_empty() {
        to.insert(key.clone(), value.clone());
    } else if let Value::Object(from) = value {
        let to = to.entry(key.clone()).or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(to) = to {
            copy(from, to, rest);
        }
    }
}

fn split_field(field: &str) -> Vec<String> {
    let mut keys = vec![String::new()];
    let mut characters = field.chars().peekable();
    while let Some(character) = characters.next() {
        let is_escape = character == '\\' && matches!(characters.peek(), Some('.' | '\\'));
        match (character, keys.last_mut()) {
            (_, Some(key)) if is_escape => key.extend(characters.next()),
            ('.', _) => keys.push(String::new()),
            (_, Some(key)) => key.push(character),
            (_, None) => {}
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ruma::api::client::filter::FilterDefinition;

    use super::*;

    /// What a pattern means, one character at a time.
    fn matches_slowly(pattern: &[char], text: &[char]) -> bool {
        match (pattern, text) {
            ([], text) => text.is_empty(),
            (['*', rest @ ..], text) => {
                (0..=text.len()).any(|skipped| matches_slowly(rest, &text[skipped..]))
            }
            ([first, rest @ ..], [head, tail @ ..]) => first == head && matches_slowly(rest, tail),
            (_, []) => false,
        }
    }

    proptest! {
        #[test]
        fn patterns_mean_what_they_say(pattern in "[ab*.]{0,8}", event_type in "[ab.]{0,8}") {
            let slowly: (Vec<char>, Vec<char>) = (pattern.chars().collect(), event_type.chars().collect());
            prop_assert_eq!(matches_type(&pattern, &event_type), matches_slowly(&slowly.0, &slowly.1));
        }

        #[test]
        fn what_is_excluded_never_passes(types in prop::option::of(prop::collection::vec("[a*]{0,3}", 0..3)),
                                         event_type in "[ab]{0,4}") {
            let excluded = [event_type.clone()];
            prop_assert!(!allows_type(types.as_deref(), &excluded, &event_type));
        }

        #[test]
        fn reading_a_filter_never_panics(text in r#"[\[\]{}":,a-z_0-9.\-*\\]{0,64}"#, field in r"[a.\\]{0,12}") {
            let _ = serde_json::from_str::<FilterDefinition>(&text);
            let event = RawValue::from_string(r#"{"a":{"a":1},"type":"x"}"#.to_owned()).expect("valid JSON");
            let projected: Value = serde_json::from_str(project(event, &[field]).get()).expect("valid JSON");
            prop_assert!(projected.is_object());
        }
    }

    #[test]
    fn fields_are_picked_by_path() {
        let event = RawValue::from_string(
            r#"{"type":"a","content":{"body":"b","x.y":1,"z":2},"sender":"c"}"#.to_owned(),
        );
        let fields = ["type", "content.body", r"content.x\.y", "missing.one"].map(str::to_owned);
        let reduced = project(event.expect("valid JSON"), &fields);
        assert_eq!(reduced.get(), r#"{"content":{"body":"b","x.y":1},"type":"a"}"#);
    }

    #[test]
    fn stars_stand_for_any_characters() {
        for (pattern, event_type, expected) in [
            ("m.room.message", "m.room.message", true),
            ("m.room.*", "m.room.message", true),
            ("*", "anything", true),
            ("m.*.message", "m.room.message", true),
            ("m.*.member", "m.room.message", false),
            ("*.message", "m.room.message", true),
            ("m.room.*", "m.reaction", false),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxcyyb", false),
            ("m.room.message", "m.room.messages", false),
        ] {
            assert_eq!(matches_type(pattern, event_type), expected, "{pattern} on {event_type}");
        }
    }
}
