//! Who is there.

use std::time::Duration;

use hs_ephemeral::{
    RemotePresence,
    presence::{MAX_STATUS_MSG_BYTES, PresenceError, PresenceRequest},
};
use hs_model::{clock::TestClock, ids::DeviceNid};
use hs_rooms::Sender;
use hs_storage::presence::Presence;
use hs_testkit::TestDb;

use crate::replica::{LAPTOP, PHONE, Replica, START_MS};

/// One request for news, from beginning to end.
async fn sync(replica: &Replica, user: &Sender, device: DeviceNid, presence: Presence) {
    drop(replica.ephemeral.syncing(user.nid, &user.user_id, device, presence));
    replica.sweep().await;
}

fn request<'a>(user: &'a Sender, presence: Presence, status_msg: Option<&'a str>) -> PresenceRequest<'a> {
    PresenceRequest { user: user.nid, user_id: &user.user_id, device: PHONE, presence, status_msg }
}

#[tokio::test]
async fn user_is_online_while_they_sync_and_offline_afterwards() {
    let (db, clock) = (TestDb::new().await, TestClock::at(START_MS));
    let [one, two] = [Replica::start(&db, &clock, "one").await, Replica::start(&db, &clock, "two").await];
    let alice = one.user("alice").await;
    let since = one.catch_up().await;

    let waiting = one.ephemeral.syncing(alice.nid, &alice.user_id, PHONE, Presence::Online);
    one.sweep().await;
    let online = two.catch_up().await;
    assert_eq!(two.presence_after(since).await, [(alice.nid, Presence::Online)]);

    clock.advance_ms(60_000);
    one.sweep().await;
    assert_eq!(one.catch_up().await, online, "nothing has changed");
    drop(waiting);
    clock.advance_ms(30_000);
    one.sweep().await;

    two.catch_up().await;
    assert_eq!(two.presence_after(online).await, [(alice.nid, Presence::Offline)]);
    let row = two.presence(&alice).await.expect("presence");
    assert_eq!(row.last_active_at, START_MS);
}

#[tokio::test]
async fn most_present_device_wins_over_all_replicas() {
    let (db, clock) = (TestDb::new().await, TestClock::at(START_MS));
    let [one, two] = [Replica::start(&db, &clock, "one").await, Replica::start(&db, &clock, "two").await];
    let alice = one.user("alice").await;

    sync(&one, &alice, PHONE, Presence::Unavailable).await;
    sync(&two, &alice, LAPTOP, Presence::Online).await;
    sync(&one, &alice, PHONE, Presence::Unavailable).await;
    assert_eq!(one.presence(&alice).await.map(|row| row.presence), Some(Presence::Online));

    clock.advance_ms(20_000);
    sync(&one, &alice, PHONE, Presence::Unavailable).await;
    clock.advance_ms(20_000);
    two.sweep().await;
    assert_eq!(one.presence(&alice).await.map(|row| row.presence), Some(Presence::Unavailable));

    clock.advance_ms(20_000);
    one.sweep().await;
    assert_eq!(one.presence(&alice).await.map(|row| row.presence), Some(Presence::Offline));
}

#[tokio::test]
async fn many_syncs_write_little() {
    let (db, clock) = (TestDb::new().await, TestClock::at(START_MS));
    let one = Replica::start(&db, &clock, "one").await;
    let alice = one.user("alice").await;
    sync(&one, &alice, PHONE, Presence::Online).await;
    let head = one.catch_up().await;

    for _ in 0..20 {
        clock.advance_ms(10_000);
        sync(&one, &alice, PHONE, Presence::Online).await;
    }

    assert_eq!(one.catch_up().await, head, "nobody has to be told");
    let row = one.presence(&alice).await.expect("presence");
    assert!(row.currently_active);
    assert!(START_MS + 200_000 - row.last_active_at <= 60_000, "what is stored is a minute old at most");
}

#[tokio::test]
async fn sync_that_says_offline_leaves_presence_alone() {
    let (db, clock) = (TestDb::new().await, TestClock::at(START_MS));
    let one = Replica::start(&db, &clock, "one").await;
    let alice = one.user("alice").await;

    sync(&one, &alice, PHONE, Presence::Offline).await;

    assert_eq!(one.presence(&alice).await, None);
}

#[tokio::test]
async fn user_sets_presence_and_status_at_once() {
    let (db, clock) = (TestDb::new().await, TestClock::at(START_MS));
    let one = Replica::start(&db, &clock, "one").await;
    let alice = one.user("alice").await;
    let since = one.catch_up().await;

    let request_one = request(&alice, Presence::Unavailable, Some("Lunch"));
    one.ephemeral.set_presence(request_one).await.expect("a valid request");
    let row = one.presence(&alice).await.expect("presence");
    assert_eq!((row.presence, row.status_msg.as_deref()), (Presence::Unavailable, Some("Lunch")));
    assert_eq!((row.last_active_at, row.currently_active), (START_MS, false));
    assert_eq!(one.presence_after(since).await, [(alice.nid, Presence::Unavailable)]);

    sync(&one, &alice, PHONE, Presence::Online).await;
    let row = one.presence(&alice).await.expect("presence");
    assert_eq!((row.presence, row.status_msg.as_deref()), (Presence::Online, Some("Lunch")));

    one.ephemeral.set_presence(request(&alice, Presence::Offline, None)).await.expect("a valid request");
    let row = one.presence(&alice).await.expect("presence");
    assert_eq!((row.presence, row.status_msg), (Presence::Offline, None));
}

