//! Checking events of other servers:
//! <https://spec.matrix.org/v1.19/server-server-api/#validating-hashes-and-signatures-on-received-events>

use hs_room_rules::{
    build::add_signature,
    canonical_json::{Object, ParseOptions},
    pdu::Pdu,
    redact::redact_json,
    sign::{PublicKeys, SigningKey},
    verify::{Verified, VerifyError, required_signers, verify_event},
};
use ruma::{
    CanonicalJsonObject, ServerName,
    serde::Base64,
    signatures::{Verified as RumaVerified, verify_event as ruma_verify},
};
use serde_json::{Value, json};

use crate::room::{ALICE, BOB, CAROL, DAN, Draft, Room, key, member, message, version, versions};

/// The keys of servers, all of them with the key of the tests.
fn keys(servers: &[&str]) -> PublicKeys {
    let of_server =
        |server: &&str| ((*server).to_owned(), [("ed25519:1".to_owned(), key().public_key())].into());
    servers.iter().map(of_server).collect()
}

fn verify(room_version: &str, event: &Value, servers: &[&str]) -> Result<Verified, VerifyError> {
    let rules = version(room_version);
    let json = event.to_string();
    let object = Object::parse(&json, ParseOptions::federation(rules)).unwrap();
    let ours = verify_event(&object, &keys(servers), rules);
    // ruma's verdict is the oracle.
    let ruma_object: CanonicalJsonObject = serde_json::from_str(&json).unwrap();
    let ruma_keys = keys(servers)
        .into_iter()
        .map(|(server, keys)| {
            (server, keys.into_iter().map(|(id, key)| (id, Base64::parse(key).unwrap())).collect())
        })
        .collect();
    let rumas = ruma_verify(&ruma_keys, &ruma_object, rules);
    match (&ours, rumas) {
        (Ok(Verified::All), Ok(RumaVerified::All))
        | (Ok(Verified::Signatures), Ok(RumaVerified::Signatures))
        | (Err(_), Err(_)) => {}
        (ours, rumas) => panic!("ours: {ours:?}, ruma's: {rumas:?}, {json}"),
    }
    ours
}

fn event_of(pdu: &Pdu) -> Value {
    serde_json::from_str(pdu.json()).unwrap()
}

fn signers(room_version: &str, event: &Value) -> Vec<String> {
    let json = event.to_string();
    let object = Object::parse(&json, ParseOptions::STRICT).unwrap();
    let signers = required_signers(&object, version(room_version)).unwrap();
    signers.into_iter().map(|server| server.to_string()).collect()
}

#[test]
fn genuine_event_is_trusted() {
    for version in versions(1, 12) {
        let event = event_of(&Room::public(&version).build(message(BOB)));
        assert_eq!(verify(&version, &event, &["b"]), Ok(Verified::All), "version {version}");
    }
}

#[test]
fn changed_content_leaves_only_the_redacted_event() {
    for version_name in versions(1, 12) {
        let pdu = Room::public(&version_name).build(message(BOB));
        let mut event = event_of(&pdu);
        event["content"]["body"] = json!("changed");
        assert_eq!(verify(&version_name, &event, &["b"]), Ok(Verified::Signatures));
        // The redacted event is as good, and has the same id.
        let rules = version(&version_name);
        let redacted = redact_json(&event.to_string(), rules).unwrap();
        let redacted_event: Value = serde_json::from_str(&redacted).unwrap();
        assert_eq!(verify(&version_name, &redacted_event, &["b"]), Ok(Verified::Signatures));
        assert_eq!(Pdu::from_json(&redacted, None, rules).unwrap().event_id(), pdu.event_id());
    }
}

#[test]
fn changed_essentials_are_refused() {
    for version in versions(1, 12) {
        let mut event = event_of(&Room::public(&version).build(message(BOB)));
        event["depth"] = json!(999);
        assert!(verify(&version, &event, &["b"]).is_err(), "version {version}");
    }
}

#[test]
fn unknown_keys_do_not_count() {
    let event = event_of(&Room::public("12").build(message(BOB)));
    assert!(verify("12", &event, &["a"]).is_err());
}

#[test]
fn malformed_hash_counts_as_changed_content() {
    let mut room = Room::public("12");
    let pdu = room.build(message(BOB));
    let mut event = event_of(&pdu);
    event["hashes"]["sha256"] = json!("!!!");
    let json = event.to_string();
    let mut object = Object::parse(&json, ParseOptions::STRICT).unwrap();
    object.remove("signatures");
    add_signature(&mut object, pdu.rules(), pdu.sender().server_name(), &key());
    let event: Value = serde_json::from_str(&object.to_canonical_string()).unwrap();
    assert_eq!(verify("12", &event, &["b"]), Ok(Verified::Signatures));
}

