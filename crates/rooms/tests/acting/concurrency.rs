//! Many who write at once.

use std::collections::HashSet;

use futures_util::future::join_all;
use hs_model::{ids::EventNid, stream::Position};
use hs_storage::Reader;
use ruma::RoomId;

use crate::stage::{Stage, say};

/// The room's events, oldest first, and whether each names just the one before.
async fn is_linear(reader: &mut Reader, room_id: &RoomId) -> (Vec<EventNid>, bool) {
    let row = reader.find_room(room_id).await.expect("a working database").expect("the room");
    let events = reader
        .list_recent_events(row.nid, Position::START, Position(i64::MAX), 10_000)
        .await
        .expect("a working database");
    let mut linear = true;
    for pair in events.windows(2) {
        let references =
            reader.find_references(pair[1]).await.expect("a working database").expect("an event");
        linear &= references.prev == [pair[0]];
    }
    (events, linear)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_senders_keep_the_graph_linear() {
    let stage = Stage::new().await;
    let alice = stage.person("alice").await;
    let room_id = stage.public_room(&alice).await;
    let before = stage.head(&room_id).await;

    let bodies: Vec<String> = (0..150).map(|i| i.to_string()).collect();
    let sent = join_all(bodies.iter().map(|body| say(&stage.actions, &room_id, &alice, body))).await;

    let ids: HashSet<_> = sent.into_iter().map(|sent| sent.expect("an allowed message")).collect();
    assert_eq!(ids.len(), 150);
    let mut reader = stage.server.store.reader().await.expect("a connection");
    let (events, linear) = is_linear(&mut reader, &room_id).await;
    assert!(linear);
    let head = stage.head(&room_id).await;
    assert_eq!(head.depth, before.depth + 150);
    assert_eq!(head.forward_extremities, [*events.last().expect("events")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_that_write_to_one_room_build_on_each_other() {
    let stage = Stage::new().await;
    let (_other_server, other) = stage.replica().await;
    let (alice, bob) = (stage.person("alice").await, stage.person("bob").await);
    let room_id = stage.public_room(&alice).await;
    other.join((&*room_id).into(), &bob, None).await.expect("a public room");

    let senders = (0..60).map(|i| {
        let (actions, sender) = if i % 2 == 0 { (&stage.actions, &alice) } else { (&other, &bob) };
        let room_id = &room_id;
        async move { say(actions, room_id, sender, &i.to_string()).await.expect("an allowed message") }
    });
    let ids: HashSet<_> = join_all(senders).await.into_iter().collect();

    assert_eq!(ids.len(), 60);
    let mut reader = stage.server.store.reader().await.expect("a connection");
    let (_, linear) = is_linear(&mut reader, &room_id).await;
    assert!(linear);
    assert_eq!(stage.head(&room_id).await.forward_extremities.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_replica_allows_the_other_does_not_refuse() {
    let stage = Stage::new().await;
    let (_other_server, other) = stage.replica().await;
    let (alice, bob) = (stage.person("alice").await, stage.person("bob").await);
    let room_id = stage.public_room(&alice).await;
    // The other replica has the room in memory as it is before the join.
    say(&other, &room_id, &alice, "here").await.expect("an allowed message");

    stage.actions.join((&*room_id).into(), &bob, None).await.expect("a public room");
    let sent = say(&other, &room_id, &bob, "me too").await;

    assert!(sent.is_ok(), "{sent:?}");
}
