//! Policy servers.

use hs_room_rules::{
    build::{EventTemplate, build},
    pdu::Pdu,
    policy::PolicyServer,
    room_version,
    sign::SigningKey,
};
use ruma::{RoomVersionId, owned_event_id, room_id, server_name, user_id};

const CHECKED: &str = r#"{"body":"x"}"#;

fn event(event_type: &str, state_key: Option<&str>, content: &str) -> Pdu {
    let rules = room_version::rules(&RoomVersionId::V11).unwrap();
    let template = EventTemplate {
        room_id: Some(room_id!("!a:one")),
        sender: user_id!("@alice:one"),
        event_type,
        state_key,
        content,
        redacts: None,
        origin_server_ts: 1,
        prev_events: vec![owned_event_id!("$x")],
        auth_events: vec![owned_event_id!("$y")],
        depth: 2,
        sticky_ms: None,
        legacy: None,
    };
    build(template, rules, server_name!("one"), &key("1", 1)).unwrap()
}

fn key(version: &str, seed: u8) -> SigningKey {
    SigningKey::from_seed(version, &[seed; 32]).unwrap()
}

fn policy(content: &serde_json::Value) -> Option<PolicyServer> {
    PolicyServer::named_by(&event("m.room.policy", Some(""), &content.to_string()))
}

fn server(key: &SigningKey) -> PolicyServer {
    let content = serde_json::json!({ "via": "two", "public_keys": { "ed25519": key.public_key() } });
    policy(&content).unwrap()
}

/// What the policy server would answer.
fn signature(key: &SigningKey, pdu: &Pdu) -> String {
    use hs_room_rules::{
        build::add_signature,
        canonical_json::{Object, ParseOptions, Value},
    };
    let mut object = Object::parse(pdu.json(), ParseOptions::federation(pdu.rules())).unwrap();
    add_signature(&mut object, pdu.rules(), server_name!("two"), key);
    let signatures = object.get_object("signatures").unwrap().get_object("two").unwrap();
    signatures.get("ed25519:policy_server").and_then(Value::as_str).unwrap().to_owned()
}

#[test]
fn signature_of_the_policy_server_counts() {
    let key = key("policy_server", 2);
    let pdu = event("m.room.message", None, CHECKED);
    let server = server(&key);

    assert!(!server.has_signed(&pdu));
    let signed = server.add_signature(&pdu, &signature(&key, &pdu)).unwrap();

    assert!(server.has_signed(&signed));
    assert_eq!(signed.event_id(), pdu.event_id());
    assert!(signed.json().contains(r#""one":{"ed25519:1""#), "{}", signed.json());
}

#[test]
fn signature_by_another_key_or_of_another_event_does_not_count() {
    let key = key("policy_server", 2);
    let pdu = event("m.room.message", None, CHECKED);
    let other = event("m.room.message", None, r#"{"body":"y"}"#);
    let server = server(&key);

    assert!(server.add_signature(&pdu, &signature(&self::key("policy_server", 3), &pdu)).is_none());
    assert!(server.add_signature(&pdu, &signature(&key, &other)).is_none());
    assert!(server.add_signature(&pdu, "nonsense").is_none());
}

#[test]
fn only_what_names_a_server_and_its_key_is_a_policy() {
    for content in [
        serde_json::json!({}),
        serde_json::json!({ "via": "two" }),
        serde_json::json!({ "via": "two", "public_keys": {} }),
        serde_json::json!({ "via": "two", "public_keys": { "ed25519": 5 } }),
        serde_json::json!({ "via": 5, "public_keys": { "ed25519": "x" } }),
        serde_json::json!({ "public_keys": { "ed25519": "x" } }),
    ] {
        assert_eq!(policy(&content), None, "{content}");
    }
    assert!(
        policy(&serde_json::json!({ "via": "two", "public_keys": { "ed25519": "x", "y": 1 } })).is_some()
    );
}

#[test]
fn choosing_the_policy_server_needs_no_signature() {
    assert!(!PolicyServer::checks(&event("m.room.policy", Some(""), "{}")));
    assert!(PolicyServer::checks(&event("m.room.policy", Some("x"), "{}")));
    assert!(PolicyServer::checks(&event("m.room.policy", None, "{}")));
    assert!(PolicyServer::checks(&event("m.room.member", Some("@alice:one"), "{}")));
}
