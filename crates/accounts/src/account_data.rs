//! Account data that clients keep with us.

use hs_model::ids::{RoomNid, UserNid};
use ruma::RoomId;
use serde_json::value::RawValue;

use crate::{Accounts, Failure, error::fails_with_storage};

/// Types that the server looks after itself, each through endpoints of its own.
///
/// <https://spec.matrix.org/v1.19/client-server-api/#server-behaviour-4>
const SERVER_TYPES: [&str; 2] = ["m.fully_read", "m.push_rules"];
/// The most bytes of a type, as of an event's.
const MAX_TYPE_BYTES: usize = 255;

/// Why account data was not set.
#[derive(Debug, thiserror::Error)]
pub enum SetAccountDataError {
    /// The server looks after this type.
    #[error("Account data of this type cannot be set here")]
    ServerType,
    /// The type's name is too long.
    #[error("The type is longer than 255 bytes")]
    TypeTooLong,
    /// There is no such room here.
    #[error("This room is not known")]
    UnknownRoom,
    /// Our own fault.
    #[error(transparent)]
    Failure(#[from] Failure),
}
fails_with_storage!(SetAccountDataError);

impl Accounts {
    /// One piece of a user's account data, global or of a room, as JSON text.
    pub async fn find_account_data(
        &self,
        user: UserNid,
        room_id: Option<&RoomId>,
        data_type: &str,
    ) -> Result<Option<String>, Failure> {
        let mut reader = self.store.reader().await?;
        let room = match room_id {
            None => None,
            Some(room_id) => match reader.find_room(room_id).await? {
                Some(room) => Some(room.nid),
                None => return Ok(None),
            },
        };
        Ok(reader.find_account_data(user, room, data_type).await?)
    }

    /// Sets one piece of a user's account data, global or of a room. `content` is a JSON object.
    pub async fn set_account_data(
        &self,
        user: UserNid,
        room_id: Option<&RoomId>,
        data_type: &str,
        content: &RawValue,
    ) -> Result<(), SetAccountDataError> {
        if SERVER_TYPES.contains(&data_type) {
            return Err(SetAccountDataError::ServerType);
        }
        if data_type.len() > MAX_TYPE_BYTES {
            return Err(SetAccountDataError::TypeTooLong);
        }
        let room = match room_id {
            None => None,
            Some(room_id) => Some(self.find_room(room_id).await?.ok_or(SetAccountDataError::UnknownRoom)?),
        };
        let mut txn = self.store.begin().await?;
        txn.upsert_account_data(user, room, data_type, content.get()).await?;
        Ok(txn.commit().await?)
    }

    pub(crate) async fn find_room(&self, room_id: &RoomId) -> Result<Option<RoomNid>, Failure> {
        Ok(self.store.reader().await?.find_room(room_id).await?.map(|room| room.nid))
    }
}
