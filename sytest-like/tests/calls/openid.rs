//! OpenID tokens.

use sytest_like::{Client, Response, Server, User, json, path};

async fn issue(user: &User) -> Response {
    user.post(&path!("/v3/user/{}/openid/request_token", user.id), json!({})).await.expect_ok()
}

async fn userinfo(server: &Server, token: &str) -> Response {
    let client = Client::new(server.base_url());
    client
        .request(http::Method::GET, "/_matrix/federation/v1/openid/userinfo")
        .query("access_token", token)
        .await
}

/// A token tells others who the user is, and is good for nothing else.
/// spec: client-server-api/#openid
/// covers: POST /_matrix/client/v3/user/{userId}/openid/request_token
/// covers: GET /_matrix/federation/v1/openid/userinfo
#[tokio::test]
async fn token_tells_who_the_user_is() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let issued = issue(&alice).await.has("token_type", "Bearer").has("matrix_server_name", server.name());
    assert!(issued.int("expires_in") > 0, "{issued}");
    let token = issued.str("access_token");
    userinfo(&server, token).await.expect_ok().has("sub", alice.id.as_str());
    assert_ne!(issue(&alice).await.str("access_token"), token, "each request gives a token of its own");
    let whoami =
        Client::new(server.base_url()).request(http::Method::GET, "/v3/account/whoami").token(token).await;
    whoami.expect_err(401, "M_UNKNOWN_TOKEN");
}

/// Nobody gets a token for somebody else, and an unknown token tells nothing.
/// spec: client-server-api/#openid
/// covers: POST /_matrix/client/v3/user/{userId}/openid/request_token
/// covers: GET /_matrix/federation/v1/openid/userinfo
#[tokio::test]
async fn only_the_user_gets_a_token() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let path = path!("/v3/user/{}/openid/request_token", bob.id);
    alice.post(&path, json!({})).await.expect_err(403, "M_FORBIDDEN");
    alice.post(&path, json!({})).anonymous().await.expect_err(401, "M_MISSING_TOKEN");
    userinfo(&server, "nonsense").await.expect_err(401, "M_UNKNOWN_TOKEN");
    let client = Client::new(server.base_url());
    let answer = client.request(http::Method::GET, "/_matrix/federation/v1/openid/userinfo").await;
    answer.expect_err(401, "M_MISSING_TOKEN");
}

/// A token outlives a restart, and not the account.
/// spec: client-server-api/#openid
/// covers: POST /_matrix/client/v3/user/{userId}/openid/request_token
/// covers: GET /_matrix/federation/v1/openid/userinfo
#[tokio::test]
async fn token_outlives_a_restart_and_not_the_account() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let issued = issue(&alice).await;
    let token = issued.str("access_token");
    server.restart().await;
    userinfo(&server, token).await.expect_ok().has("sub", alice.id.as_str());
    let path = "/v3/account/deactivate";
    alice.with_password(http::Method::POST, path, json!({})).await.expect_ok();
    userinfo(&server, token).await.expect_err(401, "M_UNKNOWN_TOKEN");
}
