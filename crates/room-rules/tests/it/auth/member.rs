//! Rule 5: `m.room.member`, without third-party invites.

use serde_json::json;

use crate::room::{ALICE, BOB, CAROL, DAN, Draft, Room, member, state, versions};

const EVE: &str = "@eve:e";

/// Rule 5.1.
#[test]
fn member_event_needs_state_key_and_membership() {
    for version in versions(1, 12) {
        let room = Room::public(&version);
        assert!(!room.allows(Draft { state_key: None, ..member(DAN, DAN, "join") }), "version {version}");
        assert!(!room.allows(state(DAN, "m.room.member", DAN, json!({}))), "version {version}");
        let not_text = json!({ "membership": 1 });
        assert!(!room.allows(state(DAN, "m.room.member", DAN, not_text)), "version {version}");
    }
}

/// Rule 5.8.
#[test]
fn unknown_membership_is_refused() {
    for version in versions(1, 12) {
        let room = Room::public(&version);
        assert!(!room.allows(member(ALICE, ALICE, "lurk")), "version {version}");
    }
    for version in versions(1, 6) {
        let mut room = Room::public(&version);
        room.set_join_rule("knock");
        assert!(!room.allows(member(DAN, DAN, "knock")), "version {version}");
    }
}

/// Rule 5.3.1.
#[test]
fn creator_joins_right_after_the_create_event() {
    for version in versions(1, 12) {
        let room = Room::created(&version, &json!({}));
        assert!(room.allows(member(ALICE, ALICE, "join")), "version {version}");
        assert!(!room.allows(member(BOB, BOB, "join")), "version {version}");
        // Only if the create event is the only previous event.
        let mut later = room.clone();
        later.apply(state(ALICE, "m.room.name", "", json!({})));
        assert!(!later.allows(member(ALICE, ALICE, "join")), "version {version}");
    }
}

/// Rule 5.3.1: an additional creator is not the sender of the create event.
#[test]
fn additional_creator_does_not_join_right_after_the_create_event() {
    let room = Room::created("12", &json!({ "additional_creators": [BOB] }));
    assert!(!room.allows(member(BOB, BOB, "join")));
}

/// Rule 5.3.1 of versions 1 to 10: the creator is the one named in the content.
#[test]
fn creator_is_named_in_the_content_before_version_11() {
    let room = Room::created("10", &json!({ "creator": "@zoe:a" }));
    assert!(!room.allows(member(ALICE, ALICE, "join")));
    assert!(room.allows(member("@zoe:a", "@zoe:a", "join")));
    let room = Room::created("11", &json!({ "creator": "@zoe:a" }));
    assert!(room.allows(member(ALICE, ALICE, "join")));
}

/// Rule 5.3.2.
#[test]
fn nobody_joins_for_somebody_else() {
    for version in versions(1, 12) {
        let room = Room::public(&version);
        assert!(room.allows(member(DAN, DAN, "join")), "version {version}");
        assert!(!room.allows(member(ALICE, DAN, "join")), "version {version}");
    }
}

/// Rule 5.3.3.
#[test]
fn banned_user_cannot_rejoin() {
    for version in versions(1, 12) {
        let room = Room::public(&version).with_membership(CAROL, "ban");
        assert!(!room.allows(member(CAROL, CAROL, "join")), "version {version}");
    }
}

/// Rule 5.3.4.
#[test]
fn joining_by_invitation_needs_one() {
    for version in versions(1, 12) {
        let rules: &[&str] =
            if version.parse::<u8>().unwrap() < 7 { &["invite"] } else { &["invite", "knock"] };
        for rule in rules {
            let mut room = Room::public(&version);
            room.set_join_rule(rule);
            assert!(!room.allows(member(DAN, DAN, "join")), "version {version}, {rule}");
            assert!(room.allows(member(CAROL, CAROL, "join")), "version {version}, {rule}");
            let invited = room.with_membership(DAN, "invite");
            assert!(invited.allows(member(DAN, DAN, "join")), "version {version}, {rule}");
            let left = invited.with_membership(DAN, "leave");
            assert!(!left.allows(member(DAN, DAN, "join")), "version {version}, {rule}");
        }
    }
}

