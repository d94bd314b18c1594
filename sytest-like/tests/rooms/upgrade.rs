//! Upgrading a room to another version.

use sytest_like::{Response, Server, User, Value, json, path, unique};

use super::ground::{
    membership_of, power_levels, room_of_version, set_levels, state_event, three, try_state, try_text, two,
    whole_state,
};

async fn try_upgrade(user: &User, room: &str, version: &str) -> Response {
    user.post(&path!("/v3/rooms/{}/upgrade", room), json!({"new_version": version})).await
}

async fn upgrade(user: &User, room: &str, version: &str) -> String {
    try_upgrade(user, room, version).await.expect_ok().str("replacement_room").to_owned()
}

/// The new room says where it comes from, the old one where it went.
/// spec: client-server-api/#room-upgrades
/// covers: POST /_matrix/client/v3/rooms/{roomId}/upgrade
/// covers: GET /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
#[tokio::test]
async fn old_and_new_room_point_at_each_other() {
    let (alice, bob) = two().await;
    for (from, to) in [("1", "11"), ("9", "10"), ("10", "12"), ("11", "11"), ("12", "12"), ("12", "11")] {
        let old = room_of_version(from, &alice, &[&bob]).await;
        let new = upgrade(&alice, &old, to).await;
        assert_ne!(old, new);
        let create = alice.get_state(&new, "m.room.create", "").await.expect_ok();
        assert_eq!(create["room_version"], to);
        assert_eq!(create["/predecessor/room_id"], old.as_str());
        let tombstone = state_event(&bob, &old, "m.room.tombstone", "").await;
        assert_eq!(tombstone["content"]["replacement_room"], new.as_str());
        assert!(tombstone["content"]["body"].is_string(), "{tombstone}");
        assert_eq!(tombstone["sender"], alice.id.as_str());
        if to.parse::<u8>().expect("a number") < 12 {
            assert_eq!(create["/predecessor/event_id"], tombstone["event_id"], "{from} to {to}");
        }
        assert_eq!(membership_of(&alice, &new, &alice.id).await, "join");
    }
}

/// What makes the room what it is comes along.
/// spec: client-server-api/#room-upgrades
/// covers: POST /_matrix/client/v3/rooms/{roomId}/upgrade
/// covers: GET /_matrix/client/v3/rooms/{roomId}/state
#[tokio::test]
async fn state_comes_along() {
    let (alice, _) = two().await;
    let carried = [
        ("m.room.server_acl", json!({"allow": ["*"], "deny": ["evil.example.org"]})),
        ("m.room.encryption", json!({"algorithm": "m.megolm.v1.aes-sha2"})),
        ("m.room.name", json!({"name": "The Pub"})),
        ("m.room.avatar", json!({"url": "mxc://example.org/a"})),
        ("m.room.topic", json!({"topic": "Happy hour"})),
        ("m.room.guest_access", json!({"guest_access": "can_join"})),
        ("m.room.history_visibility", json!({"history_visibility": "invited"})),
        ("m.room.join_rules", json!({"join_rule": "knock"})),
    ];
    let initial: Vec<Value> =
        carried.iter().map(|(kind, content)| json!({"type": kind, "content": content})).collect();
    for version in ["11", "12"] {
        let old = alice.create_room(json!({"room_version": "10", "initial_state": initial})).await;
        let new = upgrade(&alice, &old, version).await;
        for (kind, content) in &carried {
            assert_eq!(alice.get_state(&new, kind, "").await.expect_ok().json, *content, "{kind}");
        }
    }
}

/// The type of a space comes along.
/// spec: client-server-api/#room-upgrades
/// covers: POST /_matrix/client/v3/rooms/{roomId}/upgrade
#[tokio::test]
async fn space_stays_a_space() {
    let (alice, _) = two().await;
    for to in ["11", "12"] {
        let old =
            alice.create_room(json!({"room_version": "10", "creation_content": {"type": "m.space"}})).await;
        let new = upgrade(&alice, &old, to).await;
        alice.get_state(&new, "m.room.create", "").await.expect_ok().has("type", "m.space");
        let plain = alice.create_room(json!({"room_version": "10"})).await;
        let new = upgrade(&alice, &plain, to).await;
        alice.get_state(&new, "m.room.create", "").await.expect_ok().expect_absent("type");
    }
}

/// A room that must not federate is replaced by one that must not either.
/// spec: client-server-api/#room-upgrades
/// covers: POST /_matrix/client/v3/rooms/{roomId}/upgrade
#[tokio::test]
async fn unfederated_room_stays_so() {
    let (alice, _) = two().await;
    let old =
        alice.create_room(json!({"room_version": "10", "creation_content": {"m.federate": false}})).await;
    let new = upgrade(&alice, &old, "11").await;
    alice.get_state(&new, "m.room.create", "").await.expect_ok().has("m.federate", false);
}

