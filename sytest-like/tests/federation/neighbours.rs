//! Which servers are talked to at all, and what a server says of itself.

use super::ground::with_fake;
use sytest_like::{FakeServer, Response, Server, ServerOptions, User, json, path};

const PROFILE: &str = "/_matrix/federation/v1/query/profile";

/// A server with one more key in its configuration, and a scripted one that is started before, so that its name is known.
async fn configured(key: &str, value: impl Fn(&FakeServer) -> String) -> (Server, FakeServer, User) {
    let fake = FakeServer::start().await;
    let server = ServerOptions::default().federated().kith(key, &value(&fake)).start().await;
    let alice = server.register("alice").await;
    (server, fake, alice)
}

async fn ask(server: &Server, fake: &FakeServer, alice: &User) -> Response {
    fake.get(server.name(), PROFILE).query("user_id", &alice.id).await
}

/// Alice asks for somebody on the scripted server; returns how often that was asked.
async fn asked_by(alice: &User, fake: &FakeServer) -> usize {
    fake.set_profile(&fake.user("bob"), json!({"displayname": "Bob"}));
    fake.forget();
    let _ = alice.get(&path!("/v3/profile/{}", fake.user("bob"))).await;
    fake.received("query/profile").len()
}

/// A server on the list of those that are denied is neither answered nor asked.
/// spec: server-server-api/
/// covers: GET /_matrix/federation/v1/query/profile
/// not on synapse: it is configured in another way
#[tokio::test]
async fn denied_server_is_neither_answered_nor_asked() {
    let (server, fake, alice) =
        configured("federation.deny_servers", |fake| json!([fake.name()]).to_string()).await;

    ask(&server, &fake, &alice).await.expect_err(403, "M_FORBIDDEN");
    assert_eq!(asked_by(&alice, &fake).await, 0);
}

/// Where some servers are allowed, no others are.
/// spec: server-server-api/
/// covers: GET /_matrix/federation/v1/query/profile
/// not on synapse: it is configured in another way
#[tokio::test]
async fn only_allowed_servers_are_answered() {
    let (server, fake, alice) =
        configured("federation.allow_servers", |fake| json!([fake.name()]).to_string()).await;
    let stranger = FakeServer::start().await;

    ask(&server, &fake, &alice).await.expect_ok();
    assert_eq!(asked_by(&alice, &fake).await, 1);
    ask(&server, &stranger, &alice).await.expect_err(403, "M_FORBIDDEN");
    assert_eq!(asked_by(&alice, &stranger).await, 0);
}

/// Where federation is switched off, nobody is answered and nobody is asked.
/// spec: server-server-api/
/// covers: GET /_matrix/federation/v1/query/profile
/// covers: GET /_matrix/key/v2/server
/// covers: GET /_matrix/federation/v1/version
/// not on synapse: it has no such switch
#[tokio::test]
async fn server_without_federation_is_silent() {
    let (server, fake, alice) = configured("federation.enabled", |_| "false".to_owned()).await;

    ask(&server, &fake, &alice).await.expect_err(403, "M_FORBIDDEN");
    for path in ["/_matrix/key/v2/server", "/_matrix/federation/v1/version"] {
        fake.get(server.name(), path).anonymous().await.expect_err(403, "M_FORBIDDEN");
    }
    assert_eq!(asked_by(&alice, &fake).await, 0);
}

/// Nobody makes the server ask addresses in its own network, unless that is allowed.
/// spec: server-server-api/#resolving-server-names
/// covers: GET /_matrix/key/v2/query/{serverName}
/// not on synapse: it is configured in another way
#[tokio::test]
async fn own_network_is_not_asked() {
    let (server, fake, alice) = configured("federation.allowed_private_ranges", |_| "[]".to_owned()).await;

    let query = path!("/_matrix/key/v2/query/{}", fake.name());
    let answer = fake.get(server.name(), &query).anonymous().await.expect_ok();

    assert!(answer.array("server_keys").is_empty(), "{answer}");
    // Its requests are not answered either: nobody can know that they are its own.
    ask(&server, &fake, &alice).await.expect_err(401, "M_UNAUTHORIZED");
    assert_eq!(asked_by(&alice, &fake).await, 0);
    assert!(fake.received("key/v2/server").is_empty());
}

