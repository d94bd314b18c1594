//! Numbers, depths and sizes in events, where canonical JSON draws the line.

use http::Method;
use sytest_like::{Response, Server, User, json, path, unique};

async fn send_raw(user: &User, room: &str, body: String) -> Response {
    let path = path!("/v3/rooms/{}/send/org.example.number/{}", room, unique("txn"));
    user.request(Method::PUT, &path).body(body).await
}

/// Integers outside ±(2^53 - 1) cannot be in an event.
/// spec: appendices/#canonical-json
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
#[tokio::test]
async fn integers_out_of_range_are_refused() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    for number in ["9007199254740992", "-9007199254740992", "18446744073709551616", &"9".repeat(400)] {
        let answer = send_raw(&alice, &room, format!("{{\"n\": {number}}}")).await;
        answer.expect_err_of(&[(400, "M_BAD_JSON"), (400, "M_NOT_JSON")]);
    }
}

/// The largest and the smallest integer can, and come back as they were.
/// spec: appendices/#canonical-json
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}
#[tokio::test]
async fn integers_at_the_limits_are_kept() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    let content = json!({"max": 9_007_199_254_740_991_i64, "min": -9_007_199_254_740_991_i64, "zero": 0});
    let event = alice.send(&room, "org.example.number", content.clone()).await;
    assert_eq!(alice.get_event(&room, &event).await.expect_ok()["content"], content);
}

/// Floats cannot be in an event.
/// spec: appendices/#canonical-json
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
#[tokio::test]
async fn floats_are_refused() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    for number in ["1.5", "-0.25", "1e400", "NaN", "Infinity"] {
        let answer = send_raw(&alice, &room, format!("{{\"deep\": [{{\"n\": {number}}}]}}")).await;
        answer.expect_err_of(&[(400, "M_BAD_JSON"), (400, "M_NOT_JSON")]);
    }
}

/// Floats cannot be in state either.
/// spec: appendices/#canonical-json
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
#[tokio::test]
async fn floats_in_state_are_refused() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    let answer = alice.put(&path!("/v3/rooms/{}/state/org.example.n/x", room), json!({"n": 0.5})).await;
    answer.expect_err(400, "M_BAD_JSON");
    alice.get_state(&room, "org.example.n", "x").await.expect_err(404, "M_NOT_FOUND");
}

/// Strings may hold any character, U+0000 too; the server keeps them or refuses them, and does not fall over.
/// spec: appendices/#canonical-json
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn nul_characters_in_content_are_kept_or_refused() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    let content = json!({"body": "a\u{0}b", "key\u{0}": "\u{0}"});
    let path = path!("/v3/rooms/{}/send/m.room.message/{}", room, unique("txn"));
    let answer = alice.put(&path, content.clone()).await;
    if answer.status == 200 {
        let event = alice.get_event(&room, answer.str("event_id")).await.expect_ok();
        assert_eq!(event["content"], content);
    } else {
        answer.expect_refused();
    }
    alice.get(&path!("/v3/rooms/{}/messages", room)).query("dir", "b").await.expect_ok();
    alice.sync().await;
}

