//! The graph of auth events of a room, in memory: the index by which the difference of auth chains is found without reading
//! events. It is read when a room first needs its state resolved, and grows with what comes after.

use std::{
    collections::{BTreeSet, BinaryHeap, HashMap, HashSet, hash_map::Entry},
    sync::Arc,
};

use hs_model::ids::{EventNid, RoomNid};
use hs_storage::{StorageError, Store, graph::AuthEdges};
use moka::sync::Cache;
use parking_lot::Mutex;
use smallvec::SmallVec;

/// How many rooms' graphs are kept.
const MAX_GRAPHS: u64 = 500;
/// How many states can be compared at once: one bit each.
pub(crate) const MAX_SETS: usize = 63;

#[derive(Debug)]
struct Node {
    auth: SmallVec<[EventNid; 4]>,
    /// Greater than that of each of its auth events.
    level: u32,
}

/// The graph of one room.
#[derive(Debug, Default)]
pub(crate) struct AuthGraph {
    nodes: HashMap<EventNid, Node>,
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
        self.nodes.contains_key(&event)
    }

    /// Adds events in any order. What they refer to must be among them or known; what is not counts as having no auth
    /// events.
    pub(crate) fn extend(&mut self, edges: impl IntoIterator<Item = AuthEdges>) {
        let mut added = Vec::new();
        for edge in edges {
            if let Entry::Vacant(vacant) = self.nodes.entry(edge.event) {
                added.push(edge.event);
                vacant.insert(Node { auth: edge.auth.into_iter().collect(), level: 0 });
            }
        }
        for event in added {
            self.find_level(event);
        }
    }

    /// Computes the level of an event, and of those that it needs. Iterative: chains can be very long.
    fn find_level(&mut self, event: EventNid) {
        let mut stack = vec![event];
        let mut entered = HashSet::new();
        while let Some(event) = stack.pop() {
            let Some(node) = self.nodes.get(&event) else { continue };
            if node.level > 0 {
                continue;
            }
            let level_of = |auth: &EventNid| self.nodes.get(auth).map_or(1, |node| node.level);
            let unknown: SmallVec<[EventNid; 4]> =
                node.auth.iter().filter(|auth| level_of(auth) == 0).copied().collect();
            // Events of versions 1 and 2 could name each other; the second visit ends the cycle.
            if unknown.is_empty() || !entered.insert(event) {
                let level = 1 + node.auth.iter().map(level_of).max().unwrap_or(0);
                if let Some(node) = self.nodes.get_mut(&event) {
                    node.level = level;
                }
            } else {
                stack.push(event);
                stack.extend(unknown);
            }
        }
    }

    fn auth_of(&self, event: EventNid) -> &[EventNid] {
        self.nodes.get(&event).map_or(&[], |node| &node.auth)
    }

    fn level(&self, event: EventNid) -> u32 {
        self.nodes.get(&event).map_or(0, |node| node.level)
    }

    /// The auth difference of states, each given by those of its events that not all have; `shared` are those that all
    /// have. Only what is newer than the events that all chains meet in is looked at.
    pub(crate) fn difference(
        &self,
        sets: &[Vec<EventNid>],
        shared: impl IntoIterator<Item = EventNid>,
    ) -> Vec<Differing> {
        let all = (1_u64 << sets.len()) - 1;
        let mut reached: HashMap<EventNid, u64> = HashMap::new();
        let mut partial: HashSet<EventNid> = HashSet::new();
        let mut queue: BinaryHeap<(u32, EventNid)> = BinaryHeap::new();
        for event in shared {
            if reached.insert(event, all).is_none() {
                queue.push((self.level(event), event));
            }
        }
        for (i, set) in sets.iter().enumerate() {
            for event in set {
                let mask = reached.entry(*event).or_insert_with(|| {
                    queue.push((self.level(*event), *event));
                    0
                });
                *mask |= 1 << i;
                if *mask == all {
                    partial.remove(event);
                } else {
                    partial.insert(*event);
                }
            }
        }
        let mut difference = Vec::new();
        while !partial.is_empty() {
            let Some((_, event)) = queue.pop() else { break };
            let mask = reached.get(&event).copied().unwrap_or(all);
            if partial.remove(&event) {
                difference.push(Differing { event, sets: mask });
            }
            for auth in self.auth_of(event) {
                let known = reached.entry(*auth).or_insert_with(|| {
                    queue.push((self.level(*auth), *auth));
                    0
                });
                *known |= mask;
                if *known == all {
                    partial.remove(auth);
                } else {
                    partial.insert(*auth);
                }
            }
        }
        difference
    }

    /// The conflicted state subgraph: everything on a path from one of the events to another, both included.
    ///
    /// <https://spec.matrix.org/v1.19/rooms/v12/#definitions>
    pub(crate) fn subgraph(&self, conflicted: &BTreeSet<EventNid>) -> HashSet<EventNid> {
        // No path leads to an event of a lower level than the lowest of those where paths end.
        let Some(lowest) = conflicted.iter().map(|event| self.level(*event)).min() else {
            return HashSet::new();
        };
        let mut visited: HashSet<EventNid> = conflicted.clone().into_iter().collect();
        let mut stack: Vec<EventNid> = conflicted.iter().copied().collect();
        while let Some(event) = stack.pop() {
            for auth in self.auth_of(event) {
                if self.level(*auth) >= lowest && visited.insert(*auth) {
                    stack.push(*auth);
                }
            }
        }
        // From the lowest up: in the subgraph is what is conflicted, or has an auth event in the subgraph.
        let mut order: Vec<EventNid> = visited.into_iter().collect();
        order.sort_unstable_by_key(|event| self.level(*event));
        let mut inside: HashSet<EventNid> = HashSet::new();
        for event in order {
            if conflicted.contains(&event) || self.auth_of(event).iter().any(|auth| inside.contains(auth)) {
                inside.insert(event);
            }
        }
        inside
    }

    /// The auth events of events that are not known.
    fn unknown_below(&self, events: &[EventNid]) -> Vec<EventNid> {
        events.iter().filter(|event| !self.contains(**event)).copied().collect()
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
        let mut unknown = graph.lock().unknown_below(events);
        let mut found: HashMap<EventNid, AuthEdges> = HashMap::new();
        // What came since the graph was read, and what that refers to.
        while !unknown.is_empty() {
            let edges = self.store.reader().await?.list_auth_edges_of(&unknown).await?;
            let below: Vec<EventNid> = edges.iter().flat_map(|edge| edge.auth.iter().copied()).collect();
            found.extend(edges.into_iter().map(|edge| (edge.event, edge)));
            unknown = graph.lock().unknown_below(&below);
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
