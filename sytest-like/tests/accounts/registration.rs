//! `POST /register` and what surrounds it.

use sytest_like::{Registration, Server, ServerOptions, User, Value, json, unique};

fn body(name: &str) -> Value {
    json!({"username": name, "password": "secret words", "auth": {"type": "m.login.dummy"}})
}

/// Registering with the dummy stage gives a usable session.
/// spec: client-server-api/#post_matrixclientv3register
/// covers: POST /_matrix/client/v3/register
/// covers: GET /_matrix/client/v3/account/whoami
#[tokio::test]
async fn dummy_stage_registers_and_logs_in() {
    let server = Server::shared().await;
    let name = unique("alice");
    let challenge = server
        .post("/v3/register", json!({"username": name, "password": "secret words"}))
        .await
        .expect_status(401)
        .expect_absent("/errcode");
    let session = challenge.str("session");

    let auth = json!({"type": "m.login.dummy", "session": session});
    let body = json!({"username": name, "password": "secret words", "auth": auth});
    let answer = server.post("/v3/register", body).await.expect_ok();

    assert_eq!(answer.str("user_id"), format!("@{name}:{}", server.name()));
    let who = server.get("/v3/account/whoami").token(answer.str("access_token")).await.expect_ok();
    assert_eq!(who["user_id"], answer["user_id"]);
    assert_eq!(who["device_id"], answer["device_id"]);
}

/// The 401 of a registration without `auth` names the flows, a session and the parameters.
/// spec: client-server-api/#user-interactive-api-in-the-rest-api
/// covers: POST /_matrix/client/v3/register
#[tokio::test]
async fn challenge_names_flows_params_and_session() {
    let server = Server::shared().await;
    let challenge = server.post("/v3/register", json!({})).await.expect_status(401);
    let dummy = json!(["m.login.dummy"]);
    assert!(challenge.array("flows").iter().any(|flow| flow["stages"] == dummy), "{challenge}");
    assert!(challenge.at("params").is_object(), "{challenge}");
    assert!(!challenge.str("session").is_empty());
}

/// Clients of bots send the dummy stage at once, without a session.
/// spec: client-server-api/#dummy-auth
/// covers: POST /_matrix/client/v3/register
#[tokio::test]
async fn dummy_stage_without_a_session_registers() {
    let server = Server::shared().await;
    server.post("/v3/register", body(&unique("alice"))).await.expect_ok();
}

/// The second request of a session may leave out the parameters of the first.
/// spec: client-server-api/#user-interactive-api-in-the-rest-api
/// covers: POST /_matrix/client/v3/register
#[tokio::test]
async fn session_remembers_the_parameters_of_the_first_request() {
    let server = Server::shared().await;
    let name = unique("alice");
    let first = server.post("/v3/register", json!({"username": name, "password": "secret words"})).await;
    let auth = json!({"type": "m.login.dummy", "session": first.expect_status(401).str("session")});
    let answer = server.post("/v3/register", json!({"auth": auth})).await.expect_ok();
    assert_eq!(answer.str("user_id"), format!("@{name}:{}", server.name()));
}

/// A session that the server never gave out cannot be completed.
/// spec: client-server-api/#user-interactive-api-in-the-rest-api
/// covers: POST /_matrix/client/v3/register
#[tokio::test]
async fn unknown_session_is_refused() {
    let server = Server::shared().await;
    let mut body = body(&unique("alice"));
    body["auth"]["session"] = json!("never-given-out");
    let answer = server.post("/v3/register", body).await;
    assert!((400..500).contains(&answer.status), "{answer}");
    answer.expect_absent("access_token");
}

/// A stage that is in no flow does not count as authentication.
/// spec: client-server-api/#user-interactive-api-in-the-rest-api
/// covers: POST /_matrix/client/v3/register
#[tokio::test]
async fn unknown_stage_does_not_authenticate() {
    let server = Server::shared().await;
    let mut body = body(&unique("alice"));
    body["auth"]["type"] = json!("org.example.no.such.stage");
    let answer = server.post("/v3/register", body).await;
    assert!((400..500).contains(&answer.status), "{answer}");
    answer.expect_absent("access_token");
}

/// The password stage is for accounts that exist.
/// spec: client-server-api/#user-interactive-api-in-the-rest-api
/// covers: POST /_matrix/client/v3/register
#[tokio::test]
async fn password_stage_does_not_register() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let challenge = server.post("/v3/register", json!({})).await.expect_status(401);
    let auth = alice.password_auth(challenge.str("session"));
    let body = json!({"username": unique("mallory"), "password": "secret words", "auth": auth});
    let answer = server.post("/v3/register", body).await;
    assert!((400..500).contains(&answer.status), "{answer}");
    answer.expect_absent("access_token");
}

/// The same name cannot be registered twice.
/// spec: client-server-api/#post_matrixclientv3register
/// covers: POST /_matrix/client/v3/register
#[tokio::test]
async fn taken_username_is_refused() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    server.post("/v3/register", body(alice.localpart())).await.expect_err(400, "M_USER_IN_USE");
}

