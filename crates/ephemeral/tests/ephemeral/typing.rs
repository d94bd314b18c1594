//! Who is typing.

use std::time::Duration;

use hs_model::{clock::TestClock, ids::RoomNid};
use hs_rooms::{Intent, Sender};
use hs_testkit::TestDb;

use crate::replica::{Replica, START_MS};

const TIMEOUT: Duration = Duration::from_secs(30);

async fn types(replica: &Replica, room: RoomNid, user: &Sender, timeout: Option<Duration>) {
    replica.ephemeral.set_typing(room, user.nid, &user.user_id, timeout).await.expect("a working database");
}

/// The position and the local parts of those who type.
fn typists(replica: &Replica, room: RoomNid) -> Option<(i64, Vec<String>)> {
    let now = replica.ephemeral.typing(room)?;
    Some((now.changed.0, now.user_ids.iter().map(|id| id.localpart().to_owned()).collect()))
}

async fn expire(replica: &Replica) {
    replica.ephemeral.expire_typing().await.expect("a working database");
}

#[tokio::test]
async fn both_replicas_tell_who_types_and_who_has_stopped() {
    let (db, clock) = (TestDb::new().await, TestClock::at(START_MS));
    let [one, two] = [Replica::start(&db, &clock, "one").await, Replica::start(&db, &clock, "two").await];
    let (alice, bob) = (one.user("alice").await, one.user("bob").await);
    let room = RoomNid(5);

    types(&one, room, &alice, Some(TIMEOUT)).await;
    types(&two, room, &bob, Some(TIMEOUT)).await;
    types(&two, room, &alice, None).await;
    types(&one, room, &bob, Some(TIMEOUT)).await;

    for replica in [&one, &two] {
        let head = replica.catch_up().await;
        assert_eq!(head.0, 3, "going on takes no position");
        assert_eq!(typists(replica, room), Some((3, vec!["bob".to_owned()])), "at {}", replica.name);
    }
}

#[tokio::test]
async fn replica_that_was_told_ends_typing_when_its_time_is_up() {
    let (db, clock) = (TestDb::new().await, TestClock::at(START_MS));
    let [one, two] = [Replica::start(&db, &clock, "one").await, Replica::start(&db, &clock, "two").await];
    let alice = one.user("alice").await;
    let room = RoomNid(5);
    types(&one, room, &alice, Some(TIMEOUT)).await;
    two.catch_up().await;

    clock.advance_ms(29_999);
    expire(&one).await;
    assert_eq!(typists(&one, room), Some((1, vec!["alice".to_owned()])));

    clock.advance_ms(1);
    expire(&two).await;
    assert_eq!(typists(&two, room), Some((1, vec!["alice".to_owned()])), "this is for the other one to do");
    expire(&one).await;

    for replica in [&one, &two] {
        replica.catch_up().await;
        assert_eq!(typists(replica, room), Some((2, vec![])), "at {}", replica.name);
    }
}

#[tokio::test]
async fn another_replica_ends_typing_when_the_one_that_was_told_has_died() {
    let (db, clock) = (TestDb::new().await, TestClock::at(START_MS));
    let two = Replica::start(&db, &clock, "two").await;
    let one = Replica::start(&db, &clock, "one").await;
    let alice = one.user("alice").await;
    let room = RoomNid(5);
    types(&one, room, &alice, Some(TIMEOUT)).await;
    two.catch_up().await;
    drop(one);

    clock.advance_ms(60_000);
    expire(&two).await;

    assert_eq!(typists(&two, room), Some((2, vec![])));
}

#[tokio::test]
async fn typing_that_goes_on_at_another_replica_is_not_ended() {
    let (db, clock) = (TestDb::new().await, TestClock::at(START_MS));
    let [one, two] = [Replica::start(&db, &clock, "one").await, Replica::start(&db, &clock, "two").await];
    let alice = one.user("alice").await;
    let room = RoomNid(5);
    types(&one, room, &alice, Some(TIMEOUT)).await;
    two.catch_up().await;
    clock.advance_ms(20_000);
    types(&two, room, &alice, Some(TIMEOUT)).await;

    clock.advance_ms(20_000);
    expire(&one).await;
    assert_eq!(typists(&one, room), Some((1, vec!["alice".to_owned()])));

    clock.advance_ms(10_000);
    expire(&two).await;
    one.catch_up().await;
    assert_eq!(typists(&one, room), Some((2, vec![])));
}

