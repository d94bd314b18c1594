//! Reading events of other servers.

use hs_room_rules::pdu::{FormatError, MAX_PDU_BYTES, Pdu, Stored};
use proptest::prelude::*;
use ruma::{events::TimelineEventType, state_res::Event as _};
use serde_json::{Value, json};

use crate::room::{ALICE, BOB, Draft, Room, message, state, version, versions};

fn event(room_version: &str) -> Value {
    let mut room = Room::public(room_version);
    serde_json::from_str(room.build(message(BOB)).json()).unwrap()
}

fn read(room_version: &str, event: &Value) -> Result<Pdu, FormatError> {
    Pdu::from_json(&event.to_string(), None, version(room_version))
}

/// The event as it comes back from a store.
fn stored(pdu: &Pdu) -> Pdu {
    let stored = Stored {
        json: pdu.json().into(),
        event_id: pdu.event_id().to_owned(),
        room_id: pdu.room_id().to_owned(),
        is_rejected: false,
    };
    Pdu::from_stored(stored, pdu.rules()).unwrap()
}

#[test]
fn event_is_read_in_every_version() {
    for version in versions(1, 12) {
        let mut room = Room::public(&version);
        let built = room.build(state(BOB, "m.room.topic", "", json!({ "topic": "\u{0}\" €" })));
        let mut with_unsigned: Value = serde_json::from_str(built.json()).unwrap();
        with_unsigned["unsigned"] = json!({ "age": 5 });
        let json = serde_json::to_string_pretty(&with_unsigned).unwrap();
        let pdu = Pdu::from_json(&json, None, room.rules).unwrap();
        assert_eq!(pdu.json(), built.json(), "version {version}");
        assert_eq!(pdu.event_id(), built.event_id());
        assert_eq!(pdu.room_id(), built.room_id());
        assert_eq!(pdu.sender(), BOB);
        assert_eq!((pdu.type_str(), pdu.state_key()), ("m.room.topic", Some("")));
        assert_eq!(*pdu.event_type(), TimelineEventType::RoomTopic);
        assert!(pdu.is_state());
        assert!(pdu.is_state_of("m.room.topic", ""));
        assert!(!pdu.is_state_of("m.room.topic", "x"));
        assert_eq!(pdu.prev_events(), built.prev_events());
        assert_eq!(pdu.auth_events(), built.auth_events());
        assert_eq!(pdu.depth(), built.depth());
        assert_eq!(pdu.origin_server_ts(), built.origin_server_ts());
        assert_eq!(pdu.content_as::<Value>().unwrap()["topic"], "\u{0}\" €");
        assert_eq!(pdu.to_raw_json().get(), pdu.json());
        assert!(!pdu.is_rejected());
        assert!(pdu.clone().with_rejected(true).is_rejected());
    }
}

#[test]
fn unsigned_is_not_kept_even_if_it_makes_the_event_too_large() {
    let mut event = event("11");
    event["unsigned"] = json!({ "junk": "x".repeat(MAX_PDU_BYTES) });
    assert!(!read("11", &event).unwrap().json().contains("junk"));
}

#[test]
fn missing_fields_are_refused() {
    for room_version in ["1", "11", "12"] {
        for field in [
            "type",
            "sender",
            "room_id",
            "content",
            "prev_events",
            "auth_events",
            "depth",
            "origin_server_ts",
            "hashes",
            "signatures",
        ] {
            let mut event = event(room_version);
            event.as_object_mut().unwrap().remove(field);
            let error = read(room_version, &event).unwrap_err();
            assert_eq!(error, FormatError::Missing(field), "version {room_version}");
        }
    }
    let mut event = event("1");
    event.as_object_mut().unwrap().remove("event_id");
    assert_eq!(read("1", &event).unwrap_err(), FormatError::Missing("event_id"));
}

#[test]
fn malformed_fields_are_refused() {
    let cases = [
        ("type", json!(1)),
        ("sender", json!("bob")),
        ("sender", json!(null)),
        ("room_id", json!("room")),
        ("room_id", json!([])),
        ("state_key", json!(1)),
        ("state_key", json!(null)),
        ("content", json!([])),
        ("content", json!("x")),
        ("prev_events", json!({})),
        ("prev_events", json!([1])),
        ("prev_events", json!(["no-sigil"])),
        ("auth_events", json!([["$x", {}]])),
        ("depth", json!(-1)),
        ("depth", json!("1")),
        ("origin_server_ts", json!("1")),
        ("hashes", json!([])),
        ("signatures", json!("x")),
    ];
    for (field, value) in cases {
        let mut event = event("11");
        event[field] = value.clone();
        assert_eq!(read("11", &event).unwrap_err(), FormatError::Malformed(field), "{value}");
    }
    for (field, value) in [
        ("type", json!("a\u{0}b")),
        ("state_key", json!("\u{0}")),
        ("sender", json!("@b\u{0}:b")),
        ("room_id", json!("!r\u{0}:a")),
        ("prev_events", json!(["$\u{0}"])),
        ("auth_events", json!([format!("${}", "x".repeat(255))])),
    ] {
        let mut event = event("11");
        event[field] = value.clone();
        assert_eq!(read("11", &event).unwrap_err(), FormatError::Malformed(field), "{value}");
    }
    // In versions 1 and 2 references are pairs.
    let mut event = event("1");
    event["prev_events"] = json!(["$x:a"]);
    assert_eq!(read("1", &event).unwrap_err(), FormatError::Malformed("prev_events"));
    event["prev_events"] = json!([[]]);
    assert_eq!(read("1", &event).unwrap_err(), FormatError::Malformed("prev_events"));
    event["prev_events"] = json!([["$x:a"]]);
    assert!(read("1", &event).is_ok());
    event["event_id"] = json!("$no-server");
    assert_eq!(read("1", &event).unwrap_err(), FormatError::Malformed("event_id"));
}

