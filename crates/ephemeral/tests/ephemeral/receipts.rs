//! How far people have read.

use hs_ephemeral::ReceiptError;
use hs_model::{clock::TestClock, stream::Position};
use hs_storage::receipts::ReceiptType;
use hs_testkit::TestDb;
use ruma::OwnedEventId;

use crate::replica::{Replica, START_MS};

fn assert_invalid_thread(outcome: Result<(), ReceiptError>, what: &str) {
    assert!(matches!(outcome, Err(ReceiptError::InvalidThread(_))), "{what}: {outcome:?}");
}

#[tokio::test]
async fn both_replicas_tell_the_same_receipts() {
    let (db, clock) = (TestDb::new().await, TestClock::at(START_MS));
    let [one, two] = [Replica::start(&db, &clock, "one").await, Replica::start(&db, &clock, "two").await];
    let (alice, bob) = (one.user("alice").await, one.user("bob").await);
    let room = one.room(&[&alice, &bob]).await;
    let events = [one.send(&room, &alice).await, one.send(&room, &alice).await];
    let since = one.catch_up().await;

    one.read(room.nid, &alice, &events[0], None).await.expect("a valid receipt");
    two.read(room.nid, &bob, &events[1], None).await.expect("a valid receipt");

    // A replica that starts now has it all from the database.
    let three = Replica::start(&db, &clock, "three").await;
    for replica in [&one, &two, &three] {
        replica.catch_up().await;
        let told = replica.receipts_after(room.nid, &alice, since).await;
        assert_eq!(told, events, "at {}", replica.name);
        let later = replica.receipts_after(room.nid, &alice, Position(since.0 + 1)).await;
        assert_eq!(later, events[1..], "at {}", replica.name);
    }
}

#[tokio::test]
async fn older_event_does_not_move_a_receipt_back() {
    let (db, clock) = (TestDb::new().await, TestClock::at(START_MS));
    let one = Replica::start(&db, &clock, "one").await;
    let alice = one.user("alice").await;
    let room = one.room(&[&alice]).await;
    let (first, second) = (one.send(&room, &alice).await, one.send(&room, &alice).await);

    one.read(room.nid, &alice, &second, None).await.expect("a valid receipt");
    let head = one.catch_up().await;
    one.read(room.nid, &alice, &first, None).await.expect("no error, though nothing changes");

    assert_eq!(one.catch_up().await, head);
    assert_eq!(one.receipts_after(room.nid, &alice, Position::START).await, [second]);
}

#[tokio::test]
async fn private_receipt_is_told_to_its_owner_only() {
    let (db, clock) = (TestDb::new().await, TestClock::at(START_MS));
    let one = Replica::start(&db, &clock, "one").await;
    let (alice, bob) = (one.user("alice").await, one.user("bob").await);
    let room = one.room(&[&alice, &bob]).await;
    let event = one.send(&room, &alice).await;
    let since = one.catch_up().await;

    one.read_as(ReceiptType::ReadPrivate, room.nid, &alice, &event, None).await.expect("a valid receipt");

    for since in [since, Position::START] {
        assert_eq!(one.receipts_after(room.nid, &alice, since).await, std::slice::from_ref(&event));
        assert!(one.receipts_after(room.nid, &bob, since).await.is_empty());
    }
}

#[tokio::test]
async fn receipt_of_a_thread_must_be_on_an_event_of_it() {
    let (db, clock) = (TestDb::new().await, TestClock::at(START_MS));
    let one = Replica::start(&db, &clock, "one").await;
    let alice = one.user("alice").await;
    let room = one.room(&[&alice]).await;
    let (root, other) = (one.send(&room, &alice).await, one.send(&room, &alice).await);
    let reply = one.relate(&room, &alice, "m.thread", &root).await;
    let reaction = one.relate(&room, &alice, "m.annotation", &reply).await;
    let reaction_to_root = one.relate(&room, &alice, "m.annotation", &root).await;

    for (event, thread) in [
        (&reply, root.as_str()),
        (&reaction, root.as_str()),
        (&root, root.as_str()),
        (&reaction_to_root, root.as_str()),
        (&root, "main"),
        (&reaction_to_root, "main"),
        (&other, "main"),
    ] {
        let outcome = one.read(room.nid, &alice, event, Some(thread)).await;
        assert!(outcome.is_ok(), "{event} in {thread}: {outcome:?}");
    }
    for (event, thread) in [
        (&reply, "main"),
        (&reaction, "main"),
        (&other, root.as_str()),
        (&other, other.as_str()),
        (&reply, reply.as_str()),
        (&other, ""),
        (&other, "not an event"),
    ] {
        assert_invalid_thread(one.read(room.nid, &alice, event, Some(thread)).await, thread);
    }
}

#[tokio::test]
async fn receipts_on_unknown_events_and_those_of_other_rooms_stand_nowhere() {
    let (db, clock) = (TestDb::new().await, TestClock::at(START_MS));
    let one = Replica::start(&db, &clock, "one").await;
    let alice = one.user("alice").await;
    let (room, other_room) = (one.room(&[&alice]).await, one.room(&[&alice]).await);
    let event = one.send(&room, &alice).await;
    let elsewhere = one.send(&other_room, &alice).await;
    let unknown: OwnedEventId = "$unknown".try_into().expect("a valid id");

    one.read(room.nid, &alice, &unknown, None).await.expect("no error");
    assert_eq!(one.receipts_after(room.nid, &alice, Position::START).await, [unknown.clone()]);

    one.read(room.nid, &alice, &event, None).await.expect("a valid receipt");
    for event in [&unknown, &elsewhere] {
        one.read(room.nid, &alice, event, None).await.expect("no error");
    }
    assert_eq!(one.receipts_after(room.nid, &alice, Position::START).await, [event]);

    assert_invalid_thread(
        one.read(room.nid, &alice, &elsewhere, Some(elsewhere.as_str())).await,
        "other room",
    );
}

#[tokio::test]
async fn fully_read_marker_moves_forward_only() {
    let (db, clock) = (TestDb::new().await, TestClock::at(START_MS));
    let one = Replica::start(&db, &clock, "one").await;
    let alice = one.user("alice").await;
    let room = one.room(&[&alice]).await;
    let (first, second) = (one.send(&room, &alice).await, one.send(&room, &alice).await);
    let elsewhere = one.send(&one.room(&[&alice]).await, &alice).await;

    for event in [&first, &second, &first] {
        one.ephemeral.set_fully_read(room.nid, alice.nid, event).await.expect("an event of the room");
    }
    let refused = one.ephemeral.set_fully_read(room.nid, alice.nid, &elsewhere).await;

    assert!(matches!(refused, Err(ReceiptError::UnknownEvent)), "{refused:?}");
    let mut reader = one.server.store.reader().await.expect("a connection");
    let marker = reader.find_account_data(alice.nid, Some(room.nid), "m.fully_read").await;
    assert_eq!(marker.expect("a working database"), Some(format!(r#"{{"event_id":"{second}"}}"#)));
}
