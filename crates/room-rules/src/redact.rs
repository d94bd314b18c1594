//! Redaction: what remains of an event whose content was removed.
//!
//! Which fields survive depends on the room version; signatures and event ids cover exactly what survives.
//! Specification: "Redactions" of each room version, <https://spec.matrix.org/v1.19/rooms/v12/#redactions>.

use ruma::room_version_rules::{RedactionRules, RoomVersionRules};

use crate::canonical_json::{Object, ParseError, ParseOptions, Value};

/// Removes from an event what a redaction removes, at the top level and in `content`.
pub fn redact_event(event: &mut Object<'_>, rules: &RedactionRules) {
    let event_type = event.get_str("type").unwrap_or_default().to_owned();
    event.retain(|key, value| {
        let is_kept = keeps_top_level(key, rules);
        if is_kept
            && key == "content"
            && let Value::Object(content) = value
        {
            redact_content(content, &event_type, rules);
        }
        is_kept
    });
}

/// Removes from the content of an event what a redaction removes.
pub fn redact_content(content: &mut Object<'_>, event_type: &str, rules: &RedactionRules) {
    if event_type == "m.room.create" && rules.keep_room_create_content {
        return;
    }
    content.retain(|key, value| {
        keeps_content(event_type, key, rules) && (key != "third_party_invite" || keep_signed_only(value))
    });
}

/// The redacted form of an event's JSON.
pub fn redact_json(json: &str, rules: &RoomVersionRules) -> Result<String, ParseError> {
    let mut event = Object::parse(json, ParseOptions::federation(rules))?;
    redact_event(&mut event, &rules.redaction);
    Ok(event.to_canonical_string())
}

fn keeps_top_level(key: &str, rules: &RedactionRules) -> bool {
    match key {
        "event_id" | "type" | "room_id" | "sender" | "state_key" | "content" | "hashes" | "signatures"
        | "depth" | "prev_events" | "auth_events" | "origin_server_ts" => true,
        "origin" | "membership" | "prev_state" => rules.keep_origin_membership_prev_state,
        _ => false,
    }
}

fn keeps_content(event_type: &str, key: &str, rules: &RedactionRules) -> bool {
    match (event_type, key) {
        ("m.room.member", "membership")
        | ("m.room.create", "creator")
        | ("m.room.join_rules", "join_rule")
        | ("m.room.history_visibility", "history_visibility")
        | (
            "m.room.power_levels",
            "ban" | "events" | "events_default" | "kick" | "redact" | "state_default" | "users"
            | "users_default",
        ) => true,
        ("m.room.member", "join_authorised_via_users_server") => {
            rules.keep_room_member_join_authorised_via_users_server
        }
        ("m.room.member", "third_party_invite") => rules.keep_room_member_third_party_invite_signed,
        ("m.room.join_rules", "allow") => rules.keep_room_join_rules_allow,
        ("m.room.power_levels", "invite") => rules.keep_room_power_levels_invite,
        ("m.room.redaction", "redacts") => rules.keep_room_redaction_redacts,
        ("m.room.aliases", "aliases") => rules.keep_room_aliases_aliases,
        _ => false,
    }
}

/// Of a third-party invite only the part that the identity server signed is needed to authorise the event.
/// Something that is not an object has no such part.
fn keep_signed_only(third_party_invite: &mut Value<'_>) -> bool {
    let Value::Object(invite) = third_party_invite else { return false };
    invite.retain(|key, _| key == "signed");
    true
}
