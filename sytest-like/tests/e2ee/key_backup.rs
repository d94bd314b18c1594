//! Backups of room keys.

use futures_util::future::join_all;
use http::Method;
use sytest_like::{Response, Server, User, Value, json, path};

const VERSION: &str = "/v3/room_keys/version";
const ROOM: &str = "!room:example.org";

fn version_body(key: &str) -> Value {
    json!({"algorithm": "m.megolm_backup.v1.curve25519-aes-sha2", "auth_data": {"public_key": key}})
}

async fn new_version(user: &User) -> String {
    user.post(VERSION, version_body("abc")).await.expect_ok().str("version").to_owned()
}

fn key(index: u64, forwarded: u64, is_verified: bool, name: &str) -> Value {
    json!({
        "first_message_index": index,
        "forwarded_count": forwarded,
        "is_verified": is_verified,
        "session_data": {"ciphertext": name},
    })
}

async fn put(user: &User, version: &str, session: &str, key: Value) -> Response {
    let path = path!("/v3/room_keys/keys/{}/{}", ROOM, session);
    user.put(&path, key).query("version", version).await
}

async fn get(user: &User, version: &str, session: &str) -> Response {
    user.get(&path!("/v3/room_keys/keys/{}/{}", ROOM, session)).query("version", version).await
}

/// Versions are made, found, changed and deleted.
/// spec: client-server-api/#server-side-key-backups
/// covers: POST /_matrix/client/v3/room_keys/version
/// covers: GET /_matrix/client/v3/room_keys/version
/// covers: GET /_matrix/client/v3/room_keys/version/{version}
/// covers: PUT /_matrix/client/v3/room_keys/version/{version}
/// covers: DELETE /_matrix/client/v3/room_keys/version/{version}
#[tokio::test]
async fn versions_come_and_go() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    alice.get(VERSION).await.expect_err(404, "M_NOT_FOUND");
    let first = new_version(&alice).await;
    let second = new_version(&alice).await;
    assert_ne!(first, second);
    let latest = alice.get(VERSION).await.expect_ok();
    let latest = latest.has("version", second.as_str()).has("count", 0);
    assert_eq!(latest.json["auth_data"], json!({"public_key": "abc"}), "{latest}");
    alice.put(&path!("/v3/room_keys/version/{}", first), version_body("new")).await.expect_ok();
    let changed = alice.get(&path!("/v3/room_keys/version/{}", first)).await.expect_ok();
    assert_eq!(changed.json["auth_data"], json!({"public_key": "new"}), "{changed}");
    let path = path!("/v3/room_keys/version/{}", second);
    alice.delete(&path).await.expect_ok();
    alice.get(&path).await.expect_err(404, "M_NOT_FOUND");
    alice.get(VERSION).await.expect_ok().has("version", first.as_str());
    let third = new_version(&alice).await;
    assert!(third != second && third != first, "a number was used again");
}

/// Deleting twice is no error; what never was is not found.
/// spec: client-server-api/#delete_matrixclientv3room_keysversionversion
/// covers: DELETE /_matrix/client/v3/room_keys/version/{version}
/// covers: GET /_matrix/client/v3/room_keys/version/{version}
#[tokio::test]
async fn deleted_version_stays_deleted() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let version = new_version(&alice).await;
    let path = path!("/v3/room_keys/version/{}", version);
    alice.delete(&path).await.expect_ok();
    alice.put(&path, version_body("new")).await.expect_err(404, "M_NOT_FOUND");
    put(&alice, &version, "session", key(0, 0, true, "a")).await.expect_status(404);
    for unknown in ["4711", "rubbish", "-1", "+1", "99999999999999999999999"] {
        let path = path!("/v3/room_keys/version/{}", unknown);
        alice.get(&path).await.expect_err(404, "M_NOT_FOUND");
        alice.delete(&path).await.expect_err(404, "M_NOT_FOUND");
    }
}

