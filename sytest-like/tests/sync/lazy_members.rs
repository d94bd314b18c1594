//! Lazy loading of members.

use std::collections::BTreeSet;

use super::view::{chatter, entry, events, find, members, types};
use sytest_like::{Response, Server, User, Value, json};

fn lazy(events_wanted: usize, redundant: bool) -> Value {
    json!({
        "presence": {"not_types": ["*"]},
        "room": {
            "timeline": {"limit": events_wanted},
            "state": {"lazy_load_members": true, "include_redundant_members": redundant},
        },
    })
}

/// A room with an owner, a reader, and others who are silent so far; it has a name so that nobody is needed for that.
async fn stage(others: usize) -> (User, User, Vec<User>, String) {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = alice.create_room(json!({"preset": "public_chat", "name": "Crowd"})).await;
    let mut silent = Vec::new();
    for _ in 0..others {
        let user = server.register("silent").await;
        user.join(&room).await;
        silent.push(user);
    }
    bob.join(&room).await;
    // The joins are out of sight of a short timeline.
    chatter(&alice, &room, "small talk", 6).await;
    (alice, bob, silent, room)
}

#[track_caller]
fn state_members(answer: &Response, room: &str) -> BTreeSet<String> {
    members(&events(entry(answer, "join", room), "state"))
}

fn set(users: &[&User]) -> BTreeSet<String> {
    users.iter().map(|user| user.id.clone()).collect()
}

/// An initial sync has the members who speak in the timeline, and the user's own, and not the crowd.
/// spec: client-server-api/#lazy-loading-room-members
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn only_senders_and_self_are_loaded() {
    let (alice, bob, silent, room) = stage(8).await;
    silent[0].send_text(&room, "but one speaks").await;
    alice.send_text(&room, "hello").await;
    let answer = bob.sync().filter(&lazy(2, false)).await;
    assert_eq!(state_members(&answer, &room), set(&[&alice, &silent[0], &bob]), "{answer}");
}

/// Other state is whole.
/// spec: client-server-api/#lazy-loading-room-members
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn other_state_is_whole() {
    let (alice, bob, _, room) = stage(3).await;
    chatter(&alice, &room, "message", 3).await;
    let without_members = |answer: &Response| {
        let mut types = types(&events(entry(answer, "join", &room), "state"));
        types.retain(|kind| kind != "m.room.member");
        types.sort();
        types
    };
    let lazily = bob.sync().filter(&lazy(2, false)).await;
    let eagerly = bob.sync().filter(&super::view::limit(2)).await;
    assert_eq!(without_members(&lazily), without_members(&eagerly));
    assert!(without_members(&lazily).contains(&"m.room.create".to_owned()));
}

/// Somebody who speaks for the first time comes with their membership.
/// spec: client-server-api/#lazy-loading-room-members
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn new_speaker_is_introduced() {
    let (alice, bob, silent, room) = stage(3).await;
    chatter(&alice, &room, "message", 3).await;
    let mut syncer = bob.syncer_with_filter(lazy(5, false)).await;
    let sent = silent[1].send_text(&room, "I was always here").await;
    let answer = syncer.next(5_000).await;
    assert_eq!(sytest_like::timeline_ids(&answer, &room), [sent]);
    assert_eq!(state_members(&answer, &room), set(&[&silent[1]]), "{answer}");
}

/// A member who was introduced is not introduced again.
/// spec: client-server-api/#lazy-loading-room-members
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn redundant_members_are_left_out() {
    let (_, bob, silent, room) = stage(3).await;
    let mut syncer = bob.syncer_with_filter(lazy(5, false)).await;
    for round in 0..3 {
        let sent = silent[1].send_text(&room, "again").await;
        let answer = syncer.next(5_000).await;
        assert_eq!(sytest_like::timeline_ids(&answer, &room), [sent]);
        let expected = if round == 0 { set(&[&silent[1]]) } else { BTreeSet::new() };
        assert_eq!(state_members(&answer, &room), expected, "in round {round}: {answer}");
    }
}

/// With `include_redundant_members` the speakers come with every answer.
/// spec: client-server-api/#lazy-loading-room-members
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn redundant_members_come_on_request() {
    let (_, bob, silent, room) = stage(3).await;
    let mut syncer = bob.syncer_with_filter(lazy(5, true)).await;
    for round in 0..3 {
        silent[1].send_text(&room, "again").await;
        let answer = syncer.next(5_000).await;
        assert!(state_members(&answer, &room).contains(&silent[1].id), "in round {round}: {answer}");
    }
}

/// What one device was told, another was not: each is introduced for itself.
/// spec: client-server-api/#lazy-loading-room-members
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn devices_are_introduced_for_themselves() {
    let (_, bob, silent, room) = stage(2).await;
    let laptop = bob.login().await;
    let mut on_phone = bob.syncer_with_filter(lazy(5, false)).await;
    let mut on_laptop = laptop.syncer_with_filter(lazy(5, false)).await;
    silent[0].send_text(&room, "hello").await;
    for syncer in [&mut on_phone, &mut on_laptop] {
        let answer =
            syncer.until("the message", |answer| !sytest_like::timeline(answer, &room).is_empty()).await;
        assert_eq!(state_members(&answer, &room), set(&[&silent[0]]), "{answer}");
    }
}