fn restricted_join(authoriser: Option<&str>) -> Draft<'static> {
    let mut draft = member(DAN, DAN, "join");
    if let Some(authoriser) = authoriser {
        draft.content["join_authorised_via_users_server"] = json!(authoriser);
    }
    draft
}

/// Rule 5.3.5.
#[test]
fn restricted_join_needs_a_joined_user_who_can_invite() {
    for (from, rule) in [(8, "restricted"), (10, "knock_restricted")] {
        for version in versions(from, 12) {
            let mut room = Room::public(&version);
            room.set_join_rule(rule);
            // 5.3.5.1
            assert!(room.allows(member(CAROL, CAROL, "join")), "version {version}");
            let invited = room.clone().with_membership(DAN, "invite");
            assert!(invited.allows(restricted_join(None)), "version {version}");
            // 5.3.5.2
            assert!(!room.allows(restricted_join(None)), "version {version}");
            assert!(!room.allows(restricted_join(Some(CAROL))), "version {version}: no power");
            assert!(!room.allows(restricted_join(Some(EVE))), "version {version}: not joined");
            let gone = room.clone().with_membership(BOB, "leave");
            assert!(!gone.allows(restricted_join(Some(BOB))), "version {version}: left");
            // 5.3.5.3
            assert!(room.allows(restricted_join(Some(BOB))), "version {version}");
            assert!(room.allows(restricted_join(Some(ALICE))), "version {version}");
            // 5.3.3 comes first.
            let banned = room.clone().with_membership(DAN, "ban");
            assert!(!banned.allows(restricted_join(Some(ALICE))), "version {version}");
        }
    }
}

#[test]
fn restricted_rules_let_nobody_in_before_their_versions() {
    for (to, rule) in [(7, "restricted"), (9, "knock_restricted")] {
        for version in versions(1, to) {
            let mut room = Room::public(&version);
            room.set_join_rule(rule);
            assert!(!room.allows(restricted_join(Some(ALICE))), "version {version}");
        }
    }
}

/// Rules 5.3.6 and 5.3.7.
#[test]
fn unknown_join_rule_lets_nobody_in() {
    for version in versions(1, 12) {
        let mut room = Room::public(&version);
        assert!(room.allows(member(DAN, DAN, "join")), "version {version}");
        room.set_join_rule("private");
        assert!(!room.allows(member(DAN, DAN, "join")), "version {version}");
        let invited = room.with_membership(DAN, "invite");
        assert!(!invited.allows(member(DAN, DAN, "join")), "version {version}");
    }
}

/// Rule 5.4.
#[test]
fn inviting_needs_membership_and_power() {
    for version in versions(1, 12) {
        let room = Room::public(&version);
        // 5.4.4
        assert!(room.allows(member(BOB, DAN, "invite")), "version {version}");
        // 5.4.2
        assert!(!room.allows(member(EVE, DAN, "invite")), "version {version}");
        // 5.4.3
        assert!(!room.allows(member(BOB, CAROL, "invite")), "version {version}");
        let banned = room.clone().with_membership(DAN, "ban");
        assert!(!banned.allows(member(BOB, DAN, "invite")), "version {version}");
        // 5.4.5
        assert!(!room.allows(member(CAROL, DAN, "invite")), "version {version}");
    }
}

/// Rule 5.5.1.
#[test]
fn users_leave_from_where_they_are() {
    for version in versions(1, 12) {
        let room = Room::public(&version);
        assert!(room.allows(member(CAROL, CAROL, "leave")), "version {version}");
        let invited = room.clone().with_membership(CAROL, "invite");
        assert!(invited.allows(member(CAROL, CAROL, "leave")), "version {version}");
        for membership in ["leave", "ban"] {
            let room = room.clone().with_membership(CAROL, membership);
            assert!(!room.allows(member(CAROL, CAROL, "leave")), "version {version}, {membership}");
        }
        assert!(!room.allows(member(DAN, DAN, "leave")), "version {version}");
        let knocked = room.clone().with_membership(CAROL, "knock");
        let may_take_back = version.parse::<u8>().unwrap() >= 7;
        assert_eq!(knocked.allows(member(CAROL, CAROL, "leave")), may_take_back, "version {version}");
    }
}

