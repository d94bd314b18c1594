//! The event that is closest to a moment.

use sytest_like::{Request, Server, User, json, path};

use super::ground::{room_with, send_numbered, state_event, two};

fn ask(user: &User, room: &str, timestamp: i64, direction: &str) -> Request {
    user.get(&path!("/v1/rooms/{}/timestamp_to_event", room))
        .query("ts", timestamp.to_string())
        .query("dir", direction)
}

async fn sent_at(user: &User, room: &str, event: &str) -> i64 {
    user.get_event(room, event).await.expect_ok().int("origin_server_ts")
}

/// Whatever direction one looks in, the event found is on that side of the moment, and nothing is closer.
/// spec: client-server-api/#get_matrixclientv1roomsroomidtimestamp_to_event
/// covers: GET /_matrix/client/v1/rooms/{roomId}/timestamp_to_event
#[tokio::test]
async fn closest_event_on_each_side_is_found() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    let events = send_numbered(&alice, &room, 5).await;
    let mut times = Vec::new();
    for event in &events {
        times.push(sent_at(&bob, &room, event).await);
    }
    let moment = times[2];
    for (direction, good) in [("f", moment), ("b", moment)] {
        let answer = ask(&bob, &room, moment, direction).await.expect_ok();
        assert_eq!(answer.int("origin_server_ts"), good, "{direction}");
        assert_eq!(sent_at(&bob, &room, answer.str("event_id")).await, good);
    }
    let after = ask(&bob, &room, moment + 1, "f").await;
    if times[4] > moment {
        let found = after.expect_ok().int("origin_server_ts");
        assert_eq!(found, *times.iter().find(|time| **time > moment).expect("a later one"));
    } else {
        after.expect_err(404, "M_NOT_FOUND");
    }
}

/// Looking forward from long ago finds the first event; looking back from afar finds the last.
/// spec: client-server-api/#get_matrixclientv1roomsroomidtimestamp_to_event
/// covers: GET /_matrix/client/v1/rooms/{roomId}/timestamp_to_event
#[tokio::test]
async fn ends_of_the_room_are_found() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    let create = state_event(&alice, &room, "m.room.create", "").await;
    let last = alice.send_text(&room, "last").await;
    let first = ask(&alice, &room, 1_000, "f").await.expect_ok();
    assert_eq!(first["origin_server_ts"], create["origin_server_ts"]);
    let newest = sent_at(&alice, &room, &last).await;
    let found = ask(&alice, &room, newest + 3_600_000, "b").await.expect_ok();
    assert_eq!(found.int("origin_server_ts"), newest);
}

/// Where there is nothing on that side, nothing is found.
/// spec: client-server-api/#get_matrixclientv1roomsroomidtimestamp_to_event
/// covers: GET /_matrix/client/v1/rooms/{roomId}/timestamp_to_event
#[tokio::test]
async fn nothing_beyond_the_ends() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    let last = alice.send_text(&room, "last").await;
    let newest = sent_at(&alice, &room, &last).await;
    ask(&alice, &room, newest + 3_600_000, "f").await.expect_err(404, "M_NOT_FOUND");
    ask(&alice, &room, 1_000, "b").await.expect_err(404, "M_NOT_FOUND");
}

/// The parameters have rules, and strangers get nothing.
/// spec: client-server-api/#get_matrixclientv1roomsroomidtimestamp_to_event
/// covers: GET /_matrix/client/v1/rooms/{roomId}/timestamp_to_event
#[tokio::test]
async fn wrong_questions_are_refused() {
    let (alice, bob) = two().await;
    let room = alice.create_public_room().await;
    let path = path!("/v1/rooms/{}/timestamp_to_event", room);
    alice.get(&path).await.expect_status(400).expect_refused();
    alice.get(&path).query("ts", "1000").query("dir", "x").await.expect_status(400).expect_refused();
    for moment in ["", "now", "1.5"] {
        alice.get(&path).query("ts", moment).query("dir", "f").await.expect_status(400).expect_refused();
    }
    ask(&bob, &room, 1_000, "f").await.expect_err_of(&[(403, "M_FORBIDDEN"), (404, "M_NOT_FOUND")]);
}

/// An event found leads on to its surroundings.
/// spec: client-server-api/#get_matrixclientv1roomsroomidtimestamp_to_event
/// covers: GET /_matrix/client/v1/rooms/{roomId}/timestamp_to_event
/// covers: GET /_matrix/client/v3/rooms/{roomId}/context/{eventId}
#[tokio::test]
async fn found_event_has_a_context() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    alice.set_state(&room, "m.room.topic", "", json!({"topic": "time"})).await;
    let event = alice.send_text(&room, "then").await;
    let moment = sent_at(&bob, &room, &event).await;
    let found = ask(&bob, &room, moment, "b").await.expect_ok().str("event_id").to_owned();
    let context = bob.get(&path!("/v3/rooms/{}/context/{}", room, found)).await.expect_ok();
    assert_eq!(context["event"]["event_id"], found.as_str());
}
