//! Room summaries: counts and heroes.

use super::view::{entry, without_presence};
use sytest_like::{Response, Server, User, Value, json};

async fn users<const N: usize>(server: &Server) -> [User; N] {
    let mut users = Vec::with_capacity(N);
    for _ in 0..N {
        users.push(server.register("user").await);
    }
    users.try_into().expect("as many as were asked for")
}

/// Summaries are made for clients that load members lazily.
fn lazily() -> Value {
    json!({"presence": {"not_types": ["*"]}, "room": {"state": {"lazy_load_members": true}}})
}

fn summary<'a>(answer: &'a Response, room: &str) -> &'a Value {
    &entry(answer, "join", room)["summary"]
}

fn heroes(answer: &Response, room: &str) -> Vec<String> {
    let list = summary(answer, room)["m.heroes"].as_array().cloned().unwrap_or_default();
    let mut heroes: Vec<_> = list.iter().filter_map(|id| id.as_str().map(str::to_owned)).collect();
    heroes.sort();
    heroes
}

fn sorted(users: &[&User]) -> Vec<String> {
    let mut ids: Vec<_> = users.iter().map(|user| user.id.clone()).collect();
    ids.sort();
    ids
}

/// Joined and invited members are counted, the user included.
/// spec: client-server-api/#get_matrixclientv3sync
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn members_are_counted() {
    let server = Server::shared().await;
    let [alice, bob, carol, dora, eve] = users(&server).await;
    let room = alice.create_public_room().await;
    for user in [&bob, &carol] {
        user.join(&room).await;
    }
    for user in [&dora, &eve] {
        alice.invite(&room, user).await;
    }
    let answer = bob.sync().filter(&lazily()).await;
    assert_eq!(summary(&answer, &room)["m.joined_member_count"], 3, "{answer}");
    assert_eq!(summary(&answer, &room)["m.invited_member_count"], 2, "{answer}");
}

/// When the numbers change the new ones are told.
/// spec: client-server-api/#get_matrixclientv3sync
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn changed_counts_are_told() {
    let server = Server::shared().await;
    let [alice, bob, carol] = users(&server).await;
    let room = alice.create_public_room().await;
    let mut syncer = alice.syncer_with_filter(lazily()).await;
    let mut counts = async || {
        let answer = syncer.next(5_000).await;
        let summary = summary(&answer, &room);
        (summary["m.joined_member_count"].as_i64(), summary["m.invited_member_count"].as_i64())
    };
    alice.invite(&room, &bob).await;
    assert_eq!(counts().await.1, Some(1));
    bob.join(&room).await;
    assert_eq!(counts().await, (Some(2), Some(0)));
    carol.join(&room).await;
    assert_eq!(counts().await.0, Some(3));
    alice.membership(&room, "ban", &carol.id).await.expect_ok();
    assert_eq!(counts().await.0, Some(2));
    bob.leave(&room).await;
    assert_eq!(counts().await.0, Some(1));
}

/// A room without a name has its other members as heroes, never the user.
/// spec: client-server-api/#get_matrixclientv3sync
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn heroes_are_the_others() {
    let server = Server::shared().await;
    let [alice, bob, carol] = users(&server).await;
    let room = alice.create_public_room().await;
    bob.join(&room).await;
    alice.invite(&room, &carol).await;
    let answer = alice.sync().filter(&lazily()).await;
    assert_eq!(heroes(&answer, &room), sorted(&[&bob, &carol]), "{answer}");
    let answer = bob.sync().filter(&lazily()).await;
    assert_eq!(heroes(&answer, &room), sorted(&[&alice, &carol]), "{answer}");
}

/// There are five heroes in a larger room, those who came first.
/// spec: client-server-api/#get_matrixclientv3sync
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn first_five_are_heroes() {
    let server = Server::shared().await;
    let others: [User; 8] = users(&server).await;
    let alice = server.register("alice").await;
    let room = others[0].create_public_room().await;
    for user in &others[1..] {
        user.join(&room).await;
    }
    alice.join(&room).await;
    let answer = alice.sync().filter(&lazily()).await;
    let heroes = heroes(&answer, &room);
    assert!(heroes.len() >= 5 && !heroes.contains(&alice.id), "{answer}");
    for first in &others[..5] {
        assert!(heroes.contains(&first.id), "{} is not a hero: {answer}", first.id);
    }
}

/// Where nobody is left the heroes are those who were there.
/// spec: client-server-api/#get_matrixclientv3sync
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn those_who_left_are_heroes_of_an_empty_room() {
    let server = Server::shared().await;
    let [alice, bob, carol] = users(&server).await;
    let room = alice.create_public_room().await;
    bob.join(&room).await;
    carol.join(&room).await;
    bob.leave(&room).await;
    alice.membership(&room, "ban", &carol.id).await.expect_ok();
    let answer = alice.sync().filter(&lazily()).await;
    assert_eq!(heroes(&answer, &room), sorted(&[&bob, &carol]), "{answer}");
    assert_eq!(summary(&answer, &room)["m.joined_member_count"], 1, "{answer}");
}

/// When the list of heroes changes a fresh one is told.
/// spec: client-server-api/#get_matrixclientv3sync
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn changed_heroes_are_told() {
    let server = Server::shared().await;
    let [alice, bob, carol] = users(&server).await;
    let room = alice.create_public_room().await;
    bob.join(&room).await;
    let mut syncer = alice.syncer_with_filter(lazily()).await;
    assert_eq!(heroes(&syncer.initial, &room), sorted(&[&bob]));
    carol.join(&room).await;
    let answer = syncer.next(5_000).await;
    assert_eq!(heroes(&answer, &room), sorted(&[&bob, &carol]), "{answer}");
    bob.leave(&room).await;
    let answer = syncer.next(5_000).await;
    assert_eq!(heroes(&answer, &room), sorted(&[&carol]), "{answer}");
}

/// A room that loses its name gets heroes.
/// spec: client-server-api/#get_matrixclientv3sync
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn room_that_loses_its_name_gets_heroes() {
    let server = Server::shared().await;
    let [alice, bob] = users(&server).await;
    let room = alice.create_room(json!({"preset": "public_chat", "name": "Named"})).await;
    bob.join(&room).await;
    let mut syncer = alice.syncer_with_filter(lazily()).await;
    alice.set_state(&room, "m.room.name", "", json!({"name": ""})).await;
    syncer.next(5_000).await;
    let fresh = alice.login().await.sync().filter(&lazily()).await;
    assert_eq!(heroes(&fresh, &room), sorted(&[&bob]), "{fresh}");
}

/// Clients that do not load members lazily are told the same.
/// spec: client-server-api/#get_matrixclientv3sync
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn summary_is_there_for_eager_clients() {
    let server = Server::shared().await;
    let [alice, bob] = users(&server).await;
    let room = alice.create_public_room().await;
    bob.join(&room).await;
    let answer = alice.sync().filter(&without_presence()).await;
    assert_eq!(summary(&answer, &room)["m.joined_member_count"], 2, "{answer}");
    assert_eq!(heroes(&answer, &room), sorted(&[&bob]), "{answer}");
}
