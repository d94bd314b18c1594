//! Events of other servers: the checks on receipt, forks, and gaps.

use std::sync::Arc;

use hs_model::records::Outcome;
use hs_room_rules::pdu::Pdu;
use hs_rooms::{
    create::{CreateRoom, Preset},
    receive::{Incoming, PduOutcome},
};
use ruma::{OwnedRoomId, RoomId, server_name};
use serde_json::{Value, json};

use crate::{
    elsewhere::Draft,
    stage::{Stage, VERSIONS, object, say},
};

const BOB: &str = "@bob:other.example";

/// A public room in which bob, of the other server, may set the topic; and bob's join.
async fn stage(version: &ruma::RoomVersionId) -> (Stage, hs_rooms::Sender, OwnedRoomId, Arc<Pdu>) {
    let stage = Stage::new().await;
    let alice = stage.person("alice").await;
    let mut users = serde_json::Map::from_iter([(BOB.to_owned(), json!(50))]);
    if version.as_str() != "12" {
        users.insert(alice.user_id.to_string(), json!(100));
    }
    let parameters = CreateRoom {
        preset: Preset::Public,
        version: Some(version.clone()),
        power_levels: object(&json!({ "users": Value::Object(users) })),
        ..CreateRoom::default()
    };
    let room_id = stage.room(&alice, parameters).await;
    let join = stage.bob_joins(&room_id).await;
    (stage, alice, room_id, join)
}

fn topic(text: &str) -> Value {
    json!({ "topic": text })
}

async fn position_and_outcome(stage: &Stage, pdu: &Pdu) -> Option<(bool, Outcome)> {
    let mut reader = stage.server.store.reader().await.expect("a connection");
    let nodes = reader.find_graph_nodes(&[pdu.event_id()]).await.expect("a working database");
    nodes.get(pdu.event_id()).map(|node| (node.position.is_some(), node.outcome))
}

#[tokio::test]
async fn members_of_other_servers_join_and_talk_in_every_version() {
    for version in VERSIONS {
        let (stage, alice, room_id, join) = stage(&version).await;
        let hello = stage.foreign(&room_id, Draft::message("hello").after(&[&join])).await;

        assert_eq!(stage.receive(&room_id, &[&hello]).await, [PduOutcome::Accepted], "version {version}");
        say(&stage.actions, &room_id, &alice, "hello bob").await.expect("alice is in the room");

        let room = stage
            .server
            .rooms
            .find(&room_id)
            .await
            .expect("the database answers")
            .expect("the room is known");
        assert!(room.has_server(server_name!("other.example")), "version {version}");
        assert_eq!(stage.ends(&room_id).await.len(), 1, "version {version}");
        let again = stage.receive(&room_id, &[&hello]).await;
        assert_eq!(again, [PduOutcome::Known(Outcome::Accepted)], "version {version}");
    }
}

#[tokio::test]
async fn strangers_are_rejected_and_change_nothing() {
    let (stage, _, room_id, join) = stage(&ruma::RoomVersionId::V11).await;
    let draft = Draft::state("m.room.topic", "", topic("mine")).by("@eve:other.example").after(&[&join]);
    let stranger = stage.foreign(&room_id, draft).await;

    let outcome = stage.receive(&room_id, &[&stranger]).await;

    assert!(matches!(outcome[..], [PduOutcome::Rejected(_)]), "{outcome:?}");
    assert_eq!(stage.state(&room_id, "m.room.topic", "").await, Value::Null);
    assert_eq!(stage.ends(&room_id).await[0].event_id, join.event_id());
    assert_eq!(position_and_outcome(&stage, &stranger).await, Some((true, Outcome::Rejected)));
}

#[tokio::test]
async fn what_the_sender_could_say_before_a_ban_is_soft_failed_after_it() {
    let (stage, alice, room_id, join) = stage(&ruma::RoomVersionId::V11).await;
    let late = stage.foreign(&room_id, Draft::message("late").after(&[&join])).await;
    let bob = ruma::user_id!("@bob:other.example");
    let options = hs_rooms::membership::MembershipOptions { target: bob, reason: None };
    stage.actions.ban(&room_id, &alice, options).await.expect("alice may");
    let ends = stage.ends(&room_id).await;

    let outcome = stage.receive(&room_id, &[&late]).await;

    assert!(matches!(outcome[..], [PduOutcome::SoftFailed(_)]), "{outcome:?}");
    assert_eq!(stage.ends(&room_id).await[0].event_id, ends[0].event_id);
}

