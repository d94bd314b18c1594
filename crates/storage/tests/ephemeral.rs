//! What the batching writer of receipts, typing and presence promises, over one and over several replicas.

#![expect(clippy::disallowed_methods, reason = "what a test spawns ends with it")]

use std::sync::Arc;

use futures_util::future::join_all;
use hs_model::{
    ids::{RoomNid, UserNid},
    stream::Position,
};
use hs_storage::{
    Store,
    ephemeral::{EphemeralWrite, EphemeralWriter, EphemeralWritten, ephemeral_writer},
    log::{LogEntry, LogKind},
    presence::{Presence, PresenceRow, PresenceUpdate, StatusMsgChange},
    receipts::{NewReceipt, ReceiptRow, ReceiptType},
    typing::{TypingChange, TypingUpdate},
};
use hs_testkit::TestDb;
use ruma::OwnedUserId;
use tokio::task::JoinHandle;

const ROOM: RoomNid = RoomNid(7);

/// A store that follows the log, and a writer on it.
struct Replica {
    store: Store,
    writer: EphemeralWriter,
    tasks: Vec<JoinHandle<()>>,
}

impl Replica {
    async fn start(db: &TestDb) -> Self {
        let store = db.store().await;
        store.tail().start(&store).await.expect("the log");
        let followed = store.clone();
        let (writer, worker) = ephemeral_writer(store.clone());
        let tasks = vec![
            tokio::spawn(async move { followed.tail().run(&followed).await }),
            tokio::spawn(worker.run(tokio_util::sync::CancellationToken::new())),
        ];
        Self { store, writer, tasks }
    }

    async fn write(&self, write: EphemeralWrite) -> EphemeralWritten {
        self.writer.write(write).await.expect("a valid write")
    }

    async fn user(&self, name: &str) -> (UserNid, OwnedUserId) {
        let user_id: OwnedUserId = format!("@{name}:test.example").try_into().expect("a valid id");
        (self.store.intern_user(&user_id).await.expect("a working database"), user_id)
    }

    async fn receipts(&self) -> Vec<ReceiptRow> {
        let mut reader = self.store.reader().await.expect("a connection");
        reader
            .list_receipts(&[ROOM], UserNid(0), Position::START, Position(i64::MAX))
            .await
            .expect("the receipts")
    }

    async fn presence(&self, user: UserNid) -> PresenceRow {
        let mut reader = self.store.reader().await.expect("a connection");
        reader.list_presence(&[user]).await.expect("the presence").remove(0)
    }

