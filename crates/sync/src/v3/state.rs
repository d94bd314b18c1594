//! The state of a room at either end of a timeline, whole or as a difference.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use hs_model::{ids::EventNid, records::EventRecord, stream::Position};
use hs_rooms::Room;
use hs_storage::StorageError;
use ruma::OwnedUserId;

use super::{Context, timeline::Timeline};
use crate::{filter, service::Inner};

const MEMBER: &str = "m.room.member";

/// Which state a section holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// All of it.
    Full,
    /// What has changed after this position.
    Since(Position),
}

/// The state events that go with a timeline, in no particular order.
pub(super) async fn section(
    context: &Context<'_>,
    room: &Arc<Room>,
    timeline: &Timeline,
    extent: Extent,
    until: Position,
    heroes: &[OwnedUserId],
) -> Result<Vec<Arc<EventRecord>>, StorageError> {
    let wanted = &context.request.filter.room.state;
    if !filter::allows_room_section(wanted, &room.room_id) {
        return Ok(Vec::new());
    }
    let at = if context.request.use_state_after { until } else { timeline.begins_after };
    let is_lazy = !wanted.lazy_load_options.is_disabled();
    let mut events = match extent {
        Extent::Full => full(context, room, at, is_lazy).await?,
        Extent::Since(since) => changes(context.inner, room, &timeline.withheld_state, since, at).await?,
    };
    if is_lazy {
        add_members(context, room, timeline, extent, at, heroes, &mut events).await?;
    }
    events.retain(|event| filter::allows_event(wanted, event));
    Ok(events)
}

/// All state at a position; members are left out when they are loaded lazily.
async fn full(
    context: &Context<'_>,
    room: &Arc<Room>,
    at: Position,
    is_lazy: bool,
) -> Result<Vec<Arc<EventRecord>>, StorageError> {
    let nids: Vec<EventNid> = match from_memory(room, at, is_lazy) {
        Some(nids) => nids,
        None => from_database(context, room, at).await?,
    };
    let mut reader = context.inner.store.reader().await?;
    let mut events = reader.list_events(&nids).await?;
    if is_lazy {
        events.retain(|event| &*event.event_type != MEMBER);
    }
    Ok(events)
}

/// The current state, with everything undone that happened after `at`.
fn from_memory(room: &Room, at: Position, is_lazy: bool) -> Option<Vec<EventNid>> {
    let state = room.read();
    // For each slot changed since, the event that filled it before.
    let mut undone: HashMap<(&str, &str), (Position, Option<EventNid>)> = HashMap::new();
    let mut undo = |slot, position, replaces| {
        let known = undone.entry(slot).or_insert((position, replaces));
        if position < known.0 {
            *known = (position, replaces);
        }
    };
    for event in state.recent_after(at)? {
        if let (Some(state_key), Some(position)) = (&event.state_key, event.position) {
            undo((&*event.event_type, &**state_key), position, event.replaces);
        }
    }
    for correction in state.corrections_after(at) {
        undo((&*correction.event_type, &*correction.state_key), correction.position, correction.replaces);
    }
    let kept = state
        .state
        .iter()
        .filter(|(event_type, _)| !is_lazy || &***event_type != MEMBER)
        .flat_map(|(event_type, slots)| slots.iter().map(move |(key, nid)| ((&**event_type, &**key), *nid)))
        .filter(|(slot, _)| !undone.contains_key(slot))
        .map(|(_, nid)| nid);
    Some(kept.chain(undone.values().filter_map(|(_, replaces)| *replaces)).collect())
}

/// The same, by the database.
async fn from_database(
    context: &Context<'_>,
    room: &Room,
    at: Position,
) -> Result<Vec<EventNid>, StorageError> {
    let mut reader = context.inner.store.snapshot().await?;
    let mut state: HashMap<_, _> = reader.list_current_state(room.nid).await?.into_iter().collect();
    for (slot, before) in reader.list_state_undone(room.nid, at).await? {
        match before {
            Some(event) => state.insert(slot, event),
            None => state.remove(&slot),
        };
    }
    Ok(state.into_values().collect())
}

