//! Account data, global and per room.

use http::Method;
use sytest_like::{Response, Server, User, Value, json, path};

fn global(user: &User, kind: &str) -> String {
    path!("/v3/user/{}/account_data/{}", user.id, kind)
}

fn in_room(user: &User, room: &str, kind: &str) -> String {
    path!("/v3/user/{}/rooms/{}/account_data/{}", user.id, room, kind)
}

fn content_of<'a>(events: &'a Value, kind: &str) -> Option<&'a Value> {
    events.as_array()?.iter().find(|event| event["type"] == kind).map(|event| &event["content"])
}

fn room_account_data<'a>(answer: &'a Response, room: &str) -> &'a Value {
    &answer.json["rooms"]["join"][room]["account_data"]["events"]
}

/// What was put can be got.
/// spec: client-server-api/#put_matrixclientv3useruseridaccount_datatype
/// covers: PUT /_matrix/client/v3/user/{userId}/account_data/{type}
/// covers: GET /_matrix/client/v3/user/{userId}/account_data/{type}
#[tokio::test]
async fn global_account_data_is_kept() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let content = json!({"list": [1, {"two": "\u{1F600}"}], "nothing": null});
    alice.put(&global(&alice, "org.example.one"), content.clone()).await.expect_ok();
    assert_eq!(alice.get(&global(&alice, "org.example.one")).await.expect_ok().json, content);
}

/// The newest value counts, on every device.
/// spec: client-server-api/#client-config
/// covers: PUT /_matrix/client/v3/user/{userId}/account_data/{type}
/// covers: GET /_matrix/client/v3/user/{userId}/account_data/{type}
#[tokio::test]
async fn account_data_is_replaced_as_a_whole() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let laptop = alice.login().await;
    alice.put(&global(&alice, "org.example.one"), json!({"a": 1, "b": 2})).await.expect_ok();
    laptop.put(&global(&alice, "org.example.one"), json!({"a": 3})).await.expect_ok();
    assert_eq!(alice.get(&global(&alice, "org.example.one")).await.expect_ok().json, json!({"a": 3}));
}

/// Other devices hear of it through `/sync`.
/// spec: client-server-api/#client-config
/// covers: PUT /_matrix/client/v3/user/{userId}/account_data/{type}
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn global_account_data_comes_down_sync() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let mut syncer = alice.login().await.syncer().await;
    alice.put(&global(&alice, "org.example.one"), json!({"x": 1})).await.expect_ok();
    let content = syncer
        .until_some("the account data", |answer| {
            content_of(&answer.json["account_data"]["events"], "org.example.one").cloned()
        })
        .await;
    assert_eq!(content, json!({"x": 1}));
}

/// An initial sync has all of it.
/// spec: client-server-api/#client-config
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn initial_sync_has_all_account_data() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    alice.put(&global(&alice, "org.example.one"), json!({"x": 1})).await.expect_ok();
    alice.put(&global(&alice, "org.example.two"), json!({"x": 2})).await.expect_ok();
    alice.put(&in_room(&alice, &room, "org.example.three"), json!({"x": 3})).await.expect_ok();
    let answer = alice.sync().await;
    let events = &answer.json["account_data"]["events"];
    assert_eq!(content_of(events, "org.example.one"), Some(&json!({"x": 1})));
    assert_eq!(content_of(events, "org.example.two"), Some(&json!({"x": 2})));
    assert_eq!(content_of(room_account_data(&answer, &room), "org.example.three"), Some(&json!({"x": 3})));
}

/// An incremental sync has only what changed.
/// spec: client-server-api/#client-config
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn incremental_sync_does_not_repeat_account_data() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    alice.put(&global(&alice, "org.example.one"), json!({"x": 1})).await.expect_ok();
    let mut syncer = alice.syncer().await;
    alice.put(&global(&alice, "org.example.two"), json!({"x": 2})).await.expect_ok();
    let answer = syncer
        .until("the second", |answer| {
            content_of(&answer.json["account_data"]["events"], "org.example.two").is_some()
        })
        .await;
    assert_eq!(content_of(&answer.json["account_data"]["events"], "org.example.one"), None);
    let quiet = syncer.next(0).await;
    assert_eq!(content_of(&quiet.json["account_data"]["events"], "org.example.two"), None);
}

/// Account data of a room is apart from the global and from that of other rooms.
/// spec: client-server-api/#put_matrixclientv3useruseridroomsroomidaccount_datatype
/// covers: PUT /_matrix/client/v3/user/{userId}/rooms/{roomId}/account_data/{type}
/// covers: GET /_matrix/client/v3/user/{userId}/rooms/{roomId}/account_data/{type}
#[tokio::test]
async fn room_account_data_is_its_own() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let (one, two) = (alice.create_public_room().await, alice.create_public_room().await);
    alice.put(&in_room(&alice, &one, "org.example.x"), json!({"in": "one"})).await.expect_ok();
    alice.get(&in_room(&alice, &one, "org.example.x")).await.expect_ok().has("in", "one");
    alice.get(&in_room(&alice, &two, "org.example.x")).await.expect_err(404, "M_NOT_FOUND");
    alice.get(&global(&alice, "org.example.x")).await.expect_err(404, "M_NOT_FOUND");
}