/// A client that starts over with an initial sync is introduced to everybody again.
/// spec: client-server-api/#lazy-loading-room-members
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn starting_over_introduces_again() {
    let (_, bob, silent, room) = stage(2).await;
    silent[0].send_text(&room, "hello").await;
    for events_wanted in [3, 2, 1] {
        let answer = bob.sync().filter(&lazy(events_wanted, false)).await;
        let mut told = state_members(&answer, &room);
        told.extend(members(&sytest_like::timeline(&answer, &room)));
        assert!(told.contains(&silent[0].id) && told.contains(&bob.id), "{answer}");
    }
}

/// Memberships that changed in a gap are all told, whether they are redundant or not, whether they speak or not.
/// spec: client-server-api/#get_matrixclientv3sync
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn memberships_of_a_gap_are_all_told() {
    let (alice, bob, silent, room) = stage(3).await;
    let filter = lazy(2, false);
    let first = bob.sync().filter(&filter).await;
    silent[0].leave(&room).await;
    let carol = alice.server.register("carol").await;
    carol.join(&room).await;
    chatter(&alice, &room, "message", 5).await;
    let answer = bob.sync().since(first.str("next_batch")).filter(&filter).await;
    let told = state_members(&answer, &room);
    assert!(told.contains(&silent[0].id) && told.contains(&carol.id), "{answer}");
    assert!(!told.contains(&silent[1].id), "{answer}");
}

/// Joining a room gives the own membership.
/// spec: client-server-api/#get_matrixclientv3sync
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn own_membership_comes_with_a_new_room() {
    let (alice, _, _, room) = stage(4).await;
    let guest = alice.server.register("guest").await;
    let mut syncer = guest.syncer_with_filter(lazy(1, false)).await;
    guest.join(&room).await;
    let last = chatter(&alice, &room, "message", 3).await.pop().expect("three were sent");
    let mut told = BTreeSet::new();
    syncer.until("the last message", |answer| sytest_like::timeline_ids(answer, &room).contains(&last)).await;
    let fresh = guest.login().await.sync().filter(&lazy(1, false)).await;
    told.extend(state_members(&fresh, &room));
    assert_eq!(told, set(&[&guest, &alice]), "{fresh}");
}

/// With `full_state` the own membership is there.
/// spec: client-server-api/#get_matrixclientv3sync
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn own_membership_comes_with_full_state() {
    let (alice, bob, silent, room) = stage(3).await;
    chatter(&alice, &room, "message", 2).await;
    let first = bob.sync().filter(&lazy(2, true)).await;
    let request = bob.sync().since(first.str("next_batch")).filter(&lazy(2, true));
    let answer = request.query("full_state", "true").await;
    let told = state_members(&answer, &room);
    assert!(told.contains(&bob.id) && !told.contains(&silent[0].id), "{answer}");
}

/// A room without a name comes with the members that its name is made of.
/// spec: client-server-api/#get_matrixclientv3sync
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn heroes_are_loaded() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = alice.create_room(json!({"preset": "public_chat"})).await;
    let carol = server.register("carol").await;
    carol.join(&room).await;
    bob.join(&room).await;
    chatter(&bob, &room, "monologue", 3).await;
    let answer = bob.sync().filter(&lazy(2, false)).await;
    let heroes = entry(&answer, "join", &room)["summary"]["m.heroes"].clone();
    let told = state_members(&answer, &room);
    for hero in heroes.as_array().expect("a room without a name has heroes") {
        assert!(told.contains(hero.as_str().expect("a hero is a user id")), "{hero}: {answer}");
    }
}

/// A new name of somebody known comes in the timeline, and their next message needs no introduction.
/// spec: client-server-api/#lazy-loading-room-members
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn change_of_name_is_not_lost() {
    let (_, bob, silent, room) = stage(2).await;
    let mut syncer = bob.syncer_with_filter(lazy(5, false)).await;
    let renamed = silent[0].set_state(
        &room,
        "m.room.member",
        &silent[0].id,
        json!({"membership": "join", "displayname": "Not so silent"}),
    );
    let renamed = renamed.await;
    let answer = syncer.next(5_000).await;
    let timeline = sytest_like::timeline(&answer, &room);
    let event = find(&timeline, "m.room.member", Some(&silent[0].id)).expect("the new name is there");
    assert_eq!(event["event_id"], renamed.as_str());
}

/// Lazy loading over a replaced sender state: the membership told fits the start of the timeline.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn membership_is_that_before_the_timeline() {
    let (_, bob, silent, room) = stage(1).await;
    silent[0].send_text(&room, "under the old name").await;
    let content = json!({"membership": "join", "displayname": "New name"});
    silent[0].set_state(&room, "m.room.member", &silent[0].id, content).await;
    silent[0].send_text(&room, "under the new name").await;
    let answer = bob.sync().filter(&lazy(3, false)).await;
    let state = events(entry(&answer, "join", &room), "state");
    let told = find(&state, "m.room.member", Some(&silent[0].id)).expect("the sender is told");
    assert_ne!(told["content"]["displayname"], "New name", "{answer}");
}
