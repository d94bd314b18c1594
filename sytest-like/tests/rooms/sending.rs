//! Sending messages: what comes out, and transaction identifiers.

use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use http::Method;
use sytest_like::{Server, User, json, path, timeline, unique};

use super::ground::{bodies, ids, page, room_with, try_send, try_text, two, walk};

fn send_path(room: &str, txn: &str) -> String {
    path!("/v3/rooms/{}/send/m.room.message/{}", room, txn)
}

async fn send_as(user: &User, room: &str, txn: &str, body: &str) -> String {
    let content = json!({"msgtype": "m.text", "body": body});
    user.put(&send_path(room, txn), content).await.expect_ok().str("event_id").to_owned()
}

/// An event comes back as it was sent, with the fields that clients get and none of the others.
/// spec: client-server-api/#room-event-format
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}
#[tokio::test]
async fn event_comes_back_as_sent() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as i64;
    let before = now();
    let content = json!({
        "msgtype": "m.text",
        "body": "snow \u{2603} \u{1F407} \"quoted\" \\ \n\t",
        "org.example.deep": {"list": [1, null, true, {"x": ""}], "empty": {}},
        "": "empty key",
        "ключ": "значение",
    });
    let event = alice.send(&room, "m.room.message", content.clone()).await;
    let got = bob.get_event(&room, &event).await.expect_ok();
    assert_eq!(got["content"], content);
    assert_eq!(got["event_id"], event.as_str());
    assert_eq!(got["room_id"], room.as_str());
    assert_eq!(got["sender"], alice.id.as_str());
    assert_eq!(got["type"], "m.room.message");
    let sent_at = got.int("origin_server_ts");
    assert!((before..=now()).contains(&sent_at), "{got}");
    for key in ["state_key", "prev_events", "auth_events", "hashes", "signatures", "depth", "redacts"] {
        assert!(got.get(key).is_none(), "{key}: {got}");
    }
}

/// Any type of event can be sent, whatever is in its name.
/// spec: client-server-api/#put_matrixclientv3roomsroomidsendeventtypetxnid
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}
#[tokio::test]
async fn any_type_can_be_sent() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    for kind in ["org.example.custom", "with/slash", "with space", "100%", "\u{2603}", "m.unknown", "*"] {
        let event = alice.send(&room, kind, json!({"n": 1})).await;
        let got = bob.get_event(&room, &event).await.expect_ok();
        assert_eq!(got["type"], kind);
    }
}

/// An empty object is content enough; anything but an object is not.
/// spec: client-server-api/#put_matrixclientv3roomsroomidsendeventtypetxnid
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
#[tokio::test]
async fn content_is_an_object() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    try_send(&alice, &room, "org.example.x", json!({})).await.expect_ok();
    for wrong in [json!([]), json!("text"), json!(1), json!(null), json!([{}])] {
        let answer = try_send(&alice, &room, "org.example.x", wrong).await;
        answer.expect_err_of(&[(400, "M_BAD_JSON"), (400, "M_NOT_JSON"), (400, "M_UNKNOWN")]);
    }
    for wrong in ["", "{", "{\"a\":}", "nonsense", "{\"a\": 1} trailing"] {
        let request =
            alice.request(Method::PUT, &path!("/v3/rooms/{}/send/org.example.x/{}", room, unique("t")));
        let answer = request.body(wrong).await;
        answer.expect_err_of(&[(400, "M_NOT_JSON"), (400, "M_BAD_JSON")]);
    }
}

/// Only members send.
/// spec: client-server-api/#put_matrixclientv3roomsroomidsendeventtypetxnid
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
#[tokio::test]
async fn only_members_send() {
    let (alice, bob) = two().await;
    let room = alice.create_public_room().await;
    try_text(&bob, &room).await.expect_err(403, "M_FORBIDDEN");
    let unknown = format!("!{}:{}", unique("unknown"), alice.server.name());
    try_text(&bob, &unknown).await.expect_refused();
    assert!(bodies(&walk(&alice, &room, "b", 10).await).is_empty());
}

/// A repeated transaction is the first one: same id, one event, the content of the first.
/// spec: client-server-api/#transaction-identifiers
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test]
async fn repeated_transaction_is_the_first() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    let txn = unique("txn");
    let first = send_as(&alice, &room, &txn, "first").await;
    bob.send_text(&room, "between").await;
    assert_eq!(send_as(&alice, &room, &txn, "first").await, first);
    assert_eq!(send_as(&alice, &room, &txn, "something else").await, first);
    assert_eq!(bodies(&walk(&bob, &room, "f", 20).await), ["first", "between"]);
}

/// The same transaction many times at once is sent once.
/// spec: client-server-api/#transaction-identifiers
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test]
async fn concurrent_repeats_are_one_event() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    let txn = unique("txn");
    let sent = join_all((0..10).map(|_| send_as(&alice, &room, &txn, "once"))).await;
    assert!(sent.iter().all(|id| *id == sent[0]), "{sent:?}");
    assert_eq!(bodies(&walk(&bob, &room, "b", 20).await), ["once"]);
}

/// Each user and each device has transactions of its own.
/// spec: client-server-api/#transaction-identifiers
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
#[tokio::test]
async fn transactions_belong_to_a_device() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    let phone = alice.login().await;
    let txn = unique("txn");
    let mut sent = Vec::new();
    for user in [&alice, &phone, &bob] {
        sent.push(send_as(user, &room, &txn, &user.device_id).await);
    }
    sent.sort();
    sent.dedup();
    assert_eq!(sent.len(), 3);
    assert_eq!(bodies(&walk(&bob, &room, "f", 20).await).len(), 3);
}

