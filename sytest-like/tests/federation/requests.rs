//! Whether a request of another server is signed as it should be.

use super::ground::with_fake;
use sytest_like::fake::{Key, SignedRequest};
use sytest_like::{FakeServer, Response, Server, User, json};

const PROFILE: &str = "/_matrix/federation/v1/query/profile";

/// Both servers, and a user whose profile is asked for.
async fn scene() -> (Server, FakeServer, User) {
    let (server, fake) = with_fake().await;
    let alice = server.register("alice").await;
    (server, fake, alice)
}

fn ask(server: &Server, fake: &FakeServer, alice: &User) -> SignedRequest {
    fake.get(server.name(), PROFILE).query("user_id", &alice.id)
}

fn expect_unauthorized(answer: Response) {
    answer.expect_err_of(&[(401, "M_UNAUTHORIZED"), (401, "M_FORBIDDEN"), (403, "M_FORBIDDEN")]);
}

/// A request that is signed as it should be is answered.
/// spec: server-server-api/#request-authentication
/// covers: GET /_matrix/federation/v1/query/profile
#[tokio::test]
async fn signed_request_is_answered() {
    let (server, fake, alice) = scene().await;
    ask(&server, &fake, &alice).await.expect_ok();
}

/// A request without a signature is not answered.
/// spec: server-server-api/#request-authentication
/// covers: GET /_matrix/federation/v1/query/profile
#[tokio::test]
async fn unsigned_request_is_refused() {
    let (server, fake, alice) = scene().await;
    expect_unauthorized(ask(&server, &fake, &alice).anonymous().await);
}

/// A signature of something else is no signature.
/// spec: server-server-api/#request-authentication
/// covers: GET /_matrix/federation/v1/query/profile
#[tokio::test]
async fn wrong_signature_is_refused() {
    let (server, fake, alice) = scene().await;
    expect_unauthorized(ask(&server, &fake, &alice).with_bad_signature().await);
}

/// A request that is meant for another server is refused, though its signature is right.
/// spec: server-server-api/#request-authentication
/// covers: GET /_matrix/federation/v1/query/profile
#[tokio::test]
async fn request_for_another_server_is_refused() {
    let (server, fake, alice) = scene().await;
    expect_unauthorized(ask(&server, &fake, &alice).destination("elsewhere.example").await);
}

/// Servers that are older than the field do not say whom they mean, and are answered.
/// spec: server-server-api/#request-authentication
/// covers: GET /_matrix/federation/v1/query/profile
#[tokio::test]
async fn destination_may_be_missing() {
    let (server, fake, alice) = scene().await;
    ask(&server, &fake, &alice).without_destination().await.expect_ok();
}

/// Nobody speaks for another server.
/// spec: server-server-api/#request-authentication
/// covers: GET /_matrix/federation/v1/query/profile
#[tokio::test]
async fn nobody_speaks_for_others() {
    let (server, fake, alice) = scene().await;
    let other = FakeServer::start().await;
    expect_unauthorized(ask(&server, &fake, &alice).origin(other.name()).await);
    expect_unauthorized(
        ask(&server, &fake, &alice).origin(other.name()).key(&other.key()).destination("x.y").await,
    );
}

/// Nobody speaks for the server itself.
/// spec: server-server-api/#request-authentication
/// covers: GET /_matrix/federation/v1/query/profile
#[tokio::test]
async fn nobody_speaks_for_the_server_itself() {
    let (server, fake, alice) = scene().await;
    expect_unauthorized(ask(&server, &fake, &alice).origin(server.name()).await);
}

/// A server whose keys cannot be had is not believed, and the answer does not take for ever.
/// spec: server-server-api/#request-authentication
/// covers: GET /_matrix/federation/v1/query/profile
#[tokio::test]
async fn server_without_keys_is_refused() {
    let (server, fake, alice) = scene().await;
    let gone = FakeServer::start().await;
    let request = gone.get(server.name(), PROFILE).query("user_id", &alice.id);
    gone.go_down();
    drop(fake);
    expect_unauthorized(request.await);
}

/// The header is read as the specification's grammar has it: any order and case, spaces, quotes or none.
/// spec: server-server-api/#request-authentication
/// covers: GET /_matrix/federation/v1/query/profile
#[tokio::test]
async fn header_is_read_in_all_its_forms() {
    let (server, fake, alice) = scene().await;
    let signature = ask(&server, &fake, &alice).signature();
    let (origin, destination, key) = (fake.name(), server.name(), fake.key().id);
    for header in [
        format!(
            "X-Matrix sig=\"{signature}\",key=\"{key}\",destination=\"{destination}\",origin=\"{origin}\""
        ),
        format!(
            "X-Matrix origin=\"{origin}\", destination=\"{destination}\", key=\"{key}\", sig=\"{signature}\""
        ),
        format!(
            "X-Matrix Origin=\"{origin}\",Destination=\"{destination}\",Key=\"{key}\",Sig=\"{signature}\""
        ),
        format!(
            "X-Matrix origin=\"{origin}\",destination=\"{destination}\",key=\"{key}\",sig=\"{signature}\",more=\"x\""
        ),
        format!(
            "x-matrix origin=\"{origin}\",destination=\"{destination}\",key=\"{key}\",sig=\"{signature}\""
        ),
        format!("X-Matrix origin={origin},destination={destination},key=\"{key}\",sig=\"{signature}\""),
    ] {
        ask(&server, &fake, &alice).authorization(&header).await.expect_ok();
    }
}

