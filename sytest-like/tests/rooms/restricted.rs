//! Rooms that let in who is in another room.

use sytest_like::{User, Value, json, path};

use super::ground::{
    expect_banned, membership_of, room_with, set_levels, state_event, three, try_join, try_state, two,
};

async fn restricted(owner: &User, version: &str, rule: &str, allow: Value) -> String {
    owner
        .create_room(json!({
            "room_version": version,
            "initial_state": [
                {"type": "m.room.join_rules", "content": {"join_rule": rule, "allow": allow}},
            ],
        }))
        .await
}

fn members_of(room: &str) -> Value {
    json!([{"type": "m.room_membership", "room_id": room}])
}

/// Members of the allowed room come in, and the join event names who vouches for them.
/// spec: client-server-api/#restricted-rooms
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
#[tokio::test]
async fn members_of_the_allowed_room_come_in() {
    let (alice, bob, carol) = three().await;
    let hall = room_with(&alice, &[&bob]).await;
    for version in ["8", "9", "10", "11", "12"] {
        let room = restricted(&alice, version, "restricted", members_of(&hall)).await;
        try_join(&carol, &room).await.expect_err(403, "M_FORBIDDEN");
        bob.join(&room).await;
        let join = alice.get_state(&room, "m.room.member", &bob.id).await.expect_ok();
        join.has("membership", "join").has("join_authorised_via_users_server", alice.id.as_str());
        assert_eq!(membership_of(&alice, &room, &carol.id).await, "none");
    }
}

/// It is being joined that counts: invited, left and banned members of the allowed room stay out.
/// spec: client-server-api/#restricted-rooms
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
#[tokio::test]
async fn only_joined_members_count() {
    let (alice, bob) = two().await;
    let hall = alice.create_room(json!({"invite": [bob.id]})).await;
    let room = restricted(&alice, "11", "restricted", members_of(&hall)).await;
    try_join(&bob, &room).await.expect_err(403, "M_FORBIDDEN");
    bob.join(&hall).await;
    bob.leave(&hall).await;
    try_join(&bob, &room).await.expect_err(403, "M_FORBIDDEN");
    alice.membership(&hall, "ban", &bob.id).await.expect_ok();
    try_join(&bob, &room).await.expect_err(403, "M_FORBIDDEN");
}

/// One of several conditions is enough.
/// spec: client-server-api/#restricted-rooms
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
#[tokio::test]
async fn any_condition_is_enough() {
    let (alice, bob) = two().await;
    let (first, second) = (alice.create_public_room().await, room_with(&alice, &[&bob]).await);
    let allow = json!([
        {"type": "org.example.unknown", "room_id": second},
        {"type": "m.room_membership", "room_id": first},
        {"type": "m.room_membership"},
        {"type": "m.room_membership", "room_id": "!unknown:example.org"},
        {"type": "m.room_membership", "room_id": second},
    ]);
    let room = restricted(&alice, "11", "restricted", allow).await;
    bob.join(&room).await;
}

/// Without a condition that is met and understood nobody comes in.
/// spec: client-server-api/#conditions
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
#[tokio::test]
async fn no_condition_lets_nobody_in() {
    let (alice, bob) = two().await;
    let hall = room_with(&alice, &[&bob]).await;
    let unknown = json!([{"type": "org.example.unknown", "room_id": hall}]);
    for allow in [json!([]), unknown, json!("nonsense"), json!(null)] {
        let room = restricted(&alice, "11", "restricted", allow).await;
        try_join(&bob, &room).await.expect_refused();
        assert_eq!(membership_of(&alice, &room, &bob.id).await, "none");
    }
}

/// An invite opens a restricted room to anybody.
/// spec: client-server-api/#restricted-rooms
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
/// covers: POST /_matrix/client/v3/rooms/{roomId}/invite
#[tokio::test]
async fn invite_opens_a_restricted_room() {
    let (alice, bob) = two().await;
    let hall = alice.create_public_room().await;
    let room = restricted(&alice, "11", "restricted", members_of(&hall)).await;
    alice.invite(&room, &bob).await;
    bob.join(&room).await;
    let join = alice.get_state(&room, "m.room.member", &bob.id).await.expect_ok();
    join.expect_absent("join_authorised_via_users_server");
}

/// A ban weighs more than the membership elsewhere.
/// spec: client-server-api/#restricted-rooms
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
/// covers: POST /_matrix/client/v3/rooms/{roomId}/ban
#[tokio::test]
async fn banned_stay_out_of_a_restricted_room() {
    let (alice, bob) = two().await;
    let hall = room_with(&alice, &[&bob]).await;
    let room = restricted(&alice, "11", "restricted", members_of(&hall)).await;
    alice.membership(&room, "ban", &bob.id).await.expect_ok();
    expect_banned(try_join(&bob, &room).await);
}