/// Two registrations of one name at the same moment make one account.
/// spec: client-server-api/#post_matrixclientv3register
/// covers: POST /_matrix/client/v3/register
#[tokio::test]
async fn concurrent_registrations_of_one_name_make_one_account() {
    let server = Server::shared().await;
    let name = unique("alice");
    let attempts = (0..8).map(|_| async { server.post("/v3/register", body(&name)).await });
    let answers = futures_util::future::join_all(attempts).await;
    let made = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(made, 1, "{answers:?}");
    for answer in answers.into_iter().filter(|answer| answer.status != 200) {
        answer.expect_err(400, "M_USER_IN_USE");
    }
}

/// User ids are lower case: a name in capitals is mapped or refused, and never is a second account.
/// spec: appendices/#user-identifiers
/// covers: POST /_matrix/client/v3/register
#[tokio::test]
async fn capital_letters_do_not_make_another_account() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let answer = server.post("/v3/register", body(&alice.localpart().to_uppercase())).await;
    answer.expect_err_of(&[(400, "M_USER_IN_USE"), (400, "M_INVALID_USERNAME")]);
}

/// Characters outside the grammar of user ids are refused.
/// spec: appendices/#user-identifiers
/// covers: POST /_matrix/client/v3/register
#[tokio::test]
async fn names_outside_the_grammar_are_refused() {
    let server = Server::shared().await;
    for name in ["white space", "colon:", "at@sign", "ümlaut", "new\nline", "nul\u{0}", "emoji😀", "per%cent"]
    {
        let answer = server.post("/v3/register", body(name)).await;
        // U+0000 may be refused before anybody looks what it stands in.
        answer.expect_err_of(&[(400, "M_INVALID_USERNAME"), (400, "M_BAD_JSON")]);
    }
}

/// An empty name is no name.
/// spec: appendices/#user-identifiers
/// covers: POST /_matrix/client/v3/register
#[tokio::test]
async fn empty_name_is_refused() {
    let server = Server::shared().await;
    server.post("/v3/register", body("")).await.expect_err(400, "M_INVALID_USERNAME");
}

/// A user id has at most 255 bytes.
/// spec: appendices/#user-identifiers
/// covers: POST /_matrix/client/v3/register
#[tokio::test]
async fn overlong_name_is_refused() {
    let server = Server::shared().await;
    server.post("/v3/register", body(&"a".repeat(255))).await.expect_err(400, "M_INVALID_USERNAME");
}

/// Without a name the server picks one.
/// spec: client-server-api/#post_matrixclientv3register
/// covers: POST /_matrix/client/v3/register
#[tokio::test]
async fn missing_name_is_generated() {
    let server = Server::shared().await;
    let body = json!({"password": "secret words", "auth": {"type": "m.login.dummy"}});
    let first = server.post("/v3/register", body.clone()).await.expect_ok();
    let second = server.post("/v3/register", body).await.expect_ok();
    assert!(first.str("user_id").starts_with('@'));
    assert_ne!(first["user_id"], second["user_id"]);
}

/// All characters of the grammar may stand in a name.
/// spec: appendices/#user-identifiers
/// covers: POST /_matrix/client/v3/register
#[tokio::test]
async fn every_character_of_the_grammar_registers() {
    let server = Server::shared().await;
    let name = format!("{}.=-/+0", unique("a"));
    let answer = server.post("/v3/register", body(&name)).await.expect_ok();
    assert_eq!(answer.str("user_id"), format!("@{name}:{}", server.name()));
}

/// `inhibit_login` makes the account and no session.
/// spec: client-server-api/#post_matrixclientv3register
/// covers: POST /_matrix/client/v3/register
#[tokio::test]
async fn inhibit_login_gives_no_token() {
    let server = Server::shared().await;
    let name = unique("alice");
    let mut body = body(&name);
    body["inhibit_login"] = json!(true);
    let answer = server.post("/v3/register", body).await.expect_ok();
    assert_eq!(answer.str("user_id"), format!("@{name}:{}", server.name()));
    answer.expect_absent("access_token").expect_absent("device_id");
}

/// The client may choose the id and the name of its device.
/// spec: client-server-api/#post_matrixclientv3register
/// covers: POST /_matrix/client/v3/register
/// covers: GET /_matrix/client/v3/devices/{deviceId}
#[tokio::test]
async fn device_id_and_name_are_taken_from_the_request() {
    let server = Server::shared().await;
    let mut body = body(&unique("alice"));
    body["device_id"] = json!("PHONE");
    body["initial_device_display_name"] = json!("Alice's phone");
    let answer = server.post("/v3/register", body).await.expect_ok().has("device_id", "PHONE");
    let alice = User::from_login(&server, &answer, "secret words");
    alice.get("/v3/devices/PHONE").await.expect_ok().has("display_name", "Alice's phone");
}

