//! Identity keys of devices: `/keys/upload` and `/keys/query`.

use http::Method;
use sytest_like::{Server, json, path};

use super::ground::{Device, query};

/// Uploaded keys are told to others, with the name of the device.
/// spec: client-server-api/#post_matrixclientv3keysquery
/// covers: POST /_matrix/client/v3/keys/upload
/// covers: POST /_matrix/client/v3/keys/query
#[tokio::test]
async fn uploaded_keys_are_told_to_others() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let device = Device::new(&alice).await;
    let rename = json!({"display_name": "Alice's telephone"});
    alice.put(&path!("/v3/devices/{}", alice.device_id), rename).await.expect_ok();
    let answer = query(&bob, &alice).await;
    let mut told = answer.json["device_keys"][&alice.id][&alice.device_id].clone();
    assert_eq!(told["unsigned"]["device_display_name"], "Alice's telephone", "{answer}");
    told.as_object_mut().expect("an object").remove("unsigned");
    assert_eq!(told, device.keys());
}

/// A device without keys is not told of, nor is a user who does not exist.
/// spec: client-server-api/#post_matrixclientv3keysquery
/// covers: POST /_matrix/client/v3/keys/query
#[tokio::test]
async fn what_has_no_keys_is_missing() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let nobody = format!("@nobody:{}", server.name());
    let body = json!({"device_keys": {&alice.id: [], &nobody: []}});
    let answer = alice.post("/v3/keys/query", body).await.expect_ok();
    assert!(
        answer.json["device_keys"][&alice.id].as_object().is_none_or(serde_json::Map::is_empty),
        "{answer}"
    );
    assert!(answer.json["device_keys"].get(&nobody).is_none_or(|devices| devices == &json!({})), "{answer}");
    assert!(answer.json["failures"].as_object().is_none_or(serde_json::Map::is_empty), "{answer}");
}

/// Only the devices asked for are told.
/// spec: client-server-api/#post_matrixclientv3keysquery
/// covers: POST /_matrix/client/v3/keys/query
#[tokio::test]
async fn query_names_devices() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let laptop = alice.login().await;
    Device::new(&alice).await;
    Device::new(&laptop).await;
    let body = json!({"device_keys": {&alice.id: [&laptop.device_id, "NOSUCH"]}});
    let answer = alice.post("/v3/keys/query", body).await.expect_ok();
    let devices = answer.json["device_keys"][&alice.id].as_object().expect("devices").clone();
    assert_eq!(devices.keys().collect::<Vec<_>>(), [&laptop.device_id]);
    let all = query(&alice, &alice).await;
    assert_eq!(all.json["device_keys"][&alice.id].as_object().map(serde_json::Map::len), Some(2), "{all}");
}

/// Keys that name another user or device are refused.
/// spec: client-server-api/#post_matrixclientv3keysupload
/// covers: POST /_matrix/client/v3/keys/upload
#[tokio::test]
async fn keys_of_somebody_else_are_refused() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let laptop = alice.login().await;
    let foreign = Device::bare(&bob).keys();
    alice.post("/v3/keys/upload", json!({"device_keys": foreign})).await.expect_refused();
    let other_device = Device::bare(&laptop).keys();
    alice.post("/v3/keys/upload", json!({"device_keys": other_device})).await.expect_refused();
    let answer = query(&alice, &alice).await;
    assert!(
        answer.json["device_keys"][&alice.id].as_object().is_none_or(serde_json::Map::is_empty),
        "{answer}"
    );
}

/// Keys must be signed by the device itself.
/// spec: client-server-api/#uploading-keys
/// covers: POST /_matrix/client/v3/keys/upload
/// not on synapse: it does not check signatures
#[tokio::test]
async fn keys_with_a_wrong_signature_are_refused() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let device = Device::bare(&alice);
    let mut changed = device.keys();
    changed["algorithms"] = json!(["m.olm.v1.curve25519-aes-sha2"]);
    device.upload(json!({"device_keys": changed})).await.expect_err(400, "M_INVALID_SIGNATURE");
    let mut unsigned = device.keys();
    unsigned.as_object_mut().expect("an object").remove("signatures");
    device.upload(json!({"device_keys": unsigned})).await.expect_err(400, "M_INVALID_SIGNATURE");
    let mut by_other_key = device.keys();
    Device::bare(&alice.login().await).key.sign(&mut by_other_key, &alice.id, &device.key_id());
    device.upload(json!({"device_keys": by_other_key})).await.expect_err(400, "M_INVALID_SIGNATURE");
}