/// U+0000 in names of every kind is refused or kept.
/// spec: appendices/#identifier-grammar
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
/// covers: PUT /_matrix/client/v3/user/{userId}/account_data/{type}
/// covers: POST /_matrix/client/v3/createRoom
#[tokio::test]
async fn nul_characters_in_names_do_no_harm() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    let nul = "a\u{0}b";
    let answers = [
        alice.put(&path!("/v3/rooms/{}/state/org.example.x/{}", room, nul), json!({})).await,
        alice.put(&path!("/v3/rooms/{}/state/{}/x", room, nul), json!({})).await,
        alice.put(&path!("/v3/rooms/{}/send/{}/t", room, nul), json!({})).await,
        alice.put(&path!("/v3/rooms/{}/send/m.room.message/{}", room, nul), json!({"body": "x"})).await,
        alice.put(&path!("/v3/user/{}/account_data/{}", alice.id, nul), json!({})).await,
        alice.put(&path!("/v3/user/{}/account_data/x", alice.id), json!({nul: nul})).await,
        alice.put(&path!("/v3/user/{}/rooms/{}/tags/{}", alice.id, room, nul), json!({})).await,
        alice.put(&path!("/v3/devices/{}", alice.device_id), json!({"display_name": nul})).await,
        alice.put(&path!("/v3/profile/{}/displayname", alice.id), json!({"displayname": nul})).await,
        alice.put(&path!("/v3/profile/{}/org.example.x", alice.id), json!({"org.example.x": nul})).await,
        alice.post("/v3/createRoom", json!({"name": nul})).await,
        alice.post("/v3/createRoom", json!({"room_alias_name": nul})).await,
        alice.post("/v3/createRoom", json!({"creation_content": {"x": nul}})).await,
        alice.post(&path!("/v3/user/{}/filter", alice.id), json!({"room": {"rooms": [nul]}})).await,
        alice.post(&path!("/v3/join/{}", nul), json!({"reason": nul})).await,
        alice.get(&path!("/v3/directory/room/{}", format!("#{nul}:{}", server.name()))).await,
        alice.get(&path!("/v3/profile/{}", format!("@{nul}:{}", server.name()))).await,
        server.post("/v3/login", json!({"type": "m.login.password", "user": nul, "password": nul})).await,
    ];
    for answer in answers {
        if answer.status != 200 {
            answer.expect_refused();
        }
    }
    alice.sync().await;
}

/// Nesting beyond reason is refused before it costs anything.
/// spec: client-server-api/#standard-error-response
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
#[tokio::test]
async fn deep_nesting_is_refused() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    for depth in [5_000, 30_000] {
        let body = format!("{{\"a\": {}1{}}}", "[".repeat(depth), "]".repeat(depth));
        send_raw(&alice, &room, body).await.expect_refused();
    }
    let body = format!("{}1{}", "{\"a\":".repeat(5_000), "}".repeat(5_000));
    send_raw(&alice, &room, body).await.expect_refused();
}

/// An event has at most 64 KiB.
/// spec: client-server-api/#size-limits
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
#[tokio::test]
async fn oversized_event_is_refused() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    let body = json!({"body": "x".repeat(65_536)}).to_string();
    send_raw(&alice, &room, body).await.expect_err(413, "M_TOO_LARGE");
    let body = json!({"body": "x".repeat(60_000)}).to_string();
    send_raw(&alice, &room, body).await.expect_ok();
}

/// Escapes count as what they stand for, and half a surrogate pair stands for nothing.
/// spec: appendices/#canonical-json
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
#[tokio::test]
async fn lone_surrogates_are_refused() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    for text in ["\\ud800", "\\udc00", "x\\ud800y", "\\udc00\\ud800"] {
        send_raw(&alice, &room, format!("{{\"body\": \"{text}\"}}")).await.expect_refused();
    }
    let answer = send_raw(&alice, &room, "{\"body\": \"\\ud83d\\ude00\"}".to_owned()).await.expect_ok();
    let event = alice.get_event(&room, answer.str("event_id")).await.expect_ok();
    assert_eq!(event["content"]["body"], "\u{1F600}");
}

/// A body larger than any request needs is refused as such.
/// spec: client-server-api/#common-error-codes
/// covers: POST /_matrix/client/v3/login
#[tokio::test]
async fn enormous_body_is_refused() {
    let server = Server::shared().await;
    let body = json!({"type": "x".repeat(60 * 1024 * 1024)}).to_string();
    // The server may hang up while the client still sends; what counts is that it does not take it all in.
    if let Ok(answer) = server.request(Method::POST, "/v3/login").body(body).try_send().await {
        answer.expect_err(413, "M_TOO_LARGE");
    }
    server.get("/versions").await.expect_ok();
}