#[test]
fn limits_are_enforced() {
    let long = "x".repeat(256);
    for (field, value) in
        [("type", long.clone()), ("state_key", long.clone()), ("sender", format!("@{long}:a"))]
    {
        let mut event = event("11");
        event[field] = json!(value);
        assert_eq!(read("11", &event).unwrap_err(), FormatError::FieldTooLong(field));
    }
    let mut many = event("11");
    many["prev_events"] = json!(vec!["$x"; 21]);
    assert_eq!(read("11", &many).unwrap_err(), FormatError::TooManyEntries("prev_events"));
    let mut many = event("11");
    many["auth_events"] = json!(vec!["$x"; 11]);
    assert_eq!(read("11", &many).unwrap_err(), FormatError::TooManyEntries("auth_events"));

    let mut large = event("11");
    large["content"]["body"] = json!("");
    let room = MAX_PDU_BYTES - large.to_string().len();
    large["content"]["body"] = json!("x".repeat(room));
    assert_eq!(read("11", &large).unwrap().json().len(), MAX_PDU_BYTES);
    large["content"]["body"] = json!("x".repeat(room + 1));
    assert_eq!(read("11", &large).unwrap_err(), FormatError::TooLarge);
    let whitespace = format!("{}{}", event("11"), " ".repeat(10 * MAX_PDU_BYTES));
    let error = Pdu::from_json(&whitespace, None, version("11")).unwrap_err();
    assert_eq!(error, FormatError::TooLarge);
}

#[test]
fn numbers_are_strict_from_version_6_on() {
    for version in versions(3, 12) {
        let mut event = event(&version);
        event["content"]["ratio"] = json!(0.5);
        let is_strict = version.parse::<u8>().unwrap() >= 6;
        assert_eq!(read(&version, &event).is_err(), is_strict, "version {version}");
    }
}

#[test]
fn huge_numbers_of_old_rooms_are_brought_into_range() {
    let mut event = event("5");
    event["depth"] = json!(u64::MAX);
    event["origin_server_ts"] = json!(i64::MIN);
    let pdu = read("5", &event).unwrap();
    assert_eq!(pdu.depth(), (1 << 53) - 1);
    assert_eq!(pdu.origin_server_ts(), -((1 << 53) - 1));
    assert!(pdu.json().contains("18446744073709551615"));
    let stored = Stored {
        json: pdu.json().into(),
        event_id: pdu.event_id().to_owned(),
        room_id: pdu.room_id().to_owned(),
        is_rejected: true,
    };
    let stored = Pdu::from_stored(stored, version("5")).unwrap();
    assert_eq!((stored.depth(), stored.origin_server_ts()), (pdu.depth(), pdu.origin_server_ts()));
    assert!(stored.is_rejected());
    event["depth"] = json!(1.5);
    assert_eq!(read("5", &event).unwrap_err(), FormatError::Malformed("depth"));
}

/// An event with `json` in place of one of its fields.
fn with_raw(room_version: &str, field: &str, json: &str) -> String {
    let mut event = event(room_version);
    event[field] = json!("HERE");
    event.to_string().replace("\"HERE\"", json)
}

#[test]
fn integers_of_old_rooms_may_have_any_length() {
    for (sign, end) in [("", (1 << 53) - 1), ("-", -((1 << 53) - 1))] {
        let json = with_raw("5", "origin_server_ts", &format!("{sign}{}", "9".repeat(400)));
        let pdu = Pdu::from_json(&json, None, version("5")).unwrap();
        assert_eq!(pdu.origin_server_ts(), end);
        assert_eq!(stored(&pdu).origin_server_ts(), end);
    }
}

#[test]
fn create_event_among_auth_events_is_refused_in_version_12() {
    let mut event = event("12");
    let create = event["room_id"].as_str().unwrap().replacen('!', "$", 1);
    event["auth_events"].as_array_mut().unwrap().push(json!(create));
    assert_eq!(read("12", &event).unwrap_err(), FormatError::CreateInAuthEvents);
}