    async fn log(&self) -> Vec<LogEntry> {
        let mut reader = self.store.reader().await.expect("a connection");
        reader.list_log(Position::START, 10_000).await.expect("the log")
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

fn receipt((user, user_id): &(UserNid, OwnedUserId), event_position: Option<i64>) -> NewReceipt {
    let event_id = event_position.map_or("$unknown".to_owned(), |position| format!("$event{position}"));
    NewReceipt {
        room: ROOM,
        user: *user,
        user_id: user_id.clone(),
        receipt_type: ReceiptType::Read,
        thread_id: None,
        event_id: event_id.try_into().expect("a valid id"),
        event_position: event_position.map(Position),
        ts: 1,
    }
}

fn typing((user, user_id): &(UserNid, OwnedUserId), change: TypingChange) -> EphemeralWrite {
    EphemeralWrite::Typing(TypingUpdate { room: ROOM, user: *user, user_id: user_id.clone(), change })
}

fn presence((user, user_id): &(UserNid, OwnedUserId), replica: &str, hold: Presence) -> PresenceUpdate {
    PresenceUpdate {
        user: *user,
        user_id: user_id.clone(),
        replica: replica.into(),
        hold,
        status_msg: StatusMsgChange::Keep,
        last_active_at: 1,
        currently_active: hold == Presence::Online,
        expires_at: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_writes_of_two_replicas_take_positions_without_gaps() {
    const USERS: usize = 20;
    const ROUNDS: i64 = 10;
    let db = TestDb::new().await;
    let replicas = [Arc::new(Replica::start(&db).await), Arc::new(Replica::start(&db).await)];

    let mut writers = Vec::new();
    for i in 0..USERS {
        let replica = replicas[i % 2].clone();
        let user = replica.user(&format!("user{i}")).await;
        writers.push(tokio::spawn(async move {
            for round in 1..=ROUNDS {
                let hold = if round % 2 == 1 { Presence::Online } else { Presence::Offline };
                let change = if round % 2 == 1 { TypingChange::Until(round) } else { TypingChange::Stop };
                let writes = [
                    EphemeralWrite::Receipt(receipt(&user, Some(round))),
                    typing(&user, change),
                    EphemeralWrite::Presence(presence(&user, "replica", hold)),
                ];
                for written in join_all(writes.map(|write| replica.write(write))).await {
                    assert!(written.position.is_some(), "each of these is a change");
                }
            }
        }));
    }
    for writer in writers {
        writer.await.expect("a writer that ends well");
    }

    let log = replicas[0].log().await;
    let count = 3 * USERS as i64 * ROUNDS;
    assert_eq!(log.iter().map(|entry| entry.position.0).collect::<Vec<_>>(), (1..=count).collect::<Vec<_>>());
    let receipts = replicas[1].receipts().await;
    assert_eq!(receipts.len(), USERS);
    for row in receipts {
        let entry = &log[row.position.0 as usize - 1];
        assert_eq!(
            (entry.kind, entry.room, entry.user),
            (LogKind::Receipt, Some(ROOM), Some(row.receipt.user))
        );
        assert_eq!(row.receipt.event_position, Some(Position(ROUNDS)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receipt_never_moves_backwards_whichever_replica_writes_it() {
    let db = TestDb::new().await;
    let replicas = [Replica::start(&db).await, Replica::start(&db).await];
    let alice = replicas[0].user("alice").await;

    // 0, 7, 14, 1, 8, …: neither rising nor falling.
    let order = (0..20).map(|i| i * 7 % 20);
    let writes = order
        .enumerate()
        .map(|(i, at)| replicas[i % 2].write(EphemeralWrite::Receipt(receipt(&alice, Some(at)))));
    join_all(writes).await;
    let late = replicas[1].write(EphemeralWrite::Receipt(receipt(&alice, Some(5)))).await;

    assert_eq!(late.position, None);
    let rows = replicas[0].receipts().await;
    assert_eq!(rows.iter().map(|row| row.receipt.event_position).collect::<Vec<_>>(), [Some(Position(19))]);
}

#[tokio::test]
async fn receipt_on_an_unknown_event_never_replaces_one_on_a_known_event() {
    let db = TestDb::new().await;
    let replica = Replica::start(&db).await;
    let alice = replica.user("alice").await;

    let unknown = replica.write(EphemeralWrite::Receipt(receipt(&alice, None))).await;
    let repeated = replica.write(EphemeralWrite::Receipt(receipt(&alice, None))).await;
    let known = replica.write(EphemeralWrite::Receipt(receipt(&alice, Some(3)))).await;
    let unknown_again = replica.write(EphemeralWrite::Receipt(receipt(&alice, None))).await;

    assert_eq!(unknown.position, Some(Position(1)));
    assert_eq!(repeated.position, None);
    assert_eq!(known.position, Some(Position(2)));
    assert_eq!(unknown_again.position, None);
}

#[tokio::test]
async fn receipts_of_different_types_and_threads_stand_side_by_side() {
    let db = TestDb::new().await;
    let replica = Replica::start(&db).await;
    let alice = replica.user("alice").await;
    let public = receipt(&alice, Some(3));
    let in_thread = NewReceipt { thread_id: Some("$root".into()), ..receipt(&alice, Some(2)) };
    let private = NewReceipt { receipt_type: ReceiptType::ReadPrivate, ..receipt(&alice, Some(1)) };

    for receipt in [&public, &in_thread, &private] {
        replica.write(EphemeralWrite::Receipt(receipt.clone())).await;
    }

    let mut reader = replica.store.reader().await.expect("a connection");
    let own = reader.list_receipts_of_user(alice.0, &[ROOM]).await.expect("the receipts");
    assert_eq!(
        own.into_iter().map(|row| row.receipt).collect::<Vec<_>>(),
        [public.clone(), in_thread.clone(), private]
    );
    let of_others = replica.receipts().await;
    assert_eq!(of_others.into_iter().map(|row| row.receipt).collect::<Vec<_>>(), [public, in_thread]);
}

#[tokio::test]
async fn changes_of_the_same_thing_in_a_batch_become_one() {
    let db = TestDb::new().await;
    let store = db.store().await;
    let (writer, worker) = ephemeral_writer(store.clone());
    let user_id: OwnedUserId = "@alice:test.example".try_into().expect("a valid id");
    let alice = (store.intern_user(&user_id).await.expect("a working database"), user_id);

    let writes = [2, 9, 4].map(|at| {
        let (writer, receipt) = (writer.clone(), receipt(&alice, Some(at)));
        async move { writer.write(EphemeralWrite::Receipt(receipt)).await }
    });
    drop(writer);
    // All are in the queue when the worker starts, since what stands first is polled first.
    let (written, ()) =
        tokio::join!(join_all(writes), worker.run(tokio_util::sync::CancellationToken::new()));

    for written in written {
        assert_eq!(written.expect("a valid write").position, Some(Position(1)));
    }
    let mut reader = store.reader().await.expect("a connection");
    let own = reader.list_receipts_of_user(alice.0, &[ROOM]).await.expect("the receipts");
    assert_eq!(own[0].receipt.event_position, Some(Position(9)));
    assert_eq!(reader.find_log_head().await.expect("the head"), Position(1));
}

#[tokio::test]
async fn a_write_that_the_database_refuses_fails_alone() {
    let db = TestDb::new().await;
    let replica = Replica::start(&db).await;
    let (alice, bob) = (replica.user("alice").await, replica.user("bob").await);
    let bad = PresenceUpdate {
        status_msg: StatusMsgChange::Set("no text for \0 Postgres".to_owned()),
        ..presence(&alice, "replica", Presence::Online)
    };

    let (bad, receipt, typing) = tokio::join!(
        replica.writer.write(EphemeralWrite::Presence(bad)),
        replica.writer.write(EphemeralWrite::Receipt(receipt(&bob, Some(1)))),
        replica.writer.write(typing(&bob, TypingChange::Until(5))),
    );

    bad.expect_err("a string that Postgres cannot store");
    receipt.expect("a valid receipt");
    typing.expect("valid typing");
    assert_eq!(replica.log().await.len(), 2);
}

#[tokio::test]
async fn only_starting_and_stopping_to_type_takes_positions() {
    let db = TestDb::new().await;
    let replica = Replica::start(&db).await;
    let alice = replica.user("alice").await;
    let written = |position: Option<i64>, typing_until| EphemeralWritten {
        position: position.map(Position),
        typing_until,
    };

    let steps = [
        (TypingChange::Stop, written(None, None)),
        (TypingChange::Until(100), written(Some(1), Some(100))),
        (TypingChange::Until(200), written(None, Some(200))),
        (TypingChange::Expire(150), written(None, Some(200))),
        (TypingChange::Expire(200), written(Some(2), None)),
        (TypingChange::Expire(300), written(None, None)),
        (TypingChange::Until(400), written(Some(3), Some(400))),
        (TypingChange::Stop, written(Some(4), None)),
    ];
    for (change, expected) in steps {
        assert_eq!(replica.write(typing(&alice, change)).await, expected, "after {change:?}");
    }

    let mut reader = replica.store.reader().await.expect("a connection");
    assert_eq!(reader.list_typing().await.expect("typing"), []);
    assert_eq!(reader.list_typing_changes(Position(1)).await.expect("changes"), [(ROOM, Position(4))]);
}

#[tokio::test]
async fn presence_is_the_most_present_of_what_replicas_hold() {
    let db = TestDb::new().await;
    let replica = Replica::start(&db).await;
    let alice = replica.user("alice").await;
    let steps = [
        ("one", Presence::Offline, None, None),
        ("one", Presence::Unavailable, Some(1), Some(Presence::Unavailable)),
        ("two", Presence::Online, Some(2), Some(Presence::Online)),
        ("one", Presence::Offline, None, Some(Presence::Online)),
        ("one", Presence::Unavailable, None, Some(Presence::Online)),
        ("two", Presence::Offline, Some(3), Some(Presence::Unavailable)),
        ("one", Presence::Offline, Some(4), Some(Presence::Offline)),
    ];

    for (at, hold, position, expected) in steps {
        let written = replica.write(EphemeralWrite::Presence(presence(&alice, at, hold))).await;
        assert_eq!(written.position, position.map(Position), "{hold:?} at {at}");
        if let Some(expected) = expected {
            let row = replica.presence(alice.0).await;
            assert_eq!(row.presence, expected, "{hold:?} at {at}");
            assert_eq!(row.currently_active, expected == Presence::Online);
        }
    }
}

#[tokio::test]
async fn more_activity_is_written_without_a_position() {
    let db = TestDb::new().await;
    let replica = Replica::start(&db).await;
    let alice = replica.user("alice").await;
    let update = presence(&alice, "one", Presence::Online);
    replica.write(EphemeralWrite::Presence(update.clone())).await;

    let later = PresenceUpdate { last_active_at: 60_000, ..update.clone() };
    let written = replica.write(EphemeralWrite::Presence(later)).await;
    let earlier = replica.write(EphemeralWrite::Presence(update)).await;

    assert_eq!((written.position, earlier.position), (None, None));
    let row = replica.presence(alice.0).await;
    assert_eq!((row.last_active_at, row.position), (60_000, Position(1)));
}

#[tokio::test]
async fn status_message_stays_until_it_is_changed() {
    let db = TestDb::new().await;
    let replica = Replica::start(&db).await;
    let alice = replica.user("alice").await;
    let steps = [
        (StatusMsgChange::Set("Here".to_owned()), Presence::Online, Some("Here")),
        (StatusMsgChange::Keep, Presence::Offline, Some("Here")),
        (StatusMsgChange::Clear, Presence::Offline, None),
    ];

    for (change, hold, expected) in steps {
        let update = PresenceUpdate { status_msg: change.clone(), ..presence(&alice, "one", hold) };
        let written = replica.write(EphemeralWrite::Presence(update)).await;
        assert!(written.position.is_some(), "after {change:?}");
        assert_eq!(replica.presence(alice.0).await.status_msg.as_deref(), expected, "after {change:?}");
    }
}

#[tokio::test]
async fn holds_of_a_replica_without_lease_are_cleared_away() {
    let db = TestDb::new().await;
    let replica = Replica::start(&db).await;
    let (alice, bob) = (replica.user("alice").await, replica.user("bob").await);
    replica.write(EphemeralWrite::Presence(presence(&alice, "dead", Presence::Online))).await;
    replica.write(EphemeralWrite::Presence(presence(&bob, "alive", Presence::Online))).await;
    let mut txn = replica.store.begin().await.expect("a connection");
    let minute = std::time::Duration::from_mins(1);
    assert!(txn.acquire_lease("presence:alive", "alive", minute).await.expect("the lease"));

    assert_eq!(txn.delete_stale_presence_holds(0).await.expect("a valid statement"), 1);

    txn.commit().await.expect("a commit");
    let mut reader = replica.store.reader().await.expect("a connection");
    assert_eq!(reader.list_unsettled_presence().await.expect("the unsettled"), [alice]);
}
