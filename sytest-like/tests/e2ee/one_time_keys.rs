//! One-time and fallback keys.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use sytest_like::{Server, json};

use super::ground::{Device, count};

/// Keys are handed out in the order of their upload.
/// spec: client-server-api/#post_matrixclientv3keysclaim
/// covers: POST /_matrix/client/v3/keys/upload
/// covers: POST /_matrix/client/v3/keys/claim
#[tokio::test]
async fn keys_are_claimed_in_upload_order() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let device = Device::new(&alice).await;
    let ids = ["MMMM", "ZZZZ", "AAAA", "QQQQ"];
    for id in ids {
        device.upload_one_time_keys([id.to_owned()]).await;
    }
    for id in ids {
        assert_eq!(device.claimed_by(&bob).await.as_deref(), Some(id));
    }
    assert_eq!(device.claimed_by(&bob).await, None);
}

/// Many claims at once get each key once.
/// spec: client-server-api/#post_matrixclientv3keysclaim
/// covers: POST /_matrix/client/v3/keys/claim
#[tokio::test]
async fn no_key_is_claimed_twice() {
    const KEYS: usize = 60;
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let device = Device::new(&alice).await;
    device.upload_one_time_keys((0..KEYS).map(|number| format!("K{number:03}"))).await;
    let claimed = join_all((0..KEYS + 10).map(|_| device.claimed_by(&bob))).await;
    let claimed: Vec<String> = claimed.into_iter().flatten().collect();
    assert_eq!(claimed.len(), KEYS);
    assert_eq!(claimed.iter().collect::<BTreeSet<_>>().len(), KEYS);
}

/// The same key again is no error and no second key; another one under its id is refused, with all that came along.
/// spec: client-server-api/#post_matrixclientv3keysupload
/// covers: POST /_matrix/client/v3/keys/upload
#[tokio::test]
async fn other_key_under_an_id_is_refused() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let device = Device::new(&alice).await;
    device.upload_one_time_keys(["AAAA".to_owned()]).await;
    let again = device.upload_one_time_keys(["AAAA".to_owned()]).await;
    assert_eq!(again.json["one_time_key_counts"]["signed_curve25519"], 1, "{again}");
    let keys = json!({
        "signed_curve25519:AAAA": device.one_time_key("another", false),
        "signed_curve25519:BBBB": device.one_time_key("BBBB", false),
    });
    let refused = device.upload(json!({"one_time_keys": keys})).await.expect_status(400);
    assert!(refused.str("error").contains("already exists"), "{refused}");
    let counts = device.upload(json!({})).await.expect_ok();
    assert_eq!(counts.json["one_time_key_counts"]["signed_curve25519"], 1, "{counts}");
    assert_eq!(device.claimed_by(&alice).await.as_deref(), Some("AAAA"));
}

/// An upload that is repeated after its keys were claimed does not bring them back.
/// spec: client-server-api/#post_matrixclientv3keysclaim
/// covers: POST /_matrix/client/v3/keys/upload
/// covers: POST /_matrix/client/v3/keys/claim
/// not on synapse: it hands the keys out a second time
#[tokio::test]
async fn repeated_upload_brings_no_claimed_key_back() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let device = Device::new(&alice).await;
    let ids = || ["AAAA", "BBBB"].map(str::to_owned);
    device.upload_one_time_keys(ids()).await;
    let first = device.claimed_by(&alice).await.expect("a key");
    let answer = device.upload_one_time_keys(ids()).await;
    assert_eq!(answer.json["one_time_key_counts"]["signed_curve25519"], 1, "{answer}");
    let second = device.claimed_by(&alice).await.expect("the other key");
    assert_ne!(first, second);
    device.upload_one_time_keys(ids()).await;
    assert_eq!(device.claimed_by(&alice).await, None);
}

/// One-time keys of a signed algorithm must be signed by the device.
/// spec: client-server-api/#one-time-and-fallback-keys
/// covers: POST /_matrix/client/v3/keys/upload
/// not on synapse: it does not check signatures
#[tokio::test]
async fn one_time_key_with_a_wrong_signature_is_refused() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let device = Device::new(&alice).await;
    let mut changed = device.one_time_key("AAAA", false);
    changed["key"] = super::ground::Key::new("BBBB").public().into();
    for field in ["one_time_keys", "fallback_keys"] {
        let body = json!({field: {"signed_curve25519:AAAA": changed}});
        device.upload(body).await.expect_err(400, "M_INVALID_SIGNATURE");
    }
    let unsigned = json!({"one_time_keys": {"signed_curve25519:AAAA": {"key": "abc"}}});
    device.upload(unsigned).await.expect_err(400, "M_INVALID_SIGNATURE");
    assert_eq!(device.claimed_by(&alice).await, None);
}

