//! Redaction, in every room version: <https://spec.matrix.org/v1.19/client-server-api/#redactions>.

use hs_room_rules::{
    canonical_json::{Object, ParseOptions},
    redact::{redact_content, redact_json},
};
use proptest::prelude::*;
use ruma::{CanonicalJsonObject, canonical_json::redact as ruma_redact};
use serde_json::{Value, json};

use crate::room::{version, versions};

fn redacted(room_version: &str, event: &Value) -> Value {
    let json = redact_json(&event.to_string(), version(room_version)).unwrap();
    serde_json::from_str(&json).unwrap()
}

fn redacted_content(room_version: &str, event_type: &str, content: &Value) -> Value {
    redacted(room_version, &json!({ "type": event_type, "content": content }))["content"].clone()
}

/// Calls with each version and whether it is at least `since`.
fn each_version(since: u8, mut check: impl FnMut(&str, bool)) {
    for version in versions(1, 12) {
        check(&version, version.parse::<u8>().unwrap() >= since);
    }
}

#[test]
fn top_level_keeps_what_identifies_the_event() {
    let kept = json!({
        "event_id": "$e:a", "type": "m.room.message", "room_id": "!r:a", "sender": "@a:a", "state_key": "",
        "content": {}, "hashes": {}, "signatures": {}, "depth": 1, "prev_events": [], "auth_events": [],
        "origin_server_ts": 1,
    });
    let until_10 = json!({ "origin": "a", "membership": "join", "prev_state": [] });
    let never = json!({ "unsigned": {}, "redacts": "$x", "age_ts": 1, "org.example.extra": true });
    each_version(11, |version, is_new| {
        let mut event = kept.clone();
        let mut expected = kept.clone();
        for extra in [&until_10, &never] {
            event.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        }
        if !is_new {
            expected.as_object_mut().unwrap().extend(until_10.as_object().unwrap().clone());
        }
        assert_eq!(redacted(version, &event), expected, "version {version}");
    });
}

#[test]
fn ordinary_content_is_removed() {
    for version in versions(1, 12) {
        let content = json!({ "body": "x", "membership": "join", "redacts": "$x" });
        assert_eq!(redacted_content(&version, "m.room.message", &content), json!({}), "version {version}");
    }
}

#[test]
fn member_keeps_membership_and_later_its_authorisation() {
    let content = json!({
        "membership": "join",
        "displayname": "A",
        "join_authorised_via_users_server": "@b:b",
        "third_party_invite": { "display_name": "A", "signed": { "token": "t" } },
    });
    for version in versions(1, 12) {
        let number: u8 = version.parse().unwrap();
        let mut expected = json!({ "membership": "join" });
        if number >= 9 {
            expected["join_authorised_via_users_server"] = json!("@b:b");
        }
        if number >= 11 {
            expected["third_party_invite"] = json!({ "signed": { "token": "t" } });
        }
        assert_eq!(redacted_content(&version, "m.room.member", &content), expected, "version {version}");
    }
    let not_an_object = json!({ "membership": "join", "third_party_invite": "x" });
    let expected = json!({ "membership": "join" });
    assert_eq!(redacted_content("11", "m.room.member", &not_an_object), expected);
}

#[test]
fn create_keeps_its_creator_and_later_everything() {
    let content = json!({ "creator": "@a:a", "room_version": "1", "m.federate": false });
    each_version(11, |version, is_new| {
        let expected = if is_new { content.clone() } else { json!({ "creator": "@a:a" }) };
        assert_eq!(redacted_content(version, "m.room.create", &content), expected, "version {version}");
    });
}

#[test]
fn join_rules_keep_the_rule_and_later_its_conditions() {
    let content = json!({ "join_rule": "restricted", "allow": [{ "type": "x" }], "extra": 1 });
    each_version(8, |version, is_new| {
        let mut expected = json!({ "join_rule": "restricted" });
        if is_new {
            expected["allow"] = content["allow"].clone();
        }
        assert_eq!(redacted_content(version, "m.room.join_rules", &content), expected, "version {version}");
    });
}

