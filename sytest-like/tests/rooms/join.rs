//! Joining.

use futures_util::future::join_all;
use sytest_like::{Server, json, path, unique};

use super::ground::{bodies, membership_of, room_with, state_event, three, try_join, try_text, two, walk};

/// A public room is joined by its id, on both paths, and the answer names it.
/// spec: client-server-api/#joining-rooms
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
/// covers: POST /_matrix/client/v3/rooms/{roomId}/join
/// covers: GET /_matrix/client/v3/joined_rooms
#[tokio::test]
async fn public_room_is_joined_by_id() {
    let (alice, bob, carol) = three().await;
    let room = alice.create_public_room().await;
    try_join(&bob, &room).await.expect_ok().has("room_id", room.as_str());
    let path = path!("/v3/rooms/{}/join", room);
    carol.post(&path, json!({})).await.expect_ok().has("room_id", room.as_str());
    for user in [&bob, &carol] {
        assert_eq!(membership_of(&alice, &room, &user.id).await, "join");
        user.get("/v3/joined_rooms").await.expect_ok().has("joined_rooms", json!([room]));
        user.send_text(&room, "hello").await;
    }
}

/// A public room is joined by an alias.
/// spec: client-server-api/#joining-rooms
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
#[tokio::test]
async fn public_room_is_joined_by_alias() {
    let (alice, bob) = two().await;
    let name = unique("door");
    let room = alice.create_room(json!({"preset": "public_chat", "room_alias_name": name})).await;
    let alias = format!("#{name}:{}", alice.server.name());
    try_join(&bob, &alias).await.expect_ok().has("room_id", room.as_str());
    assert_eq!(membership_of(&alice, &room, &bob.id).await, "join");
}

/// The path for room ids takes no alias.
/// spec: client-server-api/#post_matrixclientv3roomsroomidjoin
/// covers: POST /_matrix/client/v3/rooms/{roomId}/join
#[tokio::test]
async fn path_for_ids_takes_no_alias() {
    let (alice, bob) = two().await;
    let name = unique("door");
    let room = alice.create_room(json!({"preset": "public_chat", "room_alias_name": name})).await;
    let alias = format!("#{name}:{}", alice.server.name());
    bob.post(&path!("/v3/rooms/{}/join", alias), json!({})).await.expect_refused();
    assert_eq!(membership_of(&alice, &room, &bob.id).await, "none");
}

/// Joining needs no body, and takes an empty one.
/// spec: client-server-api/#post_matrixclientv3joinroomidoralias
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
#[tokio::test]
async fn join_needs_no_body() {
    let (alice, bob) = two().await;
    let room = alice.create_public_room().await;
    bob.request(http::Method::POST, &path!("/v3/join/{}", room)).await.expect_ok();
    assert_eq!(membership_of(&alice, &room, &bob.id).await, "join");
}

/// The reason is told in the event.
/// spec: client-server-api/#post_matrixclientv3joinroomidoralias
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
/// covers: POST /_matrix/client/v3/rooms/{roomId}/join
#[tokio::test]
async fn reason_is_in_the_join_event() {
    let (alice, bob, carol) = three().await;
    let room = alice.create_public_room().await;
    bob.post(&path!("/v3/join/{}", room), json!({"reason": "Looking for support"})).await.expect_ok();
    carol.post(&path!("/v3/rooms/{}/join", room), json!({"reason": "so did I"})).await.expect_ok();
    alice.get_state(&room, "m.room.member", &bob.id).await.expect_ok().has("reason", "Looking for support");
    alice.get_state(&room, "m.room.member", &carol.id).await.expect_ok().has("reason", "so did I");
}

/// Joining once more changes nothing.
/// spec: client-server-api/#joining-rooms
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
#[tokio::test]
async fn joining_again_changes_nothing() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    let before = state_event(&alice, &room, "m.room.member", &bob.id).await;
    try_join(&bob, &room).await.expect_ok().has("room_id", room.as_str());
    let after = state_event(&alice, &room, "m.room.member", &bob.id).await;
    assert_eq!(after["event_id"], before["event_id"]);
}

/// Joining many times at once is joining once.
/// spec: client-server-api/#joining-rooms
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test]
async fn concurrent_joins_are_one_join() {
    let (alice, bob) = two().await;
    let room = alice.create_public_room().await;
    let answers = join_all((0..8).map(|_| try_join(&bob, &room))).await;
    for answer in answers {
        answer.expect_ok();
    }
    let joins = walk(&alice, &room, "b", 20).await;
    let joins = joins.iter().filter(|event| event["state_key"] == bob.id.as_str()).count();
    assert_eq!(joins, 1);
}

/// A private room lets nobody in without an invite.
/// spec: client-server-api/#joining-rooms
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
/// covers: POST /_matrix/client/v3/rooms/{roomId}/join
#[tokio::test]
async fn private_room_wants_an_invite() {
    let (alice, bob) = two().await;
    let room = alice.create_room(json!({"preset": "private_chat"})).await;
    try_join(&bob, &room).await.expect_err(403, "M_FORBIDDEN");
    bob.post(&path!("/v3/rooms/{}/join", room), json!({})).await.expect_err(403, "M_FORBIDDEN");
    assert_eq!(membership_of(&alice, &room, &bob.id).await, "none");
    alice.invite(&room, &bob).await;
    bob.join(&room).await;
    assert_eq!(membership_of(&alice, &room, &bob.id).await, "join");
}

