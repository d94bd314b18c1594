//! Rule 10: `m.room.power_levels`.

use serde_json::{Value, json};

use crate::room::{ALICE, BOB, CAROL, Room, state, versions};

fn allows(room: &Room, sender: &str, content: Value) -> bool {
    room.allows(state(sender, "m.room.power_levels", "", content))
}

/// A room where Bob (50) may change power levels.
fn room_of(version: &str) -> Room {
    let mut room = Room::public(version);
    room.set_levels(&json!({ "events": { "m.room.power_levels": 50, "m.high": 60 }, "redact": 60 }));
    room
}

/// What is there plus changes.
fn changed(room: &Room, key: &str, value: Value) -> Value {
    let mut content: Value =
        serde_json::from_str(room.find("m.room.power_levels", "").unwrap().content_str()).unwrap();
    match value {
        Value::Object(entries) => {
            for (name, level) in entries {
                if level.is_null() {
                    content[key].as_object_mut().unwrap().remove(&name);
                } else {
                    content[key][name] = level;
                }
            }
        }
        Value::Null => drop(content.as_object_mut().unwrap().remove(key)),
        value => content[key] = value,
    }
    content
}

fn allows_change(room: &Room, sender: &str, key: &str, value: Value) -> bool {
    allows(room, sender, changed(room, key, value))
}

const INT_FIELDS: [&str; 7] =
    ["users_default", "events_default", "state_default", "ban", "redact", "kick", "invite"];

/// Rule 10.1.
#[test]
fn levels_must_be_integers_from_version_10_on() {
    for version in versions(10, 12) {
        let room = room_of(&version);
        for field in INT_FIELDS {
            for bad in [json!("50"), json!(null), json!([]), json!(true)] {
                let mut content = room.default_levels();
                content[field] = bad.clone();
                assert!(!allows(&room, ALICE, content), "version {version}, {field}: {bad}");
            }
        }
    }
}

/// Rule 10.2.
#[test]
fn maps_of_levels_must_hold_integers_from_version_10_on() {
    for version in versions(10, 12) {
        let room = room_of(&version);
        for field in ["events", "notifications"] {
            for bad in [json!({ "a": "50" }), json!([]), json!(1), json!({ "a": null }), json!(null)] {
                let mut content = room.default_levels();
                content[field] = bad.clone();
                assert!(!allows(&room, ALICE, content), "version {version}, {field}: {bad}");
            }
        }
    }
}

/// Rule 10.3.
#[test]
fn users_must_be_user_ids_with_levels() {
    for version in versions(1, 12) {
        let room = room_of(&version);
        for bad in [json!({ "bob": 50 }), json!([]), json!({ "@bob:b": "x" }), json!({ "@bob:b": null })] {
            let mut content = room.default_levels();
            content["users"] = bad.clone();
            assert!(!allows(&room, ALICE, content), "version {version}: {bad}");
        }
    }
}

/// Rule 10.1 of versions 1 to 9: strings that are integers.
#[test]
fn levels_may_be_strings_before_version_10() {
    for version in versions(1, 9) {
        let room = room_of(&version);
        for good in ["60", " 60 ", "+60", "00060", "\n60\t"] {
            assert!(allows_change(&room, ALICE, "kick", json!(good)), "version {version}: {good:?}");
            let users = json!({ BOB: good });
            assert!(allows_change(&room, ALICE, "users", users), "version {version}: {good:?}");
        }
        for bad in ["", "x", "60.0", "+-60", "6 0"] {
            let users = json!({ BOB: bad });
            assert!(!allows_change(&room, ALICE, "users", users), "version {version}: {bad:?}");
        }
        // They count like the integers they stand for.
        assert!(!allows_change(&room, BOB, "kick", json!("51")), "version {version}");
        assert!(allows_change(&room, BOB, "kick", json!("49")), "version {version}");
    }
}

/// "m.room.power_levels events accept values as floats" of versions 1 to 5.
#[test]
fn levels_may_be_floats_before_version_6() {
    for version in versions(1, 5) {
        let mut room = room_of(&version);
        assert!(allows_change(&room, BOB, "kick", json!(50.9)), "version {version}");
        assert!(!allows_change(&room, BOB, "kick", json!(51.0)), "version {version}");
        room.apply(state(
            ALICE,
            "m.room.power_levels",
            "",
            changed(&room, "users", json!({ CAROL: 5.07e1 })),
        ));
        // Carol has 50 now, in the rules of ruma and in ours.
        assert!(allows_change(&room, CAROL, "kick", json!(50)), "version {version}");
        assert!(!allows_change(&room, CAROL, "kick", json!(51)), "version {version}");
        assert!(room.allows(state(CAROL, "m.room.name", "", json!({}))), "version {version}");
        assert!(!room.allows(state(CAROL, "m.high", "", json!({}))), "version {version}");
    }
}

#[test]
fn level_out_of_range_is_the_end_of_the_range_before_version_6() {
    for version in versions(1, 5) {
        let mut room = room_of(&version);
        let huge: Value = serde_json::from_str("1000000000000000000000").unwrap();
        room.apply(state(ALICE, "m.room.power_levels", "", changed(&room, "users", json!({ CAROL: huge }))));
        assert!(room.allows(state(CAROL, "m.high", "", json!({}))), "version {version}");
        assert!(allows_change(&room, CAROL, "redact", json!(1000)), "version {version}");
    }
}

