//! Sessions in memory, so that a request is recognised without asking the database.

use std::{
    future::{Future, ready},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use hs_model::{hit_rate::HitRate, ids::UserNid};
use hs_storage::{
    log::{LogEntry, LogKind},
    tail::LogApplier,
    tokens::TokenHash,
};
use moka::sync::Cache;

use crate::Session;

/// The net under lost news: no session outlives its end by more than this.
const MAX_AGE: Duration = Duration::from_mins(5);

/// A moment in the order of this process: sessions loaded before one that ends them are not to be trusted.
pub(crate) type Epoch = u64;

/// The sessions of access tokens, by the tokens' hashes. Follows the log.
#[derive(Debug)]
pub(crate) struct SessionCache {
    sessions: Cache<TokenHash, (Epoch, Arc<Session>)>,
    /// When sessions of a user ended last. Kept longer than any session loaded before.
    ended: Cache<UserNid, Epoch>,
    epoch: AtomicU64,
    pub(crate) hits: HitRate,
}

impl SessionCache {
    pub(crate) fn new() -> Self {
        Self {
            sessions: Cache::builder().max_capacity(200_000).time_to_live(MAX_AGE).build(),
            ended: Cache::builder().time_to_live(2 * MAX_AGE).build(),
            epoch: AtomicU64::new(1),
            hits: HitRate::default(),
        }
    }

    /// The moment to remember before a session is loaded from the database.
    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch.load(Ordering::Acquire)
    }

    pub(crate) fn get(&self, hash: &TokenHash) -> Option<Arc<Session>> {
        let (loaded, session) = self.hits.count(self.sessions.get(hash))?;
        if self.ended.get(&session.user).is_some_and(|ended| ended > loaded) {
            self.sessions.invalidate(hash);
            return None;
        }
        Some(session)
    }

    /// Keeps a session that was loaded after `loaded`.
    pub(crate) fn insert(&self, hash: TokenHash, loaded: Epoch, session: Arc<Session>) {
        self.sessions.insert(hash, (loaded, session));
    }

    fn end_sessions_of(&self, user: UserNid) {
        let epoch = self.epoch.fetch_add(1, Ordering::AcqRel) + 1;
        self.ended.insert(user, epoch);
    }
}

impl LogApplier for SessionCache {
    fn apply<'a>(&'a self, entries: &'a [LogEntry]) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        for user in
            entries.iter().filter(|entry| entry.kind == LogKind::Session).filter_map(|entry| entry.user)
        {
            self.end_sessions_of(user);
        }
        Box::pin(ready(()))
    }
}

#[cfg(test)]
mod tests {
    use hs_model::{ids::DeviceNid, stream::Position};
    use ruma::{owned_device_id, owned_user_id};

    use super::*;

    const TOKEN: TokenHash = [7; 32];

    fn session() -> Arc<Session> {
        Arc::new(Session::new(
            UserNid(1),
            owned_user_id!("@alice:example.org"),
            DeviceNid(2),
            owned_device_id!("DEVICE"),
            false,
            None,
            crate::Standing::Free,
        ))
    }

    async fn end(cache: &SessionCache, user: UserNid) {
        let entry = LogEntry {
            position: Position(1),
            kind: LogKind::Session,
            room: None,
            user: Some(user),
            subject: None,
            event: None,
            is_local: true,
            change: None,
        };
        cache.apply(&[entry]).await;
    }

    #[tokio::test]
    async fn session_is_forgotten_when_the_log_says_that_it_ended() {
        let cache = SessionCache::new();
        cache.insert(TOKEN, cache.epoch(), session());
        assert!(cache.get(&TOKEN).is_some());

        end(&cache, UserNid(1)).await;

        assert!(cache.get(&TOKEN).is_none());
    }

    #[tokio::test]
    async fn sessions_of_other_users_stay() {
        let cache = SessionCache::new();
        cache.insert(TOKEN, cache.epoch(), session());

        end(&cache, UserNid(9)).await;

        assert!(cache.get(&TOKEN).is_some());
    }

    #[tokio::test]
    async fn session_that_ended_while_it_was_loaded_is_not_trusted() {
        let cache = SessionCache::new();
        let loaded = cache.epoch();

        end(&cache, UserNid(1)).await;
        cache.insert(TOKEN, loaded, session());

        assert!(cache.get(&TOKEN).is_none());
    }

    #[tokio::test]
    async fn session_loaded_after_others_ended_is_trusted() {
        let cache = SessionCache::new();

        end(&cache, UserNid(1)).await;
        cache.insert(TOKEN, cache.epoch(), session());

        assert!(cache.get(&TOKEN).is_some());
    }
}
