//! Tags on rooms: one piece of room account data, edited tag by tag.

use hs_model::ids::UserNid;
use ruma::RoomId;
use serde_json::{Map, Value, json};

use crate::{Accounts, Failure, error::fails_with_storage};

const TAG_TYPE: &str = "m.tag";
/// <https://spec.matrix.org/v1.19/client-server-api/#room-tagging>
const MAX_TAG_BYTES: usize = 255;
/// The most bytes of all tags of a room.
const MAX_CONTENT_BYTES: usize = 64 * 1024;

/// Why a tag was not set.
#[derive(Debug, thiserror::Error)]
pub enum SetTagError {
    /// The tag's name is too long.
    #[error("The tag is longer than 255 bytes")]
    TagTooLong,
    /// The order is not a number.
    #[error("`order` must be a number")]
    InvalidOrder,
    /// All tags of the room together are too large.
    #[error("The room has too many tags")]
    TooLarge,
    /// There is no such room here.
    #[error("This room is not known")]
    UnknownRoom,
    /// Our own fault.
    #[error(transparent)]
    Failure(#[from] Failure),
}
fails_with_storage!(SetTagError);

impl Accounts {
    /// The tags of a user on a room: an object from the tag's name to what is known of it.
    pub async fn list_tags(&self, user: UserNid, room_id: &RoomId) -> Result<Map<String, Value>, Failure> {
        let content = self.find_account_data(user, Some(room_id), TAG_TYPE).await?;
        Ok(content.map(|content| parse_tags(&content)).unwrap_or_default())
    }

    /// Tags a room, or changes what is known of a tag.
    pub async fn set_tag(
        &self,
        user: UserNid,
        room_id: &RoomId,
        tag: &str,
        info: Map<String, Value>,
    ) -> Result<(), SetTagError> {
        if tag.len() > MAX_TAG_BYTES {
            return Err(SetTagError::TagTooLong);
        }
        if info.get("order").is_some_and(|order| !order.is_number() && !order.is_null()) {
            return Err(SetTagError::InvalidOrder);
        }
        self.edit_tags(user, room_id, |tags| {
            tags.insert(tag.to_owned(), Value::Object(info));
            true
        })
        .await
    }

    /// Takes a tag off a room; one that is not there is off already.
    pub async fn delete_tag(&self, user: UserNid, room_id: &RoomId, tag: &str) -> Result<(), SetTagError> {
        self.edit_tags(user, room_id, |tags| tags.remove(tag).is_some()).await
    }

    /// Applies `edit`, which says whether it changed anything.
    async fn edit_tags(
        &self,
        user: UserNid,
        room_id: &RoomId,
        edit: impl FnOnce(&mut Map<String, Value>) -> bool + Send,
    ) -> Result<(), SetTagError> {
        let room = self.find_room(room_id).await?.ok_or(SetTagError::UnknownRoom)?;
        let mut txn = self.store.begin().await?;
        // Two devices may tag at the same time.
        txn.lock_account(user).await?;
        let content = txn.find_account_data(user, Some(room), TAG_TYPE).await?;
        let mut tags = content.map(|content| parse_tags(&content)).unwrap_or_default();
        if !edit(&mut tags) {
            return Ok(());
        }
        let content = json!({ "tags": tags }).to_string();
        if content.len() > MAX_CONTENT_BYTES {
            return Err(SetTagError::TooLarge);
        }
        txn.upsert_account_data(user, Some(room), TAG_TYPE, &content).await?;
        Ok(txn.commit().await?)
    }
}

/// Clients may set `m.tag` as account data too, so it can hold anything.
fn parse_tags(content: &str) -> Map<String, Value> {
    match serde_json::from_str::<Map<String, Value>>(content)
        .ok()
        .and_then(|mut content| content.remove("tags"))
    {
        Some(Value::Object(tags)) => tags,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_read_from_whatever_is_stored() {
        assert_eq!(parse_tags(r#"{"tags":{"m.favourite":{"order":0.5}}}"#).len(), 1);
        for content in ["{}", r#"{"tags":[]}"#, "[]"] {
            assert!(parse_tags(content).is_empty(), "{content}");
        }
    }
}
