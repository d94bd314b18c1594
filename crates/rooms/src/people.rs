//! What must be known of people beside their memberships: whom they ignore, and who has asked to be forgotten.
//!
//! Memory is a cache of the log: what changes is dropped from it and read again when it is needed.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use hs_model::{ids::UserNid, records::EventRecord, stream::Position};
use hs_storage::{
    StorageError,
    log::{LogEntry, LogKind},
};
use moka::sync::Cache;
use ruma::{OwnedUserId, UserId};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::Rooms;

/// The account data type of the list.
const IGNORED_USER_LIST: &str = "m.ignored_user_list";
/// How many users' lists are kept. Nearly all of them are empty.
const MAX_LISTS: u64 = 100_000;
/// Of how many users it is remembered whether they were forgotten.
const MAX_ERASURES: u64 = 200_000;

/// Whom a user wants to hear nothing of.
///
/// <https://spec.matrix.org/v1.19/client-server-api/#ignoring-users>
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IgnoredUsers(HashSet<Box<str>>);

impl IgnoredUsers {
    /// Reads the content of the account data. Clients may have written anything there.
    fn parse(content: &str, own: &UserId) -> Self {
        #[derive(Deserialize)]
        struct Content<'a> {
            #[serde(borrow)]
            ignored_users: HashMap<String, &'a RawValue>,
        }
        let Ok(content) = serde_json::from_str::<Content<'_>>(content) else { return Self::default() };
        let others = content.ignored_users.into_keys().filter(|user_id| user_id != own.as_str());
        Self(others.map(String::into_boxed_str).collect())
    }

    /// Whether nobody is ignored.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether somebody is ignored.
    pub fn contains(&self, user_id: &UserId) -> bool {
        !self.0.is_empty() && self.0.contains(user_id.as_str())
    }

    /// Those of some users who are not ignored.
    pub fn others(&self, user_ids: &[OwnedUserId]) -> Vec<OwnedUserId> {
        user_ids.iter().filter(|user_id| !self.contains(user_id)).cloned().collect()
    }

    /// Whether an event is kept from the user. State is not, since without it the room would look different.
    pub fn hides(&self, event: &EventRecord) -> bool {
        event.state_key.is_none() && self.contains(&event.sender)
    }
}

/// The caches.
#[derive(Debug)]
pub(crate) struct People {
    ignored: Cache<UserNid, Arc<IgnoredUsers>>,
    /// When a user was forgotten; `None` for those who were not.
    erased: Cache<UserNid, Option<Position>>,
    /// Counts the news that drop something, so that nothing read before them is kept.
    changes: AtomicU64,
}

impl People {
    pub(crate) fn new() -> Self {
        Self { ignored: Cache::new(MAX_LISTS), erased: Cache::new(MAX_ERASURES), changes: AtomicU64::new(0) }
    }

    /// Takes note of an entry of the log.
    pub(crate) fn apply(&self, entry: &LogEntry) {
        match (entry.kind, entry.room, entry.user) {
            (LogKind::AccountData, None, Some(user)) => {
                self.changes.fetch_add(1, Ordering::AcqRel);
                self.ignored.invalidate(&user);
            }
            // The account may have been closed.
            (LogKind::Session, _, Some(user)) => {
                self.changes.fetch_add(1, Ordering::AcqRel);
                self.erased.invalidate(&user);
            }
            _ => {}
        }
    }

    /// Keeps values read after the count of changes was `changes`, unless something has changed meanwhile.
    fn keep<V: Clone + Send + Sync + 'static>(
        &self,
        cache: &Cache<UserNid, V>,
        changes: u64,
        values: impl IntoIterator<Item = (UserNid, V)>,
    ) {
        for (user, value) in values {
            if self.changes.load(Ordering::Acquire) == changes {
                cache.insert(user, value);
                if self.changes.load(Ordering::Acquire) != changes {
                    cache.invalidate(&user);
                }
            }
        }
    }
}

impl Rooms {
    /// Whom a user ignores.
    pub async fn ignored_by(&self, user: UserNid) -> Result<Arc<IgnoredUsers>, StorageError> {
        let people = &self.inner.people;
        if let Some(known) = people.ignored.get(&user) {
            return Ok(known);
        }
        let changes = people.changes.load(Ordering::Acquire);
        let content =
            self.inner.store.reader().await?.find_account_data(user, None, IGNORED_USER_LIST).await?;
        let ignored = match content {
            Some(content) => IgnoredUsers::parse(&content, &self.inner.store.user_id(user).await?),
            None => IgnoredUsers::default(),
        };
        let ignored = Arc::new(ignored);
        people.keep(&people.ignored, changes, [(user, ignored.clone())]);
        Ok(ignored)
    }

    /// Those of the senders of events who have asked to be forgotten, and when.
    pub(crate) async fn erased_senders(
        &self,
        events: &[Arc<EventRecord>],
    ) -> Result<HashMap<UserNid, Position>, StorageError> {
        let people = &self.inner.people;
        let (mut erased, mut unknown) = (HashMap::new(), Vec::new());
        for event in events.iter().filter(|event| self.is_local(&event.sender)) {
            match people.erased.get(&event.sender_nid) {
                Some(Some(position)) => {
                    erased.insert(event.sender_nid, position);
                }
                Some(None) => {}
                None => unknown.push(event.sender_nid),
            }
        }
        if unknown.is_empty() {
            return Ok(erased);
        }
        unknown.sort_unstable();
        unknown.dedup();
        let changes = people.changes.load(Ordering::Acquire);
        let found = self.inner.store.reader().await?.list_erasures(&unknown).await?;
        let values = unknown.into_iter().map(|user| (user, found.get(&user).copied()));
        people.keep(&people.erased, changes, values);
        erased.extend(found);
        Ok(erased)
    }
}

#[cfg(test)]
mod tests {
    use ruma::user_id;

    use super::*;

    #[test]
    fn whatever_clients_write_is_read() {
        let own = user_id!("@own:example.org");
        for nonsense in ["{}", "{\"ignored_users\": []}", "{\"ignored_users\": 1}", "[]"] {
            assert!(IgnoredUsers::parse(nonsense, own).is_empty(), "{nonsense}");
        }
        let list = "{\"ignored_users\": {\"@a:b.c\": {}, \"@own:example.org\": {}, \"no id\": 1}}";

        let ignored = IgnoredUsers::parse(list, own);

        assert!(ignored.contains(user_id!("@a:b.c")));
        assert!(!ignored.contains(own));
    }
}
