//! Which events are named as auth events, against ruma's answer.

use std::collections::BTreeSet;

use hs_room_rules::auth::auth_types;
use ruma::{events::TimelineEventType, state_res::auth_types_for_event};
use serde_json::{Value, json, value::to_raw_value};

use crate::room::{ALICE, BOB, CAROL, user, version, versions};

fn ours(
    room_version: &str,
    event_type: &str,
    key: Option<&str>,
    content: &Value,
) -> Option<BTreeSet<(String, String)>> {
    let content = content.to_string();
    let keys = auth_types(event_type, user(ALICE), key, &content, version(room_version)).ok()?;
    Some(keys.into_iter().map(|(event_type, key)| (event_type.to_owned(), key.into_owned())).collect())
}

fn rumas(
    room_version: &str,
    event_type: &str,
    key: Option<&str>,
    content: &Value,
) -> Option<BTreeSet<(String, String)>> {
    let event_type = TimelineEventType::from(event_type);
    let content = to_raw_value(content).unwrap();
    let rules = &version(room_version).authorization;
    let keys = auth_types_for_event(&event_type, user(ALICE), key, &content, rules).ok()?;
    Some(keys.into_iter().map(|(event_type, key)| (event_type.to_string(), key)).collect())
}

#[test]
fn selection_is_that_of_ruma() {
    let invite = json!({ "membership": "invite", "third_party_invite": { "signed": { "token": "t" } } });
    let cases = [
        ("m.room.create", Some(""), json!({})),
        ("m.room.message", None, json!({ "body": "x" })),
        ("m.room.name", Some(""), json!({})),
        ("m.room.member", None, json!({ "membership": "join" })),
        ("m.room.member", Some(ALICE), json!({ "membership": "join" })),
        ("m.room.member", Some(ALICE), json!({ "membership": "knock" })),
        ("m.room.member", Some(BOB), json!({ "membership": "invite" })),
        ("m.room.member", Some(BOB), json!({ "membership": "leave" })),
        ("m.room.member", Some(BOB), json!({ "membership": "ban" })),
        ("m.room.member", Some(BOB), json!({ "membership": "nonsense" })),
        ("m.room.member", Some(BOB), json!({})),
        ("m.room.member", Some(BOB), json!({ "membership": 1 })),
        ("m.room.member", Some(BOB), invite),
        ("m.room.member", Some(BOB), json!({ "membership": "invite", "third_party_invite": {} })),
        ("m.room.member", Some(BOB), json!({ "membership": "join", "third_party_invite": {} })),
        (
            "m.room.member",
            Some(ALICE),
            json!({ "membership": "join", "join_authorised_via_users_server": CAROL }),
        ),
        (
            "m.room.member",
            Some(ALICE),
            json!({ "membership": "leave", "join_authorised_via_users_server": CAROL }),
        ),
        (
            "m.room.member",
            Some(ALICE),
            json!({ "membership": "join", "join_authorised_via_users_server": "nobody" }),
        ),
    ];
    for version in versions(1, 12) {
        for (event_type, key, content) in &cases {
            assert_eq!(
                ours(&version, event_type, *key, content),
                rumas(&version, event_type, *key, content),
                "version {version}: {event_type} {key:?} {content}"
            );
        }
    }
}

#[test]
fn restricted_join_names_the_authorising_member() {
    let content = json!({ "membership": "join", "join_authorised_via_users_server": CAROL });
    let key = ("m.room.member".to_owned(), CAROL.to_owned());
    assert!(ours("8", "m.room.member", Some(ALICE), &content).unwrap().contains(&key));
    assert!(!ours("7", "m.room.member", Some(ALICE), &content).unwrap().contains(&key));
}
