//! `/devices` and `/delete_devices`.

use http::Method;
use sytest_like::{Server, json, path};

/// All sessions of a user are listed with their names.
/// spec: client-server-api/#get_matrixclientv3devices
/// covers: GET /_matrix/client/v3/devices
#[tokio::test]
async fn devices_are_listed() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let laptop = alice.login().await;
    let mut listed = alice.get("/v3/devices").await.expect_ok().column("devices", "device_id");
    listed.sort();
    let mut expected = [alice.device_id.clone(), laptop.device_id.clone()];
    expected.sort();
    assert_eq!(listed, expected);
}

/// A device can be looked at.
/// spec: client-server-api/#get_matrixclientv3devicesdeviceid
/// covers: GET /_matrix/client/v3/devices/{deviceId}
#[tokio::test]
async fn device_is_shown() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let device = alice.get(&path!("/v3/devices/{}", alice.device_id)).await.expect_ok();
    device.has("device_id", alice.device_id.as_str());
}

/// A device that does not exist is not found.
/// spec: client-server-api/#get_matrixclientv3devicesdeviceid
/// covers: GET /_matrix/client/v3/devices/{deviceId}
/// covers: PUT /_matrix/client/v3/devices/{deviceId}
#[tokio::test]
async fn unknown_device_is_not_found() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    alice.get("/v3/devices/NOSUCH").await.expect_err(404, "M_NOT_FOUND");
    alice.put("/v3/devices/NOSUCH", json!({"display_name": "x"})).await.expect_err(404, "M_NOT_FOUND");
    let devices = alice.get("/v3/devices").await.expect_ok();
    assert_eq!(devices.array("devices").len(), 1);
}

/// A device can be renamed.
/// spec: client-server-api/#put_matrixclientv3devicesdeviceid
/// covers: PUT /_matrix/client/v3/devices/{deviceId}
#[tokio::test]
async fn device_is_renamed() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let path = path!("/v3/devices/{}", alice.device_id);
    alice.put(&path, json!({"display_name": "Küchen-Tablet \u{1F373}"})).await.expect_ok();
    alice.get(&path).await.expect_ok().has("display_name", "Küchen-Tablet \u{1F373}");
}

/// An update without a name changes nothing.
/// spec: client-server-api/#put_matrixclientv3devicesdeviceid
/// covers: PUT /_matrix/client/v3/devices/{deviceId}
#[tokio::test]
async fn update_without_a_name_keeps_it() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let path = path!("/v3/devices/{}", alice.device_id);
    alice.put(&path, json!({"display_name": "kept"})).await.expect_ok();
    alice.put(&path, json!({})).await.expect_ok();
    alice.get(&path).await.expect_ok().has("display_name", "kept");
}

/// A name of unreasonable length is refused.
/// spec: client-server-api/#put_matrixclientv3devicesdeviceid
/// covers: PUT /_matrix/client/v3/devices/{deviceId}
#[tokio::test]
async fn overlong_device_name_is_refused() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let path = path!("/v3/devices/{}", alice.device_id);
    alice.put(&path, json!({"display_name": "x".repeat(10_000)})).await.expect_refused();
}

/// Another user's device is not found, whatever is asked of it.
/// spec: client-server-api/#device-management
/// covers: GET /_matrix/client/v3/devices/{deviceId}
/// covers: PUT /_matrix/client/v3/devices/{deviceId}
#[tokio::test]
async fn other_users_devices_are_out_of_reach() {
    let server = Server::shared().await;
    let (alice, mallory) = (server.register("alice").await, server.register("mallory").await);
    let path = path!("/v3/devices/{}", alice.device_id);
    mallory.get(&path).await.expect_err(404, "M_NOT_FOUND");
    mallory.put(&path, json!({"display_name": "mine"})).await.expect_err(404, "M_NOT_FOUND");
}

