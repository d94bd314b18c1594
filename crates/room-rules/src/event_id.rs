//! Event ids: opaque names in room versions 1 and 2, hashes of the redacted event from version 3 on.

use ruma::{EventId, OwnedEventId, room_version_rules::RoomVersionRules};

use crate::{
    canonical_json::Object,
    hash::{NOT_SIGNED, reference_hash_of_text},
    pdu::is_storable_name,
    redact::redact_event,
};

/// Reads what another server, or a client, names an event by. What no event can be called is not read.
pub fn parse_event_id(text: &str) -> Option<OwnedEventId> {
    EventId::parse(text).ok().filter(|_| is_storable_name(text))
}

/// The reference hash of an event.
///
/// <https://spec.matrix.org/v1.19/server-server-api/#calculating-the-reference-hash-for-an-event>
pub fn reference_hash(event: &Object<'_>, rules: &RoomVersionRules) -> String {
    reference_hash_of_text(&signed_text(event.clone(), rules), rules)
}

/// The id that a reference hash stands for.
pub fn from_reference_hash(hash: &str) -> OwnedEventId {
    EventId::new_v2_or_v3(hash).expect("`$` followed by base64 is an event id")
}

/// The redacted event without signatures: the text that signatures and the reference hash cover.
pub(crate) fn signed_text(mut event: Object<'_>, rules: &RoomVersionRules) -> String {
    redact_event(&mut event, &rules.redaction);
    let mut text = String::with_capacity(1024);
    event.write_without(NOT_SIGNED, &mut text);
    text
}
