//! Walks over the graph that `auth_events` form.

use std::{
    borrow::Borrow,
    collections::{HashMap, HashSet},
};

use ruma::{EventId, OwnedEventId};

use super::EventIdSet;
use crate::pdu::Pdu;

/// The union of the auth chains of events. An event is in it only if another one has it in its chain. Events
/// that cannot be found are in it, their own auth events are not.
pub fn auth_chain<'e, E: Borrow<Pdu>>(
    events: impl IntoIterator<Item = &'e EventId>,
    fetch: impl Fn(&EventId) -> Option<E>,
) -> EventIdSet {
    let mut chain = EventIdSet::new();
    let mut to_visit: Vec<OwnedEventId> = Vec::new();
    let mut add_auth_events = |event_id: &EventId, to_visit: &mut Vec<OwnedEventId>| {
        if let Some(event) = fetch(event_id) {
            for auth_event in event.borrow().auth_events() {
                if chain.insert(auth_event.clone()) {
                    to_visit.push(auth_event.clone());
                }
            }
        }
    };
    for event_id in events {
        add_auth_events(event_id, &mut to_visit);
    }
    while let Some(event_id) = to_visit.pop() {
        add_auth_events(&event_id, &mut to_visit);
    }
    chain
}

/// The conflicted state subgraph: every event on a path along auth events from one conflicted event to
/// another, both ends included.
///
/// `fetch` is asked for the whole auth chain of the conflicted events.
///
/// <https://spec.matrix.org/v1.19/rooms/v12/#definitions>
pub fn conflicted_subgraph<E: Borrow<Pdu>>(
    conflicted: &[&EventId],
    fetch: impl Fn(&EventId) -> Option<E>,
) -> EventIdSet {
    let conflicted: HashSet<&EventId> = conflicted.iter().copied().collect();
    // Every event visited follows from a conflicted event, so that it is in the subgraph if and only if a
    // conflicted event follows from it in turn. That is known once all its auth events are finished.
    let mut leads_to_conflict: HashMap<OwnedEventId, bool> = HashMap::new();
    let mut stack: Vec<Visit> = conflicted.iter().map(|id| Visit::Enter((*id).to_owned())).collect();
    while let Some(visit) = stack.pop() {
        match visit {
            Visit::Enter(event_id) => {
                if leads_to_conflict.contains_key(&event_id) {
                    continue;
                }
                // Entered already, so that a cycle (possible where ids are not hashes) comes to an end.
                leads_to_conflict.insert(event_id.clone(), conflicted.contains(&*event_id));
                let Some(event) = fetch(&event_id) else { continue };
                let auth_events = event.borrow().auth_events().to_vec();
                stack.push(Visit::Leave(event_id, auth_events.clone()));
                stack.extend(auth_events.into_iter().map(Visit::Enter));
            }
            Visit::Leave(event_id, auth_events) => {
                if auth_events.iter().any(|auth_event| leads_to_conflict.get(auth_event) == Some(&true)) {
                    leads_to_conflict.insert(event_id, true);
                }
            }
        }
    }
    leads_to_conflict.into_iter().filter_map(|(event_id, leads)| leads.then_some(event_id)).collect()
}

/// Whether following the power levels events that allow each other never ends.
///
/// Where ids are hashes, an event cannot name a later one. In room versions 1 and 2 somebody can make events
/// that name each other, and an algorithm that walks from one power levels event to the one before would
/// walk forever.
pub(super) fn has_power_levels_cycle<E: Borrow<Pdu>>(
    events: impl IntoIterator<Item = OwnedEventId>,
    fetch: impl Fn(&EventId) -> Option<E>,
) -> bool {
    // The number of the walk that came by. Meeting another walk's trace is meeting what has an end.
    let mut seen: HashMap<OwnedEventId, usize> = HashMap::new();
    for (walk, event_id) in events.into_iter().enumerate() {
        let mut next = Some(event_id);
        while let Some(event_id) = next {
            match seen.get(&event_id) {
                Some(earlier) if *earlier == walk => return true,
                Some(_) => break,
                None => {}
            }
            let event = fetch(&event_id);
            seen.insert(event_id, walk);
            next = event.and_then(|event| {
                let is_levels = |id: &&OwnedEventId| {
                    fetch(id).is_some_and(|event| event.borrow().is_state_of("m.room.power_levels", ""))
                };
                event.borrow().auth_events().iter().find(is_levels).cloned()
            });
        }
    }
    false
}

enum Visit {
    Enter(OwnedEventId),
    Leave(OwnedEventId, Vec<OwnedEventId>),
}