#[tokio::test]
async fn status_message_has_a_limit() {
    let (db, clock) = (TestDb::new().await, TestClock::at(START_MS));
    let one = Replica::start(&db, &clock, "one").await;
    let alice = one.user("alice").await;
    let longest = "x".repeat(MAX_STATUS_MSG_BYTES);
    let too_long = "x".repeat(MAX_STATUS_MSG_BYTES + 1);

    let fits = one.ephemeral.set_presence(request(&alice, Presence::Online, Some(&longest))).await;
    let refused = one.ephemeral.set_presence(request(&alice, Presence::Online, Some(&too_long))).await;

    assert!(fits.is_ok());
    assert!(matches!(refused, Err(PresenceError::StatusMsgTooLong)), "{refused:?}");
}

#[tokio::test]
async fn holds_of_a_replica_that_died_end_with_its_lease() {
    let (db, clock) = (TestDb::new().await, TestClock::at(START_MS));
    let two = Replica::start(&db, &clock, "two").await;
    let one = Replica::start(&db, &clock, "one").await;
    let alice = one.user("alice").await;
    sync(&one, &alice, PHONE, Presence::Online).await;
    drop(one);
    two.ephemeral.settle_presence().await.expect("a working database");
    assert_eq!(two.presence(&alice).await.map(|row| row.presence), Some(Presence::Online), "the lease lasts");

    // As if the time of the lease were up, which is the database's time.
    let mut txn = two.server.store.begin().await.expect("a connection");
    txn.release_lease("presence:one", "one").await.expect("a working database");
    txn.commit().await.expect("a commit");
    two.ephemeral.settle_presence().await.expect("a working database");

    assert_eq!(two.presence(&alice).await.map(|row| row.presence), Some(Presence::Offline));
}

#[tokio::test]
async fn replica_that_was_taken_for_dead_contradicts() {
    let (db, clock) = (TestDb::new().await, TestClock::at(START_MS));
    let [one, two] = [Replica::start(&db, &clock, "one").await, Replica::start(&db, &clock, "two").await];
    let alice = one.user("alice").await;
    sync(&one, &alice, PHONE, Presence::Online).await;
    let mut txn = two.server.store.begin().await.expect("a connection");
    txn.release_lease("presence:one", "one").await.expect("a working database");
    txn.commit().await.expect("a commit");
    two.ephemeral.settle_presence().await.expect("a working database");
    assert_eq!(two.presence(&alice).await.map(|row| row.presence), Some(Presence::Offline));

    one.catch_up().await;
    one.sweep().await;

    assert_eq!(two.presence(&alice).await.map(|row| row.presence), Some(Presence::Online));
}

#[tokio::test]
async fn without_presence_nothing_is_kept_or_told() {
    let (db, clock) = (TestDb::new().await, TestClock::at(START_MS));
    let one = Replica::start_with(&db, &clock, "one", false).await;
    let alice = one.user("alice").await;

    sync(&one, &alice, PHONE, Presence::Online).await;
    one.ephemeral.set_presence(request(&alice, Presence::Online, None)).await.expect("no error");

    assert_eq!(one.catch_up().await.0, 0);
    assert_eq!(one.presence(&alice).await, None);
}

#[tokio::test]
async fn service_writes_presence_by_itself() {
    let (db, clock) = (TestDb::new().await, TestClock::at(START_MS));
    let one = Replica::start(&db, &clock, "one").await;
    let alice = one.user("alice").await;
    let mut applied = one.server.store.tail().watch();
    let run = {
        let ephemeral = one.ephemeral.clone();
        tokio::spawn(async move { ephemeral.run().await })
    };

    drop(one.ephemeral.syncing(alice.nid, &alice.user_id, PHONE, Presence::Online));
    applied.wait_for(|applied| applied.0 >= 1).await.expect("the log is followed");

    assert_eq!(one.presence(&alice).await.map(|row| row.presence), Some(Presence::Online));
    run.abort();
}

fn told(user: &Sender, presence: Presence) -> RemotePresence {
    RemotePresence {
        user: user.nid,
        user_id: user.user_id.clone(),
        presence,
        status_msg: Some("far away".to_owned()),
        last_active_ago: Some(Duration::from_secs(5)),
        currently_active: true,
    }
}

#[tokio::test]
async fn what_another_server_said_ends_when_it_says_nothing_more() {
    let (db, clock) = (TestDb::new().await, TestClock::at(START_MS));
    let one = Replica::start(&db, &clock, "one").await;
    let bob = one.user("bob").await;
    one.ephemeral.receive_presence(vec![told(&bob, Presence::Online)]).await.expect("written");
    let row = one.presence(&bob).await.expect("presence");
    assert_eq!((row.presence, row.last_active_at), (Presence::Online, START_MS - 5_000));

    clock.advance_ms(40 * 60_000);
    one.ephemeral.receive_presence(vec![told(&bob, Presence::Online)]).await.expect("written");
    clock.advance_ms(40 * 60_000);
    one.ephemeral.settle_presence().await.expect("a working database");
    assert_eq!(one.presence(&bob).await.map(|row| row.presence), Some(Presence::Online), "it was repeated");

    clock.advance_ms(21 * 60_000);
    one.ephemeral.settle_presence().await.expect("a working database");
    let row = one.presence(&bob).await.expect("presence");
    assert_eq!((row.presence, row.status_msg.as_deref()), (Presence::Offline, Some("far away")));
}
