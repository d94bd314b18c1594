//! Joining, inviting, knocking, leaving and so on.

mod content;
mod forget;
mod restricted;
mod set;

pub(crate) use self::{content::MemberContent, restricted::RestrictedJoinError};
pub use self::{
    forget::ForgetError,
    set::{MembershipError, MembershipOptions},
};
