//! Server notices: what the server says to people.

use sytest_like::{Response, ServerOptions, User, Value, json, path, timeline, unique};

use super::ground::{admin_and_alice, admin_of, suspend};

const PATH: &str = "/_synapse/admin/v1/send_server_notice";

async fn notify(admin: &User, user_id: &str, text: &str) -> Response {
    admin.post(PATH, json!({"user_id": user_id, "content": {"msgtype": "m.text", "body": text}})).await
}

/// The rooms of a section of `/sync`.
fn rooms(answer: &Response, section: &str) -> Vec<String> {
    let rooms = answer.json["rooms"][section].as_object();
    rooms.map(|rooms| rooms.keys().cloned().collect()).unwrap_or_default()
}

/// A notice comes in a room of its own, by an invite that cannot be rejected, marked for clients; the next one in the same.
/// spec: client-server-api/#server-notices
/// covers: GET /_matrix/client/v3/sync
/// covers: POST /_matrix/client/v3/rooms/{roomId}/leave
/// not on synapse: it is not configured for notices here
#[tokio::test]
async fn notices_come_in_one_room() {
    let (admin, alice) = admin_and_alice().await;
    let mut syncer = alice.syncer().await;
    let event = notify(&admin, &alice.id, "Maintenance tonight").await.expect_ok().str("event_id").to_owned();
    let invite = syncer.until("an invite", |answer| !rooms(answer, "invite").is_empty()).await;
    let room = rooms(&invite, "invite").remove(0);
    let tags = alice.get(&path!("/v3/user/{}/rooms/{}/tags", alice.id, room)).await.expect_ok();
    assert!(tags["tags"]["m.server_notice"].is_object(), "{tags}");
    let leave = alice.post(&path!("/v3/rooms/{}/leave", room), json!({})).await;
    leave.expect_err(403, "M_CANNOT_LEAVE_SERVER_NOTICE_ROOM");
    alice.join(&room).await;
    let answer = alice.sync().await;
    let notices: Vec<Value> =
        timeline(&answer, &room).into_iter().filter(|event| event["type"] == "m.room.message").collect();
    assert_eq!(notices[0]["event_id"], event.as_str(), "{answer}");
    assert_eq!(notices[0]["content"]["body"], "Maintenance tonight");
    let second = notify(&admin, &alice.id, "Done").await.expect_ok().str("event_id").to_owned();
    alice.get_event(&room, &second).await.expect_ok();
    // Who is in the room may leave it, and is invited again for the next notice.
    alice.leave(&room).await;
    notify(&admin, &alice.id, "Once more").await.expect_ok();
    let answer = alice.sync().await;
    assert_eq!(rooms(&answer, "invite"), [room], "{answer}");
}

/// Suspended users may answer in that room.
/// spec: client-server-api/#account-suspension
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
/// not on synapse: it is not configured for notices here
#[tokio::test]
async fn suspended_users_may_answer() {
    let (admin, alice) = admin_and_alice().await;
    notify(&admin, &alice.id, "Your account is about to be suspended").await.expect_ok();
    let room = rooms(&alice.sync().await, "invite").remove(0);
    alice.join(&room).await;
    suspend(&admin, &alice.id, true).await.expect_ok();
    alice.send_text(&room, "Why?").await;
    let state = alice.put(&path!("/v3/rooms/{}/state/m.room.name", room), json!({"name": "x"})).await;
    state.expect_err(403, "M_USER_SUSPENDED");
}

/// The same transaction sends one notice.
/// spec: client-server-api/#server-notices
/// covers: GET /_matrix/client/v3/sync
/// not on synapse: it is not configured for notices here
#[tokio::test]
async fn repeated_notice_is_sent_once() {
    let (admin, alice) = admin_and_alice().await;
    let path = format!("{PATH}/{}", unique("txn"));
    let body = json!({"user_id": alice.id, "content": {"msgtype": "m.text", "body": "Hello"}});
    let first = admin.put(&path, body.clone()).await.expect_ok();
    admin.put(&path, body).await.expect_ok().has("event_id", first.str("event_id"));
}

/// Only administrators send notices, and only to people here.
/// spec: client-server-api/#server-notices
/// covers: GET /_matrix/client/v3/sync
/// not on synapse: it is not configured for notices here
#[tokio::test]
async fn notices_are_checked() {
    let (admin, alice) = admin_and_alice().await;
    notify(&alice, &admin.id, "Fake").await.expect_err(403, "M_FORBIDDEN");
    notify(&admin, "@remote:example.org", "Hello").await.expect_err(400, "M_INVALID_PARAM");
    let unknown = format!("@no-such-user:{}", admin.server.name());
    notify(&admin, &unknown, "Hello").await.expect_err(404, "M_NOT_FOUND");
    for body in [
        json!({}),
        json!({"user_id": alice.id}),
        json!({"user_id": alice.id, "content": 5}),
        json!({"user_id": "alice", "content": {}}),
        json!({"user_id": alice.id, "content": {}, "type": 5}),
    ] {
        admin.post(PATH, body).await.expect_refused();
    }
    admin.server.post(PATH, json!({})).await.expect_err(401, "M_MISSING_TOKEN");
}

/// Two replicas that speak to a user at once use one room, also after a restart.
/// spec: client-server-api/#server-notices
/// covers: GET /_matrix/client/v3/sync
/// not on synapse: it has no equal replicas
#[tokio::test]
async fn replicas_use_one_room() {
    let replicas = ServerOptions::default().shared_secret("only here").start_replicas(2).await;
    let admin = admin_of(&replicas[0]).await;
    let elsewhere = replicas[1].as_seen_here(&admin);
    let alice = replicas[0].register("alice").await;
    let (one, other) = tokio::join!(notify(&admin, &alice.id, "one"), notify(&elsewhere, &alice.id, "two"));
    one.expect_ok();
    other.expect_ok();
    replicas[1].restart().await;
    notify(&elsewhere, &alice.id, "three").await.expect_ok();
    let invites = rooms(&alice.sync().await, "invite");
    assert_eq!(invites.len(), 1, "{invites:?}");
}
