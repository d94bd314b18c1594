//! Leaving and forgetting.

use sytest_like::{Server, json, path};

use super::ground::{
    bodies, expect_banned, membership_of, page, room_with, state_event, three, try_join, try_text, two, walk,
};

/// Who leaves is out: no sending, no new messages.
/// spec: client-server-api/#leaving-rooms
/// covers: POST /_matrix/client/v3/rooms/{roomId}/leave
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
/// covers: GET /_matrix/client/v3/joined_rooms
#[tokio::test]
async fn who_left_is_out() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    let path = path!("/v3/rooms/{}/leave", room);
    let answer = bob.post(&path, json!({"reason": "enough"})).await.expect_ok();
    assert_eq!(answer.json, json!({}));
    let member = state_event(&alice, &room, "m.room.member", &bob.id).await;
    assert_eq!(member["content"]["membership"], "leave");
    assert_eq!(member["content"]["reason"], "enough");
    assert_eq!(member["sender"], bob.id.as_str());
    try_text(&bob, &room).await.expect_err(403, "M_FORBIDDEN");
    bob.get("/v3/joined_rooms").await.expect_ok().has("joined_rooms", json!([]));
}

/// Who left reads the state as it was then.
/// spec: client-server-api/#get_matrixclientv3roomsroomidstate
/// covers: GET /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/state
/// covers: GET /_matrix/client/v3/rooms/{roomId}/members
#[tokio::test]
async fn who_left_reads_the_state_of_then() {
    let (alice, bob, carol) = three().await;
    let room = room_with(&alice, &[&bob]).await;
    alice.set_state(&room, "m.room.name", "", json!({"name": "then"})).await;
    bob.leave(&room).await;
    alice.set_state(&room, "m.room.name", "", json!({"name": "now"})).await;
    alice.set_state(&room, "m.room.topic", "", json!({"topic": "now"})).await;
    carol.join(&room).await;

    bob.get_state(&room, "m.room.name", "").await.expect_ok().has("name", "then");
    bob.get_state(&room, "m.room.topic", "").await.expect_err(404, "M_NOT_FOUND");
    bob.get_state(&room, "m.room.member", &bob.id).await.expect_ok().has("membership", "leave");
    let state = super::ground::whole_state(&bob, &room).await;
    let name = state.iter().find(|event| event["type"] == "m.room.name").expect("a name");
    assert_eq!(name["content"]["name"], "then");
    let members = bob.get(&path!("/v3/rooms/{}/members", room)).await.expect_ok();
    let members = members.column("chunk", "state_key");
    assert!(members.contains(&bob.id) && !members.contains(&carol.id), "{members:?}");
    bob.get(&path!("/v3/rooms/{}/joined_members", room)).await.expect_err(403, "M_FORBIDDEN");
}

/// Who left reads what was said until then, and no more.
/// spec: client-server-api/#leaving-rooms
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
/// covers: GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}
#[tokio::test]
async fn who_left_reads_what_was_said_until_then() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    let heard = alice.send_text(&room, "heard").await;
    bob.leave(&room).await;
    let missed = alice.send_text(&room, "missed").await;
    assert_eq!(bodies(&walk(&bob, &room, "b", 5).await), ["heard"]);
    assert_eq!(bodies(&walk(&bob, &room, "f", 5).await), ["heard"]);
    bob.get_event(&room, &heard).await.expect_ok();
    bob.get_event(&room, &missed).await.expect_err(404, "M_NOT_FOUND");
}

/// A public room can be joined again, a private one cannot.
/// spec: client-server-api/#leaving-rooms
/// covers: POST /_matrix/client/v3/rooms/{roomId}/leave
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
#[tokio::test]
async fn way_back_is_the_way_in() {
    let (alice, bob) = two().await;
    let public = room_with(&alice, &[&bob]).await;
    bob.leave(&public).await;
    bob.join(&public).await;
    let private = alice.create_room(json!({"invite": [bob.id]})).await;
    bob.join(&private).await;
    bob.leave(&private).await;
    try_join(&bob, &private).await.expect_err(403, "M_FORBIDDEN");
}

