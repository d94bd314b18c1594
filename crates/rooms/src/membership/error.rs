//! Why memberships are not changed.

use hs_storage::StorageError;
use ruma::{OwnedUserId, RoomAliasId};

use crate::{
    WriteError,
    actions::{FindRoomError, UnknownRoom},
    aliases::AliasError,
    ports::{RemoteError, RemoteFailure},
};

/// Why a membership was not changed.
#[derive(Debug, thiserror::Error)]
pub enum MembershipError {
    /// There is no such room here.
    #[error(transparent)]
    UnknownRoom(#[from] UnknownRoom),
    /// The user is of another server, and this one talks to no other.
    #[error("{0} is a user of another server, and this server does not take part in federation")]
    RemoteUser(OwnedUserId),
    /// Other servers would have to help, and do not.
    #[error(transparent)]
    Remote(#[from] RemoteFailure),
    /// The server of an alias could not be asked where it leads.
    #[error("{0}")]
    AliasServer(RemoteError),
    /// The user wants no invites.
    #[error("{0} does not accept invites")]
    InvitesBlocked(OwnedUserId),
    /// The room lets in members of other rooms, and the user is none.
    #[error("{0}")]
    NotAllowed(String),
    /// The room lets in members of other rooms, and nobody of this server has the power to.
    #[error("{0}")]
    NobodyCanAuthorise(String),
    /// The rules of the room forbid it, or it could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The database failed.
    #[error("the membership could not be looked up")]
    Storage(#[from] StorageError),
}

impl From<FindRoomError> for MembershipError {
    fn from(error: FindRoomError) -> Self {
        match error {
            FindRoomError::Unknown(unknown) => Self::UnknownRoom(unknown),
            FindRoomError::Storage(error) => Self::Storage(error),
        }
    }
}

/// Why nobody can let a user in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoWayIn {
    NotAllowed(String),
    /// Somebody of another server might.
    NobodyHere(String),
}

impl From<NoWayIn> for MembershipError {
    fn from(why: NoWayIn) -> Self {
        match why {
            NoWayIn::NotAllowed(why) => Self::NotAllowed(why),
            NoWayIn::NobodyHere(why) => Self::NobodyCanAuthorise(why),
        }
    }
}

pub(super) fn alias_error(alias: &RoomAliasId, error: AliasError) -> MembershipError {
    match error {
        AliasError::Storage(error) => MembershipError::Storage(error),
        AliasError::Remote(error) => MembershipError::AliasServer(error),
        _ => UnknownRoom::Alias(alias.to_owned()).into(),
    }
}
