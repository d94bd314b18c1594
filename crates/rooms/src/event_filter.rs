//! Which events a client wants: the filters of `/sync`, `/messages`, `/context` and `/search`.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#filtering>

use hs_model::records::EventRecord;
use ruma::RoomId;
use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};

/// A `RoomEventFilter`. Lists that are absent restrict nothing; an empty list of what is wanted wants nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct EventFilter {
    /// Upper bound of the number of events.
    pub limit: Option<u64>,
    /// Types wanted; `*` stands for any characters.
    pub types: Option<Vec<String>>,
    /// Types not wanted, even if `types` has them.
    pub not_types: Option<Vec<String>>,
    /// Senders wanted.
    pub senders: Option<Vec<String>>,
    /// Senders not wanted, even if `senders` has them.
    pub not_senders: Option<Vec<String>>,
    /// Rooms wanted.
    pub rooms: Option<Vec<String>>,
    /// Rooms not wanted, even if `rooms` has them.
    pub not_rooms: Option<Vec<String>>,
    /// Only events with (or without) a `url` in their content.
    pub contains_url: Option<bool>,
    /// Only those member events that the events shown need.
    pub lazy_load_members: Option<bool>,
    /// Those also when the client has had them before.
    pub include_redundant_members: Option<bool>,
    /// Whether unread counts are split by thread.
    pub unread_thread_notifications: Option<bool>,
    /// Only events that have children sent by one of these users.
    pub related_by_senders: Option<Vec<String>>,
    /// Only events that have children with one of these relation types.
    pub related_by_rel_types: Option<Vec<String>>,
}

impl EventFilter {
    /// Reads a filter.
    ///
    /// # Errors
    /// When it is not JSON, or a part of it has the wrong type.
    pub fn parse(json: &str) -> Result<Self, serde_json::Error> {
        // By way of an object, since a list would be taken for the fields in order.
        let object: Map<String, Value> = serde_json::from_str(json)?;
        serde_json::from_value(Value::Object(object))
    }

    /// Whether events of a room are wanted.
    pub fn wants_room(&self, room_id: &RoomId) -> bool {
        is_listed(self.rooms.as_deref(), self.not_rooms.as_deref(), |listed| listed == room_id)
    }

    /// Whether an event is wanted, its room aside. Relations to it are not looked at: see
    /// [`has_related_by`](Self::has_related_by).
    pub fn wants(&self, event: &EventRecord) -> bool {
        self.wants_type(&event.event_type)
            && is_listed(self.senders.as_deref(), self.not_senders.as_deref(), |listed| {
                listed == event.sender
            })
            && self.contains_url.is_none_or(|wanted| contains_url(event) == wanted)
    }

    /// Whether events of a type are wanted.
    pub fn wants_type(&self, event_type: &str) -> bool {
        is_listed(self.types.as_deref(), self.not_types.as_deref(), |listed| matches(listed, event_type))
    }

    /// Whether every event is wanted.
    pub fn wants_everything(&self) -> bool {
        self.types.is_none()
            && self.not_types.as_ref().is_none_or(Vec::is_empty)
            && self.senders.is_none()
            && self.not_senders.as_ref().is_none_or(Vec::is_empty)
            && self.rooms.is_none()
            && self.not_rooms.as_ref().is_none_or(Vec::is_empty)
            && self.contains_url.is_none()
            && !self.has_related_by()
    }

    /// Whether children of events have to be looked at.
    pub fn has_related_by(&self) -> bool {
        let is_given = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
        is_given(&self.related_by_senders) || is_given(&self.related_by_rel_types)
    }

    /// Whether member events are to be left out unless needed.
    pub fn is_lazy(&self) -> bool {
        self.lazy_load_members == Some(true)
    }
}

fn is_listed(wanted: Option<&[String]>, unwanted: Option<&[String]>, matches: impl Fn(&str) -> bool) -> bool {
    !unwanted.is_some_and(|list| list.iter().any(|listed| matches(listed)))
        && wanted.is_none_or(|list| list.iter().any(|listed| matches(listed)))
}

