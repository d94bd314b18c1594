//! TURN servers, and where calls of many can be held.

use sytest_like::{Server, ServerOptions, json};

/// A configured TURN server is handed out with credentials that run out.
/// spec: client-server-api/#get_matrixclientv3voipturnserver
/// covers: GET /_matrix/client/v3/voip/turnServer
/// not on synapse: it is configured in another way
#[tokio::test]
async fn turn_credentials_are_handed_out() {
    const URI: &str = "turn:turn.example.org?transport=udp";
    let server = ServerOptions::default()
        .kith("turn.uris", &format!("[\"{URI}\"]"))
        .kith("turn.shared_secret", "\"north\"")
        .kith("turn.lifetime_seconds", "600")
        .start()
        .await;
    let alice = server.register("alice").await;
    let answer = alice.get("/v3/voip/turnServer").await.expect_ok().has("ttl", 600).has("uris", json!([URI]));
    let (expiry, user) = answer.str("username").split_once(':').expect("an expiry and a user");
    assert!(expiry.parse::<u64>().is_ok() && user == alice.id, "{answer}");
    assert!(!answer.str("password").is_empty(), "{answer}");
    alice.get("/v3/voip/turnServer").anonymous().await.expect_err(401, "M_MISSING_TOKEN");
}

/// Without a TURN server there is nothing to hand out.
/// spec: client-server-api/#get_matrixclientv3voipturnserver
/// covers: GET /_matrix/client/v3/voip/turnServer
/// not on synapse: it answers an empty object
#[tokio::test]
async fn missing_turn_server_is_said() {
    let alice = Server::shared().await.register("alice").await;
    alice.get("/v3/voip/turnServer").await.expect_err(404, "M_NOT_FOUND");
}

/// Where calls of many can be held is told to those who are logged in, and for older clients in the well-known file.
/// spec: none (MSC4143)
/// not on synapse: it is configured in another way
#[tokio::test]
async fn transports_of_calls_are_told() {
    const URL: &str = "https://rtc.example.org";
    let server =
        ServerOptions::default().kith("rtc.livekit_service_urls", &format!("[\"{URL}\"]")).start().await;
    let alice = server.register("alice").await;
    let transports = json!([{"type": "livekit", "livekit_service_url": URL}]);
    for path in ["/v1/rtc/transports", "/unstable/org.matrix.msc4143/rtc/transports"] {
        alice.get(path).await.expect_ok().has("rtc_transports", transports.clone());
        alice.get(path).anonymous().await.expect_err(401, "M_MISSING_TOKEN");
    }
    let well_known = alice.get("/.well-known/matrix/client").await.expect_ok();
    assert_eq!(well_known.json["org.matrix.msc4143.rtc_foci"], transports);
    let nowhere = Server::shared().await.register("bob").await;
    nowhere.get("/v1/rtc/transports").await.expect_ok().has("rtc_transports", json!([]));
}