/// Deleting another user's device leaves it alone.
/// spec: client-server-api/#delete_matrixclientv3devicesdeviceid
/// covers: DELETE /_matrix/client/v3/devices/{deviceId}
/// covers: POST /_matrix/client/v3/delete_devices
#[tokio::test]
async fn other_users_devices_are_not_deleted() {
    let server = Server::shared().await;
    let (alice, mallory) = (server.register("alice").await, server.register("mallory").await);
    let path = path!("/v3/devices/{}", alice.device_id);
    mallory.with_password(Method::DELETE, &path, json!({})).await;
    let devices = json!({"devices": [alice.device_id]});
    mallory.with_password(Method::POST, "/v3/delete_devices", devices).await;
    alice.get(&path).await.expect_ok();
}

/// Deleting a device wants the password, and ends its session.
/// spec: client-server-api/#delete_matrixclientv3devicesdeviceid
/// covers: DELETE /_matrix/client/v3/devices/{deviceId}
#[tokio::test]
async fn device_is_deleted_with_the_password() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let laptop = alice.login().await;
    let path = path!("/v3/devices/{}", laptop.device_id);
    let challenge = alice.request(Method::DELETE, &path).json(&json!({})).await.expect_status(401);
    let stages = json!(["m.login.password"]);
    assert!(challenge.array("flows").iter().any(|flow| flow["stages"] == stages), "{challenge}");
    laptop.get("/v3/account/whoami").await.expect_ok();

    alice.with_password(Method::DELETE, &path, json!({})).await.expect_ok();

    laptop.get("/v3/account/whoami").await.expect_err(401, "M_UNKNOWN_TOKEN");
    alice.get(&path).await.expect_err(404, "M_NOT_FOUND");
    alice.get("/v3/account/whoami").await.expect_ok();
}

/// Clients send the first request of a deletion without any body.
/// spec: client-server-api/#delete_matrixclientv3devicesdeviceid
/// covers: DELETE /_matrix/client/v3/devices/{deviceId}
#[tokio::test]
async fn deletion_without_a_body_is_challenged() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let laptop = alice.login().await;
    let challenge = alice.delete(&path!("/v3/devices/{}", laptop.device_id)).await.expect_status(401);
    assert!(!challenge.str("session").is_empty());
}

/// A wrong password in the session is told, and the session can go on with the right one.
/// spec: client-server-api/#user-interactive-api-in-the-rest-api
/// covers: DELETE /_matrix/client/v3/devices/{deviceId}
#[tokio::test]
async fn wrong_password_can_be_tried_again_in_the_session() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let laptop = alice.login().await;
    let path = path!("/v3/devices/{}", laptop.device_id);
    let challenge = alice.request(Method::DELETE, &path).json(&json!({})).await.expect_status(401);
    let session = challenge.str("session");
    let mut auth = alice.password_auth(session);
    auth["password"] = json!("not it");
    let answer = alice.request(Method::DELETE, &path).json(&json!({"auth": auth})).await;
    let answer = answer.expect_err(401, "M_FORBIDDEN").has("session", session);
    assert!(answer.at("flows").is_array());
    laptop.get("/v3/account/whoami").await.expect_ok();

    let auth = alice.password_auth(session);
    alice.request(Method::DELETE, &path).json(&json!({"auth": auth})).await.expect_ok();
    laptop.get("/v3/account/whoami").await.expect_err(401, "M_UNKNOWN_TOKEN");
}

/// Another user's password proves nothing.
/// spec: client-server-api/#user-interactive-authentication-api
/// covers: DELETE /_matrix/client/v3/devices/{deviceId}
#[tokio::test]
async fn another_users_password_does_not_authenticate() {
    let server = Server::shared().await;
    let (alice, mallory) = (server.register("alice").await, server.register("mallory").await);
    let laptop = alice.login().await;
    let path = path!("/v3/devices/{}", laptop.device_id);
    let challenge = alice.request(Method::DELETE, &path).json(&json!({})).await.expect_status(401);
    let auth = mallory.password_auth(challenge.str("session"));
    let answer = alice.request(Method::DELETE, &path).json(&json!({"auth": auth})).await;
    assert!(matches!(answer.status, 401 | 403), "{answer}");
    laptop.get("/v3/account/whoami").await.expect_ok();
}

