//! Resolving the states that forks of a room have led to.
//!
//! The algorithm itself is in `room-rules`; here it gets what it looks at and no more. States are compared as differences of
//! their groups, so that what a fork has not touched costs nothing, and of the auth chains only their difference is read
//! (see [`auth_graph`](crate::auth_graph)).

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use hs_model::ids::{EventNid, SlotNid, StateGroupNid};
use hs_room_rules::{
    auth,
    pdu::Pdu,
    state_res::{self, EventIdSet, StateMap},
};
use hs_storage::{StorageError, append::NewStateGroup, graph::AuthEdges};
use ruma::{EventId, OwnedEventId, events::StateEventType, room_version_rules::StateResolutionVersion};

use crate::{
    Room, Rooms,
    auth_graph::{Differing, MAX_SETS},
    groups::Chain,
    state_line::StateLine,
};

/// Why states were not resolved.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum ResolveError {
    /// The events do not allow it.
    #[error(transparent)]
    Rules(#[from] state_res::ResolveError),
    #[error("the database failed")]
    Storage(#[source] Arc<StorageError>),
}

impl From<StorageError> for ResolveError {
    fn from(error: StorageError) -> Self {
        Self::Storage(Arc::new(error))
    }
}

/// What is not stored yet, and may be asked for all the same.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pending<'a> {
    pub(crate) groups: &'a [NewStateGroup],
    pub(crate) events: &'a HashMap<EventNid, PendingEvent>,
}

/// A state event that is not stored yet.
#[derive(Clone, Debug)]
pub(crate) struct PendingEvent {
    pub(crate) pdu: Arc<Pdu>,
    pub(crate) auth: Vec<EventNid>,
}

/// A resolved state: a group, and what differs from it.
#[derive(Clone, Debug)]
pub(crate) struct Resolved {
    pub(crate) base: Chain,
    pub(crate) changes: Vec<(SlotNid, Option<EventNid>)>,
}

impl Resolved {
    /// The group that holds the state, if there is one.
    pub(crate) fn group(&self) -> Option<StateGroupNid> {
        self.changes.is_empty().then(|| self.base.tip())
    }

    /// The line that leads to the state, with a new group of this number if one is needed.
    pub(crate) fn into_line(self, nid: StateGroupNid) -> (StateLine, Option<NewStateGroup>) {
        let mut line = self.base.to_line();
        let new = (!self.changes.is_empty()).then(|| line.push_changes(nid, &self.changes));
        (line, new)
    }
}

/// What each of the states holds in a slot in which they differ.
type Conflict = (SlotNid, Vec<Option<EventNid>>);

impl Rooms {
    /// Resolves the states of some groups of a room, in ascending order. Of more than can be compared at once the newest are
    /// taken: a room that goes on with most of its forks is better off than one whose state stands still until they are united.
    pub(crate) async fn resolve_groups(
        &self,
        room: &Room,
        groups: &[StateGroupNid],
        pending: Pending<'_>,
    ) -> Result<Resolved, ResolveError> {
        let groups = &groups[groups.len().saturating_sub(MAX_SETS)..];
        let mut chains = Vec::with_capacity(groups.len());
        for group in groups {
            chains.push(self.inner.groups.chain(*group, pending.groups).await?);
        }
        let touched = Chain::touched(&chains.iter().collect::<Vec<_>>());
        let conflicts: Vec<Conflict> = touched
            .into_iter()
            .map(|slot| (slot, chains.iter().map(|chain| chain.get(slot)).collect::<Vec<_>>()))
            .filter(|(_, values)| values.iter().any(|value| *value != values[0]))
            .collect();
        if conflicts.is_empty() {
            return Ok(Resolved { base: chains.swap_remove(0), changes: Vec::new() });
        }
        let winners =
            Work { rooms: self, room, chains: &chains, conflicts: &conflicts, pending }.run().await?;
        Ok(nearest(chains, &conflicts, &winners))
    }

    /// State events that may not be stored yet.
    pub(crate) async fn pdus_of(
        &self,
        room: &Room,
        nids: impl IntoIterator<Item = EventNid>,
        pending: Pending<'_>,
    ) -> Result<HashMap<EventNid, Arc<Pdu>>, StorageError> {
        let mut found = HashMap::new();
        let mut stored = Vec::new();
        for nid in nids {
            match pending.events.get(&nid) {
                Some(event) => {
                    found.insert(nid, event.pdu.clone());
                }
                None => stored.push(nid),
            }
        }
        found.extend(self.inner.pdus.find(room, stored).await?);
        Ok(found)
    }
}