/// Deleting a version twice succeeds.
/// spec: client-server-api/#delete_matrixclientv3room_keysversionversion
/// covers: DELETE /_matrix/client/v3/room_keys/version/{version}
/// not on synapse: it answers 404 the second time
#[tokio::test]
async fn version_can_be_deleted_twice() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let path = path!("/v3/room_keys/version/{}", new_version(&alice).await);
    alice.delete(&path).await.expect_ok();
    alice.delete(&path).await.expect_ok();
}

/// The algorithm of a version stays, and the version in the body is that of the path.
/// spec: client-server-api/#put_matrixclientv3room_keysversionversion
/// covers: PUT /_matrix/client/v3/room_keys/version/{version}
#[tokio::test]
async fn algorithm_of_a_version_stays() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let version = new_version(&alice).await;
    let path = path!("/v3/room_keys/version/{}", version);
    let mut other = version_body("abc");
    other["algorithm"] = "org.example.other".into();
    alice.put(&path, other).await.expect_err(400, "M_INVALID_PARAM");
    let mut elsewhere = version_body("abc");
    elsewhere["version"] = "4711".into();
    alice.put(&path, elsewhere).await.expect_err(400, "M_INVALID_PARAM");
}

/// Keys are stored one at a time, by room, or all at once, and read in the same three ways.
/// spec: client-server-api/#put_matrixclientv3room_keyskeys
/// covers: PUT /_matrix/client/v3/room_keys/keys
/// covers: PUT /_matrix/client/v3/room_keys/keys/{roomId}
/// covers: PUT /_matrix/client/v3/room_keys/keys/{roomId}/{sessionId}
/// covers: GET /_matrix/client/v3/room_keys/keys
/// covers: GET /_matrix/client/v3/room_keys/keys/{roomId}
/// covers: GET /_matrix/client/v3/room_keys/keys/{roomId}/{sessionId}
#[tokio::test]
async fn keys_are_stored_and_read() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let version = new_version(&alice).await;
    let keys: Vec<Value> = ["a", "b", "c"].map(|name| key(1, 2, true, name)).into();
    let one = put(&alice, &version, "a", keys[0].clone()).await.expect_ok().has("count", 1);
    let room = alice
        .put(&path!("/v3/room_keys/keys/{}", ROOM), json!({"sessions": {"b": keys[1]}}))
        .query("version", &version)
        .await
        .expect_ok()
        .has("count", 2);
    let body = json!({"rooms": {"!other:example.org": {"sessions": {"c": keys[2]}}}});
    let all =
        alice.put("/v3/room_keys/keys", body).query("version", &version).await.expect_ok().has("count", 3);
    assert_ne!(one.str("etag"), room.str("etag"));
    assert_ne!(room.str("etag"), all.str("etag"));
    assert_eq!(get(&alice, &version, "a").await.expect_ok().json, keys[0]);
    let room = alice.get(&path!("/v3/room_keys/keys/{}", ROOM)).query("version", &version).await.expect_ok();
    assert_eq!(room.json, json!({"sessions": {"a": keys[0], "b": keys[1]}}));
    let everything = alice.get("/v3/room_keys/keys").query("version", &version).await.expect_ok();
    assert_eq!(
        everything.json,
        json!({"rooms": {
            ROOM: {"sessions": {"a": keys[0], "b": keys[1]}},
            "!other:example.org": {"sessions": {"c": keys[2]}},
        }})
    );
    let info = alice.get(VERSION).await.expect_ok();
    info.has("count", 3).has("etag", all.str("etag"));
}

