//! What it costs to resolve a fork in a large room: `cargo run --release -p hs-rooms --example resolution_cost`, with
//! `KITH_TEST_DATABASE_URL` set. The room has 50,000 members, one of whom has changed their name 10,000 times, so that
//! their membership stands on a chain of auth events as long.

use std::{sync::Arc, time::Instant};

use hs_room_rules::{
    build::{EventTemplate, build},
    pdu::Pdu,
    room_version,
    sign::SigningKey,
};
use hs_rooms::{
    adopt::AdoptedRoom,
    receive::{Incoming, PduOutcome},
};
use hs_testkit::{TestDb, TestServer};
use ruma::{OwnedEventId, OwnedRoomId, RoomVersionId, ServerName, UserId};
use serde_json::{Value, json};

const MEMBERS: usize = 50_000;
const CHAIN: usize = 10_000;

struct Builder {
    room_id: OwnedRoomId,
    key: SigningKey,
    ts: i64,
}

struct New<'a> {
    sender: &'a str,
    event_type: &'a str,
    state_key: &'a str,
    content: Value,
    prev: &'a [&'a Pdu],
    auth: &'a [&'a Pdu],
}

impl Builder {
    fn event(&mut self, new: New<'_>) -> Arc<Pdu> {
        self.ts += 1;
        let rules = room_version::rules(&RoomVersionId::V11).expect("a supported version");
        let sender = UserId::parse(new.sender).expect("a user id");
        let content = new.content.to_string();
        let ids = |events: &[&Pdu]| -> Vec<OwnedEventId> {
            events.iter().map(|pdu| pdu.event_id().to_owned()).collect()
        };
        let template = EventTemplate {
            room_id: Some(&self.room_id),
            sender: &sender,
            event_type: new.event_type,
            state_key: Some(new.state_key),
            content: &content,
            redacts: None,
            origin_server_ts: self.ts,
            prev_events: ids(new.prev),
            auth_events: ids(new.auth),
            depth: 1 + new.prev.iter().map(|pdu| pdu.depth()).max().unwrap_or(0),
            legacy: None,
            sticky_ms: None,
        };
        let server: &ServerName = sender.server_name();
        Arc::new(build(template, rules, server, &self.key).expect("a valid event"))
    }
}

#[tokio::main]
async fn main() {
    let db = TestDb::new().await;
    let server = TestServer::start(&db).await;
    let mut builder = Builder {
        room_id: OwnedRoomId::try_from("!large:far.example").expect("a room id"),
        key: SigningKey::from_seed("1", &[3; 32]).expect("a valid key version"),
        ts: 1_000,
    };
    let ana = "@ana:far.example";
    let join = |user: &str| json!({ "membership": "join", "displayname": user });
    let create = builder.event(New {
        sender: ana,
        event_type: "m.room.create",
        state_key: "",
        content: json!({ "room_version": "11" }),
        prev: &[],
        auth: &[],
    });
    let mut own = builder.event(New {
        sender: ana,
        event_type: "m.room.member",
        state_key: ana,
        content: join(ana),
        prev: &[&create],
        auth: &[&create],
    });
    let levels = builder.event(New {
        sender: ana,
        event_type: "m.room.power_levels",
        state_key: "",
        content: json!({ "users": { ana: 100 }, "state_default": 0 }),
        prev: &[&own],
        auth: &[&create, &own],
    });
    let rules = builder.event(New {
        sender: ana,
        event_type: "m.room.join_rules",
        state_key: "",
        content: json!({ "join_rule": "public" }),
        prev: &[&levels],
        auth: &[&create, &own, &levels],
    });
    let mut auth_chain = vec![own.clone()];
    for i in 0..CHAIN {
        own = builder.event(New {
            sender: ana,
            event_type: "m.room.member",
            state_key: ana,
            content: json!({ "membership": "join", "displayname": i.to_string() }),
            prev: &[&rules],
            auth: &[&create, &own, &levels, &rules],
        });
        auth_chain.push(own.clone());
    }
    let mut state = vec![create.clone(), levels.clone(), rules.clone(), own.clone()];
    for i in 0..MEMBERS {
        let user = format!("@user{i}:far.example");
        state.push(builder.event(New {
            sender: &user,
            event_type: "m.room.member",
            state_key: &user,
            content: join(&user),
            prev: &[&rules],
            auth: &[&create, &levels, &rules],
        }));
    }
    let local = "@local:test.example";
    let event = builder.event(New {
        sender: local,
        event_type: "m.room.member",
        state_key: local,
        content: join(local),
        prev: &[&own],
        auth: &[&create, &levels, &rules],
    });

    let begun = Instant::now();
    let adopted = AdoptedRoom {
        room_id: builder.room_id.clone(),
        version: RoomVersionId::V11,
        state,
        auth_chain,
        event: event.clone(),
        partial: None,
    };
    let room = server.rooms.adopt(&adopted).await.expect("a consistent room");
    report("taking over the room (signatures aside)", begun);

    for round in ["first fork, nothing in memory", "second fork", "third fork"] {
        let topic = |builder: &mut Builder, text: &str, sender: &Arc<Pdu>| {
            builder.event(New {
                sender: ana,
                event_type: "m.room.topic",
                state_key: "",
                content: json!({ "topic": text }),
                prev: &[&event],
                auth: &[&create, &levels, sender],
            })
        };
        let one = topic(&mut builder, &format!("{round} 1"), &own);
        let two = topic(&mut builder, &format!("{round} 2"), &own);
        let begun = Instant::now();
        let incoming = [one, two].map(|pdu| Incoming { pdu, state_before: None }).to_vec();
        let outcomes = server.rooms.receive(&room, incoming).await.expect("a working database");
        assert!(outcomes.iter().all(|outcome| *outcome == PduOutcome::Accepted), "{outcomes:?}");
        report(round, begun);
    }
}

#[expect(clippy::print_stdout, reason = "figures are what this program is for")]
fn report(what: &str, begun: Instant) {
    println!("{what}: {:.1} ms", begun.elapsed().as_secs_f64() * 1000.0);
}
