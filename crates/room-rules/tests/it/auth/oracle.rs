//! The checks that are our own, held against ruma's on generated rooms.

use proptest::prelude::*;
use ruma::{events::StateEventType, state_res::check_state_dependent_auth_rules};
use serde_json::{Value, json};

use crate::room::{ALICE, BOB, CAROL, DAN, Draft, Room, message, state};

fn level() -> impl Strategy<Value = Value> {
    prop_oneof![
        5 => (-1..=101_i64).prop_map(|level| json!(level)),
        1 => prop_oneof![Just(json!("50")), Just(json!(" +7 ")), Just(json!("x")), Just(json!(null))],
    ]
}

fn levels() -> impl Strategy<Value = Value> {
    let names = prop::sample::select(vec!["m.room.message", "m.room.name", "m.other"]);
    let users = prop::sample::select(vec![BOB, CAROL, DAN, ALICE, "nobody"]);
    let fields = prop::sample::select(vec!["users_default", "events_default", "state_default", "ban"]);
    (
        prop::collection::btree_map(fields, level(), 0..3),
        prop::option::of(prop::collection::btree_map(names, level(), 0..3)),
        prop::option::of(prop::collection::btree_map(users, level(), 0..4)),
    )
        .prop_map(|(fields, events, users)| {
            let mut content = json!(fields);
            if let Some(events) = events {
                content["events"] = json!(events);
            }
            if let Some(users) = users {
                content["users"] = json!(users);
            }
            content
        })
}

fn draft() -> impl Strategy<Value = Draft<'static>> {
    let sender = prop::sample::select(vec![ALICE, BOB, CAROL, DAN]);
    let event_type =
        prop::sample::select(vec!["m.room.message", "m.room.name", "m.other", "m.room.redaction"]);
    let state_key = prop::option::of(prop::sample::select(vec!["", "@carol:b", "@", "x"]));
    (sender, event_type, state_key).prop_map(|(sender, event_type, state_key)| Draft {
        event_type,
        state_key,
        ..message(sender)
    })
}

proptest! {
    #![proptest_config(crate::room::cases(400))]

    #[test]
    fn ordinary_events_are_judged_as_by_ruma(
        room_version in 3..=12_u8,
        levels in prop::option::of(levels()),
        is_federated in any::<bool>(),
        membership in prop::sample::select(vec!["join", "leave", "ban", "invite"]),
        draft in draft(),
    ) {
        let mut room = Room::public_with(
            &room_version.to_string(),
            &json!({ "m.federate": is_federated, "additional_creators": [DAN] }),
        );
        room.apply(crate::room::member(ALICE, CAROL, membership));
        room.state.remove(&("m.room.power_levels".to_owned(), String::new()));
        if let Some(levels) = levels {
            let pdu = room.build(state(ALICE, "m.room.power_levels", "", levels));
            // Malformed ones never get into a state.
            if room.check(&pdu).is_ok() {
                room.add(pdu);
            }
        }
        let pdu = room.build(draft);
        let rumas = check_state_dependent_auth_rules(
            &room.rules.authorization,
            &pdu,
            |event_type: &StateEventType, key: &str| room.find(&event_type.to_string(), key),
        );
        prop_assert_eq!(room.check(&pdu).is_ok(), rumas.is_ok(), "ruma: {:?}, {}", rumas, pdu.json());
    }
}
