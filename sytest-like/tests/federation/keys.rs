//! Signing keys: what a server publishes, and what it does with those of others.

use super::ground::with_fake;
use http::Method;
use sytest_like::fake::{Key, now_ms, verifies};
use sytest_like::{FakeServer, Response, Server, Value, json, path};

const OWN_KEYS: &str = "/_matrix/key/v2/server";
const QUERY: &str = "/_matrix/key/v2/query";

/// The published keys of a server, asked by nobody in particular.
async fn keys_of(server: &Server, fake: &FakeServer) -> Response {
    fake.get(server.name(), OWN_KEYS).anonymous().await.expect_ok()
}

/// The only signing key of a server: its id and its public half.
fn only_key(keys: &Value) -> (String, String) {
    let all = keys["verify_keys"].as_object().expect("there are keys");
    assert_eq!(all.len(), 1, "{keys}");
    let (id, key) = all.iter().next().expect("there is one");
    (id.clone(), key["key"].as_str().expect("it is a string").to_owned())
}

/// The published keys name their server, are signed with themselves, and are valid for a while.
/// spec: server-server-api/#publishing-keys
/// covers: GET /_matrix/key/v2/server
#[tokio::test]
async fn published_keys_are_signed_with_themselves() {
    let (server, fake) = with_fake().await;

    let keys = keys_of(&server, &fake).await.has("server_name", server.name());

    let (id, public) = only_key(&keys.json);
    let signature = keys.str(&format!("/signatures/{}/{id}", server.name())).to_owned();
    assert!(verifies(&keys.json, &public, &signature), "{keys}");
    assert!(keys.int("valid_until_ts") > now_ms() + 60 * 60 * 1000, "{keys}: valid for an hour at least");
    assert!(keys.get("old_verify_keys").is_none_or(Value::is_object), "{keys}");
}

/// The keys are the same after a restart.
/// spec: server-server-api/#publishing-keys
/// covers: GET /_matrix/key/v2/server
#[tokio::test]
async fn keys_survive_a_restart() {
    let (server, fake) = with_fake().await;
    let before = only_key(&keys_of(&server, &fake).await.json);

    server.restart().await;

    assert_eq!(only_key(&keys_of(&server, &fake).await.json), before);
}

/// A notary hands out the keys of another server with its own signature beside that server's.
/// spec: server-server-api/#querying-keys-through-another-server
/// covers: GET /_matrix/key/v2/query/{serverName}
#[tokio::test]
async fn notary_adds_its_signature() {
    let (server, fake) = with_fake().await;
    let (id, public) = only_key(&keys_of(&server, &fake).await.json);

    let answer = fake.get(server.name(), &path!("/_matrix/key/v2/query/{}", fake.name())).anonymous().await;

    let answer = answer.expect_ok();
    let keys = &answer.array("server_keys")[0];
    assert_eq!(keys["server_name"], fake.name(), "{answer}");
    let own = keys["signatures"][fake.name()][&fake.key().id].as_str().expect("signed by its owner");
    assert!(verifies(keys, &fake.key().public(), own), "{answer}");
    let notary = keys["signatures"][server.name()][&id].as_str().expect("signed by the notary");
    assert!(verifies(keys, &public, notary), "{answer}");
}

/// Many servers' keys are asked for at once; those of a server that does not answer are left out.
/// spec: server-server-api/#querying-keys-through-another-server
/// covers: POST /_matrix/key/v2/query
#[tokio::test]
async fn notary_answers_for_many_and_leaves_out_the_silent() {
    let (server, fake) = with_fake().await;
    let (other, silent) = tokio::join!(FakeServer::start(), FakeServer::start());
    silent.go_down();
    let names = [fake.name(), other.name(), silent.name()];
    let wanted: serde_json::Map<String, Value> =
        names.iter().map(|name| ((*name).to_owned(), json!({}))).collect();

    let answer = fake.post(server.name(), QUERY, json!({"server_keys": wanted})).anonymous().await;

    let mut told = answer.expect_ok().column("/server_keys", "server_name");
    told.sort();
    let mut expected = vec![fake.name().to_owned(), other.name().to_owned()];
    expected.sort();
    assert_eq!(told, expected);
}