/// The result as a difference from that one of the states which it differs from least.
fn nearest(
    chains: Vec<Chain>,
    conflicts: &[Conflict],
    winners: &HashMap<SlotNid, Option<EventNid>>,
) -> Resolved {
    let winner = |slot: &SlotNid| winners.get(slot).copied().flatten();
    let differs = |i: usize| conflicts.iter().filter(|(slot, values)| values[i] != winner(slot)).count();
    let best = (0..chains.len())
        .min_by_key(|i| (differs(*i), std::cmp::Reverse(chains[*i].height()), chains[*i].tip()))
        .unwrap_or_default();
    let changes = conflicts
        .iter()
        .filter(|(slot, values)| values[best] != winner(slot))
        .map(|(slot, _)| (*slot, winner(slot)))
        .collect();
    let base = chains.into_iter().nth(best).unwrap_or_default();
    Resolved { base, changes }
}

/// One resolution.
struct Work<'a> {
    rooms: &'a Rooms,
    room: &'a Room,
    chains: &'a [Chain],
    conflicts: &'a [Conflict],
    pending: Pending<'a>,
}

impl Work<'_> {
    /// What fills each of the conflicted slots.
    async fn run(&self) -> Result<HashMap<SlotNid, Option<EventNid>>, ResolveError> {
        let (differing, subgraph) = self.auth_difference().await?;
        let mut nids: BTreeSet<EventNid> =
            self.conflicts.iter().flat_map(|(_, v)| v.iter().flatten()).copied().collect();
        nids.extend(differing.iter().map(|d| d.event));
        nids.extend(subgraph.iter().copied());
        let mut events = Events::default();
        events.add(self.rooms.pdus_of(self.room, nids, self.pending).await?);
        let shared = self.shared_state(&mut events).await?;
        self.add_auth_events(&mut events).await?;

        let conflict_slots: Vec<SlotNid> = self.conflicts.iter().map(|(slot, _)| *slot).collect();
        let names = self.rooms.inner.store.slot_names(&conflict_slots).await?;
        let key_of = |slot: &SlotNid| {
            let (event_type, state_key) = names.get(slot)?;
            Some((StateEventType::from(&**event_type), state_key.to_string()))
        };
        let states: Vec<StateMap> = (0..self.chains.len())
            .map(|i| {
                let own = self
                    .conflicts
                    .iter()
                    .filter_map(|(slot, values)| Some((key_of(slot)?, events.id(values[i]?)?)));
                shared.iter().map(|(key, id)| (key.clone(), id.clone())).chain(own).collect()
            })
            .collect();
        let chains: Vec<EventIdSet> = (0..self.chains.len())
            .map(|i| {
                let inside = differing.iter().filter(|d| d.sets & (1 << i) != 0);
                inside.filter_map(|d| events.id(d.event)).collect()
            })
            .collect();
        let subgraph: EventIdSet = subgraph.iter().filter_map(|nid| events.id(*nid)).collect();
        let fetch = |id: &EventId| events.by_id.get(id).map(|(_, pdu)| pdu.clone());
        let resolved =
            state_res::resolve(self.room.rules, &states, chains, fetch, |_| Some(subgraph.clone()))?;

        let winner = |slot: &SlotNid| events.by_id.get(resolved.get(&key_of(slot)?)?).map(|(nid, _)| *nid);
        Ok(self.conflicts.iter().map(|(slot, _)| (*slot, winner(slot))).collect())
    }

    /// The auth difference, and for version 2.1 the conflicted state subgraph.
    async fn auth_difference(&self) -> Result<(Vec<Differing>, HashSet<EventNid>), ResolveError> {
        let StateResolutionVersion::V2(rules) = &self.room.rules.state_res else {
            return Ok((Vec::new(), HashSet::new()));
        };
        let conflicted: BTreeSet<EventNid> =
            self.conflicts.iter().flat_map(|(_, v)| v.iter().flatten()).copied().collect();
        let slots: HashSet<SlotNid> = self.conflicts.iter().map(|(slot, _)| *slot).collect();
        let shared: Vec<EventNid> = self.chains[0]
            .list()
            .into_iter()
            .filter(|(slot, _)| !slots.contains(slot))
            .map(|(_, event)| event)
            .collect();
        let sets: Vec<Vec<EventNid>> = (0..self.chains.len())
            .map(|i| self.conflicts.iter().filter_map(|(_, values)| values[i]).collect())
            .collect();
        let pending = self.pending.events.iter();
        let pending = pending.map(|(nid, event)| AuthEdges { event: *nid, auth: event.auth.clone() });
        let wanted: Vec<EventNid> = conflicted.iter().chain(&shared).copied().collect();
        let graph = self.rooms.inner.auth_graphs.with(self.room.nid, &wanted, pending).await?;
        let graph = graph.lock();
        let difference = graph.difference(&sets, shared);
        let subgraph = if rules.consider_conflicted_state_subgraph {
            graph.subgraph(&conflicted)
        } else {
            HashSet::new()
        };
        Ok((difference, subgraph))
    }

    /// Of the state that all agree on, what the rules look at for the events that compete.
    async fn shared_state(&self, events: &mut Events) -> Result<StateMap, ResolveError> {
        let mut keys: BTreeSet<(String, String)> = BTreeSet::new();
        for (_, pdu) in events.by_id.values() {
            keys.insert(("m.room.create".to_owned(), String::new()));
            let needed = auth::auth_types(
                pdu.type_str(),
                pdu.sender(),
                pdu.state_key(),
                pdu.content_str(),
                self.room.rules,
            );
            // What is malformed does not pass the rules, whatever the state.
            for (event_type, key) in needed.into_iter().flatten() {
                keys.insert((event_type.to_owned(), key.into_owned()));
            }
        }
        let keys: Vec<(&str, &str)> = keys.iter().map(|(t, k)| (t.as_str(), k.as_str())).collect();
        let slots = self.rooms.inner.store.find_slots(&keys).await?;
        let conflicted: HashSet<SlotNid> = self.conflicts.iter().map(|(slot, _)| *slot).collect();
        let wanted: Vec<_> = slots
            .into_iter()
            .filter(|(_, slot)| !conflicted.contains(slot))
            .filter_map(|(key, slot)| Some((key, self.chains[0].get(slot)?)))
            .collect();
        let nids = wanted.iter().map(|(_, nid)| *nid);
        events.add(self.rooms.pdus_of(self.room, nids, self.pending).await?);
        Ok(wanted
            .into_iter()
            .filter_map(|((event_type, key), nid)| {
                Some(((StateEventType::from(&*event_type), key.to_string()), events.id(nid)?))
            })
            .collect())
    }

    /// The auth events of all events, and the whole line of power levels events that they go back to, which orders them.
    async fn add_auth_events(&self, events: &mut Events) -> Result<(), ResolveError> {
        let mut missing = events.missing_auth_events(|_| true);
        loop {
            if missing.is_empty() {
                return Ok(());
            }
            let pending_ids: HashMap<&EventId, EventNid> =
                self.pending.events.iter().map(|(nid, event)| (event.pdu.event_id(), *nid)).collect();
            let (own, stored): (Vec<_>, Vec<_>) =
                missing.iter().partition(|id| pending_ids.contains_key(&***id));
            let mut nids: Vec<EventNid> =
                own.iter().filter_map(|id| pending_ids.get(&***id).copied()).collect();
            if !stored.is_empty() {
                let ids: Vec<&EventId> = stored.iter().map(|id| &***id).collect();
                nids.extend(
                    self.rooms.inner.store.reader().await?.find_event_nids(&ids).await?.into_values(),
                );
            }
            let found = self.rooms.pdus_of(self.room, nids, self.pending).await?;
            let is_complete = found.len() >= missing.len();
            events.add(found);
            if !is_complete {
                events.absent.extend(missing);
            }
            // From here on only power levels events lead further.
            missing = events.missing_auth_events(|pdu| pdu.is_state_of("m.room.power_levels", ""));
        }
    }
}

/// The events that a resolution looks at.
#[derive(Default)]
struct Events {
    by_id: HashMap<OwnedEventId, (EventNid, Arc<Pdu>)>,
    ids: HashMap<EventNid, OwnedEventId>,
    absent: HashSet<OwnedEventId>,
}

impl Events {
    fn add(&mut self, pdus: HashMap<EventNid, Arc<Pdu>>) {
        for (nid, pdu) in pdus {
            let id = pdu.event_id().to_owned();
            self.ids.insert(nid, id.clone());
            self.by_id.insert(id, (nid, pdu));
        }
    }

    fn id(&self, nid: EventNid) -> Option<OwnedEventId> {
        self.ids.get(&nid).cloned()
    }

    fn missing_auth_events(&self, of: impl Fn(&Pdu) -> bool) -> Vec<OwnedEventId> {
        let named = self.by_id.values().filter(|(_, pdu)| of(pdu)).flat_map(|(_, pdu)| pdu.auth_events());
        let mut missing: Vec<OwnedEventId> =
            named.filter(|id| !self.by_id.contains_key(*id) && !self.absent.contains(*id)).cloned().collect();
        missing.sort_unstable();
        missing.dedup();
        missing
    }
}