#[test]
fn power_levels_keep_levels_and_later_that_of_inviting() {
    let mut expected = json!({
        "ban": 1, "events": { "a": 1 }, "events_default": 1, "kick": 1, "redact": 1, "state_default": 1,
        "users": {}, "users_default": 1,
    });
    let mut content = expected.clone();
    content["invite"] = json!(1);
    content["notifications"] = json!({ "room": 1 });
    each_version(11, |version, is_new| {
        if is_new {
            expected["invite"] = json!(1);
        }
        assert_eq!(redacted_content(version, "m.room.power_levels", &content), expected, "version {version}");
    });
}

#[test]
fn aliases_are_kept_before_version_6() {
    let content = json!({ "aliases": ["#a:a"], "extra": 1 });
    each_version(6, |version, is_new| {
        let expected = if is_new { json!({}) } else { json!({ "aliases": ["#a:a"] }) };
        assert_eq!(redacted_content(version, "m.room.aliases", &content), expected, "version {version}");
    });
}

#[test]
fn redaction_keeps_its_target_from_version_11_on() {
    let content = json!({ "redacts": "$x", "reason": "spam" });
    each_version(11, |version, is_new| {
        let expected = if is_new { json!({ "redacts": "$x" }) } else { json!({}) };
        assert_eq!(redacted_content(version, "m.room.redaction", &content), expected, "version {version}");
    });
}

#[test]
fn history_visibility_is_kept() {
    let content = json!({ "history_visibility": "joined", "extra": 1 });
    for version in versions(1, 12) {
        let expected = json!({ "history_visibility": "joined" });
        assert_eq!(redacted_content(&version, "m.room.history_visibility", &content), expected);
    }
}

#[test]
fn content_alone_is_redacted_for_clients() {
    let json = r#"{"membership":"join","displayname":"A"}"#;
    let mut content = Object::parse(json, ParseOptions::STRICT).unwrap();
    redact_content(&mut content, "m.room.member", &version("10").redaction);
    assert_eq!(content.to_canonical_string(), r#"{"membership":"join"}"#);
}

const TYPES: [&str; 9] = [
    "m.room.member",
    "m.room.create",
    "m.room.join_rules",
    "m.room.power_levels",
    "m.room.aliases",
    "m.room.history_visibility",
    "m.room.redaction",
    "m.room.message",
    "m.room.server_acl",
];

const CONTENT_KEYS: [&str; 16] = [
    "membership",
    "join_authorised_via_users_server",
    "third_party_invite",
    "creator",
    "join_rule",
    "allow",
    "users",
    "events",
    "invite",
    "notifications",
    "aliases",
    "history_visibility",
    "redacts",
    "body",
    "ban",
    "room_version",
];

const TOP_KEYS: [&str; 12] = [
    "origin",
    "membership",
    "prev_state",
    "redacts",
    "unsigned",
    "sender",
    "depth",
    "hashes",
    "state_key",
    "extra",
    "event_id",
    "age_ts",
];

proptest! {
    #![proptest_config(crate::room::cases(300))]

    #[test]
    fn redaction_is_that_of_ruma(
        room_version in 1..=12_u8,
        event_type in prop::sample::select(TYPES.to_vec()),
        content in prop::collection::btree_set(prop::sample::select(CONTENT_KEYS.to_vec()), 0..8),
        top in prop::collection::btree_set(prop::sample::select(TOP_KEYS.to_vec()), 0..8),
    ) {
        let mut event = json!({ "type": event_type, "content": {} });
        for key in content {
            event["content"][key] = json!({ "signed": 1, "other": 2 });
        }
        for key in top {
            event[key] = json!("x");
        }
        let rules = version(&room_version.to_string());
        let object: CanonicalJsonObject = serde_json::from_value(event.clone()).unwrap();
        let rumas = ruma_redact(object, &rules.redaction, None).unwrap();
        let rumas = serde_json::to_string(&rumas).unwrap();
        prop_assert_eq!(redact_json(&event.to_string(), rules).unwrap(), rumas);
    }
}
