//! Building events: hashes, signatures, ids, limits.

use std::collections::HashMap;

use hs_room_rules::{
    build::{
        BuildError, EventTemplate, LegacyParts, MAX_BUILT_BYTES, add_signature, build, hash_and_sign,
        legacy_event_id,
    },
    canonical_json::{Object, ParseError, ParseOptions},
    event_id::reference_hash,
    pdu::{Pdu, Stored},
};
use proptest::prelude::*;
use ruma::{
    CanonicalJsonObject, OwnedEventId, event_id, room_id, server_name,
    signatures::{Ed25519KeyPair, hash_and_sign_event, reference_hash as ruma_reference_hash},
    user_id,
};
use serde_json::{Value, json};

use crate::{
    room::{ALICE, Draft, Room, key, message, state, user, version, versions},
    sign::spec_key,
};

/// <https://spec.matrix.org/v1.19/appendices/#event-signing>
#[test]
fn vectors_of_the_specification_come_out() {
    let minimal = r#"{
        "room_id": "!x:domain", "sender": "@a:domain", "origin": "domain", "origin_server_ts": 1000000,
        "signatures": {}, "hashes": {}, "type": "X", "content": {}, "prev_events": [], "auth_events": [],
        "depth": 3, "unsigned": { "age_ts": 1000000 }
    }"#;
    let redactable = r#"{
        "content": { "body": "Here is the message content" }, "event_id": "$0:domain", "origin": "domain",
        "origin_server_ts": 1000000, "type": "m.room.message", "room_id": "!r:domain",
        "sender": "@u:domain", "signatures": {}, "unsigned": { "age_ts": 1000000 }
    }"#;
    let cases = [
        (
            minimal,
            "5jM4wQpv6lnBo7CLIghJuHdW+s2CMBJPUOGOC89ncos",
            "KxwGjPSDEtvnFgU00fwFz+l6d2pJM6XBIaMEn81SXPTRl16AqLAYqfIReFGZlHi5KLjAWbOoMszkwsQma+lYAg",
        ),
        (
            redactable,
            "onLKD1bGljeBWQhWZ1kaP9SorVmRQNdN5aM2JYU2n/g",
            "Wm+VzmOUOz08Ds+0NTWb1d4CZrVsJSikkeRxh6aCcUwu6pNC78FunoD7KNWzqFn241eYHYMGCA5McEiVPdhzBA",
        ),
    ];
    for (json, hash, signature) in cases {
        let mut event = Object::parse(json, ParseOptions::STRICT).unwrap();
        hash_and_sign(&mut event, version("1"), server_name!("domain"), &spec_key());
        let event: Value = serde_json::from_str(&event.to_canonical_string()).unwrap();
        assert_eq!(event["hashes"]["sha256"], hash);
        assert_eq!(event["signatures"]["domain"]["ed25519:1"], signature);
    }
}

#[test]
fn second_signature_stands_beside_the_first() {
    let mut room = Room::public("12");
    let pdu = room.build(message(ALICE));
    let mut event = Object::parse(pdu.json(), ParseOptions::STRICT).unwrap();
    add_signature(&mut event, pdu.rules(), server_name!("other"), &spec_key());
    let signed = Pdu::from_object(event, None, pdu.rules()).unwrap();
    assert_eq!(signed.event_id(), pdu.event_id());
    let json: Value = serde_json::from_str(signed.json()).unwrap();
    assert_eq!(json["signatures"].as_object().unwrap().len(), 2);
}

/// A key pair of ruma with the secret of [`key`].
fn ruma_key() -> Ed25519KeyPair {
    // The head of a PKCS#8 document for an ed25519 key.
    let mut der = vec![48, 46, 2, 1, 0, 48, 5, 6, 3, 43, 101, 112, 4, 34, 4, 32];
    der.extend([7; 32]);
    Ed25519KeyPair::from_der(&der, "1".to_owned()).unwrap()
}

