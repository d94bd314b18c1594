//! Kicks and bans.

use sytest_like::{Server, json, path};

use super::ground::{
    bodies, expect_banned, membership_of, room_with, set_levels, state_event, three, try_join, try_state,
    try_text, two, walk,
};

/// A kicked user is out, is told why, and may come back to a public room.
/// spec: client-server-api/#leaving-rooms
/// covers: POST /_matrix/client/v3/rooms/{roomId}/kick
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn kicked_user_is_out() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    let mut hears = bob.syncer().await;
    let body = json!({"user_id": bob.id, "reason": "spam"});
    assert_eq!(alice.post(&path!("/v3/rooms/{}/kick", room), body).await.expect_ok().json, json!({}));
    let member = state_event(&alice, &room, "m.room.member", &bob.id).await;
    assert_eq!(member["sender"], alice.id.as_str());
    assert_eq!(member["content"]["membership"], "leave");
    assert_eq!(member["content"]["reason"], "spam");
    try_text(&bob, &room).await.expect_err(403, "M_FORBIDDEN");
    let entry = hears.until_room("leave", &room).await;
    let events = entry["timeline"]["events"].as_array().expect("a timeline");
    assert!(events.iter().any(|event| event["event_id"] == member["event_id"]), "{entry}");
    bob.join(&room).await;
}

/// Kicking needs the level for it, and more power than the kicked.
/// spec: client-server-api/#permissions
/// covers: POST /_matrix/client/v3/rooms/{roomId}/kick
#[tokio::test]
async fn kick_needs_level_and_more_power() {
    let (alice, bob, carol) = three().await;
    let room = room_with(&alice, &[&bob, &carol]).await;
    bob.membership(&room, "kick", &carol.id).await.expect_err(403, "M_FORBIDDEN");
    set_levels(&alice, &room, json!({"users": {&bob.id: 50, &carol.id: 50}})).await.expect_ok();
    bob.membership(&room, "kick", &carol.id).await.expect_err(403, "M_FORBIDDEN");
    bob.membership(&room, "kick", &alice.id).await.expect_err(403, "M_FORBIDDEN");
    set_levels(&alice, &room, json!({"users": {&carol.id: 49}})).await.expect_ok();
    bob.membership(&room, "kick", &carol.id).await.expect_ok();
    assert_eq!(membership_of(&alice, &room, &carol.id).await, "leave");
}

/// Only members kick, and only who is there is kicked.
/// spec: client-server-api/#post_matrixclientv3roomsroomidkick
/// covers: POST /_matrix/client/v3/rooms/{roomId}/kick
#[tokio::test]
async fn kick_is_between_people_in_the_room() {
    let (alice, bob, carol) = three().await;
    let room = room_with(&alice, &[&bob]).await;
    carol.membership(&room, "kick", &bob.id).await.expect_err(403, "M_FORBIDDEN");
    alice.membership(&room, "kick", &carol.id).await.expect_err(403, "M_FORBIDDEN");
    bob.leave(&room).await;
    alice.membership(&room, "kick", &bob.id).await.expect_err(403, "M_FORBIDDEN");
    assert_eq!(membership_of(&alice, &room, &carol.id).await, "none");
}

/// A member event with `leave` kicks as well.
/// spec: client-server-api/#post_matrixclientv3roomsroomidkick
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
#[tokio::test]
async fn member_event_kicks() {
    let (alice, bob, carol) = three().await;
    let room = room_with(&alice, &[&bob, &carol]).await;
    let leave = json!({"membership": "leave"});
    let refused = try_state(&bob, &room, "m.room.member", &carol.id, leave.clone()).await;
    refused.expect_err(403, "M_FORBIDDEN");
    alice.set_state(&room, "m.room.member", &carol.id, leave).await;
    assert_eq!(membership_of(&alice, &room, &carol.id).await, "leave");
    try_text(&carol, &room).await.expect_err(403, "M_FORBIDDEN");
}

/// A banned user is out and stays out, invited or not.
/// spec: client-server-api/#banning-users-in-a-room
/// covers: POST /_matrix/client/v3/rooms/{roomId}/ban
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
/// covers: POST /_matrix/client/v3/rooms/{roomId}/invite
#[tokio::test]
async fn banned_user_stays_out() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    let body = json!({"user_id": bob.id, "reason": "spam"});
    assert_eq!(alice.post(&path!("/v3/rooms/{}/ban", room), body).await.expect_ok().json, json!({}));
    let member = state_event(&alice, &room, "m.room.member", &bob.id).await;
    assert_eq!(member["content"]["membership"], "ban");
    assert_eq!(member["content"]["reason"], "spam");
    assert_eq!(member["sender"], alice.id.as_str());
    try_text(&bob, &room).await.expect_err(403, "M_FORBIDDEN");
    expect_banned(try_join(&bob, &room).await);
    expect_banned(bob.post(&path!("/v3/rooms/{}/join", room), json!({})).await);
    expect_banned(alice.membership(&room, "invite", &bob.id).await);
    assert_eq!(membership_of(&alice, &room, &bob.id).await, "ban");
}

