//! [`RoomActions`]: what users do in and to rooms. Its methods stand in one file per kind of action.

use std::sync::Arc;

use hs_storage::StorageError;
use ruma::{OwnedRoomAliasId, OwnedRoomId, RoomId, RoomOrAliasId, UserId};

use crate::{
    Room, Rooms,
    hierarchy::Abroad,
    membership::Turns,
    ports::{Profile, Profiles, RemoteDirectory, RemoteRooms},
};

/// Acts on rooms for local users.
#[derive(Clone, Debug)]
pub struct RoomActions {
    pub(crate) rooms: Rooms,
    profiles: Arc<dyn Profiles>,
    pub(crate) remote_directory: Option<Arc<dyn RemoteDirectory>>,
    pub(crate) remote_rooms: Option<Arc<dyn RemoteRooms>>,
    pub(crate) joining: Turns,
    pub(crate) abroad: Abroad,
}

/// A room of which this server knows nothing, by the name that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownRoom {
    /// No room has this id.
    #[error("this server does not know the room {0}")]
    Id(OwnedRoomId),
    /// No room has this alias.
    #[error("there is no room with the alias {0}")]
    Alias(OwnedRoomAliasId),
}

/// Why a room was not found.
#[derive(Debug, thiserror::Error)]
pub enum FindRoomError {
    /// There is none.
    #[error(transparent)]
    Unknown(#[from] UnknownRoom),
    /// The database failed.
    #[error("the room could not be looked up")]
    Storage(#[from] StorageError),
}

impl RoomActions {
    /// Acts on `rooms`; member events show what `profiles` says.
    pub fn new(rooms: Rooms, profiles: Arc<dyn Profiles>) -> Self {
        Self {
            rooms,
            profiles,
            remote_directory: None,
            remote_rooms: None,
            joining: Turns::default(),
            abroad: Abroad::default(),
        }
    }

    /// The same, knowing the aliases of other servers too.
    #[must_use]
    pub fn with_remote_directory(mut self, directory: Arc<dyn RemoteDirectory>) -> Self {
        self.remote_directory = Some(directory);
        self
    }

    /// The same, with the help of other servers.
    #[must_use]
    pub fn with_remote_rooms(mut self, remote: Arc<dyn RemoteRooms>) -> Self {
        self.remote_rooms = Some(remote);
        self
    }

    /// The rooms.
    pub fn rooms(&self) -> &Rooms {
        &self.rooms
    }

    /// A room by its id.
    pub(crate) async fn known(&self, room_id: &RoomId) -> Result<Arc<Room>, FindRoomError> {
        let room = self.rooms.find(room_id).await?;
        room.ok_or_else(|| UnknownRoom::Id(room_id.to_owned()).into())
    }

    /// A room by its id or an alias.
    pub async fn find_room(&self, room: &RoomOrAliasId) -> Result<Arc<Room>, FindRoomError> {
        let alias = match <&RoomId>::try_from(room) {
            Ok(room_id) => return self.known(room_id).await,
            Err(alias) => alias.to_owned(),
        };
        let row = self.rooms.store().reader().await?.find_alias(&alias).await?;
        let Some(row) = row else { return Err(UnknownRoom::Alias(alias).into()) };
        self.rooms.find_by_nid(row.room).await?.ok_or_else(|| UnknownRoom::Alias(alias).into())
    }

    /// How a user of this server is shown; users of other servers are shown as their own servers say.
    pub(crate) async fn profile(&self, user_id: &UserId) -> Result<Profile, StorageError> {
        if !self.rooms.is_local(user_id) {
            return Ok(Profile::default());
        }
        let user = self.rooms.store().intern_user(user_id).await?;
        self.profiles.profile(user, user_id).await
    }
}
