//! One event by its id.

use sytest_like::{json, path, unique};

use super::ground::{room_with, state_event, three, two};

/// Members read any event of the room, also from before they came.
/// spec: client-server-api/#get_matrixclientv3roomsroomideventeventid
/// covers: GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}
#[tokio::test]
async fn members_read_any_event() {
    let (alice, bob) = two().await;
    let room = alice.create_public_room().await;
    let event = alice.send_text(&room, "early").await;
    bob.join(&room).await;
    bob.get_event(&room, &event).await.expect_ok().has("/content/body", "early");
    let create = state_event(&alice, &room, "m.room.create", "").await;
    let create = bob.get_event(&room, create["event_id"].as_str().expect("an id")).await.expect_ok();
    create.has("type", "m.room.create").has("state_key", "");
}

/// Events that are not there are not found, whatever their id looks like.
/// spec: client-server-api/#get_matrixclientv3roomsroomideventeventid
/// covers: GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}
#[tokio::test]
async fn unknown_events_are_not_found() {
    let (alice, _) = two().await;
    let room = alice.create_public_room().await;
    for id in [format!("${}", "A".repeat(43)), format!("${}:example.org", unique("x")), "$x".to_owned()] {
        alice.get_event(&room, &id).await.expect_err(404, "M_NOT_FOUND");
    }
    alice.get_event(&room, "nonsense").await.expect_refused();
}

/// An event is only found in its own room.
/// spec: client-server-api/#get_matrixclientv3roomsroomideventeventid
/// covers: GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}
#[tokio::test]
async fn event_is_only_in_its_room() {
    let (alice, bob) = two().await;
    let (here, there) = (room_with(&alice, &[&bob]).await, alice.create_room(json!({})).await);
    let secret = alice.send_text(&there, "secret").await;
    for user in [&alice, &bob] {
        user.get_event(&here, &secret).await.expect_err(404, "M_NOT_FOUND");
    }
    let unknown = format!("!{}:{}", unique("unknown"), alice.server.name());
    alice.get_event(&unknown, &secret).await.expect_refused();
}

/// Strangers do not find events, and learn nothing of whether they are there.
/// spec: client-server-api/#get_matrixclientv3roomsroomideventeventid
/// covers: GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}
#[tokio::test]
async fn strangers_find_no_events() {
    let (alice, bob, carol) = three().await;
    let room = alice.create_room(json!({"invite": [carol.id]})).await;
    let event = alice.send_text(&room, "secret").await;
    for user in [&bob, &carol] {
        let there = user.get_event(&room, &event).await;
        let absent = user.get_event(&room, &format!("${}", "A".repeat(43))).await;
        assert_eq!((there.status, &there.json["errcode"]), (absent.status, &absent.json["errcode"]));
        there.expect_err_of(&[(404, "M_NOT_FOUND"), (403, "M_FORBIDDEN")]);
    }
}

/// What was refused is not an event.
/// spec: client-server-api/#get_matrixclientv3roomsroomideventeventid
/// covers: GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/context/{eventId}
#[tokio::test]
async fn event_id_is_for_events_only() {
    let (alice, _) = two().await;
    let room = alice.create_public_room().await;
    alice.get_event(&room, &room).await.expect_refused();
    alice.get(&path!("/v3/rooms/{}/context/{}", room, alice.id)).await.expect_refused();
}
