//! Locked accounts.

use http::Method;
use sytest_like::{Response, ServerOptions, json, path};

use super::ground::{admin_and_alice, admin_of, lock, suspend};

#[track_caller]
fn expect_locked(answer: Response) {
    answer.expect_err(401, "M_USER_LOCKED").has("soft_logout", true);
}

/// A locked account can do nothing; once it is unlocked, its session goes on.
/// spec: client-server-api/#account-locking
/// covers: PUT /_matrix/client/v1/admin/lock/{userId}
/// covers: GET /_matrix/client/v1/admin/lock/{userId}
/// not on synapse: it has no such endpoint
#[tokio::test]
async fn locked_account_can_do_nothing() {
    let (admin, alice) = admin_and_alice().await;
    let room = alice.create_public_room().await;
    let path = path!("/v1/admin/lock/{}", alice.id);
    admin.get(&path).await.expect_ok().has("locked", false);
    lock(&admin, &alice.id, true).await.expect_ok().has("locked", true);
    admin.get(&path).await.expect_ok().has("locked", true);
    expect_locked(alice.get("/v3/account/whoami").await);
    expect_locked(alice.get("/v3/sync").await);
    expect_locked(alice.get(&path!("/v3/rooms/{}/messages", room)).query("dir", "b").await);
    expect_locked(alice.put(&path!("/v3/rooms/{}/send/m.room.message/1", room), json!({})).await);
    // Where a session is not needed, it is looked at nevertheless.
    expect_locked(alice.get(&path!("/v1/room_summary/{}", room)).await);
    lock(&admin, &alice.id, false).await.expect_ok().has("locked", false);
    alice.get("/v3/account/whoami").await.expect_ok();
    alice.send_text(&room, "back again").await;
}

/// Nobody logs in to a locked account, or gets the next token for it; a wrong password is refused as ever.
/// spec: client-server-api/#account-locking
/// covers: PUT /_matrix/client/v1/admin/lock/{userId}
/// covers: POST /_matrix/client/v3/login
/// covers: POST /_matrix/client/v3/refresh
/// not on synapse: it has no such endpoint
#[tokio::test]
async fn locked_account_gets_no_tokens() {
    let (admin, alice) = admin_and_alice().await;
    let mut login = alice.password_login();
    login["refresh_token"] = json!(true);
    let session = alice.server.post("/v3/login", login).await.expect_ok();
    lock(&admin, &alice.id, true).await.expect_ok();
    expect_locked(alice.server.post("/v3/login", alice.password_login()).await);
    let refresh = json!({"refresh_token": session.str("refresh_token")});
    expect_locked(alice.server.post("/v3/refresh", refresh.clone()).await);
    let mut wrong = alice.password_login();
    wrong["password"] = json!("not it");
    alice.server.post("/v3/login", wrong).await.expect_err(403, "M_FORBIDDEN");
    lock(&admin, &alice.id, false).await.expect_ok();
    alice.server.post("/v3/refresh", refresh).await.expect_ok();
    alice.login().await;
}

/// A locked user can still log out, on one device and on all.
/// spec: client-server-api/#account-locking
/// covers: POST /_matrix/client/v3/logout
/// covers: POST /_matrix/client/v3/logout/all
/// not on synapse: it has no such endpoint
#[tokio::test]
async fn locked_user_can_log_out() {
    let (admin, alice) = admin_and_alice().await;
    let (laptop, phone) = (alice.login().await, alice.login().await);
    lock(&admin, &alice.id, true).await.expect_ok();
    alice.post("/v3/logout", json!({})).await.expect_ok();
    alice.get("/v3/account/whoami").await.expect_err(401, "M_UNKNOWN_TOKEN");
    expect_locked(laptop.get("/v3/account/whoami").await);
    laptop.post("/v3/logout/all", json!({})).await.expect_ok();
    phone.get("/v3/account/whoami").await.expect_err(401, "M_UNKNOWN_TOKEN");
}

