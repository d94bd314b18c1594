//! Invites.

use sytest_like::{Server, json, path};

use super::ground::{
    expect_banned, membership_of, page, room_with, set_levels, state_event, three, try_join, try_state,
    try_text, two,
};

/// An invite is made, is known in the room, and lets the invited join.
/// spec: client-server-api/#room-membership
/// covers: POST /_matrix/client/v3/rooms/{roomId}/invite
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
#[tokio::test]
async fn invite_lets_in() {
    let (alice, bob) = two().await;
    let room = alice.create_room(json!({})).await;
    let path = path!("/v3/rooms/{}/invite", room);
    let body = json!({"user_id": bob.id, "reason": "come over"});
    assert_eq!(alice.post(&path, body).await.expect_ok().json, json!({}));
    let member = state_event(&alice, &room, "m.room.member", &bob.id).await;
    assert_eq!(member["sender"], alice.id.as_str());
    assert_eq!(member["content"]["membership"], "invite");
    assert_eq!(member["content"]["reason"], "come over");
    bob.join(&room).await;
    assert_eq!(membership_of(&alice, &room, &bob.id).await, "join");
}

/// The invited hear of it with what is needed to show the room, in the stripped form and no more.
/// spec: client-server-api/#stripped-state
/// covers: POST /_matrix/client/v3/rooms/{roomId}/invite
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn invited_hear_with_stripped_state() {
    let (alice, bob) = two().await;
    let room = alice
        .create_room(json!({
            "name": "Secrets",
            "topic": "hush",
            "initial_state": [
                {"type": "m.room.avatar", "content": {"url": "mxc://example.org/a"}},
                {"type": "m.room.encryption", "content": {"algorithm": "m.megolm.v1.aes-sha2"}},
                {"type": "org.example.private", "content": {"code": 1234}},
            ],
        }))
        .await;
    let mut hears = bob.syncer().await;
    alice.invite(&room, &bob).await;
    let entry = hears.until_room("invite", &room).await;
    let events = entry["invite_state"]["events"].as_array().expect("invite_state");
    let find = |kind: &str, key: &str| {
        events
            .iter()
            .find(|event| event["type"] == kind && event["state_key"] == key)
            .unwrap_or_else(|| panic!("no {kind} in {events:?}"))
    };
    assert_eq!(find("m.room.create", "")["sender"], alice.id.as_str());
    assert_eq!(find("m.room.name", "")["content"]["name"], "Secrets");
    assert_eq!(find("m.room.topic", "")["content"]["topic"], "hush");
    assert_eq!(find("m.room.avatar", "")["content"]["url"], "mxc://example.org/a");
    assert_eq!(find("m.room.join_rules", "")["content"]["join_rule"], "invite");
    assert_eq!(find("m.room.encryption", "")["content"]["algorithm"], "m.megolm.v1.aes-sha2");
    let own = find("m.room.member", &bob.id);
    assert_eq!((&own["content"]["membership"], &own["sender"]), (&json!("invite"), &json!(alice.id)));
    assert!(!events.iter().any(|event| event["type"] == "org.example.private"), "{events:?}");
    for event in events.iter().filter(|event| event["type"] != "m.room.member") {
        for key in event.as_object().expect("an object").keys() {
            assert!(["type", "state_key", "sender", "content"].contains(&key.as_str()), "{key}: {event}");
        }
    }
}

/// The invited read nothing and say nothing before they join.
/// spec: client-server-api/#room-history-visibility
/// covers: POST /_matrix/client/v3/rooms/{roomId}/invite
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
/// covers: GET /_matrix/client/v3/rooms/{roomId}/state
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/members
#[tokio::test]
async fn invited_are_not_in_yet() {
    let (alice, bob) = two().await;
    let room = alice.create_room(json!({"invite": [bob.id]})).await;
    let event = alice.send_text(&room, "for members").await;
    try_text(&bob, &room).await.expect_err(403, "M_FORBIDDEN");
    page(&bob, &room, "b").await.expect_err(403, "M_FORBIDDEN");
    bob.get(&path!("/v3/rooms/{}/state", room)).await.expect_err(403, "M_FORBIDDEN");
    bob.get(&path!("/v3/rooms/{}/members", room)).await.expect_err(403, "M_FORBIDDEN");
    bob.get_event(&room, &event).await.expect_refused();
    try_state(&bob, &room, "m.room.name", "", json!({"name": "x"})).await.expect_err(403, "M_FORBIDDEN");
}

/// Only members invite.
/// spec: client-server-api/#post_matrixclientv3roomsroomidinvite
/// covers: POST /_matrix/client/v3/rooms/{roomId}/invite
#[tokio::test]
async fn only_members_invite() {
    let (alice, bob, carol) = three().await;
    let levels = json!({"invite": 0});
    let room =
        alice.create_room(json!({"preset": "public_chat", "power_level_content_override": levels})).await;
    bob.membership(&room, "invite", &carol.id).await.expect_err(403, "M_FORBIDDEN");
    bob.join(&room).await;
    bob.membership(&room, "invite", &carol.id).await.expect_ok();
    bob.leave(&room).await;
    let dora = alice.server.register("dora").await;
    bob.membership(&room, "invite", &dora.id).await.expect_err(403, "M_FORBIDDEN");
}

