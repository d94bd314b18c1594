//! Version 12: creators have all the power, and nobody takes it from them.

use sytest_like::{User, json, path};

use super::ground::{membership_of, power_levels, set_levels, state_event, three, try_state, try_text, two};

/// A public version 12 room of alice's that bob has joined with power level 100.
async fn room_with_admin(alice: &User, bob: &User) -> String {
    let room = super::ground::room_of_version("12", alice, &[bob]).await;
    set_levels(alice, &room, json!({"users": {&bob.id: 100}})).await.expect_ok();
    room
}

/// The creator is not among the users of the power levels.
/// spec: rooms/v12/#client-considerations
/// covers: POST /_matrix/client/v3/createRoom
#[tokio::test]
async fn creator_is_not_listed() {
    let (alice, bob) = two().await;
    let room = alice
        .create_room(json!({"room_version": "12", "preset": "trusted_private_chat", "invite": [bob.id]}))
        .await;
    let levels = power_levels(&alice, &room).await;
    assert!(levels["users"].get(&alice.id).is_none(), "{levels}");
    assert!(levels["users"].get(&bob.id).is_none(), "{levels}");
}

/// Nobody can list a creator among the users of the power levels, not even the creator.
/// spec: rooms/v12/#authorisation-rules
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
#[tokio::test]
async fn creator_cannot_be_listed() {
    let (alice, bob) = two().await;
    let room = room_with_admin(&alice, &bob).await;
    for user in [&alice, &bob] {
        for level in [0, 100] {
            set_levels(user, &room, json!({"users": {&alice.id: level}})).await.expect_refused();
        }
    }
    assert!(power_levels(&alice, &room).await["users"].get(&alice.id).is_none());
}

/// `createRoom` refuses power levels that list a creator.
/// spec: rooms/v12/#authorisation-rules
/// covers: POST /_matrix/client/v3/createRoom
#[tokio::test]
async fn override_cannot_list_a_creator() {
    let (alice, bob) = two().await;
    for listed in [&alice, &bob] {
        let body = json!({
            "room_version": "12",
            "creation_content": {"additional_creators": [bob.id]},
            "power_level_content_override": {"users": {&listed.id: 100}},
        });
        alice.post("/v3/createRoom", body).await.expect_refused();
    }
}

/// No required level is too high for the creator; it is too high for everybody else.
/// spec: rooms/v12/#authorisation-rules
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
#[tokio::test]
async fn creator_is_above_every_level() {
    const HIGHEST: i64 = 9_007_199_254_740_991;
    let (alice, bob) = two().await;
    let room = room_with_admin(&alice, &bob).await;
    let levels = json!({"events": {"m.room.topic": HIGHEST, "m.room.message": HIGHEST}, "ban": HIGHEST});
    set_levels(&alice, &room, levels).await.expect_ok();
    alice.set_state(&room, "m.room.topic", "", json!({"topic": "still mine"})).await;
    alice.send_text(&room, "and still talking").await;
    try_text(&bob, &room).await.expect_err(403, "M_FORBIDDEN");
    try_state(&bob, &room, "m.room.topic", "", json!({"topic": "no"})).await.expect_err(403, "M_FORBIDDEN");
    alice.membership(&room, "ban", &bob.id).await.expect_ok();
}

/// Whoever else has whatever power: the creator is not kicked or banned.
/// spec: rooms/v12/#authorisation-rules
/// covers: POST /_matrix/client/v3/rooms/{roomId}/kick
/// covers: POST /_matrix/client/v3/rooms/{roomId}/ban
#[tokio::test]
async fn creator_cannot_be_removed() {
    let (alice, bob) = two().await;
    let room = room_with_admin(&alice, &bob).await;
    set_levels(&alice, &room, json!({"users": {&bob.id: 9_007_199_254_740_991_i64}})).await.expect_ok();
    for action in ["kick", "ban"] {
        bob.membership(&room, action, &alice.id).await.expect_err(403, "M_FORBIDDEN");
    }
    assert_eq!(membership_of(&bob, &room, &alice.id).await, "join");
}

/// Additional creators have the same power, and creators cannot remove each other.
/// spec: rooms/v12/#authorisation-rules
/// covers: POST /_matrix/client/v3/createRoom
/// covers: POST /_matrix/client/v3/rooms/{roomId}/kick
/// covers: POST /_matrix/client/v3/rooms/{roomId}/ban
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
#[tokio::test]
async fn additional_creators_are_equals() {
    let (alice, bob, carol) = three().await;
    let room = alice
        .create_room(json!({
            "room_version": "12",
            "preset": "public_chat",
            "creation_content": {"additional_creators": [bob.id]},
        }))
        .await;
    bob.join(&room).await;
    carol.join(&room).await;
    set_levels(&bob, &room, json!({"events": {"m.room.name": 1_000}, "users": {&carol.id: 900}}))
        .await
        .expect_ok();
    bob.set_state(&room, "m.room.name", "", json!({"name": "Bob's too"})).await;
    try_state(&carol, &room, "m.room.name", "", json!({"name": "x"})).await.expect_err(403, "M_FORBIDDEN");
    bob.membership(&room, "kick", &alice.id).await.expect_err(403, "M_FORBIDDEN");
    alice.membership(&room, "ban", &bob.id).await.expect_err(403, "M_FORBIDDEN");
    carol.membership(&room, "kick", &bob.id).await.expect_err(403, "M_FORBIDDEN");
    set_levels(&alice, &room, json!({"users": {&bob.id: 0}})).await.expect_refused();
    bob.membership(&room, "kick", &carol.id).await.expect_ok();
}