/// Who wants keys that are valid later than those that the notary has makes it ask again.
/// spec: server-server-api/#get_matrixkeyv2queryservername
/// covers: GET /_matrix/key/v2/query/{serverName}
#[tokio::test]
async fn notary_asks_again_for_keys_that_must_be_valid_longer() {
    let (server, fake) = with_fake().await;
    let query = path!("/_matrix/key/v2/query/{}", fake.name());
    fake.get(server.name(), &query).anonymous().await.expect_ok();
    fake.forget();
    fake.get(server.name(), &query).anonymous().await.expect_ok();
    assert!(fake.received("key/v2/server").is_empty(), "what is valid is kept");

    let later = now_ms() + 7 * 24 * 60 * 60 * 1000;
    fake.get(server.name(), &query)
        .query("minimum_valid_until_ts", later.to_string())
        .anonymous()
        .await
        .expect_ok();

    assert!(!fake.received("key/v2/server").is_empty(), "the keys were fetched again");
}

/// A notary gives nothing away that the server has not signed itself.
/// spec: server-server-api/#querying-keys-through-another-server
/// covers: GET /_matrix/key/v2/query/{serverName}
#[tokio::test]
async fn notary_refuses_forged_keys() {
    let (server, fake) = with_fake().await;
    let mut forged = fake.signed_keys();
    forged["valid_until_ts"] = json!(now_ms() + 1000);
    fake.always("key/v2/server", sytest_like::fake::Reply::json(forged));

    let answer = fake.get(server.name(), &path!("/_matrix/key/v2/query/{}", fake.name())).anonymous().await;

    let told = answer.get("server_keys").and_then(Value::as_array).map_or(0, Vec::len);
    assert_eq!(told, 0, "{answer}");
    assert!(answer.status < 500, "{answer}");
}

/// A notary knows its own keys too.
/// spec: server-server-api/#querying-keys-through-another-server
/// covers: GET /_matrix/key/v2/query/{serverName}
#[tokio::test]
async fn notary_answers_for_itself() {
    let (server, fake) = with_fake().await;
    let own = only_key(&keys_of(&server, &fake).await.json);

    let answer = fake.get(server.name(), &path!("/_matrix/key/v2/query/{}", server.name())).anonymous().await;

    assert_eq!(only_key(&answer.expect_ok().array("server_keys")[0]), own);
}

/// A query that is no query is refused.
/// spec: server-server-api/#post_matrixkeyv2query
/// covers: POST /_matrix/key/v2/query
#[tokio::test]
async fn broken_queries_are_refused() {
    let (server, fake) = with_fake().await;
    for body in [json!({}), json!({"server_keys": []}), json!({"server_keys": {"a": 7}}), json!([])] {
        let answer = fake.post(server.name(), QUERY, body).anonymous().await;
        answer.expect_refused();
    }
    fake.request(Method::POST, server.name(), QUERY)
        .raw_body("{")
        .anonymous()
        .await
        .expect_err(400, "M_NOT_JSON");
}

/// A server whose key is not the one that signed is not believed.
/// spec: server-server-api/#request-authentication
/// covers: GET /_matrix/federation/v1/query/profile
#[tokio::test]
async fn keys_that_are_not_published_do_not_count() {
    let (server, fake) = with_fake().await;
    let alice = server.register("alice").await;
    let stranger = Key::from_seed("ed25519:stranger", "stranger");

    let answer = fake
        .get(server.name(), "/_matrix/federation/v1/query/profile")
        .query("user_id", &alice.id)
        .key(&stranger)
        .await;

    answer.expect_err_of(&[(401, "M_UNAUTHORIZED"), (403, "M_FORBIDDEN")]);
}

/// A key that a server publishes anew counts at once, though its other keys are known.
/// spec: server-server-api/#request-authentication
/// covers: GET /_matrix/federation/v1/query/profile
#[tokio::test]
async fn new_keys_count_at_once() {
    let (server, fake) = with_fake().await;
    let alice = server.register("alice").await;
    let ask = || fake.get(server.name(), "/_matrix/federation/v1/query/profile").query("user_id", &alice.id);
    ask().await.expect_ok();

    fake.set_key(&Key::from_seed("ed25519:second", "second"));

    ask().await.expect_ok();
}

/// Asking for the keys of many servers at once counts as often as asking for those of each.
/// spec: server-server-api/#post_matrixkeyv2query
/// covers: POST /_matrix/key/v2/query
/// not on synapse: how much is too much is for each server to say
#[tokio::test]
async fn queries_count_for_each_server_that_they_name() {
    let (server, fake) = with_fake().await;
    let names = |round: usize| -> Value {
        let name = |number: usize| (format!("127.0.0.1:{}", 1 + round * 100 + number), json!({}));
        Value::Object((0..100).map(name).collect())
    };
    let ask =
        |round: usize| fake.post(server.name(), QUERY, json!({"server_keys": names(round)})).anonymous();

    ask(0).await.expect_ok();
    ask(1).await.expect_ok();

    ask(2).await.expect_err(429, "M_LIMIT_EXCEEDED");
}
