//! Messages from device to device.

use http::Method;
use sytest_like::{Server, Value, json, path, unique};

use super::ground::{Device, messages, send};

/// A message arrives with its sender, type and content, and wakes a long poll.
/// spec: client-server-api/#send-to-device-messaging
/// covers: PUT /_matrix/client/v3/sendToDevice/{eventType}/{txnId}
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn message_arrives() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let mut syncer = bob.syncer().await;
    let content = json!({"text": "hello \u{0} there", "number": 1});
    let ((), answer) = tokio::join!(
        send(&alice, &bob, &bob.device_id, content.clone()),
        syncer.until("the message", |answer| !messages(answer).is_empty())
    );
    let expected = json!([{"type": "org.example.test", "sender": alice.id, "content": content}]);
    assert_eq!(answer.json["to_device"]["events"], expected);
}

/// A message comes again until a sync goes on from behind it, and then never again.
/// spec: client-server-api/#send-to-device-messaging
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn message_is_repeated_until_confirmed() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let before = bob.sync().await.str("next_batch").to_owned();
    send(&alice, &bob, &bob.device_id, json!({"n": 1})).await;
    let first = bob.sync().since(&before).await;
    let again = bob.sync().since(&before).await;
    assert_eq!(messages(&first), [json!({"n": 1})]);
    assert_eq!(messages(&again), [json!({"n": 1})]);
    let confirmed = bob.sync().since(first.str("next_batch")).await;
    assert_eq!(messages(&confirmed), [] as [Value; 0]);
    let back = bob.sync().since(&before).await;
    assert_eq!(messages(&back), [] as [Value; 0], "it was confirmed");
}

/// The first sync of a device has what came before.
/// spec: client-server-api/#send-to-device-messaging
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn initial_sync_has_waiting_messages() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    send(&alice, &bob, &bob.device_id, json!({"n": 1})).await;
    assert_eq!(messages(&bob.sync().await), [json!({"n": 1})]);
    assert_eq!(messages(&bob.sync().await), [json!({"n": 1})], "nothing was confirmed");
}

/// A message goes to the device that it names and to no other; `*` means all devices.
/// spec: client-server-api/#send-to-device-messaging
/// covers: PUT /_matrix/client/v3/sendToDevice/{eventType}/{txnId}
#[tokio::test]
async fn devices_are_told_apart() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let laptop = bob.login().await;
    send(&alice, &bob, &laptop.device_id, json!({"for": "laptop"})).await;
    send(&alice, &bob, "*", json!({"for": "all"})).await;
    send(&alice, &bob, "NOSUCH", json!({"for": "nobody"})).await;
    assert_eq!(messages(&bob.sync().await), [json!({"for": "all"})]);
    assert_eq!(messages(&laptop.sync().await), [json!({"for": "laptop"}), json!({"for": "all"})]);
    assert_eq!(messages(&alice.sync().await), [] as [Value; 0]);
}

/// One request can have a message for each of several devices of several users.
/// spec: client-server-api/#put_matrixclientv3sendtodeviceeventtypetxnid
/// covers: PUT /_matrix/client/v3/sendToDevice/{eventType}/{txnId}
#[tokio::test]
async fn request_has_many_receivers() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let laptop = bob.login().await;
    let nobody = format!("@nobody:{}", server.name());
    let body = json!({"messages": {
        &bob.id: {&bob.device_id: {"n": 1}, &laptop.device_id: {"n": 2}},
        &alice.id: {"*": {"n": 3}},
        nobody: {"*": {"n": 4}},
    }});
    let path = path!("/v3/sendToDevice/{}/{}", "org.example.test", unique("txn"));
    alice.put(&path, body).await.expect_ok();
    assert_eq!(messages(&bob.sync().await), [json!({"n": 1})]);
    assert_eq!(messages(&laptop.sync().await), [json!({"n": 2})]);
    assert_eq!(messages(&alice.sync().await), [json!({"n": 3})]);
}

/// A request that is repeated sends nothing again; that of another device is another request.
/// spec: client-server-api/#transaction-identifiers
/// covers: PUT /_matrix/client/v3/sendToDevice/{eventType}/{txnId}
#[tokio::test]
async fn transaction_is_carried_out_once() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let laptop = alice.login().await;
    let path = path!("/v3/sendToDevice/{}/{}", "org.example.test", "the-transaction");
    let body = |n: u32| json!({"messages": {&bob.id: {"*": {"n": n}}}});
    for _ in 0..3 {
        alice.put(&path, body(1)).await.expect_ok();
    }
    laptop.put(&path, body(2)).await.expect_ok();
    let long = path!("/v3/sendToDevice/{}/{}", "org.example.test", "x".repeat(1500));
    alice.put(&long, body(3)).await.expect_ok();
    let expected = [json!({"n": 1}), json!({"n": 2}), json!({"n": 3})];
    assert_eq!(messages(&bob.sync().await), expected);
}

