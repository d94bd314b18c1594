//! `POST /account/password`.

use http::Method;
use sytest_like::{Server, ServerOptions, User, json, unique};

const PATH: &str = "/v3/account/password";

async fn log_in_with(user: &User, password: &str) -> sytest_like::Response {
    let mut body = user.password_login();
    body["password"] = json!(password);
    user.server.post("/v3/login", body).await
}

/// The new password counts and the old one does not; the session that asked goes on.
/// spec: client-server-api/#post_matrixclientv3accountpassword
/// covers: POST /_matrix/client/v3/account/password
#[tokio::test]
async fn password_is_changed() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    alice.with_password(Method::POST, PATH, json!({"new_password": "a better one"})).await.expect_ok();
    log_in_with(&alice, &alice.password).await.expect_err(403, "M_FORBIDDEN");
    log_in_with(&alice, "a better one").await.expect_ok();
    alice.get("/v3/account/whoami").await.expect_ok();
}

/// Other sessions end with the password unless the client says otherwise.
/// spec: client-server-api/#post_matrixclientv3accountpassword
/// covers: POST /_matrix/client/v3/account/password
#[tokio::test]
async fn other_sessions_end_by_default() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let laptop = alice.login().await;
    alice.with_password(Method::POST, PATH, json!({"new_password": "a better one"})).await.expect_ok();
    laptop.get("/v3/account/whoami").await.expect_err(401, "M_UNKNOWN_TOKEN");
    let devices = alice.get("/v3/devices").await.expect_ok();
    assert_eq!(devices.column("devices", "device_id"), [alice.device_id.as_str()]);
}

/// `logout_devices: false` keeps them.
/// spec: client-server-api/#post_matrixclientv3accountpassword
/// covers: POST /_matrix/client/v3/account/password
#[tokio::test]
async fn other_sessions_are_kept_on_request() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let laptop = alice.login().await;
    let body = json!({"new_password": "a better one", "logout_devices": false});
    alice.with_password(Method::POST, PATH, body).await.expect_ok();
    laptop.get("/v3/account/whoami").await.expect_ok();
}

/// Without the old password nothing changes.
/// spec: client-server-api/#post_matrixclientv3accountpassword
/// covers: POST /_matrix/client/v3/account/password
#[tokio::test]
async fn wrong_password_changes_nothing() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let challenge = alice.post(PATH, json!({"new_password": "stolen words"})).await.expect_status(401);
    let mut auth = alice.password_auth(challenge.str("session"));
    auth["password"] = json!("not it");
    let answer = alice.post(PATH, json!({"new_password": "stolen words", "auth": auth})).await;
    answer.expect_err(401, "M_FORBIDDEN").has("session", challenge["session"].clone());
    log_in_with(&alice, &alice.password).await.expect_ok();
    log_in_with(&alice, "stolen words").await.expect_err(403, "M_FORBIDDEN");
}

/// The new password is required.
/// spec: client-server-api/#post_matrixclientv3accountpassword
/// covers: POST /_matrix/client/v3/account/password
#[tokio::test]
async fn new_password_must_be_a_string() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    alice.post(PATH, json!({"new_password": 12_345_678})).await.expect_refused();
    log_in_with(&alice, &alice.password).await.expect_ok();
}

/// The server's rules for passwords hold at registration and at a change.
/// spec: client-server-api/#post_matrixclientv3register
/// covers: POST /_matrix/client/v3/register
/// covers: POST /_matrix/client/v3/account/password
#[tokio::test]
async fn weak_passwords_are_refused() {
    let server = ServerOptions::default()
        .kith("passwords.min_length", "12")
        .synapse("password_config", json!({"policy": {"enabled": true, "minimum_length": 12}}))
        .start()
        .await;
    let auth = json!({"type": "m.login.dummy"});
    let short = json!({"username": unique("alice"), "password": "short", "auth": auth});
    let refusals = [(400, "M_WEAK_PASSWORD"), (400, "M_PASSWORD_TOO_SHORT")];
    server.post("/v3/register", short).await.expect_err_of(&refusals);

    let alice = server.register("alice").await;
    let challenge = alice.post(PATH, json!({"new_password": "short"})).await;
    let answer = if challenge.status == 401 {
        let auth = alice.password_auth(challenge.str("session"));
        alice.post(PATH, json!({"new_password": "short", "auth": auth})).await
    } else {
        challenge
    };
    answer.expect_err_of(&refusals);
    log_in_with(&alice, &alice.password).await.expect_ok();
}

/// Strangers are not asked for a password that they could guess: the endpoint says what is missing.
/// spec: client-server-api/#post_matrixclientv3accountpassword
/// covers: POST /_matrix/client/v3/account/password
#[tokio::test]
async fn strangers_cannot_change_a_password() {
    let server = Server::shared().await;
    let answer = server.post(PATH, json!({"new_password": "stolen words"})).await;
    assert_eq!(answer.status, 401, "{answer}");
}