/// A header that is none is refused, whatever is in it.
/// spec: server-server-api/#request-authentication
/// covers: GET /_matrix/federation/v1/query/profile
#[tokio::test]
async fn broken_headers_are_refused() {
    let (server, fake, alice) = scene().await;
    let (origin, key) = (fake.name(), fake.key().id);
    for header in [
        "X-Matrix".to_owned(),
        "X-Matrix ".to_owned(),
        "Bearer abc".to_owned(),
        format!("X-Matrix origin=\"{origin}\""),
        format!("X-Matrix origin=\"{origin}\",key=\"{key}\",sig=\"\""),
        format!("X-Matrix origin=\"{origin}\",key=\"{key}\",sig=\"not base64!\""),
        format!("X-Matrix origin=\"{origin}\",key=\"{key}\",sig=\"AAAA\""),
        format!("X-Matrix origin=\"{origin}\",key=\"rsa:1\",sig=\"AAAA\""),
        format!("X-Matrix origin=\"{origin}\",key=\"\",sig=\"AAAA\""),
        "X-Matrix origin=\"not a name!\",key=\"ed25519:a\",sig=\"AAAA\"".to_owned(),
        "X-Matrix origin=\"".to_owned(),
        format!("X-Matrix {}", ",".repeat(5000)),
    ] {
        let answer = ask(&server, &fake, &alice).authorization(&header).await;
        answer.expect_refused();
    }
}

/// The body is signed too: who changes it on the way is refused.
/// spec: server-server-api/#request-authentication
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn changed_body_is_refused() {
    let (server, fake, _) = scene().await;
    let edu = json!({"edu_type": "m.presence", "content": {"push": []}});
    let changed = json!({"origin": fake.name(), "origin_server_ts": 1, "pdus": [], "edus": [edu]});

    let answer = fake.transaction(server.name(), &[], &[]).raw_body(changed.to_string()).await;

    expect_unauthorized(answer);
}

/// The user of the client-server API is nobody in this one.
/// spec: server-server-api/#request-authentication
/// covers: GET /_matrix/federation/v1/query/profile
#[tokio::test]
async fn access_tokens_are_no_signatures() {
    let (server, fake, alice) = scene().await;
    let bearer = format!("Bearer {}", alice.access_token);
    expect_unauthorized(ask(&server, &fake, &alice).authorization(&bearer).await);
}

/// A key of the wrong length in the answer of a peer harms nobody.
/// spec: server-server-api/#retrieving-server-keys
/// covers: GET /_matrix/federation/v1/query/profile
#[tokio::test]
async fn rubbish_for_keys_is_refused() {
    let (server, fake, alice) = scene().await;
    let key = fake.key();
    let wrong = Key::from_seed("ed25519:other", "other");
    let mut unsigned = fake.signed_keys();
    unsigned["signatures"] = json!({});
    let mut short = fake.signed_keys();
    short["verify_keys"] = json!({&key.id: {"key": "AAAA"}});
    let mut other_name = fake.signed_keys();
    other_name["server_name"] = json!("elsewhere.example");
    wrong.add_signature(&mut other_name, "elsewhere.example");
    for keys in [unsigned, short, other_name, json!({}), json!([]), json!("text")] {
        let liar = FakeServer::start().await;
        liar.always("key/v2/server", sytest_like::fake::Reply::json(keys));
        expect_unauthorized(liar.get(server.name(), PROFILE).query("user_id", &alice.id).await);
    }
}

/// Who signs is found out before the body is looked at: a server without keys is refused for that, whatever it sends.
/// spec: server-server-api/#request-authentication
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn keys_come_before_the_body() {
    let (server, fake, _) = scene().await;
    let request = fake.transaction(server.name(), &[], &[]).origin("127.0.0.1:1").raw_body("no JSON");

    request.await.expect_err(401, "M_UNAUTHORIZED");

    fake.transaction(server.name(), &[], &[]).raw_body("no JSON").await.expect_err(400, "M_NOT_JSON");
}

/// A long body is checked like a short one.
/// spec: server-server-api/#request-authentication
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn long_bodies_are_signed_too() {
    let (server, fake, _) = scene().await;
    let edu = json!({"edu_type": "org.example.long", "content": {"text": "x".repeat(100_000)}});
    fake.transaction(server.name(), &[], std::slice::from_ref(&edu)).await.expect_ok();
    expect_unauthorized(fake.transaction(server.name(), &[], &[edu]).with_bad_signature().await);
}