#[test]
fn repeated_keys_are_read_as_other_servers_do() {
    let event = event("11").to_string();
    let repeated = event.replacen('{', r#"{"depth":1,"#, 1);
    let pdu = Pdu::from_json(&repeated, None, version("11")).unwrap();
    assert_eq!(pdu.json().matches("\"depth\"").count(), 1);
}

#[test]
fn ruma_sees_a_create_event_of_version_12_without_room() {
    let room = Room::public("12");
    let create = room.find("m.room.create", "").unwrap();
    let room_of = |pdu: &Pdu| pdu.room_id().to_owned();
    assert!(ruma::state_res::Event::room_id(&*create).is_none());
    let member = room.find("m.room.member", ALICE).unwrap();
    assert_eq!(ruma::state_res::Event::room_id(&*member), Some(&*room_of(&create)));
    assert_eq!(ruma::state_res::Event::content(&*member).get(), member.content_str());
    assert!(!member.rejected());
}

#[test]
fn redaction_target_is_read_where_the_version_has_it() {
    for version in versions(1, 12) {
        let mut event = event(&version);
        event["type"] = json!("m.room.redaction");
        event["redacts"] = json!("$top");
        event["content"]["redacts"] = json!("$content");
        let is_new = version.parse::<u8>().unwrap() >= 11;
        let expected = if is_new { "$content" } else { "$top" };
        let pdu = read(&version, &event).unwrap();
        assert_eq!(pdu.redacts().unwrap().as_str(), expected, "version {version}");
        // Something else there is no target, and no harm.
        event["redacts"] = json!(1);
        event["content"]["redacts"] = json!(["x"]);
        assert!(read(&version, &event).unwrap().redacts().is_none());
        for no_id in ["$\u{0}".to_owned(), format!("${}", "x".repeat(255))] {
            event["redacts"] = json!(no_id);
            event["content"]["redacts"] = json!(no_id);
            assert!(read(&version, &event).unwrap().redacts().is_none());
        }
        event["type"] = json!("m.room.message");
        event["redacts"] = json!("$top");
        assert!(read(&version, &event).unwrap().redacts().is_none());
    }
}

#[test]
fn facts_are_read_from_their_events_only() {
    let mut room = Room::public("12");
    let create = room.find("m.room.create", "").unwrap();
    assert!(create.create_facts().unwrap().is_federated);
    assert!(create.membership().is_err());
    let member = room.find("m.room.member", BOB).unwrap();
    assert_eq!(member.membership().unwrap().as_str(), "join");
    assert!(member.create_facts().is_err());
    let levels = room.find("m.room.power_levels", "").unwrap();
    assert_eq!(levels.power_levels().unwrap().invite, Some(50));
    assert!(room.build(Draft { event_type: "m.x", ..message(BOB) }).power_levels().is_err());
}

proptest! {
    #![proptest_config(crate::room::cases(500))]

    #[test]
    fn garbage_is_refused_without_panic(text in any::<String>(), room_version in 1..=12_u8) {
        prop_assert!(Pdu::from_json(&text, None, version(&room_version.to_string())).is_err());
    }

    /// Whatever is put in place of one field, what is accepted can be stored and read again.
    #[test]
    fn damaged_event_is_refused_or_consistent(
        room_version in prop::sample::select(vec!["1", "5", "10", "12"]),
        field in prop::sample::select(vec![
            "type", "sender", "room_id", "content", "prev_events", "auth_events", "depth", "state_key",
            "origin_server_ts", "hashes", "signatures", "event_id", "redacts", "extra",
        ]),
        value in prop::sample::select(vec![
            json!(null), json!(true), json!(0), json!(-1), json!(u64::MAX), json!(0.5), json!(""), json!("$x:a"),
            json!([]), json!({}), json!([["$x:a", {}]]), json!(["$x:a"]), json!("m.room.create"),
            json!("m.room.redaction"), json!("@a:b"), json!({ "redacts": "$x" }), json!("\u{0}"),
            json!("$\u{0}:a"), json!(["$\u{0}"]), json!({ "redacts": "$\u{0}" }),
        ]),
    ) {
        let mut event = event(room_version);
        event[field] = value;
        if let Ok(pdu) = read(room_version, &event) {
            prop_assert_eq!(format!("{:?}", stored(&pdu)), format!("{pdu:?}"));
        }
    }

    /// The same for numbers that no machine has, wherever they stand.
    #[test]
    fn event_with_strange_numbers_is_refused_or_consistent(
        room_version in prop::sample::select(vec!["1", "5", "10", "12"]),
        field in prop::sample::select(vec![
            "content", "depth", "origin_server_ts", "hashes", "signatures", "redacts", "extra", "prev_events",
        ]),
        number in "-?[1-9][0-9]{0,3}|-?[1-9][0-9]{300,400}|-?[0-9]\\.[0-9]{1,400}|-?[1-9]e[+-]?[0-9]{1,4}",
        shape in prop::sample::select(vec!["#", "[#]", "{\"x\":#}", "{\"redacts\":#}", "[[\"$x:a\",{\"x\":#}]]"]),
    ) {
        let json = with_raw(room_version, field, &shape.replace('#', &number));
        if let Ok(pdu) = Pdu::from_json(&json, None, version(room_version)) {
            prop_assert_eq!(format!("{:?}", stored(&pdu)), format!("{pdu:?}"));
        }
    }
}
