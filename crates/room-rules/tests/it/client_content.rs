//! What clients may send in well-known events.

use hs_room_rules::{
    canonical_json::{Object, ParseOptions},
    client_content::{ContentError, check},
};
use serde_json::{Value, json};

use crate::room::BOB;

fn check_state(event_type: &str, content: &Value) -> Result<(), ContentError> {
    let key = if event_type == "m.room.member" { BOB } else { "" };
    check_with(event_type, Some(key), content)
}

fn check_with(event_type: &str, key: Option<&str>, content: &Value) -> Result<(), ContentError> {
    let json = content.to_string();
    check(event_type, key, &Object::parse(&json, ParseOptions::STRICT).unwrap())
}

#[test]
fn well_formed_content_is_accepted() {
    let cases = [
        (
            "m.room.create",
            json!({ "m.federate": false, "room_version": "12", "type": "m.space",
            "additional_creators": [BOB], "predecessor": { "room_id": "!a:b", "event_id": "$x" } }),
        ),
        ("m.room.create", json!({})),
        ("m.room.member", json!({ "membership": "join", "displayname": "B", "avatar_url": null })),
        ("m.room.member", json!({ "membership": "invite", "is_direct": true, "reason": "hi" })),
        ("m.room.member", json!({ "membership": "join", "join_authorised_via_users_server": BOB })),
        ("m.room.power_levels", json!({})),
        (
            "m.room.power_levels",
            json!({ "users": { BOB: 50 }, "events": { "m.x": -1 }, "ban": 0,
            "notifications": { "room": 20 }, "org.example": "free" }),
        ),
        ("m.room.join_rules", json!({ "join_rule": "public" })),
        (
            "m.room.join_rules",
            json!({ "join_rule": "restricted",
            "allow": [{ "type": "m.room_membership", "room_id": "!a:b" }, { "type": "org.example" }] }),
        ),
        ("m.room.canonical_alias", json!({})),
        ("m.room.canonical_alias", json!({ "alias": "", "alt_aliases": [] })),
        ("m.room.canonical_alias", json!({ "alias": null })),
        ("m.room.canonical_alias", json!({ "alias": "#a:b", "alt_aliases": ["#c:b"] })),
        ("m.room.history_visibility", json!({ "history_visibility": "joined" })),
        ("m.room.guest_access", json!({ "guest_access": "forbidden" })),
        ("m.room.encryption", json!({ "algorithm": "m.megolm.v1.aes-sha2", "rotation_period_msgs": 100 })),
        ("m.room.name", json!({ "name": "x" })),
        ("m.room.name", json!({})),
        ("m.room.topic", json!({ "topic": "x", "m.topic": {} })),
        ("m.room.avatar", json!({ "url": "mxc://a/b", "info": {} })),
        ("m.room.pinned_events", json!({ "pinned": ["$x"] })),
        ("m.room.server_acl", json!({ "allow": ["*"], "deny": [], "allow_ip_literals": false })),
        ("m.room.tombstone", json!({ "body": "x", "replacement_room": "!a:b" })),
        ("m.space.child", json!({})),
        ("m.space.child", json!({ "via": ["b"], "order": "a", "suggested": true })),
        ("m.space.parent", json!({ "via": ["b"], "canonical": true })),
        ("org.example", json!({ "membership": 1 })),
    ];
    for (event_type, content) in cases {
        assert_eq!(check_state(event_type, &content), Ok(()), "{event_type}: {content}");
    }
}

#[test]
fn malformed_content_is_refused() {
    let cases = [
        ("m.room.create", json!({ "m.federate": "no" })),
        ("m.room.create", json!({ "room_version": 12 })),
        ("m.room.create", json!({ "additional_creators": BOB })),
        ("m.room.create", json!({ "additional_creators": ["bob"] })),
        ("m.room.create", json!({ "predecessor": {} })),
        ("m.room.create", json!({ "type": 1 })),
        ("m.room.member", json!({})),
        ("m.room.member", json!({ "membership": 1 })),
        ("m.room.member", json!({ "membership": "lurk" })),
        ("m.room.member", json!({ "membership": "join", "displayname": 1 })),
        ("m.room.member", json!({ "membership": "join", "avatar_url": {} })),
        ("m.room.member", json!({ "membership": "join", "is_direct": "yes" })),
        ("m.room.member", json!({ "membership": "join", "join_authorised_via_users_server": "bob" })),
        ("m.room.member", json!({ "membership": "invite", "third_party_invite": {} })),
        ("m.room.power_levels", json!({ "users": [] })),
        ("m.room.power_levels", json!({ "users": { "bob": 1 } })),
        ("m.room.power_levels", json!({ "users": { BOB: "50" } })),
        ("m.room.power_levels", json!({ "ban": "50" })),
        ("m.room.power_levels", json!({ "ban": null })),
        ("m.room.power_levels", json!({ "events": { "m.x": true } })),
        ("m.room.power_levels", json!({ "notifications": 1 })),
        ("m.room.join_rules", json!({})),
        ("m.room.join_rules", json!({ "join_rule": 1 })),
        ("m.room.canonical_alias", json!({ "alias": 1 })),
        ("m.room.canonical_alias", json!({ "alt_aliases": "#a:b" })),
        ("m.room.canonical_alias", json!({ "alt_aliases": [1] })),
        ("m.room.history_visibility", json!({})),
        ("m.room.guest_access", json!({ "guest_access": true })),
        ("m.room.encryption", json!({})),
        ("m.room.encryption", json!({ "algorithm": "x", "rotation_period_ms": "1" })),
        ("m.room.name", json!({ "name": 1 })),
        ("m.room.topic", json!({ "topic": null })),
        ("m.room.avatar", json!({ "url": 1 })),
        ("m.room.pinned_events", json!({ "pinned": "$x" })),
        ("m.room.pinned_events", json!({ "pinned": [1] })),
        ("m.room.server_acl", json!({ "allow": "*" })),
        ("m.room.server_acl", json!({ "allow_ip_literals": 1 })),
        ("m.room.tombstone", json!({ "replacement_room": 1 })),
        ("m.space.child", json!({ "via": "b" })),
        ("m.space.parent", json!({ "canonical": 1 })),
    ];
    for (event_type, content) in cases {
        let result = check_state(event_type, &content);
        assert!(matches!(result, Err(ContentError::Malformed(_))), "{event_type}: {content}: {result:?}");
    }
}

#[test]
fn values_that_cannot_be_are_told_apart() {
    for (event_type, content) in [
        ("m.room.create", json!({ "room_version": "unknown" })),
        ("m.room.canonical_alias", json!({ "alias": "not an alias" })),
        ("m.room.canonical_alias", json!({ "alt_aliases": ["!a:b"] })),
    ] {
        let result = check_state(event_type, &content);
        assert!(matches!(result, Err(ContentError::InvalidValue(_))), "{event_type}: {content}: {result:?}");
    }
}

#[test]
fn member_must_be_a_user() {
    let content = json!({ "membership": "invite" });
    assert!(check_with("m.room.member", Some("bob"), &content).is_err());
    assert!(check_with("m.room.member", Some(BOB), &content).is_ok());
}

#[test]
fn messages_may_have_any_shape() {
    for content in [json!({}), json!({ "body": 1 }), json!({ "anything": [] })] {
        assert_eq!(check_with("m.room.message", None, &content), Ok(()));
    }
}

#[test]
fn message_says_where_the_fault_is() {
    let result = check_state("m.room.power_levels", &json!({ "users": { BOB: "50" } }));
    assert_eq!(result.unwrap_err().to_string(), "`users.@bob:b` must be an integer");
}