/// A key is replaced only by a better one.
/// spec: client-server-api/#server-side-key-backups
/// covers: PUT /_matrix/client/v3/room_keys/keys/{roomId}/{sessionId}
#[tokio::test]
async fn better_key_wins() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let version = new_version(&alice).await;
    let steps = [
        (key(5, 5, false, "first"), true),
        (key(6, 0, false, "later start"), false),
        (key(5, 6, false, "more often forwarded"), false),
        (key(5, 5, false, "equal"), false),
        (key(5, 4, false, "less often forwarded"), true),
        (key(4, 9, false, "earlier start"), true),
        (key(9, 9, true, "verified"), true),
        (key(0, 0, false, "not verified"), false),
        (key(8, 9, true, "verified, earlier start"), true),
    ];
    let (mut expected, mut etag) = (Value::Null, String::new());
    for (key, is_better) in steps {
        let answer = put(&alice, &version, "session", key.clone()).await.expect_ok().has("count", 1);
        assert_eq!(answer.str("etag") != etag, is_better, "{key}");
        etag = answer.str("etag").to_owned();
        if is_better {
            expected = key;
        }
        assert_eq!(get(&alice, &version, "session").await.expect_ok().json, expected);
    }
}

/// Keys can be written only to the newest version, and the client is told which that is.
/// spec: client-server-api/#put_matrixclientv3room_keyskeysroomidsessionid
/// covers: PUT /_matrix/client/v3/room_keys/keys/{roomId}/{sessionId}
/// covers: PUT /_matrix/client/v3/room_keys/keys/{roomId}
/// covers: PUT /_matrix/client/v3/room_keys/keys
#[tokio::test]
async fn old_version_takes_no_keys() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let old = new_version(&alice).await;
    put(&alice, &old, "session", key(0, 0, true, "a")).await.expect_ok();
    let new = new_version(&alice).await;
    let sessions = json!({"sessions": {"other": key(0, 0, true, "b")}});
    let room = path!("/v3/room_keys/keys/{}", ROOM);
    for answer in [
        put(&alice, &old, "other", key(0, 0, true, "b")).await,
        alice.put(&room, sessions.clone()).query("version", &old).await,
        alice.put("/v3/room_keys/keys", json!({"rooms": {ROOM: sessions}})).query("version", &old).await,
    ] {
        answer.expect_err(403, "M_WRONG_ROOM_KEYS_VERSION").has("current_version", new.as_str());
    }
    get(&alice, &old, "session").await.expect_ok();
    get(&alice, &new, "session").await.expect_err(404, "M_NOT_FOUND");
}

/// Keys are deleted in the same three ways.
/// spec: client-server-api/#delete_matrixclientv3room_keyskeys
/// covers: DELETE /_matrix/client/v3/room_keys/keys
/// covers: DELETE /_matrix/client/v3/room_keys/keys/{roomId}
/// covers: DELETE /_matrix/client/v3/room_keys/keys/{roomId}/{sessionId}
#[tokio::test]
async fn keys_are_deleted() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let version = new_version(&alice).await;
    let sessions = |names: &[&str]| {
        let keys: serde_json::Map<String, Value> =
            names.iter().map(|name| ((*name).to_owned(), key(0, 0, true, name))).collect();
        json!({"sessions": keys})
    };
    let body = json!({"rooms": {
        ROOM: sessions(&["a", "b", "c"]), "!second:example.org": sessions(&["d"]), "!third:example.org": sessions(&["e"]),
    }});
    let before = alice.put("/v3/room_keys/keys", body).query("version", &version).await.expect_ok();
    let delete = async |path: &str| alice.delete(path).query("version", &version).await.expect_ok();
    let one = delete(&path!("/v3/room_keys/keys/{}/{}", ROOM, "a")).await.has("count", 4);
    assert_ne!(one.str("etag"), before.str("etag"));
    let again = delete(&path!("/v3/room_keys/keys/{}/{}", ROOM, "a")).await.has("count", 4);
    assert_eq!(again.str("etag"), one.str("etag"));
    delete(&path!("/v3/room_keys/keys/{}", ROOM)).await.has("count", 2);
    let room = alice.get(&path!("/v3/room_keys/keys/{}", ROOM)).query("version", &version).await.expect_ok();
    assert_eq!(room.json, json!({"sessions": {}}));
    delete("/v3/room_keys/keys").await.has("count", 0);
    let all = alice.get("/v3/room_keys/keys").query("version", &version).await.expect_ok();
    assert_eq!(all.json, json!({"rooms": {}}));
}