/// The power levels come along.
/// spec: client-server-api/#room-upgrades
/// covers: POST /_matrix/client/v3/rooms/{roomId}/upgrade
#[tokio::test]
async fn power_levels_come_along() {
    let (alice, bob) = two().await;
    let old = room_of_version("10", &alice, &[&bob]).await;
    let changes = json!({"users": {&bob.id: 60}, "kick": 61, "events": {"org.example.x": 62}});
    set_levels(&alice, &old, changes).await.expect_ok();
    let before = power_levels(&alice, &old).await;
    let new = upgrade(&alice, &old, "11").await;
    assert_eq!(power_levels(&alice, &new).await, before);
}

/// On the way to version 12 the creator leaves the list of powerful users and becomes the creator.
/// spec: rooms/v12/#client-considerations
/// covers: POST /_matrix/client/v3/rooms/{roomId}/upgrade
#[tokio::test]
async fn upgrader_becomes_the_creator() {
    let (alice, bob, carol) = three().await;
    let old = room_of_version("11", &alice, &[&bob, &carol]).await;
    set_levels(&alice, &old, json!({"users": {&bob.id: 100, &carol.id: 50}})).await.expect_ok();
    // Bob is as powerful as alice, and it is he who upgrades.
    let new = upgrade(&bob, &old, "12").await;
    let levels = power_levels(&bob, &new).await;
    assert!(levels["users"].get(&bob.id).is_none(), "{levels}");
    assert_eq!((&levels["users"][&alice.id], &levels["users"][&carol.id]), (&json!(100), &json!(50)));
    assert_eq!(state_event(&bob, &new, "m.room.create", "").await["sender"], bob.id.as_str());
    alice.join(&new).await;
    bob.membership(&new, "kick", &alice.id).await.expect_ok();
}

/// Additional creators are those that the upgrade names, and not those of before.
/// spec: client-server-api/#room-upgrades
/// covers: POST /_matrix/client/v3/rooms/{roomId}/upgrade
#[tokio::test]
async fn additional_creators_are_named_anew() {
    let (alice, bob, carol) = three().await;
    let body = json!({"room_version": "12", "creation_content": {"additional_creators": [bob.id]}});
    let old = alice.create_room(body.clone()).await;
    let plain = upgrade(&alice, &old, "12").await;
    let create = alice.get_state(&plain, "m.room.create", "").await.expect_ok();
    assert!(!create.json.to_string().contains(&bob.id), "{create}");
    let old = alice.create_room(body).await;
    let body = json!({"new_version": "12", "additional_creators": [carol.id]});
    let answer = alice.post(&path!("/v3/rooms/{}/upgrade", old), body).await.expect_ok();
    let named = answer.str("replacement_room");
    let create = alice.get_state(named, "m.room.create", "").await.expect_ok();
    assert_eq!(create["additional_creators"], json!([carol.id]));
    assert!(power_levels(&alice, named).await["users"].get(&carol.id).is_none());
}

/// Where additional creators mean nothing they are left out.
/// spec: client-server-api/#post_matrixclientv3roomsroomidupgrade
/// covers: POST /_matrix/client/v3/rooms/{roomId}/upgrade
#[tokio::test]
async fn additional_creators_mean_nothing_before_version_12() {
    let (alice, bob) = two().await;
    let old = room_of_version("10", &alice, &[]).await;
    let body = json!({"new_version": "11", "additional_creators": [bob.id]});
    let answer = alice.post(&path!("/v3/rooms/{}/upgrade", old), body).await.expect_ok();
    let create = alice.get_state(answer.str("replacement_room"), "m.room.create", "").await.expect_ok();
    create.expect_absent("additional_creators");
}

/// Members do not come along by themselves, and nor does state outside the specification.
/// spec: client-server-api/#room-upgrades
/// covers: POST /_matrix/client/v3/rooms/{roomId}/upgrade
/// covers: GET /_matrix/client/v3/rooms/{roomId}/state
#[tokio::test]
async fn members_and_private_state_do_not_come_along() {
    let (alice, bob) = two().await;
    let old = room_of_version("10", &alice, &[&bob]).await;
    alice.set_state(&old, "org.example.widget", "", json!({"url": "https://example.org"})).await;
    let new = upgrade(&alice, &old, "11").await;
    let state = whole_state(&alice, &new).await;
    assert!(!state.iter().any(|event| event["type"] == "org.example.widget"));
    assert_eq!(membership_of(&alice, &new, &bob.id).await, "none");
    bob.join(&new).await;
}

