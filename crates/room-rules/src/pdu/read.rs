//! Making [`Pdu`]s: from JSON of another server, from our own store, and from the builder's parts.

use std::{fmt, ops::Range};

use ruma::{
    EventId, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UserId, events::TimelineEventType,
    room_version_rules::RoomVersionRules,
};
use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use thiserror::Error;

use super::{
    FactsCell, MAX_AUTH_EVENTS, MAX_FIELD_BYTES, MAX_PDU_BYTES, MAX_PREV_EVENTS, Pdu, is_storable_name,
};
use crate::{
    canonical_json::{MAX_INTEGER, Number, Object, ParseError, ParseOptions, Value},
    event_id::{from_reference_hash, parse_event_id, reference_hash},
    redact::redact_event,
    room_version::{RoomVersionRulesExt as _, create_event_id, room_id_of_create_event},
    verify::Verified,
};

/// Why a text is not an event of its room version. Such events are dropped.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum FormatError {
    /// Not acceptable JSON.
    #[error(transparent)]
    Json(#[from] ParseError),
    /// Larger than [`MAX_PDU_BYTES`].
    #[error("the event is larger than {MAX_PDU_BYTES} bytes")]
    TooLarge,
    /// A field that every event has is not there.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// A field has the wrong type or form.
    #[error("`{0}` is malformed")]
    Malformed(&'static str),
    /// A field is longer than [`MAX_FIELD_BYTES`].
    #[error("`{0}` is longer than {MAX_FIELD_BYTES} bytes")]
    FieldTooLong(&'static str),
    /// More than [`MAX_PREV_EVENTS`] or [`MAX_AUTH_EVENTS`] entries.
    #[error("`{0}` has too many entries")]
    TooManyEntries(&'static str),
    /// The create event is among the auth events of a version where the room id stands for it.
    #[error("`auth_events` names the create event")]
    CreateInAuthEvents,
}

/// How many events an event may refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum References {
    /// At most [`MAX_PREV_EVENTS`] and [`MAX_AUTH_EVENTS`].
    Few,
    /// As many as fit: what was accepted before there were limits is still part of the history of its room.
    Any,
}

/// What a store keeps of an event beside its JSON.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The event's JSON, as [`Pdu::json`] gave it.
    pub json: Box<str>,
    /// The event's id.
    pub event_id: OwnedEventId,
    /// The room's id.
    pub room_id: OwnedRoomId,
    /// Whether it was rejected.
    pub is_rejected: bool,
}

/// The fields that the builder has at hand when it has written an event.
pub(crate) struct Parts {
    pub(crate) event_id: OwnedEventId,
    pub(crate) room_id: OwnedRoomId,
    pub(crate) sender: OwnedUserId,
    pub(crate) type_text: Box<str>,
    pub(crate) state_key: Option<Box<str>>,
    pub(crate) origin_server_ts: i64,
    pub(crate) depth: i64,
    pub(crate) prev_events: Box<[OwnedEventId]>,
    pub(crate) auth_events: Box<[OwnedEventId]>,
    pub(crate) redacts: Option<OwnedEventId>,
    pub(crate) content: Range<usize>,
    pub(crate) json: Box<str>,
}

impl Pdu {
    /// Reads an event received from another server and checks its form.
    ///
    /// The event's id is taken from it (versions 1 and 2) or computed. `event_id` saves the computation where
    /// the id is certain, because we made the event or have checked it before; from version 3 on it is
    /// believed. `unsigned` is dropped: nothing in it is covered by the signature.
    /// Hashes and signatures are not checked here, see [`crate::verify`].
    pub fn from_json(
        json: &str,
        event_id: Option<OwnedEventId>,
        rules: &'static RoomVersionRules,
    ) -> Result<Self, FormatError> {
        // Whitespace and escapes may double the size of what is within bounds when canonical.
        if json.len() > 4 * MAX_PDU_BYTES {
            return Err(FormatError::TooLarge);
        }
        let event = Object::parse(json, ParseOptions::federation(rules))?;
        Self::from_object(event, event_id, rules)
    }

    /// Like [`Self::from_json`], for JSON that is parsed already.
    pub fn from_object(
        event: Object<'_>,
        event_id: Option<OwnedEventId>,
        rules: &'static RoomVersionRules,
    ) -> Result<Self, FormatError> {
        Self::read(event, event_id, References::Few, rules)
    }

    /// Reads an event whose signatures and hash were checked: redacted, if its content is not what was hashed.
    pub fn from_verified(
        mut event: Object<'_>,
        verified: Verified,
        references: References,
        rules: &'static RoomVersionRules,
    ) -> Result<Self, FormatError> {
        if verified == Verified::Signatures {
            // What is too large does not become an event by losing most of itself.
            canonical_text(&mut event)?;
            redact_event(&mut event, &rules.redaction);
        }
        Self::read(event, None, references, rules)
    }

    fn read(
        mut event: Object<'_>,
        event_id: Option<OwnedEventId>,
        references: References,
        rules: &'static RoomVersionRules,
    ) -> Result<Self, FormatError> {
        let json = canonical_text(&mut event)?.into_boxed_str();
        let type_text = required_str(&event, "type")?;
        let sender =
            UserId::parse(required_str(&event, "sender")?).map_err(|_| FormatError::Malformed("sender"))?;
        let state_key = optional_str(&event, "state_key")?.map(Box::from);
        let event_id = read_event_id(&event, event_id, rules)?;
        let room_id = read_room_id(&event, type_text, &event_id, rules)?;
        let (max_prev, max_auth) = match references {
            References::Few => (MAX_PREV_EVENTS, MAX_AUTH_EVENTS),
            References::Any => (usize::MAX, usize::MAX),
        };
        let prev_events = read_references(&event, "prev_events", max_prev, rules)?;
        let auth_events = read_references(&event, "auth_events", max_auth, rules)?;
        if rules.room_id_is_create_hash()
            && create_event_id(&room_id).is_some_and(|create| auth_events.contains(&create))
        {
            return Err(FormatError::CreateInAuthEvents);
        }
        let depth = read_int(&event, "depth")?;
        if depth < 0 {
            return Err(FormatError::Malformed("depth"));
        }
        let content = event.get("content").ok_or(FormatError::Missing("content"))?;
        let content = content.as_object().ok_or(FormatError::Malformed("content"))?;
        for key in ["hashes", "signatures"] {
            event.get(key).ok_or(FormatError::Missing(key))?;
            event.get_object(key).ok_or(FormatError::Malformed(key))?;
        }
        Ok(Self::from_parts(
            Parts {
                event_id,
                room_id,
                sender,
                type_text: Box::from(type_text),
                state_key,
                origin_server_ts: read_int(&event, "origin_server_ts")?,
                depth,
                prev_events,
                auth_events,
                redacts: read_redacts(&event, type_text, content, rules),
                content: content_range(&json),
                json,
            },
            rules,
        ))
    }

    /// Rebuilds an event that this server has stored. Nothing is checked again.
    pub fn from_stored(stored: Stored, rules: &'static RoomVersionRules) -> Result<Self, FormatError> {
        let Stored { json, event_id, room_id, is_rejected } = stored;
        let fields: Fields<'_> = serde_json::from_str(&json).map_err(|_| ParseError::NotJson)?;
        let parts = Parts {
            event_id,
            room_id,
            redacts: fields.redacts(rules),
            sender: fields.sender,
            type_text: fields.event_type,
            state_key: fields.state_key,
            origin_server_ts: fields.origin_server_ts.0,
            depth: fields.depth.0,
            prev_events: ids(fields.prev_events),
            auth_events: ids(fields.auth_events),
            content: range_in(&json, fields.content.get()),
            json: Box::default(),
        };
        Ok(Self::from_parts(Parts { json, ..parts }, rules).with_rejected(is_rejected))
    }

    pub(crate) fn from_parts(parts: Parts, rules: &'static RoomVersionRules) -> Self {
        Self {
            event_id: parts.event_id,
            room_id: parts.room_id,
            sender: parts.sender,
            event_type: TimelineEventType::from(&*parts.type_text),
            type_text: parts.type_text,
            state_key: parts.state_key,
            origin_server_ts: parts.origin_server_ts,
            depth: parts.depth,
            prev_events: parts.prev_events,
            auth_events: parts.auth_events,
            redacts: parts.redacts,
            is_rejected: false,
            rules,
            content: parts.content,
            json: parts.json,
            facts: FactsCell::default(),
        }
    }
}

/// The event's canonical JSON without `unsigned`, unless that is too large.
fn canonical_text(event: &mut Object<'_>) -> Result<String, FormatError> {
    event.remove("unsigned");
    let json = event.to_canonical_string();
    if json.len() > MAX_PDU_BYTES { Err(FormatError::TooLarge) } else { Ok(json) }
}

fn required_str<'e>(event: &'e Object<'_>, key: &'static str) -> Result<&'e str, FormatError> {
    optional_str(event, key)?.ok_or(FormatError::Missing(key))
}

