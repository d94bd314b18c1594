//! Typing notifications.

use super::view::{ephemeral, mentions, types, without_presence};
use sytest_like::{Response, Server, User, Value, json, path, timeline};

async fn pair() -> (User, User, String) {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = alice.create_public_room().await;
    bob.join(&room).await;
    (alice, bob, room)
}

async fn put(user: &User, room: &str, body: Value) -> Response {
    user.put(&path!("/v3/rooms/{}/typing/{}", room, user.id), body).await
}

async fn types_for(user: &User, room: &str, timeout_ms: u64) {
    put(user, room, json!({"typing": true, "timeout": timeout_ms})).await.expect_ok();
}

async fn stops(user: &User, room: &str) {
    put(user, room, json!({"typing": false})).await.expect_ok();
}

/// Who types, if the answer says anything about it.
fn typing(answer: &Response, room: &str) -> Option<Vec<String>> {
    let content = ephemeral(answer, room, "m.typing")?;
    let list = content["user_ids"].as_array().expect("`user_ids` is a list").clone();
    let mut users: Vec<_> = list.iter().filter_map(|id| id.as_str().map(str::to_owned)).collect();
    users.sort();
    Some(users)
}

/// The list is told whenever it changes, and is always the whole list.
/// spec: client-server-api/#typing-notifications
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/typing/{userId}
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn list_is_replaced_by_each_change() {
    let (alice, bob, room) = pair().await;
    let mut syncer = alice.syncer_with_filter(without_presence()).await;
    types_for(&bob, &room, 60_000).await;
    assert_eq!(typing(&syncer.next(5_000).await, &room), Some(vec![bob.id.clone()]));
    types_for(&alice, &room, 60_000).await;
    assert_eq!(typing(&syncer.next(5_000).await, &room), Some(vec![alice.id.clone(), bob.id.clone()]));
    stops(&bob, &room).await;
    assert_eq!(typing(&syncer.next(5_000).await, &room), Some(vec![alice.id.clone()]));
    stops(&alice, &room).await;
    assert_eq!(typing(&syncer.next(5_000).await, &room), Some(Vec::new()));
}

/// Who does not say that they stopped stops when their time is over.
/// spec: client-server-api/#typing-notifications
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/typing/{userId}
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn typing_ends_by_itself() {
    let (alice, bob, room) = pair().await;
    let mut syncer = alice.syncer_with_filter(without_presence()).await;
    types_for(&bob, &room, 400).await;
    let mut last = None;
    syncer
        .until("the end of typing", |answer| {
            let heard = typing(answer, &room);
            heard.as_ref().is_some_and(Vec::is_empty)
        })
        .await;
    // And a client that comes then hears of nobody.
    last.replace(bob.login().await.sync().await);
    let quiet = last.and_then(|answer| typing(&answer, &room)).unwrap_or_default();
    assert!(quiet.is_empty(), "{quiet:?}");
}

/// Saying it again prolongs it.
/// spec: client-server-api/#typing-notifications
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/typing/{userId}
#[tokio::test]
async fn typing_again_prolongs() {
    let (alice, bob, room) = pair().await;
    let mut syncer = alice.syncer_with_filter(without_presence()).await;
    types_for(&bob, &room, 30_000).await;
    types_for(&bob, &room, 60_000).await;
    types_for(&bob, &room, 60_000).await;
    syncer.until("bob types", |answer| typing(answer, &room) == Some(vec![bob.id.clone()])).await;
    stops(&bob, &room).await;
    syncer.until("bob has stopped", |answer| typing(answer, &room) == Some(Vec::new())).await;
}

/// Who comes later hears who types now.
/// spec: client-server-api/#typing-notifications
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn initial_sync_says_who_types() {
    let (alice, bob, room) = pair().await;
    types_for(&bob, &room, 60_000).await;
    assert_eq!(typing(&alice.sync().await, &room), Some(vec![bob.id.clone()]));
}

/// Typing is no event of the room: it is not in the timeline and not in the history.
/// spec: client-server-api/#typing-notifications
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn typing_is_not_in_the_timeline() {
    let (alice, bob, room) = pair().await;
    types_for(&bob, &room, 60_000).await;
    let answer = alice.sync().await;
    assert!(!types(&timeline(&answer, &room)).contains(&"m.typing".to_owned()), "{answer}");
    let event = super::view::events(&answer.json["rooms"]["join"][&room], "ephemeral");
    let event = event.iter().find(|event| event["type"] == "m.typing").expect("bob types");
    for key in ["event_id", "sender", "origin_server_ts"] {
        assert!(event.get(key).is_none(), "{event}");
    }
}

