//! Names and pictures in the member events of rooms.

use sytest_like::{Server, User, json, path};

use super::ground::{membership_of, room_with, state_event, try_state, two};

async fn set_profile(user: &User, key: &str, value: &str) {
    let path = path!("/v3/profile/{}/{}", user.id, key);
    user.put(&path, json!({key: value})).await.expect_ok();
}

/// Who makes or joins a room does so with name and picture.
/// spec: client-server-api/#events-on-change-of-profile-information
/// covers: POST /_matrix/client/v3/createRoom
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
#[tokio::test]
async fn joins_carry_the_profile() {
    let (alice, bob) = two().await;
    for (user, name) in [(&alice, "Alice A."), (&bob, "Bob B.")] {
        set_profile(user, "displayname", name).await;
        set_profile(user, "avatar_url", "mxc://example.org/picture").await;
    }
    let room = room_with(&alice, &[&bob]).await;
    for (user, name) in [(&alice, "Alice A."), (&bob, "Bob B.")] {
        alice
            .get_state(&room, "m.room.member", &user.id)
            .await
            .expect_ok()
            .has("membership", "join")
            .has("displayname", name)
            .has("avatar_url", "mxc://example.org/picture");
    }
}

/// A change of the profile is told in every joined room.
/// spec: client-server-api/#events-on-change-of-profile-information
/// covers: PUT /_matrix/client/v3/profile/{userId}/{keyName}
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn change_is_told_in_every_joined_room() {
    let (alice, bob) = two().await;
    let mut rooms = Vec::new();
    for _ in 0..3 {
        rooms.push(room_with(&alice, &[&bob]).await);
    }
    let mut hears = alice.syncer().await;
    set_profile(&bob, "displayname", "Robert").await;
    let mut waiting = rooms.clone();
    hears
        .until_some("bob's new name in every room", |answer| {
            waiting.retain(|room| {
                !sytest_like::timeline(answer, room).iter().any(|event| {
                    event["state_key"] == bob.id.as_str() && event["content"]["displayname"] == "Robert"
                })
            });
            waiting.is_empty().then_some(())
        })
        .await;
    for room in &rooms {
        let member = state_event(&alice, room, "m.room.member", &bob.id).await;
        assert_eq!(member["content"]["membership"], "join");
        assert_eq!(member["sender"], bob.id.as_str());
    }
}

/// Where one is not joined nothing is told, and nothing changes.
/// spec: client-server-api/#events-on-change-of-profile-information
/// covers: PUT /_matrix/client/v3/profile/{userId}/{keyName}
#[tokio::test]
async fn change_is_told_only_where_one_is_joined() {
    let (alice, bob) = two().await;
    let joined = room_with(&alice, &[&bob]).await;
    let left = room_with(&alice, &[&bob]).await;
    bob.leave(&left).await;
    let banned = room_with(&alice, &[&bob]).await;
    alice.membership(&banned, "ban", &bob.id).await.expect_ok();
    let invited = alice.create_room(json!({"invite": [bob.id]})).await;
    let mut hears = alice.syncer().await;
    set_profile(&bob, "displayname", "Robert").await;
    hears
        .until("the joined room has the name", |answer| !sytest_like::timeline(answer, &joined).is_empty())
        .await;
    for (room, membership) in [(&left, "leave"), (&banned, "ban"), (&invited, "invite")] {
        assert_eq!(membership_of(&alice, room, &bob.id).await, membership);
        let member = alice.get_state(room, "m.room.member", &bob.id).await.expect_ok();
        assert_ne!(member.json["displayname"], "Robert", "{membership}");
    }
}

/// The event of a changed profile says what was there before.
/// spec: client-server-api/#events-on-change-of-profile-information
/// covers: PUT /_matrix/client/v3/profile/{userId}/{keyName}
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn change_keeps_the_other_field() {
    let (alice, bob) = two().await;
    set_profile(&bob, "displayname", "Bob").await;
    let room = room_with(&alice, &[&bob]).await;
    let mut hears = alice.syncer().await;
    set_profile(&bob, "avatar_url", "mxc://example.org/new").await;
    hears.until("the new picture", |answer| !sytest_like::timeline(answer, &room).is_empty()).await;
    alice
        .get_state(&room, "m.room.member", &bob.id)
        .await
        .expect_ok()
        .has("displayname", "Bob")
        .has("avatar_url", "mxc://example.org/new")
        .has("membership", "join");
}

/// In one room one may go by another name.
/// spec: client-server-api/#mroommember
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
#[tokio::test]
async fn one_may_have_another_name_in_one_room() {
    let (alice, bob) = two().await;
    set_profile(&bob, "displayname", "Bob").await;
    let (here, there) = (room_with(&alice, &[&bob]).await, room_with(&alice, &[&bob]).await);
    let content = json!({"membership": "join", "displayname": "Incognito"});
    bob.set_state(&here, "m.room.member", &bob.id, content).await;
    alice.get_state(&here, "m.room.member", &bob.id).await.expect_ok().has("displayname", "Incognito");
    alice.get_state(&there, "m.room.member", &bob.id).await.expect_ok().has("displayname", "Bob");
    let joined = alice.get(&path!("/v3/rooms/{}/joined_members", here)).await.expect_ok();
    assert_eq!(joined["joined"][&bob.id]["display_name"], "Incognito");
}

/// Nobody names somebody else.
/// spec: rooms/v11/#authorisation-rules
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
#[tokio::test]
async fn nobody_names_another() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    let content = json!({"membership": "join", "displayname": "Silly"});
    try_state(&alice, &room, "m.room.member", &bob.id, content).await.expect_err(403, "M_FORBIDDEN");
}

/// A change is told after a restart as well, in rooms from before.
/// spec: client-server-api/#events-on-change-of-profile-information
/// covers: PUT /_matrix/client/v3/profile/{userId}/{keyName}
#[tokio::test]
async fn change_is_told_after_a_restart() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = room_with(&alice, &[&bob]).await;
    server.restart().await;
    let mut hears = alice.syncer().await;
    set_profile(&bob, "displayname", "Robert").await;
    hears.until("the new name", |answer| !sytest_like::timeline(answer, &room).is_empty()).await;
    alice.get_state(&room, "m.room.member", &bob.id).await.expect_ok().has("displayname", "Robert");
}
