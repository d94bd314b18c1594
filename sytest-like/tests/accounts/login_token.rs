//! `POST /login/get_token` and the login with what it gives.

use http::Method;
use sytest_like::{Response, Server, User, json};

async fn get_token(user: &User) -> Response {
    user.with_password(Method::POST, "/v1/login/get_token", json!({})).await
}

async fn log_in(server: &Server, token: &str) -> Response {
    server.post("/v3/login", json!({"type": "m.login.token", "token": token})).await
}

/// A token from one device logs another in as the same user.
/// spec: client-server-api/#post_matrixclientv1loginget_token
/// covers: POST /_matrix/client/v1/login/get_token
/// covers: POST /_matrix/client/v3/login
#[tokio::test]
async fn token_logs_another_device_in() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let answer = get_token(&alice).await.expect_ok();
    assert!(answer.int("expires_in_ms") > 0);
    let second =
        log_in(&server, answer.str("login_token")).await.expect_ok().has("user_id", alice.id.as_str());
    assert_ne!(second.str("device_id"), alice.device_id);
}

/// A token is good for one login.
/// spec: client-server-api/#post_matrixclientv1loginget_token
/// covers: POST /_matrix/client/v1/login/get_token
#[tokio::test]
async fn token_works_once() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let token = get_token(&alice).await.expect_ok().str("login_token").to_owned();
    log_in(&server, &token).await.expect_ok();
    log_in(&server, &token).await.expect_err(403, "M_FORBIDDEN");
}

/// A token used many times at once logs one client in.
/// spec: client-server-api/#post_matrixclientv1loginget_token
/// covers: POST /_matrix/client/v1/login/get_token
#[tokio::test]
async fn concurrent_uses_of_a_token_log_in_one() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let token = get_token(&alice).await.expect_ok().str("login_token").to_owned();
    let answers = futures_util::future::join_all((0..6).map(|_| log_in(&server, &token))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1, "{answers:?}");
}

/// The account's owner is asked to consent each time.
/// spec: client-server-api/#post_matrixclientv1loginget_token
/// covers: POST /_matrix/client/v1/login/get_token
#[tokio::test]
async fn consent_is_asked_every_time() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    get_token(&alice).await.expect_ok();
    let challenge = alice.post("/v1/login/get_token", json!({})).await.expect_status(401);
    assert!(challenge.at("flows").is_array());
    challenge.expect_absent("login_token");
}

/// Made-up tokens are refused.
/// spec: client-server-api/#token-based
/// covers: POST /_matrix/client/v3/login
#[tokio::test]
async fn made_up_token_is_refused() {
    let server = Server::shared().await;
    log_in(&server, "made up").await.expect_err(403, "M_FORBIDDEN");
}

/// An access token is no login token.
/// spec: client-server-api/#token-based
/// covers: POST /_matrix/client/v3/login
#[tokio::test]
async fn access_token_is_no_login_token() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    log_in(&server, &alice.access_token).await.expect_err(403, "M_FORBIDDEN");
    server.post("/v3/login", json!({"type": "m.login.token"})).await.expect_refused();
}

/// Only who is logged in makes tokens.
/// spec: client-server-api/#post_matrixclientv1loginget_token
/// covers: POST /_matrix/client/v1/login/get_token
#[tokio::test]
async fn strangers_get_no_token() {
    let server = Server::shared().await;
    server.post("/v1/login/get_token", json!({})).await.expect_err(401, "M_MISSING_TOKEN");
}
