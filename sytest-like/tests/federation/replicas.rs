//! Two replicas of one server among others.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use tokio::sync::watch;

use super::ground::{hears, public_room};
use sytest_like::{FakeServer, Server, User, json, path};

struct Replicated {
    first: Server,
    second: Server,
    fake: FakeServer,
    /// Alice on either replica.
    alice: [User; 2],
    room_id: String,
}

async fn start() -> Replicated {
    let (mut replicas, fake) = tokio::join!(Server::federated().start_replicas(2), FakeServer::start());
    let (second, first) = (replicas.remove(1), replicas.remove(0));
    let alice = first.register("alice").await;
    let room_id = public_room(&alice, "12").await;
    let alice = [alice.clone(), second.as_seen_here(&alice)];
    Replicated { first, second, fake, alice, room_id }
}

/// Where the second replica is reached by other servers.
fn address_of(replica: &Server) -> String {
    let port = replica.name().rsplit(':').next().expect("the name has a port");
    let address = replica.base_url().trim_start_matches("http://");
    let host = address.split(':').next().expect("the address has a host");
    format!("{host}:{port}")
}

/// However much both replicas have to say, another server gets one transaction at a time, each event once, and those of each
/// writer in order.
/// spec: server-server-api/#transactions
/// covers: PUT /_matrix/federation/v1/send/{txnId}
/// not on synapse: it has no equal replicas
#[tokio::test]
async fn one_transaction_is_under_way_to_a_server() {
    const EACH: usize = 30;
    let stage = start().await;
    let bob = stage.fake.user("bob");
    stage.fake.join(stage.first.name(), &stage.room_id, &bob).await;
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counted, honest) = ((now.clone(), most.clone()), stage.fake.clone());
    // Nothing is answered before all is said, so that a second transaction would meet the first.
    let (all_is_said, gate) = watch::channel(false);
    stage.fake.answer_async("send", move |received| {
        let ((now, most), honest, mut gate) = (counted.clone(), honest.clone(), gate.clone());
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            gate.wait_for(|is_open| *is_open).await.expect("the case goes on until all has come");
            let reply = honest.honest_reply(&received).await;
            now.fetch_sub(1, Ordering::SeqCst);
            Some(reply)
        }
    });

    let said = join_all(stage.alice.iter().map(|alice| async {
        let mut said = Vec::new();
        for number in 0..EACH {
            said.push(alice.send_text(&stage.room_id, &format!("{number}")).await);
        }
        said
    }))
    .await;
    all_is_said.send_replace(true);
    for id in said.iter().flatten() {
        stage.fake.wait_for_event(&stage.room_id, id).await;
    }

    assert_eq!(most.load(Ordering::SeqCst), 1, "transactions at the same time");
    let room = stage.fake.room(&stage.room_id);
    let mut places: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let arrived = stage.fake.pdus_received();
    for (at, pdu) in arrived.iter().enumerate() {
        let id = sytest_like::fake::event_id(pdu, room.version());
        places.entry(id).or_default().push(at);
    }
    for said in &said {
        let at: Vec<_> = said.iter().map(|id| places[id].clone()).collect();
        assert!(at.iter().all(|places| places.len() == 1), "an event came twice: {at:?}");
        assert!(at.is_sorted(), "{at:?}");
    }
}

/// What other servers send may reach either replica: both take it, one event once, and users of both hear it.
/// spec: server-server-api/#transactions
/// covers: PUT /_matrix/federation/v1/send/{txnId}
/// not on synapse: it has no equal replicas
#[tokio::test]
async fn either_replica_takes_what_others_send() {
    let stage = start().await;
    let bob = stage.fake.user("bob");
    let room = stage.fake.join(stage.first.name(), &stage.room_id, &bob).await;
    let doors = [stage.first.name().to_owned(), address_of(&stage.second)];
    let mut said = Vec::new();
    for number in 0..10 {
        let event = room.message(&bob, &format!("{number}")).build();
        room.add(&event);
        let body = json!({"origin": stage.fake.name(), "origin_server_ts": sytest_like::fake::now_ms(),
            "pdus": [event.json], "edus": []});
        let path = path!("/_matrix/federation/v1/send/{}", format!("txn-{number}"));
        // The same transaction through both doors at once: whichever is slower knows the event.
        let sent = join_all(doors.iter().map(|door| {
            let request = stage.fake.put(door, &path, body.clone()).destination(stage.first.name());
            async move { request.await.expect_ok() }
        }))
        .await;
        for answer in sent {
            assert_eq!(answer["pdus"][&event.id], json!({}), "{answer}");
        }
        said.push(event.id);
    }

    for alice in &stage.alice {
        let heard = hears(alice, &stage.room_id, said.last().expect("something was said")).await;
        let heard: Vec<&str> = heard.iter().filter_map(|event| event["event_id"].as_str()).collect();
        let ours: Vec<&str> = heard.into_iter().filter(|id| said.iter().any(|said| said == id)).collect();
        assert_eq!(ours, said, "each once, and in order");
    }
}

/// When the replica dies that was sending, the other one goes on, and nothing is lost.
/// spec: server-server-api/#transactions
/// covers: PUT /_matrix/federation/v1/send/{txnId}
/// not on synapse: it has no equal replicas
#[tokio::test]
async fn the_other_replica_goes_on_sending() {
    let stage = start().await;
    let bob = stage.fake.user("bob");
    stage.fake.join(stage.first.name(), &stage.room_id, &bob).await;
    let mut said = Vec::new();
    for number in 0..10 {
        said.push(stage.alice[number % 2].send_text(&stage.room_id, &format!("{number}")).await);
    }
    stage.second.expect_log("");
    stage.first.kill9();
    for number in 10..20 {
        said.push(stage.alice[1].send_text(&stage.room_id, &format!("{number}")).await);
    }

    // The scripted server asks the dead replica for keys that it does not know yet; it knows them all by now.
    for id in &said {
        stage.fake.wait_for_event(&stage.room_id, id).await;
    }
}