/// Rules 5.5.2, 5.5.4 and 5.5.5.
#[test]
fn kicking_needs_power_over_the_target() {
    for version in versions(1, 12) {
        let mut room = Room::public(&version);
        assert!(room.allows(member(BOB, CAROL, "leave")), "version {version}");
        assert!(!room.allows(member(CAROL, BOB, "leave")), "version {version}");
        assert!(!room.allows(member(EVE, CAROL, "leave")), "version {version}");
        assert!(!room.allows(member(BOB, ALICE, "leave")), "version {version}");
        room.set_levels(&json!({ "users": { CAROL: 50 } }));
        assert!(!room.allows(member(BOB, CAROL, "leave")), "version {version}: same level");
        room.set_levels(&json!({ "kick": 51 }));
        assert!(!room.allows(member(BOB, CAROL, "leave")), "version {version}: below kick");
    }
}

/// Rule 5.5.3.
#[test]
fn unbanning_needs_the_ban_level_too() {
    for version in versions(1, 12) {
        let mut room = Room::public(&version).with_membership(CAROL, "ban");
        assert!(room.allows(member(BOB, CAROL, "leave")), "version {version}");
        room.set_levels(&json!({ "ban": 60 }));
        assert!(!room.allows(member(BOB, CAROL, "leave")), "version {version}");
        assert!(room.allows(member(ALICE, CAROL, "leave")), "version {version}");
    }
}

/// Rule 5.6.
#[test]
fn banning_needs_power_over_the_target() {
    for version in versions(1, 12) {
        let mut room = Room::public(&version);
        // 5.6.2
        assert!(room.allows(member(BOB, CAROL, "ban")), "version {version}");
        assert!(room.allows(member(BOB, DAN, "ban")), "version {version}: not even in the room");
        // 5.6.1
        assert!(!room.allows(member(EVE, CAROL, "ban")), "version {version}");
        // 5.6.3
        assert!(!room.allows(member(CAROL, DAN, "ban")), "version {version}");
        assert!(!room.allows(member(BOB, ALICE, "ban")), "version {version}");
        room.set_levels(&json!({ "users": { CAROL: 50 } }));
        assert!(!room.allows(member(BOB, CAROL, "ban")), "version {version}: same level");
    }
}

/// Rules 5.5.4 and 5.6.2: creators of version 12 are beyond everybody, and each other.
#[test]
fn creators_of_version_12_cannot_be_removed() {
    let mut room = Room::public_with("12", &json!({ "additional_creators": [CAROL] }));
    room.set_levels(&json!({ "users": { BOB: 9_007_199_254_740_991_i64 } }));
    for membership in ["leave", "ban"] {
        assert!(!room.allows(member(BOB, ALICE, membership)));
        assert!(!room.allows(member(BOB, CAROL, membership)));
        assert!(!room.allows(member(ALICE, CAROL, membership)));
        assert!(!room.allows(member(CAROL, ALICE, membership)));
        assert!(room.allows(member(CAROL, BOB, membership)));
    }
}

/// Rule 5.7.
#[test]
fn knocking_needs_a_join_rule_for_it() {
    for version in versions(7, 12) {
        let mut room = Room::public(&version);
        // 5.7.1
        for rule in ["public", "invite", "restricted"] {
            room.set_join_rule(rule);
            assert!(!room.allows(member(DAN, DAN, "knock")), "version {version}, {rule}");
        }
        room.set_join_rule("knock_restricted");
        let knows_both = version.parse::<u8>().unwrap() >= 10;
        assert_eq!(room.allows(member(DAN, DAN, "knock")), knows_both, "version {version}");
        room.set_join_rule("knock");
        // 5.7.3
        assert!(room.allows(member(DAN, DAN, "knock")), "version {version}");
        let again = room.clone().with_membership(DAN, "knock");
        assert!(again.allows(member(DAN, DAN, "knock")), "version {version}");
        // 5.7.2
        assert!(!room.allows(member(ALICE, DAN, "knock")), "version {version}");
        // 5.7.4
        assert!(!room.allows(member(CAROL, CAROL, "knock")), "version {version}");
        for membership in ["invite", "ban"] {
            let room = room.clone().with_membership(DAN, membership);
            assert!(!room.allows(member(DAN, DAN, "knock")), "version {version}, {membership}");
        }
    }
}
