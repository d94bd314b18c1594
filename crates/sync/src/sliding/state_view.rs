//! The state of a room at a position, looked at slot by slot: nothing is copied that nobody asked for.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use hs_model::{
    ids::{EventNid, SlotNid},
    stream::Position,
};
use hs_rooms::{Room, room::StateIndex};
use hs_storage::StorageError;

use super::config::RequiredState;
use crate::service::Inner;

/// What filled slots before, by type and state key.
type Undone = HashMap<(Arc<str>, Arc<str>), Option<EventNid>>;

/// The state of a room at a position.
#[derive(Debug)]
pub(super) enum StateView<'a> {
    /// The present state, except for slots that have changed since.
    Memory {
        room: &'a Room,
        /// What filled those slots before.
        undone: Undone,
    },
    /// Read from the database.
    Stored(StateIndex),
}

impl<'a> StateView<'a> {
    pub(super) async fn at(inner: &Inner, room: &'a Room, at: Position) -> Result<Self, StorageError> {
        if let Some(undone) = undone(room, at) {
            return Ok(Self::Memory { room, undone });
        }
        let mut reader = inner.store.reader().await?;
        let nids = reader.list_recent_events(room.nid, Position::START, at, 1).await?;
        let last = reader.list_events(&nids).await?.pop();
        let mut state = match last.as_ref().and_then(|last| last.state_before) {
            Some(group) => reader.find_state(group).await?,
            None => HashMap::new(),
        };
        if let Some(last) = &last
            && let Some(slot) = last.slot
        {
            state.insert(slot, last.nid);
        }
        drop(reader);
        let slots: Vec<SlotNid> = state.keys().copied().collect();
        let names = inner.store.slot_names(&slots).await?;
        let mut index = StateIndex::new();
        for (slot, event) in state {
            if let Some((event_type, state_key)) = names.get(&slot) {
                index.entry(event_type.clone()).or_default().insert(state_key.clone(), event);
            }
        }
        Ok(Self::Stored(index))
    }

    /// The event that fills a slot.
    pub(super) fn get(&self, event_type: &str, state_key: &str) -> Option<EventNid> {
        match self {
            Self::Memory { room, undone } => {
                if !undone.is_empty()
                    && let Some(before) = undone.get(&(Arc::from(event_type), Arc::from(state_key)))
                {
                    return *before;
                }
                room.read().state_event(event_type, state_key)
            }
            Self::Stored(index) => index.get(event_type)?.get(state_key).copied(),
        }
    }

    /// The events that are wanted and, if `known` is given, were not wanted before.
    pub(super) fn select(&self, wanted: &RequiredState, known: Option<&RequiredState>) -> BTreeSet<EventNid> {
        let places = wanted.places();
        let mut found = BTreeSet::new();
        let is_wanted = |event_type: &str, state_key: &str| {
            wanted.matches(event_type, state_key)
                && known.is_none_or(|known| !known.matches(event_type, state_key))
        };
        if !places.all_types {
            for (event_type, state_key) in &places.slots {
                if is_wanted(event_type, state_key) {
                    found.extend(self.get(event_type, state_key));
                }
            }
            if places.types.is_empty() {
                return found;
            }
        }
        let mut collect = |index: &StateIndex| {
            let of_type = |event_type: &Arc<str>| places.all_types || places.types.contains(&**event_type);
            for (event_type, slots) in index.iter().filter(|(event_type, _)| of_type(event_type)) {
                let wanted = slots.iter().filter(|(state_key, _)| is_wanted(event_type, state_key));
                found.extend(wanted.map(|(_, nid)| *nid));
            }
        };
        match self {
            Self::Stored(index) => collect(index),
            Self::Memory { room, undone } => {
                let state = room.read();
                collect(&state.state);
                for ((event_type, state_key), before) in undone {
                    if let Some(now) = state.state_event(event_type, state_key) {
                        found.remove(&now);
                    }
                    if is_wanted(event_type, state_key) {
                        found.extend(*before);
                    }
                }
            }
        }
        found
    }
}

/// For each slot that changed after a position, what filled it then; `None` when memory does not reach back that far.
fn undone(room: &Room, at: Position) -> Option<Undone> {
    let state = room.read();
    let mut undone = HashMap::new();
    for event in state.recent_after(at)?.rev() {
        if let Some(state_key) = &event.state_key {
            undone.insert((event.event_type.clone(), state_key.clone()), event.replaces);
        }
    }
    Some(undone)
}
