//! Reports of events, rooms and users.

use sytest_like::{User, Value, json, path};

use super::ground::admin_and_alice;

const LIST: &str = "/_synapse/admin/v1/event_reports";

/// The reports about events of a room, as administrators see them, newest first.
async fn reports(admin: &User, room: &str) -> Vec<Value> {
    let answer = admin.get(LIST).query("room_id", room).await.expect_ok();
    assert_eq!(answer.int("total"), answer.array("event_reports").len() as i64, "{answer}");
    answer.array("event_reports").clone()
}

/// A reported event is kept for the administrators, with who reported it and why, until they delete it.
/// spec: client-server-api/#post_matrixclientv3roomsroomidreporteventid
/// covers: POST /_matrix/client/v3/rooms/{roomId}/report/{eventId}
#[tokio::test]
async fn reported_events_are_kept() {
    let (admin, alice) = admin_and_alice().await;
    let bob = alice.server.register("bob").await;
    let room = bob.create_public_room().await;
    alice.join(&room).await;
    let event = bob.send_text(&room, "something bad").await;
    let path = path!("/v3/rooms/{}/report/{}", room, event);
    let answer = alice.post(&path, json!({"reason": "it is bad", "score": -50})).await.expect_ok();
    assert_eq!(answer.json, json!({}));
    alice.post(&path, json!({})).await.expect_ok();
    let found = reports(&admin, &room).await;
    assert_eq!(found.len(), 2);
    let report = &found[1];
    assert_eq!(report["event_id"], event.as_str(), "{report}");
    assert_eq!(report["room_id"], room.as_str(), "{report}");
    assert_eq!(report["user_id"], alice.id.as_str(), "{report}");
    assert_eq!(report["sender"], bob.id.as_str(), "{report}");
    assert_eq!(report["reason"], "it is bad", "{report}");
    assert_eq!(report["score"], -50, "{report}");
    let one = format!("{LIST}/{}", report["id"]);
    let whole = admin.get(&one).await.expect_ok();
    whole.has("/event_json/content/body", "something bad").has("event_id", event.as_str());
    admin.delete(&one).await.expect_ok();
    admin.delete(&one).await.expect_err(404, "M_NOT_FOUND");
    admin.get(&one).await.expect_err(404, "M_NOT_FOUND");
    assert_eq!(reports(&admin, &room).await.len(), 1);
}

/// Reports come in pages, in either order, and are kept from those who administrate nothing.
/// spec: none (administration)
/// not on synapse: some of its errors differ
#[tokio::test]
async fn list_of_reports_is_for_administrators() {
    let (admin, alice) = admin_and_alice().await;
    let room = alice.create_public_room().await;
    for number in 0..3 {
        let event = alice.send_text(&room, &number.to_string()).await;
        let path = path!("/v3/rooms/{}/report/{}", room, event);
        alice.post(&path, json!({"reason": number.to_string()})).await.expect_ok();
    }
    let page = |dir: &str| admin.get(LIST).query("room_id", &room).query("dir", dir).query("limit", "2");
    let first = page("b").await.expect_ok().has("total", 3).has("next_token", 2);
    assert_eq!(first.column("event_reports", "reason"), ["2", "1"], "{first}");
    let rest = page("b").query("from", "2").await.expect_ok().expect_absent("next_token");
    assert_eq!(rest.column("event_reports", "reason"), ["0"], "{rest}");
    assert_eq!(page("f").await.expect_ok().column("event_reports", "reason"), ["0", "1"]);
    page("sideways").await.expect_err(400, "M_INVALID_PARAM");
    let by_user = admin.get(LIST).query("user_id", &alice.id).await.expect_ok();
    assert_eq!(by_user.int("total"), 3, "{by_user}");
    alice.get(LIST).await.expect_err(403, "M_FORBIDDEN");
    alice.get(&format!("{LIST}/1")).await.expect_err(403, "M_FORBIDDEN");
    alice.delete(&format!("{LIST}/1")).await.expect_err(403, "M_FORBIDDEN");
    admin.get(&format!("{LIST}/nonsense")).await.expect_refused();
}