/// Rooms and aliases that are not there are not joined.
/// spec: client-server-api/#post_matrixclientv3joinroomidoralias
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
/// covers: POST /_matrix/client/v3/rooms/{roomId}/join
#[tokio::test]
async fn unknown_rooms_are_not_found() {
    let server = Server::shared().await;
    let bob = server.register("bob").await;
    let alias = format!("#{}:{}", unique("nowhere"), server.name());
    try_join(&bob, &alias).await.expect_err(404, "M_NOT_FOUND");
    let id = format!("!{}:{}", unique("nowhere"), server.name());
    try_join(&bob, &id).await.expect_refused();
    bob.post(&path!("/v3/rooms/{}/join", id), json!({})).await.expect_refused();
    try_join(&bob, &format!("!{}", "A".repeat(43))).await.expect_refused();
}

/// What is neither a room id nor an alias is refused.
/// spec: client-server-api/#post_matrixclientv3joinroomidoralias
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
#[tokio::test]
async fn nonsense_is_not_joined() {
    let server = Server::shared().await;
    let bob = server.register("bob").await;
    for nonsense in ["room", "@bob:example.org", "$event", "#alias", "!"] {
        try_join(&bob, nonsense).await.expect_refused();
    }
}

/// The join rule `private` and rules nobody knows let nobody in.
/// spec: client-server-api/#mroomjoin_rules
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
#[tokio::test]
async fn reserved_and_unknown_join_rules_let_nobody_in() {
    let (alice, bob) = two().await;
    let room = alice.create_public_room().await;
    for rule in ["private", "org.example.rule"] {
        let answer =
            super::ground::try_state(&alice, &room, "m.room.join_rules", "", json!({"join_rule": rule}))
                .await;
        answer.expect_ok();
        try_join(&bob, &room).await.expect_err(403, "M_FORBIDDEN");
    }
}

/// When a room closes, who is in stays in, and others stay out.
/// spec: client-server-api/#joining-rooms
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
#[tokio::test]
async fn closing_a_room_keeps_its_members() {
    let (alice, bob, carol) = three().await;
    let room = room_with(&alice, &[&bob]).await;
    alice.set_state(&room, "m.room.join_rules", "", json!({"join_rule": "invite"})).await;
    bob.send_text(&room, "still in").await;
    // Somebody who is in may join once more, whatever the rule.
    try_join(&bob, &room).await.expect_ok();
    try_join(&carol, &room).await.expect_err(403, "M_FORBIDDEN");
    bob.leave(&room).await;
    try_join(&bob, &room).await.expect_err(403, "M_FORBIDDEN");
}

/// A new member reads the current state and the history at once.
/// spec: client-server-api/#joining-rooms
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/state
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test]
async fn new_member_reads_at_once() {
    let (alice, bob) = two().await;
    let room = alice.create_room(json!({"preset": "public_chat", "name": "Open"})).await;
    alice.send_text(&room, "before").await;
    try_text(&bob, &room).await.expect_err(403, "M_FORBIDDEN");
    bob.join(&room).await;
    bob.get_state(&room, "m.room.name", "").await.expect_ok().has("name", "Open");
    assert_eq!(bodies(&walk(&bob, &room, "b", 20).await), ["before"]);
}

/// A join comes down the sync stream of those who are there, and of who joined.
/// spec: client-server-api/#room-membership
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn join_is_heard_by_all() {
    let (alice, bob) = two().await;
    let room = alice.create_public_room().await;
    let (mut alice_hears, mut bob_hears) = (alice.syncer().await, bob.syncer().await);
    bob.join(&room).await;
    let join = state_event(&alice, &room, "m.room.member", &bob.id).await;
    let id = join["event_id"].as_str().expect("an id");
    let heard = alice_hears.until_event(&room, id).await;
    assert_eq!(heard.len(), 1, "{heard:?}");
    bob_hears.until_room("join", &room).await;
}

/// Nobody joins for somebody else.
/// spec: rooms/v11/#authorisation-rules
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
#[tokio::test]
async fn nobody_joins_for_another() {
    let (alice, bob) = two().await;
    let room = alice.create_public_room().await;
    let answer =
        super::ground::try_state(&alice, &room, "m.room.member", &bob.id, json!({"membership": "join"}))
            .await;
    answer.expect_err(403, "M_FORBIDDEN");
    assert_eq!(membership_of(&alice, &room, &bob.id).await, "none");
}

/// Joining by writing one's own member event is joining.
/// spec: client-server-api/#room-membership
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
#[tokio::test]
async fn own_member_event_joins() {
    let (alice, bob) = two().await;
    let room = alice.create_public_room().await;
    bob.set_state(&room, "m.room.member", &bob.id, json!({"membership": "join", "org.example.x": 1})).await;
    alice
        .get_state(&room, "m.room.member", &bob.id)
        .await
        .expect_ok()
        .has("membership", "join")
        .has("org.example.x", 1);
    bob.send_text(&room, "I am in").await;
}

/// Memberships that nobody knows are refused.
/// spec: rooms/v11/#authorisation-rules
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
#[tokio::test]
async fn unknown_memberships_are_refused() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    for content in
        [json!({"membership": "nonsense"}), json!({}), json!({"membership": 1}), json!({"membership": null})]
    {
        super::ground::try_state(&bob, &room, "m.room.member", &bob.id, content).await.expect_refused();
    }
    assert_eq!(membership_of(&alice, &room, &bob.id).await, "join");
}
