//! What lists are filtered by, of a user: direct chats, tags, and how stays in rooms ended.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use hs_model::{
    ids::{EventNid, RoomNid, UserNid},
    membership::Membership,
    stream::Position,
};
use hs_storage::{StorageError, Store};
use moka::sync::Cache;
use parking_lot::Mutex;
use ruma::{OwnedRoomId, RoomId};
use serde_json::Value;

use crate::feed::{Snapshot, Stay};

/// For how many users facts are kept.
const CACHED_USERS: u64 = 10_000;

/// Facts of a user, as the account data stood at some position.
#[derive(Debug)]
pub(super) struct UserFacts {
    /// Account data up to here is taken into account.
    read_at: Position,
    /// Rooms that are direct chats.
    pub(super) direct: HashSet<RoomNid>,
    /// Tags by room.
    pub(super) tags: HashMap<RoomNid, HashSet<String>>,
}

/// How a stay ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Departure {
    /// The user left.
    Left,
    /// Somebody else removed the user from the room.
    Removed,
    /// The user was banned without ever having been there.
    NeverThere,
}

/// What is known of users.
#[derive(Debug)]
pub(crate) struct UserFactsCache {
    facts: Cache<UserNid, Arc<UserFacts>>,
    /// By the user's member event, which never changes.
    departures: Cache<UserNid, Arc<Mutex<HashMap<EventNid, Departure>>>>,
}

impl UserFactsCache {
    pub(crate) fn new() -> Self {
        Self { facts: Cache::new(CACHED_USERS), departures: Cache::new(CACHED_USERS) }
    }

    /// A user's facts as of a snapshot, or a little later.
    pub(super) async fn get(
        &self,
        store: &Store,
        user: UserNid,
        snapshot: &Snapshot,
    ) -> Result<Arc<UserFacts>, StorageError> {
        if let Some(facts) = self.facts.get(&user)
            && facts.read_at >= snapshot.account_data_at
        {
            return Ok(facts);
        }
        let mut reader = store.reader().await?;
        let direct = reader.find_account_data(user, None, "m.direct").await?;
        let direct = direct.map(|content| direct_rooms(&content)).unwrap_or_default();
        let direct = if direct.is_empty() {
            HashSet::new()
        } else {
            reader.list_room_nids_by_id(&direct).await?.into_iter().collect()
        };
        let tagged = reader.list_tagged_rooms(user).await?;
        drop(reader);
        let tags = tagged.into_iter().map(|(room, content)| (room, tag_names(&content))).collect();
        let facts = Arc::new(UserFacts { read_at: snapshot.position, direct, tags });
        self.facts.insert(user, facts.clone());
        Ok(facts)
    }

    /// How the user's stays ended, for those rooms that they are no longer in.
    pub(super) async fn departures(
        &self,
        store: &Store,
        user: UserNid,
        stays: &HashMap<RoomNid, Stay>,
    ) -> Result<HashMap<RoomNid, Departure>, StorageError> {
        let ended: Vec<(RoomNid, &Stay)> = stays
            .iter()
            .filter(|(_, stay)| !stay.is_forgotten)
            .filter(|(_, stay)| matches!(stay.membership, Membership::Leave | Membership::Ban))
            .map(|(room, stay)| (*room, stay))
            .collect();
        if ended.is_empty() {
            return Ok(HashMap::new());
        }
        let known = self.departures.get_with(user, Arc::default);
        let missing: Vec<EventNid> = {
            let known = known.lock();
            ended.iter().map(|(_, stay)| stay.event).filter(|event| !known.contains_key(event)).collect()
        };
        if !missing.is_empty() {
            let rows = store.reader().await?.list_departures(&missing).await?;
            let mut known = known.lock();
            // What was true of earlier stays is of no use any more.
            let present: HashSet<EventNid> = ended.iter().map(|(_, stay)| stay.event).collect();
            known.retain(|event, _| present.contains(event));
            known.extend(rows.into_iter().map(|row| {
                let departure = if row.sender == user {
                    Departure::Left
                } else if row.replaces.is_none() {
                    Departure::NeverThere
                } else {
                    Departure::Removed
                };
                (row.event, departure)
            }));
        }
        let known = known.lock();
        Ok(ended.iter().filter_map(|(room, stay)| Some((*room, *known.get(&stay.event)?))).collect())
    }
}

/// The rooms that `m.direct` names. It may hold anything, since clients write it.
fn direct_rooms(content: &str) -> Vec<OwnedRoomId> {
    let Ok(Value::Object(content)) = serde_json::from_str(content) else { return Vec::new() };
    let lists = content.values().filter_map(Value::as_array);
    lists.flatten().filter_map(|id| RoomId::parse(id.as_str()?).ok()).collect()
}

/// The tags that `m.tag` names.
fn tag_names(content: &str) -> HashSet<String> {
    let Ok(Value::Object(content)) = serde_json::from_str(content) else { return HashSet::new() };
    let tags = content.get("tags").and_then(Value::as_object);
    tags.map(|tags| tags.keys().cloned().collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strange_account_data_names_no_rooms() {
        assert!(direct_rooms("[]").is_empty());
        assert!(direct_rooms(r#"{"@a:x": "!r:x", "@b:x": [1, "no room", null]}"#).is_empty());
        assert_eq!(direct_rooms(r#"{"@a:x": ["!r:x"], "@b:x": ["!s:x"]}"#).len(), 2);
        assert!(tag_names(r#"{"tags": []}"#).is_empty());
        assert_eq!(tag_names(r#"{"tags": {"m.favourite": {}}}"#).len(), 1);
    }
}
