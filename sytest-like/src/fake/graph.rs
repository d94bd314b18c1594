//! What the fake server knows of a room: its events and the state after each.
//!
//! It is no server: it takes every event as accepted, and where branches meet with different state it lets the deeper
//! event win. Cases about state resolution ask the servers under test, not this.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::event::Event;
use super::version::Version;

/// Event ids by type and state key.
pub type StateMap = BTreeMap<(String, String), String>;

/// The events of one room.
#[derive(Clone, Debug)]
pub(super) struct Graph {
    pub(super) version: Version,
    events: HashMap<String, Event>,
    /// The ids of events that have a place in the graph, as they came.
    pub(super) order: Vec<String>,
    before: HashMap<String, Arc<StateMap>>,
    after: HashMap<String, Arc<StateMap>>,
    pub(super) extremities: BTreeSet<String>,
    withheld: HashSet<String>,
}

impl Graph {
    pub(super) fn new(version: Version) -> Self {
        Self {
            version,
            events: HashMap::new(),
            order: Vec::new(),
            before: HashMap::new(),
            after: HashMap::new(),
            extremities: BTreeSet::new(),
            withheld: HashSet::new(),
        }
    }

    /// Knows this event without a place in the graph.
    pub(super) fn keep(&mut self, event: Event) {
        self.events.entry(event.id.clone()).or_insert(event);
    }

    /// Puts the event at its place, and builds on it from here on.
    pub(super) fn add(&mut self, event: Event) {
        let prev = event.prev_ids();
        for id in &prev {
            self.extremities.remove(id);
        }
        if !self.after.contains_key(&event.id) {
            self.extremities.insert(event.id.clone());
        }
        let before = self.state_after(&prev);
        self.add_at(event, before);
    }

    /// Puts the event at its place with this state before it, and leaves the extremities alone.
    pub(super) fn add_at(&mut self, event: Event, before: Arc<StateMap>) {
        if self.after.contains_key(&event.id) {
            return;
        }
        let mut after = before.clone();
        if let Some(slot) = event.slot() {
            Arc::make_mut(&mut after).insert(slot, event.id.clone());
        }
        self.before.insert(event.id.clone(), before);
        self.after.insert(event.id.clone(), after);
        self.order.push(event.id.clone());
        self.events.insert(event.id.clone(), event);
    }

    pub(super) fn event(&self, id: &str) -> Option<&Event> {
        self.events.get(id)
    }

    /// The event, unless we do not give it away.
    pub(super) fn shown(&self, id: &str) -> Option<&Event> {
        self.events.get(id).filter(|_| !self.withheld.contains(id))
    }

    pub(super) fn withhold(&mut self, id: &str) {
        self.withheld.insert(id.to_owned());
    }

    pub(super) fn give_away(&mut self, id: &str) {
        self.withheld.remove(id);
    }

    /// The state after these events; where they are unknown, the newest that we know.
    pub(super) fn state_after(&self, ids: &[String]) -> Arc<StateMap> {
        let mut known: Vec<&Arc<StateMap>> = ids.iter().filter_map(|id| self.after.get(id)).collect();
        if known.is_empty() && !ids.is_empty() {
            known = self.extremities.iter().filter_map(|id| self.after.get(id)).collect();
        }
        match known.as_slice() {
            [] => Arc::default(),
            [only] => (*only).clone(),
            [first, rest @ ..] => {
                let mut merged = StateMap::clone(first);
                for (slot, id) in rest.iter().flat_map(|state| state.iter()) {
                    let wins = |held: &String| (self.depth(id), id) > (self.depth(held), held);
                    if merged.get(slot).is_none_or(wins) {
                        merged.insert(slot.clone(), id.clone());
                    }
                }
                Arc::new(merged)
            }
        }
    }

    pub(super) fn state_before(&self, id: &str) -> Option<Arc<StateMap>> {
        self.before.get(id).cloned()
    }

