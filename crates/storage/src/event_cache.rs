//! Recently used events by number. An event changes only when it is redacted, or,
//! seldom, judged anew.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use hs_model::{hit_rate::HitRate, ids::EventNid, records::EventRecord};
use moka::sync::Cache;

/// Upper bound of the JSON kept, in bytes.
const CAPACITY_BYTES: u64 = 64 * 1024 * 1024;
/// What an entry costs beside its JSON.
const ENTRY_OVERHEAD_BYTES: usize = 400;

#[derive(Debug)]
pub(crate) struct EventCache {
    cache: Cache<EventNid, Arc<EventRecord>>,
    /// Counts redactions. What was read from the database before one may be stale after it.
    epoch: AtomicU64,
    pub(crate) hits: HitRate,
}

impl EventCache {
    pub(crate) fn new() -> Self {
        let cache = Cache::builder()
            .max_capacity(CAPACITY_BYTES)
            .weigher(|_, event: &Arc<EventRecord>| (event.json.len() + ENTRY_OVERHEAD_BYTES) as u32)
            .build();
        Self { cache, epoch: AtomicU64::new(0), hits: HitRate::default() }
    }

    pub(crate) fn get(&self, nid: EventNid) -> Option<Arc<EventRecord>> {
        self.hits.count(self.cache.get(&nid))
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    /// Keeps what was read from the database, unless a redaction came in between.
    pub(crate) fn insert_read(&self, event: &Arc<EventRecord>, epoch: u64) {
        if self.epoch() == epoch {
            self.cache.insert(event.nid, event.clone());
        }
    }

    /// Keeps an event just committed.
    pub(crate) fn insert_new(&self, event: &Arc<EventRecord>) {
        self.cache.insert(event.nid, event.clone());
    }

    /// Forgets an event that was redacted.
    pub(crate) fn forget(&self, nid: EventNid) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
        self.cache.invalidate(&nid);
    }

    /// Forgets everything: events of a room were judged anew.
    pub(crate) fn forget_all(&self) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
        self.cache.invalidate_all();
    }
}