/// Whether a text matches a pattern in which `*` stands for any characters. Takes time in proportion to both at most.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(first) = parts.next() else { return pattern == text };
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Whether the content of an event, as it is shown, has a `url`.
fn contains_url(event: &EventRecord) -> bool {
    #[derive(Deserialize)]
    struct Event<'a> {
        #[serde(borrow)]
        content: Content<'a>,
    }
    #[derive(Deserialize)]
    struct Content<'a> {
        #[serde(borrow)]
        url: Option<&'a RawValue>,
    }
    // Redaction leaves no `url` in any type of event.
    event.redacted_by.is_none()
        && event.json.contains("\"url\"")
        && serde_json::from_str::<Event<'_>>(&event.json).is_ok_and(|event| event.content.url.is_some())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hs_model::{
        ids::{EventNid, RoomNid, UserNid},
        records::Outcome,
        stream::Position,
    };
    use ruma::{event_id, room_id, user_id};

    use super::*;

    fn event(event_type: &str, content: &str) -> EventRecord {
        EventRecord {
            nid: EventNid(1),
            event_id: event_id!("$a").to_owned(),
            room: RoomNid(1),
            sender_nid: UserNid(1),
            sender: user_id!("@alice:example.org").to_owned(),
            event_type: event_type.into(),
            state_key: None,
            slot: None,
            position: Some(Position(1)),
            depth: 1,
            origin_server_ts: 0,
            state_before: None,
            outcome: Outcome::Accepted,
            redacted_by: None,
            redacts: None,
            replaces: None,
            transaction: None,
            notice: None,
            json: Arc::from(format!(r#"{{"content":{content}}}"#)),
        }
    }

    fn wants(filter: &str, event_type: &str) -> bool {
        EventFilter::parse(filter).unwrap().wants(&event(event_type, "{}"))
    }

    #[test]
    fn asterisks_match_any_characters() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("*", "m.room.message", true),
            ("m.room.*", "m.room.message", true),
            ("m.room.*", "m.room.", true),
            ("m.room.*", "m.rooms", false),
            ("*.message", "m.room.message", true),
            ("m.*.m*e", "m.room.message", true),
            ("m*m", "m", false),
            ("a**b", "ab", true),
            ("a*b*a", "aba", true),
            ("a*ba*a", "aba", false),
            ("m.room.message", "m.room.message", true),
            ("m.room.message", "m.room.messages", false),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn exclusion_wins_over_inclusion() {
        assert!(!wants(r#"{"types":["m.*"],"not_types":["m.room.*"]}"#, "m.room.name"));
        assert!(wants(r#"{"types":["m.*"],"not_types":["m.room.*"]}"#, "m.reaction"));
    }

    #[test]
    fn an_empty_list_wants_nothing_and_an_absent_one_everything() {
        assert!(!wants(r#"{"types":[]}"#, "m.room.name"));
        assert!(wants(r#"{"not_types":[]}"#, "m.room.name"));
        assert!(wants(r#"{"types":null}"#, "m.room.name"));
        assert!(!wants(r#"{"senders":[]}"#, "m.room.name"));
    }

    #[test]
    fn senders_and_rooms_are_compared_exactly() {
        assert!(wants(r#"{"senders":["@alice:example.org"]}"#, "a"));
        assert!(!wants(r#"{"senders":["@*:example.org"]}"#, "a"));
        assert!(!wants(r#"{"not_senders":["@alice:example.org"]}"#, "a"));
        let filter = EventFilter::parse(r#"{"rooms":["!a:b"],"not_rooms":["!c:d"]}"#).unwrap();
        assert!(filter.wants_room(room_id!("!a:b")));
        assert!(!filter.wants_room(room_id!("!c:d")));
    }

    #[test]
    fn url_is_looked_for_in_the_content_itself() {
        let with = EventFilter::parse(r#"{"contains_url":true}"#).unwrap();
        let without = EventFilter::parse(r#"{"contains_url":false}"#).unwrap();
        let image = event("m.room.message", r#"{"url":"mxc://a/b"}"#);
        let nested = event("m.room.message", r#"{"info":{"url":"mxc://a/b"}}"#);
        assert!(with.wants(&image) && !without.wants(&image));
        assert!(!with.wants(&nested) && without.wants(&nested));
        let redacted = EventRecord { redacted_by: Some(EventNid(2)), ..image };
        assert!(!with.wants(&redacted));
    }

    #[test]
    fn wrong_types_are_refused() {
        for filter in
            [r#"{"types":"m.room.name"}"#, r#"{"limit":-1}"#, r#"{"contains_url":"yes"}"#, "[1]", "7"]
        {
            assert!(EventFilter::parse(filter).is_err(), "{filter} was accepted");
        }
    }

    #[test]
    fn unknown_keys_are_ignored() {
        assert!(EventFilter::parse(r#"{"org.example":1}"#).unwrap().wants_everything());
    }
}
