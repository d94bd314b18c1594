//! What the log promises: no gaps, and positions that become visible in order, however many write at once.

#![expect(clippy::disallowed_methods, reason = "what a test spawns ends with it")]

use std::{
    future::ready,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use futures_util::future::join_all;
use hs_model::stream::Position;
use hs_rooms::{Intent, Room, Sender, WriteRequest, new_room::NewRoomRequest};
use hs_storage::{
    Store,
    log::{LogEntry, LogKind},
    tail::LogApplier,
};
use hs_testkit::{TestDb, TestServer};
use ruma::{RoomVersionId, UserId};
use tokio_util::task::AbortOnDropHandle;

const WRITERS: usize = 4;
const WRITES: usize = 25;

async fn sender(server: &TestServer, name: &str) -> Sender {
    let user_id = UserId::parse(format!("@{name}:test.example")).expect("a valid id");
    Sender { nid: server.store.intern_user(&user_id).await.expect("a working database"), user_id }
}

async fn room_of(server: &TestServer, sender: &Sender) -> Arc<Room> {
    let member = format!(r#"{{"membership":"join","displayname":"{}"}}"#, sender.user_id);
    let request = NewRoomRequest {
        creator: sender.clone(),
        version: RoomVersionId::V12,
        intents: vec![
            Intent::state("m.room.create", "", r#"{"room_version":"12"}"#),
            Intent::state("m.room.member", sender.user_id.as_str(), member),
        ],
        is_published: false,
        alias: None,
    };
    server.rooms.create(request).await.expect("a valid room")
}

async fn write_account_data(store: Store) {
    let user_id = UserId::parse("@data:test.example").expect("a valid id");
    let user = store.intern_user(&user_id).await.expect("a working database");
    for i in 0..WRITES {
        let mut txn = store.begin().await.expect("a connection");
        txn.upsert_account_data(user, None, &format!("t{i}"), "{}").await.expect("a valid row");
        txn.commit().await.expect("a commit");
    }
}

async fn write_messages(server: Arc<TestServer>, room: Arc<Room>, sender: Sender) {
    for i in 0..WRITES {
        let intent = Intent::message("m.room.message", format!(r#"{{"body":"{i}"}}"#));
        server
            .rooms
            .write(&room, WriteRequest::one(sender.clone(), intent))
            .await
            .expect("an allowed message");
    }
}

/// Reads the log over and over: what was read once must be all there ever is up to there.
async fn watch(store: Store, is_over: Arc<AtomicBool>) -> Vec<i64> {
    let mut seen = Vec::new();
    loop {
        let was_over = is_over.load(Ordering::SeqCst);
        let after = Position(seen.last().copied().unwrap_or_default());
        let entries =
            store.reader().await.expect("a connection").list_log(after, 1000).await.expect("the log");
        seen.extend(entries.iter().map(|entry| entry.position.0));
        if was_over && entries.is_empty() {
            return seen;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn positions_appear_in_order_and_without_gaps_over_two_replicas() {
    let db = TestDb::new().await;
    let replicas = [Arc::new(TestServer::start(&db).await), Arc::new(TestServer::start(&db).await)];
    let alice = sender(&replicas[0], "alice").await;
    let room = room_of(&replicas[0], &alice).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let watcher = tokio::spawn(watch(db.store().await, is_over.clone()));

    let mut writers = Vec::new();
    for i in 0..WRITERS {
        let replica = replicas[i % 2].clone();
        let room = replica.rooms.find(&room.room_id).await.expect("the database").expect("the room");
        writers.push(tokio::spawn(write_messages(replica.clone(), room, alice.clone())));
        writers.push(tokio::spawn(write_account_data(replica.store.clone())));
    }
    for writer in writers {
        writer.await.expect("a writer that ends well");
    }
    is_over.store(true, Ordering::SeqCst);

    let seen = watcher.await.expect("a watcher that ends well");
    assert_eq!(seen, (1..=seen.len() as i64).collect::<Vec<_>>());
    assert_eq!(seen.len(), 2 + 2 * WRITERS * WRITES);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_replicas_apply_what_either_writes() {
    let db = TestDb::new().await;
    let replicas = [Arc::new(TestServer::start(&db).await), Arc::new(TestServer::start(&db).await)];
    let alice = sender(&replicas[0], "alice").await;
    let room = room_of(&replicas[0], &alice).await;
    let there = replicas[1].rooms.find(&room.room_id).await.expect("the database").expect("the room");

    write_messages(replicas[0].clone(), room.clone(), alice.clone()).await;
    write_messages(replicas[1].clone(), there.clone(), alice.clone()).await;

    let head =
        db.store().await.reader().await.expect("a connection").find_log_head().await.expect("the head");
    for (replica, room) in replicas.iter().zip([&room, &there]) {
        replica.store.tail().wait_applied(head).await;
        let state = room.read();
        assert_eq!(state.last_position, head);
        let newest = state.newest().expect("an event");
        assert_eq!(newest.depth, 2 + 2 * WRITES as i64, "the graph is a line");
    }
}

/// Of how many entries this process knew that they are its own.
#[derive(Debug, Default)]
struct Origins {
    own: AtomicUsize,
    others: AtomicUsize,
}

impl LogApplier for Origins {
    fn apply<'a>(&'a self, entries: &'a [LogEntry]) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        let own = entries.iter().filter(|entry| entry.is_local).count();
        self.own.fetch_add(own, Ordering::SeqCst);
        self.others.fetch_add(entries.len() - own, Ordering::SeqCst);
        Box::pin(ready(()))
    }
}

async fn following(db: &TestDb) -> (Store, Arc<Origins>, AbortOnDropHandle<()>) {
    let (store, origins) = (db.store().await, Arc::new(Origins::default()));
    store.tail().register(origins.clone());
    store.tail().start(&store).await.expect("the log");
    let followed = store.clone();
    let task = tokio::spawn(async move { followed.tail().run(&followed).await });
    (store, origins, AbortOnDropHandle::new(task))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_process_commits_is_handed_over_and_not_read_again() {
    let db = TestDb::new().await;
    let (writer, at_writer, _task) = following(&db).await;
    let (other, at_other, _other_task) = following(&db).await;

    join_all((0..WRITERS).map(|_| write_account_data(writer.clone()))).await;

    let all = WRITERS * WRITES;
    other.tail().wait_applied(Position(all as i64)).await;
    assert_eq!(at_writer.own.load(Ordering::SeqCst), all);
    assert_eq!(at_writer.others.load(Ordering::SeqCst), 0);
    assert_eq!(at_other.others.load(Ordering::SeqCst), all);
}

#[tokio::test]
async fn a_transaction_that_is_dropped_leaves_no_trace() {
    let db = TestDb::new().await;
    let store = db.store().await;
    let user_id = UserId::parse("@alice:test.example").expect("a valid id");
    let user = store.intern_user(&user_id).await.expect("a working database");

    let mut dropped = store.begin().await.expect("a connection");
    dropped.log(LogKind::Profile, None, Some(user)).await.expect("a position");
    drop(dropped);
    let mut kept = store.begin().await.expect("a connection");
    let position = kept.log(LogKind::Profile, None, Some(user)).await.expect("a position");
    kept.commit().await.expect("a commit");

    assert_eq!(position, Position(1));
    let entries =
        store.reader().await.expect("a connection").list_log(Position::START, 10).await.expect("the log");
    assert_eq!(entries.len(), 1);
}

#[tokio::test]
async fn unused_state_groups_are_collected_and_used_ones_stay() {
    let db = TestDb::new().await;
    let server = TestServer::start(&db).await;
    let alice = sender(&server, "alice").await;
    let room = room_of(&server, &alice).await;
    let topic = Intent::state("m.room.topic", "", r#"{"topic":"a"}"#);
    server.rooms.write(&room, WriteRequest::one(alice.clone(), topic)).await.expect("an allowed event");

    let mut txn = server.store.begin().await.expect("a connection");
    let collected = txn.delete_unused_state_groups(room.nid).await.expect("the collection");
    txn.commit().await.expect("a commit");
    assert_eq!(collected, 0);

    let message = Intent::state("m.room.topic", "", r#"{"topic":"b"}"#);
    server.rooms.write(&room, WriteRequest::one(alice, message)).await.expect("the state is whole");
}
