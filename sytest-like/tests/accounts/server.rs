//! What the server says about itself, and how it answers to what it does not know.

use http::Method;
use sytest_like::{Server, json};

/// The supported versions are named, and no token is needed.
/// spec: client-server-api/#get_matrixclientversions
/// covers: GET /_matrix/client/versions
#[tokio::test]
async fn versions_are_named() {
    let server = Server::shared().await;
    let answer = server.get("/versions").await.expect_ok();
    let versions: Vec<_> = answer.array("versions").iter().filter_map(|version| version.as_str()).collect();
    assert!(versions.contains(&"v1.11"), "{answer}");
    assert!(answer.get("unstable_features").is_none_or(serde_json::Value::is_object));
}

/// The same with a token, good or bad: clients ask this first.
/// spec: client-server-api/#get_matrixclientversions
/// covers: GET /_matrix/client/versions
#[tokio::test]
async fn versions_are_named_to_users() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    alice.get("/versions").await.expect_ok();
}

/// Capabilities name the room versions, all stable ones among them.
/// spec: client-server-api/#get_matrixclientv3capabilities
/// covers: GET /_matrix/client/v3/capabilities
#[tokio::test]
async fn capabilities_name_room_versions() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let answer = alice.get("/v3/capabilities").await.expect_ok();
    let versions = &answer.json["capabilities"]["m.room_versions"];
    let default = versions["default"].as_str().expect("there is a default");
    assert_eq!(versions["available"][default], "stable", "{answer}");
    for version in 1..=12 {
        assert_eq!(versions["available"][version.to_string()], "stable", "{answer}");
    }
}

/// The password can be changed, and the capabilities say so.
/// spec: client-server-api/#capabilities-negotiation
/// covers: GET /_matrix/client/v3/capabilities
#[tokio::test]
async fn capabilities_name_what_can_be_changed() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let answer = alice.get("/v3/capabilities").await.expect_ok();
    let capabilities = &answer.json["capabilities"];
    assert_eq!(capabilities["m.change_password"]["enabled"], true, "{answer}");
    assert_eq!(capabilities["m.profile_fields"]["enabled"], true, "{answer}");
    assert_eq!(capabilities["m.get_login_token"]["enabled"], true, "{answer}");
}

/// Capabilities are for users.
/// spec: client-server-api/#get_matrixclientv3capabilities
/// covers: GET /_matrix/client/v3/capabilities
#[tokio::test]
async fn capabilities_need_a_token() {
    let server = Server::shared().await;
    server.get("/v3/capabilities").await.expect_err(401, "M_MISSING_TOKEN");
}

/// A path that does not exist is told apart from a thing that does not exist.
/// spec: client-server-api/#common-error-codes
/// covers: GET /_matrix/client/versions
#[tokio::test]
async fn unknown_paths_are_unrecognized() {
    let server = Server::shared().await;
    for path in ["/v3/no/such/thing", "/_matrix/nothing", "/_matrix", "/v99/login"] {
        server.get(path).await.expect_err(404, "M_UNRECOGNIZED");
    }
}

/// A method that a path does not have is told as such.
/// spec: client-server-api/#common-error-codes
/// covers: POST /_matrix/client/v3/login
#[tokio::test]
async fn unknown_methods_are_unrecognized() {
    let server = Server::shared().await;
    server.request(Method::DELETE, "/v3/login").await.expect_err(405, "M_UNRECOGNIZED");
    server.request(Method::PATCH, "/v3/sync").await.expect_err(405, "M_UNRECOGNIZED");
}

/// Browsers ask before they send; the answer allows every method and header that clients use.
/// spec: client-server-api/#web-browser-clients
/// covers: POST /_matrix/client/v3/login
#[tokio::test]
async fn preflight_is_answered() {
    let server = Server::shared().await;
    let answer = server
        .request(Method::OPTIONS, "/v3/login")
        .header("origin", "https://client.example.org")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,content-type")
        .await;
    assert!(matches!(answer.status, 200 | 204), "{answer}");
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    let methods = answer.header("access-control-allow-methods").to_uppercase();
    for method in ["GET", "POST", "PUT", "DELETE", "OPTIONS"] {
        assert!(methods.contains(method), "{methods}");
    }
    let headers = answer.header("access-control-allow-headers").to_lowercase();
    for header in ["x-requested-with", "content-type", "authorization"] {
        assert!(headers.contains(header), "{headers}");
    }
}

/// Every answer can be read by a page from elsewhere, errors too.
/// spec: client-server-api/#web-browser-clients
/// covers: GET /_matrix/client/versions
/// covers: GET /_matrix/client/v3/account/whoami
#[tokio::test]
async fn answers_can_be_read_by_browsers() {
    let server = Server::shared().await;
    let origin = |path: &str| server.get(path).header("origin", "https://client.example.org");
    for path in ["/versions", "/v3/account/whoami", "/v3/no/such/thing"] {
        let answer = origin(path).await;
        assert_eq!(answer.header("access-control-allow-origin"), "*", "{answer}");
        assert!(answer.header("content-type").starts_with("application/json"), "{answer}");
    }
}

/// Clients that forget the content type, or send another one, are understood.
/// spec: client-server-api/#api-standards
/// covers: POST /_matrix/client/v3/login
#[tokio::test]
async fn content_type_does_not_matter() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let login = || server.post("/v3/login", alice.password_login());
    login().without_content_type().await.expect_ok();
    login().header("content-type", "text/plain").await.expect_ok();
    login().header("content-type", "application/json; charset=utf-8").await.expect_ok();
}

/// Errors are JSON objects with a code.
/// spec: client-server-api/#standard-error-response
/// covers: POST /_matrix/client/v3/login
#[tokio::test]
async fn broken_json_is_told() {
    let server = Server::shared().await;
    for body in ["{", "{\"type\": }", "nonsense", "{\"a\": 1,}", "\u{FEFF}{}", "'single'"] {
        server.request(Method::POST, "/v3/login").body(body).await.expect_err(400, "M_NOT_JSON");
    }
    let bytes: &'static [u8] = b"{\"type\": \"\xff\xfe\"}";
    server.request(Method::POST, "/v3/login").body(bytes).await.expect_err(400, "M_NOT_JSON");
    server.post("/v3/login", json!("text")).await.expect_err_of(&[(400, "M_BAD_JSON"), (400, "M_NOT_JSON")]);
}