/// A server says what it is to everybody.
/// spec: server-server-api/#get_matrixfederationv1version
/// covers: GET /_matrix/federation/v1/version
#[tokio::test]
async fn version_is_told() {
    let (server, fake) = with_fake().await;
    let answer = fake.get(server.name(), "/_matrix/federation/v1/version").anonymous().await.expect_ok();
    assert!(answer.at("/server/name").is_string() && answer.at("/server/version").is_string(), "{answer}");
}

/// Keys of the past are published with the time until which they were used.
/// spec: server-server-api/#publishing-keys
/// covers: GET /_matrix/key/v2/server
/// not on synapse: it is configured in another way
#[tokio::test]
async fn old_keys_are_published() {
    const KEY: &str = "VXk8k0gVVEnSJWVYvYoDlB0T8JdLkyT2vQ6nCJ2IqnA";
    let old = format!("[{{ id = \"ed25519:old\", public_key = \"{KEY}\", expired_ts = 1700000000000 }}]");
    let (server, fake, _) = configured("signing.old_keys", |_| old.clone()).await;

    let keys = fake.get(server.name(), "/_matrix/key/v2/server").anonymous().await.expect_ok();

    let expected = json!({"ed25519:old": {"key": KEY, "expired_ts": 1_700_000_000_000_i64}});
    assert_eq!(keys.json["old_verify_keys"], expected);
}

/// What is configured is told under the well-known addresses.
/// spec: server-server-api/#getwell-knownmatrixserver
/// covers: GET /.well-known/matrix/server
/// covers: GET /.well-known/matrix/support
/// covers: GET /.well-known/matrix/policy_server
/// not on synapse: it is configured in another way
#[tokio::test]
async fn well_known_files_are_told() {
    let contacts = "[{ role = \"m.role.admin\", matrix_id = \"@admin:example.org\" }, \
                    { role = \"m.role.security\", email_address = \"security@example.org\" }]";
    let server = ServerOptions::default()
        .kith("well_known.server", "\"matrix.example.org:443\"")
        .kith("well_known.support_page", "\"https://example.org/support\"")
        .kith("well_known.support_contacts", contacts)
        .kith("well_known.policy_server_key", "\"VXk8k0gVVEnSJWVYvYoDlB0T8JdLkyT2vQ6nCJ2IqnA\"")
        .start()
        .await;

    server.get("/.well-known/matrix/server").await.expect_ok().has("m.server", "matrix.example.org:443");
    let contacts = json!([
        {"role": "m.role.admin", "matrix_id": "@admin:example.org"},
        {"role": "m.role.security", "email_address": "security@example.org"},
    ]);
    let support = server.get("/.well-known/matrix/support").await.expect_ok();
    support.has("contacts", contacts).has("support_page", "https://example.org/support");
    let policy = server.get("/.well-known/matrix/policy_server").await.expect_ok();
    policy.has("public_keys", json!({"ed25519": "VXk8k0gVVEnSJWVYvYoDlB0T8JdLkyT2vQ6nCJ2IqnA"}));
}

/// What is not configured is not there.
/// spec: server-server-api/#getwell-knownmatrixserver
/// covers: GET /.well-known/matrix/server
/// covers: GET /.well-known/matrix/support
/// covers: GET /.well-known/matrix/policy_server
/// not on synapse: it answers without an error code
#[tokio::test]
async fn missing_well_known_files_are_not_found() {
    let server = Server::shared().await;
    for name in ["server", "support", "policy_server"] {
        server.get(&path!("/.well-known/matrix/{}", name)).await.expect_err(404, "M_NOT_FOUND");
    }
}
