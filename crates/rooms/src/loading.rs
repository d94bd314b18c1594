//! Reading a room from the database into memory.

use std::sync::Arc;

use hs_model::{ids::SlotNid, stream::Position};
use hs_storage::{StorageError, Store, graph::GraphEnd, rooms::RoomHead};
use ruma::EventId;

use crate::{
    aggregations::AGGREGATED,
    room::{Extremity, Head, Missing, Room, RoomState, StateIndex},
    state_line::StateLine,
};

/// Fills a room that was just made.
pub(crate) async fn load(store: &Store, room: &Room) -> Result<(), StorageError> {
    room.fill(read(store, room).await?);
    Ok(())
}

/// Reads a room again, of which everything may have changed.
pub(crate) async fn reload(store: &Store, room: &Room) -> Result<(), StorageError> {
    room.replace(read(store, room).await?);
    Ok(())
}

async fn read(store: &Store, room: &Room) -> Result<RoomState, StorageError> {
    let mut reader = store.snapshot().await?;
    let row = reader.find_room_head(room.nid).await?.ok_or_else(|| missing_head(room))?;
    let chain = reader.list_state_group_chain(row.state_group).await?;
    let current = reader.list_current_state(room.nid).await?;
    let memberships = reader.list_memberships_in_room(room.nid).await?;
    let ends = reader.list_ends(&row.forward_extremities).await?;
    let partial = reader.find_partial_room(room.nid).await?;
    drop(reader);

    let slots: Vec<SlotNid> = current.iter().map(|(slot, _)| *slot).collect();
    let names = store.slot_names(&slots).await?;
    let mut state = StateIndex::new();
    for (slot, event) in current {
        if let Some((event_type, state_key)) = names.get(&slot) {
            state.entry(event_type.clone()).or_default().insert(state_key.clone(), event);
        }
    }
    let last_position = row.last_position;
    let head = head(row, StateLine::from_chain(chain), ends);
    let mut state = RoomState::new(head, last_position, state, &memberships);
    if let Some(partial) = partial {
        state.missing = match partial.whole_at {
            Some(position) => Missing::NothingSince(position),
            None => Missing::Members { join: partial.join, servers: partial.servers },
        };
    }
    Ok(state)
}

/// Reads where a room stands, after another replica has appended to it.
pub(crate) async fn load_head(store: &Store, room: &Room) -> Result<(), StorageError> {
    let mut reader = store.snapshot().await?;
    let row = reader.find_room_head(room.nid).await?.ok_or_else(|| missing_head(room))?;
    let chain = reader.list_state_group_chain(row.state_group).await?;
    let ends = reader.list_ends(&row.forward_extremities).await?;
    drop(reader);
    // The state in memory has to be as new as the head that names it.
    store.tail().wait_applied(row.last_position).await;
    let head = head(row, StateLine::from_chain(chain), ends);
    room.update(|state| {
        if state.head.as_ref().is_none_or(|known| known.version < head.version) {
            state.head = Some(head);
        }
    });
    Ok(())
}

fn head(row: RoomHead, line: StateLine, ends: Vec<GraphEnd>) -> Head {
    let extremities = ends
        .into_iter()
        .map(|end| Extremity { nid: end.nid, event_id: end.event_id, state: end.state })
        .collect();
    Head { version: row.version, line, extremities, depth: row.depth }
}

fn missing_head(room: &Room) -> StorageError {
    StorageError::Inconsistent { table: "room_heads", column: "room_nid", row: room.nid.0.to_string() }
}

/// Makes sure that the newest events of a room are in memory, as far as memory keeps them.
pub(crate) async fn load_recent(store: &Store, room: &Arc<Room>, limit: usize) -> Result<(), StorageError> {
    let (first, has_enough) = {
        let state = room.read();
        (state.oldest_recent(), state.recent_len() >= limit || state.has_all_events())
    };
    if has_enough {
        return Ok(());
    }
    let mut reader = store.reader().await?;
    let nids = reader.list_recent_events(room.nid, Position::START, first, limit as i64).await?;
    let events = reader.list_events(&nids).await?;
    // What is asked here once need not be asked at each delivery.
    let ids: Vec<&EventId> = events.iter().map(|event| &*event.event_id).collect();
    let parents = if ids.is_empty() {
        Vec::new()
    } else {
        reader.list_parents(room.nid, &ids, &AGGREGATED.map(str::to_owned), &[]).await?
    };
    let since = if (nids.len() as i64) < limit as i64 {
        Position::START
    } else {
        events.first().and_then(|event| event.position).map_or(first, |p| Position(p.0 - 1))
    };
    room.update(|state| state.prepend_recent(events, parents, since));
    Ok(())
}
