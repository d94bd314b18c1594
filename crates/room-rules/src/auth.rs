//! The authorisation rules: whether an event is allowed.
//!
//! ruma checks the rules for the few event types that have rules of their own. The many that have none, which
//! is every message, are checked here from what is parsed already (see [`crate::pdu::Pdu`]); tests hold both
//! against each other.
//!
//! Specification: "Authorisation rules" of each room version,
//! <https://spec.matrix.org/v1.19/rooms/v12/#authorisation-rules>.

mod select;

use std::borrow::Borrow;

use ruma::{
    EventId, RoomVersionId, UserId,
    events::{StateEventType, TimelineEventType, room::member::MembershipState},
    state_res::{self, Event},
};
use serde::Deserialize;
use thiserror::Error;

use crate::{
    pdu::Pdu,
    power_levels::PowerLevels,
    room_version::{self, RoomVersionRulesExt as _, create_event_id},
};

pub use self::select::{AuthKey, auth_types};

/// Why an event is not allowed, in words for logs and for the error of the client that sent it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct AuthError(pub String);

impl AuthError {
    fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

/// Checks the rules that depend on nothing but the event and its auth events.
///
/// It must be checked once for every event of another server; a failure rejects it. `fetch` finds auth events
/// (and, from version 12 on, the create event), rejected ones included.
pub fn check_independent<E>(pdu: &Pdu, fetch: impl Fn(&EventId) -> Option<E>) -> Result<(), AuthError>
where
    E: Event + Borrow<Pdu>,
{
    if *pdu.event_type() == TimelineEventType::RoomCreate {
        check_room_version(pdu)?;
    } else if pdu.rules().room_id_is_create_hash() {
        // Rule 2 of version 12; that the event exists and is not rejected, ruma checks.
        let create = create_event_id(pdu.room_id()).and_then(|create_id| fetch(&create_id));
        let is_create = create.is_none_or(|create| create.borrow().is_state_of("m.room.create", ""));
        if !is_create {
            return Err(AuthError::new("the room id does not stand for an `m.room.create` event"));
        }
    }
    state_res::check_state_independent_auth_rules(&pdu.rules().authorization, pdu, fetch).map_err(AuthError)
}

/// Rule 1.3: the version that a create event names is the one whose rules we apply.
fn check_room_version(create: &Pdu) -> Result<(), AuthError> {
    #[derive(Deserialize)]
    struct Content {
        room_version: Option<RoomVersionId>,
    }
    let content: Content = create
        .content_as()
        .map_err(|error| AuthError(format!("`room_version` of the create event is malformed: {error}")))?;
    let version = content.room_version.unwrap_or(RoomVersionId::V1);
    match room_version::rules(&version) {
        Some(rules) if std::ptr::eq(rules, create.rules()) => Ok(()),
        Some(_) => Err(AuthError::new("the create event names another room version")),
        None => Err(AuthError::new("the create event names an unknown room version")),
    }
}

/// Checks the rules against a state: that which the auth events make up, that before the event, or that of now.
///
/// `state` finds the event of a type and state key. It is asked for the keys that [`auth_types`] names, and
/// for the create event in every room version.
pub fn check_dependent<E>(pdu: &Pdu, state: impl Fn(&str, &str) -> Option<E>) -> Result<(), AuthError>
where
    E: Event + Borrow<Pdu>,
{
    let rules = pdu.rules();
    let has_own_rules = match pdu.event_type() {
        TimelineEventType::RoomCreate
        | TimelineEventType::RoomMember
        | TimelineEventType::RoomThirdPartyInvite
        | TimelineEventType::RoomPowerLevels => true,
        TimelineEventType::RoomRedaction => rules.authorization.special_case_room_redaction,
        _ => rules.authorization.special_case_room_aliases && pdu.type_str() == "m.room.aliases",
    };
    if has_own_rules {
        let state = |event_type: &StateEventType, key: &str| state(auth_type_str(event_type)?, key);
        state_res::check_state_dependent_auth_rules(&rules.authorization, pdu, state).map_err(AuthError)
    } else {
        check_ordinary(pdu, state)
    }
}

/// The types of the events that rules look at.
fn auth_type_str(event_type: &StateEventType) -> Option<&'static str> {
    Some(match event_type {
        StateEventType::RoomCreate => "m.room.create",
        StateEventType::RoomMember => "m.room.member",
        StateEventType::RoomPowerLevels => "m.room.power_levels",
        StateEventType::RoomJoinRules => "m.room.join_rules",
        StateEventType::RoomThirdPartyInvite => "m.room.third_party_invite",
        _ => return None,
    })
}

/// The rules for events that have none of their own. The numbers are those of version 12.
fn check_ordinary<E>(pdu: &Pdu, state: impl Fn(&str, &str) -> Option<E>) -> Result<(), AuthError>
where
    E: Borrow<Pdu>,
{
    let sender = pdu.sender();
    let create = state("m.room.create", "").ok_or_else(|| AuthError::new("the state has no create event"))?;
    let create: &Pdu = create.borrow();
    let facts = create.create_facts().map_err(AuthError::new)?;
    // 4. Rooms that are not federated.
    if !facts.is_federated && create.sender().server_name() != sender.server_name() {
        return Err(AuthError::new("the room is not federated, and the sender is of another server"));
    }
    // 6. Membership.
    if membership_in(&state, sender)? != MembershipState::Join {
        return Err(AuthError::new("the sender is not joined to the room"));
    }
    // 8. The level of the type.
    let power_levels_event = state("m.room.power_levels", "");
    let levels =
        PowerLevels::new(create, power_levels_event.as_ref().map(Borrow::borrow)).map_err(AuthError::new)?;
    let required =
        if pdu.is_state() { levels.for_state(pdu.type_str()) } else { levels.for_message(pdu.type_str()) };
    if !levels.user(sender).reaches(required) {
        return Err(AuthError(format!(
            "the sender does not have the power level {required} that `{}` events need",
            pdu.type_str()
        )));
    }
    // 9. State that belongs to a user.
    if pdu.state_key().is_some_and(|state_key| state_key.starts_with('@') && state_key != sender) {
        return Err(AuthError::new("the state key is the id of another user"));
    }
    Ok(())
}

fn membership_in<E: Borrow<Pdu>>(
    state: impl Fn(&str, &str) -> Option<E>,
    user_id: &UserId,
) -> Result<MembershipState, AuthError> {
    match state("m.room.member", user_id.as_str()) {
        Some(event) => event.borrow().membership().cloned().map_err(AuthError::new),
        None => Ok(MembershipState::Leave),
    }
}
