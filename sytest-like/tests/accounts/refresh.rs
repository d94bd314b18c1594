//! Refresh tokens and their rotation.

use sytest_like::{Response, Server, User, json, unique};

async fn log_in(user: &User) -> Response {
    let mut body = user.password_login();
    body["refresh_token"] = json!(true);
    user.server.post("/v3/login", body).await.expect_ok()
}

async fn refresh(server: &Server, token: &str) -> Response {
    server.post("/v3/refresh", json!({"refresh_token": token})).await
}

async fn whoami(server: &Server, access_token: &str) -> Response {
    server.get("/v3/account/whoami").token(access_token).await
}

/// Who asks for a refresh token at login gets one, and an access token that ends.
/// spec: client-server-api/#refreshing-access-tokens
/// covers: POST /_matrix/client/v3/login
/// covers: POST /_matrix/client/v3/refresh
#[tokio::test]
async fn login_gives_a_refresh_token_on_request() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let login = log_in(&alice).await;
    assert!(login.int("expires_in_ms") > 0);
    let refreshed = refresh(&server, login.str("refresh_token")).await.expect_ok();
    assert_ne!(refreshed["access_token"], login["access_token"]);
    let who = whoami(&server, refreshed.str("access_token")).await.expect_ok();
    assert_eq!(who["device_id"], login["device_id"], "the device stays");
}

/// A client that does not know refresh tokens gets none.
/// spec: client-server-api/#refreshing-access-tokens
/// covers: POST /_matrix/client/v3/login
#[tokio::test]
async fn login_gives_no_refresh_token_unasked() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let login = server.post("/v3/login", alice.password_login()).await.expect_ok();
    login.expect_absent("refresh_token").expect_absent("expires_in_ms");
}

/// Registration gives refresh tokens as well.
/// spec: client-server-api/#refreshing-access-tokens
/// covers: POST /_matrix/client/v3/register
/// covers: POST /_matrix/client/v3/refresh
#[tokio::test]
async fn registration_gives_a_refresh_token_on_request() {
    let server = Server::shared().await;
    let auth = json!({"type": "m.login.dummy"});
    let body =
        json!({"username": unique("alice"), "password": "secret words", "auth": auth, "refresh_token": true});
    let answer = server.post("/v3/register", body).await.expect_ok();
    assert!(answer.int("expires_in_ms") > 0);
    refresh(&server, answer.str("refresh_token")).await.expect_ok();
}

/// Once the new access token has been used, the old refresh token is dead.
/// spec: client-server-api/#post_matrixclientv3refresh
/// covers: POST /_matrix/client/v3/refresh
#[tokio::test]
async fn old_refresh_token_dies_when_the_new_access_token_is_used() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let login = log_in(&alice).await;
    let refreshed = refresh(&server, login.str("refresh_token")).await.expect_ok();
    whoami(&server, refreshed.str("access_token")).await.expect_ok();
    refresh(&server, login.str("refresh_token"))
        .await
        .expect_err_of(&[(401, "M_UNKNOWN_TOKEN"), (403, "M_FORBIDDEN")]);
}

/// Once the new refresh token has been used, the old one is dead.
/// spec: client-server-api/#post_matrixclientv3refresh
/// covers: POST /_matrix/client/v3/refresh
#[tokio::test]
async fn old_refresh_token_dies_when_the_new_one_is_used() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let login = log_in(&alice).await;
    let second = refresh(&server, login.str("refresh_token")).await.expect_ok();
    let third = refresh(&server, second.str("refresh_token")).await.expect_ok();
    assert_ne!(second["access_token"], third["access_token"]);
    refresh(&server, login.str("refresh_token"))
        .await
        .expect_err_of(&[(401, "M_UNKNOWN_TOKEN"), (403, "M_FORBIDDEN")]);
    whoami(&server, third.str("access_token")).await.expect_ok();
}

/// A client that never got the answer may ask again with the old refresh token.
/// spec: client-server-api/#post_matrixclientv3refresh
/// covers: POST /_matrix/client/v3/refresh
#[tokio::test]
async fn lost_answer_can_be_asked_for_again() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let login = log_in(&alice).await;
    refresh(&server, login.str("refresh_token")).await.expect_ok();
    let again = refresh(&server, login.str("refresh_token")).await.expect_ok();
    whoami(&server, again.str("access_token")).await.expect_ok();
}

/// A rotation goes on over many generations.
/// spec: client-server-api/#post_matrixclientv3refresh
/// covers: POST /_matrix/client/v3/refresh
#[tokio::test]
async fn rotation_goes_on() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let login = log_in(&alice).await;
    let mut token = login.str("refresh_token").to_owned();
    for _ in 0..5 {
        let answer = refresh(&server, &token).await.expect_ok();
        whoami(&server, answer.str("access_token"))
            .await
            .expect_ok()
            .has("device_id", login["device_id"].clone());
        answer.str("refresh_token").clone_into(&mut token);
    }
}

/// Unknown refresh tokens are refused.
/// spec: client-server-api/#post_matrixclientv3refresh
/// covers: POST /_matrix/client/v3/refresh
#[tokio::test]
async fn unknown_refresh_token_is_refused() {
    let server = Server::shared().await;
    refresh(&server, "made up").await.expect_err(401, "M_UNKNOWN_TOKEN");
}

/// An access token is no refresh token, nor the other way round.
/// spec: client-server-api/#post_matrixclientv3refresh
/// covers: POST /_matrix/client/v3/refresh
#[tokio::test]
async fn kinds_of_tokens_are_not_mixed_up() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let login = log_in(&alice).await;
    refresh(&server, login.str("access_token")).await.expect_err(401, "M_UNKNOWN_TOKEN");
    whoami(&server, login.str("refresh_token")).await.expect_err(401, "M_UNKNOWN_TOKEN");
}

/// The token is required.
/// spec: client-server-api/#post_matrixclientv3refresh
/// covers: POST /_matrix/client/v3/refresh
#[tokio::test]
async fn missing_refresh_token_is_refused() {
    let server = Server::shared().await;
    server
        .post("/v3/refresh", json!({}))
        .await
        .expect_err_of(&[(400, "M_MISSING_PARAM"), (400, "M_BAD_JSON")]);
}

/// Logging out ends the refresh token too.
/// spec: client-server-api/#post_matrixclientv3logout
/// covers: POST /_matrix/client/v3/logout
/// covers: POST /_matrix/client/v3/refresh
#[tokio::test]
async fn logout_ends_the_refresh_token() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let login = log_in(&alice).await;
    server.post("/v3/logout", json!({})).token(login.str("access_token")).await.expect_ok();
    refresh(&server, login.str("refresh_token")).await.expect_err(401, "M_UNKNOWN_TOKEN");
}
