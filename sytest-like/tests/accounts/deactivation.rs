//! `POST /account/deactivate`.

use http::Method;
use sytest_like::{Server, json, path};

const PATH: &str = "/v3/account/deactivate";

/// A deactivated account has no sessions, cannot log in, and its name is never free again.
/// spec: client-server-api/#post_matrixclientv3accountdeactivate
/// covers: POST /_matrix/client/v3/account/deactivate
#[tokio::test]
async fn deactivated_account_is_gone_for_good() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let laptop = alice.login().await;
    let answer = alice.with_password(Method::POST, PATH, json!({})).await.expect_ok();
    let unbound = answer.str("id_server_unbind_result");
    assert!(matches!(unbound, "success" | "no-support"), "{answer}");
    for device in [&alice, &laptop] {
        device.get("/v3/account/whoami").await.expect_err(401, "M_UNKNOWN_TOKEN");
    }
    let refusals = [(403, "M_USER_DEACTIVATED"), (403, "M_FORBIDDEN")];
    server.post("/v3/login", alice.password_login()).await.expect_err_of(&refusals);
    let auth = json!({"type": "m.login.dummy"});
    let again = json!({"username": alice.localpart(), "password": "secret words", "auth": auth});
    server.post("/v3/register", again).await.expect_err(400, "M_USER_IN_USE");
    let available = server.get("/v3/register/available").query("username", alice.localpart());
    available.await.expect_err(400, "M_USER_IN_USE");
}

/// Deactivating wants the password.
/// spec: client-server-api/#post_matrixclientv3accountdeactivate
/// covers: POST /_matrix/client/v3/account/deactivate
#[tokio::test]
async fn deactivation_wants_the_password() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let challenge = alice.post(PATH, json!({})).await.expect_status(401);
    let mut auth = alice.password_auth(challenge.str("session"));
    auth["password"] = json!("not it");
    alice.post(PATH, json!({"auth": auth})).await.expect_err(401, "M_FORBIDDEN");
    alice.get("/v3/account/whoami").await.expect_ok();
}

/// A deactivated user leaves the rooms, and others see it.
/// spec: client-server-api/#post_matrixclientv3accountdeactivate
/// covers: POST /_matrix/client/v3/account/deactivate
#[tokio::test]
async fn deactivated_user_leaves_rooms() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = bob.create_public_room().await;
    alice.join(&room).await;
    let mut syncer = bob.syncer().await;
    alice.with_password(Method::POST, PATH, json!({})).await.expect_ok();
    syncer
        .until_some("alice leaves", |answer| {
            sytest_like::timeline(answer, &room).into_iter().find(|event| {
                event["state_key"] == alice.id.as_str() && event["content"]["membership"] == "leave"
            })
        })
        .await;
    let members = bob.get(&path!("/v3/rooms/{}/joined_members", room)).await.expect_ok();
    assert!(members.at("joined").get(&alice.id).is_none(), "{members}");
}

/// Erasing clears the profile.
/// spec: client-server-api/#post_matrixclientv3accountdeactivate
/// covers: POST /_matrix/client/v3/account/deactivate
/// covers: GET /_matrix/client/v3/profile/{userId}
#[tokio::test]
async fn erased_user_has_no_profile() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let path = path!("/v3/profile/{}/displayname", alice.id);
    alice.put(&path, json!({"displayname": "Alice Liddell"})).await.expect_ok();
    alice.with_password(Method::POST, PATH, json!({"erase": true})).await.expect_ok();
    let profile = bob.get(&path!("/v3/profile/{}", alice.id)).await;
    assert!(profile.json.get("displayname").is_none_or(|name| name != "Alice Liddell"), "{profile}");
}

/// Who joins after an erasure sees the user's messages redacted; who saw them before still does.
/// spec: client-server-api/#post_matrixclientv3accountdeactivate
/// covers: POST /_matrix/client/v3/account/deactivate
/// covers: GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test]
async fn erased_users_messages_are_redacted_for_newcomers() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = bob.create_public_room().await;
    alice.join(&room).await;
    let message = alice.send_text(&room, "my secret").await;
    alice.with_password(Method::POST, PATH, json!({"erase": true})).await.expect_ok();
    // The leave events of a deactivation may trickle in afterwards; the message's fate does not depend on them.
    let carol = server.register("carol").await;
    carol.join(&room).await;

    bob.get_event(&room, &message).await.expect_ok().has("/content/body", "my secret");
    carol.get_event(&room, &message).await.expect_ok().expect_absent("/content/body");
    let messages =
        carol.get(&path!("/v3/rooms/{}/messages", room)).query("dir", "b").query("limit", "50").await;
    let messages = messages.expect_ok();
    let seen = messages.array("chunk").iter().find(|event| event["event_id"] == message.as_str());
    assert_eq!(seen.expect("the event is there")["content"], json!({}));
}

/// A deactivation without `erase` leaves the messages as they are.
/// spec: client-server-api/#post_matrixclientv3accountdeactivate
/// covers: POST /_matrix/client/v3/account/deactivate
#[tokio::test]
async fn messages_stay_without_erase() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = bob.create_public_room().await;
    alice.join(&room).await;
    let message = alice.send_text(&room, "for posterity").await;
    alice.with_password(Method::POST, PATH, json!({})).await.expect_ok();
    let carol = server.register("carol").await;
    carol.join(&room).await;
    carol.get_event(&room, &message).await.expect_ok().has("/content/body", "for posterity");
}

/// Nobody is deactivated by a stranger.
/// spec: client-server-api/#post_matrixclientv3accountdeactivate
/// covers: POST /_matrix/client/v3/account/deactivate
#[tokio::test]
async fn strangers_cannot_deactivate() {
    let server = Server::shared().await;
    let answer = server.post(PATH, json!({})).await;
    assert_eq!(answer.status, 401, "{answer}");
}
