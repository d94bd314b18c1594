//! The state of a room as a user may read it: the current one for those who are in it, that of their leaving for those
//! who were.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidstate>

use std::{collections::HashMap, sync::Arc};

use hs_model::{ids::EventNid, records::EventRecord};
use hs_storage::StorageError;

use crate::{Room, Rooms, access::Access, client_event::Viewer, state_line::EMPTY};

impl Rooms {
    /// One event of the state that a user may read; the outer `None` says that there is no such state.
    pub async fn find_seen_state_event(
        &self,
        room: &Room,
        viewer: &Viewer<'_>,
        slot: (&str, &str),
    ) -> Result<Option<Option<Arc<EventRecord>>>, StorageError> {
        let Some(access) = self.access(room, viewer).await? else { return Ok(None) };
        let nid = match access {
            Access::Member | Access::Reader => room.read().state_event(slot.0, slot.1),
            Access::Former(left) => {
                if &*left.event_type == slot.0 && left.state_key.as_deref() == Some(slot.1) {
                    return Ok(Some(Some(left)));
                }
                let slots: Vec<_> = self.inner.store.find_slots(&[slot]).await?.into_values().collect();
                let mut reader = self.inner.store.reader().await?;
                let before = left.state_before.unwrap_or(EMPTY);
                let found = reader.find_state_slots(&[before], &slots).await?;
                found.into_values().flat_map(HashMap::into_values).next()
            }
        };
        let Some(nid) = nid else { return Ok(Some(None)) };
        Ok(Some(self.inner.store.find_events(&[nid]).await?.remove(&nid)))
    }

    /// All of the state that a user may read; `None` when there is none.
    pub async fn list_seen_state(
        &self,
        room: &Room,
        viewer: &Viewer<'_>,
    ) -> Result<Option<Vec<Arc<EventRecord>>>, StorageError> {
        let Some(access) = self.access(room, viewer).await? else { return Ok(None) };
        let mut nids: Vec<EventNid> = match access {
            Access::Member | Access::Reader => {
                let state = room.read();
                state.state.values().flat_map(|by_key| by_key.values().copied()).collect()
            }
            Access::Former(left) => {
                let before = left.state_before.unwrap_or(EMPTY);
                let mut state = self.inner.store.reader().await?.find_state(before).await?;
                if let Some(slot) = left.slot {
                    state.insert(slot, left.nid);
                }
                state.into_values().collect()
            }
        };
        nids.sort_unstable();
        Ok(Some(self.inner.store.list_events(&nids).await?))
    }
}
