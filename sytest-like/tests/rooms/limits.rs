//! How large events and their names may be.

use sytest_like::{Response, Server, json, path, unique};

use super::ground::{bodies, page, try_send, try_state, two, walk};

const TOO_LARGE: [(u16, &str); 2] = [(413, "M_TOO_LARGE"), (400, "M_TOO_LARGE")];

fn expect_too_long(answer: Response) {
    answer.expect_err_of(&[
        (413, "M_TOO_LARGE"),
        (400, "M_TOO_LARGE"),
        (400, "M_INVALID_PARAM"),
        (400, "M_BAD_JSON"),
    ]);
}

/// An event of more than 64 KiB is too large, as a message and as state, and leaves nothing behind.
/// spec: client-server-api/#size-limits
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
#[tokio::test]
async fn events_of_more_than_64_kib_are_too_large() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    for size in [65_536, 66_000, 200_000] {
        let content = json!({"body": "x".repeat(size)});
        try_send(&alice, &room, "org.example.x", content.clone()).await.expect_err_of(&TOO_LARGE);
        try_state(&alice, &room, "org.example.large", "", content).await.expect_err_of(&TOO_LARGE);
    }
    alice.get_state(&room, "org.example.large", "").await.expect_err(404, "M_NOT_FOUND");
    assert!(bodies(&walk(&alice, &room, "b", 10).await).is_empty());
}

/// An event that fits is taken, and comes back whole.
/// spec: client-server-api/#size-limits
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}
#[tokio::test]
async fn events_of_almost_64_kib_are_taken() {
    let (alice, bob) = two().await;
    let room = super::ground::room_with(&alice, &[&bob]).await;
    let content = json!({"body": "x".repeat(64_000)});
    let event = alice.send(&room, "org.example.x", content.clone()).await;
    bob.get_event(&room, &event).await.expect_ok().has("content", content.clone());
    alice.set_state(&room, "org.example.large", "", content.clone()).await;
    assert_eq!(bob.get_state(&room, "org.example.large", "").await.expect_ok().json, content);
}

/// What counts is the size of the canonical form: escapes in the request do not.
/// spec: appendices/#canonical-json
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}
#[tokio::test]
async fn size_is_that_of_the_canonical_form() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    // Each escape is six bytes on the way and one in the event.
    let body = format!("{{ \"body\":    \"{}\" }}", "\\u0041".repeat(30_000));
    let path = path!("/v3/rooms/{}/send/org.example.x/{}", room, unique("txn"));
    let event = alice.request(http::Method::PUT, &path).body(body).await.expect_ok();
    let seen = alice.get_event(&room, event.str("event_id")).await.expect_ok();
    assert_eq!(seen.str("/content/body"), "A".repeat(30_000));
    // Two bytes each in UTF-8.
    let content = json!({"body": "\u{e9}".repeat(33_000)});
    try_send(&alice, &room, "org.example.x", content).await.expect_err_of(&TOO_LARGE);
}

/// A type has at most 255 bytes.
/// spec: client-server-api/#size-limits
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
#[tokio::test]
async fn type_has_at_most_255_bytes() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    let (fits, long) = ("t".repeat(255), "t".repeat(256));
    try_send(&alice, &room, &fits, json!({})).await.expect_ok();
    try_state(&alice, &room, &fits, "", json!({"n": 1})).await.expect_ok();
    alice.get_state(&room, &fits, "").await.expect_ok().has("n", 1);
    expect_too_long(try_send(&alice, &room, &long, json!({})).await);
    expect_too_long(try_state(&alice, &room, &long, "", json!({})).await);
    // Bytes, not letters.
    expect_too_long(try_send(&alice, &room, &"\u{2603}".repeat(86), json!({})).await);
    try_send(&alice, &room, &"\u{2603}".repeat(85), json!({})).await.expect_ok();
}

/// A state key has at most 255 bytes.
/// spec: client-server-api/#size-limits
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
#[tokio::test]
async fn state_key_has_at_most_255_bytes() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    for fits in ["k".repeat(255), "\u{2603}".repeat(85)] {
        try_state(&alice, &room, "org.example.x", &fits, json!({"n": 1})).await.expect_ok();
        alice.get_state(&room, "org.example.x", &fits).await.expect_ok().has("n", 1);
    }
    for long in ["k".repeat(256), "\u{2603}".repeat(86)] {
        expect_too_long(try_state(&alice, &room, "org.example.x", &long, json!({})).await);
        alice.get_state(&room, "org.example.x", &long).await.expect_refused();
    }
}

/// A room is not made from parts that are too large.
/// spec: client-server-api/#size-limits
/// covers: POST /_matrix/client/v3/createRoom
#[tokio::test]
async fn rooms_are_not_made_from_large_parts() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let large = "x".repeat(66_000);
    for body in [
        json!({"name": large}),
        json!({"topic": large}),
        json!({"creation_content": {"x": large}}),
        json!({"power_level_content_override": {"x": large}}),
        json!({"initial_state": [{"type": "org.example.x", "content": {"x": large}}]}),
        json!({"initial_state": [{"type": "t".repeat(256), "content": {}}]}),
        json!({"initial_state": [{"type": "t", "state_key": "k".repeat(256), "content": {}}]}),
    ] {
        alice.post("/v3/createRoom", body).await.expect_refused();
    }
}

/// A reason that makes a membership too large is refused, and the membership stays.
/// spec: client-server-api/#size-limits
/// covers: POST /_matrix/client/v3/rooms/{roomId}/kick
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
#[tokio::test]
async fn reasons_have_the_same_limit() {
    let (alice, bob) = two().await;
    let room = alice.create_public_room().await;
    let large = "x".repeat(66_000);
    bob.post(&path!("/v3/join/{}", room), json!({"reason": large})).await.expect_err_of(&TOO_LARGE);
    bob.join(&room).await;
    let kick = json!({"user_id": bob.id, "reason": large});
    alice.post(&path!("/v3/rooms/{}/kick", room), kick).await.expect_err_of(&TOO_LARGE);
    bob.send_text(&room, "still here").await;
}

/// A page full of large events arrives whole.
/// spec: client-server-api/#get_matrixclientv3roomsroomidmessages
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test]
async fn page_of_large_events_arrives_whole() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    for number in 0..20 {
        let body = format!("{number} {}", "x".repeat(60_000));
        alice.send_text(&room, &body).await;
    }
    let answer = page(&alice, &room, "b").query("limit", "20").await.expect_ok();
    assert_eq!(bodies(answer.array("chunk")).len(), 20);
    assert!(answer.body.len() > 1_200_000);
}
