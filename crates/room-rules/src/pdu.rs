//! Events as rooms keep them.

mod facts;
mod read;

use std::ops::Range;

use ruma::{
    EventId, MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UInt, UserId,
    events::TimelineEventType, room_version_rules::RoomVersionRules, state_res::Event,
};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::room_version::RoomVersionRulesExt as _;

use self::facts::FactsCell;
pub(crate) use self::read::Parts;
pub use self::{
    facts::CreateFacts,
    read::{FormatError, References, Stored},
};

/// How large an event may be as canonical JSON, signatures included.
///
/// <https://spec.matrix.org/v1.19/client-server-api/#size-limits>
pub const MAX_PDU_BYTES: usize = 65_536;

/// How long each of `sender`, `room_id`, `state_key`, `type` and `event_id` may be.
pub const MAX_FIELD_BYTES: usize = 255;

/// Whether a name of an event, a room or a user, or a type or state key, is one that can be kept: no longer than
/// [`MAX_FIELD_BYTES`], which goes into every index, and without U+0000, which no database column takes.
pub fn is_storable_name(name: &str) -> bool {
    name.len() <= MAX_FIELD_BYTES && !name.contains('\0')
}

/// How many previous events an event may name (the schema of PDUs in the server-server API).
pub const MAX_PREV_EVENTS: usize = 20;

/// How many auth events an event may name (the schema of PDUs in the server-server API).
pub const MAX_AUTH_EVENTS: usize = 10;

/// An event of a room: its canonical, signed JSON, and the fields that everybody asks for.
///
/// It does not change. What we think of it beside its text, that is whether it was rejected, is part of it,
/// since auth rules and state resolution ask for it.
#[derive(Clone, Debug)]
pub struct Pdu {
    event_id: OwnedEventId,
    room_id: OwnedRoomId,
    sender: OwnedUserId,
    event_type: TimelineEventType,
    type_text: Box<str>,
    state_key: Option<Box<str>>,
    origin_server_ts: i64,
    depth: i64,
    prev_events: Box<[OwnedEventId]>,
    auth_events: Box<[OwnedEventId]>,
    redacts: Option<OwnedEventId>,
    is_rejected: bool,
    rules: &'static RoomVersionRules,
    content: Range<usize>,
    json: Box<str>,
    facts: FactsCell,
}

impl Pdu {
    /// The event's id.
    pub fn event_id(&self) -> &EventId {
        &self.event_id
    }

    /// The room it belongs to. Create events of version 12 do not name it; it follows from their id.
    pub fn room_id(&self) -> &RoomId {
        &self.room_id
    }

    /// Who sent it.
    pub fn sender(&self) -> &UserId {
        &self.sender
    }

    /// The type, for matching on.
    pub fn event_type(&self) -> &TimelineEventType {
        &self.event_type
    }

    /// The type as it is written.
    pub fn type_str(&self) -> &str {
        &self.type_text
    }

    /// The state key. Only state events have one; it may be empty.
    pub fn state_key(&self) -> Option<&str> {
        self.state_key.as_deref()
    }

    /// Whether it is a state event.
    pub fn is_state(&self) -> bool {
        self.state_key.is_some()
    }

    /// Whether it is a state event of this type and key.
    pub fn is_state_of(&self, event_type: &str, state_key: &str) -> bool {
        self.state_key.as_deref() == Some(state_key) && &*self.type_text == event_type
    }

    /// When the sender's server says it was sent, in milliseconds since 1970. Not to be trusted.
    pub fn origin_server_ts(&self) -> i64 {
        self.origin_server_ts
    }

    /// How deep in the graph its server says it is. Not to be trusted.
    pub fn depth(&self) -> i64 {
        self.depth
    }

    /// The events before it.
    pub fn prev_events(&self) -> &[OwnedEventId] {
        &self.prev_events
    }

    /// The events that allow it.
    pub fn auth_events(&self) -> &[OwnedEventId] {
        &self.auth_events
    }

    /// The event it redacts, if it is a redaction: from the top level or from `content`, as its version says.
    pub fn redacts(&self) -> Option<&EventId> {
        self.redacts.as_deref()
    }

    /// Whether it was rejected by the auth rules.
    pub fn is_rejected(&self) -> bool {
        self.is_rejected
    }

    /// The same event with another verdict.
    #[must_use]
    pub fn with_rejected(mut self, is_rejected: bool) -> Self {
        self.is_rejected = is_rejected;
        self
    }

    /// The rules of its room's version.
    pub fn rules(&self) -> &'static RoomVersionRules {
        self.rules
    }

    /// The JSON of its content.
    pub fn content_str(&self) -> &str {
        &self.json[self.content.clone()]
    }

    /// Its content read as `T`.
    pub fn content_as<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_str(self.content_str())
    }

    /// The whole event: canonical JSON with hashes and signatures, without `unsigned`.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// The whole event as raw JSON, for putting into a response to a server.
    pub fn to_raw_json(&self) -> Box<RawValue> {
        RawValue::from_string(self.json.clone().into_string()).expect("an event's text is JSON")
    }

    /// Gives up the JSON.
    pub fn into_json(self) -> Box<str> {
        self.json
    }

    /// Whether this is a create event whose id gives the room its id (version 12).
    fn names_its_room(&self) -> bool {
        self.rules.room_id_is_create_hash() && self.event_type == TimelineEventType::RoomCreate
    }
}

/// How ruma's auth rules and state resolution see an event.
impl Event for Pdu {
    type Id = OwnedEventId;

    fn event_id(&self) -> &OwnedEventId {
        &self.event_id
    }

    /// `None` for a create event of version 12, which must not name its room.
    fn room_id(&self) -> Option<&RoomId> {
        (!self.names_its_room()).then_some(&*self.room_id)
    }

    fn sender(&self) -> &UserId {
        &self.sender
    }

    fn origin_server_ts(&self) -> MilliSecondsSinceUnixEpoch {
        let max = i64::from(UInt::MAX);
        MilliSecondsSinceUnixEpoch(UInt::new_saturating(self.origin_server_ts.clamp(0, max) as u64))
    }

    fn event_type(&self) -> &TimelineEventType {
        &self.event_type
    }

    /// With power levels as integers, whatever the room version lets them be.
    fn content(&self) -> &RawValue {
        let normalised =
            (!self.rules.strict_canonical_json()).then(|| self.power_levels().ok()?.normalised()).flatten();
        serde_json::from_str(normalised.unwrap_or_else(|| self.content_str()))
            .expect("an event's content is JSON")
    }

    fn state_key(&self) -> Option<&str> {
        self.state_key.as_deref()
    }

    fn prev_events(&self) -> Box<dyn DoubleEndedIterator<Item = &OwnedEventId> + '_> {
        Box::new(self.prev_events.iter())
    }

    fn auth_events(&self) -> Box<dyn DoubleEndedIterator<Item = &OwnedEventId> + '_> {
        Box::new(self.auth_events.iter())
    }

    fn redacts(&self) -> Option<&OwnedEventId> {
        self.redacts.as_ref()
    }

    fn rejected(&self) -> bool {
        self.is_rejected
    }
}