#[tokio::test]
async fn forks_resolve_to_the_same_state_in_either_order() {
    for version in VERSIONS {
        let mut found = Vec::new();
        for order in [[0, 1], [1, 0]] {
            let (stage, _, room_id, join) = stage(&version).await;
            let one = stage.foreign(&room_id, state_after("one", 5_000, &join)).await;
            let two = stage.foreign(&room_id, state_after("two", 4_000, &join)).await;
            let events = [&one, &two];

            for i in order {
                let outcome = stage.receive(&room_id, &[events[i]]).await;
                assert_eq!(outcome, [PduOutcome::Accepted], "version {version}");
            }

            assert_eq!(stage.ends(&room_id).await.len(), 2, "version {version}");
            found.push(stage.state(&room_id, "m.room.topic", "").await);
            // Memory and database agree, and so does whoever reads the room anew.
            let (replica, _) = stage.replica().await;
            let room =
                replica.rooms.find(&room_id).await.expect("the database answers").expect("the room is known");
            let fresh = room.read().state_event("m.room.topic", "");
            let known = stage.state_event(&room_id, "m.room.topic", "").await.map(|event| event.nid);
            assert_eq!(fresh, known, "version {version}");
        }
        assert_eq!(found[0], found[1], "version {version}");
        if version.as_str() != "1" {
            assert_eq!(found[0], topic("one"), "the later one wins in version {version}");
        }
    }
}

fn state_after<'a>(text: &str, ts: i64, event: &Arc<Pdu>) -> Draft<'a> {
    Draft::state("m.room.topic", "", topic(text)).after(&[event]).at(ts)
}

#[tokio::test]
async fn next_event_of_ours_unites_the_fork() {
    let (stage, alice, room_id, join) = stage(&ruma::RoomVersionId::V12).await;
    let one = stage.foreign(&room_id, state_after("one", 5_000, &join)).await;
    let two = stage.foreign(&room_id, state_after("two", 4_000, &join)).await;
    stage.receive(&room_id, &[&one, &two]).await;

    say(&stage.actions, &room_id, &alice, "both").await.expect("alice is in the room");

    let ends = stage.ends(&room_id).await;
    assert_eq!(ends.len(), 1);
    let room =
        stage.server.rooms.find(&room_id).await.expect("the database answers").expect("the room is known");
    let state = stage.server.rooms.find_state_after(&ends[0]).await.expect("the database answers");
    let current = room.read().state_event("m.room.topic", "").expect("a topic");
    assert!(state.values().any(|event| *event == current));
    assert_eq!(stage.state(&room_id, "m.room.topic", "").await, topic("one"));
}

#[tokio::test]
async fn gap_is_told_and_the_state_of_another_server_fills_it() {
    let (stage, _, room_id, join) = stage(&ruma::RoomVersionId::V11).await;
    let lost = stage.foreign(&room_id, Draft::message("lost").after(&[&join])).await;
    let found = stage.foreign(&room_id, Draft::message("found").after(&[&lost])).await;

    let missing = PduOutcome::MissingPrev(vec![lost.event_id().to_owned()]);
    assert_eq!(stage.receive(&room_id, &[&found]).await, [missing]);
    assert_eq!(position_and_outcome(&stage, &found).await, None);

    let outcome = receive_with_state(&stage, &room_id, &found).await;
    assert_eq!(outcome, [PduOutcome::Accepted]);
    // What was missing comes late: it is no new end of the graph.
    let ends = stage.ends(&room_id).await.len();
    assert_eq!(stage.receive(&room_id, &[&lost]).await, [PduOutcome::Accepted]);
    assert_eq!(stage.ends(&room_id).await.len(), ends);
}

async fn receive_with_state(stage: &Stage, room_id: &RoomId, pdu: &Arc<Pdu>) -> Vec<PduOutcome> {
    let room =
        stage.server.rooms.find(room_id).await.expect("the database answers").expect("the room is known");
    let nids: Vec<_> = room.read().state.values().flat_map(|slots| slots.values().copied()).collect();
    let state = stage.server.store.list_events(&nids).await.expect("the database answers");
    let state = state.iter().map(|event| event.event_id.clone()).collect();
    let incoming = Incoming { pdu: pdu.clone(), state_before: Some(state) };
    stage.server.rooms.receive(&room, vec![incoming]).await.expect("it is taken")
}

#[tokio::test]
async fn event_with_unknown_auth_events_is_not_judged() {
    let (stage, _, room_id, join) = stage(&ruma::RoomVersionId::V11).await;
    let unknown = ruma::event_id!("$unknownunknownunknownunknownunknownunknowna");
    let draft = Draft::message("who says so?").after(&[&join]);
    let event = stage.foreign_in(&room_id, draft, Some(vec![unknown.to_owned()])).await;

    let outcome = stage.receive(&room_id, &[&event]).await;

    assert_eq!(outcome, [PduOutcome::MissingAuth(vec![unknown.to_owned()])]);
}

#[tokio::test]
async fn second_beginning_is_dropped() {
    let (stage, _, room_id, _) = stage(&ruma::RoomVersionId::V11).await;
    let draft = Draft::state("m.room.create", "", json!({ "room_version": "11" })).after(&[]);
    let create = stage.foreign(&room_id, draft).await;

    let outcome = stage.receive(&room_id, &[&create]).await;

    assert!(matches!(outcome[..], [PduOutcome::Dropped(_)]), "{outcome:?}");
}
