//! Rules 4, 6, 8, 9 and 11, and those of versions 1 to 5 for aliases and redactions.

use serde_json::json;

use crate::room::{ALICE, BOB, CAROL, DAN, Draft, Room, member, message, state, versions};

/// Rule 4.
#[test]
fn unfederated_room_refuses_other_servers() {
    for version in versions(1, 12) {
        let mut room = Room::created(&version, &json!({ "m.federate": false }));
        room.apply(member(ALICE, ALICE, "join"));
        room.set_join_rule("public");
        assert!(!room.allows(member(BOB, BOB, "join")), "version {version}");
        assert!(room.allows(member("@zoe:a", "@zoe:a", "join")), "version {version}");
        room.apply(member(BOB, BOB, "join"));
        assert!(!room.allows(message(BOB)), "version {version}");
        assert!(room.allows(message(ALICE)), "version {version}");
    }
}

/// Rule 6.
#[test]
fn only_joined_users_may_send() {
    for version in versions(1, 12) {
        let room = Room::public(&version);
        assert!(room.allows(message(CAROL)), "version {version}");
        assert!(!room.allows(message(DAN)), "version {version}");
        for membership in ["invite", "leave", "ban", "knock"] {
            let room = room.clone().with_membership(CAROL, membership);
            assert!(!room.allows(message(CAROL)), "version {version}, {membership}");
        }
    }
}

/// Rule 8.
#[test]
fn message_needs_the_level_of_its_type() {
    for version in versions(1, 12) {
        let mut room = Room::public(&version);
        room.set_levels(&json!({ "events_default": 10, "events": { "m.room.message": 50, "m.free": 0 } }));
        assert!(room.allows(message(BOB)), "version {version}");
        assert!(!room.allows(message(CAROL)), "version {version}");
        assert!(room.allows(Draft { event_type: "m.free", ..message(CAROL) }), "version {version}");
        assert!(!room.allows(Draft { event_type: "m.other", ..message(CAROL) }), "version {version}");
        assert!(room.allows(message(ALICE)), "version {version}");
    }
}

/// Rule 8.
#[test]
fn state_needs_the_level_of_state_by_default() {
    for version in versions(1, 12) {
        let mut room = Room::public(&version);
        let name = |sender| state(sender, "m.room.name", "", json!({ "name": "new" }));
        assert!(room.allows(name(BOB)), "version {version}");
        assert!(!room.allows(name(CAROL)), "version {version}");
        room.set_levels(&json!({ "state_default": 51 }));
        assert!(!room.allows(name(BOB)), "version {version}");
        room.set_levels(&json!({ "state_default": 51, "events": { "m.room.name": 0 } }));
        assert!(room.allows(name(CAROL)), "version {version}");
    }
}

/// Rule 8: without a power levels event, only the creator has power.
#[test]
fn room_without_power_levels_gives_power_to_its_creator() {
    for version in versions(1, 12) {
        let mut room = Room::created(&version, &json!({}));
        room.apply(member(ALICE, ALICE, "join"));
        room.set_join_rule("public");
        room.apply(member(BOB, BOB, "join"));
        let name = |sender| state(sender, "m.room.name", "", json!({}));
        assert!(room.allows(name(ALICE)), "version {version}");
        assert!(!room.allows(name(BOB)), "version {version}");
        assert!(room.allows(message(BOB)), "version {version}");
    }
}

/// Rule 8: nothing is too high for a creator from version 12 on.
#[test]
fn creators_have_infinite_power_in_version_12() {
    let mut room = Room::public_with("12", &json!({ "additional_creators": [CAROL] }));
    room.set_levels(&json!({ "events_default": 9_007_199_254_740_991_i64 }));
    assert!(room.allows(message(ALICE)));
    assert!(room.allows(message(CAROL)));
    assert!(!room.allows(message(BOB)));
}

/// Rule 8: additional creators mean nothing before version 12.
#[test]
fn additional_creators_have_no_power_before_version_12() {
    let mut room = Room::public_with("11", &json!({ "additional_creators": [CAROL] }));
    room.set_levels(&json!({ "events_default": 10 }));
    assert!(!room.allows(message(CAROL)));
}

/// Rule 9.
#[test]
fn state_of_another_user_is_refused() {
    for version in versions(1, 12) {
        let room = Room::public(&version);
        let beacon = |sender, key| state(sender, "org.example.beacon", key, json!({}));
        assert!(room.allows(beacon(BOB, BOB)), "version {version}");
        assert!(!room.allows(beacon(BOB, CAROL)), "version {version}");
        assert!(!room.allows(beacon(BOB, "@")), "version {version}");
        assert!(room.allows(beacon(BOB, "_@carol:b")), "version {version}");
    }
}

#[test]
fn state_without_create_event_allows_nothing() {
    let mut room = Room::public("12");
    room.state.remove(&("m.room.create".to_owned(), String::new()));
    assert!(!room.allows(message(ALICE)));
    assert!(!room.allows(member(ALICE, ALICE, "join")));
}

#[test]
fn malformed_power_levels_allow_nothing() {
    let mut room = Room::public("12");
    room.apply(state(ALICE, "m.room.power_levels", "", json!({ "users": [] })));
    assert!(!room.allows(message(ALICE)));
}

/// Rule 4 of versions 1 to 5.
#[test]
fn aliases_belong_to_the_server_of_the_sender_before_version_6() {
    let aliases = |sender, key| state(sender, "m.room.aliases", key, json!({ "aliases": [] }));
    for version in versions(1, 5) {
        let room = Room::public(&version);
        // 4.3, without any power or membership.
        assert!(room.allows(aliases(CAROL, "b")), "version {version}");
        assert!(room.allows(aliases(DAN, "d")), "version {version}");
        // 4.2
        assert!(!room.allows(aliases(ALICE, "b")), "version {version}");
        // 4.1
        let without_key = Draft { state_key: None, ..aliases(ALICE, "") };
        assert!(!room.allows(without_key), "version {version}");
    }
    for version in versions(6, 12) {
        let room = Room::public(&version);
        assert!(!room.allows(aliases(CAROL, "b")), "version {version}");
        assert!(room.allows(aliases(ALICE, "b")), "version {version}");
    }
}

/// Rule 11 of versions 1 and 2.
#[test]
fn redaction_needs_power_or_the_same_server_before_version_3() {
    for version in versions(1, 2) {
        let mut room = Room::public(&version);
        let of_bob = room.apply(message(BOB)).event_id().to_owned();
        let of_alice = room.apply(message(ALICE)).event_id().to_owned();
        let redaction = |sender, target: &ruma::OwnedEventId| Draft {
            event_type: "m.room.redaction",
            content: json!({}),
            redacts: Some(target.clone()),
            ..message(sender)
        };
        // 11.1
        assert!(room.allows(redaction(BOB, &of_alice)), "version {version}");
        // 11.2: Carol is on Bob's server.
        assert!(room.allows(redaction(CAROL, &of_bob)), "version {version}");
        // 11.3
        assert!(!room.allows(redaction(CAROL, &of_alice)), "version {version}");
    }
    // Later versions let every redaction through as an event.
    for version in versions(3, 12) {
        let mut room = Room::public(&version);
        let of_alice = room.apply(message(ALICE)).event_id().to_owned();
        let redaction = Draft {
            event_type: "m.room.redaction",
            content: json!({}),
            redacts: Some(of_alice),
            ..message(CAROL)
        };
        assert!(room.allows(redaction), "version {version}");
    }
}
