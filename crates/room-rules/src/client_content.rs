//! What clients may put into the well-known events.
//!
//! The rules of rooms let almost everything through: a room can be broken for good by a power levels event
//! with a list where a number should be. So content that our own clients send is held against the schemas of
//! the specification, as far as somebody relies on them. Unknown fields and unknown types are let through.

mod fields;

use ruma::{RoomAliasId, RoomVersionId, UserId};
use thiserror::Error;

use crate::{canonical_json::Object, room_version};

use self::fields::Fields;

/// Why content is refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ContentError {
    /// It has not the form that its type prescribes (`M_BAD_JSON`).
    #[error("{0}")]
    Malformed(String),
    /// It has the right form, but names something that cannot be (`M_INVALID_PARAM`).
    #[error("{0}")]
    InvalidValue(String),
}

/// Checks the content of an event that a client wants to send.
pub fn check(event_type: &str, state_key: Option<&str>, content: &Object<'_>) -> Result<(), ContentError> {
    let fields = Fields::of(content);
    // Clients and bots send messages of many shapes; nothing in the room depends on them.
    let Some(state_key) = state_key else { return Ok(()) };
    match event_type {
        "m.room.create" => check_create(&fields),
        "m.room.member" => check_member(state_key, &fields),
        "m.room.power_levels" => check_power_levels(&fields),
        "m.room.join_rules" => check_join_rules(&fields),
        "m.room.canonical_alias" => check_canonical_alias(&fields),
        "m.room.history_visibility" => {
            // An unknown value counts as `shared`.
            fields.required_string("history_visibility").map(drop)
        }
        "m.room.guest_access" => fields.one_of("guest_access", &["can_join", "forbidden"]),
        "m.room.encryption" => {
            fields.required_string("algorithm")?;
            fields.int("rotation_period_ms")?;
            fields.int("rotation_period_msgs").map(drop)
        }
        "m.room.name" => fields.string("name").map(drop),
        "m.room.topic" => fields.string("topic").map(drop),
        "m.room.avatar" => {
            fields.string("url")?;
            fields.object("info").map(drop)
        }
        "m.room.pinned_events" => fields.strings("pinned").map(drop),
        "m.room.server_acl" => {
            fields.strings("allow")?;
            fields.strings("deny")?;
            fields.bool("allow_ip_literals").map(drop)
        }
        "m.room.tombstone" => {
            fields.string("body")?;
            fields.string("replacement_room").map(drop)
        }
        "m.room.third_party_invite" => {
            fields.string("display_name")?;
            fields.string("key_validity_url")?;
            fields.string("public_key").map(drop)
        }
        "m.space.child" => {
            fields.strings("via")?;
            fields.string("order")?;
            fields.bool("suggested").map(drop)
        }
        "m.space.parent" => {
            fields.strings("via")?;
            fields.bool("canonical").map(drop)
        }
        _ => Ok(()),
    }
}

fn check_create(fields: &Fields<'_>) -> Result<(), ContentError> {
    fields.bool("m.federate")?;
    fields.string("type")?;
    if let Some(version) = fields.string("room_version")? {
        let is_supported =
            RoomVersionId::try_from(version).is_ok_and(|version| room_version::rules(&version).is_some());
        if !is_supported {
            return Err(ContentError::InvalidValue(format!("room version `{version}` is not supported")));
        }
    }
    if let Some(creator) = fields.string("creator")? {
        user_id("creator", creator)?;
    }
    for creator in fields.strings("additional_creators")? {
        user_id("additional_creators", creator)?;
    }
    if let Some(predecessor) = fields.object("predecessor")? {
        predecessor.required_string("room_id")?;
        predecessor.string("event_id")?;
    }
    Ok(())
}

fn check_member(state_key: &str, fields: &Fields<'_>) -> Result<(), ContentError> {
    user_id("state_key", state_key)?;
    fields.one_of("membership", &["ban", "invite", "join", "knock", "leave"])?;
    for key in ["displayname", "avatar_url", "reason"] {
        fields.nullable_string(key)?;
    }
    fields.bool("is_direct")?;
    if let Some(authoriser) = fields.string("join_authorised_via_users_server")? {
        user_id("join_authorised_via_users_server", authoriser)?;
    }
    if let Some(invite) = fields.object("third_party_invite")? {
        invite.string("display_name")?;
        let signed = invite.required_object("signed")?;
        signed.required_string("mxid")?;
        signed.required_string("token")?;
        signed.required_object("signatures")?;
    }
    Ok(())
}

/// Levels must be integers even in room versions that take strings and floats: nobody should send new ones.
fn check_power_levels(fields: &Fields<'_>) -> Result<(), ContentError> {
    for key in ["users_default", "events_default", "state_default", "ban", "kick", "redact", "invite"] {
        fields.int(key)?;
    }
    for key in ["events", "notifications", "users"] {
        let Some(levels) = fields.object(key)? else { continue };
        for name in levels.keys() {
            if key == "users" {
                user_id("users", name)?;
            }
            levels.int(name)?;
        }
    }
    Ok(())
}

fn check_join_rules(fields: &Fields<'_>) -> Result<(), ContentError> {
    fields.required_string("join_rule")?;
    // Conditions that nobody understands let nobody in; the specification asks to ignore them.
    Ok(())
}

fn check_canonical_alias(fields: &Fields<'_>) -> Result<(), ContentError> {
    // An empty alias means the same as none.
    let alias = fields.nullable_string("alias")?.filter(|alias| !alias.is_empty());
    for alias in alias.into_iter().chain(fields.strings("alt_aliases")?) {
        if <&RoomAliasId>::try_from(alias).is_err() {
            return Err(ContentError::InvalidValue(format!("`{alias}` is not a room alias")));
        }
    }
    Ok(())
}

fn user_id(key: &str, value: &str) -> Result<(), ContentError> {
    <&UserId>::try_from(value)
        .map(drop)
        .map_err(|_| ContentError::Malformed(format!("`{key}` holds `{value}`, which is not a user id")))
}