/// Only who is in the room can report an event of it, and only one that is there.
/// spec: client-server-api/#reporting-content
/// covers: POST /_matrix/client/v3/rooms/{roomId}/report/{eventId}
#[tokio::test]
async fn events_are_reported_from_within() {
    let (_, alice) = admin_and_alice().await;
    let bob = alice.server.register("bob").await;
    let (room, other) = (bob.create_public_room().await, alice.create_public_room().await);
    let event = bob.send_text(&room, "something bad").await;
    let report = |room: &str, event: &str| {
        alice.post(&path!("/v3/rooms/{}/report/{}", room, event), json!({"reason": "bad"}))
    };
    report(&room, &event).await.expect_err(404, "M_NOT_FOUND");
    report(&other, &event).await.expect_err(404, "M_NOT_FOUND");
    report(&other, "$nosuchevent").await.expect_err(404, "M_NOT_FOUND");
    report("!nosuchroom:example.org", &event).await.expect_err(404, "M_NOT_FOUND");
    alice.join(&room).await;
    report(&room, &event).await.expect_ok();
    alice.leave(&room).await;
    report(&room, &event).await.expect_err(404, "M_NOT_FOUND");
}

/// What an ignored user wrote can be reported.
/// spec: client-server-api/#reporting-content
/// covers: POST /_matrix/client/v3/rooms/{roomId}/report/{eventId}
#[tokio::test]
async fn ignored_users_can_be_reported() {
    let (_, alice) = admin_and_alice().await;
    let bob = alice.server.register("bob").await;
    let room = bob.create_public_room().await;
    alice.join(&room).await;
    let event = bob.send_text(&room, "something bad").await;
    let list = json!({"ignored_users": {(bob.id.clone()): {}}});
    alice.put(&path!("/v3/user/{}/account_data/m.ignored_user_list", alice.id), list).await.expect_ok();
    let path = path!("/v3/rooms/{}/report/{}", room, event);
    alice.post(&path, json!({"reason": "bad"})).await.expect_ok();
}

/// Rooms and users are reported by anybody who has come across them.
/// spec: client-server-api/#reporting-content
/// covers: POST /_matrix/client/v3/rooms/{roomId}/report
/// covers: POST /_matrix/client/v3/users/{userId}/report
#[tokio::test]
async fn rooms_and_users_are_reported_from_outside() {
    let (_, alice) = admin_and_alice().await;
    let bob = alice.server.register("bob").await;
    let room = bob.create_room(json!({"preset": "private_chat"})).await;
    for (path, unknown) in [
        (path!("/v3/rooms/{}/report", room), path!("/v3/rooms/{}/report", "!nosuchroom:example.org")),
        (
            path!("/v3/users/{}/report", bob.id),
            path!("/v3/users/{}/report", format!("@no-such-user:{}", bob.server.name())),
        ),
    ] {
        alice.post(&path, json!({"reason": "bad"})).await.expect_ok();
        alice.post(&path, json!({"reason": ""})).await.expect_ok();
        alice.post(&unknown, json!({"reason": "bad"})).await.expect_err(404, "M_NOT_FOUND");
        alice.server.post(&path, json!({"reason": "bad"})).await.expect_err(401, "M_MISSING_TOKEN");
    }
}

/// A report must be what it should be.
/// spec: client-server-api/#reporting-content
/// covers: POST /_matrix/client/v3/rooms/{roomId}/report/{eventId}
/// covers: POST /_matrix/client/v3/rooms/{roomId}/report
/// covers: POST /_matrix/client/v3/users/{userId}/report
/// not on synapse: it takes longer reasons
#[tokio::test]
async fn nonsense_is_refused() {
    let (_, alice) = admin_and_alice().await;
    let room = alice.create_public_room().await;
    let event = alice.send_text(&room, "text").await;
    let event = path!("/v3/rooms/{}/report/{}", room, event);
    for body in [
        json!({"reason": 5}),
        json!({"score": "bad"}),
        json!({"score": 1}),
        json!({"score": -101}),
        json!({"reason": "x".repeat(20_000)}),
        json!({"reason": "\u{0}"}),
    ] {
        alice.post(&event, body).await.expect_refused();
    }
    for path in [path!("/v3/rooms/{}/report", room), path!("/v3/users/{}/report", alice.id)] {
        for body in [json!({}), json!({"reason": 5}), json!({"reason": "x".repeat(20_000)})] {
            alice.post(&path, body).await.expect_refused();
        }
    }
    alice.post("/v3/users/nobody/report", json!({"reason": "bad"})).await.expect_refused();
}
