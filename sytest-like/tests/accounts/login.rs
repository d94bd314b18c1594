//! `GET` and `POST /login`.

use sytest_like::{Server, User, json};

/// The password flow is offered.
/// spec: client-server-api/#get_matrixclientv3login
/// covers: GET /_matrix/client/v3/login
#[tokio::test]
async fn password_flow_is_offered() {
    let server = Server::shared().await;
    let answer = server.get("/v3/login").await.expect_ok();
    assert!(answer.column("flows", "type").contains(&"m.login.password".to_owned()), "{answer}");
}

/// The flow of `login/get_token` is announced where it is offered.
/// spec: client-server-api/#get_matrixclientv3login
/// covers: GET /_matrix/client/v3/login
#[tokio::test]
async fn token_flow_says_that_tokens_can_be_made() {
    let server = Server::shared().await;
    let answer = server.get("/v3/login").await.expect_ok();
    let flow = answer.array("flows").iter().find(|flow| flow["type"] == "m.login.token");
    assert_eq!(flow.expect("m.login.token is offered")["get_login_token"], true);
}

/// The localpart identifies the user.
/// spec: client-server-api/#matrix-user-id
/// covers: POST /_matrix/client/v3/login
#[tokio::test]
async fn localpart_logs_in() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let answer = server.post("/v3/login", alice.password_login()).await.expect_ok();
    assert_eq!(answer.str("user_id"), alice.id);
    let again = User::from_login(&server, &answer, &alice.password);
    assert_ne!(again.access_token, alice.access_token);
    assert_ne!(again.device_id, alice.device_id);
    again.get("/v3/account/whoami").await.expect_ok().has("device_id", again.device_id.as_str());
}

/// The whole user id identifies the user.
/// spec: client-server-api/#matrix-user-id
/// covers: POST /_matrix/client/v3/login
#[tokio::test]
async fn user_id_logs_in() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let mut body = alice.password_login();
    body["identifier"]["user"] = json!(alice.id);
    server.post("/v3/login", body).await.expect_ok().has("user_id", alice.id.as_str());
}

/// Old clients put the name into `user` instead of an identifier.
/// spec: client-server-api/#post_matrixclientv3login
/// covers: POST /_matrix/client/v3/login
#[tokio::test]
async fn deprecated_user_field_logs_in() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    for user in [alice.localpart(), &alice.id] {
        let body = json!({"type": "m.login.password", "user": user, "password": alice.password});
        server.post("/v3/login", body).await.expect_ok().has("user_id", alice.id.as_str());
    }
}

/// The old prefix still answers.
/// spec: client-server-api/#api-versions
/// covers: POST /_matrix/client/v3/login
#[tokio::test]
async fn r0_prefix_logs_in() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let answer = server.post("/_matrix/client/r0/login", alice.password_login()).await.expect_ok();
    answer.has("user_id", alice.id.as_str());
}

/// A third-party identifier that belongs to nobody fails like a wrong password.
/// spec: client-server-api/#third-party-id
/// covers: POST /_matrix/client/v3/login
#[tokio::test]
async fn unknown_third_party_identifier_is_refused() {
    let server = Server::shared().await;
    let identifier = json!({"type": "m.id.thirdparty", "medium": "email", "address": "nobody@example.org"});
    let body = json!({"type": "m.login.password", "identifier": identifier, "password": "x"});
    server.post("/v3/login", body).await.expect_err(403, "M_FORBIDDEN");
}

/// A phone number that belongs to nobody is refused.
/// spec: client-server-api/#phone-number
/// covers: POST /_matrix/client/v3/login
#[tokio::test]
async fn unknown_phone_number_is_refused() {
    let server = Server::shared().await;
    let identifier = json!({"type": "m.id.phone", "country": "GB", "phone": "07400123456"});
    let body = json!({"type": "m.login.password", "identifier": identifier, "password": "x"});
    server.post("/v3/login", body).await.expect_err(403, "M_FORBIDDEN");
}

/// An identifier type that nobody knows is an error of the request.
/// spec: client-server-api/#identifier-types
/// covers: POST /_matrix/client/v3/login
#[tokio::test]
async fn unknown_identifier_type_is_refused() {
    let server = Server::shared().await;
    let body =
        json!({"type": "m.login.password", "identifier": {"type": "org.example.badge"}, "password": "x"});
    server.post("/v3/login", body).await.expect_refused();
}

/// A wrong password is refused.
/// spec: client-server-api/#post_matrixclientv3login
/// covers: POST /_matrix/client/v3/login
#[tokio::test]
async fn wrong_password_is_refused() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let mut body = alice.password_login();
    body["password"] = json!("not it");
    server.post("/v3/login", body).await.expect_err(403, "M_FORBIDDEN").expect_absent("access_token");
}