/// Messages of one sender keep their order, and a response holds a hundred at most; each comes once.
/// spec: client-server-api/#send-to-device-messaging
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn many_messages_come_in_order() {
    const MESSAGES: usize = 230;
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = alice.create_public_room().await;
    bob.join(&room).await;
    let mut syncer = bob.syncer().await;
    for number in 0..MESSAGES {
        send(&alice, &bob, "*", json!({"n": number})).await;
    }
    let said = alice.send_text(&room, "beside them").await;
    let mut heard = Vec::new();
    let mut timeline = Vec::new();
    while heard.len() < MESSAGES {
        let answer = syncer.next(10_000).await;
        let part = messages(&answer);
        assert!((1..=100).contains(&part.len()), "{}", part.len());
        heard.extend(part);
        timeline.extend(sytest_like::timeline_ids(&answer, &room));
    }
    assert_eq!(heard, (0..MESSAGES).map(|number| json!({"n": number})).collect::<Vec<_>>());
    assert_eq!(timeline, [said]);
    assert_eq!(messages(&syncer.next(0).await), [] as [Value; 0]);
}

/// A token that was given while messages were left works wherever tokens do.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
/// covers: GET /_matrix/client/v3/keys/changes
#[tokio::test]
async fn token_before_the_last_message_is_a_token() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = bob.create_public_room().await;
    for number in 0..120 {
        send(&alice, &bob, "*", json!({"n": number})).await;
    }
    let first = bob.sync().await;
    assert_eq!(messages(&first).len(), 100);
    let token = first.str("next_batch");
    bob.get("/v3/keys/changes").query("from", token).query("to", token).await.expect_ok();
    bob.get(&path!("/v3/rooms/{}/messages", room)).query("from", token).query("dir", "b").await.expect_ok();
    assert_eq!(messages(&bob.sync().since(token).await).len(), 20);
    assert_eq!(messages(&bob.sync().since(token).await).len(), 20, "the rest was not confirmed");
}

/// What is too large, or no object, is refused, and then nothing is sent.
/// spec: client-server-api/#put_matrixclientv3sendtodeviceeventtypetxnid
/// covers: PUT /_matrix/client/v3/sendToDevice/{eventType}/{txnId}
/// not on synapse: it has other limits
#[tokio::test]
async fn unfit_messages_are_refused() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let path = || path!("/v3/sendToDevice/{}/{}", "org.example.test", unique("txn"));
    let large = json!({"messages": {&bob.id: {"*": {"text": "x".repeat(70_000)}, "OTHER": {}}}});
    alice.put(&path(), large).await.expect_err(413, "M_TOO_LARGE");
    for body in [
        json!({}),
        json!({"messages": []}),
        json!({"messages": {&bob.id: []}}),
        json!({"messages": {&bob.id: {"*": "text"}}}),
        json!({"messages": {"nobody": {"*": {}}}}),
    ] {
        alice.put(&path(), body).await.expect_refused();
    }
    let long_type = path!("/v3/sendToDevice/{}/{}", "t".repeat(300), unique("txn"));
    alice.put(&long_type, json!({"messages": {&bob.id: {"*": {}}}})).await.expect_refused();
    assert_eq!(messages(&bob.sync().await), [] as [Value; 0]);
}

/// A deleted device takes its messages with it; a new one with its id does not get them.
/// spec: client-server-api/#send-to-device-messaging
/// covers: PUT /_matrix/client/v3/sendToDevice/{eventType}/{txnId}
/// covers: DELETE /_matrix/client/v3/devices/{deviceId}
#[tokio::test]
async fn messages_go_with_their_device() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let laptop = bob.login().await;
    Device::new(&laptop).await;
    send(&alice, &bob, &laptop.device_id, json!({"n": 1})).await;
    let path = path!("/v3/devices/{}", laptop.device_id);
    bob.with_password(Method::DELETE, &path, json!({})).await.expect_ok();
    let mut login = bob.password_login();
    login["device_id"] = laptop.device_id.as_str().into();
    let answer = server.post("/v3/login", login).await.expect_ok();
    let again = sytest_like::User::from_login(&server, &answer, &bob.password);
    assert_eq!(messages(&again.sync().await), [] as [Value; 0]);
}

/// A message for another device does not end a long poll.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn other_device_sleeps_on() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let laptop = bob.login().await;
    let mut syncer = bob.syncer().await;
    send(&alice, &bob, &laptop.device_id, json!({"n": 1})).await;
    send(&alice, &bob, &bob.device_id, json!({"n": 2})).await;
    let answer = syncer.next(10_000).await;
    assert_eq!(messages(&answer), [json!({"n": 2})]);
}
