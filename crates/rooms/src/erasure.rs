//! What people wrote who asked to be forgotten: those who were there go on seeing it, newcomers do not.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3accountdeactivate>

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use hs_model::{ids::EventNid, membership::Membership, records::EventRecord};
use hs_storage::StorageError;

use crate::{Room, Rooms, client_event::Viewer};

impl Rooms {
    /// Those of some events of a room whose words a viewer may read, in order.
    pub async fn without_erased(
        &self,
        room: &Room,
        mut events: Vec<Arc<EventRecord>>,
        viewer: &Viewer<'_>,
    ) -> Result<Vec<Arc<EventRecord>>, StorageError> {
        if self.erased_senders(&events).await?.is_empty() {
            return Ok(events);
        }
        let memberships = self.memberships_at(room, &events, viewer).await?;
        let erased = self.erased_for(room, &events, viewer, &memberships).await?;
        events.retain(|event| !erased.contains(&event.nid));
        Ok(events)
    }

    /// Those of some events that are shown pruned, since their sender's wish to be forgotten stands against the viewer.
    /// `memberships` are those of the viewer at each event.
    pub(crate) async fn erased_for(
        &self,
        room: &Room,
        events: &[Arc<EventRecord>],
        viewer: &Viewer<'_>,
        memberships: &HashMap<EventNid, Membership>,
    ) -> Result<HashSet<EventNid>, StorageError> {
        let senders = self.erased_senders(events).await?;
        if senders.is_empty() {
            return Ok(HashSet::new());
        }
        let joined_since = room.read().joined_since(viewer.user);
        let is_erased = |event: &&Arc<EventRecord>| {
            // Who was there, or came before the sender asked to be forgotten, goes on seeing what they saw.
            memberships.get(&event.nid) != Some(&Membership::Join)
                && senders
                    .get(&event.sender_nid)
                    .is_some_and(|at| joined_since.is_none_or(|since| since > *at))
                && concerns_person(event)
        };
        Ok(events.iter().filter(is_erased).map(|event| event.nid).collect())
    }
}

/// Whether an event is about its sender, rather than about the room: what they wrote, and how they called themselves.
pub(crate) fn concerns_person(event: &EventRecord) -> bool {
    event.state_key.as_deref().is_none_or(|key| &*event.event_type == "m.room.member" && key == event.sender)
}
