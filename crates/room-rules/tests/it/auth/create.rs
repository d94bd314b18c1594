//! Rule 1: `m.room.create`.

use hs_room_rules::{
    build::{EventTemplate, build},
    pdu::{FormatError, Pdu},
};
use ruma::{EventId, OwnedEventId, room_id};
use serde_json::{Value, json};

use crate::room::{ALICE, Room, key, state, user, version, versions};

fn created_with(room_version: &str, content: &Value) -> Pdu {
    let room = Room::created(room_version, content);
    Pdu::clone(&room.find("m.room.create", "").unwrap())
}

fn is_allowed(create: &Pdu) -> bool {
    Room::created("11", &json!({})).check_independent(create).is_ok()
}

#[test]
fn create_event_is_allowed() {
    for version in versions(1, 12) {
        assert!(is_allowed(&created_with(&version, &json!({}))), "version {version}");
    }
}

/// Rule 1.1.
#[test]
fn create_event_with_previous_events_is_refused() {
    for version in versions(3, 11) {
        let mut room = Room::created(&version, &json!({}));
        let content = json!({ "room_version": version, "creator": ALICE });
        let second = room.build(state(ALICE, "m.room.create", "", content));
        assert!(!second.prev_events().is_empty());
        assert!(!is_allowed(&second), "version {version}");
    }
}

/// Rule 1.2 of versions 1 to 11.
#[test]
fn create_event_for_a_room_of_another_server_is_refused() {
    let content = json!({ "room_version": "10", "creator": ALICE }).to_string();
    let template = EventTemplate {
        room_id: Some(room_id!("!room:elsewhere")),
        sender: user(ALICE),
        event_type: "m.room.create",
        state_key: Some(""),
        content: &content,
        redacts: None,
        origin_server_ts: 1,
        prev_events: vec![],
        auth_events: vec![],
        depth: 1,
        sticky_ms: None,
        legacy: None,
    };
    let create = build(template, version("10"), user(ALICE).server_name(), &key()).unwrap();
    assert!(!is_allowed(&create));
}

/// Rule 1.2 of version 12: it is not even an event of its version.
#[test]
fn create_event_that_names_its_room_is_refused() {
    let create = created_with("12", &json!({}));
    let mut json: Value = serde_json::from_str(create.json()).unwrap();
    json["room_id"] = json!(create.room_id());
    let result = Pdu::from_json(&json.to_string(), None, version("12"));
    assert_eq!(result.unwrap_err(), FormatError::Malformed("room_id"));
}

/// Rule 1.3.
#[test]
fn create_event_of_an_unknown_version_is_refused() {
    assert!(!is_allowed(&created_with("10", &json!({ "room_version": "org.example.unknown" }))));
    assert!(!is_allowed(&created_with("10", &json!({ "room_version": 10 }))));
}

/// Rule 1.3: rules of another version must not be applied to it either.
#[test]
fn create_event_of_another_version_than_that_of_its_rules_is_refused() {
    assert!(!is_allowed(&created_with("10", &json!({ "room_version": "9" }))));
}

/// Rule 1.4 of versions 1 to 10.
#[test]
fn create_event_without_creator_is_refused_before_version_11() {
    for version in versions(3, 10) {
        let mut room = Room::created(&version, &json!({}));
        room.last = None;
        let create = room.build(state(ALICE, "m.room.create", "", json!({ "room_version": version })));
        assert!(!is_allowed(&create), "version {version}");
    }
    let mut room = Room::created("11", &json!({}));
    room.last = None;
    let create = room.build(state(ALICE, "m.room.create", "", json!({ "room_version": "11" })));
    assert!(is_allowed(&create));
}

/// Rule 1.4 of version 12.
#[test]
fn create_event_with_malformed_additional_creators_is_refused() {
    for bad in [json!("@bob:b"), json!(["bob"]), json!([1]), json!({}), json!(null)] {
        let create = created_with("12", &json!({ "additional_creators": bad }));
        assert!(!is_allowed(&create), "{bad}");
    }
    assert!(is_allowed(&created_with("12", &json!({ "additional_creators": ["@bob:b"] }))));
    // The field means nothing in version 11.
    assert!(is_allowed(&created_with("11", &json!({ "additional_creators": 1 }))));
}

#[test]
fn room_id_of_version_12_is_the_id_of_the_create_event() {
    let create = created_with("12", &json!({}));
    let event_id: OwnedEventId = EventId::parse(create.room_id().as_str().replacen('!', "$", 1)).unwrap();
    assert_eq!(event_id, create.event_id());
}