/// The aliases move, and the canonical alias with them.
/// spec: client-server-api/#room-upgrades
/// covers: POST /_matrix/client/v3/rooms/{roomId}/upgrade
/// covers: GET /_matrix/client/v3/directory/room/{roomAlias}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/aliases
#[tokio::test]
async fn aliases_move() {
    let (alice, bob) = two().await;
    let name = unique("pub");
    let old = alice
        .create_room(json!({"room_version": "10", "preset": "public_chat", "room_alias_name": name}))
        .await;
    let main = format!("#{name}:{}", alice.server.name());
    let more = format!("#{}:{}", unique("more"), alice.server.name());
    alice.put(&path!("/v3/directory/room/{}", more), json!({"room_id": old})).await.expect_ok();
    alice.set_state(&old, "m.room.canonical_alias", "", json!({"alias": main, "alt_aliases": [more]})).await;
    let new = upgrade(&alice, &old, "11").await;
    for alias in [&main, &more] {
        bob.get(&path!("/v3/directory/room/{}", alias)).await.expect_ok().has("room_id", new.as_str());
    }
    let canonical = alice.get_state(&new, "m.room.canonical_alias", "").await.expect_ok();
    canonical.has("alias", main.as_str()).has("alt_aliases", json!([more]));
    let left = alice.get(&path!("/v3/rooms/{}/aliases", old)).await.expect_ok();
    left.has("aliases", json!([]));
    assert_eq!(bob.join(&main).await, new);
}

/// The place in the directory goes to the new room.
/// spec: client-server-api/#room-upgrades
/// covers: POST /_matrix/client/v3/rooms/{roomId}/upgrade
/// covers: GET /_matrix/client/v3/directory/list/room/{roomId}
#[tokio::test]
async fn new_room_takes_the_place_in_the_directory() {
    let (alice, _) = two().await;
    let old = alice.create_room(json!({"room_version": "10", "visibility": "public"})).await;
    let new = upgrade(&alice, &old, "11").await;
    let listed = |room: &str| alice.get(&path!("/v3/directory/list/room/{}", room));
    listed(&new).await.expect_ok().has("visibility", "public");
    listed(&old).await.expect_ok().has("visibility", "private");
}

/// In the old room ordinary users no longer speak or invite.
/// spec: client-server-api/#room-upgrades
/// covers: POST /_matrix/client/v3/rooms/{roomId}/upgrade
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
/// covers: POST /_matrix/client/v3/rooms/{roomId}/invite
#[tokio::test]
async fn old_room_falls_silent() {
    let (alice, bob) = two().await;
    let old = room_of_version("10", &alice, &[&bob]).await;
    bob.send_text(&old, "last words").await;
    upgrade(&alice, &old, "11").await;
    let levels = power_levels(&alice, &old).await;
    assert!(levels["events_default"].as_i64() >= Some(50), "{levels}");
    assert!(levels["invite"].as_i64() >= Some(50), "{levels}");
    try_text(&bob, &old).await.expect_err(403, "M_FORBIDDEN");
    bob.membership(&old, "invite", "@x:example.org").await.expect_err(403, "M_FORBIDDEN");
    bob.get_state(&old, "m.room.tombstone", "").await.expect_ok();
}

/// Where everybody has some power the old room asks for more.
/// spec: client-server-api/#room-upgrades
/// covers: POST /_matrix/client/v3/rooms/{roomId}/upgrade
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
#[tokio::test]
async fn old_room_falls_silent_for_the_powerful_many() {
    let (alice, bob) = two().await;
    let old = room_of_version("10", &alice, &[&bob]).await;
    set_levels(&alice, &old, json!({"users_default": 60})).await.expect_ok();
    bob.send_text(&old, "last words").await;
    upgrade(&alice, &old, "11").await;
    try_text(&bob, &old).await.expect_err(403, "M_FORBIDDEN");
}

/// Upgrading needs the level for tombstones, and membership.
/// spec: client-server-api/#room-upgrades
/// covers: POST /_matrix/client/v3/rooms/{roomId}/upgrade
#[tokio::test]
async fn upgrade_needs_the_level_for_tombstones() {
    let (alice, bob, carol) = three().await;
    let old = room_of_version("10", &alice, &[&bob]).await;
    try_upgrade(&bob, &old, "11").await.expect_err(403, "M_FORBIDDEN");
    try_upgrade(&carol, &old, "11").await.expect_err(403, "M_FORBIDDEN");
    alice.get_state(&old, "m.room.tombstone", "").await.expect_err(404, "M_NOT_FOUND");
    bob.get("/v3/joined_rooms").await.expect_ok().has("joined_rooms", json!([old]));
    carol.get("/v3/joined_rooms").await.expect_ok().has("joined_rooms", json!([]));
}