#[tokio::test]
async fn very_long_timeouts_are_cut() {
    let (db, clock) = (TestDb::new().await, TestClock::at(START_MS));
    let one = Replica::start(&db, &clock, "one").await;
    let alice = one.user("alice").await;
    let room = RoomNid(5);
    types(&one, room, &alice, Some(Duration::MAX)).await;

    clock.advance_ms(120_000);
    expire(&one).await;

    assert_eq!(typists(&one, room), Some((2, vec![])));
}

#[tokio::test]
async fn who_leaves_the_room_no_longer_types() {
    let (db, clock) = (TestDb::new().await, TestClock::at(START_MS));
    let one = Replica::start(&db, &clock, "one").await;
    let (alice, bob) = (one.user("alice").await, one.user("bob").await);
    let room = one.room(&[&alice, &bob]).await;
    types(&one, room.nid, &alice, Some(TIMEOUT)).await;
    types(&one, room.nid, &bob, Some(TIMEOUT)).await;

    let leave = Intent::state("m.room.member", bob.user_id.as_str(), r#"{"membership":"leave"}"#);
    one.write(&room, &bob, leave).await;
    expire(&one).await;

    let (_, typists) = typists(&one, room.nid).expect("somebody types");
    assert_eq!(typists, ["alice"]);
}

#[tokio::test]
async fn replica_that_starts_later_knows_who_types_and_who_has_stopped() {
    let (db, clock) = (TestDb::new().await, TestClock::at(START_MS));
    let one = Replica::start(&db, &clock, "one").await;
    let (alice, bob) = (one.user("alice").await, one.user("bob").await);
    types(&one, RoomNid(5), &alice, Some(TIMEOUT)).await;
    types(&one, RoomNid(6), &bob, Some(TIMEOUT)).await;
    types(&one, RoomNid(6), &bob, None).await;

    let two = Replica::start(&db, &clock, "two").await;

    assert_eq!(typists(&two, RoomNid(5)), Some((1, vec!["alice".to_owned()])));
    assert_eq!(typists(&two, RoomNid(6)), Some((3, vec![])));
    assert_eq!(typists(&two, RoomNid(7)), None);
}

#[tokio::test]
async fn service_ends_typing_by_itself() {
    let (db, clock) = (TestDb::new().await, TestClock::at(START_MS));
    let one = Replica::start(&db, &clock, "one").await;
    let alice = one.user("alice").await;
    let room = RoomNid(5);
    let mut applied = one.server.store.tail().watch();
    let run = {
        let ephemeral = one.ephemeral.clone();
        tokio::spawn(async move { ephemeral.run().await })
    };

    types(&one, room, &alice, Some(Duration::ZERO)).await;
    applied.wait_for(|applied| applied.0 >= 2).await.expect("the log is followed");

    assert_eq!(typists(&one, room), Some((2, vec![])));
    run.abort();
}

#[tokio::test]
async fn typing_that_another_server_told_of_ends_when_it_says_nothing_more() {
    let (db, clock) = (TestDb::new().await, TestClock::at(START_MS));
    let one = Replica::start(&db, &clock, "one").await;
    let bob = one.user("bob").await;
    let room = RoomNid(5);
    one.ephemeral.receive_typing(room, bob.nid, &bob.user_id, true).await.expect("written");

    clock.advance_ms(59_999);
    expire(&one).await;
    assert_eq!(typists(&one, room), Some((1, vec!["bob".to_owned()])));

    clock.advance_ms(1);
    expire(&one).await;
    assert_eq!(typists(&one, room), Some((2, vec![])));
}
