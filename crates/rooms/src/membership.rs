//! Joining, inviting, knocking, leaving and so on.

mod content;
mod error;
mod everywhere;
mod forget;
pub mod handshake;
mod invite;
mod leaving;
mod restricted;
mod set;
mod successor;
mod third_party;
mod through_others;
mod turns;

pub(crate) use self::{
    content::MemberContent, restricted::RestrictedJoinError, through_others::accepted, turns::Turns,
};
pub use self::{
    error::MembershipError, forget::ForgetError, set::MembershipOptions, third_party::ProvenInvite,
    through_others::stripped_state,
};
