//! Parsed events, for the rules. State events that authorise others are asked for again and again.

use std::{collections::HashMap, sync::Arc};

use hs_model::{
    hit_rate::HitRate,
    ids::EventNid,
    records::{EventRecord, Outcome},
};
use hs_room_rules::pdu::{Pdu, Stored};
use hs_storage::{StorageError, Store};
use moka::sync::Cache;

use crate::Room;

/// Upper bound of the JSON kept, in bytes.
const CAPACITY_BYTES: u64 = 32 * 1024 * 1024;
/// What an entry costs beside its JSON.
const ENTRY_OVERHEAD_BYTES: usize = 600;

#[derive(Debug)]
pub(crate) struct Pdus {
    store: Store,
    cache: Cache<EventNid, Arc<Pdu>>,
    pub(crate) hits: HitRate,
}

impl Pdus {
    pub(crate) fn new(store: Store) -> Self {
        let cache = Cache::builder()
            .max_capacity(CAPACITY_BYTES)
            .weigher(|_, pdu: &Arc<Pdu>| (pdu.json().len() + ENTRY_OVERHEAD_BYTES) as u32)
            .build();
        Self { store, cache, hits: HitRate::default() }
    }

    /// Forgets everything: events of a room were judged anew.
    pub(crate) fn forget_all(&self) {
        self.cache.invalidate_all();
    }

    /// Events of one room, by number.
    pub(crate) async fn find(
        &self,
        room: &Room,
        nids: impl IntoIterator<Item = EventNid>,
    ) -> Result<HashMap<EventNid, Arc<Pdu>>, StorageError> {
        let mut found = HashMap::new();
        let mut unknown = Vec::new();
        for nid in nids {
            match self.hits.count(self.cache.get(&nid)) {
                Some(pdu) => {
                    found.insert(nid, pdu);
                }
                None => unknown.push(nid),
            }
        }
        if !unknown.is_empty() {
            for (nid, event) in self.store.find_events(&unknown).await? {
                let pdu = Arc::new(parse(room, &event)?);
                self.cache.insert(nid, pdu.clone());
                found.insert(nid, pdu);
            }
        }
        Ok(found)
    }
}

/// Reads a stored event for the rules.
pub(crate) fn parse(room: &Room, event: &EventRecord) -> Result<Pdu, StorageError> {
    let stored = Stored {
        json: Box::from(&*event.json),
        event_id: event.event_id.clone(),
        room_id: room.room_id.clone(),
        is_rejected: event.outcome == Outcome::Rejected,
    };
    Pdu::from_stored(stored, room.rules).map_err(|_| StorageError::Inconsistent {
        table: "event_json",
        column: "json",
        row: event.nid.0.to_string(),
    })
}
