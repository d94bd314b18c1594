//! The graph of auth events of a room, in memory: the index by which the difference of auth chains is found without reading
//! events. It is read when a room first needs its state resolved, and grows with what comes after.

use std::{
    collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet},
    sync::Arc,
};

use foldhash::fast::RandomState;
use hs_model::ids::{EventNid, RoomNid};
use hs_storage::{StorageError, Store, graph::AuthEdges};
use moka::sync::Cache;
use parking_lot::Mutex;
use smallvec::SmallVec;

/// How many rooms' graphs are kept.
const MAX_GRAPHS: u64 = 500;
/// How many states can be compared at once: one bit each.
pub(crate) const MAX_SETS: usize = 63;

/// A place in [`AuthGraph::nodes`].
type Index = u32;

#[derive(Debug)]
struct Node {
    event: EventNid,
    auth: SmallVec<[Index; 4]>,
    /// Greater than that of each of its auth events; 0 while it is not known.
    level: u32,
    /// Whether more is known of the event than that another names it.
    is_known: bool,
}

/// The graph of one room. Events are found once by their numbers and from there on by their places, since a large room has
/// tens of thousands.
#[derive(Debug, Default)]
pub(crate) struct AuthGraph {
    places: HashMap<EventNid, Index, RandomState>,
    nodes: Vec<Node>,
}

/// An event that is in the auth chains of some states, and not of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Differing {
    pub(crate) event: EventNid,
    /// One bit for each state whose chains it is in.
    pub(crate) sets: u64,
}

impl AuthGraph {
    pub(crate) fn contains(&self, event: EventNid) -> bool {
        self.find(event).is_some()
    }

    fn find(&self, event: EventNid) -> Option<Index> {
        self.places.get(&event).copied().filter(|place| self.node(*place).is_known)
    }

    fn node(&self, place: Index) -> &Node {
        &self.nodes[place as usize]
    }

    fn place_of(&mut self, event: EventNid) -> Index {
        let nodes = &mut self.nodes;
        *self.places.entry(event).or_insert_with(|| {
            nodes.push(Node { event, auth: SmallVec::new(), level: 0, is_known: false });
            nodes.len() as Index - 1
        })
    }

    /// Adds events in any order. What they refer to must be among them or known; what is not counts as having no auth
    /// events.
    pub(crate) fn extend(&mut self, edges: impl IntoIterator<Item = AuthEdges>) {
        let mut added = Vec::new();
        for edge in edges {
            let place = self.place_of(edge.event);
            if !self.node(place).is_known {
                added.push(place);
                let auth = edge.auth.into_iter().map(|auth| self.place_of(auth)).collect();
                let node = &mut self.nodes[place as usize];
                (node.auth, node.is_known) = (auth, true);
            }
        }
        for place in added {
            self.find_level(place);
        }
    }

    /// Computes the level of an event, and of those that it needs. Iterative: chains can be very long.
    fn find_level(&mut self, place: Index) {
        let mut stack = vec![place];
        let mut entered = HashSet::new();
        while let Some(place) = stack.pop() {
            let node = self.node(place);
            if node.level > 0 {
                continue;
            }
            let is_without_level = |auth: &Index| {
                let node = self.node(*auth);
                node.is_known && node.level == 0
            };
            let unknown: SmallVec<[Index; 4]> = node.auth.iter().copied().filter(is_without_level).collect();
            // Events of versions 1 and 2 could name each other; the second visit ends the cycle.
            if unknown.is_empty() || !entered.insert(place) {
                let level_of = |auth: &Index| {
                    let node = self.node(*auth);
                    if node.is_known { node.level } else { 1 }
                };
                let level = 1 + node.auth.iter().map(level_of).max().unwrap_or(0);
                self.nodes[place as usize].level = level;
            } else {
                stack.push(place);
                stack.extend(unknown);
            }
        }
    }

    /// The auth difference of states, each given by those of its events that not all have; `shared` are those that all
    /// have. Only what is newer than the events that all chains meet in is looked at.
    pub(crate) fn difference(
        &self,
        sets: &[Vec<EventNid>],
        shared: impl IntoIterator<Item = EventNid>,
    ) -> Vec<Differing> {
        let all = (1_u64 << sets.len()) - 1;
        let mut walk = Walk::new(self.nodes.len(), all);
        // What is not known has no auth events.
        let mut strangers: BTreeMap<EventNid, u64> = BTreeMap::new();
        let mut begin = Vec::new();
        for place in shared.into_iter().filter_map(|event| self.find(event)) {
            if walk.reach(place, all) {
                begin.push((self.node(place).level, place));
            }
        }
        for (i, set) in sets.iter().enumerate() {
            for event in set {
                match self.find(*event) {
                    Some(place) if walk.reach(place, 1 << i) => begin.push((self.node(place).level, place)),
                    Some(_) => {}
                    None => *strangers.entry(*event).or_default() |= 1 << i,
                }
            }
        }
        let strangers = strangers.into_iter().filter(|(_, sets)| *sets != all);
        let mut difference: Vec<_> = strangers.map(|(event, sets)| Differing { event, sets }).collect();
        let mut queue = BinaryHeap::from(begin);
        while walk.open > 0 {
            let Some((_, place)) = queue.pop() else { break };
            let (node, sets) = (self.node(place), walk.leave(place));
            if sets != all {
                difference.push(Differing { event: node.event, sets });
            }
            for auth in &node.auth {
                if walk.reach(*auth, sets) {
                    queue.push((self.node(*auth).level, *auth));
                }
            }
        }
        difference
    }