/// Without a version, or with one that is not there, nothing is read or written.
/// spec: client-server-api/#get_matrixclientv3room_keyskeys
/// covers: GET /_matrix/client/v3/room_keys/keys
/// covers: PUT /_matrix/client/v3/room_keys/keys
/// covers: DELETE /_matrix/client/v3/room_keys/keys
#[tokio::test]
async fn version_is_required() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        let request = || alice.request(method.clone(), "/v3/room_keys/keys").json(&json!({"rooms": {}}));
        request().await.expect_err(400, "M_MISSING_PARAM");
        request().query("version", "4711").await.expect_err(404, "M_NOT_FOUND");
    }
}

/// What is no key is refused, and nothing of the request is stored.
/// spec: client-server-api/#put_matrixclientv3room_keyskeysroomid
/// covers: PUT /_matrix/client/v3/room_keys/keys/{roomId}
/// covers: POST /_matrix/client/v3/room_keys/version
/// not on synapse: it takes some of these
#[tokio::test]
async fn malformed_keys_are_refused() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let version = new_version(&alice).await;
    let good = key(0, 0, true, "good");
    let mut broken: Vec<Value> = Vec::new();
    for (field, value) in [
        ("first_message_index", json!(-1)),
        ("first_message_index", json!("0")),
        ("forwarded_count", json!(1.5)),
        ("forwarded_count", json!(u64::MAX)),
        ("is_verified", json!("yes")),
        ("session_data", json!("text")),
    ] {
        let mut key = good.clone();
        key[field] = value;
        broken.push(key);
        let mut key = good.clone();
        key.as_object_mut().expect("an object").remove(field);
        broken.push(key);
    }
    for key in broken {
        let body = json!({"sessions": {"good": good, "bad": key}});
        alice
            .put(&path!("/v3/room_keys/keys/{}", ROOM), body)
            .query("version", &version)
            .await
            .expect_refused();
    }
    put(&alice, &version, &"s".repeat(1000), good.clone()).await.expect_refused();
    alice.get(VERSION).await.expect_ok().has("count", 0);
    for body in [json!({}), json!({"algorithm": "a"}), json!({"algorithm": 1, "auth_data": {}})] {
        alice.post(VERSION, body).await.expect_refused();
    }
}

/// Nobody else sees a backup.
/// spec: client-server-api/#server-side-key-backups
/// covers: GET /_matrix/client/v3/room_keys/version/{version}
/// covers: GET /_matrix/client/v3/room_keys/keys
#[tokio::test]
async fn backups_are_private() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let version = new_version(&alice).await;
    put(&alice, &version, "session", key(0, 0, true, "a")).await.expect_ok();
    bob.get(&path!("/v3/room_keys/version/{}", version)).await.expect_err(404, "M_NOT_FOUND");
    bob.get("/v3/room_keys/keys").query("version", &version).await.expect_err(404, "M_NOT_FOUND");
    get(&alice.login().await, &version, "session").await.expect_ok();
}

/// Many devices write at once: nothing is lost or counted twice, and the best key stays.
/// spec: client-server-api/#server-side-key-backups
/// covers: PUT /_matrix/client/v3/room_keys/keys/{roomId}
#[tokio::test]
async fn concurrent_writers_agree() {
    const WRITERS: u64 = 12;
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let version = new_version(&alice).await;
    join_all((0..WRITERS).map(|number| {
        let (alice, version) = (&alice, &version);
        async move {
            let sessions = json!({"sessions": {
                "common": key(WRITERS - number, 0, true, &number.to_string()),
                format!("own-{number}"): key(0, 0, true, "own"),
            }});
            let path = path!("/v3/room_keys/keys/{}", ROOM);
            alice.put(&path, sessions).query("version", version).await.expect_ok();
        }
    }))
    .await;
    alice.get(VERSION).await.expect_ok().has("count", WRITERS + 1);
    get(&alice, &version, "common").await.expect_ok().has("first_message_index", 1);
}
