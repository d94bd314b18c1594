//! Dehydrated devices (MSC3814).

use http::Method;
use sytest_like::{Server, User, Value, json, path};

use super::ground::{Device, Identity, Key, messages, query, send};

const PATH: &str = "/unstable/org.matrix.msc3814.v1/dehydrated_device";

/// The id that a dehydrated device has: its curve25519 key.
fn id(words: &str) -> String {
    Key::new(words).public()
}

/// A dehydrated device with a key of each kind, signed by its user, and the body that uploads it.
async fn dehydrated(user: &User, words: &str) -> (Device, Value) {
    let identity = Identity::new(user).await;
    let device = Device::bare(&User { device_id: id(words), ..user.clone() });
    let mut keys = device.keys();
    keys["dehydrated"] = true.into();
    keys["keys"][format!("curve25519:{}", id(words))] = id(words).into();
    let body = json!({
        "device_id": id(words),
        "device_data": {"algorithm": "m.dehydration.v2", "device_pickle": "encrypted"},
        "initial_device_display_name": "Dehydrated device",
        "device_keys": signed(&device, &identity, keys),
        "one_time_keys": {"signed_curve25519:AAAA": device.one_time_key("AAAA", false)},
        "fallback_keys": {"signed_curve25519:FFFF": device.one_time_key("FFFF", true)},
    });
    (device, body)
}

/// Device keys with the signatures of the device and of its user.
fn signed(device: &Device, identity: &Identity, mut keys: Value) -> Value {
    keys.as_object_mut().expect("an object").remove("signatures");
    device.key.sign(&mut keys, &device.user.id, &device.key_id());
    identity.self_signing.sign(&mut keys, &device.user.id, &identity.self_signing.id());
    keys
}

/// Where the messages for a dehydrated device are.
fn events_path(words: &str) -> String {
    format!("{PATH}{}", path!("/{}/events", id(words)))
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
    let (device, body) = dehydrated(&alice, "DRY").await;
    alice.put(PATH, body.clone()).await.expect_ok().has("device_id", id("DRY"));
    let found = alice.get(PATH).await.expect_ok().has("device_id", id("DRY"));
    assert_eq!(found.json["device_data"], body["device_data"], "{found}");
    let told = query(&bob, &alice).await;
    assert_eq!(told.json["device_keys"][&alice.id][id("DRY")]["dehydrated"], true, "{told}");
    assert_eq!(device.claimed_by(&bob).await.as_deref(), Some("AAAA"));
    assert_eq!(device.claimed_by(&bob).await.as_deref(), Some("FFFF"));
    alice.delete(PATH).await.expect_ok().has("device_id", id("DRY"));
    alice.get(PATH).await.expect_err(404, "M_NOT_FOUND");
    let told = query(&bob, &alice).await;
    assert!(told.json["device_keys"][&alice.id].get(id("DRY")).is_none(), "{told}");
}

/// There is one dehydrated device; a new one replaces it, and an ordinary one cannot be replaced.
/// spec: client-server-api/#server-side-key-backups
/// covers: GET /_matrix/client/v3/devices
/// not on synapse: it is switched off there
#[tokio::test]
async fn new_device_replaces_the_old() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    alice.put(PATH, dehydrated(&alice, "FIRST").await.1).await.expect_ok();
    alice.put(PATH, dehydrated(&alice, "SECOND").await.1).await.expect_ok();
    alice.put(PATH, dehydrated(&alice, "SECOND").await.1).await.expect_ok();
    alice.get(PATH).await.expect_ok().has("device_id", id("SECOND"));
    let mut devices = alice.get("/v3/devices").await.expect_ok().column("devices", "device_id");
    devices.sort();
    let mut expected = vec![alice.device_id.clone(), id("SECOND")];
    expected.sort();
    assert_eq!(devices, expected);
    // A session can choose such an id too.
    let mut login = alice.password_login();
    login["device_id"] = id("THIRD").into();
    alice.server.post("/v3/login", login).await.expect_ok();
    alice.put(PATH, dehydrated(&alice, "THIRD").await.1).await.expect_err(403, "M_FORBIDDEN");
    alice.get("/v3/account/whoami").await.expect_ok();
    alice.get(PATH).await.expect_ok().has("device_id", id("SECOND"));
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
    alice.put(PATH, dehydrated(&alice, "DRY").await.1).await.expect_ok();
    for number in 0..MESSAGES {
        send(&bob, &alice, &id("DRY"), json!({"n": number})).await;
    }
    let events = events_path("DRY");
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
    let events = events_path("DRY");
    alice.get(&events).await.expect_err(403, "M_FORBIDDEN");
    bob.put(PATH, dehydrated(&bob, "DRY").await.1).await.expect_ok();
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
    alice.put(PATH, dehydrated(&alice, "DRY").await.1).await.expect_ok();
    let (_, good) = dehydrated(&alice, "NEW").await;
    for (field, value) in [
        ("device_id", json!(1)),
        ("device_id", json!("")),
        ("device_data", json!({})),
        ("device_data", json!("text")),
        ("device_keys", Value::Null),
        ("device_keys", json!({})),
        ("device_keys", dehydrated(&alice, "OTHER").await.1["device_keys"].clone()),
        ("one_time_keys", json!({"rubbish": 1})),
        ("fallback_keys", Value::Null),
        ("fallback_keys", json!({})),
    ] {
        let mut body = good.clone();
        body[field] = value;
        alice.put(PATH, body).await.expect_refused();
    }
    alice.get(PATH).await.expect_ok().has("device_id", id("DRY"));
    for path in [path!("/v3/devices/{}", id("NEW")), path!("/v3/devices/{}", id("OTHER"))] {
        alice.get(&path).await.expect_err(404, "M_NOT_FOUND");
    }
}