    /// The conflicted state subgraph: everything on a path from one of the events to another, both included.
    ///
    /// <https://spec.matrix.org/v1.19/rooms/v12/#definitions>
    pub(crate) fn subgraph(&self, conflicted: &BTreeSet<EventNid>) -> HashSet<EventNid> {
        let places: Vec<Index> =
            conflicted.iter().filter_map(|event| self.places.get(event).copied()).collect();
        let mut inside = vec![false; self.nodes.len()];
        let mut is_visited = vec![false; self.nodes.len()];
        for place in &places {
            inside[*place as usize] = true;
            is_visited[*place as usize] = true;
        }
        // No path leads to an event of a lower level than the lowest of those where paths end.
        let lowest = places.iter().map(|place| self.node(*place).level).min().unwrap_or(0);
        let mut visited = places;
        let mut next = 0;
        while let Some(place) = visited.get(next).copied() {
            next += 1;
            for auth in &self.node(place).auth {
                let is_new = self.node(*auth).level >= lowest && !is_visited[*auth as usize];
                if is_new {
                    is_visited[*auth as usize] = true;
                    visited.push(*auth);
                }
            }
        }
        // From the lowest up: in the subgraph is what is conflicted, or has an auth event in the subgraph.
        visited.sort_unstable_by_key(|place| self.node(*place).level);
        for place in &visited {
            inside[*place as usize] |= self.node(*place).auth.iter().any(|auth| inside[*auth as usize]);
        }
        let found = visited.into_iter().filter(|place| inside[*place as usize]);
        found.map(|place| self.node(place).event).chain(conflicted.iter().copied()).collect()
    }

    /// Those of the events that are not known.
    fn unknown_of(&self, events: &[EventNid]) -> Vec<EventNid> {
        events.iter().filter(|event| !self.contains(**event)).copied().collect()
    }
}

/// Which states' chains have led to which events so far.
struct Walk {
    all: u64,
    /// One bit for each state, by place.
    reached: Vec<u64>,
    is_left: Vec<bool>,
    /// How many events were reached by some states' chains and not by all, and not left yet.
    open: usize,
}

impl Walk {
    fn new(nodes: usize, all: u64) -> Self {
        Self { all, reached: vec![0; nodes], is_left: vec![false; nodes], open: 0 }
    }

    fn is_open(&self, place: Index) -> bool {
        let sets = self.reached[place as usize];
        sets != 0 && sets != self.all
    }

    /// The chains of some states lead to an event. Whether it is the first time that any do.
    fn reach(&mut self, place: Index, sets: u64) -> bool {
        if self.is_left[place as usize] {
            return false;
        }
        let (is_first, was_open) = (self.reached[place as usize] == 0, self.is_open(place));
        self.reached[place as usize] |= sets;
        match (was_open, self.is_open(place)) {
            (false, true) => self.open += 1,
            (true, false) => self.open -= 1,
            _ => {}
        }
        is_first
    }

    /// No more chains lead to an event. Those that do.
    fn leave(&mut self, place: Index) -> u64 {
        if self.is_open(place) {
            self.open -= 1;
        }
        self.is_left[place as usize] = true;
        self.reached[place as usize]
    }
}

/// The graphs of the rooms that have needed one lately.
#[derive(Debug)]
pub(crate) struct AuthGraphs {
    store: Store,
    graphs: Cache<RoomNid, Arc<Mutex<AuthGraph>>>,
}

impl AuthGraphs {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, graphs: Cache::new(MAX_GRAPHS) }
    }

    /// The graph of a room with at least these events and what authorises them. `pending` are events not stored yet.
    pub(crate) async fn with(
        &self,
        room: RoomNid,
        events: &[EventNid],
        pending: impl IntoIterator<Item = AuthEdges>,
    ) -> Result<Arc<Mutex<AuthGraph>>, StorageError> {
        let graph = if let Some(graph) = self.graphs.get(&room) {
            graph
        } else {
            let edges = self.store.reader().await?.list_auth_edges(room).await?;
            let mut graph = AuthGraph::default();
            graph.extend(edges);
            let graph = Arc::new(Mutex::new(graph));
            self.graphs.insert(room, graph.clone());
            graph
        };
        graph.lock().extend(pending);
        let mut unknown = graph.lock().unknown_of(events);
        let mut found: HashMap<EventNid, AuthEdges> = HashMap::new();
        // What came since the graph was read, and what that refers to.
        while !unknown.is_empty() {
            let edges = self.store.reader().await?.list_auth_edges_of(&unknown).await?;
            let below: Vec<EventNid> = edges.iter().flat_map(|edge| edge.auth.iter().copied()).collect();
            found.extend(edges.into_iter().map(|edge| (edge.event, edge)));
            unknown = graph.lock().unknown_of(&below);
            unknown.retain(|event| !found.contains_key(event));
            unknown.sort_unstable();
            unknown.dedup();
        }
        if !found.is_empty() {
            graph.lock().extend(found.into_values());
        }
        Ok(graph)
    }
}

#[cfg(test)]
mod tests;