/// The banned cannot make themselves unbanned by leaving.
/// spec: rooms/v11/#authorisation-rules
/// covers: POST /_matrix/client/v3/rooms/{roomId}/leave
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
#[tokio::test]
async fn banned_user_cannot_leave_the_ban() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    alice.membership(&room, "ban", &bob.id).await.expect_ok();
    expect_banned(bob.post(&path!("/v3/rooms/{}/leave", room), json!({})).await);
    for membership in ["leave", "join", "invite", "knock"] {
        let content = json!({"membership": membership});
        expect_banned(try_state(&bob, &room, "m.room.member", &bob.id, content).await);
    }
    assert_eq!(membership_of(&alice, &room, &bob.id).await, "ban");
}

/// Somebody who was never there can be banned.
/// spec: client-server-api/#banning-users-in-a-room
/// covers: POST /_matrix/client/v3/rooms/{roomId}/ban
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
#[tokio::test]
async fn strangers_can_be_banned() {
    let (alice, bob) = two().await;
    let room = alice.create_public_room().await;
    alice.membership(&room, "ban", &bob.id).await.expect_ok();
    expect_banned(try_join(&bob, &room).await);
    alice.membership(&room, "ban", "@far:example.org").await.expect_ok();
    assert_eq!(membership_of(&alice, &room, "@far:example.org").await, "ban");
}

/// An invite ends with a ban.
/// spec: client-server-api/#banning-users-in-a-room
/// covers: POST /_matrix/client/v3/rooms/{roomId}/ban
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn ban_ends_an_invite() {
    let (alice, bob) = two().await;
    let room = alice.create_room(json!({"invite": [bob.id]})).await;
    let mut hears = bob.syncer().await;
    assert!(hears.initial.json["rooms"]["invite"].get(&room).is_some());
    alice.membership(&room, "ban", &bob.id).await.expect_ok();
    hears.until_room("leave", &room).await;
    expect_banned(try_join(&bob, &room).await);
}

/// Banning needs the level for it, and more power than the banned.
/// spec: client-server-api/#permissions
/// covers: POST /_matrix/client/v3/rooms/{roomId}/ban
#[tokio::test]
async fn ban_needs_level_and_more_power() {
    let (alice, bob, carol) = three().await;
    let room = room_with(&alice, &[&bob, &carol]).await;
    bob.membership(&room, "ban", &carol.id).await.expect_err(403, "M_FORBIDDEN");
    set_levels(&alice, &room, json!({"ban": 60, "users": {&bob.id: 59}})).await.expect_ok();
    bob.membership(&room, "ban", &carol.id).await.expect_err(403, "M_FORBIDDEN");
    set_levels(&alice, &room, json!({"users": {&bob.id: 60, &carol.id: 60}})).await.expect_ok();
    bob.membership(&room, "ban", &carol.id).await.expect_err(403, "M_FORBIDDEN");
    set_levels(&alice, &room, json!({"users": {&carol.id: 0}})).await.expect_ok();
    bob.membership(&room, "ban", &carol.id).await.expect_ok();
    assert_eq!(membership_of(&alice, &room, &carol.id).await, "ban");
}

/// The unbanned are out but free to come back.
/// spec: client-server-api/#banning-users-in-a-room
/// covers: POST /_matrix/client/v3/rooms/{roomId}/unban
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
#[tokio::test]
async fn unbanned_user_may_come_back() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    alice.membership(&room, "ban", &bob.id).await.expect_ok();
    let body = json!({"user_id": bob.id, "reason": "sorry"});
    assert_eq!(alice.post(&path!("/v3/rooms/{}/unban", room), body).await.expect_ok().json, json!({}));
    let member = state_event(&alice, &room, "m.room.member", &bob.id).await;
    assert_eq!(member["content"]["membership"], "leave");
    assert_eq!(member["content"]["reason"], "sorry");
    bob.join(&room).await;
}

/// Only the banned are unbanned.
/// spec: client-server-api/#other-error-codes
/// covers: POST /_matrix/client/v3/rooms/{roomId}/unban
#[tokio::test]
async fn only_the_banned_are_unbanned() {
    let (alice, bob, carol) = three().await;
    let room = room_with(&alice, &[&bob]).await;
    for user in [&bob, &carol] {
        alice.membership(&room, "unban", &user.id).await.expect_err(403, "M_BAD_STATE");
    }
    assert_eq!(membership_of(&alice, &room, &bob.id).await, "join");
    assert_eq!(membership_of(&alice, &room, &carol.id).await, "none");
}