/// In a trusted private chat the invited are creators too, together with those named, each once.
/// spec: client-server-api/#post_matrixclientv3createroom
/// covers: POST /_matrix/client/v3/createRoom
#[tokio::test]
async fn trusted_guests_are_creators() {
    let (alice, bob, carol) = three().await;
    let room = alice
        .create_room(json!({
            "room_version": "12",
            "preset": "trusted_private_chat",
            "invite": [bob.id],
            "creation_content": {"additional_creators": [carol.id, bob.id]},
        }))
        .await;
    let create = alice.get_state(&room, "m.room.create", "").await.expect_ok();
    let mut creators: Vec<&str> =
        create.array("additional_creators").iter().filter_map(|id| id.as_str()).collect();
    creators.sort_unstable();
    let mut expected = [bob.id.as_str(), carol.id.as_str()];
    expected.sort_unstable();
    assert_eq!(creators, expected);
    bob.join(&room).await;
    bob.set_state(&room, "m.room.power_levels", "", json!({"users_default": 1})).await;
    assert_eq!(membership_of(&alice, &room, &carol.id).await, "none");
}

/// A create event whose additional creators are no user ids is refused.
/// spec: rooms/v12/#authorisation-rules
/// covers: POST /_matrix/client/v3/createRoom
#[tokio::test]
async fn malformed_additional_creators_are_refused() {
    let (alice, bob) = two().await;
    for wrong in
        [json!(bob.id), json!([1]), json!(["bob"]), json!([{"user_id": bob.id}]), json!(["@nodomain"])]
    {
        let body = json!({"room_version": "12", "creation_content": {"additional_creators": wrong}});
        alice.post("/v3/createRoom", body).await.expect_status(400).expect_refused();
    }
}

/// Before version 12 additional creators are only words.
/// spec: rooms/v11/
/// covers: POST /_matrix/client/v3/createRoom
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
#[tokio::test]
async fn additional_creators_are_nobody_before_version_12() {
    let (alice, bob) = two().await;
    let room = alice
        .create_room(json!({
            "room_version": "11",
            "preset": "public_chat",
            "creation_content": {"additional_creators": [bob.id]},
        }))
        .await;
    bob.join(&room).await;
    try_state(&bob, &room, "m.room.name", "", json!({"name": "x"})).await.expect_err(403, "M_FORBIDDEN");
}

/// A creator who has left has no power, and has all of it again when back.
/// spec: rooms/v12/#authorisation-rules
/// covers: POST /_matrix/client/v3/rooms/{roomId}/leave
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
#[tokio::test]
async fn creator_who_left_comes_back_with_power() {
    let (alice, bob) = two().await;
    let room = room_with_admin(&alice, &bob).await;
    alice.leave(&room).await;
    try_state(&alice, &room, "m.room.name", "", json!({"name": "x"})).await.expect_err(403, "M_FORBIDDEN");
    alice.membership(&room, "kick", &bob.id).await.expect_err(403, "M_FORBIDDEN");
    alice.join(&room).await;
    set_levels(&alice, &room, json!({"users": {&bob.id: 0}})).await.expect_ok();
    alice.membership(&room, "kick", &bob.id).await.expect_ok();
}

/// Only creators put an end to a room unless they say otherwise: a tombstone needs more than other state.
/// spec: client-server-api/#post_matrixclientv3createroom
/// covers: POST /_matrix/client/v3/createRoom
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
#[tokio::test]
async fn tombstone_needs_more_than_other_state() {
    let (alice, bob) = two().await;
    let room = room_with_admin(&alice, &bob).await;
    let levels = power_levels(&alice, &room).await;
    let tombstone = levels["events"]["m.room.tombstone"].as_i64().expect("a level for tombstones");
    assert!(tombstone > levels["state_default"].as_i64().unwrap_or(50), "{levels}");
    assert!(tombstone > 100, "{levels}");
    let content = json!({"body": "moved", "replacement_room": "!x:example.org"});
    try_state(&bob, &room, "m.room.tombstone", "", content).await.expect_err(403, "M_FORBIDDEN");
    let answer = bob.post(&path!("/v3/rooms/{}/upgrade", room), json!({"new_version": "12"})).await;
    answer.expect_err(403, "M_FORBIDDEN");
}

/// The create event of a version 12 room cannot be replaced by its creator either.
/// spec: rooms/v12/#authorisation-rules
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
#[tokio::test]
async fn creator_cannot_replace_the_create_event() {
    let (alice, bob) = two().await;
    let room = room_with_admin(&alice, &bob).await;
    let before = state_event(&alice, &room, "m.room.create", "").await;
    let content = json!({"room_version": "12", "additional_creators": [bob.id]});
    try_state(&alice, &room, "m.room.create", "", content).await.expect_refused();
    let after = state_event(&alice, &room, "m.room.create", "").await;
    assert_eq!(after["event_id"], before["event_id"]);
}
