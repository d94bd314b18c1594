//! The state of a room at one of its events.

use std::{collections::HashMap, sync::Arc};

use hs_model::{
    ids::{EventNid, SlotNid},
    records::EventRecord,
    stream::RoomStreamToken,
};
use hs_storage::{
    StorageError,
    events::{Order, Place},
    history::Span,
};
use ruma::OwnedUserId;

use crate::{Room, Rooms};

impl Rooms {
    /// The whole state after an event. Empty for an outlier, whose state is unknown.
    pub async fn find_state_after(
        &self,
        event: &EventRecord,
    ) -> Result<HashMap<SlotNid, EventNid>, StorageError> {
        let Some(group) = event.state_before else { return Ok(HashMap::new()) };
        let mut state = self.inner.store.reader().await?.find_state(group).await?;
        if let Some(slot) = event.slot {
            state.insert(slot, event.nid);
        }
        Ok(state)
    }

    /// The state events after an event whose type and state key `wants` accepts.
    pub async fn list_state_after(
        &self,
        event: &EventRecord,
        wants: impl Fn(&str, &str) -> bool,
    ) -> Result<Vec<Arc<EventRecord>>, StorageError> {
        let state = self.find_state_after(event).await?;
        let slots: Vec<SlotNid> = state.keys().copied().collect();
        let names = self.inner.store.slot_names(&slots).await?;
        let wanted = |slot: &SlotNid| names.get(slot).is_some_and(|(event_type, key)| wants(event_type, key));
        let mut nids: Vec<EventNid> =
            state.into_iter().filter(|(slot, _)| wanted(slot)).map(|(_, nid)| nid).collect();
        nids.sort_unstable();
        self.inner.store.list_events(&nids).await
    }

    /// The member events of some users in the state after an event.
    pub async fn list_members_after(
        &self,
        event: &EventRecord,
        users: &[OwnedUserId],
    ) -> Result<Vec<Arc<EventRecord>>, StorageError> {
        let Some(group) = event.state_before else { return Ok(Vec::new()) };
        let keys: Vec<(&str, &str)> = users.iter().map(|user| ("m.room.member", user.as_str())).collect();
        let slots: Vec<SlotNid> = self.inner.store.find_slots(&keys).await?.into_values().collect();
        let mut reader = self.inner.store.reader().await?;
        let mut state = reader.find_state_slots(&[group], &slots).await?.remove(&group).unwrap_or_default();
        if let Some(slot) = event.slot.filter(|slot| slots.contains(slot)) {
            state.insert(slot, event.nid);
        }
        let mut nids: Vec<EventNid> = state.into_values().collect();
        nids.sort_unstable();
        reader.list_events(&nids).await
    }

    /// Where a token stands in the graph of a room.
    pub(crate) async fn place_of_token(
        &self,
        room: &Room,
        token: RoomStreamToken,
    ) -> Result<Place, StorageError> {
        match token {
            RoomStreamToken::Topological { depth, position } => Ok(Place { depth, position }),
            RoomStreamToken::Stream(position) => {
                let place = self.inner.store.reader().await?.find_place_at(room.nid, position).await?;
                Ok(place.unwrap_or(Place::START))
            }
        }
    }

    /// The event that a token stands after; `None` when it stands before all.
    pub(crate) async fn event_at(
        &self,
        room: &Room,
        token: RoomStreamToken,
    ) -> Result<Option<Arc<EventRecord>>, StorageError> {
        let span = Span { after: None, until: Some(self.place_of_token(room, token).await?) };
        let mut reader = self.inner.store.reader().await?;
        let rows = reader.list_timeline_rows(room.nid, span, Order::Backward, 1).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        Ok(reader.find_events(&[row.nid]).await?.remove(&row.nid))
    }
}
