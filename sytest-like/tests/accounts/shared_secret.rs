//! `/_synapse/admin/v1/register`: what provisioning tools use to make accounts.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sytest_like::{Response, Server, User, Value, json, unique};

const PATH: &str = "/_synapse/admin/v1/register";

/// Makes an account the way provisioning tools do.
pub(crate) async fn register(server: &Server, name: &str, admin: bool) -> Response {
    let nonce = server.get(PATH).await.expect_ok().str("nonce").to_owned();
    server.post(PATH, signed_body(server.shared_secret(), &nonce, name, admin)).await
}

fn signed_body(secret: &str, nonce: &str, name: &str, admin: bool) -> Value {
    let role = if admin { "admin" } else { "notadmin" };
    let signed = [nonce, name, "secret words", role].join("\0");
    json!({
        "nonce": nonce,
        "username": name,
        "password": "secret words",
        "admin": admin,
        "mac": hmac_sha1(secret, &signed),
    })
}

fn hmac_sha1(secret: &str, text: &str) -> String {
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes()).expect("a key of any length will do");
    mac.update(text.as_bytes());
    let mut hex = String::new();
    for byte in mac.finalize().into_bytes() {
        write!(hex, "{byte:02x}").expect("a string takes everything");
    }
    hex
}

/// Nonce and HMAC make an account with a session.
/// spec: https://element-hq.github.io/synapse/latest/admin_api/register_api.html
/// covers: GET /_synapse/admin/v1/register
/// covers: POST /_synapse/admin/v1/register
#[tokio::test]
async fn signed_request_registers() {
    let server = Server::shared().await;
    let name = unique("alice");
    let answer = register(&server, &name, false).await.expect_ok();
    assert_eq!(answer.str("user_id"), format!("@{name}:{}", server.name()));
    let alice = User::from_login(&server, &answer, "secret words");
    alice.get("/v3/account/whoami").await.expect_ok().has("user_id", alice.id.as_str());
    alice.login().await;
}

/// An admin account can be made so.
/// spec: https://element-hq.github.io/synapse/latest/admin_api/register_api.html
/// covers: POST /_synapse/admin/v1/register
#[tokio::test]
async fn admin_account_registers() {
    let server = Server::shared().await;
    register(&server, &unique("root"), true).await.expect_ok();
}

/// The role is signed: a request for a common account cannot be turned into one for an admin.
/// spec: https://element-hq.github.io/synapse/latest/admin_api/register_api.html
/// covers: POST /_synapse/admin/v1/register
#[tokio::test]
async fn role_is_part_of_the_signature() {
    let server = Server::shared().await;
    let nonce = server.get(PATH).await.expect_ok().str("nonce").to_owned();
    let mut body = signed_body(server.shared_secret(), &nonce, &unique("mallory"), false);
    body["admin"] = json!(true);
    server.post(PATH, body).await.expect_err_of(&[(403, "M_FORBIDDEN"), (403, "M_UNKNOWN")]);
}

/// A wrong secret makes nothing.
/// spec: https://element-hq.github.io/synapse/latest/admin_api/register_api.html
/// covers: POST /_synapse/admin/v1/register
#[tokio::test]
async fn wrong_secret_is_refused() {
    let server = Server::shared().await;
    let nonce = server.get(PATH).await.expect_ok().str("nonce").to_owned();
    let body = signed_body("a guess", &nonce, &unique("mallory"), false);
    server.post(PATH, body).await.expect_err_of(&[(403, "M_FORBIDDEN"), (403, "M_UNKNOWN")]);
}

/// A nonce is good for one account.
/// spec: https://element-hq.github.io/synapse/latest/admin_api/register_api.html
/// covers: POST /_synapse/admin/v1/register
#[tokio::test]
async fn nonce_works_once() {
    let server = Server::shared().await;
    let nonce = server.get(PATH).await.expect_ok().str("nonce").to_owned();
    let secret = server.shared_secret();
    server.post(PATH, signed_body(secret, &nonce, &unique("alice"), false)).await.expect_ok();
    server.post(PATH, signed_body(secret, &nonce, &unique("bob"), false)).await.expect_refused();
}

/// A nonce of the caller's own making is refused, however well it is signed.
/// spec: https://element-hq.github.io/synapse/latest/admin_api/register_api.html
/// covers: POST /_synapse/admin/v1/register
#[tokio::test]
async fn unknown_nonce_is_refused() {
    let server = Server::shared().await;
    let body = signed_body(server.shared_secret(), "0123456789abcdef", &unique("mallory"), false);
    server.post(PATH, body).await.expect_refused();
}

/// A taken name stays with its owner.
/// spec: https://element-hq.github.io/synapse/latest/admin_api/register_api.html
/// covers: POST /_synapse/admin/v1/register
#[tokio::test]
async fn taken_name_is_refused() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    register(&server, alice.localpart(), false).await.expect_err(400, "M_USER_IN_USE");
}

/// Without a secret in the configuration the endpoint makes nobody.
/// spec: https://element-hq.github.io/synapse/latest/admin_api/register_api.html
/// covers: POST /_synapse/admin/v1/register
#[tokio::test]
async fn no_secret_no_registration() {
    let server = Server::start().await;
    let answer = server.get(PATH).await;
    let nonce = answer.get("nonce").and_then(Value::as_str).unwrap_or("none").to_owned();
    server.post(PATH, signed_body("", &nonce, &unique("mallory"), true)).await.expect_refused();
}