/// Who is in stays in when the membership elsewhere ends; who left then does not come back.
/// spec: client-server-api/#restricted-rooms
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
/// covers: POST /_matrix/client/v3/rooms/{roomId}/leave
#[tokio::test]
async fn leaving_the_allowed_room_closes_the_way_back() {
    let (alice, bob) = two().await;
    let hall = room_with(&alice, &[&bob]).await;
    let room = restricted(&alice, "11", "restricted", members_of(&hall)).await;
    bob.join(&room).await;
    bob.leave(&hall).await;
    bob.send_text(&room, "still here").await;
    // A change of one's own profile is a join of somebody who is in already.
    let path = path!("/v3/profile/{}/displayname", bob.id);
    bob.put(&path, json!({"displayname": "Bobby"})).await.expect_ok();
    let content = json!({"membership": "join", "displayname": "Robert"});
    try_state(&bob, &room, "m.room.member", &bob.id, content).await.expect_ok();
    bob.leave(&room).await;
    try_join(&bob, &room).await.expect_err(403, "M_FORBIDDEN");
}

/// Who vouches must be allowed to invite: the choice falls on a member who is.
/// spec: rooms/v8/#authorisation-rules
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
#[tokio::test]
async fn voucher_may_invite() {
    let (alice, bob, carol) = three().await;
    let hall = room_with(&alice, &[&bob, &carol]).await;
    let room = restricted(&alice, "11", "restricted", members_of(&hall)).await;
    bob.join(&room).await;
    set_levels(&alice, &room, json!({"invite": 50})).await.expect_ok();
    carol.join(&room).await;
    let join = state_event(&alice, &room, "m.room.member", &carol.id).await;
    assert_eq!(join["content"]["join_authorised_via_users_server"], alice.id.as_str());
}

/// When nobody in the room may invite, nobody can vouch.
/// spec: rooms/v8/#authorisation-rules
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
#[tokio::test]
async fn nobody_to_vouch_is_no_way_in() {
    let (alice, bob, carol) = three().await;
    let hall = room_with(&alice, &[&bob, &carol]).await;
    let room = restricted(&alice, "11", "restricted", members_of(&hall)).await;
    bob.join(&room).await;
    set_levels(&alice, &room, json!({"invite": 50})).await.expect_ok();
    alice.leave(&room).await;
    try_join(&carol, &room).await.expect_refused();
    assert_eq!(membership_of(&bob, &room, &carol.id).await, "none");
}

/// A client cannot name its own voucher.
/// spec: rooms/v8/#authorisation-rules
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
#[tokio::test]
async fn clients_cannot_name_a_voucher() {
    let (alice, bob) = two().await;
    let hall = alice.create_public_room().await;
    let room = restricted(&alice, "11", "restricted", members_of(&hall)).await;
    let content = json!({"membership": "join", "join_authorised_via_users_server": alice.id});
    try_state(&bob, &room, "m.room.member", &bob.id, content).await.expect_err(403, "M_FORBIDDEN");
    assert_eq!(membership_of(&alice, &room, &bob.id).await, "none");
}

/// In a room with both rules members of the allowed room come in, and others knock.
/// spec: client-server-api/#restricted-rooms
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
/// covers: POST /_matrix/client/v3/knock/{roomIdOrAlias}
#[tokio::test]
async fn knock_restricted_has_both_ways() {
    let (alice, bob, carol) = three().await;
    let hall = room_with(&alice, &[&bob]).await;
    for version in ["10", "11", "12"] {
        let room = restricted(&alice, version, "knock_restricted", members_of(&hall)).await;
        bob.join(&room).await;
        try_join(&carol, &room).await.expect_err(403, "M_FORBIDDEN");
        carol.post(&path!("/v3/knock/{}", room), json!({})).await.expect_ok();
        assert_eq!(membership_of(&alice, &room, &carol.id).await, "knock");
        alice.invite(&room, &carol).await;
        carol.join(&room).await;
    }
}

/// A plainly restricted room is not knocked on.
/// spec: client-server-api/#knocking-on-rooms
/// covers: POST /_matrix/client/v3/knock/{roomIdOrAlias}
#[tokio::test]
async fn restricted_room_takes_no_knocks() {
    let (alice, bob) = two().await;
    let hall = alice.create_public_room().await;
    let room = restricted(&alice, "11", "restricted", members_of(&hall)).await;
    bob.post(&path!("/v3/knock/{}", room), json!({})).await.expect_err(403, "M_FORBIDDEN");
}
