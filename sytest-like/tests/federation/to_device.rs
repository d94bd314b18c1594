//! Messages between devices of different servers.

use super::ground::{Shared, with_fake};
use sytest_like::{Response, User, Value, json, path, unique};

const EDU: &str = "m.direct_to_device";

/// The messages in an answer, as the device gets them.
fn messages(answer: &Response) -> Vec<Value> {
    answer.json["to_device"]["events"].as_array().cloned().unwrap_or_default()
}

/// An EDU with a message for a device, or for `*`.
fn message(sender: &str, id: &str, to: &User, device_id: &str, content: &Value) -> Value {
    json!({
        "sender": sender, "type": "org.example.test", "message_id": id,
        "messages": {&to.id: {device_id: content}},
    })
}

/// A message reaches the device that it is for, and a message for all devices each of them.
/// spec: server-server-api/#send-to-device-messaging
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn messages_from_elsewhere_arrive() {
    let (server, fake) = with_fake().await;
    let phone = server.register("alice").await;
    let laptop = phone.login().await;
    let bob = fake.user("bob");

    let one = message(&bob, &unique("id"), &phone, &phone.device_id, &json!({"n": 1}));
    fake.send_edu(server.name(), EDU, one).await;
    let all = message(&bob, &unique("id"), &phone, "*", &json!({"n": 2}));
    fake.send_edu(server.name(), EDU, all).await;

    let got = |n: i64| json!({"type": "org.example.test", "sender": bob, "content": {"n": n}});
    assert_eq!(messages(&phone.sync().await), [got(1), got(2)]);
    assert_eq!(messages(&laptop.sync().await), [got(2)]);
}

/// A message that is sent again is delivered once: in the same transaction, in another, and after a restart.
/// spec: server-server-api/#send-to-device-messaging
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn repeated_message_is_delivered_once() {
    let (server, fake) = with_fake().await;
    let alice = server.register("alice").await;
    let content = message(&fake.user("bob"), "the-same-id", &alice, &alice.device_id, &json!({"n": 1}));
    let edu = json!({"edu_type": EDU, "content": content});

    fake.transaction(server.name(), &[], &[edu.clone(), edu.clone()]).await.expect_ok();
    fake.transaction(server.name(), &[], &[edu.clone()]).await.expect_ok();
    server.restart().await;
    fake.transaction(server.name(), &[], &[edu]).await.expect_ok();

    assert_eq!(messages(&alice.sync().await).len(), 1);
}

/// Ids of messages are those of their server: another may use the same.
/// spec: server-server-api/#send-to-device-messaging
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn two_servers_may_use_the_same_id() {
    let (server, fake) = with_fake().await;
    let other = sytest_like::FakeServer::start().await;
    let alice = server.register("alice").await;

    for from in [&fake, &other] {
        let content = message(&from.user("bob"), "1", &alice, &alice.device_id, &json!({}));
        from.send_edu(server.name(), EDU, content).await;
    }

    assert_eq!(messages(&alice.sync().await).len(), 2);
}

/// A server delivers messages of its own users only, for users here only, and none that are too large.
/// spec: server-server-api/#send-to-device-messaging
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn wrong_messages_are_not_delivered() {
    let (server, fake) = with_fake().await;
    let (alice, carol) = (server.register("alice").await, server.register("carol").await);
    let bob = fake.user("bob");
    let device = &alice.device_id;
    let mut of_long_type = message(&bob, "3", &alice, device, &json!({}));
    of_long_type["type"] = json!("x".repeat(300));
    let wrong = [
        message(&carol.id, "1", &alice, device, &json!({})),
        message(&bob, "2", &alice, device, &json!({"x": "x".repeat(70_000)})),
        of_long_type,
        message(&bob, "4", &alice, device, &json!("no object")),
        message(&bob, &"5".repeat(1000), &alice, device, &json!({})),
        message(&bob, "\u{0}", &alice, device, &json!({})),
        message(&bob, "6", &alice, "NOSUCHDEVICE", &json!({})),
    ];
    for content in wrong {
        fake.send_edu(server.name(), EDU, content).await;
    }
    fake.send_edu(server.name(), EDU, message(&bob, "7", &alice, device, &json!({"n": 7}))).await;

    let got = messages(&alice.sync().await);

    assert_eq!(got.len(), 1, "{got:?}");
    assert_eq!(got[0]["content"], json!({"n": 7}));
}

async fn send(sender: &User, txn: &str, to: &str, content: Value) {
    let path = path!("/v3/sendToDevice/{}/{}", "org.example.test", txn);
    sender.put(&path, json!({"messages": {to: {"DEVICE": content}}})).await.expect_ok();
}

/// Messages for devices elsewhere reach their server, once for each request.
/// spec: server-server-api/#send-to-device-messaging
/// covers: PUT /_matrix/client/v3/sendToDevice/{eventType}/{txnId}
#[tokio::test]
async fn messages_for_elsewhere_are_sent_once() {
    let (server, fake) = with_fake().await;
    let alice = server.register("alice").await;
    let bob = fake.user("bob");
    let txn = unique("txn");

    send(&alice, &txn, &bob, json!({"n": 1})).await;
    send(&alice, &txn, &bob, json!({"n": 1})).await;
    send(&alice, &unique("txn"), &bob, json!({"n": 2})).await;

    fake.wait_for_edu(EDU, |content| content["messages"][&bob]["DEVICE"] == json!({"n": 2})).await;
    let sent = fake.edus_received(EDU);
    let numbers: Vec<&Value> = sent.iter().map(|content| &content["messages"][&bob]["DEVICE"]["n"]).collect();
    assert_eq!(numbers, [1, 2]);
    for content in &sent {
        assert_eq!((&content["sender"], &content["type"]), (&json!(alice.id), &json!("org.example.test")));
        let id = content["message_id"].as_str().expect("an id");
        assert!(!id.is_empty() && id.chars().count() <= 32, "{id}");
    }
    assert_ne!(sent[0]["message_id"], sent[1]["message_id"]);
}

/// A message for a server that is away waits until it is back, though this one was restarted meanwhile.
/// spec: server-server-api/#send-to-device-messaging
/// covers: PUT /_matrix/client/v3/sendToDevice/{eventType}/{txnId}
#[tokio::test]
async fn messages_wait_for_a_server_that_is_away() {
    let shared = Shared::start().await;
    shared.fake.go_down();
    send(&shared.alice, &unique("txn"), &shared.bob, json!({"n": 1})).await;
    shared.server.restart().await;

    shared.fake.come_back().await;
    shared.fake.send_edu(shared.server.name(), "org.example.hello", json!({})).await;

    let is_it = |content: &Value| content["messages"][&shared.bob]["DEVICE"] == json!({"n": 1});
    shared.fake.wait_for_edu(EDU, is_it).await;
}
