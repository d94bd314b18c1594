//! Accounts and sessions across replicas.

use http::Method;
use sytest_like::{Server, ServerOptions, json, path, unique};

async fn two() -> (Server, Server) {
    let mut replicas = ServerOptions::default().start_replicas(2).await;
    let second = replicas.remove(1);
    (replicas.remove(0), second)
}

/// A session made on one replica works on the other.
/// spec: client-server-api/#using-access-tokens
/// covers: POST /_matrix/client/v3/register
/// covers: GET /_matrix/client/v3/account/whoami
/// not on synapse: it has no equal replicas
#[tokio::test]
async fn session_works_on_every_replica() {
    let (first, second) = two().await;
    let alice = first.register("alice").await;
    let there = second.as_seen_here(&alice);
    there.get("/v3/account/whoami").await.expect_ok().has("device_id", alice.device_id.as_str());
    there.login().await;
}

/// A session that ends on one replica has ended on the other, with the very next request.
/// spec: client-server-api/#post_matrixclientv3logout
/// covers: POST /_matrix/client/v3/logout
/// covers: POST /_matrix/client/v3/logout/all
/// not on synapse: it has no equal replicas
#[tokio::test]
async fn logout_is_known_everywhere_at_once() {
    const TIMES: usize = 10;
    let (first, second) = two().await;
    for _ in 0..TIMES {
        let alice = first.register("alice").await;
        let there = second.as_seen_here(&alice);
        // The other replica has the token in its cache.
        there.get("/v3/account/whoami").await.expect_ok();
        alice.post("/v3/logout", json!({})).await.expect_ok();
        there.get("/v3/account/whoami").await.expect_err(401, "M_UNKNOWN_TOKEN");
    }
}

/// A password changed on one replica counts on the other at once.
/// spec: client-server-api/#post_matrixclientv3accountpassword
/// covers: POST /_matrix/client/v3/account/password
/// not on synapse: it has no equal replicas
#[tokio::test]
async fn new_password_counts_everywhere() {
    let (first, second) = two().await;
    let alice = first.register("alice").await;
    let elsewhere = second.as_seen_here(&alice).login().await;
    let body = json!({"new_password": "a better one"});
    alice.with_password(Method::POST, "/v3/account/password", body).await.expect_ok();
    second.post("/v3/login", alice.password_login()).await.expect_err(403, "M_FORBIDDEN");
    elsewhere.get("/v3/account/whoami").await.expect_err(401, "M_UNKNOWN_TOKEN");
}

/// A user-interactive session begun on one replica can be completed on the other.
/// spec: client-server-api/#user-interactive-authentication-api
/// covers: POST /_matrix/client/v3/register
/// covers: DELETE /_matrix/client/v3/devices/{deviceId}
/// not on synapse: it has no equal replicas
#[tokio::test]
async fn interactive_session_goes_on_elsewhere() {
    let (first, second) = two().await;
    let name = unique("alice");
    let challenge = first.post("/v3/register", json!({"username": name, "password": "secret words"})).await;
    let auth = json!({"type": "m.login.dummy", "session": challenge.expect_status(401).str("session")});
    let body = json!({"username": name, "password": "secret words", "auth": auth});
    let answer = second.post("/v3/register", body).await.expect_ok();
    let alice = sytest_like::User::from_login(&second, &answer, "secret words");

    let laptop = alice.login().await;
    let path = path!("/v3/devices/{}", laptop.device_id);
    let challenge = alice.request(Method::DELETE, &path).json(&json!({})).await.expect_status(401);
    let auth = alice.password_auth(challenge.str("session"));
    let there = first.as_seen_here(&alice);
    there.request(Method::DELETE, &path).json(&json!({"auth": auth})).await.expect_ok();
}

/// One name registered on both replicas at the same moment makes one account.
/// spec: client-server-api/#post_matrixclientv3register
/// covers: POST /_matrix/client/v3/register
/// not on synapse: it has no equal replicas
#[tokio::test]
async fn name_is_taken_once_in_the_cluster() {
    let (first, second) = two().await;
    let name = unique("alice");
    let body = json!({"username": name, "password": "secret words", "auth": {"type": "m.login.dummy"}});
    let attempts = (0..10).map(|number| {
        let server = if number % 2 == 0 { &first } else { &second };
        let body = body.clone();
        async move { server.post("/v3/register", body).await }
    });
    let answers = futures_util::future::join_all(attempts).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1, "{answers:?}");
}

/// A login token is good for one login in the whole cluster.
/// spec: client-server-api/#post_matrixclientv1loginget_token
/// covers: POST /_matrix/client/v1/login/get_token
/// not on synapse: it has no equal replicas
#[tokio::test]
async fn login_token_works_once_in_the_cluster() {
    let (first, second) = two().await;
    let alice = first.register("alice").await;
    let answer = alice.with_password(Method::POST, "/v1/login/get_token", json!({})).await.expect_ok();
    let body = json!({"type": "m.login.token", "token": answer["login_token"]});
    let attempts = (0..6).map(|number| {
        let server = if number % 2 == 0 { &first } else { &second };
        let body = body.clone();
        async move { server.post("/v3/login", body).await }
    });
    let answers = futures_util::future::join_all(attempts).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1, "{answers:?}");
}

/// Profiles, account data, tags, filters and devices are the same everywhere.
/// spec: client-server-api/#client-config
/// covers: PUT /_matrix/client/v3/user/{userId}/account_data/{type}
/// covers: PUT /_matrix/client/v3/profile/{userId}/{keyName}
/// covers: POST /_matrix/client/v3/user/{userId}/filter
/// not on synapse: it has no equal replicas
#[tokio::test]
async fn settings_are_the_same_everywhere() {
    let (first, second) = two().await;
    let here = first.register("alice").await;
    let there = second.as_seen_here(&here);
    let data = path!("/v3/user/{}/account_data/org.example.x", here.id);
    let name = path!("/v3/profile/{}/displayname", here.id);
    for number in 0..5 {
        here.put(&data, json!({"n": number})).await.expect_ok();
        there.get(&data).await.expect_ok().has("n", number);
        let text = format!("name {number}");
        there.put(&name, json!({"displayname": text})).await.expect_ok();
        here.get(&name).await.expect_ok().has("displayname", text);
    }
    let filter = here.post(&path!("/v3/user/{}/filter", here.id), json!({"room": {}})).await.expect_ok();
    there.get(&path!("/v3/user/{}/filter/{}", here.id, filter.str("filter_id"))).await.expect_ok();
}
