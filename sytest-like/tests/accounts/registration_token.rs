//! Registration with a token, and the check whether a token is good.

use sytest_like::{Registration, Response, Server, ServerOptions, User, json, unique};

const VALIDITY: &str = "/v1/register/m.login.registration_token/validity";

async fn token_server() -> (Server, User) {
    let server = ServerOptions::default().registration(Registration::Token).shared_secret("s").start().await;
    let answer = crate::accounts::shared_secret::register(&server, &unique("root"), true).await.expect_ok();
    let admin = User::from_login(&server, &answer, "secret words");
    (server, admin)
}

/// A token that admits this many people.
async fn new_token(admin: &User, uses: u32) -> String {
    let body = json!({"uses_allowed": uses});
    let answer = admin.post("/_synapse/admin/v1/registration_tokens/new", body).await.expect_ok();
    answer.str("token").to_owned()
}

/// Goes through every stage of the first flow that has the token in it.
async fn register_with(server: &Server, token: &str) -> Response {
    let mut body = json!({"username": unique("alice"), "password": "secret words"});
    let mut answer = server.post("/v3/register", body.clone()).await.expect_status(401);
    let session = answer.str("session").to_owned();
    let stages = answer.array("flows")[0]["stages"].as_array().cloned().expect("a flow has stages");
    assert!(stages.contains(&json!("m.login.registration_token")), "{answer}");
    for stage in stages {
        body["auth"] = json!({"type": stage, "session": session});
        if stage == "m.login.registration_token" {
            body["auth"]["token"] = json!(token);
        }
        answer = server.post("/v3/register", body.clone()).await;
        if answer.get("errcode").is_some() {
            break;
        }
    }
    answer
}

/// Who has a token may register.
/// spec: client-server-api/#token-authenticated-registration
/// covers: POST /_matrix/client/v3/register
#[tokio::test]
async fn token_registers() {
    let (server, admin) = token_server().await;
    let token = new_token(&admin, 1).await;
    let answer = register_with(&server, &token).await.expect_ok();
    let alice = User::from_login(&server, &answer, "secret words");
    alice.get("/v3/account/whoami").await.expect_ok();
}

/// A token admits as many as it says.
/// spec: client-server-api/#token-authenticated-registration
/// covers: POST /_matrix/client/v3/register
#[tokio::test]
async fn used_up_token_is_refused() {
    let (server, admin) = token_server().await;
    let token = new_token(&admin, 1).await;
    register_with(&server, &token).await.expect_ok();
    register_with(&server, &token).await.expect_err(401, "M_UNAUTHORIZED").expect_absent("access_token");
}

/// Without a good token nobody registers.
/// spec: client-server-api/#token-authenticated-registration
/// covers: POST /_matrix/client/v3/register
#[tokio::test]
async fn wrong_token_is_refused() {
    let (server, _admin) = token_server().await;
    let answer = register_with(&server, "a guess").await.expect_err(401, "M_UNAUTHORIZED");
    assert!(answer.at("flows").is_array(), "{answer}");
    let auth = json!({"type": "m.login.dummy"});
    let body = json!({"username": unique("mallory"), "password": "secret words", "auth": auth});
    let answer = server.post("/v3/register", body).await;
    assert!(matches!(answer.status, 401 | 403), "{answer}");
    answer.expect_absent("access_token");
}

/// The validity of a token can be asked, without an account.
/// spec: client-server-api/#get_matrixclientv1registermloginregistration_tokenvalidity
/// covers: GET /_matrix/client/v1/register/m.login.registration_token/validity
#[tokio::test]
async fn validity_is_told() {
    let (server, admin) = token_server().await;
    let token = new_token(&admin, 1).await;
    server.get(VALIDITY).query("token", &token).await.expect_ok().has("valid", true);
    server.get(VALIDITY).query("token", "a guess").await.expect_ok().has("valid", false);
    register_with(&server, &token).await.expect_ok();
    server.get(VALIDITY).query("token", &token).await.expect_ok().has("valid", false);
}

/// The question needs a token.
/// spec: client-server-api/#get_matrixclientv1registermloginregistration_tokenvalidity
/// covers: GET /_matrix/client/v1/register/m.login.registration_token/validity
#[tokio::test]
async fn validity_of_nothing_is_refused() {
    let server = Server::shared().await;
    server.get(VALIDITY).await.expect_err_of(&[(400, "M_MISSING_PARAM"), (400, "M_INVALID_PARAM")]);
}

/// A closed server has no valid tokens.
/// spec: client-server-api/#get_matrixclientv1registermloginregistration_tokenvalidity
/// covers: GET /_matrix/client/v1/register/m.login.registration_token/validity
#[tokio::test]
async fn closed_server_has_no_valid_tokens() {
    let server = ServerOptions::default().registration(Registration::Closed).shared_secret("s").start().await;
    crate::accounts::shared_secret::register(&server, &unique("root"), true).await.expect_ok();
    server.get(VALIDITY).query("token", "a guess").await.expect_err(403, "M_FORBIDDEN");
}
