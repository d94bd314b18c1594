//! Joining, inviting, knocking, leaving and so on.

mod content;
mod everywhere;
mod forget;
mod restricted;
mod set;
mod successor;

pub(crate) use self::{content::MemberContent, restricted::RestrictedJoinError};
pub use self::{
    forget::ForgetError,
    set::{MembershipError, MembershipOptions},
};