/// The type and the state key of a state event.
type Slot = (Arc<str>, Arc<str>);

/// What changed after one position and up to another, of each slot the newest.
pub(crate) async fn changes(
    inner: &Inner,
    room: &Arc<Room>,
    withheld: &[Arc<EventRecord>],
    since: Position,
    until: Position,
) -> Result<Vec<Arc<EventRecord>>, StorageError> {
    if until <= since {
        return Ok(withheld.to_vec());
    }
    let from_memory = {
        let state = room.read();
        state.recent_after(since).map(|events| {
            let mut newest: HashMap<Slot, (Position, Option<EventNid>)> = HashMap::new();
            let mut note = |slot: Slot, position: Position, event| {
                let known = newest.entry(slot).or_insert((position, event));
                if position > known.0 {
                    *known = (position, event);
                }
            };
            for event in events.filter(|event| event.position <= Some(until)) {
                if let (Some(state_key), Some(position)) = (&event.state_key, event.position) {
                    note((event.event_type.clone(), state_key.clone()), position, Some(event.nid));
                }
            }
            for correction in state.corrections_after(since).filter(|c| c.position <= until) {
                let slot = (correction.event_type.clone(), correction.state_key.clone());
                note(slot, correction.position, correction.event);
            }
            newest.into_values().filter_map(|(_, event)| event).collect::<Vec<_>>()
        })
    };
    let mut events = if let Some(nids) = from_memory {
        inner.store.list_events(&nids).await?
    } else {
        let mut reader = inner.store.reader().await?;
        let nids = reader.list_state_changes(room.nid, since, until).await?;
        reader.list_events(&nids).await?
    };
    for event in withheld {
        if !events.iter().any(|known| known.slot == event.slot) {
            events.push(event.clone());
        }
    }
    Ok(events)
}

/// Adds the members that a client needs to show the timeline and the room's name.
async fn add_members(
    context: &Context<'_>,
    room: &Arc<Room>,
    timeline: &Timeline,
    extent: Extent,
    at: Position,
    heroes: &[OwnedUserId],
    events: &mut Vec<Arc<EventRecord>>,
) -> Result<(), StorageError> {
    let mut users: HashSet<&str> = timeline.events.iter().map(|event| event.sender.as_str()).collect();
    users.extend(heroes.iter().map(|user| user.as_str()));
    if extent == Extent::Full {
        users.insert(context.request.user_id.as_str());
    }
    for event in events.iter().chain(&timeline.events) {
        // Sent anyway; but a sender whose membership changes in the timeline is still shown as before until then.
        let is_sent = &*event.event_type == MEMBER && events.iter().any(|sent| sent.nid == event.nid);
        if is_sent && let Some(user) = &event.state_key {
            users.remove(&**user);
        }
    }
    let nids: Vec<EventNid> = {
        let state = room.read();
        users.iter().filter_map(|user| state.state_event(MEMBER, user)).collect()
    };
    let mut reader = context.inner.store.reader().await?;
    let mut members = reader.list_events(&nids).await?;
    // Members as of `at`: those that changed later are traced back.
    for member in &mut members {
        while member.position > Some(at)
            && let Some(previous) = member.replaces
            && let Some(event) = reader.list_events(&[previous]).await?.pop()
        {
            *member = event;
        }
    }
    drop(reader);
    // A member who came later than `at` is in the timeline.
    members.retain(|member| member.position <= Some(at));

    let sends_redundant = matches!(
        context.request.filter.room.state.lazy_load_options,
        ruma::api::client::filter::LazyLoadOptions::Enabled { include_redundant_members: true }
    );
    let (device, lazy) = (context.request.device, &context.inner.lazy_members);
    if extent == Extent::Full {
        lazy.forget(device, room.nid);
    } else if !sends_redundant {
        members.retain(|member| !lazy.is_known(device, room.nid, member.nid, context.since));
    }
    let sent = members.iter().chain(events.iter()).chain(&timeline.events);
    let sent = sent.filter(|event| &*event.event_type == MEMBER).map(|event| event.nid);
    lazy.note(device, room.nid, sent, context.until);
    events.extend(members);
    Ok(())
}
