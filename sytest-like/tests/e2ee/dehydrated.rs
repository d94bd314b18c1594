//! Dehydrated devices (MSC3814).

use sytest_like::{Server, User, Value, json, path};

use super::ground::{Device, messages, query, send};

const PATH: &str = "/unstable/org.matrix.msc3814.v1/dehydrated_device";

/// A dehydrated device with a key of each kind, and the body that uploads it.
fn dehydrated(user: &User, device_id: &str) -> (Device, Value) {
    let device = Device::bare(&User { device_id: device_id.to_owned(), ..user.clone() });
    let mut keys = device.keys();
    keys["dehydrated"] = true.into();
    device.key.sign(&mut keys, &user.id, &device.key_id());
    let body = json!({
        "device_id": device_id,
        "device_data": {"algorithm": "m.dehydration.v2", "device_pickle": "encrypted"},
        "initial_device_display_name": "Dehydrated device",
        "device_keys": keys,
        "one_time_keys": {"signed_curve25519:AAAA": device.one_time_key("AAAA", false)},
        "fallback_keys": {"signed_curve25519:FFFF": device.one_time_key("FFFF", true)},
    });
    (device, body)
}

/// A dehydrated device is kept, found, has keys as any device, and is deleted.
/// spec: client-server-api/#server-side-key-backups
/// covers: POST /_matrix/client/v3/keys/query
/// not on synapse: it is switched off there
#[tokio::test]
async fn device_is_kept_and_found() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    alice.get(PATH).await.expect_err(404, "M_NOT_FOUND");
    alice.delete(PATH).await.expect_err(404, "M_NOT_FOUND");
    let (device, body) = dehydrated(&alice, "DRY");
    alice.put(PATH, body.clone()).await.expect_ok().has("device_id", "DRY");
    let found = alice.get(PATH).await.expect_ok().has("device_id", "DRY");
    assert_eq!(found.json["device_data"], body["device_data"], "{found}");
    let told = query(&bob, &alice).await;
    assert_eq!(told.json["device_keys"][&alice.id]["DRY"]["dehydrated"], true, "{told}");
    assert_eq!(device.claimed_by(&bob).await.as_deref(), Some("AAAA"));
    assert_eq!(device.claimed_by(&bob).await.as_deref(), Some("FFFF"));
    alice.delete(PATH).await.expect_ok().has("device_id", "DRY");
    alice.get(PATH).await.expect_err(404, "M_NOT_FOUND");
    let told = query(&bob, &alice).await;
    assert!(told.json["device_keys"][&alice.id].get("DRY").is_none(), "{told}");
}

/// There is one dehydrated device; a new one replaces it, and an ordinary one cannot be replaced.
/// spec: client-server-api/#server-side-key-backups
/// covers: GET /_matrix/client/v3/devices
/// not on synapse: it is switched off there
#[tokio::test]
async fn new_device_replaces_the_old() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    alice.put(PATH, dehydrated(&alice, "FIRST").1).await.expect_ok();
    alice.put(PATH, dehydrated(&alice, "SECOND").1).await.expect_ok();
    alice.put(PATH, dehydrated(&alice, "SECOND").1).await.expect_ok();
    alice.get(PATH).await.expect_ok().has("device_id", "SECOND");
    let mut devices = alice.get("/v3/devices").await.expect_ok().column("devices", "device_id");
    devices.sort();
    let mut expected = vec![alice.device_id.clone(), "SECOND".to_owned()];
    expected.sort();
    assert_eq!(devices, expected);
    let own = dehydrated(&alice, &alice.device_id).1;
    alice.put(PATH, own).await.expect_err(403, "M_FORBIDDEN");
    alice.get("/v3/account/whoami").await.expect_ok();
    alice.get(PATH).await.expect_ok().has("device_id", "SECOND");
}

/// Its messages are read in batches, as often as needed; those who ask by POST always get a token.
/// spec: client-server-api/#send-to-device-messaging
/// covers: PUT /_matrix/client/v3/sendToDevice/{eventType}/{txnId}
/// not on synapse: it is switched off there
#[tokio::test]
async fn messages_are_read_in_batches() {
    const MESSAGES: usize = 130;
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    alice.put(PATH, dehydrated(&alice, "DRY").1).await.expect_ok();
    for number in 0..MESSAGES {
        send(&bob, &alice, "DRY", json!({"n": number})).await;
    }
    let events = format!("{PATH}/DRY/events");
    let numbers =
        |events: &[Value]| -> Vec<Value> { events.iter().map(|e| e["content"]["n"].clone()).collect() };
    let expected: Vec<Value> = (0..MESSAGES).map(|number| json!(number)).collect();
    for _ in 0..2 {
        let first = alice.get(&events).await.expect_ok();
        let second = alice.get(&events).query("from", first.str("next_batch")).await.expect_ok();
        let mut heard = numbers(first.array("events"));
        heard.extend(numbers(second.array("events")));
        assert_eq!(heard, expected);
        second.expect_absent("next_batch");
    }
    let (mut heard, mut body) = (Vec::new(), json!({}));
    loop {
        let answer = alice.post(&events, body).await.expect_ok();
        if answer.array("events").is_empty() {
            break;
        }
        heard.extend(numbers(answer.array("events")));
        body = json!({"next_batch": answer.str("next_batch")});
    }
    assert_eq!(heard, expected);
    assert_eq!(messages(&alice.sync().await), [] as [Value; 0]);
}

/// Only the dehydrated device of the user can be asked for.
/// spec: client-server-api/#send-to-device-messaging
/// covers: GET /_matrix/client/v3/devices
/// not on synapse: it is switched off there
#[tokio::test]
async fn other_devices_are_forbidden() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let events = format!("{PATH}/DRY/events");
    alice.get(&events).await.expect_err(403, "M_FORBIDDEN");
    bob.put(PATH, dehydrated(&bob, "DRY").1).await.expect_ok();
    alice.get(&events).await.expect_err(403, "M_FORBIDDEN");
    let own = format!("{PATH}/{}/events", alice.device_id);
    alice.get(&own).await.expect_err(403, "M_FORBIDDEN");
    bob.get(&events).query("from", "rubbish").await.expect_refused();
}

/// What is no device is refused, and the one there was stays.
/// spec: client-server-api/#post_matrixclientv3keysupload
/// covers: POST /_matrix/client/v3/keys/upload
/// not on synapse: it is switched off there
#[tokio::test]
async fn malformed_device_is_refused() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    alice.put(PATH, dehydrated(&alice, "DRY").1).await.expect_ok();
    let (_, good) = dehydrated(&alice, "NEW");
    for (field, value) in [
        ("device_id", json!(1)),
        ("device_id", json!("")),
        ("device_data", json!({})),
        ("device_data", json!("text")),
        ("device_keys", Value::Null),
        ("device_keys", json!({})),
        ("device_keys", dehydrated(&alice, "OTHER").1["device_keys"].clone()),
        ("one_time_keys", json!({"rubbish": 1})),
    ] {
        let mut body = good.clone();
        body[field] = value;
        alice.put(PATH, body).await.expect_refused();
    }
    alice.get(PATH).await.expect_ok().has("device_id", "DRY");
    for path in [path!("/v3/devices/{}", "NEW"), path!("/v3/devices/{}", "OTHER")] {
        alice.get(&path).await.expect_err(404, "M_NOT_FOUND");
    }
}
