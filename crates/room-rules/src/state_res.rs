//! State resolution: one state out of several that servers arrived at on their own.
//!
//! Version 1 of the algorithm (room version 1) is our own; versions 2 (room versions 2 to 11) and 2.1 (room
//! version 12) are ruma's.

mod graph;
mod v1;

use std::sync::Arc;

use ruma::{
    EventId, OwnedEventId,
    events::StateEventType,
    room_version_rules::{RoomVersionRules, StateResolutionVersion},
    state_res,
};
use thiserror::Error;

use crate::{pdu::Pdu, room_version::RoomVersionRulesExt as _};

pub use self::graph::{auth_chain, conflicted_subgraph};

/// The event of each type and state key.
pub type StateMap = state_res::StateMap<OwnedEventId>;

/// A set of event ids.
pub type EventIdSet = state_res::utils::event_id_set::EventIdSet<OwnedEventId>;

/// Why states cannot be resolved.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ResolveError {
    /// An event that is needed cannot be found.
    #[error("event {0} is missing")]
    Missing(OwnedEventId),
    /// An event has no place in a state.
    #[error("a state names an event that is not a state event")]
    NotState,
    /// An event that decides about others is malformed.
    #[error("an auth event is malformed: {0}")]
    Malformed(String),
    /// Events name each other as auth events, which is possible in room versions 1 and 2.
    #[error("the auth events form a cycle")]
    Cycle,
    /// The conflicted state subgraph cannot be found.
    #[error("the conflicted state subgraph is missing")]
    MissingSubgraph,
}

/// Resolves states of one room.
///
/// - `auth_chains` holds, for each state, the union of the auth chains of its events. Only their differences
///   matter, so that events which are in all of them may be left out. Version 1 does not look at them.
/// - `fetch` finds events of the room, rejected ones included.
/// - `subgraph` finds the conflicted state subgraph of conflicted events; only version 2.1 asks for it. See
///   [`conflicted_subgraph`].
///
/// The result does not depend on the order of the states.
pub fn resolve(
    rules: &RoomVersionRules,
    states: &[StateMap],
    auth_chains: Vec<EventIdSet>,
    fetch: impl Fn(&EventId) -> Option<Arc<Pdu>>,
    subgraph: impl Fn(&[&EventId]) -> Option<EventIdSet>,
) -> Result<StateMap, ResolveError> {
    let StateResolutionVersion::V2(v2) = &rules.state_res else { return Ok(v1::resolve(states, fetch)) };
    if !rules.event_id_is_hash() {
        let chains = auth_chains.iter().flat_map(|chain| chain.iter());
        let events = states.iter().flat_map(|state| state.values()).chain(chains).cloned();
        if graph::has_power_levels_cycle(events, &fetch) {
            return Err(ResolveError::Cycle);
        }
    }
    let subgraph = |conflicted: &state_res::StateMap<Vec<OwnedEventId>>| {
        let ids: Vec<&EventId> = conflicted.values().flatten().map(AsRef::as_ref).collect();
        subgraph(&ids)
    };
    state_res::resolve(&rules.authorization, v2, states, auth_chains, fetch, subgraph).map_err(|error| {
        match error {
            state_res::Error::NotFound(event_id) => ResolveError::Missing(event_id),
            state_res::Error::MissingStateKey => ResolveError::NotState,
            state_res::Error::FetchConflictedStateSubgraphFailed => ResolveError::MissingSubgraph,
            other => ResolveError::Malformed(other.to_string()),
        }
    })
}

/// The key under which an event stands in a state, if it is a state event.
pub fn state_map_key(pdu: &Pdu) -> Option<(StateEventType, String)> {
    Some((StateEventType::from(pdu.type_str()), pdu.state_key()?.to_owned()))
}
