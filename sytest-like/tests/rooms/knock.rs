//! Knocking.

use sytest_like::{Response, User, json, path, unique};

use super::ground::{expect_banned, membership_of, page, state_event, three, try_join, try_text, two};

async fn try_knock(user: &User, room: &str) -> Response {
    user.post(&path!("/v3/knock/{}", room), json!({"reason": "let me in"})).await
}

async fn knock_room(owner: &User) -> String {
    owner
        .create_room(json!({
            "name": "Knock first",
            "initial_state": [{"type": "m.room.join_rules", "content": {"join_rule": "knock"}}],
        }))
        .await
}

/// Who knocked is invited, and joins.
/// spec: client-server-api/#knocking-on-rooms
/// covers: POST /_matrix/client/v3/knock/{roomIdOrAlias}
/// covers: POST /_matrix/client/v3/rooms/{roomId}/invite
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
#[tokio::test]
async fn knock_is_answered_with_an_invite() {
    let (alice, bob) = two().await;
    let room = knock_room(&alice).await;
    try_join(&bob, &room).await.expect_err(403, "M_FORBIDDEN");
    try_knock(&bob, &room).await.expect_ok().has("room_id", room.as_str());
    let member = state_event(&alice, &room, "m.room.member", &bob.id).await;
    assert_eq!(member["content"]["membership"], "knock");
    assert_eq!(member["content"]["reason"], "let me in");
    try_join(&bob, &room).await.expect_err(403, "M_FORBIDDEN");
    alice.invite(&room, &bob).await;
    bob.join(&room).await;
}

/// The knocker sees the knock with what the room shows of itself; members see it in the timeline.
/// spec: client-server-api/#knocking-on-rooms
/// covers: POST /_matrix/client/v3/knock/{roomIdOrAlias}
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn knock_is_heard_on_both_sides() {
    let (alice, bob) = two().await;
    let room = knock_room(&alice).await;
    let (mut alice_hears, mut bob_hears) = (alice.syncer().await, bob.syncer().await);
    try_knock(&bob, &room).await.expect_ok();
    let entry = bob_hears.until_room("knock", &room).await;
    let events = entry["knock_state"]["events"].as_array().expect("knock_state");
    let has = |kind: &str| events.iter().any(|event| event["type"] == kind);
    assert!(has("m.room.create") && has("m.room.join_rules") && has("m.room.name"), "{entry}");
    let own = events.iter().find(|event| event["state_key"] == bob.id.as_str()).expect("the knock");
    assert_eq!(own["content"]["membership"], "knock");
    let knock = state_event(&alice, &room, "m.room.member", &bob.id).await;
    alice_hears.until_event(&room, knock["event_id"].as_str().expect("an id")).await;
}

/// A room is knocked on by its alias.
/// spec: client-server-api/#post_matrixclientv3knockroomidoralias
/// covers: POST /_matrix/client/v3/knock/{roomIdOrAlias}
#[tokio::test]
async fn knocking_works_by_alias() {
    let (alice, bob) = two().await;
    let name = unique("knocker");
    let room = knock_room(&alice).await;
    let alias = format!("#{name}:{}", alice.server.name());
    alice.put(&path!("/v3/directory/room/{}", alias), json!({"room_id": room})).await.expect_ok();
    try_knock(&bob, &alias).await.expect_ok().has("room_id", room.as_str());
    assert_eq!(membership_of(&alice, &room, &bob.id).await, "knock");
}

/// Rooms that do not ask for knocks refuse them.
/// spec: client-server-api/#post_matrixclientv3knockroomidoralias
/// covers: POST /_matrix/client/v3/knock/{roomIdOrAlias}
#[tokio::test]
async fn other_rooms_refuse_knocks() {
    let (alice, bob) = two().await;
    let private = alice.create_room(json!({})).await;
    let public = alice.create_public_room().await;
    for room in [private, public] {
        try_knock(&bob, &room).await.expect_err(403, "M_FORBIDDEN");
        assert_eq!(membership_of(&alice, &room, &bob.id).await, "none");
    }
}