/// Room account data comes down in the room's entry.
/// spec: client-server-api/#client-config
/// covers: PUT /_matrix/client/v3/user/{userId}/rooms/{roomId}/account_data/{type}
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn room_account_data_comes_down_sync() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    let mut syncer = alice.syncer().await;
    alice.put(&in_room(&alice, &room, "org.example.x"), json!({"n": 7})).await.expect_ok();
    let content = syncer
        .until_some("the room's account data", |answer| {
            content_of(room_account_data(answer, &room), "org.example.x").cloned()
        })
        .await;
    assert_eq!(content, json!({"n": 7}));
}

/// Account data is private.
/// spec: client-server-api/#client-config
/// covers: PUT /_matrix/client/v3/user/{userId}/account_data/{type}
/// covers: GET /_matrix/client/v3/user/{userId}/account_data/{type}
/// covers: PUT /_matrix/client/v3/user/{userId}/rooms/{roomId}/account_data/{type}
/// covers: GET /_matrix/client/v3/user/{userId}/rooms/{roomId}/account_data/{type}
#[tokio::test]
async fn other_users_account_data_is_out_of_reach() {
    let server = Server::shared().await;
    let (alice, mallory) = (server.register("alice").await, server.register("mallory").await);
    let room = alice.create_public_room().await;
    mallory.join(&room).await;
    alice.put(&global(&alice, "org.example.x"), json!({"secret": 1})).await.expect_ok();
    alice.put(&in_room(&alice, &room, "org.example.x"), json!({"secret": 1})).await.expect_ok();
    for path in [global(&alice, "org.example.x"), in_room(&alice, &room, "org.example.x")] {
        mallory.get(&path).await.expect_err(403, "M_FORBIDDEN");
        mallory.put(&path, json!({"secret": 2})).await.expect_err(403, "M_FORBIDDEN");
        alice.get(&path).await.expect_ok().has("secret", 1);
    }
}

/// What was never put is not found.
/// spec: client-server-api/#get_matrixclientv3useruseridaccount_datatype
/// covers: GET /_matrix/client/v3/user/{userId}/account_data/{type}
#[tokio::test]
async fn unknown_type_is_not_found() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    alice.get(&global(&alice, "org.example.never")).await.expect_err(404, "M_NOT_FOUND");
}

/// Only JSON objects are content.
/// spec: client-server-api/#put_matrixclientv3useruseridaccount_datatype
/// covers: PUT /_matrix/client/v3/user/{userId}/account_data/{type}
#[tokio::test]
async fn content_must_be_an_object() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    for path in [global(&alice, "org.example.x"), in_room(&alice, &room, "org.example.x")] {
        for body in ["[1]", "\"text\"", "7", "null", "{broken"] {
            let answer = alice.request(Method::PUT, &path).body(body).await;
            answer.expect_err_of(&[(400, "M_BAD_JSON"), (400, "M_NOT_JSON")]);
        }
    }
}

/// Types that the server manages are not set this way.
/// spec: client-server-api/#put_matrixclientv3useruseridaccount_datatype
/// covers: PUT /_matrix/client/v3/user/{userId}/account_data/{type}
/// covers: PUT /_matrix/client/v3/user/{userId}/rooms/{roomId}/account_data/{type}
#[tokio::test]
async fn managed_types_are_refused() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    let refusals = [(405, "M_BAD_JSON"), (405, "M_UNRECOGNIZED")];
    let rules = alice.put(&global(&alice, "m.push_rules"), json!({"global": {}})).await;
    rules.expect_err_of(&refusals);
    let read = alice.put(&in_room(&alice, &room, "m.fully_read"), json!({"event_id": "$x"})).await;
    read.expect_err_of(&refusals);
}

/// Account data outlives a crash.
/// spec: client-server-api/#client-config
/// covers: PUT /_matrix/client/v3/user/{userId}/account_data/{type}
#[tokio::test]
async fn account_data_survives_a_crash() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    alice.put(&global(&alice, "org.example.x"), json!({"kept": true})).await.expect_ok();
    server.kill9();
    server.start_again().await;
    alice.get(&global(&alice, "org.example.x")).await.expect_ok().has("kept", true);
}

/// An account-data document may be large, within reason.
/// spec: client-server-api/#client-config
/// covers: PUT /_matrix/client/v3/user/{userId}/account_data/{type}
#[tokio::test]
async fn forty_kilobytes_are_accepted() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let content = json!({"text": "x".repeat(40_000)});
    alice.put(&global(&alice, "org.example.large"), content.clone()).await.expect_ok();
    assert_eq!(alice.get(&global(&alice, "org.example.large")).await.expect_ok().json, content);
}