#[test]
fn server_in_the_event_id_must_sign_before_version_3() {
    let mut event = event_of(&Room::public("2").build(message(BOB)));
    event["event_id"] = json!("$x:c");
    assert_eq!(signers("2", &event), ["b", "c"]);
    assert_eq!(signers("3", &event), ["b"]);
}

#[test]
fn authorising_server_must_sign_a_restricted_join() {
    let mut draft = member(DAN, DAN, "join");
    draft.content["join_authorised_via_users_server"] = json!(ALICE);
    for version_name in versions(1, 12) {
        let pdu = Room::public(&version_name).build(draft.clone());
        let is_needed = version_name.parse::<u8>().unwrap() >= 8;
        let only_sender = verify(&version_name, &event_of(&pdu), &["a", "d"]);
        assert_eq!(only_sender.is_err(), is_needed, "version {version_name}");
        let mut object = Object::parse(pdu.json(), ParseOptions::STRICT).unwrap();
        add_signature(&mut object, pdu.rules(), <&ServerName>::try_from("a").unwrap(), &key());
        let both: Value = serde_json::from_str(&object.to_canonical_string()).unwrap();
        assert_eq!(verify(&version_name, &both, &["a", "d"]), Ok(Verified::All), "version {version_name}");
    }
    // The field means something in member events only.
    let mut other = message(BOB);
    other.content["join_authorised_via_users_server"] = json!(ALICE);
    let event = event_of(&Room::public("12").build(other));
    assert_eq!(signers("12", &event), ["b"]);
}

#[test]
fn third_party_invite_needs_no_signature_of_its_sender() {
    let mut draft = member(BOB, DAN, "invite");
    draft.content["third_party_invite"] = json!({ "signed": { "mxid": DAN, "token": "t" } });
    for version_name in versions(3, 12) {
        let mut event = event_of(&Room::public(&version_name).build(draft.clone()));
        assert_eq!(signers(&version_name, &event), Vec::<String>::new());
        // With a wrong hash it is judged as what redaction leaves: up to version 10 that is an ordinary invite.
        event["content"]["displayname"] = json!("changed");
        let is_ordinary = version_name.parse::<u8>().unwrap() <= 10;
        assert_eq!(signers(&version_name, &event).is_empty(), !is_ordinary, "version {version_name}");
    }
    let event = event_of(&Room::public("12").build(Draft { ..member(BOB, DAN, "invite") }));
    assert_eq!(signers("12", &event), ["b"]);
}

#[test]
fn what_only_looks_like_a_third_party_invite_needs_the_senders_signature() {
    for version_name in versions(3, 12) {
        for invite in [
            json!(null),
            json!("x"),
            json!([]),
            json!({}),
            json!({ "signed": null }),
            json!({ "signed": "x" }),
            json!({ "signed": { "mxid": DAN } }),
            json!({ "signed": { "token": "t" } }),
            json!({ "signed": { "mxid": DAN, "token": 1 } }),
        ] {
            let mut draft = member(BOB, DAN, "invite");
            draft.content["third_party_invite"] = invite.clone();
            let mut event = event_of(&Room::public(&version_name).build(draft));
            assert_eq!(signers(&version_name, &event), ["b"], "version {version_name}: {invite}");
            event["content"]["displayname"] = json!("changed");
            assert_eq!(signers(&version_name, &event), ["b"], "version {version_name}: {invite}");
        }
    }
    let mut draft = member(BOB, DAN, "join");
    draft.content["third_party_invite"] = json!({ "signed": { "mxid": DAN, "token": "t" } });
    assert_eq!(signers("12", &event_of(&Room::public("12").build(draft))), ["b"]);
}

#[test]
fn malformed_signer_is_an_error() {
    let rules = version("12");
    for json in [
        r#"{"type":"m.room.message"}"#.to_owned(),
        r#"{"type":"m.room.message","sender":"x"}"#.to_owned(),
        json!({
            "type": "m.room.member", "sender": CAROL, "content": { "join_authorised_via_users_server": 1 },
        })
        .to_string(),
    ] {
        let object = Object::parse(&json, ParseOptions::STRICT).unwrap();
        assert!(matches!(required_signers(&object, rules), Err(VerifyError::Malformed(_))), "{json}");
    }
}

#[test]
fn event_signed_by_another_key_is_refused() {
    let pdu = Room::public("12").build(message(BOB));
    let mut object = Object::parse(pdu.json(), ParseOptions::STRICT).unwrap();
    object.remove("signatures");
    let other = SigningKey::from_seed("1", &[1; 32]).unwrap();
    add_signature(&mut object, pdu.rules(), pdu.sender().server_name(), &other);
    let event: Value = serde_json::from_str(&object.to_canonical_string()).unwrap();
    assert!(verify("12", &event, &["b"]).is_err());
}