/// An unknown user cannot be told from a wrong password.
/// spec: client-server-api/#post_matrixclientv3login
/// covers: POST /_matrix/client/v3/login
#[tokio::test]
async fn unknown_user_looks_like_a_wrong_password() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let mut wrong = alice.password_login();
    wrong["password"] = json!("not it");
    let mut unknown = wrong.clone();
    unknown["identifier"]["user"] = json!("nobody-has-this-name");
    let wrong = server.post("/v3/login", wrong).await.expect_err(403, "M_FORBIDDEN");
    let unknown = server.post("/v3/login", unknown).await.expect_err(403, "M_FORBIDDEN");
    assert_eq!(wrong.str("error"), unknown.str("error"));
}

/// Nobody logs in here as a user of another server.
/// spec: client-server-api/#matrix-user-id
/// covers: POST /_matrix/client/v3/login
#[tokio::test]
async fn user_of_another_server_is_refused() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let mut body = alice.password_login();
    body["identifier"]["user"] = json!(format!("@{}:example.org", alice.localpart()));
    server.post("/v3/login", body).await.expect_refused();
}

/// An unknown login type is an error of the request.
/// spec: client-server-api/#post_matrixclientv3login
/// covers: POST /_matrix/client/v3/login
#[tokio::test]
async fn unknown_login_type_is_refused() {
    let server = Server::shared().await;
    let body = json!({"type": "org.example.handshake"});
    server.post("/v3/login", body).await.expect_err_of(&[
        (400, "M_UNKNOWN"),
        (400, "M_INVALID_PARAM"),
        (400, "M_BAD_JSON"),
    ]);
}

/// Type and password are required.
/// spec: client-server-api/#post_matrixclientv3login
/// covers: POST /_matrix/client/v3/login
#[tokio::test]
async fn missing_fields_are_refused() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    server.post("/v3/login", json!({})).await.expect_refused();
    let mut body = alice.password_login();
    body.as_object_mut().expect("an object").remove("password");
    server.post("/v3/login", body).await.expect_refused();
    server.post("/v3/login", json!({"type": "m.login.password", "password": "x"})).await.expect_refused();
}

/// Logging in on a device that exists keeps it and ends its old session.
/// spec: client-server-api/#relationship-between-access-tokens-and-devices
/// covers: POST /_matrix/client/v3/login
#[tokio::test]
async fn login_on_a_known_device_replaces_its_token() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let mut body = alice.password_login();
    body["device_id"] = json!(alice.device_id);
    let answer = server.post("/v3/login", body).await.expect_ok().has("device_id", alice.device_id.as_str());
    alice.get("/v3/account/whoami").await.expect_err(401, "M_UNKNOWN_TOKEN");
    let again = User::from_login(&server, &answer, &alice.password);
    let devices = again.get("/v3/devices").await.expect_ok();
    assert_eq!(devices.column("devices", "device_id"), [alice.device_id.as_str()]);
}

/// The name given at login is for new devices only.
/// spec: client-server-api/#post_matrixclientv3login
/// covers: POST /_matrix/client/v3/login
#[tokio::test]
async fn device_name_of_login_does_not_rename_a_known_device() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let mut body = alice.password_login();
    body["device_id"] = json!("LAPTOP");
    body["initial_device_display_name"] = json!("first");
    server.post("/v3/login", body.clone()).await.expect_ok();
    body["initial_device_display_name"] = json!("second");
    server.post("/v3/login", body).await.expect_ok();
    alice.get("/v3/devices/LAPTOP").await.expect_ok().has("display_name", "first");
}

/// One user's device id is not another's.
/// spec: client-server-api/#relationship-between-access-tokens-and-devices
/// covers: POST /_matrix/client/v3/login
#[tokio::test]
async fn device_ids_of_different_users_do_not_collide() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let mut body = bob.password_login();
    body["device_id"] = json!(alice.device_id);
    server.post("/v3/login", body).await.expect_ok().has("user_id", bob.id.as_str());
    alice.get("/v3/account/whoami").await.expect_ok().has("user_id", alice.id.as_str());
}

/// Passwords are compared as they are: every character counts, in any script and length.
/// spec: client-server-api/#password-based
/// covers: POST /_matrix/client/v3/login
#[tokio::test]
async fn unusual_passwords_work_exactly() {
    let server = Server::shared().await;
    let password = format!("  pässwörd \u{1F511} {}", "x".repeat(300));
    let name = sytest_like::unique("alice");
    let auth = json!({"type": "m.login.dummy"});
    server
        .post("/v3/register", json!({"username": name, "password": password, "auth": auth}))
        .await
        .expect_ok();
    let login = |password: &str| {
        let identifier = json!({"type": "m.id.user", "user": name});
        server.post(
            "/v3/login",
            json!({"type": "m.login.password", "identifier": identifier, "password": password}),
        )
    };
    login(&password).await.expect_ok();
    login(password.trim()).await.expect_err(403, "M_FORBIDDEN");
    login(&password[..password.len() - 1]).await.expect_err(403, "M_FORBIDDEN");
}
