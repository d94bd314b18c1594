//! What this crate needs from others.

mod remote_rooms;

use std::{fmt::Debug, future::Future, pin::Pin};

use hs_model::ids::UserNid;
use hs_storage::StorageError;
use ruma::{OwnedRoomId, OwnedServerName, RoomAliasId, ServerName, UserId};

pub use self::remote_rooms::{
    Invitation, JoinAnswer, MemberTemplate, MemberWish, RemoteFailure, RemoteFuture, RemoteRoom, RemoteRooms,
    RemoteSpace, WantedMembers,
};

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

/// Where an alias leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedAlias {
    /// The room.
    pub room_id: OwnedRoomId,
    /// Servers that are likely to be in the room, the best first.
    pub servers: Vec<OwnedServerName>,
}

/// Why another server did not say what it was asked for.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RemoteError {
    /// It could not be reached, or did not answer in time or sensibly.
    #[error("{0}")]
    Unreachable(String),
    /// It does not want to.
    #[error("{message}")]
    Refused {
        /// The error code.
        errcode: String,
        /// Why, for people.
        message: String,
    },
}

/// The answer of [`RemoteDirectory`].
pub type AliasFuture<'a> =
    Pin<Box<dyn Future<Output = Result<Option<ResolvedAlias>, RemoteError>> + Send + 'a>>;

/// Knows the aliases of other servers.
pub trait RemoteDirectory: Send + Sync + Debug {
    /// Where an alias of another server leads; `None` when that server says that there is no such alias.
    fn resolve<'a>(&'a self, alias: &'a RoomAliasId) -> AliasFuture<'a>;
}

/// The answer of [`PolicyServers`].
pub type SignatureFuture<'a> = Pin<Box<dyn Future<Output = Result<String, RemoteError>> + Send + 'a>>;

/// Asks the policy servers that rooms have chosen.
pub trait PolicyServers: Send + Sync + Debug {
    /// A server's signature of an event that it lets pass. `pdu` is the event's JSON.
    fn sign<'a>(&'a self, server: &'a ServerName, pdu: &'a str) -> SignatureFuture<'a>;
}
