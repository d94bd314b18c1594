//! Which rooms are listed in the directory.

mod public;

use hs_storage::StorageError;
use ruma::RoomId;

use crate::{
    RoomActions,
    actions::{FindRoomError, UnknownRoom},
    aliases::Asker,
};

pub(crate) use self::public::text_field;
pub use self::public::{PublicRoom, PublicRoomsPage, PublicRoomsQuery, PublicRoomsToken};

/// Why a room was not listed, or not found in the directory.
#[derive(Debug, thiserror::Error)]
pub enum ListingError {
    /// There is no such room here.
    #[error(transparent)]
    UnknownRoom(#[from] UnknownRoom),
    /// The user lacks the power.
    #[error("you do not have the power to change whether this room is listed")]
    Forbidden,
    /// The database failed.
    #[error("the directory could not be looked up")]
    Storage(#[from] StorageError),
}

impl From<FindRoomError> for ListingError {
    fn from(error: FindRoomError) -> Self {
        match error {
            FindRoomError::Unknown(unknown) => Self::UnknownRoom(unknown),
            FindRoomError::Storage(error) => Self::Storage(error),
        }
    }
}

impl RoomActions {
    /// Whether a room is listed.
    pub async fn is_listed(&self, room_id: &RoomId) -> Result<bool, ListingError> {
        let row = self.rooms.store().reader().await?.find_room(room_id).await?;
        row.map(|row| row.is_published).ok_or_else(|| UnknownRoom::Id(room_id.to_owned()).into())
    }

    /// Lists a room, or no longer.
    pub async fn set_listed(
        &self,
        room_id: &RoomId,
        asker: &Asker,
        is_listed: bool,
    ) -> Result<(), ListingError> {
        let room = self.known(room_id).await?;
        if !asker.is_admin && !self.has_power_over_aliases(&room, &asker.user).await? {
            return Err(ListingError::Forbidden);
        }
        let mut txn = self.rooms.store().begin().await?;
        txn.set_published(room.nid, is_listed).await?;
        Ok(txn.commit().await?)
    }
}
