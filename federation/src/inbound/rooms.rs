//! What other servers ask about rooms, and how their users come in and go.
//!
//! A server is told only of rooms that it is in, unless one of its users is about to join, and never more than one of its users
//! could see.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#retrieving-events>

mod handshake;
mod invite;
mod reading;
mod third_party;

use std::sync::Arc;

use hs_room_rules::pdu::FormatError;
use hs_rooms::{
    Room, RoomActions, Rooms, WriteError,
    membership::{MembershipError, handshake::HandshakeError},
};
use hs_storage::StorageError;
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, RoomVersionId, ServerName};

pub use self::{
    handshake::{Handed, JoinReply, Template},
    invite::ReceivedInvite,
    reading::{MissingEvents, RoomStateReply},
};
use crate::Keyring;

/// Why a server does not get what it asks for.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// This server is not in the room, or does not know it.
    #[error("this server is not in the room {0}")]
    UnknownRoom(OwnedRoomId),
    /// The server that asks has no user in the room.
    #[error("your server is not in this room")]
    NotInRoom,
    /// The room has shut the server out.
    #[error("your server is not allowed in this room")]
    ShutOut,
    /// There is no such event here, or not in the room, or nothing is known of what was before it.
    #[error("this server does not have the event")]
    UnknownEvent,
    /// The room has a version that one of the servers does not speak.
    #[error("the room version {0} is not supported")]
    IncompatibleVersion(RoomVersionId),
    /// This server does not know all members of the room yet.
    #[error("this server has only just come into the room, and does not know all of its state yet")]
    NotWhole,
    /// The event is not what the endpoint is for.
    #[error("{0}")]
    Invalid(String),
    /// The event is not JSON of its room version.
    #[error("the event is malformed: {0}")]
    Malformed(#[from] FormatError),
    /// It may not be.
    #[error("{0}")]
    Forbidden(String),
    /// The invited user wants no invites.
    #[error("{0} does not accept invites")]
    InvitesBlocked(OwnedUserId),
    /// A restricted join that this server cannot judge.
    #[error("this server can not tell whether the user may join")]
    CannotAuthorise,
    /// A restricted join that nobody of this server may let in.
    #[error("nobody on this server has the power to let the user in")]
    CannotGrant,
    /// The event could not be made or written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The database failed.
    #[error("the room could not be looked up")]
    Storage(#[from] StorageError),
}

impl From<HandshakeError> for AnswerError {
    fn from(error: HandshakeError) -> Self {
        match error {
            HandshakeError::CannotTell => Self::CannotAuthorise,
            HandshakeError::NobodyCanAuthorise => Self::CannotGrant,
            HandshakeError::NotAMember => Self::Forbidden(error.to_string()),
            HandshakeError::Write(WriteError::Forbidden(why)) => Self::Forbidden(why),
            HandshakeError::Write(error) => Self::Write(error),
            HandshakeError::Storage(error) => Self::Storage(error),
        }
    }
}

impl From<MembershipError> for AnswerError {
    fn from(error: MembershipError) -> Self {
        match error {
            MembershipError::InvitesBlocked(user_id) => Self::InvitesBlocked(user_id),
            MembershipError::Write(error) => Self::Write(error),
            MembershipError::Storage(error) => Self::Storage(error),
            other => Self::Forbidden(other.to_string()),
        }
    }
}

/// Answers other servers about the rooms of this one. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct RoomAnswers {
    rooms: Rooms,
    actions: RoomActions,
    keyring: Keyring,
}

impl RoomAnswers {
    /// Answers about the rooms that `actions` act on; `keyring` knows who has signed what, and `sender` tells the other servers
    /// of a room who came in or went.
    pub fn new(actions: RoomActions, keyring: Keyring) -> Self {
        Self { rooms: actions.rooms().clone(), actions, keyring }
    }

    /// A room that this server is in, for a server that the room has not shut out.
    async fn open_room(&self, room_id: &RoomId, origin: &ServerName) -> Result<Arc<Room>, AnswerError> {
        let unknown = || AnswerError::UnknownRoom(room_id.to_owned());
        let room = self.rooms.find(room_id).await?.ok_or_else(unknown)?;
        if !self.rooms.is_resident(&room).await? {
            return Err(unknown());
        }
        if !self.rooms.allows_server(&room, origin).await? {
            return Err(AnswerError::ShutOut);
        }
        Ok(room)
    }

    /// As [`open_room`](Self::open_room), if all of its state is known.
    async fn whole_room(&self, room_id: &RoomId, origin: &ServerName) -> Result<Arc<Room>, AnswerError> {
        let room = self.open_room(room_id, origin).await?;
        if room.read().is_partial() { Err(AnswerError::NotWhole) } else { Ok(room) }
    }

    /// As [`shared_room`](Self::shared_room), or one that the other server was in before these events: who was shut out in
    /// the meantime still has to learn of that, and of what came before.
    async fn shared_room_at(
        &self,
        room_id: &RoomId,
        origin: &ServerName,
        events: &[OwnedEventId],
    ) -> Result<Arc<Room>, AnswerError> {
        let room = self.open_room(room_id, origin).await?;
        if self.rooms.is_in_room(&room, origin).await?
            || self.rooms.was_in_room_before(&room, events, origin).await?
        {
            return Ok(room);
        }
        Err(AnswerError::NotInRoom)
    }

    /// A room that both servers are in.
    async fn shared_room(&self, room_id: &RoomId, origin: &ServerName) -> Result<Arc<Room>, AnswerError> {
        let room = self.open_room(room_id, origin).await?;
        if self.rooms.is_in_room(&room, origin).await? { Ok(room) } else { Err(AnswerError::NotInRoom) }
    }
}