/// Somebody with no more than the level for tombstones can upgrade, and has no more power than before.
/// spec: client-server-api/#room-upgrades
/// covers: POST /_matrix/client/v3/rooms/{roomId}/upgrade
#[tokio::test]
async fn moderator_upgrades_without_gaining_power() {
    let (alice, bob) = two().await;
    let old = room_of_version("10", &alice, &[&bob]).await;
    set_levels(&alice, &old, json!({"users": {&bob.id: 50}, "events": {"m.room.tombstone": 50}}))
        .await
        .expect_ok();
    alice.set_state(&old, "m.room.name", "", json!({"name": "The Pub"})).await;
    let new = upgrade(&bob, &old, "11").await;
    bob.get_state(&new, "m.room.name", "").await.expect_ok().has("name", "The Pub");
    let levels = power_levels(&bob, &new).await;
    assert_eq!(levels["users"], json!({&alice.id: 100, &bob.id: 50}));
    let more = set_levels(&bob, &new, json!({"users": {&bob.id: 100}})).await;
    more.expect_err(403, "M_FORBIDDEN");
}

/// Versions that nobody knows are refused, and the room stays.
/// spec: client-server-api/#post_matrixclientv3roomsroomidupgrade
/// covers: POST /_matrix/client/v3/rooms/{roomId}/upgrade
#[tokio::test]
async fn unknown_versions_are_refused() {
    let (alice, _) = two().await;
    let old = room_of_version("10", &alice, &[]).await;
    for version in ["", "0", "13", "org.example.nonsense"] {
        try_upgrade(&alice, &old, version).await.expect_err(400, "M_UNSUPPORTED_ROOM_VERSION");
    }
    let path = path!("/v3/rooms/{}/upgrade", old);
    for body in [json!({}), json!({"new_version": 11}), json!({"new_version": null})] {
        alice.post(&path, body).await.expect_status(400).expect_refused();
    }
    alice.get_state(&old, "m.room.tombstone", "").await.expect_err(404, "M_NOT_FOUND");
}

/// Rooms that are not there are not upgraded.
/// spec: client-server-api/#post_matrixclientv3roomsroomidupgrade
/// covers: POST /_matrix/client/v3/rooms/{roomId}/upgrade
#[tokio::test]
async fn unknown_rooms_are_not_upgraded() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    try_upgrade(&alice, &format!("!{}:{}", unique("unknown"), server.name()), "11").await.expect_refused();
    try_upgrade(&alice, "nonsense", "11").await.expect_refused();
}

/// Who joins the new room has their tags there too.
/// spec: client-server-api/#room-upgrades
/// covers: POST /_matrix/client/v3/rooms/{roomId}/upgrade
/// covers: GET /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags
/// covers: PUT /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags/{tag}
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
#[tokio::test]
async fn tags_follow_into_the_new_room() {
    let (alice, bob) = two().await;
    let old = room_of_version("10", &alice, &[&bob]).await;
    for user in [&alice, &bob] {
        let path = path!("/v3/user/{}/rooms/{}/tags/m.favourite", user.id, old);
        user.put(&path, json!({"order": 0.25})).await.expect_ok();
    }
    let new = upgrade(&alice, &old, "11").await;
    bob.join(&new).await;
    for user in [&alice, &bob] {
        let tags = user.get(&path!("/v3/user/{}/rooms/{}/tags", user.id, new)).await.expect_ok();
        assert_eq!(tags["/tags/m.favourite/order"], 0.25, "{tags}");
    }
}

/// Members hear of the upgrade.
/// spec: client-server-api/#room-upgrades
/// covers: POST /_matrix/client/v3/rooms/{roomId}/upgrade
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn upgrade_is_heard() {
    let (alice, bob) = two().await;
    let old = room_of_version("10", &alice, &[&bob]).await;
    let mut hears = bob.syncer().await;
    upgrade(&alice, &old, "11").await;
    let tombstone = state_event(&alice, &old, "m.room.tombstone", "").await;
    hears.until_event(&old, tombstone["event_id"].as_str().expect("an id")).await;
}

/// An upgraded room can be upgraded again, and the chain leads back.
/// spec: client-server-api/#room-upgrades
/// covers: POST /_matrix/client/v3/rooms/{roomId}/upgrade
#[tokio::test]
async fn upgrades_form_a_chain() {
    let (alice, _) = two().await;
    let first = room_of_version("9", &alice, &[]).await;
    let second = upgrade(&alice, &first, "11").await;
    let third = upgrade(&alice, &second, "12").await;
    let predecessor = |room: String| {
        let alice = alice.clone();
        async move {
            let create = alice.get_state(&room, "m.room.create", "").await.expect_ok();
            create.str("/predecessor/room_id").to_owned()
        }
    };
    assert_eq!(predecessor(third).await, second);
    assert_eq!(predecessor(second).await, first);
    let name = json!({"name": "still works"});
    try_state(&alice, &first, "m.room.name", "", name).await.expect_ok();
}