/// Inviting needs the level for it.
/// spec: client-server-api/#permissions
/// covers: POST /_matrix/client/v3/rooms/{roomId}/invite
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
#[tokio::test]
async fn inviting_needs_the_level() {
    let (alice, bob, carol) = three().await;
    let room = room_with(&alice, &[&bob]).await;
    set_levels(&alice, &room, json!({"invite": 30})).await.expect_ok();
    bob.membership(&room, "invite", &carol.id).await.expect_err(403, "M_FORBIDDEN");
    assert_eq!(membership_of(&alice, &room, &carol.id).await, "none");
    set_levels(&alice, &room, json!({"users": {&bob.id: 30}})).await.expect_ok();
    bob.membership(&room, "invite", &carol.id).await.expect_ok();
}

/// Members are not invited, and neither are the banned.
/// spec: client-server-api/#post_matrixclientv3roomsroomidinvite
/// covers: POST /_matrix/client/v3/rooms/{roomId}/invite
/// covers: POST /_matrix/client/v3/rooms/{roomId}/ban
#[tokio::test]
async fn members_and_banned_are_not_invited() {
    let (alice, bob, carol) = three().await;
    let room = room_with(&alice, &[&bob]).await;
    alice.membership(&room, "ban", &carol.id).await.expect_ok();
    alice.membership(&room, "invite", &bob.id).await.expect_err(403, "M_FORBIDDEN");
    expect_banned(alice.membership(&room, "invite", &carol.id).await);
    alice.membership(&room, "invite", &alice.id).await.expect_err(403, "M_FORBIDDEN");
    assert_eq!(membership_of(&alice, &room, &bob.id).await, "join");
    assert_eq!(membership_of(&alice, &room, &carol.id).await, "ban");
}

/// Who declined may be invited again, and an invited user may be invited once more.
/// spec: client-server-api/#room-membership
/// covers: POST /_matrix/client/v3/rooms/{roomId}/invite
/// covers: POST /_matrix/client/v3/rooms/{roomId}/leave
#[tokio::test]
async fn invites_can_be_repeated() {
    let (alice, bob) = two().await;
    let room = alice.create_room(json!({"invite": [bob.id]})).await;
    alice.membership(&room, "invite", &bob.id).await.expect_ok();
    bob.leave(&room).await;
    alice.membership(&room, "invite", &bob.id).await.expect_ok();
    bob.join(&room).await;
}

/// A withdrawn invite lets nobody in.
/// spec: client-server-api/#leaving-rooms
/// covers: POST /_matrix/client/v3/rooms/{roomId}/kick
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
#[tokio::test]
async fn withdrawn_invite_is_no_invite() {
    let (alice, bob) = two().await;
    let room = alice.create_room(json!({})).await;
    let mut hears = bob.syncer().await;
    alice.invite(&room, &bob).await;
    hears.until_room("invite", &room).await;
    alice.membership(&room, "kick", &bob.id).await.expect_ok();
    let entry = hears.until_room("leave", &room).await;
    assert!(entry.is_object());
    try_join(&bob, &room).await.expect_err(403, "M_FORBIDDEN");
}

/// An invite by a member event is an invite.
/// spec: client-server-api/#room-membership
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
#[tokio::test]
async fn member_event_invites() {
    let (alice, bob) = two().await;
    let room = alice.create_room(json!({})).await;
    alice.set_state(&room, "m.room.member", &bob.id, json!({"membership": "invite"})).await;
    bob.join(&room).await;
}

/// The body must name a user.
/// spec: client-server-api/#post_matrixclientv3roomsroomidinvite
/// covers: POST /_matrix/client/v3/rooms/{roomId}/invite
#[tokio::test]
async fn invite_must_name_a_user() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    let path = path!("/v3/rooms/{}/invite", room);
    for body in
        [json!({}), json!({"user_id": 1}), json!({"user_id": "bob"}), json!({"user_id": ""}), json!([])]
    {
        alice.post(&path, body).await.expect_status(400).expect_refused();
    }
}

/// The invited user's name and picture are in the event.
/// spec: client-server-api/#events-on-change-of-profile-information
/// covers: POST /_matrix/client/v3/rooms/{roomId}/invite
/// covers: PUT /_matrix/client/v3/profile/{userId}/{keyName}
#[tokio::test]
async fn invite_carries_the_profile_of_the_invited() {
    let (alice, bob) = two().await;
    let name = json!({"displayname": "Bob the Builder"});
    bob.put(&path!("/v3/profile/{}/displayname", bob.id), name).await.expect_ok();
    let room = alice.create_room(json!({"invite": [bob.id]})).await;
    alice
        .get_state(&room, "m.room.member", &bob.id)
        .await
        .expect_ok()
        .has("membership", "invite")
        .has("displayname", "Bob the Builder");
}

/// An invite waits over a restart.
/// spec: client-server-api/#room-membership
/// covers: POST /_matrix/client/v3/rooms/{roomId}/invite
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn invite_survives_a_restart() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = alice.create_room(json!({"name": "Waiting", "invite": [bob.id]})).await;
    server.restart().await;
    let sync = bob.sync().await;
    let events = sync.json["rooms"]["invite"][&room]["invite_state"]["events"].as_array().cloned();
    let events = events.unwrap_or_else(|| panic!("no invite: {sync}"));
    assert!(events.iter().any(|event| event["content"]["name"] == "Waiting"), "{sync}");
    bob.join(&room).await;
}
