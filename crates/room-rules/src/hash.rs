//! The two hashes of an event: of its content (carried inside it) and of its redacted form (its identity).

use ruma::room_version_rules::{EventIdFormatVersion, RoomVersionRules};
use sha2::{Digest as _, Sha256};

use crate::{
    canonical_json::Object,
    unpadded_base64::{decode, encode, encode_url_safe},
};

/// The keys that the content hash does not cover.
const NOT_CONTENT: &[&str] = &["hashes", "signatures", "unsigned"];

/// The keys that signatures and the reference hash do not cover.
pub(crate) const NOT_SIGNED: &[&str] = &["signatures", "unsigned"];

/// The content hash of an event, as it stands in `hashes.sha256`.
///
/// <https://spec.matrix.org/v1.19/server-server-api/#calculating-the-content-hash-for-an-event>
pub fn content_hash(event: &Object<'_>) -> String {
    let mut hashed = String::with_capacity(1024);
    event.write_without(NOT_CONTENT, &mut hashed);
    encode(&sha256(&hashed))
}

/// Whether the event's content is still what `hashes.sha256` says.
pub fn content_hash_matches(event: &Object<'_>) -> bool {
    let Some(stated) = event.get_object("hashes").and_then(|hashes| hashes.get_str("sha256")) else {
        return false;
    };
    let mut hashed = String::with_capacity(1024);
    event.write_without(NOT_CONTENT, &mut hashed);
    decode(stated).is_some_and(|stated: [u8; 32]| stated == sha256(&hashed))
}

/// The hash of a redacted event's canonical JSON, in the alphabet that the room version uses for event ids.
pub(crate) fn reference_hash_of_text(redacted: &str, rules: &RoomVersionRules) -> String {
    let hash = sha256(redacted);
    match rules.event_id_format {
        EventIdFormatVersion::V1 | EventIdFormatVersion::V2 => encode(&hash),
        _ => encode_url_safe(&hash),
    }
}

/// The content hash of a text that holds an event without hashes, signatures and unsigned data.
pub(crate) fn content_hash_of_text(hashed: &str) -> String {
    encode(&sha256(hashed))
}

fn sha256(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}
