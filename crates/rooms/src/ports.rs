//! What this crate needs from others.

use std::{fmt::Debug, future::Future, pin::Pin};

use hs_model::ids::UserNid;
use hs_storage::StorageError;
use ruma::UserId;

/// How a user wants to be shown in rooms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// The name.
    pub displayname: Option<String>,
    /// The picture's `mxc` URI.
    pub avatar_url: Option<String>,
}

/// The answer of [`Profiles`].
pub type ProfileFuture<'a> = Pin<Box<dyn Future<Output = Result<Profile, StorageError>> + Send + 'a>>;

/// Knows the profiles of users, which go into their member events. A user without one has an empty one.
pub trait Profiles: Send + Sync + Debug {
    /// The profile of a user of this server.
    fn profile<'a>(&'a self, user: UserNid, user_id: &'a UserId) -> ProfileFuture<'a>;
}