    pub(super) fn current_state(&self) -> Arc<StateMap> {
        let ids: Vec<String> = self.extremities.iter().cloned().collect();
        self.state_after(&ids)
    }

    pub(super) fn depth(&self, id: &str) -> i64 {
        self.events.get(id).map_or(0, Event::depth)
    }

    /// All events that these name, directly or not, with those themselves left out unless they are named.
    pub(super) fn auth_chain<'a>(&self, ids: impl IntoIterator<Item = &'a String>) -> BTreeSet<String> {
        let mut chain = BTreeSet::new();
        let auth_of = |id: &str| self.events.get(id).map(Event::auth_ids).unwrap_or_default();
        let mut queue: VecDeque<String> = ids.into_iter().flat_map(|id| auth_of(id)).collect();
        while let Some(id) = queue.pop_front() {
            if chain.insert(id.clone()) {
                queue.extend(auth_of(&id));
            }
        }
        chain
    }

    /// The given events and those before them, the deepest first, until `limit` or until one of `known`.
    pub(super) fn walk_back(&self, from: &[String], known: &HashSet<String>, limit: usize) -> Vec<Event> {
        let mut seen: HashSet<String> = known.clone();
        let mut queue: VecDeque<String> = from.iter().cloned().collect();
        let mut found = Vec::new();
        while let Some(id) = queue.pop_front() {
            if found.len() >= limit {
                break;
            }
            if !seen.insert(id.clone()) {
                continue;
            }
            let Some(event) = self.shown(&id) else { continue };
            queue.extend(event.prev_ids());
            found.push(event.clone());
        }
        found
    }

    /// The ids of the events that allow one with these fields after `prev`.
    pub(super) fn auth_events_for(&self, fields: &Map<String, Value>, prev: &[String]) -> Vec<String> {
        let text = |key: &str| fields.get(key).and_then(Value::as_str).unwrap_or_default();
        let event_type = text("type");
        if event_type == "m.room.create" {
            return Vec::new();
        }
        let mut slots = vec![("m.room.power_levels", ""), ("m.room.member", text("sender"))];
        if !self.version.has_hashed_room_ids() {
            slots.push(("m.room.create", ""));
        }
        let content = &fields["content"];
        if event_type == "m.room.member" {
            let membership = content["membership"].as_str().unwrap_or_default();
            slots.push(("m.room.member", text("state_key")));
            if matches!(membership, "join" | "invite")
                || (membership == "knock" && self.version.has_knocking())
            {
                slots.push(("m.room.join_rules", ""));
            }
            if let Some(token) = content["third_party_invite"]["signed"]["token"].as_str() {
                slots.push(("m.room.third_party_invite", token));
            }
            if let (true, Some(user)) =
                (self.version.has_restricted_joins(), content["join_authorised_via_users_server"].as_str())
            {
                slots.push(("m.room.member", user));
            }
        }
        let state = self.state_after(prev);
        let mut ids: Vec<String> = slots
            .iter()
            .filter_map(|(kind, key)| state.get(&((*kind).to_owned(), (*key).to_owned())).cloned())
            .collect();
        ids.sort();
        ids.dedup();
        ids
    }

    /// The servers of joined members.
    pub(super) fn servers(&self) -> BTreeSet<String> {
        self.joined().filter_map(|user| user.split_once(':').map(|(_, server)| server.to_owned())).collect()
    }

    fn joined(&self) -> impl Iterator<Item = String> {
        let state = self.current_state();
        state
            .iter()
            .filter(|((kind, _), id)| {
                kind == "m.room.member"
                    && self.events.get(*id).is_some_and(|event| event.json["content"]["membership"] == "join")
            })
            .map(|((_, user), _)| user.clone())
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// The events with these ids, those left out that we do not give away.
    pub(super) fn shown_json<'a>(&self, ids: impl IntoIterator<Item = &'a String>) -> Vec<Value> {
        ids.into_iter().filter_map(|id| self.shown(id)).map(|event| event.json.clone()).collect()
    }
}
