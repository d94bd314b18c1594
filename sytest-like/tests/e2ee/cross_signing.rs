//! Cross-signing keys and signatures.

use http::Method;
use sytest_like::{Server, User, json, unique};

use super::ground::{Device, Identity, Key, listed, query, until_listed};

const UPLOAD: &str = "/v3/keys/device_signing/upload";
const SIGNATURES: &str = "/v3/keys/signatures/upload";

async fn pair(server: &Server) -> (User, User) {
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = alice.create_public_room().await;
    bob.join(&room).await;
    (alice, bob)
}

/// The first keys need no password. Others see the master and self-signing keys, only the user the user-signing key.
/// spec: client-server-api/#post_matrixclientv3keysdevice_signingupload
/// covers: POST /_matrix/client/v3/keys/device_signing/upload
/// covers: POST /_matrix/client/v3/keys/query
#[tokio::test]
async fn first_keys_are_free_and_seen_by_whom_they_concern() {
    let server = Server::shared().await;
    let (alice, bob) = pair(&server).await;
    let mut syncer = bob.syncer().await;
    let identity = Identity::new(&alice).await;
    until_listed(&mut syncer, "changed", &alice).await;
    let body = identity.upload();
    let own = query(&alice, &alice).await;
    let told = query(&bob, &alice).await;
    for answer in [&own, &told] {
        assert_eq!(answer.json["master_keys"][&alice.id], body["master_key"], "{answer}");
        assert_eq!(answer.json["self_signing_keys"][&alice.id], body["self_signing_key"], "{answer}");
    }
    assert_eq!(own.json["user_signing_keys"][&alice.id], body["user_signing_key"], "{own}");
    assert!(told.json["user_signing_keys"].get(&alice.id).is_none(), "{told}");
}

/// Other keys need the password; the same ones again do not.
/// spec: client-server-api/#post_matrixclientv3keysdevice_signingupload
/// covers: POST /_matrix/client/v3/keys/device_signing/upload
#[tokio::test]
async fn replacing_keys_needs_the_password() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let first = Identity::new(&alice).await;
    alice.post(UPLOAD, first.upload()).await.expect_ok();
    alice.post(UPLOAD, json!({"master_key": first.master_key()})).await.expect_ok();
    let second = Identity::bare(&alice, "second");
    let refused = alice.post(UPLOAD, second.upload()).await.expect_status(401);
    assert!(refused.json["flows"].is_array(), "{refused}");
    let still = query(&alice, &alice).await;
    assert_eq!(still.json["master_keys"][&alice.id], first.master_key(), "{still}");
    alice.with_password(Method::POST, UPLOAD, second.upload()).await.expect_ok();
    let now = query(&alice, &alice).await;
    assert_eq!(now.json["master_keys"][&alice.id], second.master_key(), "{now}");
}

/// Another subordinate key alone needs the password too, and a wrong password changes nothing.
/// spec: client-server-api/#post_matrixclientv3keysdevice_signingupload
/// covers: POST /_matrix/client/v3/keys/device_signing/upload
#[tokio::test]
async fn replacing_one_key_needs_the_password() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let identity = Identity::new(&alice).await;
    let body = json!({"self_signing_key": identity.subordinate("self_signing", &Key::new(&unique("key")))});
    let challenge = alice.post(UPLOAD, body.clone()).await.expect_status(401);
    let mut wrong = body.clone();
    wrong["auth"] = alice.password_auth(challenge.str("session"));
    wrong["auth"]["password"] = "not the password".into();
    alice.post(UPLOAD, wrong).await.expect_status(401);
    alice.with_password(Method::POST, UPLOAD, body.clone()).await.expect_ok();
    let now = query(&alice, &alice).await;
    assert_eq!(now.json["self_signing_keys"][&alice.id], body["self_signing_key"], "{now}");
    assert_eq!(now.json["master_keys"][&alice.id], identity.master_key(), "{now}");
}

/// A new master key takes away what the old one vouched for.
/// spec: client-server-api/#cross-signing
/// covers: POST /_matrix/client/v3/keys/device_signing/upload
/// not on synapse: it keeps the old subordinate keys
#[tokio::test]
async fn new_master_key_stands_alone() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    Identity::new(&alice).await;
    let second = Identity::bare(&alice, "second");
    let body = json!({"master_key": second.master_key()});
    alice.with_password(Method::POST, UPLOAD, body).await.expect_ok();
    let now = query(&alice, &alice).await;
    assert!(now.json["self_signing_keys"].get(&alice.id).is_none(), "{now}");
    assert!(now.json["user_signing_keys"].get(&alice.id).is_none(), "{now}");
}

