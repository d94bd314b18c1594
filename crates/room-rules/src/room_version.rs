//! The room versions that this server speaks, and the rules each of them brings.

use ruma::{
    OwnedRoomId, RoomId, RoomVersionId,
    room_version_rules::{EventIdFormatVersion, EventsReferenceFormatVersion, RoomIdFormatVersion},
};

pub use ruma::room_version_rules::{
    AuthorizationRules, RedactionRules, RoomVersionRules, StateResolutionVersion,
};

static V1: RoomVersionRules = RoomVersionRules::V1;
static V2: RoomVersionRules = RoomVersionRules::V2;
static V3: RoomVersionRules = RoomVersionRules::V3;
static V4: RoomVersionRules = RoomVersionRules::V4;
static V5: RoomVersionRules = RoomVersionRules::V5;
static V6: RoomVersionRules = RoomVersionRules::V6;
static V7: RoomVersionRules = RoomVersionRules::V7;
static V8: RoomVersionRules = RoomVersionRules::V8;
static V9: RoomVersionRules = RoomVersionRules::V9;
static V10: RoomVersionRules = RoomVersionRules::V10;
static V11: RoomVersionRules = RoomVersionRules::V11;
static V12: RoomVersionRules = RoomVersionRules::V12;

/// Every room version this server can create and take part in, oldest first.
pub const SUPPORTED: [RoomVersionId; 12] = [
    RoomVersionId::V1,
    RoomVersionId::V2,
    RoomVersionId::V3,
    RoomVersionId::V4,
    RoomVersionId::V5,
    RoomVersionId::V6,
    RoomVersionId::V7,
    RoomVersionId::V8,
    RoomVersionId::V9,
    RoomVersionId::V10,
    RoomVersionId::V11,
    RoomVersionId::V12,
];

/// The rules of a room version, or `None` if this server does not support it.
pub fn rules(version: &RoomVersionId) -> Option<&'static RoomVersionRules> {
    Some(match version {
        RoomVersionId::V1 => &V1,
        RoomVersionId::V2 => &V2,
        RoomVersionId::V3 => &V3,
        RoomVersionId::V4 => &V4,
        RoomVersionId::V5 => &V5,
        RoomVersionId::V6 => &V6,
        RoomVersionId::V7 => &V7,
        RoomVersionId::V8 => &V8,
        RoomVersionId::V9 => &V9,
        RoomVersionId::V10 => &V10,
        RoomVersionId::V11 => &V11,
        RoomVersionId::V12 => &V12,
        _ => return None,
    })
}

/// The questions that code asks of a room version most often, by name.
pub trait RoomVersionRulesExt {
    /// Whether the room id is the hash of the create event (version 12) instead of a name under a server.
    fn room_id_is_create_hash(&self) -> bool;

    /// Whether event ids are hashes of the event (version 3 on), so that they are not part of the event.
    fn event_id_is_hash(&self) -> bool;

    /// Whether `prev_events` and `auth_events` are pairs of id and hash (versions 1 and 2).
    fn references_carry_hashes(&self) -> bool;

    /// Whether floats and integers beyond 2^53 - 1 make an event invalid (version 6 on).
    fn strict_canonical_json(&self) -> bool;

    /// Whether the redacted event is named in `content` (version 11 on) instead of at the top level.
    fn redacts_is_in_content(&self) -> bool;
}

impl RoomVersionRulesExt for RoomVersionRules {
    fn room_id_is_create_hash(&self) -> bool {
        self.room_id_format == RoomIdFormatVersion::V2
    }

    fn event_id_is_hash(&self) -> bool {
        self.event_id_format != EventIdFormatVersion::V1
    }

    fn references_carry_hashes(&self) -> bool {
        self.events_reference_format == EventsReferenceFormatVersion::V1
    }

    fn strict_canonical_json(&self) -> bool {
        self.authorization.strict_canonical_json
    }

    fn redacts_is_in_content(&self) -> bool {
        self.redaction.content_field_redacts
    }
}

/// The id of the create event that a room id of version 12 or later is derived from.
pub fn create_event_id(room_id: &RoomId) -> Option<ruma::OwnedEventId> {
    ruma::EventId::new_v2_or_v3(room_id.strip_sigil()).ok()
}

/// The id of the room that a create event of version 12 or later opens.
pub fn room_id_of_create_event(event_id: &ruma::EventId) -> Option<OwnedRoomId> {
    RoomId::new_v2(event_id.as_str().strip_prefix('$')?).ok()
}