/// Leaving declines an invite.
/// spec: client-server-api/#leaving-rooms
/// covers: POST /_matrix/client/v3/rooms/{roomId}/leave
/// covers: POST /_matrix/client/v3/rooms/{roomId}/invite
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn leaving_declines_an_invite() {
    let (alice, bob) = two().await;
    let room = alice.create_room(json!({})).await;
    let mut hears = bob.syncer().await;
    alice.invite(&room, &bob).await;
    hears.until_room("invite", &room).await;
    bob.leave(&room).await;
    hears.until_room("leave", &room).await;
    assert_eq!(membership_of(&alice, &room, &bob.id).await, "leave");
    try_join(&bob, &room).await.expect_err(403, "M_FORBIDDEN");
    let again = bob.sync().await;
    assert!(again.json["rooms"]["invite"].get(&room).is_none(), "{again}");
}

/// Who is not in a room does not leave it.
/// spec: client-server-api/#post_matrixclientv3roomsroomidleave
/// covers: POST /_matrix/client/v3/rooms/{roomId}/leave
#[tokio::test]
async fn stranger_cannot_leave() {
    let (alice, bob) = two().await;
    let room = alice.create_public_room().await;
    let path = path!("/v3/rooms/{}/leave", room);
    bob.post(&path, json!({})).await.expect_refused();
    assert_eq!(membership_of(&alice, &room, &bob.id).await, "none");
    let unknown = path!("/v3/rooms/{}/leave", format!("!unknown:{}", alice.server.name()));
    bob.post(&unknown, json!({})).await.expect_refused();
}

/// The last member may leave; the room then stays as it is for who was in it.
/// spec: client-server-api/#leaving-rooms
/// covers: POST /_matrix/client/v3/rooms/{roomId}/leave
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test]
async fn last_member_may_leave() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    alice.send_text(&room, "alone").await;
    alice.leave(&room).await;
    assert_eq!(bodies(&walk(&alice, &room, "b", 5).await), ["alone"]);
}

/// A room that one is in cannot be forgotten.
/// spec: client-server-api/#post_matrixclientv3roomsroomidforget
/// covers: POST /_matrix/client/v3/rooms/{roomId}/forget
#[tokio::test]
async fn joined_room_cannot_be_forgotten() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    bob.post(&path!("/v3/rooms/{}/forget", room), json!({})).await.expect_err(400, "M_UNKNOWN");
    bob.send_text(&room, "still here").await;
}

/// A forgotten room is gone: its history and its state.
/// spec: client-server-api/#post_matrixclientv3roomsroomidforget
/// covers: POST /_matrix/client/v3/rooms/{roomId}/forget
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
/// covers: GET /_matrix/client/v3/rooms/{roomId}/state
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn forgotten_room_is_gone() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    alice.send_text(&room, "forget me").await;
    bob.leave(&room).await;
    let answer = bob.post(&path!("/v3/rooms/{}/forget", room), json!({})).await.expect_ok();
    assert_eq!(answer.json, json!({}));
    page(&bob, &room, "b").await.expect_err(403, "M_FORBIDDEN");
    bob.get(&path!("/v3/rooms/{}/state", room)).await.expect_err(403, "M_FORBIDDEN");
    // Forgetting twice is no harm to anybody.
    let twice = bob.post(&path!("/v3/rooms/{}/forget", room), json!({})).await;
    assert!(twice.status == 200 || (400..500).contains(&twice.status), "{twice}");
    assert_eq!(membership_of(&alice, &room, &bob.id).await, "leave");
}