/// A new account's profile has the localpart as its display name, or none, and no avatar.
/// spec: client-server-api/#profiles
/// covers: GET /_matrix/client/v3/profile/{userId}
#[tokio::test]
async fn new_account_has_a_profile() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let profile = alice.get(&format!("/v3/profile/{}", alice.id)).await.expect_ok();
    let name = profile.get("displayname").and_then(Value::as_str);
    assert!(name.is_none_or(|name| name == alice.localpart()), "{profile}");
    profile.expect_absent("avatar_url");
}

/// A registration without a password cannot make an account that one logs in to.
/// spec: client-server-api/#post_matrixclientv3register
/// covers: POST /_matrix/client/v3/register
#[tokio::test]
async fn password_is_required() {
    let server = Server::shared().await;
    let body = json!({"username": unique("alice"), "auth": {"type": "m.login.dummy"}});
    server.post("/v3/register", body).await.expect_err_of(&[
        (400, "M_MISSING_PARAM"),
        (400, "M_BAD_JSON"),
        (400, "M_WEAK_PASSWORD"),
    ]);
}

/// Guests are refused cleanly.
/// spec: client-server-api/#post_matrixclientv3register
/// covers: POST /_matrix/client/v3/register
#[tokio::test]
async fn guests_are_refused() {
    let server = Server::shared().await;
    server
        .post("/v3/register?kind=guest", json!({}))
        .await
        .expect_err_of(&[(403, "M_FORBIDDEN"), (403, "M_GUEST_ACCESS_FORBIDDEN")]);
}

/// Only `user` and `guest` are kinds of accounts.
/// spec: client-server-api/#post_matrixclientv3register
/// covers: POST /_matrix/client/v3/register
#[tokio::test]
async fn unknown_kind_is_refused() {
    let server = Server::shared().await;
    let answer = server.post("/v3/register?kind=robot", body(&unique("alice"))).await.expect_refused();
    answer.expect_absent("access_token");
}

/// A body that is no JSON and one that is no object are told apart.
/// spec: client-server-api/#standard-error-response
/// covers: POST /_matrix/client/v3/register
#[tokio::test]
async fn malformed_bodies_are_refused() {
    let server = Server::shared().await;
    let post = |body: &'static str| server.request(http::Method::POST, "/v3/register").body(body);
    post("{\"username\": ").await.expect_err(400, "M_NOT_JSON");
    let nothing = post("").await;
    if nothing.status != 401 {
        nothing.expect_err(400, "M_NOT_JSON");
    }
    post("[]").await.expect_err_of(&[(400, "M_BAD_JSON"), (400, "M_NOT_JSON")]);
}

/// A closed server registers nobody.
/// spec: client-server-api/#post_matrixclientv3register
/// covers: POST /_matrix/client/v3/register
#[tokio::test]
async fn closed_server_registers_nobody() {
    let server = ServerOptions::default().registration(Registration::Closed).shared_secret("s").start().await;
    // The first account may be special (Kith gives out a token for it), so it is there already.
    crate::accounts::shared_secret::register(&server, &unique("admin"), true).await.expect_ok();
    let answer = server.post("/v3/register", body(&unique("alice"))).await;
    answer.expect_err(403, "M_FORBIDDEN").expect_absent("access_token");
}

/// A free name is available.
/// spec: client-server-api/#get_matrixclientv3registeravailable
/// covers: GET /_matrix/client/v3/register/available
#[tokio::test]
async fn free_name_is_available() {
    let server = Server::shared().await;
    let request = server.get("/v3/register/available").query("username", unique("alice"));
    request.await.expect_ok().has("available", true);
}

/// A taken name is not available.
/// spec: client-server-api/#get_matrixclientv3registeravailable
/// covers: GET /_matrix/client/v3/register/available
#[tokio::test]
async fn taken_name_is_not_available() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let request = server.get("/v3/register/available").query("username", alice.localpart());
    request.await.expect_err(400, "M_USER_IN_USE");
}

/// A name outside the grammar is not available, whoever has it.
/// spec: client-server-api/#get_matrixclientv3registeravailable
/// covers: GET /_matrix/client/v3/register/available
#[tokio::test]
async fn invalid_name_is_not_available() {
    let server = Server::shared().await;
    let request = server.get("/v3/register/available").query("username", "white space");
    request.await.expect_err(400, "M_INVALID_USERNAME");
}

/// The question needs a name.
/// spec: client-server-api/#get_matrixclientv3registeravailable
/// covers: GET /_matrix/client/v3/register/available
#[tokio::test]
async fn availability_of_nothing_is_refused() {
    let server = Server::shared().await;
    server.get("/v3/register/available").await.expect_err_of(&[
        (400, "M_MISSING_PARAM"),
        (400, "M_INVALID_PARAM"),
        (400, "M_INVALID_USERNAME"),
    ]);
}

/// An account outlives a restart, its session too.
/// spec: client-server-api/#post_matrixclientv3register
/// covers: POST /_matrix/client/v3/register
/// covers: GET /_matrix/client/v3/account/whoami
#[tokio::test]
async fn accounts_and_sessions_survive_a_restart() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    server.restart().await;
    alice.get("/v3/account/whoami").await.expect_ok().has("user_id", alice.id.as_str());
    alice.login().await;
}