/// A dehydrated device says that it is one, is named after its key, and is signed by its user: others would not use it.
/// spec: client-server-api/#post_matrixclientv3keysupload
/// covers: POST /_matrix/client/v3/keys/upload
/// not on synapse: it is switched off there, and does not look
#[tokio::test]
async fn device_must_be_usable() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let device = Device::bare(&User { device_id: id("DRY"), ..alice.clone() });
    // The body is signed by a key that is not uploaded.
    let identity = Identity::bare(&alice, "first");
    let mut keys = device.keys();
    keys["dehydrated"] = true.into();
    keys["keys"][format!("curve25519:{}", id("DRY"))] = id("DRY").into();
    let mut body = json!({
        "device_id": id("DRY"),
        "device_data": {"algorithm": "m.dehydration.v2"},
        "device_keys": signed(&device, &identity, keys.clone()),
        "fallback_keys": {"signed_curve25519:FFFF": device.one_time_key("FFFF", true)},
    });
    alice.put(PATH, body.clone()).await.expect_err(400, "M_INVALID_SIGNATURE");

    let identity = Identity::new(&alice).await;
    let mut unsigned = keys.clone();
    unsigned.as_object_mut().expect("an object").remove("signatures");
    device.key.sign(&mut unsigned, &alice.id, &device.key_id());
    let mut forged = signed(&device, &identity, keys.clone());
    forged["signatures"][&alice.id][identity.self_signing.id()] =
        forged["signatures"][&alice.id][device.key_id()].clone();
    let others = signed(&device, &Identity::new(&bob).await, keys.clone());
    for bad in [unsigned, forged, others] {
        body["device_keys"] = bad;
        alice.put(PATH, body.clone()).await.expect_err(400, "M_INVALID_SIGNATURE");
    }
    for (field, value) in
        [("dehydrated", json!(false)), ("dehydrated", json!("true")), ("dehydrated", Value::Null)]
    {
        let mut bad = keys.clone();
        bad[field] = value;
        body["device_keys"] = signed(&device, &identity, bad);
        alice.put(PATH, body.clone()).await.expect_err(400, "M_INVALID_PARAM");
    }
    let mut bad = keys.clone();
    bad["keys"][format!("curve25519:{}", id("DRY"))] = id("OTHER").into();
    body["device_keys"] = signed(&device, &identity, bad);
    alice.put(PATH, body.clone()).await.expect_err(400, "M_INVALID_PARAM");
    alice.get(PATH).await.expect_err(404, "M_NOT_FOUND");

    body["device_keys"] = signed(&device, &identity, keys);
    alice.put(PATH, body).await.expect_ok().has("device_id", id("DRY"));
}

/// It goes as any device does, and with all sessions.
/// spec: client-server-api/#post_matrixclientv3logoutall
/// covers: POST /_matrix/client/v3/logout/all
/// covers: DELETE /_matrix/client/v3/devices/{deviceId}
/// not on synapse: it is switched off there
#[tokio::test]
async fn device_goes_as_others_do() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    alice.put(PATH, dehydrated(&alice, "DRY").await.1).await.expect_ok();
    let path = path!("/v3/devices/{}", id("DRY"));
    alice.with_password(Method::DELETE, &path, json!({})).await.expect_ok();
    alice.get(PATH).await.expect_err(404, "M_NOT_FOUND");
    alice.put(PATH, dehydrated(&alice, "DRY").await.1).await.expect_ok();
    alice.post("/v3/logout/all", json!({})).await.expect_ok();
    let told = query(&bob, &alice).await;
    assert!(told.json["device_keys"][&alice.id].get(id("DRY")).is_none(), "{told}");
    let again = alice.login().await;
    again.get(PATH).await.expect_err(404, "M_NOT_FOUND");
}

/// Messages for it survive a crash, as does the device.
/// spec: client-server-api/#send-to-device-messaging
/// covers: PUT /_matrix/client/v3/sendToDevice/{eventType}/{txnId}
/// not on synapse: it is switched off there
#[tokio::test]
async fn device_and_messages_survive_a_crash() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    alice.put(PATH, dehydrated(&alice, "DRY").await.1).await.expect_ok();
    send(&bob, &alice, "*", json!({"n": 1})).await;
    server.kill9();
    server.start_again().await;
    alice.get(PATH).await.expect_ok().has("device_id", id("DRY"));
    let heard = alice.get(&events_path("DRY")).await.expect_ok();
    assert_eq!(heard.array("events").len(), 1, "{heard}");
}
