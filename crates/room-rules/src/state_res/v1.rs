//! The first state resolution algorithm, of room version 1.
//!
//! Specification: <https://spec.matrix.org/v1.19/rooms/v1/#state-resolution>. Where its prose leaves room, this
//! follows what the servers of such rooms do, since only agreement with them counts:
//! - each state key of `m.room.join_rules` and `m.room.member` is resolved by itself, and the events of one
//!   pass do not see each other's results;
//! - if no event of another type passes, the last one in the order is taken.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use ruma::{EventId, OwnedEventId, events::StateEventType};
use sha1::{Digest as _, Sha1};

use super::StateMap;
use crate::{auth::check_dependent, pdu::Pdu};

type Key = (StateEventType, String);

/// Resolves states. Events that cannot be found are left out.
pub(super) fn resolve(states: &[StateMap], fetch: impl Fn(&EventId) -> Option<Arc<Pdu>>) -> StateMap {
    let (mut resolved, conflicted_ids) = split(states);
    let mut conflicts: BTreeMap<Key, Vec<Arc<Pdu>>> = BTreeMap::new();
    for (key, ids) in conflicted_ids {
        let mut events: Vec<Arc<Pdu>> =
            ids.iter().filter_map(|id| fetch(id)).filter(|event| !event.is_rejected()).collect();
        match events.len() {
            0 => {}
            1 => {
                resolved.insert(key, events[0].event_id().to_owned());
            }
            _ => {
                // From the lowest depth and the highest hash up.
                events.sort_by_cached_key(|event| (event.depth(), Reverse(sha1(event.event_id()))));
                conflicts.insert(key, events);
            }
        }
    }

    let mut state = Lookup { events: HashMap::new(), resolved: &resolved, fetch: &fetch };
    for event_type in
        [StateEventType::RoomPowerLevels, StateEventType::RoomJoinRules, StateEventType::RoomMember]
    {
        let of_type: Vec<Key> = conflicts.keys().filter(|key| key.0 == event_type).cloned().collect();
        let mut winners = Vec::with_capacity(of_type.len());
        for key in of_type {
            let events = conflicts.remove(&key).unwrap_or_default();
            winners.push((key, resolve_auth_event(&events, &state)));
        }
        state.events.extend(winners);
    }
    let others: Vec<(Key, Arc<Pdu>)> = conflicts
        .into_iter()
        .map(|(key, events)| {
            let passes = |event: &&Arc<Pdu>| check_dependent(event, |ty, key| state.find(ty, key)).is_ok();
            let winner = events.iter().rev().find(passes).unwrap_or(&events[0]).clone();
            (key, winner)
        })
        .collect();

    let winners: Vec<(Key, OwnedEventId)> = state
        .events
        .into_iter()
        .chain(others)
        .map(|(key, event)| (key, event.event_id().to_owned()))
        .collect();
    resolved.extend(winners);
    resolved
}

/// The state resolved so far, as the auth rules ask for it.
struct Lookup<'a, F> {
    /// The winners of earlier passes.
    events: HashMap<Key, Arc<Pdu>>,
    /// What was never in conflict.
    resolved: &'a StateMap,
    fetch: &'a F,
}

impl<F: Fn(&EventId) -> Option<Arc<Pdu>>> Lookup<'_, F> {
    fn find(&self, event_type: &str, state_key: &str) -> Option<Arc<Pdu>> {
        let key = (StateEventType::from(event_type), state_key.to_owned());
        self.events.get(&key).cloned().or_else(|| (self.fetch)(self.resolved.get(&key)?))
    }
}

/// Takes the first event, and goes on to the next one as long as the one before allows it.
fn resolve_auth_event<F: Fn(&EventId) -> Option<Arc<Pdu>>>(
    events: &[Arc<Pdu>],
    state: &Lookup<'_, F>,
) -> Arc<Pdu> {
    let mut winner = &events[0];
    for event in &events[1..] {
        let with_winner = |event_type: &str, state_key: &str| {
            if winner.is_state_of(event_type, state_key) {
                Some(Arc::clone(winner))
            } else {
                state.find(event_type, state_key)
            }
        };
        if check_dependent(event, with_winner).is_err() {
            break;
        }
        winner = event;
    }
    Arc::clone(winner)
}

/// Parts what all states that have a key agree on from what they disagree about.
fn split(states: &[StateMap]) -> (StateMap, BTreeMap<Key, BTreeSet<OwnedEventId>>) {
    let mut ids: HashMap<&Key, BTreeSet<&OwnedEventId>> = HashMap::new();
    for (key, event_id) in states.iter().flatten() {
        ids.entry(key).or_default().insert(event_id);
    }
    let mut agreed = StateMap::new();
    let mut conflicted = BTreeMap::new();
    for (key, ids) in ids {
        if ids.len() == 1 {
            agreed.extend(ids.into_iter().map(|id| (key.clone(), id.clone())));
        } else {
            conflicted.insert(key.clone(), ids.into_iter().cloned().collect());
        }
    }
    (agreed, conflicted)
}

fn sha1(event_id: &EventId) -> [u8; 20] {
    Sha1::digest(event_id.as_bytes()).into()
}
