//! Prints what the steps of one message cost: `cargo run --release -p hs-room-rules --example event_cost`.
#![expect(clippy::print_stdout, reason = "printing is what this program is for")]

use std::{hint::black_box, time::Instant};

use hs_room_rules::{
    auth::{auth_types, check_dependent},
    build::{EventTemplate, build},
    canonical_json::{Object, ParseOptions},
    pdu::{Pdu, Stored},
    room_version::{RoomVersionRules, rules},
    sign::SigningKey,
    verify::verify_event,
};
use ruma::{RoomId, RoomVersionId, event_id, server_name, user_id};

const ROUNDS: u32 = 2_000;

fn measure<T>(what: &str, mut step: impl FnMut() -> T) {
    let start = Instant::now();
    for _ in 0..ROUNDS {
        black_box(step());
    }
    println!("{what:<44} {:>9.2?}", start.elapsed() / ROUNDS.max(1));
}

fn event(
    room_id: Option<&RoomId>,
    event_type: &str,
    state_key: Option<&str>,
    content: &str,
    rules: &'static RoomVersionRules,
    key: &SigningKey,
) -> Pdu {
    let template = EventTemplate {
        room_id,
        sender: user_id!("@alice:example.org"),
        event_type,
        state_key,
        content,
        redacts: None,
        origin_server_ts: 1_700_000_000_000,
        prev_events: if room_id.is_some() { vec![event_id!("$previous").to_owned()] } else { vec![] },
        auth_events: vec![event_id!("$one").to_owned(), event_id!("$two").to_owned()],
        depth: 5,
        sticky_ms: None,
        legacy: None,
    };
    build(template, rules, server_name!("example.org"), key).expect("the example is a valid event")
}

fn main() {
    let rules = rules(&RoomVersionId::V12).expect("version 12 is supported");
    let key = SigningKey::from_seed("1", &[1; 32]).expect("`1` is a valid key version");
    let create = event(None, "m.room.create", Some(""), r#"{"room_version":"12"}"#, rules, &key);
    let room_id = Some(create.room_id());
    let listed: Vec<String> = (0..100).map(|index| format!(r#""@user{index}:example.org":50"#)).collect();
    let levels = format!(r#"{{"users":{{{}}},"events":{{"m.room.name":50}}}}"#, listed.join(","));
    let levels = event(room_id, "m.room.power_levels", Some(""), &levels, rules, &key);
    let alice = user_id!("@alice:example.org");
    let join = r#"{"membership":"join","displayname":"Alice"}"#;
    let member = event(room_id, "m.room.member", Some(alice.as_str()), join, rules, &key);
    let content = r#"{"msgtype":"m.text","body":"Hello, how are you? This is an ordinary message."}"#;
    let message = event(room_id, "m.room.message", None, content, rules, &key);
    let state = |event_type: &str, _: &str| {
        Some(match event_type {
            "m.room.create" => &create,
            "m.room.member" => &member,
            _ => &levels,
        })
    };

    measure("build, hash and sign a message", || {
        event(room_id, "m.room.message", None, content, rules, &key)
    });
    measure("sign its text alone", || key.sign_text(message.json()));
    measure("select its auth events", || auth_types("m.room.message", alice, None, content, rules));
    measure("authorise it", || check_dependent(&message, state));
    measure("authorise a join", || check_dependent(&member, state));
    measure("read it from the store", || {
        let stored = Stored {
            json: message.json().into(),
            event_id: message.event_id().to_owned(),
            room_id: message.room_id().to_owned(),
            is_rejected: false,
        };
        Pdu::from_stored(stored, rules)
    });
    measure("read it from another server", || Pdu::from_json(message.json(), None, rules));
    let object =
        Object::parse(message.json(), ParseOptions::federation(rules)).expect("our own event is JSON");
    let keys = [("ed25519:1".to_owned(), key.public_key())].into();
    let keys = [("example.org".to_owned(), keys)].into();
    measure("verify its signature and hash", || verify_event(&object, &keys, rules));
}