/// Checks an event that we built against what ruma makes of the same fields.
fn check_against_ruma(pdu: &Pdu) -> Result<(), TestCaseError> {
    let object: CanonicalJsonObject = serde_json::from_str(pdu.json()).unwrap();
    let mut bare = object.clone();
    bare.remove("hashes");
    bare.remove("signatures");
    let server_name = pdu.sender().server_name().as_str();
    hash_and_sign_event(server_name, &ruma_key(), &mut bare, &pdu.rules().redaction).unwrap();
    prop_assert_eq!(serde_json::to_string(&bare).unwrap(), pdu.json());
    let hash = ruma_reference_hash(&object, pdu.rules()).unwrap();
    if pdu.rules().event_format.require_event_id {
        let ours = Object::parse(pdu.json(), ParseOptions::STRICT).unwrap();
        prop_assert_eq!(reference_hash(&ours, pdu.rules()), hash);
    } else {
        prop_assert_eq!(pdu.event_id().as_str(), format!("${hash}"));
    }
    Ok(())
}

/// Checks that an event is the same when it is read again.
fn check_reading(pdu: &Pdu) -> Result<(), TestCaseError> {
    let received = Pdu::from_json(pdu.json(), None, pdu.rules()).unwrap();
    let stored = Stored {
        json: pdu.json().into(),
        event_id: pdu.event_id().to_owned(),
        room_id: pdu.room_id().to_owned(),
        is_rejected: false,
    };
    let stored = Pdu::from_stored(stored, pdu.rules()).unwrap();
    prop_assert_eq!(format!("{received:?}"), format!("{pdu:?}"));
    prop_assert_eq!(format!("{stored:?}"), format!("{pdu:?}"));
    Ok(())
}

fn content() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<String>().prop_map(|text| json!(text)),
        (-1000..1000_i64).prop_map(|number| json!(number)),
        Just(json!({ "signed": { "a": 1 }, "b": [] })),
    ];
    let key = prop_oneof![
        Just("membership".to_owned()),
        Just("body".to_owned()),
        Just("third_party_invite".to_owned()),
        Just("creator".to_owned()),
        any::<String>(),
    ];
    prop::collection::btree_map(key, leaf, 0..5).prop_map(|content| json!(content))
}

proptest! {
    #![proptest_config(crate::room::cases(200))]

    #[test]
    fn built_event_is_that_of_ruma_and_survives_reading(
        room_version in 1..=12_u8,
        event_type in prop::sample::select(vec!["m.room.message", "m.room.topic", "m.room.redaction", "ø\"\n"]),
        state_key in prop::option::of(any::<String>()),
        content in content(),
        redacts in any::<bool>(),
    ) {
        prop_assume!(state_key.as_ref().is_none_or(|key| key.len() < 255));
        let mut room = Room::public(&room_version.to_string());
        let target: Option<OwnedEventId> =
            (redacts && event_type == "m.room.redaction").then(|| event_id!("$target:a").to_owned());
        let draft = Draft {
            event_type,
            state_key: state_key.as_deref(),
            content,
            redacts: target.clone(),
            ..message(ALICE)
        };
        let pdu = room.build(draft);
        prop_assert_eq!(pdu.redacts().map(ToOwned::to_owned), target);
        check_against_ruma(&pdu)?;
        check_reading(&pdu)?;
    }
}

#[test]
fn events_of_every_version_have_its_form() {
    for version in versions(1, 12) {
        let mut room = Room::public(&version);
        let create = room.find("m.room.create", "").unwrap();
        let pdu = room.build(state(ALICE, "m.room.topic", "", json!({ "topic": "x" })));
        let json: Value = serde_json::from_str(pdu.json()).unwrap();
        let number: u8 = version.parse().unwrap();
        assert_eq!(json.get("event_id").is_some(), number <= 2, "version {version}");
        assert_eq!(json["auth_events"][0].is_array(), number <= 2, "version {version}");
        assert_eq!(json["auth_events"].as_array().unwrap().len(), if number < 12 { 3 } else { 2 });
        let create: Value = serde_json::from_str(create.json()).unwrap();
        assert_eq!(create.get("room_id").is_some(), number <= 11, "version {version}");
        assert!(json.get("unsigned").is_none());
        let id = pdu.event_id().as_str();
        match number {
            1 | 2 => assert!(id.ends_with(":a"), "{id}"),
            3 => assert!(!id.contains(['-', '_']), "{id}"),
            _ => assert!(!id.contains(['+', '/']), "{id}"),
        }
    }
}