fn optional_str<'e>(event: &'e Object<'_>, key: &'static str) -> Result<Option<&'e str>, FormatError> {
    let Some(value) = event.get(key) else { return Ok(None) };
    let text = value.as_str().ok_or(FormatError::Malformed(key))?;
    if text.len() > MAX_FIELD_BYTES {
        return Err(FormatError::FieldTooLong(key));
    }
    // The rules allow U+0000, and the database does not.
    if is_storable_name(text) { Ok(Some(text)) } else { Err(FormatError::Malformed(key)) }
}

/// An integer; one that is out of range, as old room versions allow, is brought to the end of the range.
fn read_int(event: &Object<'_>, key: &'static str) -> Result<i64, FormatError> {
    match event.get(key).ok_or(FormatError::Missing(key))? {
        Value::Number(Number::Int(int)) => Ok((*int).clamp(-MAX_INTEGER, MAX_INTEGER)),
        Value::Number(Number::Text(text))
            if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') =>
        {
            Ok(clamped(text))
        }
        _ => Err(FormatError::Malformed(key)),
    }
}

/// An integer of any length, brought into range.
fn clamped(text: &str) -> i64 {
    // Beyond i64 only the sign still matters.
    let beyond = if text.starts_with('-') { -MAX_INTEGER } else { MAX_INTEGER };
    text.parse::<i64>().map_or(beyond, |int| int.clamp(-MAX_INTEGER, MAX_INTEGER))
}