/// Names and values that are no keys are refused.
/// spec: client-server-api/#post_matrixclientv3keysupload
/// covers: POST /_matrix/client/v3/keys/upload
/// not on synapse: it takes some of these
#[tokio::test]
async fn malformed_one_time_keys_are_refused() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let device = Device::new(&alice).await;
    let long = format!("signed_curve25519:{}", "A".repeat(300));
    let good = device.one_time_key("AAAA", false);
    for keys in [
        json!({"no-colon": good}),
        json!({"signed_curve25519:": good}),
        json!({":AAAA": good}),
        json!({long: good}),
        json!({"signed_curve25519:AAAA": 5}),
        json!({"signed_curve25519:AAAA": "text"}),
        json!({"signed_curve25519:AAAA": {}}),
        json!([]),
    ] {
        device.upload(json!({"one_time_keys": keys})).await.expect_refused();
    }
}

/// The fallback key is handed out, again and again, when there are no one-time keys; the device learns that it was used.
/// spec: client-server-api/#one-time-and-fallback-keys
/// covers: POST /_matrix/client/v3/keys/claim
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn fallback_key_stands_in() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let device = Device::new(&alice).await;
    let unused = async || alice.sync().await.json["device_unused_fallback_key_types"].clone();
    assert_eq!(unused().await, json!([]));
    device.upload_one_time_keys(["AAAA".to_owned()]).await;
    device.upload_fallback_key("FFFF").await;
    assert_eq!(unused().await, json!(["signed_curve25519"]));
    assert_eq!(device.claimed_by(&bob).await.as_deref(), Some("AAAA"));
    assert_eq!(unused().await, json!(["signed_curve25519"]));
    assert_eq!(device.claimed_by(&bob).await.as_deref(), Some("FFFF"));
    assert_eq!(device.claimed_by(&bob).await.as_deref(), Some("FFFF"));
    assert_eq!(unused().await, json!([]));
    device.upload_fallback_key("GGGG").await;
    assert_eq!(unused().await, json!(["signed_curve25519"]));
    assert_eq!(device.claimed_by(&bob).await.as_deref(), Some("GGGG"));
}

/// A fallback key that is uploaded again is as used as before.
/// spec: client-server-api/#one-time-and-fallback-keys
/// covers: POST /_matrix/client/v3/keys/upload
/// not on synapse: it counts the key as unused
#[tokio::test]
async fn repeated_fallback_key_stays_used() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let device = Device::new(&alice).await;
    device.upload_fallback_key("FFFF").await;
    assert_eq!(device.claimed_by(&alice).await.as_deref(), Some("FFFF"));
    device.upload_fallback_key("FFFF").await;
    assert_eq!(alice.sync().await.json["device_unused_fallback_key_types"], json!([]));
}

/// There is one fallback key for an algorithm.
/// spec: client-server-api/#post_matrixclientv3keysupload
/// covers: POST /_matrix/client/v3/keys/upload
/// not on synapse: it takes one of them
#[tokio::test]
async fn two_fallback_keys_of_an_algorithm_are_refused() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let device = Device::new(&alice).await;
    let keys = json!({
        "signed_curve25519:A": device.one_time_key("A", true),
        "signed_curve25519:B": device.one_time_key("B", true),
    });
    device.upload(json!({"fallback_keys": keys})).await.expect_refused();
}

/// What is left is counted in the answer to an upload and in every sync.
/// spec: client-server-api/#e2e-extensions-to-sync
/// covers: POST /_matrix/client/v3/keys/upload
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn keys_left_are_counted() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let device = Device::new(&alice).await;
    let mut syncer = alice.syncer().await;
    assert_eq!(count(&syncer.initial), 0);
    let answer = device.upload_one_time_keys(["A", "B", "C"].map(str::to_owned)).await;
    assert_eq!(answer.json["one_time_key_counts"]["signed_curve25519"], 3, "{answer}");
    assert_eq!(count(&syncer.next(0).await), 3);
    device.claimed_by(&bob).await;
    assert_eq!(count(&syncer.next(0).await), 2);
    assert_eq!(count(&syncer.next(0).await), 2);
    assert_eq!(count(&alice.login().await.sync().await), 0, "counted for another device");
}

/// What cannot be handed out is missing in the answer.
/// spec: client-server-api/#post_matrixclientv3keysclaim
/// covers: POST /_matrix/client/v3/keys/claim
#[tokio::test]
async fn unknown_devices_and_algorithms_are_missing() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let device = Device::new(&alice).await;
    device.upload_one_time_keys(["AAAA".to_owned()]).await;
    let nobody = format!("@nobody:{}", server.name());
    let body = json!({"one_time_keys": {
        &alice.id: {&alice.device_id: "org.example.other", "NOSUCH": "signed_curve25519"},
        nobody: {"DEVICE": "signed_curve25519"},
    }});
    let answer = bob.post("/v3/keys/claim", body).await.expect_ok();
    let is_empty = |value: &sytest_like::Value| {
        value.as_object().is_some_and(|users| {
            users.values().all(|devices| devices.as_object().is_some_and(serde_json::Map::is_empty))
        })
    };
    assert!(is_empty(&answer.json["one_time_keys"]), "{answer}");
    assert_eq!(device.claimed_by(&bob).await.as_deref(), Some("AAAA"));
    for body in [json!({}), json!({"one_time_keys": []}), json!({"one_time_keys": {&alice.id: "text"}})] {
        bob.post("/v3/keys/claim", body).await.expect_refused();
    }
}
