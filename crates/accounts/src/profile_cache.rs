//! Profiles in memory.

use std::{
    future::{Future, ready},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use hs_model::{hit_rate::HitRate, ids::UserNid};
use hs_storage::{
    log::{LogEntry, LogKind},
    tail::LogApplier,
};
use moka::sync::Cache;

use crate::Profile;

/// How many bytes of profiles are kept.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// The profiles of local users. Follows the log.
#[derive(Debug)]
pub(crate) struct ProfileCache {
    profiles: Cache<UserNid, Arc<Profile>>,
    changes: AtomicU64,
    pub(crate) hits: HitRate,
}

impl ProfileCache {
    pub(crate) fn new() -> Self {
        let profiles = Cache::builder()
            .weigher(|_, profile: &Arc<Profile>| u32::try_from(profile.size_bytes()).unwrap_or(u32::MAX))
            .max_capacity(MAX_BYTES)
            .build();
        Self { profiles, changes: AtomicU64::new(0), hits: HitRate::default() }
    }

    pub(crate) fn get(&self, user: UserNid) -> Option<Arc<Profile>> {
        self.hits.count(self.profiles.get(&user))
    }

    /// What to remember before a profile is loaded from the database.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Keeps a profile, unless any was changed since `changes`: it may have been this one.
    pub(crate) fn insert(&self, user: UserNid, changes: u64, profile: Arc<Profile>) {
        if self.changes() == changes {
            self.profiles.insert(user, profile);
            // The change may have come between the look and the insertion.
            if self.changes() != changes {
                self.profiles.invalidate(&user);
            }
        }
    }
}

impl LogApplier for ProfileCache {
    fn apply<'a>(&'a self, entries: &'a [LogEntry]) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        for user in
            entries.iter().filter(|entry| entry.kind == LogKind::Profile).filter_map(|entry| entry.user)
        {
            self.changes.fetch_add(1, Ordering::AcqRel);
            self.profiles.invalidate(&user);
        }
        Box::pin(ready(()))
    }
}
