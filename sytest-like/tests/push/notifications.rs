//! What a user was notified of.

use super::scene::Scene;
use sytest_like::{Response, Server, Value, json, path};

fn bodies(answer: &Response) -> Vec<String> {
    let notifications = answer.array("notifications");
    notifications
        .iter()
        .map(|entry| entry["event"]["content"]["body"].as_str().unwrap_or("-").to_owned())
        .collect()
}

fn mention(user: &str, body: &str) -> Value {
    json!({"msgtype": "m.text", "body": body, "m.mentions": {"user_ids": [user]}})
}

/// Notifications are listed, the newest first, with what was asked for and whether they were read.
/// spec: client-server-api/#get_matrixclientv3notifications
/// covers: GET /_matrix/client/v3/notifications
#[tokio::test]
async fn notifications_are_listed() {
    let scene = Scene::new(&Server::shared().await).await;
    let Scene { alice, bob, room, .. } = &scene;
    let first = alice.send_text(room, "one").await;
    alice.send(room, "m.room.message", mention(&bob.id, "two")).await;
    alice.send(room, "m.room.message", json!({"msgtype": "m.notice", "body": "beep"})).await;
    bob.send_text(room, "not to myself").await;
    let third = alice.send_text(room, "three").await;
    let listed = bob.get("/v3/notifications").await.expect_ok();
    assert_eq!(bodies(&listed), ["three", "two", "one"]);
    listed.expect_absent("next_token");
    let listed = bob.get("/v3/notifications").await.expect_ok();
    let entry = |number: usize| listed.array("notifications")[number].clone();
    assert_eq!((&entry(0)["event"]["event_id"], &entry(0)["room_id"]), (&json!(third), &json!(room)));
    assert_eq!(entry(0)["actions"], json!(["notify"]));
    assert!(
        entry(1)["actions"]
            .as_array()
            .is_some_and(|actions| actions.contains(&json!({"set_tweak": "highlight", "value": true})))
    );
    assert!(entry(0)["ts"].is_i64());
    // What bob said himself marked what came before it as read, or else his receipt does.
    scene.read(bob, "m.read", &first, json!({})).await;
    let listed = bob.get("/v3/notifications").await.expect_ok();
    let read: Vec<_> = listed.array("notifications").iter().map(|entry| entry["read"].clone()).collect();
    assert_eq!((&read[0], &read[2]), (&json!(false), &json!(true)));
}

/// Pages follow each other without gaps and doubles.
/// spec: client-server-api/#get_matrixclientv3notifications
/// covers: GET /_matrix/client/v3/notifications
#[tokio::test]
async fn notifications_come_in_pages() {
    let Scene { alice, bob, room, .. } = Scene::new(&Server::shared().await).await;
    for number in 0..7 {
        alice.send_text(&room, &format!("m{number}")).await;
    }
    let mut seen = Vec::new();
    let mut from = None;
    loop {
        let mut request = bob.get("/v3/notifications").query("limit", "3");
        if let Some(from) = &from {
            request = request.query("from", from);
        }
        let page = request.await.expect_ok();
        seen.extend(bodies(&page));
        match page.get("next_token") {
            Some(token) => from = token.as_str().map(str::to_owned),
            None => break,
        }
    }
    assert_eq!(seen, ["m6", "m5", "m4", "m3", "m2", "m1", "m0"]);
}

/// `only=highlight` leaves out what does not stand out.
/// spec: client-server-api/#get_matrixclientv3notifications
/// covers: GET /_matrix/client/v3/notifications
#[tokio::test]
async fn only_highlights() {
    let Scene { alice, bob, room, .. } = Scene::new(&Server::shared().await).await;
    alice.send_text(&room, "plain").await;
    alice.send(&room, "m.room.message", mention(&bob.id, "you")).await;
    alice.send_text(&room, "plain").await;
    alice
        .send(
            &room,
            "m.room.message",
            json!({"msgtype": "m.text", "body": "all", "m.mentions": {"room": true}}),
        )
        .await;
    let listed = bob.get("/v3/notifications").query("only", "highlight").await.expect_ok();
    assert_eq!(bodies(&listed), ["all", "you"]);
    let page = bob.get("/v3/notifications").query("only", "highlight").query("limit", "1").await.expect_ok();
    assert_eq!(bodies(&page), ["all"]);
    let token = page.str("next_token").to_owned();
    let page = bob.get("/v3/notifications").query("only", "highlight").query("from", token).await.expect_ok();
    assert_eq!(bodies(&page), ["you"]);
}

/// Redacted events leave, and rooms that the user has left; muted rooms have mentions only.
/// spec: client-server-api/#get_matrixclientv3notifications
/// covers: GET /_matrix/client/v3/notifications
#[tokio::test]
async fn what_is_gone_is_not_listed() {
    let Scene { alice, bob, room, .. } = Scene::new(&Server::shared().await).await;
    let gone = alice.send_text(&room, "gone").await;
    alice.send_text(&room, "stays").await;
    alice.put(&path!("/v3/rooms/{}/redact/{}/{}", room, gone, "t"), json!({})).await.expect_ok();
    assert_eq!(bodies(&bob.get("/v3/notifications").await.expect_ok()), ["stays"]);
    bob.put(&path!("/v3/pushrules/global/room/{}", room), json!({"actions": []})).await.expect_ok();
    alice.send(&room, "m.room.message", mention(&bob.id, "you")).await;
    assert_eq!(bodies(&bob.get("/v3/notifications").await.expect_ok()), ["you"]);
    bob.leave(&room).await;
    assert!(bodies(&bob.get("/v3/notifications").await.expect_ok()).is_empty());
}

/// A token that is none, and a limit that is none, are refused.
/// spec: client-server-api/#get_matrixclientv3notifications
/// covers: GET /_matrix/client/v3/notifications
#[tokio::test]
async fn nonsense_is_refused() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    alice.get("/v3/notifications").query("from", "nonsense").await.expect_refused();
    alice.get("/v3/notifications").query("limit", "-1").await.expect_refused();
    alice.get("/v3/notifications").query("limit", "many").await.expect_refused();
    server.get("/v3/notifications").await.expect_err(401, "M_MISSING_TOKEN");
}
