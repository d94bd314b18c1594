//! Account data and tags in `/sync`, as far as the endpoints' own cases leave something to ask.

use super::view::{entry, events, has_room, room_data, timeline_is_empty, types, without_presence};
use sytest_like::{Response, Server, User, Value, json, path};

async fn set(user: &User, kind: &str, content: Value) {
    user.put(&path!("/v3/user/{}/account_data/{}", user.id, kind), content).await.expect_ok();
}

async fn set_in(user: &User, room: &str, kind: &str, content: Value) {
    let path = path!("/v3/user/{}/rooms/{}/account_data/{}", user.id, room, kind);
    user.put(&path, content).await.expect_ok();
}

fn global(answer: &Response, kind: &str) -> Vec<Value> {
    let all = events(&answer.json, "account_data");
    all.iter().filter(|event| event["type"] == kind).map(|event| event["content"].clone()).collect()
}

/// Several changes of one type between two syncs are one: the last.
/// spec: client-server-api/#client-config
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn last_change_counts() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    let mut syncer = alice.syncer_with_filter(without_presence()).await;
    for number in 0..4 {
        set(&alice, "org.example.x", json!({"n": number})).await;
        set_in(&alice, &room, "org.example.y", json!({"n": number})).await;
    }
    let answer = syncer.next(5_000).await;
    assert_eq!(global(&answer, "org.example.x"), [json!({"n": 3})]);
    assert_eq!(room_data(&answer, &room, "org.example.y"), Some(json!({"n": 3})));
}

/// A room where only the user's own data changed comes without a timeline, and not limited.
/// spec: client-server-api/#client-config
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn room_with_new_account_data_has_no_timeline() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    let mut syncer = alice.syncer_with_filter(without_presence()).await;
    set_in(&alice, &room, "org.example.x", json!({})).await;
    let answer = syncer.next(5_000).await;
    let entry = entry(&answer, "join", &room);
    assert!(timeline_is_empty(entry) && events(entry, "state").is_empty(), "{answer}");
    assert_ne!(entry["timeline"]["limited"], true, "{answer}");
}

/// What was set for a room before joining it comes with the join.
/// spec: client-server-api/#client-config
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn data_set_before_the_join_comes_with_it() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = alice.create_public_room().await;
    bob.join(&room).await;
    set_in(&bob, &room, "org.example.x", json!({"n": 1})).await;
    bob.leave(&room).await;
    let mut syncer = bob.syncer_with_filter(without_presence()).await;
    bob.join(&room).await;
    let answer = syncer.next(5_000).await;
    assert_eq!(room_data(&answer, &room, "org.example.x"), Some(json!({"n": 1})), "{answer}");
}

/// Others see nothing of it, in the same room.
/// spec: client-server-api/#client-config
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn account_data_is_not_for_others() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = alice.create_public_room().await;
    bob.join(&room).await;
    let mut syncer = bob.syncer_with_filter(without_presence()).await;
    set(&alice, "org.example.x", json!({"secret": 1})).await;
    set_in(&alice, &room, "org.example.y", json!({"secret": 2})).await;
    let path = path!("/v3/user/{}/rooms/{}/tags/u.secret", alice.id, room);
    alice.put(&path, json!({})).await.expect_ok();
    let quiet = syncer.next(0).await;
    assert!(!has_room(&quiet, "join", &room) && !quiet.to_string().contains("secret"), "{quiet}");
    let fresh = bob.sync().await;
    assert!(!fresh.to_string().contains("secret"), "{fresh}");
}

/// The device that made a change hears of it as all others do.
/// spec: client-server-api/#client-config
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn own_change_comes_back() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let mut syncer = alice.syncer_with_filter(without_presence()).await;
    set(&alice, "org.example.x", json!({"n": 1})).await;
    assert_eq!(global(&syncer.next(5_000).await, "org.example.x"), [json!({"n": 1})]);
}

/// Many writers of one user's data: every type is heard with its last content.
/// spec: client-server-api/#client-config
/// covers: GET /_matrix/client/v3/sync
/// covers: PUT /_matrix/client/v3/user/{userId}/account_data/{type}
#[tokio::test]
async fn concurrent_changes_are_all_heard() {
    const TYPES: usize = 6;
    const TIMES: usize = 8;
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let mut syncer = alice.syncer_with_filter(without_presence()).await;
    let write = |number: usize| {
        let alice = &alice;
        async move {
            for time in 0..TIMES {
                set(alice, &format!("org.example.{number}"), json!({"n": time})).await;
            }
        }
    };
    let hear = async {
        let mut last = [None; TYPES];
        while last.iter().any(|last| *last != Some(TIMES as u64 - 1)) {
            let answer = syncer.next(30_000).await;
            assert!(!types(&events(&answer.json, "account_data")).is_empty(), "still {last:?}: {answer}");
            for (number, last) in last.iter_mut().enumerate() {
                for content in global(&answer, &format!("org.example.{number}")) {
                    *last = content["n"].as_u64();
                }
            }
        }
    };
    let writers = futures_util::future::join_all((0..TYPES).map(write));
    tokio::join!(writers, hear);
}

/// All tags come together in one event, and an initial sync has them.
/// spec: client-server-api/#room-tagging
/// covers: PUT /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags/{tag}
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn tags_come_together() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    for (tag, order) in [("m.favourite", 0.25), ("u.work", 0.5), ("m.lowpriority", 1.0)] {
        let path = path!("/v3/user/{}/rooms/{}/tags/{}", alice.id, room, tag);
        alice.put(&path, json!({"order": order})).await.expect_ok();
    }
    let tags = room_data(&alice.sync().await, &room, "m.tag").expect("there are tags");
    let mut names: Vec<_> = tags["tags"].as_object().expect("tags are an object").keys().cloned().collect();
    names.sort();
    assert_eq!(names, ["m.favourite", "m.lowpriority", "u.work"]);
    assert_eq!(tags["tags"]["m.favourite"]["order"], 0.25);
}
