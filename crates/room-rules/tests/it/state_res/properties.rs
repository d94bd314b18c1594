//! What must hold for the resolution of any room: rooms are generated as forks of a common past.

use std::collections::HashMap;

use hs_room_rules::state_res::{StateMap, state_map_key};
use proptest::prelude::*;
use serde_json::json;

use super::scenario::{auth_chains, resolve_states};
use crate::room::{ALICE, BOB, CAROL, DAN, Draft, Room, member, state};

const USERS: [&str; 4] = [ALICE, BOB, CAROL, DAN];

/// Something that a user tries to do.
#[derive(Clone, Debug)]
enum Action {
    Member { sender: usize, target: usize, membership: &'static str },
    Topic { sender: usize, topic: u8 },
    JoinRule { sender: usize, rule: &'static str },
    Level { sender: usize, target: usize, level: i64 },
}

fn action() -> impl Strategy<Value = Action> {
    let user = 0..USERS.len();
    let membership = prop::sample::select(vec!["join", "leave", "invite", "ban"]);
    let rule = prop::sample::select(vec!["public", "invite"]);
    let level = prop::sample::select(vec![0_i64, 50, 100]);
    prop_oneof![
        3 => (user.clone(), user.clone(), membership)
            .prop_map(|(sender, target, membership)| Action::Member { sender, target, membership }),
        2 => (user.clone(), any::<u8>()).prop_map(|(sender, topic)| Action::Topic { sender, topic }),
        1 => (user.clone(), rule).prop_map(|(sender, rule)| Action::JoinRule { sender, rule }),
        2 => (user.clone(), user, level)
            .prop_map(|(sender, target, level)| Action::Level { sender, target, level }),
    ]
}

impl Action {
    fn draft(&self, room: &Room) -> Draft<'static> {
        match *self {
            Self::Member { sender, target, membership } => member(USERS[sender], USERS[target], membership),
            Self::Topic { sender, topic } => {
                state(USERS[sender], "m.room.topic", "", json!({ "topic": topic.to_string() }))
            }
            Self::JoinRule { sender, rule } => {
                state(USERS[sender], "m.room.join_rules", "", json!({ "join_rule": rule }))
            }
            Self::Level { sender, target, level } => {
                let content = room.find("m.room.power_levels", "").unwrap();
                let mut content: serde_json::Value = content.content_as().unwrap();
                content["users"][USERS[target]] = json!(level);
                state(USERS[sender], "m.room.power_levels", "", content)
            }
        }
    }
}

/// Does what is allowed of the actions.
fn play(mut room: Room, actions: &[Action]) -> Room {
    for action in actions {
        let pdu = room.build(action.draft(&room));
        if room.check(&pdu).is_ok() {
            room.add(pdu);
        }
    }
    room
}

fn state_of(room: &Room) -> StateMap {
    room.state.values().map(|pdu| (state_map_key(pdu).unwrap(), pdu.event_id().to_owned())).collect()
}

/// Forks of one room, played from a common past.
fn forks(room_version: u8, past: &[Action], futures: &[Vec<Action>]) -> Vec<Room> {
    let mut past = play(Room::public(&room_version.to_string()), past);
    futures
        .iter()
        .map(|future| {
            // So that events of different forks differ in time, and in name where they have one.
            past.skip(100);
            play(past.clone(), future)
        })
        .collect()
}

proptest! {
    #![proptest_config(crate::room::cases(64))]

    #[test]
    fn resolution_is_stable(
        room_version in prop::sample::select(vec![1_u8, 2, 6, 11, 12]),
        past in prop::collection::vec(action(), 0..6),
        futures in prop::collection::vec(prop::collection::vec(action(), 0..8), 2..4),
    ) {
        let rooms = forks(room_version, &past, &futures);
        let rules = rooms[0].rules;
        let mut events = HashMap::new();
        for room in &rooms {
            events.extend(room.events.clone());
        }
        let states: Vec<StateMap> = rooms.iter().map(state_of).collect();
        let resolve = |states: &[StateMap]| {
            resolve_states(rules, &events, states, auth_chains(&events, states))
        };
        let resolved = resolve(&states);

        // The order of the states does not matter, nor does naming one twice.
        let mut reordered = states.clone();
        reordered.reverse();
        prop_assert_eq!(&resolve(&reordered), &resolved);
        reordered.rotate_left(1);
        prop_assert_eq!(&resolve(&reordered), &resolved);
        let mut repeated = states.clone();
        repeated.push(states[0].clone());
        prop_assert_eq!(&resolve(&repeated), &resolved);

        // What is resolved stays resolved, and what is not in conflict stays as it is.
        prop_assert_eq!(&resolve(&[resolved.clone(), resolved.clone()]), &resolved);
        for state in &states {
            prop_assert_eq!(&resolve(std::slice::from_ref(state)), state);
        }
        for (key, event_id) in &states[0] {
            if states.iter().all(|state| state.get(key) == Some(event_id)) {
                prop_assert_eq!(resolved.get(key), Some(event_id));
            }
        }

        // Every event is under its own key, and was known before.
        for (key, event_id) in &resolved {
            prop_assert_eq!(&state_map_key(&events[event_id]).unwrap(), key);
        }
    }
}