#[test]
fn reference_of_version_1_carries_the_hash() {
    let mut room = Room::public("1");
    let pdu = room.build(message(ALICE));
    let json: Value = serde_json::from_str(pdu.json()).unwrap();
    let hash = json["prev_events"][0][1]["sha256"].as_str().unwrap();
    assert_eq!(hash.len(), 43);
    assert_eq!(json["prev_events"][0][0], pdu.prev_events()[0].as_str());
}

#[test]
fn redaction_names_its_target_where_the_version_wants_it() {
    for version in versions(1, 12) {
        let mut room = Room::public(&version);
        let target = event_id!("$target").to_owned();
        let draft = Draft {
            event_type: "m.room.redaction",
            content: json!({ "reason": "spam" }),
            redacts: Some(target.clone()),
            ..message(ALICE)
        };
        let pdu = room.build(draft);
        let json: Value = serde_json::from_str(pdu.json()).unwrap();
        let is_new = version.parse::<u8>().unwrap() >= 11;
        assert_eq!(json["content"].get("redacts").is_some(), is_new, "version {version}");
        assert_eq!(json.get("redacts").is_some(), !is_new, "version {version}");
        assert_eq!(pdu.redacts(), Some(&*target));
    }
}

fn template(content: &str) -> EventTemplate<'_> {
    EventTemplate {
        room_id: Some(room_id!("!room:a")),
        sender: user_id!("@alice:a"),
        event_type: "m.room.message",
        state_key: None,
        content,
        redacts: None,
        origin_server_ts: 1,
        prev_events: vec![],
        auth_events: vec![],
        depth: 1,
        sticky_ms: None,
        legacy: None,
    }
}

fn try_build(template: EventTemplate<'_>, room_version: &str) -> Result<Pdu, BuildError> {
    build(template, version(room_version), server_name!("a"), &key())
}

