//! Coming into a room that takes the place of another: what a user has set for the old one goes with them.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#server-behaviour-16>

use hs_storage::StorageError;
use ruma::OwnedRoomId;
use serde::Deserialize;
use serde_json::Value;

use crate::{Room, RoomActions, Sender};

/// Where a user's tags of a room are kept.
const TAGS: &str = "m.tag";
/// Where it is kept which rooms are direct chats, and with whom.
const DIRECT: &str = "m.direct";

#[derive(Deserialize)]
struct Create {
    predecessor: Option<Predecessor>,
}

#[derive(Deserialize)]
struct Predecessor {
    room_id: OwnedRoomId,
}

impl RoomActions {
    /// Copies a user's tags, and what says that the room is a direct chat, from the room's predecessor.
    ///
    /// That a room names a predecessor proves nothing, but all that is read and written is the user's own.
    pub(crate) async fn settle_in(&self, room: &Room, user: &Sender) {
        let settled = self.copy_settings(room, user).await;
        if let Err(error) = settled {
            // The user is in the room, and can set all this again.
            tracing::warn!(%error, room_id = %room.room_id, user_id = %user.user_id, "could not copy settings of the old room");
        }
    }

    async fn copy_settings(&self, room: &Room, user: &Sender) -> Result<(), StorageError> {
        let [create] = self.rooms.current_state_pdus(room, ["m.room.create"]).await?;
        let create = create.and_then(|create| create.content_as::<Create>().ok());
        let Some(predecessor) = create.and_then(|create| create.predecessor) else { return Ok(()) };
        let mut reader = self.rooms.store().reader().await?;
        let Some(old) = reader.find_room(&predecessor.room_id).await? else { return Ok(()) };
        let tags = match reader.find_account_data(user.nid, Some(room.nid), TAGS).await? {
            // Set already, be it by the user or because they were here before.
            Some(_) => None,
            None => reader.find_account_data(user.nid, Some(old.nid), TAGS).await?,
        };
        let direct = reader.find_account_data(user.nid, None, DIRECT).await?;
        drop(reader);
        let direct = direct
            .and_then(|direct| with_successor(&direct, predecessor.room_id.as_str(), room.room_id.as_str()));
        if tags.is_none() && direct.is_none() {
            return Ok(());
        }
        let mut txn = self.rooms.store().begin().await?;
        if let Some(tags) = tags {
            txn.upsert_account_data(user.nid, Some(room.nid), TAGS, &tags).await?;
        }
        if let Some(direct) = direct {
            txn.upsert_account_data(user.nid, None, DIRECT, &direct).await?;
        }
        txn.commit().await
    }
}

/// The content of `m.direct` with the new room beside the old one; `None` when that changes nothing.
fn with_successor(direct: &str, old: &str, new: &str) -> Option<String> {
    let mut direct: Value = serde_json::from_str(direct).ok()?;
    let mut is_changed = false;
    for rooms in direct.as_object_mut()?.values_mut().filter_map(Value::as_array_mut) {
        let has = |room_id: &str| rooms.iter().any(|room| room == room_id);
        if has(old) && !has(new) {
            rooms.push(new.into());
            is_changed = true;
        }
    }
    is_changed.then(|| direct.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_new_room_is_a_direct_chat_with_whom_the_old_one_was() {
        let direct = r#"{"@a:s":["!old"],"@b:s":["!other"]}"#;

        assert_eq!(
            with_successor(direct, "!old", "!new").as_deref(),
            Some(r#"{"@a:s":["!old","!new"],"@b:s":["!other"]}"#)
        );
        assert_eq!(with_successor(direct, "!elsewhere", "!new"), None);
        assert_eq!(with_successor("[]", "!old", "!new"), None);
    }
}