/// Members, the invited and the banned do not knock.
/// spec: rooms/v7/#authorisation-rules
/// covers: POST /_matrix/client/v3/knock/{roomIdOrAlias}
#[tokio::test]
async fn members_invited_and_banned_do_not_knock() {
    let (alice, bob, carol) = three().await;
    let room = knock_room(&alice).await;
    alice.invite(&room, &bob).await;
    alice.membership(&room, "ban", &carol.id).await.expect_ok();
    for user in [&alice, &bob] {
        try_knock(user, &room).await.expect_err(403, "M_FORBIDDEN");
    }
    expect_banned(try_knock(&carol, &room).await);
    assert_eq!(membership_of(&alice, &room, &alice.id).await, "join");
    assert_eq!(membership_of(&alice, &room, &bob.id).await, "invite");
    assert_eq!(membership_of(&alice, &room, &carol.id).await, "ban");
}

/// A knock opens nothing yet.
/// spec: client-server-api/#knocking-on-rooms
/// covers: POST /_matrix/client/v3/knock/{roomIdOrAlias}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
/// covers: GET /_matrix/client/v3/rooms/{roomId}/state
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
#[tokio::test]
async fn knocker_reads_and_says_nothing() {
    let (alice, bob) = two().await;
    let room = knock_room(&alice).await;
    try_knock(&bob, &room).await.expect_ok();
    try_text(&bob, &room).await.expect_err(403, "M_FORBIDDEN");
    page(&bob, &room, "b").await.expect_err(403, "M_FORBIDDEN");
    bob.get(&path!("/v3/rooms/{}/state", room)).await.expect_err(403, "M_FORBIDDEN");
    bob.membership(&room, "invite", &bob.id).await.expect_err(403, "M_FORBIDDEN");
}

/// The knocker may take the knock back, and knock again.
/// spec: client-server-api/#knocking-on-rooms
/// covers: POST /_matrix/client/v3/knock/{roomIdOrAlias}
/// covers: POST /_matrix/client/v3/rooms/{roomId}/leave
#[tokio::test]
async fn knock_can_be_taken_back() {
    let (alice, bob) = two().await;
    let room = knock_room(&alice).await;
    try_knock(&bob, &room).await.expect_ok();
    bob.leave(&room).await;
    assert_eq!(membership_of(&alice, &room, &bob.id).await, "leave");
    let sync = bob.sync().await;
    assert!(sync.json["rooms"]["knock"].get(&room).is_none(), "{sync}");
    try_knock(&bob, &room).await.expect_ok();
    assert_eq!(membership_of(&alice, &room, &bob.id).await, "knock");
}

/// A knock is declined by a kick, or for good by a ban.
/// spec: client-server-api/#knocking-on-rooms
/// covers: POST /_matrix/client/v3/knock/{roomIdOrAlias}
/// covers: POST /_matrix/client/v3/rooms/{roomId}/kick
/// covers: POST /_matrix/client/v3/rooms/{roomId}/ban
#[tokio::test]
async fn knock_can_be_declined() {
    let (alice, bob) = two().await;
    let room = knock_room(&alice).await;
    let mut hears = bob.syncer().await;
    try_knock(&bob, &room).await.expect_ok();
    hears.until_room("knock", &room).await;
    alice.membership(&room, "kick", &bob.id).await.expect_ok();
    hears.until_room("leave", &room).await;
    try_knock(&bob, &room).await.expect_ok();
    alice.membership(&room, "ban", &bob.id).await.expect_ok();
    expect_banned(try_knock(&bob, &room).await);
}

/// Rooms that are not there are not knocked on.
/// spec: client-server-api/#post_matrixclientv3knockroomidoralias
/// covers: POST /_matrix/client/v3/knock/{roomIdOrAlias}
#[tokio::test]
async fn unknown_rooms_are_not_knocked_on() {
    let (alice, _) = two().await;
    let alias = format!("#{}:{}", unique("nowhere"), alice.server.name());
    try_knock(&alice, &alias).await.expect_err(404, "M_NOT_FOUND");
    let id = format!("!{}:{}", unique("nowhere"), alice.server.name());
    try_knock(&alice, &id).await.expect_refused();
    try_knock(&alice, "nonsense").await.expect_refused();
}