fn read_event_id(
    event: &Object<'_>,
    known: Option<OwnedEventId>,
    rules: &RoomVersionRules,
) -> Result<OwnedEventId, FormatError> {
    if rules.event_id_is_hash() {
        return Ok(known.unwrap_or_else(|| from_reference_hash(&reference_hash(event, rules))));
    }
    let event_id =
        EventId::parse(required_str(event, "event_id")?).map_err(|_| FormatError::Malformed("event_id"))?;
    // Without a server in it, nobody could be asked to vouch for the id.
    let has_server = event_id.server_name().is_some();
    if !has_server || known.is_some_and(|known| known != event_id) {
        return Err(FormatError::Malformed("event_id"));
    }
    Ok(event_id)
}

fn read_room_id(
    event: &Object<'_>,
    event_type: &str,
    event_id: &EventId,
    rules: &RoomVersionRules,
) -> Result<OwnedRoomId, FormatError> {
    if rules.room_id_is_create_hash() && event_type == "m.room.create" {
        // Auth rule 1.2 of version 12: a create event with a room id is invalid.
        return if event.contains_key("room_id") {
            Err(FormatError::Malformed("room_id"))
        } else {
            room_id_of_create_event(event_id).ok_or(FormatError::Malformed("event_id"))
        };
    }
    RoomId::parse(required_str(event, "room_id")?).map_err(|_| FormatError::Malformed("room_id"))
}

