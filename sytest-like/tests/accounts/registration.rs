//! `POST /register` and what surrounds it.

use sytest_like::{Server, json, unique};

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
    let session = challenge.str("session").to_owned();

    let auth = json!({"type": "m.login.dummy", "session": session});
    let body = json!({"username": name, "password": "secret words", "auth": auth});
    let answer = server.post("/v3/register", body).await.expect_ok();

    assert_eq!(answer.str("user_id"), format!("@{name}:{}", server.name()));
    let who = server.get("/v3/account/whoami").token(answer.str("access_token")).await.expect_ok();
    assert_eq!(who["user_id"], answer["user_id"]);
    assert_eq!(who["device_id"], answer["device_id"]);
}
