//! Moderation by commands, beside a running server.

use sytest_like::{Server, json, path};

/// An account that a command locks is locked for the running server at once, until a command unlocks it.
/// spec: none (operation)
/// covers: GET /_matrix/client/v3/account/whoami
/// not on synapse: it has no such command
#[tokio::test]
async fn command_locks_accounts() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    alice.get("/v3/account/whoami").await.expect_ok();
    server.run(&["user", "lock", alice.localpart()]).await.expect_success();
    alice.get("/v3/account/whoami").await.expect_err(401, "M_USER_LOCKED");
    server.run(&["user", "lock", "--undo", &alice.id]).await.expect_success();
    alice.get("/v3/account/whoami").await.expect_ok();
    server.run(&["user", "lock", "nobody"]).await.expect_failure("nobody");
}

/// An account that a command suspends may read and not write, until a command lifts that.
/// spec: none (operation)
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
/// not on synapse: it has no such command
#[tokio::test]
async fn command_suspends_accounts() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    let path = path!("/v3/rooms/{}/send/m.room.message/1", room);
    server.run(&["user", "suspend", alice.localpart()]).await.expect_success();
    alice.put(&path, json!({"body": "x"})).await.expect_err(403, "M_USER_SUSPENDED");
    alice.get("/v3/sync").await.expect_ok();
    server.run(&["user", "suspend", "--undo", alice.localpart()]).await.expect_success();
    alice.put(&path, json!({"body": "x"})).await.expect_ok();
}

/// A command shows what was reported, on one line each whatever was written, and closes it.
/// spec: none (operation)
/// covers: POST /_matrix/client/v3/rooms/{roomId}/report/{eventId}
/// not on synapse: it has no such command
#[tokio::test]
async fn command_shows_and_closes_reports() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = bob.create_public_room().await;
    alice.join(&room).await;
    let event = bob.send_text(&room, "something bad").await;
    assert_eq!(server.run(&["report", "list"]).await.expect_success(), "");
    let reason = json!({"reason": "two\nlines"});
    alice.post(&path!("/v3/rooms/{}/report/{}", room, event), reason).await.expect_ok();
    let listed = server.run(&["report", "list"]).await.expect_success();
    assert_eq!(listed.lines().count(), 1, "{listed}");
    for part in [event.as_str(), &room, &alice.id, &bob.id, "two\\nlines"] {
        assert!(listed.contains(part), "{part} is not in {listed}");
    }
    let number = listed.split('\t').next().expect("a number").to_owned();
    server.run(&["report", "close", &number]).await.expect_success();
    assert_eq!(server.run(&["report", "list"]).await.expect_success(), "");
    server.run(&["report", "close", &number]).await.expect_failure("there is no report");
}
