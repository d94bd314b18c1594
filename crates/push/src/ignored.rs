//! Whom users ignore: what those say does not notify.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#ignoring-users>

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use hs_model::ids::UserNid;
use hs_storage::{StorageError, Store};
use moka::sync::Cache;
use ruma::UserId;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::Push;

const IGNORED_USER_LIST: &str = "m.ignored_user_list";
/// How many users' lists are kept. Nearly all of them are empty.
const MAX_LISTS: u64 = 100_000;
/// How many entries of a list are looked at.
const MAX_IGNORED: usize = 10_000;

/// A list, once it is read. Taken out of the cache, and so forgotten, when it may have changed.
type Slot = Arc<OnceCell<Arc<HashSet<UserNid>>>>;

/// The lists in memory.
#[derive(Debug)]
pub(crate) struct IgnoredCache(Cache<UserNid, Slot>);

#[derive(Deserialize)]
struct Content {
    ignored_users: HashMap<String, Value>,
}

impl IgnoredCache {
    pub(crate) fn new() -> Self {
        Self(Cache::new(MAX_LISTS))
    }

    pub(crate) fn forget(&self, user: UserNid) {
        self.0.invalidate(&user);
    }

    /// Those of the users known here whom a user ignores.
    pub(crate) async fn find(
        &self,
        store: &Store,
        user: UserNid,
    ) -> Result<Arc<HashSet<UserNid>>, StorageError> {
        let slot = self.0.get_with(user, Slot::default);
        slot.get_or_try_init(|| read(store, user)).await.cloned()
    }
}

async fn read(store: &Store, user: UserNid) -> Result<Arc<HashSet<UserNid>>, StorageError> {
    let content = store.reader().await?.find_account_data(user, None, IGNORED_USER_LIST).await?;
    let content = content.and_then(|content| serde_json::from_str::<Content>(&content).ok());
    let mut ignored = HashSet::new();
    for user_id in content.into_iter().flat_map(|content| content.ignored_users.into_keys()).take(MAX_IGNORED)
    {
        let Ok(user_id) = <&UserId>::try_from(user_id.as_str()) else { continue };
        ignored.extend(store.find_user(user_id).await?);
    }
    Ok(Arc::new(ignored))
}

impl Push {
    /// Whether a user ignores another.
    pub async fn ignores(&self, user: UserNid, other: UserNid) -> Result<bool, StorageError> {
        Ok(self.inner.ignored.find(&self.inner.store, user).await?.contains(&other))
    }
}