/// Rule 10.4.
#[test]
fn creators_cannot_be_listed_in_version_12() {
    let mut room = Room::public_with("12", &json!({ "additional_creators": [CAROL] }));
    assert!(!allows_change(&room, ALICE, "users", json!({ ALICE: 100 })));
    assert!(!allows_change(&room, ALICE, "users", json!({ CAROL: 0 })));
    assert!(allows_change(&room, ALICE, "users", json!({ BOB: 10 })));
    // Not even in the first power levels event.
    room.state.remove(&("m.room.power_levels".to_owned(), String::new()));
    assert!(!allows(&room, ALICE, json!({ "users": { ALICE: 100 } })));
}

/// Rule 10.5.
#[test]
fn first_power_levels_event_is_allowed() {
    for version in versions(1, 12) {
        let mut room = Room::public(&version);
        room.state.remove(&("m.room.power_levels".to_owned(), String::new()));
        let content = json!({ "users": { BOB: 1000 }, "ban": 2000 });
        assert!(allows(&room, ALICE, content.clone()), "version {version}");
        assert!(!allows(&room, BOB, content), "version {version}");
    }
}

/// Rule 10.6.
#[test]
fn field_is_changed_only_within_the_senders_level() {
    for version in versions(1, 12) {
        let room = room_of(&version);
        for field in INT_FIELDS {
            // 10.6.2
            assert!(!allows_change(&room, BOB, field, json!(51)), "version {version}, {field}");
            assert!(allows_change(&room, ALICE, field, json!(51)), "version {version}, {field}");
            if field != "redact" {
                assert!(allows_change(&room, BOB, field, json!(50)), "version {version}, {field}");
            }
        }
        // 10.6.1
        assert!(!allows_change(&room, BOB, "redact", json!(50)), "version {version}");
        assert!(!allows_change(&room, BOB, "redact", json!(null)), "version {version}");
        assert!(allows_change(&room, BOB, "invite", json!(null)), "version {version}");
    }
}

/// Rules 10.7 and 10.8.
#[test]
fn event_levels_are_changed_only_within_the_senders_level() {
    for version in versions(1, 12) {
        let room = room_of(&version);
        let change = |name: &str, level: Value| allows_change(&room, BOB, "events", json!({ name: level }));
        assert!(!change("m.high", json!(10)), "version {version}: 10.7.1, changed");
        assert!(!change("m.high", json!(null)), "version {version}: 10.7.1, removed");
        assert!(!change("m.new", json!(51)), "version {version}: 10.8.1, added");
        assert!(!change("m.room.power_levels", json!(51)), "version {version}: 10.8.1, changed");
        assert!(change("m.new", json!(50)), "version {version}");
        assert!(change("m.room.power_levels", json!(10)), "version {version}");
        assert!(change("m.room.power_levels", json!(null)), "version {version}");
    }
}

/// Before version 6 no rule speaks of `notifications`.
#[test]
fn notifications_may_be_anything_before_version_6() {
    for version in versions(1, 6) {
        let mut room = room_of(&version);
        for strange in [json!(1), json!(null), json!([]), json!({ "room": "x" }), json!({ "room": null })] {
            let content = room.levels_with(&json!({ "notifications": strange, "ban": 40 }));
            let is_allowed = allows(&room, ALICE, content.clone());
            assert_eq!(is_allowed, version != "6", "version {version}: {strange}");
            if is_allowed {
                // What follows is judged by the rest of it.
                room.apply(state(ALICE, "m.room.power_levels", "", content));
                assert!(allows_change(&room, ALICE, "ban", json!(45)), "version {version}: {strange}");
                assert!(!allows_change(&room, CAROL, "ban", json!(45)), "version {version}: {strange}");
            }
        }
    }
}

/// Rules 10.7 and 10.8 for `notifications`, from version 6 on.
#[test]
fn notification_levels_are_protected_from_version_6_on() {
    for version in versions(1, 12) {
        let mut room = room_of(&version);
        room.set_levels(&json!({
            "events": { "m.room.power_levels": 50 },
            "notifications": { "room": 60, "low": 20 },
        }));
        let change = |level: Value| allows_change(&room, BOB, "notifications", level);
        let is_free = version.parse::<u8>().unwrap() < 6;
        assert_eq!(change(json!({ "room": 10 })), is_free, "version {version}: 10.7.1, changed");
        assert_eq!(change(json!({ "room": null })), is_free, "version {version}: 10.7.1, removed");
        assert_eq!(change(json!({ "low": 51 })), is_free, "version {version}: 10.8.1, changed");
        assert_eq!(change(json!({ "new": 51 })), is_free, "version {version}: 10.8.1, added");
        assert!(change(json!({ "low": 50 })), "version {version}");
    }
}

/// Rules 10.9 and 10.10.
#[test]
fn user_levels_are_changed_only_below_the_senders_level() {
    for version in versions(1, 12) {
        let mut room = room_of(&version);
        room.set_levels(&json!({
            "events": { "m.room.power_levels": 50 },
            "users": { CAROL: 50, "@low:b": 49, "@high:b": 51 },
        }));
        let change = |user: &str, level: Value| allows_change(&room, BOB, "users", json!({ user: level }));
        assert!(!change("@high:b", json!(10)), "version {version}: 10.9.1, higher");
        assert!(!change(CAROL, json!(10)), "version {version}: 10.9.1, same");
        assert!(!change(CAROL, json!(null)), "version {version}: 10.9.1, removed");
        assert!(change(BOB, json!(10)), "version {version}: one's own");
        assert!(change(BOB, json!(null)), "version {version}: one's own, removed");
        assert!(!change(BOB, json!(51)), "version {version}: 10.10.1, one's own");
        assert!(!change("@low:b", json!(51)), "version {version}: 10.10.1, changed");
        assert!(!change("@new:b", json!(51)), "version {version}: 10.10.1, added");
        assert!(change("@low:b", json!(50)), "version {version}");
        assert!(change("@new:b", json!(50)), "version {version}");
    }
}