/// Subordinate keys need a master key, and its signature.
/// spec: client-server-api/#post_matrixclientv3keysdevice_signingupload
/// covers: POST /_matrix/client/v3/keys/device_signing/upload
#[tokio::test]
async fn keys_must_be_signed_by_the_master_key() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let identity = Identity::bare(&alice, "first");
    let body = identity.upload();
    alice
        .post(UPLOAD, json!({"self_signing_key": body["self_signing_key"]}))
        .await
        .expect_err(400, "M_MISSING_PARAM");
    for field in ["self_signing_key", "user_signing_key"] {
        let mut wrong = body.clone();
        let other = Identity::bare(&alice, "other");
        wrong[field]["signatures"][&alice.id] =
            other.subordinate("self_signing", &identity.self_signing)["signatures"][&alice.id].clone();
        alice.post(UPLOAD, wrong).await.expect_err(400, "M_INVALID_SIGNATURE");
    }
    let nothing = query(&alice, &alice).await;
    assert!(nothing.json["master_keys"].get(&alice.id).is_none(), "{nothing}");
}

/// What is no cross-signing key of the user is refused.
/// spec: client-server-api/#post_matrixclientv3keysdevice_signingupload
/// covers: POST /_matrix/client/v3/keys/device_signing/upload
/// not on synapse: it takes some of these
#[tokio::test]
async fn malformed_keys_are_refused() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let good = Identity::bare(&alice, "first").master_key();
    let mut two_keys = good.clone();
    let other = Key::new("other");
    two_keys["keys"][other.id()] = other.public().into();
    let mut wrong_usage = good.clone();
    wrong_usage["usage"] = json!(["self_signing"]);
    let mut wrong_id = good.clone();
    wrong_id["keys"] = json!({"ed25519:AAAA": other.public()});
    let mut short = good.clone();
    short["keys"] = json!({"ed25519:AAAA": "AAAA"});
    let of_bob = Identity::bare(&bob, "first").master_key();
    for key in [two_keys, wrong_usage, wrong_id, short, of_bob, json!("text"), json!({}), json!([])] {
        alice.post(UPLOAD, json!({"master_key": key})).await.expect_refused();
    }
}

/// A key that is called as a device of the user is refused.
/// spec: client-server-api/#post_matrixclientv3keysdevice_signingupload
/// covers: POST /_matrix/client/v3/keys/device_signing/upload
#[tokio::test]
async fn key_must_not_be_called_as_a_device() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let identity = Identity::bare(&alice, "first");
    let mut login = alice.password_login();
    login["device_id"] = identity.master.public().into();
    server.post("/v3/login", login).await.expect_ok();
    alice.post(UPLOAD, identity.upload()).await.expect_err(403, "M_FORBIDDEN");
}

/// A device must not be called as a key.
/// spec: client-server-api/#cross-signing
/// covers: POST /_matrix/client/v3/login
/// not on synapse: it does not check
#[tokio::test]
async fn device_must_not_be_called_as_a_key() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let identity = Identity::new(&alice).await;
    let mut login = alice.password_login();
    login["device_id"] = identity.master.public().into();
    server.post("/v3/login", login).await.expect_refused();
}

/// The signature of a device by its user's self-signing key is seen by everybody, and is news.
/// spec: client-server-api/#post_matrixclientv3keyssignaturesupload
/// covers: POST /_matrix/client/v3/keys/signatures/upload
/// covers: POST /_matrix/client/v3/keys/query
#[tokio::test]
async fn signed_device_is_seen_by_all() {
    let server = Server::shared().await;
    let (alice, bob) = pair(&server).await;
    let (device, identity) = (Device::new(&alice).await, Identity::new(&alice).await);
    let mut syncer = bob.syncer().await;
    let mut signed = device.keys();
    identity.self_signing.sign(&mut signed, &alice.id, &identity.self_signing.id());
    let answer = alice.post(SIGNATURES, json!({&alice.id: {&alice.device_id: signed}})).await.expect_ok();
    assert!(answer.get("failures").is_none_or(|failures| failures == &json!({})), "{answer}");
    until_listed(&mut syncer, "changed", &alice).await;
    let told = query(&bob, &alice).await;
    let signatures = &told.json["device_keys"][&alice.id][&alice.device_id]["signatures"];
    assert_eq!(*signatures, signed["signatures"], "{told}");
}

