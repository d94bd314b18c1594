//! Forgetting rooms.

use hs_storage::StorageError;
use ruma::RoomId;

use crate::{
    RoomActions, Sender,
    actions::{FindRoomError, UnknownRoom},
};

/// Why a room was not forgotten.
#[derive(Debug, thiserror::Error)]
pub enum ForgetError {
    /// There is no such room here.
    #[error(transparent)]
    UnknownRoom(#[from] UnknownRoom),
    /// The user is in the room, is invited, or has knocked.
    #[error("you have to leave the room before you can forget it")]
    StillThere,
    /// The database failed.
    #[error("the room could not be forgotten")]
    Storage(#[from] StorageError),
}

impl RoomActions {
    /// Forgets a room that the user has left. Whoever was never there has nothing to forget.
    pub async fn forget(&self, room_id: &RoomId, sender: &Sender) -> Result<(), ForgetError> {
        let room = self.known(room_id).await.map_err(|error| match error {
            FindRoomError::Unknown(unknown) => ForgetError::UnknownRoom(unknown),
            FindRoomError::Storage(error) => ForgetError::Storage(error),
        })?;
        let mut txn = self.rooms.store().begin().await?;
        if txn.forget_room(room.nid, sender.nid).await? {
            txn.commit().await?;
            return Ok(());
        }
        match txn.find_membership(room.nid, sender.nid).await? {
            Some(_) => Err(ForgetError::StillThere),
            None => Ok(()),
        }
    }
}