/// Single events of a forgotten room are gone as well.
/// spec: client-server-api/#post_matrixclientv3roomsroomidforget
/// covers: POST /_matrix/client/v3/rooms/{roomId}/forget
/// covers: GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/context/{eventId}
#[tokio::test]
async fn forgotten_events_are_gone() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    let event = alice.send_text(&room, "forget me").await;
    bob.leave(&room).await;
    bob.get_event(&room, &event).await.expect_ok();
    bob.post(&path!("/v3/rooms/{}/forget", room), json!({})).await.expect_ok();
    bob.get_event(&room, &event).await.expect_refused();
    bob.get(&path!("/v3/rooms/{}/context/{}", room, event)).await.expect_refused();
}

/// A forgotten room is not among the left rooms of a sync.
/// spec: client-server-api/#post_matrixclientv3roomsroomidforget
/// covers: POST /_matrix/client/v3/rooms/{roomId}/forget
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn forgotten_room_is_no_left_room() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    bob.leave(&room).await;
    let filter = json!({"room": {"include_leave": true}});
    let before = bob.sync().filter(&filter).await;
    assert!(before.json["rooms"]["leave"].get(&room).is_some(), "{before}");
    bob.post(&path!("/v3/rooms/{}/forget", room), json!({})).await.expect_ok();
    let after = bob.sync().filter(&filter).await;
    assert!(after.json["rooms"]["leave"].get(&room).is_none(), "{after}");
}

/// Who comes back to a forgotten room has it again, history and all.
/// spec: client-server-api/#post_matrixclientv3roomsroomidforget
/// covers: POST /_matrix/client/v3/rooms/{roomId}/forget
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test]
async fn forgotten_room_comes_back_with_a_join() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    alice.send_text(&room, "one").await;
    bob.leave(&room).await;
    bob.post(&path!("/v3/rooms/{}/forget", room), json!({})).await.expect_ok();
    alice.send_text(&room, "two").await;
    bob.join(&room).await;
    assert_eq!(bodies(&walk(&bob, &room, "b", 5).await), ["two", "one"]);
    let sync = bob.sync().await;
    assert!(sync.json["rooms"]["join"].get(&room).is_some(), "{sync}");
}

/// A kicked and a banned user can forget the room as well, and one's forgetting is not another's.
/// spec: client-server-api/#post_matrixclientv3roomsroomidforget
/// covers: POST /_matrix/client/v3/rooms/{roomId}/forget
/// covers: POST /_matrix/client/v3/rooms/{roomId}/kick
/// covers: POST /_matrix/client/v3/rooms/{roomId}/ban
#[tokio::test]
async fn removed_users_can_forget() {
    let (alice, bob, carol) = three().await;
    let room = room_with(&alice, &[&bob, &carol]).await;
    alice.membership(&room, "kick", &bob.id).await.expect_ok();
    alice.membership(&room, "ban", &carol.id).await.expect_ok();
    carol.post(&path!("/v3/rooms/{}/forget", room), json!({})).await.expect_ok();
    page(&carol, &room, "b").await.expect_err(403, "M_FORBIDDEN");
    page(&bob, &room, "b").await.expect_ok();
    bob.post(&path!("/v3/rooms/{}/forget", room), json!({})).await.expect_ok();
    page(&bob, &room, "b").await.expect_err(403, "M_FORBIDDEN");
    expect_banned(try_join(&carol, &room).await);
}

/// What was forgotten stays forgotten over a restart.
/// spec: client-server-api/#post_matrixclientv3roomsroomidforget
/// covers: POST /_matrix/client/v3/rooms/{roomId}/forget
#[tokio::test]
async fn forgetting_survives_a_restart() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let (kept, forgotten) = (room_with(&alice, &[&bob]).await, room_with(&alice, &[&bob]).await);
    bob.leave(&kept).await;
    bob.leave(&forgotten).await;
    bob.post(&path!("/v3/rooms/{}/forget", forgotten), json!({})).await.expect_ok();
    server.restart().await;
    page(&bob, &kept, "b").await.expect_ok();
    page(&bob, &forgotten, "b").await.expect_err(403, "M_FORBIDDEN");
}
