//! What stored events say, as far as rendering asks.
//!
//! Most of it was written by other servers, which put into an event what they like: what cannot be read is not there, and
//! an event of which nothing can be read is shown without content. No event spoils the response that it is part of.

use std::borrow::Cow;

use hs_model::records::EventRecord;
use hs_room_rules::redact::redact_json;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::Room;

/// An event of which nothing but its record can be read.
const UNREADABLE: &str = r#"{"content":{}}"#;

/// The parts of a stored event that cannot be taken from its record.
#[derive(Deserialize)]
pub(super) struct Stored<'a> {
    #[serde(borrow)]
    pub(super) content: &'a RawValue,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) redacts: Option<String>,
    #[serde(default, rename = "msc4354_sticky", deserialize_with = "lenient")]
    pub(super) sticky: Option<Sticky>,
}

/// That an event is delivered for a while whatever comes after it (MSC4354).
#[derive(Clone, Copy, Deserialize)]
pub(super) struct Sticky {
    pub(super) duration_ms: i64,
}

impl<'a> Stored<'a> {
    /// Reads an event's JSON.
    pub(super) fn read(event: &EventRecord, json: &'a str) -> Self {
        serde_json::from_str(json).unwrap_or_else(|error| {
            tracing::error!(%error, event_id = %event.event_id, "a stored event can not be read");
            Self { content: no_content(), redacts: None, sticky: None }
        })
    }

    /// The redacted event as `content` names it from room version 11 on.
    pub(super) fn redacts_in_content(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Content {
            redacts: Option<String>,
        }
        serde_json::from_str::<Content>(self.content.get()).ok()?.redacts
    }
}

fn no_content() -> &'static RawValue {
    serde_json::from_str("{}").expect("an empty object is JSON")
}

/// A field that is not there when it can not be read.
fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<Option<T>, D::Error> {
    let raw = <&'de RawValue>::deserialize(deserializer)?;
    Ok(serde_json::from_str(raw.get()).ok())
}

/// The JSON of an event, pruned when it is redacted.
pub fn visible_json<'a>(room: &Room, event: &'a EventRecord) -> Cow<'a, str> {
    shown_json(room, event, false)
}

/// As [`visible_json`]; pruned as well when the sender's wish to be forgotten stands against this viewer.
pub(super) fn shown_json<'a>(room: &Room, event: &'a EventRecord, is_erased: bool) -> Cow<'a, str> {
    if event.redacted_by.is_none() && !is_erased {
        return Cow::Borrowed(&event.json);
    }
    redact_json(&event.json, room.rules).map_or_else(
        |error| {
            tracing::error!(%error, event_id = %event.event_id, "a stored event can not be redacted");
            Cow::Borrowed(UNREADABLE)
        },
        Cow::Owned,
    )
}

/// The content of an event, pruned when it is redacted.
pub fn visible_content(room: &Room, event: &EventRecord) -> Box<RawValue> {
    Stored::read(event, &visible_json(room, event)).content.to_owned()
}

/// The content of an event as it was sent, redacted or not.
pub(crate) fn stored_content(event: &EventRecord) -> &RawValue {
    Stored::read(event, &event.json).content
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_stands_beside_the_content_it_is_read() {
        for strange in ["5", "null", "[]", "{}", "true", "1e400", r#"{"duration_ms":"x"}"#] {
            let json = format!(r#"{{"content":{{"a":1}},"redacts":{strange},"msc4354_sticky":{strange}}}"#);
            let stored: Stored<'_> = serde_json::from_str(&json).expect("an event");
            assert_eq!(stored.content.get(), r#"{"a":1}"#);
            assert!(stored.redacts.is_none() && stored.sticky.is_none(), "{strange}");
        }
        let json = r#"{"content":{},"redacts":"$a\u0062","msc4354_sticky":{"duration_ms":5}}"#;
        let stored: Stored<'_> = serde_json::from_str(json).expect("an event");
        assert_eq!(stored.redacts.as_deref(), Some("$ab"));
        assert_eq!(stored.sticky.map(|sticky| sticky.duration_ms), Some(5));
        let stored: Stored<'_> = serde_json::from_str(r#"{"content":{"redacts":["$a"]}}"#).expect("an event");
        assert!(stored.redacts.is_none() && stored.redacts_in_content().is_none());
    }
}