/// Malformed keys are refused with a 400, and nothing of the upload is taken.
/// spec: client-server-api/#post_matrixclientv3keysupload
/// covers: POST /_matrix/client/v3/keys/upload
/// not on synapse: it takes some of these
#[tokio::test]
async fn malformed_keys_are_refused() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let device = Device::bare(&alice);
    let mut fraction = device.keys();
    fraction["extra"] = json!(1.5);
    let mut no_keys = device.keys();
    no_keys["keys"] = json!({});
    let mut short_key = device.keys();
    short_key["keys"][device.key_id()] = json!("AAAA");
    for keys in [json!([]), json!("keys"), json!({}), fraction, no_keys, short_key] {
        let body = json!({
            "device_keys": keys,
            "one_time_keys": {"signed_curve25519:AAAA": device.one_time_key("AAAA", false)},
        });
        device.upload(body).await.expect_refused();
    }
    let answer = device.upload(json!({})).await.expect_ok();
    assert_eq!(answer.json["one_time_key_counts"], json!({}), "{answer}");
}

/// Keys go with their device, whether it logs out or is deleted.
/// spec: client-server-api/#post_matrixclientv3keysquery
/// covers: POST /_matrix/client/v3/keys/query
/// covers: POST /_matrix/client/v3/logout
/// covers: DELETE /_matrix/client/v3/devices/{deviceId}
#[tokio::test]
async fn keys_go_with_their_device() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let (laptop, tablet) = (alice.login().await, alice.login().await);
    for user in [&alice, &laptop, &tablet] {
        Device::new(user).await.upload_one_time_keys(["AAAA".to_owned()]).await;
    }
    laptop.post("/v3/logout", json!({})).await.expect_ok();
    let path = path!("/v3/devices/{}", tablet.device_id);
    alice.with_password(Method::DELETE, &path, json!({})).await.expect_ok();
    let answer = query(&bob, &alice).await;
    let devices = answer.json["device_keys"][&alice.id].as_object().expect("devices").clone();
    assert_eq!(devices.keys().collect::<Vec<_>>(), [&alice.device_id]);
    assert_eq!(Device::bare(&laptop).claimed_by(&bob).await, None);
    assert_eq!(Device::bare(&tablet).claimed_by(&bob).await, None);
}

/// A server that cannot be reached is named among the failures, and the others are answered.
/// spec: client-server-api/#post_matrixclientv3keysquery
/// covers: POST /_matrix/client/v3/keys/query
/// covers: POST /_matrix/client/v3/keys/claim
/// not on synapse: it has federation switched off here
#[tokio::test]
async fn unreachable_server_is_a_failure_of_its_own() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let device = Device::new(&alice).await;
    device.upload_one_time_keys(["AAAA".to_owned()]).await;
    let away = "@carol:unreachable.invalid";
    let answer = alice
        .post("/v3/keys/query", json!({"device_keys": {&alice.id: [], away: []}, "timeout": 1000}))
        .await
        .expect_ok();
    assert!(answer.json["failures"]["unreachable.invalid"].is_object(), "{answer}");
    assert!(answer.json["device_keys"][&alice.id][&alice.device_id].is_object(), "{answer}");
    let algorithm = "signed_curve25519";
    let wanted = json!({&alice.id: {&alice.device_id: algorithm}, away: {"DEVICE": algorithm}});
    let answer =
        alice.post("/v3/keys/claim", json!({"one_time_keys": wanted, "timeout": 1000})).await.expect_ok();
    assert!(answer.json["failures"]["unreachable.invalid"].is_object(), "{answer}");
    assert!(answer.json["one_time_keys"][&alice.id][&alice.device_id].is_object(), "{answer}");
}

/// A query with wrong types is refused.
/// spec: client-server-api/#post_matrixclientv3keysquery
/// covers: POST /_matrix/client/v3/keys/query
#[tokio::test]
async fn malformed_query_is_refused() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    for body in [json!({}), json!({"device_keys": []}), json!({"device_keys": {"not a user": []}})] {
        alice.post("/v3/keys/query", body).await.expect_refused();
    }
    server.post("/v3/keys/query", json!({"device_keys": {}})).await.expect_err(401, "M_MISSING_TOKEN");
}

/// New identity keys take away what the old ones had signed.
/// spec: client-server-api/#uploading-keys
/// covers: POST /_matrix/client/v3/keys/upload
/// not on synapse: it keeps the one-time keys
#[tokio::test]
async fn new_identity_keys_take_old_one_time_keys_away() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let mut device = Device::new(&alice).await;
    device.upload_one_time_keys(["AAAA".to_owned()]).await;
    device.key = super::ground::Key::new("a key made after losing the first");
    device.upload(json!({"device_keys": device.keys()})).await.expect_ok();
    assert_eq!(device.claimed_by(&alice).await, None);
    let answer = query(&alice, &alice).await;
    let told = &answer.json["device_keys"][&alice.id][&alice.device_id]["keys"][device.key_id()];
    assert_eq!(*told, device.key.public());
}