/// Only administrators lock and ask, and what is wrong with the target is told to them alone.
/// spec: client-server-api/#put_matrixclientv1adminlockuserid
/// covers: PUT /_matrix/client/v1/admin/lock/{userId}
/// covers: GET /_matrix/client/v1/admin/lock/{userId}
/// covers: PUT /_matrix/client/v1/admin/suspend/{userId}
/// covers: GET /_matrix/client/v1/admin/suspend/{userId}
/// not on synapse: it has no such endpoint
#[tokio::test]
async fn targets_are_checked() {
    let (admin, alice) = admin_and_alice().await;
    let other = admin_of(&admin.server).await;
    let gone = admin.server.register("gone").await;
    gone.with_password(Method::POST, "/v3/account/deactivate", json!({})).await.expect_ok();
    let unknown = format!("@no-such-user:{}", admin.server.name());
    for (kind, body) in [("lock", json!({"locked": true})), ("suspend", json!({"suspended": true}))] {
        let at = |user: &str| format!("/v1/admin/{kind}/{}", user.replace('@', "%40"));
        for target in [&alice.id, &unknown, &"@remote:example.org".to_owned(), &admin.id] {
            alice.get(&at(target)).await.expect_err(403, "M_FORBIDDEN");
            alice.put(&at(target), body.clone()).await.expect_err(403, "M_FORBIDDEN");
        }
        for (target, status, errcode) in [
            (&*unknown, 404, "M_NOT_FOUND"),
            (&gone.id, 404, "M_NOT_FOUND"),
            ("@remote:example.org", 400, "M_INVALID_PARAM"),
            (&other.id, 403, "M_FORBIDDEN"),
        ] {
            admin.get(&at(target)).await.expect_err(status, errcode);
            admin.put(&at(target), body.clone()).await.expect_err(status, errcode);
        }
        admin.put(&at(&admin.id), body).await.expect_err(403, "M_FORBIDDEN");
        for wrong in [json!({}), json!({"locked": "yes", "suspended": "yes"})] {
            admin.put(&at(&alice.id), wrong).await.expect_refused();
        }
        admin.put(&at("nobody"), json!({})).await.expect_refused();
        admin.server.get(&at(&alice.id)).await.expect_err(401, "M_MISSING_TOKEN");
    }
    alice.get("/v3/account/whoami").await.expect_ok();
}

/// A lock outweighs a suspension, and lifting the one leaves the other.
/// spec: client-server-api/#account-locking
/// covers: PUT /_matrix/client/v1/admin/lock/{userId}
/// not on synapse: it has no such endpoint
#[tokio::test]
async fn lock_outweighs_suspension() {
    let (admin, alice) = admin_and_alice().await;
    suspend(&admin, &alice.id, true).await.expect_ok();
    lock(&admin, &alice.id, true).await.expect_ok();
    expect_locked(alice.get("/v3/account/whoami").await);
    lock(&admin, &alice.id, false).await.expect_ok();
    alice.get("/v3/account/whoami").await.expect_ok();
    alice.post("/v3/createRoom", json!({})).await.expect_err(403, "M_USER_SUSPENDED");
}

/// A lock holds on every replica at once, and after a restart.
/// spec: client-server-api/#account-locking
/// covers: PUT /_matrix/client/v1/admin/lock/{userId}
/// not on synapse: it has no equal replicas
#[tokio::test]
async fn lock_holds_everywhere() {
    let replicas = ServerOptions::default().shared_secret("only here").start_replicas(2).await;
    let admin = admin_of(&replicas[0]).await;
    let alice = replicas[1].register("alice").await;
    alice.get("/v3/account/whoami").await.expect_ok();
    lock(&admin, &alice.id, true).await.expect_ok();
    expect_locked(alice.get("/v3/account/whoami").await);
    replicas[1].restart().await;
    expect_locked(alice.get("/v3/account/whoami").await);
    let elsewhere = replicas[1].as_seen_here(&admin);
    lock(&elsewhere, &alice.id, false).await.expect_ok();
    replicas[0].as_seen_here(&alice).get("/v3/account/whoami").await.expect_ok();
}

/// Clients of administrators are told that they may moderate; others are not.
/// spec: client-server-api/#maccount_moderation-capability
/// covers: GET /_matrix/client/v3/capabilities
/// not on synapse: it has no such capability
#[tokio::test]
async fn capability_is_for_administrators() {
    let (admin, alice) = admin_and_alice().await;
    let capability = "/capabilities/m.account_moderation";
    let told = admin.get("/v3/capabilities").await.expect_ok();
    told.has(capability, json!({"suspend": true, "lock": true}));
    alice.get("/v3/capabilities").await.expect_ok().expect_absent(capability);
}
