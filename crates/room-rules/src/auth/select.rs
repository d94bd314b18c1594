//! Which events of the state an event must name as its auth events.

use std::borrow::Cow;

use ruma::{OwnedUserId, UserId, room_version_rules::RoomVersionRules};
use serde::Deserialize;
use smallvec::{SmallVec, smallvec};

use super::AuthError;

/// The type and state key of an event in the state.
pub type AuthKey<'a> = (&'static str, Cow<'a, str>);

/// The keys of the state events that are the auth events of an event, as far as they exist.
///
/// From version 12 on the create event is not among them, but [`super::check_dependent`] needs it all the same.
///
/// <https://spec.matrix.org/v1.19/server-server-api/#auth-events-selection>
pub fn auth_types<'a>(
    event_type: &str,
    sender: &'a UserId,
    state_key: Option<&'a str>,
    content: &str,
    rules: &RoomVersionRules,
) -> Result<SmallVec<[AuthKey<'a>; 6]>, AuthError> {
    if event_type == "m.room.create" {
        return Ok(SmallVec::new());
    }
    let mut keys: SmallVec<[AuthKey<'a>; 6]> = smallvec![
        ("m.room.power_levels", Cow::Borrowed("")),
        ("m.room.member", Cow::Borrowed(sender.as_str())),
    ];
    if !rules.authorization.room_create_event_id_as_room_id {
        keys.push(("m.room.create", Cow::Borrowed("")));
    }
    if event_type == "m.room.member" {
        add_member_keys(&mut keys, state_key, content, rules)?;
    }
    Ok(keys)
}

/// Each membership reads only the fields that matter to it, so that nonsense in others does no harm.
#[derive(Deserialize)]
struct Member<'a> {
    #[serde(borrow)]
    membership: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Join {
    join_authorised_via_users_server: Option<OwnedUserId>,
}

#[derive(Deserialize)]
struct Invite {
    third_party_invite: Option<ThirdPartyInvite>,
}

#[derive(Deserialize)]
struct ThirdPartyInvite {
    signed: Signed,
}

#[derive(Deserialize)]
struct Signed {
    token: String,
}

fn add_member_keys<'a>(
    keys: &mut SmallVec<[AuthKey<'a>; 6]>,
    state_key: Option<&'a str>,
    content: &str,
    rules: &RoomVersionRules,
) -> Result<(), AuthError> {
    let state_key = state_key.ok_or_else(|| AuthError::new("the member event has no state key"))?;
    let mut add = |key: AuthKey<'a>| {
        if !keys.contains(&key) {
            keys.push(key);
        }
    };
    add(("m.room.member", Cow::Borrowed(state_key)));
    let Member { membership } = read(content)?;
    if matches!(&*membership, "join" | "invite" | "knock") {
        add(("m.room.join_rules", Cow::Borrowed("")));
    }
    if membership == "invite"
        && let Some(invite) = read::<Invite>(content)?.third_party_invite
    {
        add(("m.room.third_party_invite", Cow::Owned(invite.signed.token)));
    }
    if membership == "join"
        && rules.authorization.restricted_join_rule
        && let Some(user_id) = read::<Join>(content)?.join_authorised_via_users_server
    {
        add(("m.room.member", Cow::Owned(user_id.to_string())));
    }
    Ok(())
}

fn read<'de, T: Deserialize<'de>>(content: &'de str) -> Result<T, AuthError> {
    serde_json::from_str(content)
        .map_err(|error| AuthError(format!("the content of the member event is malformed: {error}")))
}