/// What is typed in one room is not told in another.
/// spec: client-server-api/#typing-notifications
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn typing_is_by_room() {
    let (alice, bob, room) = pair().await;
    let other = alice.create_public_room().await;
    bob.join(&other).await;
    let mut syncer = alice.syncer_with_filter(without_presence()).await;
    types_for(&bob, &room, 60_000).await;
    let answer = syncer.next(5_000).await;
    assert_eq!(typing(&answer, &room), Some(vec![bob.id.clone()]));
    assert!(!mentions(&answer, &other), "{answer}");
}

/// Outsiders hear nothing.
/// spec: client-server-api/#typing-notifications
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn outsiders_hear_no_typing() {
    let (alice, bob, room) = pair().await;
    let mallory = alice.server.register("mallory").await;
    alice.invite(&room, &mallory).await;
    let mut syncer = mallory.syncer_with_filter(without_presence()).await;
    types_for(&bob, &room, 60_000).await;
    let own = mallory.create_public_room().await;
    let answer = syncer.until_some("the own room", |answer| {
        super::view::has_room(answer, "join", &own).then(|| answer.to_string())
    });
    assert!(!answer.await.contains("m.typing\",\"content\":{\"user_ids\":[\"@bob"));
    let fresh = mallory.login().await.sync().await;
    assert_eq!(typing(&fresh, &room), None, "{fresh}");
}

/// Nobody types for somebody else.
/// spec: client-server-api/#put_matrixclientv3roomsroomidtypinguserid
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/typing/{userId}
#[tokio::test]
async fn nobody_types_for_others() {
    let (alice, bob, room) = pair().await;
    let path = path!("/v3/rooms/{}/typing/{}", room, alice.id);
    let answer = bob.put(&path, json!({"typing": true, "timeout": 10_000})).await;
    answer.expect_refused();
    assert_eq!(typing(&alice.sync().await, &room).unwrap_or_default(), Vec::<String>::new());
}

/// Only members type: not strangers, not invited users, not those who left or were banned.
/// spec: client-server-api/#put_matrixclientv3roomsroomidtypinguserid
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/typing/{userId}
#[tokio::test]
async fn only_members_type() {
    let (alice, bob, room) = pair().await;
    let server = alice.server.clone();
    let [stranger, invited, left, banned] =
        [server.register("u").await, server.register("u").await, server.register("u").await, bob];
    alice.invite(&room, &invited).await;
    left.join(&room).await;
    left.leave(&room).await;
    alice.membership(&room, "ban", &banned.id).await.expect_ok();
    for user in [&stranger, &invited, &left, &banned] {
        put(user, &room, json!({"typing": true, "timeout": 10_000})).await.expect_err(403, "M_FORBIDDEN");
    }
    put(&alice, "!never:example.org", json!({"typing": true, "timeout": 10_000})).await.expect_refused();
}

/// `typing` is wanted, and is a boolean; `timeout` is an integer.
/// spec: client-server-api/#put_matrixclientv3roomsroomidtypinguserid
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/typing/{userId}
#[tokio::test]
async fn broken_typing_is_refused() {
    let (alice, _, room) = pair().await;
    for body in [
        json!({}),
        json!({"timeout": 10_000}),
        json!([]),
        json!({"typing": true, "timeout": "long"}),
        json!({"typing": true, "timeout": 1.5}),
    ] {
        let answer = put(&alice, &room, body.clone()).await;
        assert!((400..500).contains(&answer.status), "{body}: {answer}");
    }
    assert_eq!(typing(&alice.sync().await, &room).unwrap_or_default(), Vec::<String>::new());
}

/// Odd times do no harm: none, nothing, and more than a century.
/// spec: client-server-api/#put_matrixclientv3roomsroomidtypinguserid
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/typing/{userId}
#[tokio::test]
async fn odd_timeouts_do_no_harm() {
    let (alice, bob, room) = pair().await;
    for body in [
        json!({"typing": true}),
        json!({"typing": true, "timeout": 0}),
        json!({"typing": true, "timeout": 9_007_199_254_740_991_i64}),
        json!({"typing": false, "timeout": 30_000}),
    ] {
        put(&bob, &room, body).await.expect_ok();
    }
    assert_eq!(typing(&alice.sync().await, &room).unwrap_or_default(), Vec::<String>::new());
}
