//! Policies to accept at registration.

use sytest_like::{Server, ServerOptions, json, unique};

const TERMS: &str =
    r#"[{ id = "privacy", version = "1.2", name = "Privacy", url = "https://example.org/privacy" }]"#;

async fn server_with_terms() -> Server {
    ServerOptions::default().kith("registration.terms", TERMS).start().await
}

/// The policies are named in the parameters of the challenge, in the shape that clients show.
/// spec: client-server-api/#terms-of-service-at-registration
/// covers: POST /_matrix/client/v3/register
/// not on synapse: its terms need page templates
#[tokio::test]
async fn policies_are_named() {
    let server = server_with_terms().await;
    let challenge = server.post("/v3/register", json!({})).await.expect_status(401);
    for flow in challenge.array("flows") {
        let stages = flow["stages"].as_array().expect("a flow has stages");
        assert!(stages.contains(&json!("m.login.terms")), "{challenge}");
    }
    let policy = &challenge.json["params"]["m.login.terms"]["policies"]["privacy"];
    assert_eq!(policy["version"], "1.2", "{challenge}");
    assert_eq!(policy["en"], json!({"name": "Privacy", "url": "https://example.org/privacy"}));
}

/// Accepting them is a stage of its own.
/// spec: client-server-api/#terms-of-service-at-registration
/// covers: POST /_matrix/client/v3/register
/// not on synapse: its terms need page templates
#[tokio::test]
async fn accepting_registers() {
    let server = server_with_terms().await;
    let mut body = json!({"username": unique("alice"), "password": "secret words"});
    let mut answer = server.post("/v3/register", body.clone()).await.expect_status(401);
    let session = answer.str("session").to_owned();
    let stages = answer.array("flows")[0]["stages"].as_array().cloned().expect("a flow has stages");
    for (done, stage) in stages.iter().enumerate() {
        answer.expect_status(401);
        body["auth"] = json!({"type": stage, "session": session});
        answer = server.post("/v3/register", body.clone()).await;
        if done + 1 < stages.len() {
            assert_eq!(answer.array("completed").len(), done + 1, "{answer}");
        }
    }
    answer.expect_ok();
}

/// Nobody registers without accepting.
/// spec: client-server-api/#terms-of-service-at-registration
/// covers: POST /_matrix/client/v3/register
/// not on synapse: its terms need page templates
#[tokio::test]
async fn dummy_alone_does_not_register() {
    let server = server_with_terms().await;
    let auth = json!({"type": "m.login.dummy"});
    let body = json!({"username": unique("alice"), "password": "secret words", "auth": auth});
    server.post("/v3/register", body).await.expect_status(401).expect_absent("access_token");
}
