//! Auth chains and the conflicted state subgraph.

use std::{collections::BTreeSet, sync::Arc};

use hs_room_rules::{
    pdu::Pdu,
    state_res::{
        EventIdSet, ResolveError, StateMap, auth_chain, conflicted_subgraph, resolve, state_map_key,
    },
};
use ruma::{EventId, OwnedEventId};
use serde_json::json;

use super::scenario::auth_chains;
use crate::room::{ALICE, Room, message, state};

/// A chain of events, each with the one before as its only auth event, and one beside it.
fn chain() -> (Room, Vec<OwnedEventId>, OwnedEventId) {
    let mut room = Room::public("12");
    let mut ids: Vec<OwnedEventId> = Vec::new();
    for index in 0..5 {
        let mut draft = state(ALICE, "m.test", "", json!({ "index": index }));
        draft.auth_events = Some(ids.last().cloned().into_iter().collect());
        ids.push(room.apply(draft).event_id().to_owned());
    }
    let mut draft = message(ALICE);
    draft.auth_events = Some(vec![ids[2].clone()]);
    let beside = room.apply(draft).event_id().to_owned();
    (room, ids, beside)
}

fn fetch(room: &Room) -> impl Fn(&EventId) -> Option<Arc<Pdu>> + '_ {
    |id| room.events.get(id).cloned()
}

fn set(ids: EventIdSet) -> BTreeSet<OwnedEventId> {
    ids.into_iter().collect()
}

#[test]
fn auth_chain_is_everything_before_but_not_itself() {
    let (room, ids, beside) = chain();
    let found = set(auth_chain([&*ids[3], &*beside], fetch(&room)));
    assert_eq!(found, ids[..3].iter().cloned().collect());
}

#[test]
fn auth_chain_of_missing_events_ends_there() {
    let (mut room, ids, _) = chain();
    room.events.remove(&ids[1]);
    let found = set(auth_chain([&*ids[3]], fetch(&room)));
    assert_eq!(found, ids[1..3].iter().cloned().collect());
}

#[test]
fn subgraph_is_what_lies_between_conflicted_events() {
    let (room, ids, beside) = chain();
    let found = set(conflicted_subgraph(&[&ids[1], &ids[3]], fetch(&room)));
    assert_eq!(found, ids[1..4].iter().cloned().collect());
    // Two branches with a common past that is not in conflict: nothing lies between them.
    let found = set(conflicted_subgraph(&[&ids[4], &beside], fetch(&room)));
    assert_eq!(found, [ids[4].clone(), beside.clone()].into());
    // A branch and its past.
    let found = set(conflicted_subgraph(&[&ids[0], &beside], fetch(&room)));
    assert_eq!(found, [ids[0].clone(), ids[1].clone(), ids[2].clone(), beside].into());
}

#[test]
fn subgraph_of_nothing_is_empty() {
    let (room, ..) = chain();
    assert!(conflicted_subgraph(&[], fetch(&room)).is_empty());
}

/// Only where ids are names can events name each other.
#[test]
fn power_levels_that_allow_each_other_are_an_error() {
    let mut room = Room::public("2");
    let mut make = |own: &str, other: &str| {
        let mut draft = state(ALICE, "m.room.power_levels", "", json!({}));
        draft.auth_events = Some(vec![EventId::parse(other).unwrap()]);
        let pdu = room.apply(draft);
        assert_eq!(pdu.event_id().as_str(), own);
        StateMap::from([(state_map_key(&pdu).unwrap(), pdu.event_id().to_owned())])
    };
    let states = [make("$event7:a", "$event8:a"), make("$event8:a", "$event7:a")];
    let chains = auth_chains(&room.events, &states);
    let result = resolve(room.rules, &states, chains, fetch(&room), |_| None);
    assert_eq!(result, Err(ResolveError::Cycle));
}
