//! `GET /admin/whois/{userId}`.

use sytest_like::path;

use super::ground::admin_and_alice;

/// Administrators, and users themselves, see the devices of a user.
/// spec: client-server-api/#get_matrixclientv3adminwhoisuserid
/// covers: GET /_matrix/client/v3/admin/whois/{userId}
#[tokio::test]
async fn devices_are_shown() {
    let (admin, alice) = admin_and_alice().await;
    for asker in [&admin, &alice] {
        let answer = asker.get(&path!("/v3/admin/whois/{}", alice.id)).await.expect_ok();
        let answer = answer.has("user_id", alice.id.as_str());
        assert!(answer["devices"].is_object(), "{answer}");
    }
}

/// Each device comes under its id.
/// spec: client-server-api/#get_matrixclientv3adminwhoisuserid
/// covers: GET /_matrix/client/v3/admin/whois/{userId}
/// not on synapse: it knows connections, not devices
#[tokio::test]
async fn devices_have_their_ids() {
    let (admin, alice) = admin_and_alice().await;
    let laptop = alice.login().await;
    let answer = admin.get(&path!("/v3/admin/whois/{}", alice.id)).await.expect_ok();
    let devices = answer["devices"].as_object().expect("an object");
    for device in [&alice.device_id, &laptop.device_id] {
        let connections = &devices[device]["sessions"][0]["connections"];
        assert!(connections.is_array(), "{answer}");
    }
}

/// Others see nothing, and nobody sees who is not there.
/// spec: client-server-api/#get_matrixclientv3adminwhoisuserid
/// covers: GET /_matrix/client/v3/admin/whois/{userId}
/// not on synapse: it answers 200 for unknown users
#[tokio::test]
async fn strangers_see_nothing() {
    let (admin, alice) = admin_and_alice().await;
    alice.get(&path!("/v3/admin/whois/{}", admin.id)).await.expect_err(403, "M_FORBIDDEN");
    alice.get("/v3/admin/whois/%40nobody%3Aexample.org").await.expect_err(403, "M_FORBIDDEN");
    admin.get("/v3/admin/whois/%40nobody%3Aexample.org").await.expect_err(404, "M_NOT_FOUND");
    admin.get("/v3/admin/whois/nobody").await.expect_refused();
    alice.server.get(&path!("/v3/admin/whois/{}", alice.id)).await.expect_err(401, "M_MISSING_TOKEN");
}
