//! `POST /logout` and `/logout/all`.

use sytest_like::{Server, json};

/// Logging out ends this session and its device, and no other.
/// spec: client-server-api/#post_matrixclientv3logout
/// covers: POST /_matrix/client/v3/logout
/// covers: GET /_matrix/client/v3/devices
#[tokio::test]
async fn logout_ends_one_session() {
    let server = Server::shared().await;
    let phone = server.register("alice").await;
    let laptop = phone.login().await;
    phone.post("/v3/logout", json!({})).await.expect_ok();
    phone.get("/v3/account/whoami").await.expect_err(401, "M_UNKNOWN_TOKEN");
    let devices = laptop.get("/v3/devices").await.expect_ok();
    assert_eq!(devices.column("devices", "device_id"), [laptop.device_id.as_str()]);
}

/// The body may be empty.
/// spec: client-server-api/#post_matrixclientv3logout
/// covers: POST /_matrix/client/v3/logout
/// covers: POST /_matrix/client/v3/logout/all
#[tokio::test]
async fn logout_needs_no_body() {
    let server = Server::shared().await;
    let phone = server.register("alice").await;
    let laptop = phone.login().await;
    phone.request(http::Method::POST, "/v3/logout").await.expect_ok();
    laptop.request(http::Method::POST, "/v3/logout/all").await.expect_ok();
}

/// Logging out everywhere ends every session.
/// spec: client-server-api/#post_matrixclientv3logoutall
/// covers: POST /_matrix/client/v3/logout/all
#[tokio::test]
async fn logout_all_ends_every_session() {
    let server = Server::shared().await;
    let phone = server.register("alice").await;
    let laptop = phone.login().await;
    laptop.post("/v3/logout/all", json!({})).await.expect_ok();
    for device in [&phone, &laptop] {
        device.get("/v3/account/whoami").await.expect_err(401, "M_UNKNOWN_TOKEN");
    }
    let again = phone.login().await;
    let devices = again.get("/v3/devices").await.expect_ok();
    assert_eq!(devices.column("devices", "device_id"), [again.device_id.as_str()]);
}

/// Nobody is logged out by a stranger.
/// spec: client-server-api/#post_matrixclientv3logout
/// covers: POST /_matrix/client/v3/logout
/// covers: POST /_matrix/client/v3/logout/all
#[tokio::test]
async fn logout_needs_a_token() {
    let server = Server::shared().await;
    for path in ["/v3/logout", "/v3/logout/all"] {
        server.post(path, json!({})).await.expect_err(401, "M_MISSING_TOKEN");
        server.post(path, json!({})).token("made-up").await.expect_err(401, "M_UNKNOWN_TOKEN");
    }
}

/// A token that has logged out is unknown from then on.
/// spec: client-server-api/#post_matrixclientv3logout
/// covers: POST /_matrix/client/v3/logout
#[tokio::test]
async fn a_second_logout_is_refused() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    alice.post("/v3/logout", json!({})).await.expect_ok();
    alice.post("/v3/logout", json!({})).await.expect_err(401, "M_UNKNOWN_TOKEN");
}

/// A session that ended stays ended over a restart.
/// spec: client-server-api/#post_matrixclientv3logout
/// covers: POST /_matrix/client/v3/logout
#[tokio::test]
async fn ended_session_stays_ended_over_a_crash() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    alice.post("/v3/logout", json!({})).await.expect_ok();
    server.kill9();
    server.start_again().await;
    alice.get("/v3/account/whoami").await.expect_err(401, "M_UNKNOWN_TOKEN");
}
