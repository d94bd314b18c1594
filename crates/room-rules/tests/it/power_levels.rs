//! Questions about power: <https://spec.matrix.org/v1.19/client-server-api/#mroompower_levels>.

use hs_room_rules::power_levels::{Level, PowerLevels, PowerLevelsContent};
use serde_json::{Value, json};

use crate::room::{ALICE, BOB, CAROL, DAN, Room, state, user, version, versions};

/// Asks about a room with these power levels, or none.
fn ask<T>(room_version: &str, content: Option<Value>, question: impl FnOnce(PowerLevels<'_>) -> T) -> T {
    let mut room = Room::created(room_version, &json!({ "additional_creators": [DAN] }));
    if let Some(content) = content {
        room.apply(state(ALICE, "m.room.power_levels", "", content));
    }
    let create = room.find("m.room.create", "").unwrap();
    let levels = room.find("m.room.power_levels", "");
    question(PowerLevels::new(&create, levels.as_deref()).unwrap())
}

#[test]
fn defaults_without_event() {
    for version in versions(1, 12) {
        ask(&version, None, |levels| {
            let is_12 = version == "12";
            assert_eq!(levels.user(user(ALICE)), if is_12 { Level::Infinite } else { Level::Int(100) });
            assert_eq!(levels.user(user(DAN)), if is_12 { Level::Infinite } else { Level::Int(0) });
            assert_eq!(levels.user(user(BOB)), Level::Int(0));
            assert_eq!(levels.for_message("m.any"), 0);
            assert_eq!(levels.for_state("m.any"), 50);
            assert_eq!((levels.invite(), levels.kick(), levels.ban(), levels.redact()), (0, 50, 50, 50));
            assert_eq!(levels.notification("room"), 50);
        });
    }
}

#[test]
fn defaults_with_empty_event() {
    ask("11", Some(json!({})), |levels| {
        // With an event, the creator is nobody special before version 12.
        assert_eq!(levels.user(user(ALICE)), Level::Int(0));
        assert_eq!(levels.for_message("m.any"), 0);
        assert_eq!(levels.for_state("m.any"), 50);
        assert_eq!((levels.invite(), levels.kick(), levels.ban(), levels.redact()), (0, 50, 50, 50));
    });
    ask("12", Some(json!({})), |levels| assert_eq!(levels.user(user(ALICE)), Level::Infinite));
}

#[test]
fn levels_are_those_of_the_event() {
    let content = json!({
        "users": { BOB: 40, CAROL: -1 }, "users_default": 5,
        "events": { "m.listed": 7 }, "events_default": 8, "state_default": 9,
        "invite": 10, "kick": 11, "ban": 12, "redact": 13, "notifications": { "room": 14 },
    });
    ask("11", Some(content), |levels| {
        assert_eq!(levels.user(user(BOB)), Level::Int(40));
        assert_eq!(levels.user(user(CAROL)), Level::Int(-1));
        assert_eq!(levels.user(user("@other:b")), Level::Int(5));
        assert_eq!((levels.for_message("m.listed"), levels.for_state("m.listed")), (7, 7));
        assert_eq!((levels.for_message("m.x"), levels.for_state("m.x")), (8, 9));
        assert_eq!((levels.invite(), levels.kick(), levels.ban(), levels.redact()), (10, 11, 12, 13));
        assert_eq!(levels.notification("room"), 14);
        assert_eq!(levels.notification("other"), 50);
        assert!(levels.can_send_message(user(BOB), "m.x"));
        assert!(!levels.can_send_state(user("@other:b"), "m.x"));
        assert!(levels.can_invite(user(BOB)));
        assert!(!levels.can_invite(user(CAROL)));
    });
}

#[test]
fn power_over_others_needs_more_than_they_have() {
    let content = json!({ "users": { BOB: 50, "@peer:b": 50, "@high:b": 60 }, "ban": 55 });
    ask("11", Some(content), |levels| {
        let bob = user(BOB);
        assert!(levels.can_kick(bob, user(CAROL)));
        assert!(!levels.can_kick(bob, user("@peer:b")));
        assert!(!levels.can_ban(bob, user(CAROL)));
        assert!(levels.can_ban(user("@high:b"), bob));
        assert!(!levels.can_unban(bob, user(CAROL)));
        assert!(levels.can_unban(user("@high:b"), user(CAROL)));
    });
}

#[test]
fn creators_of_version_12_stand_above_numbers() {
    let content = json!({ "users": { BOB: 9_007_199_254_740_991_i64 }, "ban": 9_007_199_254_740_991_i64 });
    ask("12", Some(content), |levels| {
        assert!(levels.can_ban(user(ALICE), user(BOB)));
        assert!(!levels.can_ban(user(BOB), user(ALICE)));
        assert!(!levels.can_ban(user(ALICE), user(DAN)));
        assert!(Level::Infinite > Level::Int(i64::MAX));
        assert!(Level::Infinite.reaches(i64::MAX));
    });
}

/// <https://spec.matrix.org/v1.19/rooms/v12/#handling-redactions>
#[test]
fn redaction_takes_effect_with_power_or_on_the_same_server() {
    let content = json!({ "users": { BOB: 50 } });
    ask("11", Some(content), |levels| {
        assert!(levels.can_redact(user(BOB), user("@any:where")));
        assert!(levels.can_redact(user(CAROL), user("@other:b")));
        assert!(!levels.can_redact(user(CAROL), user(ALICE)));
    });
}

#[test]
fn strings_and_floats_are_read_where_versions_allow_them() {
    let parse = |room_version: &str, content: &Value| {
        PowerLevelsContent::parse(&content.to_string(), version(room_version))
    };
    let strings = json!({ "ban": " +060 ", "users": { BOB: "-5" } });
    let content = parse("9", &strings).unwrap();
    assert_eq!(content.ban, Some(60));
    assert_eq!(content.users().collect::<Vec<_>>(), [(BOB, -5)]);
    assert!(parse("10", &strings).is_err());
    let floats = json!({ "ban": 50.57, "kick": -1.9, "events": { "m.x": 5.114_698e4 } });
    let content = parse("5", &floats).unwrap();
    assert_eq!((content.ban, content.kick), (Some(50), Some(-1)));
    assert_eq!(content.events().collect::<Vec<_>>(), [("m.x", 51146)]);
    assert!(parse("6", &floats).is_err());
}

#[test]
fn malformed_levels_are_an_error() {
    for bad in [
        json!({ "ban": true }),
        json!({ "ban": null }),
        json!({ "users": [] }),
        json!({ "users": { "x": 1 } }),
        json!({ "events": { "m.x": [] } }),
    ] {
        assert!(PowerLevelsContent::parse(&bad.to_string(), version("11")).is_err(), "{bad}");
        assert!(PowerLevelsContent::parse(&bad.to_string(), version("1")).is_err(), "{bad}");
    }
    let notifications = json!({ "notifications": 1 }).to_string();
    assert!(PowerLevelsContent::parse(&notifications, version("6")).is_err());
    assert!(PowerLevelsContent::parse(&notifications, version("5")).is_ok());
}