#[test]
fn content_that_the_version_forbids_is_refused() {
    let cases = [
        (r#"{"a":1.5}"#, ParseError::Float),
        (r#"{"a":1e3}"#, ParseError::Float),
        (r#"{"a":9007199254740992}"#, ParseError::IntegerOutOfRange),
    ];
    for (content, error) in cases {
        for version in versions(6, 12) {
            let refused = try_build(template(content), &version).unwrap_err();
            assert_eq!(refused, BuildError::Content(error.clone()), "version {version}: {content}");
        }
        for version in versions(3, 5) {
            assert!(try_build(template(content), &version).is_ok(), "version {version}: {content}");
        }
    }
    for content in ["[]", "\"x\"", "", r#"{"a":1,"a":2}"#, r#"{"a":"\uD800"}"#] {
        assert!(matches!(try_build(template(content), "12"), Err(BuildError::Content(_))), "{content}");
    }
}

#[test]
fn event_of_the_largest_size_is_built_and_no_larger_one() {
    let with_body = |length: usize| format!(r#"{{"body":"{}"}}"#, "x".repeat(length));
    let empty = try_build(template(&with_body(0)), "11").unwrap().json().len();
    let largest = with_body(MAX_BUILT_BYTES - empty);
    assert_eq!(try_build(template(&largest), "11").unwrap().json().len(), MAX_BUILT_BYTES);
    let too_large = with_body(MAX_BUILT_BYTES - empty + 1);
    assert_eq!(try_build(template(&too_large), "11").unwrap_err(), BuildError::TooLarge);
    let enormous = with_body(1_000_000);
    assert_eq!(try_build(template(&enormous), "11").unwrap_err(), BuildError::TooLarge);
    // What counts is the canonical form.
    let spaced = format!("{{{}}}", " ".repeat(100_000));
    assert!(try_build(template(&spaced), "11").is_ok());
}

#[test]
fn fields_may_have_255_bytes_and_no_nul() {
    let fits = "x".repeat(255);
    let too_long = "é".repeat(128);
    let build_with = |change: &dyn Fn(&mut EventTemplate<'_>)| {
        let mut template = template("{}");
        change(&mut template);
        try_build(template, "11").map(drop)
    };
    let error = |field| Err(BuildError::FieldTooLong(field));
    // The closures cannot borrow into the template, hence the leaks of a few hundred bytes.
    let leak = |text: &str| -> &'static str { Box::leak(text.to_owned().into_boxed_str()) };
    let (fits, too_long) = (leak(&fits), leak(&too_long));
    assert_eq!(build_with(&|template| template.state_key = Some(fits)), Ok(()));
    assert_eq!(build_with(&|template| template.state_key = Some(too_long)), error("state_key"));
    assert_eq!(build_with(&|template| template.event_type = fits), Ok(()));
    assert_eq!(build_with(&|template| template.event_type = too_long), error("type"));
    let nul = |field| Err(BuildError::NulInField(field));
    assert_eq!(build_with(&|template| template.state_key = Some("\0")), nul("state_key"));
    assert_eq!(build_with(&|template| template.event_type = "a\0"), nul("type"));
    let room: &'static str = leak(&format!("!{}:a", "r".repeat(253)));
    let sender: &'static str = leak(&format!("@{}:a", "u".repeat(253)));
    assert_eq!(
        build_with(&|template| template.room_id = Some(<&ruma::RoomId>::try_from(room).unwrap())),
        error("room_id")
    );
    assert_eq!(build_with(&|template| template.sender = user(sender)), error("sender"));
}

#[test]
fn template_must_fit_the_version() {
    let misuse = |field| Err(BuildError::Misuse(field));
    let of = |template, version: &str| try_build(template, version).map(drop);
    assert_eq!(of(template("{}"), "1"), misuse("event_id"));
    let legacy = LegacyParts {
        event_id: legacy_event_id("x", server_name!("a")).unwrap(),
        reference_hashes: HashMap::new(),
    };
    assert_eq!(of(EventTemplate { legacy: Some(legacy.clone()), ..template("{}") }, "1"), Ok(()));
    assert_eq!(of(EventTemplate { legacy: Some(legacy), ..template("{}") }, "3"), misuse("event_id"));
    assert_eq!(of(EventTemplate { room_id: None, ..template("{}") }, "12"), misuse("room_id"));
    let create = EventTemplate { event_type: "m.room.create", ..template("{}") };
    assert_eq!(of(create.clone(), "12"), misuse("room_id"));
    assert_eq!(of(EventTemplate { room_id: None, ..create }, "12"), Ok(()));
    let many = vec![event_id!("$x").to_owned(); 21];
    assert_eq!(
        of(EventTemplate { prev_events: many.clone(), ..template("{}") }, "12"),
        misuse("prev_events")
    );
    assert_eq!(of(EventTemplate { auth_events: many, ..template("{}") }, "12"), misuse("auth_events"));
    assert_eq!(of(EventTemplate { depth: -1, ..template("{}") }, "12"), misuse("depth"));
    let redacts = EventTemplate { redacts: Some(event_id!("$x")), ..template("{}") };
    assert_eq!(of(redacts, "12"), misuse("redacts"));
}

#[test]
fn depth_stops_at_the_largest_integer() {
    let pdu = try_build(EventTemplate { depth: i64::MAX, ..template("{}") }, "12").unwrap();
    assert_eq!(pdu.depth(), (1 << 53) - 1);
    assert!(pdu.json().contains("\"depth\":9007199254740991,"));
}

#[test]
fn sticky_event_is_what_ruma_makes_of_it() {
    for version in versions(3, 12) {
        let pdu = try_build(EventTemplate { sticky_ms: Some(5), ..template("{}") }, &version).unwrap();

        assert!(pdu.json().contains(r#","msc4354_sticky":{"duration_ms":5},"#), "{}", pdu.json());
        check_against_ruma(&pdu).unwrap();
        check_reading(&pdu).unwrap();
    }
}