fn read_references(
    event: &Object<'_>,
    key: &'static str,
    max: usize,
    rules: &RoomVersionRules,
) -> Result<Box<[OwnedEventId]>, FormatError> {
    let malformed = || FormatError::Malformed(key);
    let items = event.get(key).ok_or(FormatError::Missing(key))?.as_array().ok_or_else(malformed)?;
    if items.len() > max {
        return Err(FormatError::TooManyEntries(key));
    }
    let id_of = |item: &Value<'_>| {
        let id = if rules.references_carry_hashes() { item.as_array()?.first()? } else { item };
        parse_event_id(id.as_str()?)
    };
    items.iter().map(|item| id_of(item).ok_or_else(malformed)).collect()
}

fn read_redacts(
    event: &Object<'_>,
    event_type: &str,
    content: &Object<'_>,
    rules: &RoomVersionRules,
) -> Option<OwnedEventId> {
    if event_type != "m.room.redaction" {
        return None;
    }
    let holder = if rules.redacts_is_in_content() { content } else { event };
    parse_event_id(holder.get_str("redacts")?)
}

/// Where the content stands in an event's text.
fn content_range(json: &str) -> Range<usize> {
    #[derive(Deserialize)]
    struct Content<'a> {
        #[serde(borrow)]
        content: &'a RawValue,
    }
    let content: Content<'_> = serde_json::from_str(json).expect("canonical JSON of an event is JSON");
    range_in(json, content.content.get())
}

/// Where a slice of a text stands in it.
fn range_in(text: &str, slice: &str) -> Range<usize> {
    let start = slice.as_ptr() as usize - text.as_ptr() as usize;
    start..start + slice.len()
}

/// The fields of a stored event.
#[derive(Deserialize)]
struct Fields<'a> {
    sender: OwnedUserId,
    #[serde(rename = "type")]
    event_type: Box<str>,
    #[serde(default)]
    state_key: Option<Box<str>>,
    #[serde(borrow)]
    content: &'a RawValue,
    #[serde(borrow, default)]
    redacts: Option<&'a RawValue>,
    origin_server_ts: ClampedInt,
    depth: ClampedInt,
    prev_events: Vec<Reference>,
    auth_events: Vec<Reference>,
}

impl Fields<'_> {
    fn redacts(&self, rules: &RoomVersionRules) -> Option<OwnedEventId> {
        #[derive(Deserialize)]
        struct RedactionContent<'a> {
            #[serde(borrow)]
            redacts: Option<&'a RawValue>,
        }
        if &*self.event_type != "m.room.redaction" {
            return None;
        }
        let raw = if rules.redacts_is_in_content() {
            serde_json::from_str::<RedactionContent<'_>>(self.content.get()).ok()?.redacts
        } else {
            self.redacts
        };
        parse_event_id(&serde_json::from_str::<String>(raw?.get()).ok()?)
    }
}

/// An integer, brought into range as [`read_int`] does. Its text is read, since parsers of numbers know none of more than 308
/// digits.
struct ClampedInt(i64);

impl<'de> Deserialize<'de> for ClampedInt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(clamped(<&RawValue>::deserialize(deserializer)?.get())))
    }
}

/// A reference to another event: an id, or a pair of id and hashes.
struct Reference(OwnedEventId);

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ReferenceVisitor;

        impl<'de> Visitor<'de> for ReferenceVisitor {
            type Value = Reference;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an event id, or a list that begins with one")
            }

            fn visit_str<E: de::Error>(self, id: &str) -> Result<Reference, E> {
                EventId::parse(id).map(Reference).map_err(E::custom)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut pair: A) -> Result<Reference, A::Error> {
                let id = pair.next_element()?.ok_or_else(|| de::Error::custom("empty reference"))?;
                while pair.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Reference(id))
            }
        }

        deserializer.deserialize_any(ReferenceVisitor)
    }
}

fn ids(references: Vec<Reference>) -> Box<[OwnedEventId]> {
    references.into_iter().map(|reference| reference.0).collect()
}
