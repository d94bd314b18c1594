//! Which events of a room a user may see.
//!
//! Specification: <https://spec.matrix.org/v1.19/client-server-api/#room-history-visibility>.

use ruma::{UserId, events::room::member::MembershipState};
use serde::Deserialize;

use crate::pdu::Pdu;

/// Who may see events that are sent while this is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HistoryVisibility {
    /// Anyone.
    WorldReadable,
    /// Those who are in the room, or join it later.
    #[default]
    Shared,
    /// Those who were invited or in the room when the event was sent.
    Invited,
    /// Those who were in the room when the event was sent.
    Joined,
}

impl HistoryVisibility {
    /// Reads the value of `history_visibility`; what is not understood means `shared`.
    pub fn from_value(value: &str) -> Self {
        match value {
            "world_readable" => Self::WorldReadable,
            "invited" => Self::Invited,
            "joined" => Self::Joined,
            _ => Self::Shared,
        }
    }

    /// The setting in a state, given its `m.room.history_visibility` event; `shared` if there is none.
    pub fn from_state(event: Option<&Pdu>) -> Self {
        #[derive(Deserialize)]
        struct Content {
            history_visibility: String,
        }
        event
            .and_then(|event| event.content_as::<Content>().ok())
            .map_or(Self::Shared, |content| Self::from_value(&content.history_visibility))
    }
}

/// A user's relation to a room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Membership {
    /// In the room.
    Join,
    /// Invited to it.
    Invite,
    /// Asking to be let in.
    Knock,
    /// Not in the room.
    #[default]
    Leave,
    /// Banned from it.
    Ban,
}

impl Membership {
    /// The membership in a state, given the user's member event; `leave` if there is none.
    pub fn from_state(event: Option<&Pdu>) -> Self {
        match event.map(Pdu::membership) {
            Some(Ok(MembershipState::Join)) => Self::Join,
            Some(Ok(MembershipState::Invite)) => Self::Invite,
            Some(Ok(MembershipState::Knock)) => Self::Knock,
            Some(Ok(MembershipState::Ban)) => Self::Ban,
            _ => Self::Leave,
        }
    }
}

/// What decides about a user seeing an event.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances {
    /// The history visibility in the state before the event.
    pub visibility: HistoryVisibility,
    /// The user's membership in the state before the event.
    pub membership: Membership,
    /// Whether the user joined at any point after the event, be it that they left again.
    pub has_joined_since: bool,
}

/// Whether a user may see an event.
///
/// An event that changes the history visibility, or the user's own membership, may be seen if either the
/// state before it or that after it allows it.
pub fn can_see(event: &Pdu, user_id: &UserId, before: Circumstances) -> bool {
    let visibility_after = if event.is_state_of("m.room.history_visibility", "") {
        HistoryVisibility::from_state(Some(event))
    } else {
        before.visibility
    };
    let membership_after = if event.is_state_of("m.room.member", user_id.as_str()) {
        Membership::from_state(Some(event))
    } else {
        before.membership
    };
    is_allowed(before)
        || is_allowed(Circumstances { visibility: visibility_after, membership: membership_after, ..before })
}

/// The five rules of the specification, for one state.
pub fn is_allowed(Circumstances { visibility, membership, has_joined_since }: Circumstances) -> bool {
    // 1.
    visibility == HistoryVisibility::WorldReadable
        // 2.
        || membership == Membership::Join
        // 3.
        || (visibility == HistoryVisibility::Shared && has_joined_since)
        // 4.
        || (visibility == HistoryVisibility::Invited && membership == Membership::Invite)
    // 5. Otherwise not.
}
