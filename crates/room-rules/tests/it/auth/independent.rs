//! Rules 2 and 3: the room id and the auth events.

use std::sync::Arc;

use hs_room_rules::pdu::Pdu;
use serde_json::json;

use crate::room::{ALICE, BOB, CAROL, Draft, Room, message, state, versions};

fn with_auth_events<'a>(room: &Room, draft: Draft<'a>, keys: &[(&str, &str)]) -> Draft<'a> {
    let id = |(event_type, key): &(&str, &str)| room.find(event_type, key).unwrap().event_id().to_owned();
    Draft { auth_events: Some(keys.iter().map(id).collect()), ..draft }
}

const CREATE: (&str, &str) = ("m.room.create", "");
const LEVELS: (&str, &str) = ("m.room.power_levels", "");
const BOB_MEMBER: (&str, &str) = ("m.room.member", BOB);

fn message_with(room: &mut Room, keys: &[(&str, &str)]) -> Pdu {
    let draft = with_auth_events(room, message(BOB), keys);
    room.build(draft)
}

#[test]
fn event_with_its_selected_auth_events_is_allowed() {
    for version in versions(1, 12) {
        let mut room = Room::public(&version);
        let pdu = room.build(message(BOB));
        assert_eq!(room.check_independent(&pdu), Ok(()), "version {version}");
    }
}

/// Rule 2.
#[test]
fn room_id_that_stands_for_no_create_event_is_refused() {
    let mut room = Room::public("12");
    let pdu = room.build(message(BOB));
    let create = room.find("m.room.create", "").unwrap();
    room.events.remove(create.event_id());
    assert!(room.check_independent(&pdu).is_err());
}

/// Rule 2.
#[test]
fn room_id_that_stands_for_another_event_is_refused() {
    let mut room = Room::public("12");
    let pdu = room.build(message(BOB));
    let create = room.find("m.room.create", "").unwrap();
    let other = room.find("m.room.member", ALICE).unwrap();
    room.events.insert(create.event_id().to_owned(), other);
    assert!(room.check_independent(&pdu).is_err());
}

/// Rule 2.
#[test]
fn room_id_that_stands_for_a_rejected_create_event_is_refused() {
    let mut room = Room::public("12");
    let pdu = room.build(message(BOB));
    let create = Pdu::clone(&room.find("m.room.create", "").unwrap()).with_rejected(true);
    room.events.insert(create.event_id().to_owned(), Arc::new(create));
    assert!(room.check_independent(&pdu).is_err());
}

/// Rule 3.1.
#[test]
fn two_auth_events_for_one_key_are_refused() {
    for version in versions(1, 11) {
        let mut room = Room::public(&version);
        let old = room.find("m.room.power_levels", "").unwrap().event_id().to_owned();
        room.set_levels(&json!({ "ban": 60 }));
        let mut draft = with_auth_events(&room, message(BOB), &[CREATE, LEVELS, BOB_MEMBER]);
        draft.auth_events.as_mut().unwrap().push(old);
        let pdu = room.build(draft);
        assert!(room.check_independent(&pdu).is_err(), "version {version}");
    }
}

/// Rule 3.2.
#[test]
fn auth_event_that_was_not_to_be_selected_is_refused() {
    for version in versions(1, 11) {
        let mut room = Room::public(&version);
        let other_member = ("m.room.member", CAROL);
        let pdu = message_with(&mut room, &[CREATE, LEVELS, BOB_MEMBER, other_member]);
        assert!(room.check_independent(&pdu).is_err(), "version {version}");
        let pdu = message_with(&mut room, &[CREATE, LEVELS, BOB_MEMBER, ("m.room.join_rules", "")]);
        assert!(room.check_independent(&pdu).is_err(), "version {version}");
    }
}

/// Rule 3.2: message events have no place among auth events.
#[test]
fn auth_event_without_state_key_is_refused() {
    let mut room = Room::public("11");
    let message_id = room.apply(message(BOB)).event_id().to_owned();
    let mut draft = with_auth_events(&room, message(BOB), &[CREATE, LEVELS, BOB_MEMBER]);
    draft.auth_events.as_mut().unwrap().push(message_id);
    let pdu = room.build(draft);
    assert!(room.check_independent(&pdu).is_err());
}

/// Rule 3.2 of version 12.
#[test]
fn create_event_among_auth_events_is_refused_in_version_12() {
    let mut room = Room::public("12");
    let pdu = message_with(&mut room, &[CREATE, LEVELS, BOB_MEMBER]);
    assert!(room.check_independent(&pdu).is_err());
    let pdu = message_with(&mut room, &[LEVELS, BOB_MEMBER]);
    assert_eq!(room.check_independent(&pdu), Ok(()));
}

/// Rule 3.3.
#[test]
fn rejected_auth_event_is_refused() {
    for version in versions(1, 12) {
        let mut room = Room::public(&version);
        let pdu = room.build(message(BOB));
        let levels = Pdu::clone(&room.find("m.room.power_levels", "").unwrap()).with_rejected(true);
        room.events.insert(levels.event_id().to_owned(), Arc::new(levels));
        assert!(room.check_independent(&pdu).is_err(), "version {version}");
    }
}

/// Rule 2.4 of versions 1 to 11.
#[test]
fn auth_events_without_create_event_are_refused_before_version_12() {
    for version in versions(1, 11) {
        let mut room = Room::public(&version);
        let pdu = message_with(&mut room, &[LEVELS, BOB_MEMBER]);
        assert!(room.check_independent(&pdu).is_err(), "version {version}");
    }
}

/// Rule 3.5.
#[test]
fn auth_event_of_another_room_is_refused() {
    let mut room = Room::public("12");
    let mut other = Room::created("12", &json!({ "type": "m.space" }));
    other.apply(crate::room::member(ALICE, ALICE, "join"));
    let foreign = other.apply(state(ALICE, "m.room.power_levels", "", json!({ "users_default": 100 })));
    room.events.insert(foreign.event_id().to_owned(), Arc::clone(&foreign));
    let mut draft = with_auth_events(&room, message(BOB), &[BOB_MEMBER]);
    draft.auth_events.as_mut().unwrap().push(foreign.event_id().to_owned());
    let pdu = room.build(draft);
    assert!(room.check_independent(&pdu).is_err());
}

#[test]
fn unknown_auth_event_is_refused() {
    let mut room = Room::public("12");
    let pdu = room.build(message(BOB));
    let levels = room.find("m.room.power_levels", "").unwrap();
    room.events.remove(levels.event_id());
    assert!(room.check_independent(&pdu).is_err());
}