/// A session of one operation does not authorise another one.
/// spec: client-server-api/#user-interactive-api-in-the-rest-api
/// covers: DELETE /_matrix/client/v3/devices/{deviceId}
/// covers: POST /_matrix/client/v3/account/deactivate
#[tokio::test]
async fn session_is_bound_to_its_operation() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let laptop = alice.login().await;
    let path = path!("/v3/devices/{}", laptop.device_id);
    let challenge = alice.request(Method::DELETE, &path).json(&json!({})).await.expect_status(401);
    let auth = alice.password_auth(challenge.str("session"));
    let answer = alice.post("/v3/account/deactivate", json!({"auth": auth})).await;
    assert!((400..500).contains(&answer.status), "{answer}");
    alice.get("/v3/account/whoami").await.expect_ok();
}

/// A device that is gone may be deleted again.
/// spec: client-server-api/#user-interactive-api-in-the-rest-api
/// covers: DELETE /_matrix/client/v3/devices/{deviceId}
#[tokio::test]
async fn deleting_a_device_twice_is_no_error() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let laptop = alice.login().await;
    let path = path!("/v3/devices/{}", laptop.device_id);
    alice.with_password(Method::DELETE, &path, json!({})).await.expect_ok();
    let again = alice.request(Method::DELETE, &path).json(&json!({})).await;
    let again = if again.status == 401 {
        let auth = alice.password_auth(again.str("session"));
        alice.request(Method::DELETE, &path).json(&json!({"auth": auth})).await
    } else {
        again
    };
    again.expect_ok();
}

/// Many devices are deleted at once, unknown ones among them.
/// spec: client-server-api/#post_matrixclientv3delete_devices
/// covers: POST /_matrix/client/v3/delete_devices
#[tokio::test]
async fn many_devices_are_deleted_at_once() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let (laptop, tablet, kept) = (alice.login().await, alice.login().await, alice.login().await);
    let devices = json!({"devices": [laptop.device_id, tablet.device_id, "NOSUCH"]});
    alice.post("/v3/delete_devices", devices.clone()).await.expect_status(401);

    alice.with_password(Method::POST, "/v3/delete_devices", devices).await.expect_ok();

    for gone in [&laptop, &tablet] {
        gone.get("/v3/account/whoami").await.expect_err(401, "M_UNKNOWN_TOKEN");
    }
    kept.get("/v3/account/whoami").await.expect_ok();
    assert_eq!(alice.get("/v3/devices").await.expect_ok().array("devices").len(), 2);
}

/// The list of devices is required.
/// spec: client-server-api/#post_matrixclientv3delete_devices
/// covers: POST /_matrix/client/v3/delete_devices
#[tokio::test]
async fn delete_devices_needs_a_list() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let answer = alice.post("/v3/delete_devices", json!({"devices": "all"})).await;
    answer.expect_err_of(&[(400, "M_BAD_JSON"), (400, "M_INVALID_PARAM")]);
}

/// When and where a device was last seen is shown to its owner.
/// spec: client-server-api/#get_matrixclientv3devices
/// covers: GET /_matrix/client/v3/devices
/// covers: GET /_matrix/client/v3/devices/{deviceId}
#[tokio::test]
async fn device_fields_have_the_right_types() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let devices = alice.get("/v3/devices").await.expect_ok();
    let device = &devices.array("devices")[0];
    assert!(device["device_id"].is_string(), "{devices}");
    assert!(device["last_seen_ip"].is_null() || device["last_seen_ip"].is_string());
    assert!(
        device["last_seen_ts"].is_null()
            || device["last_seen_ts"].as_i64().is_some_and(|ts| ts > 1_600_000_000_000)
    );
}