/// Unbanning needs the levels for bans and for kicks.
/// spec: rooms/v11/#authorisation-rules
/// covers: POST /_matrix/client/v3/rooms/{roomId}/unban
/// covers: POST /_matrix/client/v3/rooms/{roomId}/kick
#[tokio::test]
async fn unban_needs_both_levels() {
    let (alice, bob, carol) = three().await;
    let room = room_with(&alice, &[&bob]).await;
    alice.membership(&room, "ban", &carol.id).await.expect_ok();
    bob.membership(&room, "unban", &carol.id).await.expect_err(403, "M_FORBIDDEN");
    // Enough for kicks only: a kick is no way around either.
    set_levels(&alice, &room, json!({"ban": 60, "kick": 40, "users": {&bob.id: 50}})).await.expect_ok();
    bob.membership(&room, "unban", &carol.id).await.expect_err(403, "M_FORBIDDEN");
    bob.membership(&room, "kick", &carol.id).await.expect_refused();
    assert_eq!(membership_of(&alice, &room, &carol.id).await, "ban");
    // Enough for bans only.
    set_levels(&alice, &room, json!({"ban": 40, "kick": 60})).await.expect_ok();
    bob.membership(&room, "unban", &carol.id).await.expect_err(403, "M_FORBIDDEN");
    set_levels(&alice, &room, json!({"kick": 50})).await.expect_ok();
    bob.membership(&room, "unban", &carol.id).await.expect_ok();
    assert_eq!(membership_of(&alice, &room, &carol.id).await, "leave");
}

/// Who was kicked reads what was said before, and the kick, and nothing after.
/// spec: client-server-api/#room-history-visibility
/// covers: POST /_matrix/client/v3/rooms/{roomId}/kick
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test]
async fn kicked_user_reads_until_then() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    alice.send_text(&room, "before").await;
    alice.membership(&room, "kick", &bob.id).await.expect_ok();
    alice.send_text(&room, "after").await;
    let walked = walk(&bob, &room, "b", 5).await;
    assert_eq!(bodies(&walked), ["before"]);
    assert_eq!(walked[0]["state_key"], bob.id.as_str(), "the kick itself is read: {walked:?}");
}

/// So does who was banned.
/// spec: client-server-api/#room-history-visibility
/// covers: POST /_matrix/client/v3/rooms/{roomId}/ban
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test]
async fn banned_user_reads_until_then() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    alice.send_text(&room, "before").await;
    alice.membership(&room, "ban", &bob.id).await.expect_ok();
    alice.send_text(&room, "after").await;
    let walked = walk(&bob, &room, "b", 5).await;
    assert_eq!(bodies(&walked), ["before"]);
    assert_eq!(walked[0]["state_key"], bob.id.as_str(), "the ban itself is read: {walked:?}");
}

/// The bodies must name a user.
/// spec: client-server-api/#post_matrixclientv3roomsroomidban
/// covers: POST /_matrix/client/v3/rooms/{roomId}/kick
/// covers: POST /_matrix/client/v3/rooms/{roomId}/ban
/// covers: POST /_matrix/client/v3/rooms/{roomId}/unban
#[tokio::test]
async fn bodies_must_name_a_user() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    for action in ["kick", "ban", "unban"] {
        let path = format!("{}/{action}", path!("/v3/rooms/{}", room));
        for body in [json!({}), json!({"user_id": 1}), json!({"user_id": "bob"}), json!({"user_id": null})] {
            alice.post(&path, body).await.expect_status(400).expect_refused();
        }
        let unknown = format!("{}/{action}", path!("/v3/rooms/{}", format!("!no:{}", server.name())));
        alice.post(&unknown, json!({"user_id": "@bob:example.org"})).await.expect_refused();
    }
}

/// A ban holds over a restart, and so does its end.
/// spec: client-server-api/#banning-users-in-a-room
/// covers: POST /_matrix/client/v3/rooms/{roomId}/ban
/// covers: POST /_matrix/client/v3/rooms/{roomId}/unban
#[tokio::test]
async fn bans_survive_a_restart() {
    let server = Server::start().await;
    let (alice, bob, carol) =
        tokio::join!(server.register("alice"), server.register("bob"), server.register("carol"));
    let room = room_with(&alice, &[&bob, &carol]).await;
    for user in [&bob, &carol] {
        alice.membership(&room, "ban", &user.id).await.expect_ok();
    }
    alice.membership(&room, "unban", &carol.id).await.expect_ok();
    server.restart().await;
    expect_banned(try_join(&bob, &room).await);
    carol.join(&room).await;
}