/// Each room has transactions of its own.
/// spec: client-server-api/#transaction-identifiers
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
#[tokio::test]
async fn transactions_belong_to_a_room() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let (one, two) = (alice.create_public_room().await, alice.create_public_room().await);
    let txn = unique("txn");
    let first = send_as(&alice, &one, &txn, "one").await;
    let second = send_as(&alice, &two, &txn, "two").await;
    assert_ne!(first, second);
    assert_eq!(bodies(&walk(&alice, &one, "f", 20).await), ["one"]);
    assert_eq!(bodies(&walk(&alice, &two, "f", 20).await), ["two"]);
}

/// A device that logs in anew goes on with its transactions.
/// spec: client-server-api/#transaction-identifiers
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
/// covers: POST /_matrix/client/v3/login
#[tokio::test]
async fn transactions_outlive_the_access_token() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    let txn = unique("txn");
    let first = send_as(&alice, &room, &txn, "once").await;
    let mut body = alice.password_login();
    body["device_id"] = json!(alice.device_id);
    let answer = server.post("/v3/login", body).await.expect_ok();
    let again = User::from_login(&server, &answer, &alice.password);
    assert_eq!(again.device_id, alice.device_id);
    assert_eq!(send_as(&again, &room, &txn, "once").await, first);
    assert_eq!(bodies(&walk(&again, &room, "f", 20).await), ["once"]);
}

/// A refused transaction may be tried again and succeeds then.
/// spec: client-server-api/#transaction-identifiers
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
#[tokio::test]
async fn refused_transaction_can_be_repeated() {
    let (alice, bob) = two().await;
    let room = alice.create_public_room().await;
    let path = send_path(&room, &unique("txn"));
    let content = json!({"msgtype": "m.text", "body": "patience"});
    bob.put(&path, content.clone()).await.expect_err(403, "M_FORBIDDEN");
    bob.join(&room).await;
    let event = bob.put(&path, content).await.expect_ok().str("event_id").to_owned();
    alice.get_event(&room, &event).await.expect_ok();
}

/// Transactions are remembered over a restart.
/// spec: client-server-api/#transaction-identifiers
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
#[tokio::test]
async fn transactions_survive_a_restart() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    let txn = unique("txn");
    let first = send_as(&alice, &room, &txn, "once").await;
    server.restart().await;
    assert_eq!(send_as(&alice, &room, &txn, "once").await, first);
    server.kill9();
    server.start_again().await;
    assert_eq!(send_as(&alice, &room, &txn, "once").await, first);
    assert_eq!(bodies(&walk(&alice, &room, "f", 20).await), ["once"]);
}

/// The device that sent an event is told its transaction id, everywhere; others are not.
/// spec: client-server-api/#transaction-identifiers
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
/// covers: GET /_matrix/client/v3/rooms/{roomId}/context/{eventId}
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn only_the_sending_device_sees_the_transaction_id() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    let phone = alice.login().await;
    let txn = unique("txn");
    let event = send_as(&alice, &room, &txn, "mine").await;
    for (user, expected) in [(&alice, Some(txn.as_str())), (&phone, None), (&bob, None)] {
        let mut seen = vec![user.get_event(&room, &event).await.expect_ok().json];
        seen.extend(page(user, &room, "b").query("limit", "1").await.expect_ok().array("chunk").clone());
        let context = user.get(&path!("/v3/rooms/{}/context/{}", room, event)).await.expect_ok();
        seen.push(context["event"].clone());
        let sync = user.sync().await;
        seen.extend(timeline(&sync, &room).into_iter().filter(|found| found["event_id"] == event.as_str()));
        assert_eq!(seen.len(), 4, "{seen:?}");
        for found in seen {
            assert_eq!(found["unsigned"]["transaction_id"].as_str(), expected, "{}: {found}", user.device_id);
        }
    }
}

/// Events have their own ids, and come in the order in which they were acknowledged.
/// spec: client-server-api/#sending-events-to-a-room
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test]
async fn acknowledged_order_is_the_order() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    let mut sent = Vec::new();
    for number in 0..20 {
        let user = if number % 2 == 0 { &alice } else { &bob };
        sent.push(user.send_text(&room, &number.to_string()).await);
    }
    let walked = walk(&alice, &room, "f", 6).await;
    let walked = ids(&walked);
    let at = walked.iter().position(|id| *id == sent[0]).expect("the first message");
    assert_eq!(walked[at..], sent);
}

/// Many writers at once lose nothing and double nothing.
/// spec: client-server-api/#sending-events-to-a-room
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test]
async fn concurrent_writers_lose_nothing() {
    const EACH: usize = 15;
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    let write = |user: &User| {
        let (user, room) = (user.clone(), room.clone());
        async move {
            let sends = (0..EACH).map(|number| {
                let (user, room) = (user.clone(), room.clone());
                async move { user.send_text(&room, &number.to_string()).await }
            });
            join_all(sends).await
        }
    };
    let (mut sent, more) = tokio::join!(write(&alice), write(&bob));
    sent.extend(more);
    sent.sort();
    let events = walk(&alice, &room, "b", 7).await;
    let mut found: Vec<&str> =
        ids(&events).into_iter().filter(|id| sent.iter().any(|known| known == id)).collect();
    found.sort_unstable();
    assert_eq!(found, sent);
}