/// The signature of the master key by a device of its user is seen by everybody.
/// spec: client-server-api/#key-and-signature-security
/// covers: POST /_matrix/client/v3/keys/signatures/upload
#[tokio::test]
async fn master_key_signed_by_a_device_is_seen_by_all() {
    let server = Server::shared().await;
    let (alice, bob) = pair(&server).await;
    let (device, identity) = (Device::new(&alice).await, Identity::new(&alice).await);
    let mut signed = identity.master_key();
    device.key.sign(&mut signed, &alice.id, &device.key_id());
    let body = json!({&alice.id: {identity.master.public(): signed}});
    let answer = alice.post(SIGNATURES, body).await.expect_ok();
    assert!(answer.get("failures").is_none_or(|failures| failures == &json!({})), "{answer}");
    let told = query(&bob, &alice).await;
    assert_eq!(told.json["master_keys"][&alice.id], signed, "{told}");
}

/// The signature of another user's master key is seen by who made it, on all devices, and by nobody else.
/// spec: client-server-api/#key-and-signature-security
/// covers: POST /_matrix/client/v3/keys/signatures/upload
#[tokio::test]
async fn signature_of_another_user_is_private() {
    let server = Server::shared().await;
    let (alice, bob) = pair(&server).await;
    let (alices, bobs) = (Identity::new(&alice).await, Identity::new(&bob).await);
    let laptop = alice.login().await;
    let (mut laptops, mut bob_sync) = (laptop.syncer().await, bob.syncer().await);
    let mut signed = bobs.master_key();
    alices.user_signing.sign(&mut signed, &alice.id, &alices.user_signing.id());
    let body = json!({&bob.id: {bobs.master.public(): signed}});
    let answer = alice.post(SIGNATURES, body).await.expect_ok();
    assert!(answer.get("failures").is_none_or(|failures| failures == &json!({})), "{answer}");
    until_listed(&mut laptops, "changed", &bob).await;
    let quiet = bob_sync.next(0).await;
    assert_eq!(listed(&quiet, "changed"), [] as [&str; 0], "{quiet}");
    let own = query(&laptop, &bob).await;
    assert_eq!(own.json["master_keys"][&bob.id], signed, "{own}");
    for other in [&bob, &server.register("carol").await] {
        let told = query(other, &bob).await;
        assert_eq!(told.json["master_keys"][&bob.id], bobs.master_key(), "{told}");
    }
}

/// Each signature is judged on its own; what is wrong is named, and the rest is taken.
/// spec: client-server-api/#post_matrixclientv3keyssignaturesupload
/// covers: POST /_matrix/client/v3/keys/signatures/upload
/// not on synapse: it names some failures otherwise
#[tokio::test]
async fn failures_are_told_per_key() {
    let server = Server::shared().await;
    let (alice, bob) = pair(&server).await;
    let laptop = alice.login().await;
    let (device, other) = (Device::new(&alice).await, Device::new(&laptop).await);
    let (identity, bobs) = (Identity::new(&alice).await, Identity::new(&bob).await);
    let mut good = device.keys();
    identity.self_signing.sign(&mut good, &alice.id, &identity.self_signing.id());
    let mut changed = other.keys();
    changed["algorithms"] = json!([]);
    identity.self_signing.sign(&mut changed, &alice.id, &identity.self_signing.id());
    let mut by_wrong_key = bobs.master_key();
    identity.master.sign(&mut by_wrong_key, &alice.id, &identity.user_signing.id());
    let body = json!({
        &alice.id: {&alice.device_id: good, &laptop.device_id: changed, "NOSUCH": good},
        &bob.id: {bobs.master.public(): by_wrong_key},
    });
    let answer = alice.post(SIGNATURES, body).await.expect_ok();
    let failure = |user: &User, key: &str| answer.json["failures"][&user.id][key]["errcode"].clone();
    assert_eq!(failure(&alice, &laptop.device_id), "M_INVALID_SIGNATURE", "{answer}");
    assert_eq!(failure(&alice, "NOSUCH"), "M_NOT_FOUND", "{answer}");
    assert_eq!(failure(&bob, &bobs.master.public()), "M_INVALID_SIGNATURE", "{answer}");
    assert!(answer.json["failures"][&alice.id].get(&alice.device_id).is_none(), "{answer}");
    let told = query(&bob, &alice).await;
    let signatures = &told.json["device_keys"][&alice.id][&alice.device_id]["signatures"];
    assert_eq!(*signatures, good["signatures"], "{told}");
    let told = query(&alice, &bob).await;
    assert_eq!(told.json["master_keys"][&bob.id], bobs.master_key(), "{told}");
}

/// Bodies of the wrong shape are refused.
/// spec: client-server-api/#post_matrixclientv3keyssignaturesupload
/// covers: POST /_matrix/client/v3/keys/signatures/upload
#[tokio::test]
async fn malformed_signatures_are_refused() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    for body in [json!([]), json!({"nobody": {}}), json!({&alice.id: []})] {
        alice.post(SIGNATURES, body).await.expect_refused();
    }
}
