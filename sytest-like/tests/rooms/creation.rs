//! `createRoom`: presets and parameters.

use std::collections::HashSet;

use futures_util::future::join_all;
use sytest_like::{Server, User, Value, json, path, unique};

use super::ground::{
    membership_of, page, power_levels, state_event, three, try_join, two, walk, whole_state,
};

async fn expect_preset(alice: &User, room: &str, join_rule: &str, guests: &str) {
    alice.get_state(room, "m.room.join_rules", "").await.expect_ok().has("join_rule", join_rule);
    alice
        .get_state(room, "m.room.history_visibility", "")
        .await
        .expect_ok()
        .has("history_visibility", "shared");
    let guest_access = alice.get_state(room, "m.room.guest_access", "").await;
    // Not to say anything forbids guests as well.
    if guests != "forbidden" || guest_access.status != 404 {
        guest_access.expect_ok().has("guest_access", guests);
    }
}

pub(super) async fn joined_rooms(user: &User) -> Vec<Value> {
    user.get("/v3/joined_rooms").await.expect_ok().array("joined_rooms").clone()
}

/// A private chat is for the invited, with shared history, and guests may join.
/// spec: client-server-api/#post_matrixclientv3createroom
/// covers: POST /_matrix/client/v3/createRoom
#[tokio::test]
async fn private_chat_preset() {
    let (alice, bob) = two().await;
    let room = alice.create_room(json!({"preset": "private_chat"})).await;
    expect_preset(&alice, &room, "invite", "can_join").await;
    try_join(&bob, &room).await.expect_err(403, "M_FORBIDDEN");
}

/// A public chat is for all, with shared history, and guests are kept out.
/// spec: client-server-api/#post_matrixclientv3createroom
/// covers: POST /_matrix/client/v3/createRoom
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
#[tokio::test]
async fn public_chat_preset() {
    let (alice, bob) = two().await;
    let room = alice.create_room(json!({"preset": "public_chat"})).await;
    expect_preset(&alice, &room, "public", "forbidden").await;
    try_join(&bob, &room).await.expect_ok();
}

/// A trusted private chat is a private chat whose guests have as much power as its creator.
/// spec: client-server-api/#post_matrixclientv3createroom
/// covers: POST /_matrix/client/v3/createRoom
#[tokio::test]
async fn trusted_private_chat_shares_the_power() {
    let (alice, bob, carol) = three().await;
    let room = alice
        .create_room(json!({
            "preset": "trusted_private_chat",
            "room_version": "11",
            "invite": [bob.id, carol.id],
        }))
        .await;
    expect_preset(&alice, &room, "invite", "can_join").await;
    let users = json!({&alice.id: 100, &bob.id: 100, &carol.id: 100});
    assert_eq!(power_levels(&alice, &room).await["users"], users);
    bob.join(&room).await;
    bob.set_state(&room, "m.room.name", "", json!({"name": "Bob was here"})).await;
}

/// Without a preset the visibility chooses it; without either the room is private.
/// spec: client-server-api/#post_matrixclientv3createroom
/// covers: POST /_matrix/client/v3/createRoom
/// covers: GET /_matrix/client/v3/directory/list/room/{roomId}
#[tokio::test]
async fn visibility_chooses_the_preset() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    for (body, join_rule, guests, listed) in [
        (json!({}), "invite", "can_join", "private"),
        (json!({"visibility": "private"}), "invite", "can_join", "private"),
        (json!({"visibility": "public"}), "public", "forbidden", "public"),
        (json!({"visibility": "public", "preset": "private_chat"}), "invite", "can_join", "public"),
        (json!({"visibility": "private", "preset": "public_chat"}), "public", "forbidden", "private"),
    ] {
        let room = alice.create_room(body).await;
        expect_preset(&alice, &room, join_rule, guests).await;
        let listing = server.get(&path!("/v3/directory/list/room/{}", room)).await.expect_ok();
        listing.has("visibility", listed);
    }
}

/// The events of a new room come in the order that the specification gives.
/// spec: client-server-api/#post_matrixclientv3createroom
/// covers: POST /_matrix/client/v3/createRoom
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test]
async fn events_come_in_the_order_of_the_specification() {
    let (alice, bob) = two().await;
    let room = alice
        .create_room(json!({
            "preset": "private_chat",
            "room_alias_name": unique("order"),
            "name": "Order",
            "topic": "Who comes first",
            "invite": [bob.id],
            "initial_state": [
                {"type": "org.example.second", "state_key": "", "content": {"n": 1}},
                {"type": "org.example.first", "state_key": "k", "content": {"n": 2}},
            ],
        }))
        .await;
    let events = walk(&alice, &room, "f", 50).await;
    let types: Vec<&str> = events.iter().filter_map(|event| event["type"].as_str()).collect();
    let at = |kind: &str| {
        types.iter().position(|found| *found == kind).unwrap_or_else(|| panic!("no {kind}: {types:?}"))
    };
    assert_eq!(
        types[..4],
        ["m.room.create", "m.room.member", "m.room.power_levels", "m.room.canonical_alias"]
    );
    let preset: HashSet<&str> = types[4..7].iter().copied().collect();
    let expected = ["m.room.join_rules", "m.room.history_visibility", "m.room.guest_access"];
    assert_eq!(preset, HashSet::from(expected));
    assert_eq!(types[7..9], ["org.example.second", "org.example.first"]);
    assert!(at("org.example.first") < at("m.room.name") && at("org.example.first") < at("m.room.topic"));
    let last = events.last().expect("there are events");
    assert_eq!((&last["state_key"], &last["content"]["membership"]), (&json!(bob.id), &json!("invite")));
    assert!(events.iter().all(|event| event["sender"] == alice.id.as_str()), "{events:?}");
}

/// What `initial_state` says stands against the preset.
/// spec: client-server-api/#post_matrixclientv3createroom
/// covers: POST /_matrix/client/v3/createRoom
#[tokio::test]
async fn initial_state_wins_over_the_preset() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let room = alice
        .create_room(json!({
            "preset": "public_chat",
            "initial_state": [
                {"type": "m.room.join_rules", "content": {"join_rule": "knock"}},
                {"type": "m.room.history_visibility", "state_key": "", "content": {"history_visibility": "joined"}},
                {"type": "m.room.encryption", "content": {"algorithm": "m.megolm.v1.aes-sha2"}},
            ],
        }))
        .await;
    let state = |kind: &'static str| alice.get_state(&room, kind, "");
    state("m.room.join_rules").await.expect_ok().has("join_rule", "knock");
    state("m.room.history_visibility").await.expect_ok().has("history_visibility", "joined");
    state("m.room.encryption").await.expect_ok().has("algorithm", "m.megolm.v1.aes-sha2");
}

/// What `name` and `topic` say stands against `initial_state`.
/// spec: client-server-api/#post_matrixclientv3createroom
/// covers: POST /_matrix/client/v3/createRoom
#[tokio::test]
async fn name_and_topic_win_over_initial_state() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let room = alice
        .create_room(json!({
            "name": "The right name",
            "topic": "The right topic",
            "initial_state": [
                {"type": "m.room.name", "content": {"name": "wrong"}},
                {"type": "m.room.topic", "content": {"topic": "wrong"}},
            ],
        }))
        .await;
    alice.get_state(&room, "m.room.name", "").await.expect_ok().has("name", "The right name");
    alice.get_state(&room, "m.room.topic", "").await.expect_ok().has("topic", "The right topic");
}

/// The topic is given as plain text in the newer form too.
/// spec: client-server-api/#mroomtopic
/// covers: POST /_matrix/client/v3/createRoom
#[tokio::test]
async fn topic_has_a_plain_text_form() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let room = alice.create_room(json!({"topic": "All about happy hour"})).await;
    let topic = alice.get_state(&room, "m.room.topic", "").await.expect_ok();
    let text = topic.array("/m.topic/m.text");
    assert!(text.iter().any(|form| form["body"] == "All about happy hour"), "{topic}");
}

/// Extra keys of the create event are kept; its version and its creator are not the client's to say.
/// spec: client-server-api/#post_matrixclientv3createroom
/// covers: POST /_matrix/client/v3/createRoom
#[tokio::test]
async fn creation_content_is_kept_within_limits() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let room = alice
        .create_room(json!({
            "room_version": "10",
            "creation_content": {
                "type": "m.space",
                "m.federate": false,
                "org.example.extra": {"deep": [1, "two"]},
                "creator": "@somebody:example.org",
                "room_version": "1",
            },
        }))
        .await;
    let content = alice.get_state(&room, "m.room.create", "").await.expect_ok().json;
    assert_eq!(
        content,
        json!({
            "type": "m.space",
            "m.federate": false,
            "org.example.extra": {"deep": [1, "two"]},
            "creator": alice.id,
            "room_version": "10",
        })
    );
}

/// Overridden power levels replace the generated ones key by key, and the others stay.
/// spec: client-server-api/#post_matrixclientv3createroom
/// covers: POST /_matrix/client/v3/createRoom
#[tokio::test]
async fn power_levels_are_overridden_key_by_key() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let plain = alice.create_room(json!({"room_version": "11"})).await;
    let room = alice
        .create_room(json!({
            "room_version": "11",
            "power_level_content_override": {"events_default": 7, "invite": 31, "org.example.x": "kept"},
        }))
        .await;
    let mut expected = power_levels(&alice, &plain).await;
    assert_eq!(expected["users"], json!({&alice.id: 100}));
    expected["events_default"] = json!(7);
    expected["invite"] = json!(31);
    expected["org.example.x"] = json!("kept");
    assert_eq!(power_levels(&alice, &room).await, expected);
}

/// Everybody on the list is invited, and only they.
/// spec: client-server-api/#post_matrixclientv3createroom
/// covers: POST /_matrix/client/v3/createRoom
/// covers: GET /_matrix/client/v3/rooms/{roomId}/members
#[tokio::test]
async fn invite_list_invites() {
    let (alice, bob, carol) = three().await;
    let room = alice.create_room(json!({"invite": [bob.id, carol.id]})).await;
    let members = alice.get(&path!("/v3/rooms/{}/members", room)).await.expect_ok();
    assert_eq!(members.array("chunk").len(), 3, "{members}");
    for other in [&bob, &carol] {
        let member = state_event(&alice, &room, "m.room.member", &other.id).await;
        assert_eq!(member["content"]["membership"], "invite");
        assert_eq!(member["sender"], alice.id.as_str());
        assert!(member["content"].get("is_direct").is_none(), "{member}");
    }
    carol.join(&room).await;
    assert_eq!(membership_of(&alice, &room, &carol.id).await, "join");
}

/// In a direct chat the invites say so, and the creator's own membership does not.
/// spec: client-server-api/#direct-messaging
/// covers: POST /_matrix/client/v3/createRoom
#[tokio::test]
async fn direct_chats_are_marked_in_the_invites() {
    let (alice, bob) = two().await;
    let room = alice
        .create_room(json!({"is_direct": true, "invite": [bob.id], "preset": "trusted_private_chat"}))
        .await;
    alice.get_state(&room, "m.room.member", &bob.id).await.expect_ok().has("is_direct", true);
    alice.get_state(&room, "m.room.member", &alice.id).await.expect_ok().expect_absent("is_direct");
    let invite = bob.syncer().await.initial;
    let events = invite.json["rooms"]["invite"][&room]["invite_state"]["events"].clone();
    let events = events.as_array().expect("bob is invited");
    let own = events.iter().find(|event| event["state_key"] == bob.id.as_str()).expect("bob's invite");
    assert_eq!(own["content"]["is_direct"], true);
}

/// An alias of this server is made and is the canonical one.
/// spec: client-server-api/#post_matrixclientv3createroom
/// covers: POST /_matrix/client/v3/createRoom
/// covers: GET /_matrix/client/v3/directory/room/{roomAlias}
#[tokio::test]
async fn alias_is_made_and_canonical() {
    let (alice, bob) = two().await;
    let name = unique("thepub");
    let room = alice.create_room(json!({"preset": "public_chat", "room_alias_name": name})).await;
    let alias = format!("#{name}:{}", alice.server.name());
    alice.get_state(&room, "m.room.canonical_alias", "").await.expect_ok().has("alias", alias.as_str());
    bob.get(&path!("/v3/directory/room/{}", alias)).await.expect_ok().has("room_id", room.as_str());
    assert_eq!(bob.join(&alias).await, room);
}

/// The creator is in the new room, alone, with the power to change it.
/// spec: client-server-api/#creation
/// covers: POST /_matrix/client/v3/createRoom
/// covers: GET /_matrix/client/v3/joined_rooms
/// covers: GET /_matrix/client/v3/rooms/{roomId}/joined_members
#[tokio::test]
async fn creator_is_in_the_room() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let room = alice.create_room(json!({})).await;
    assert_eq!(joined_rooms(&alice).await, [json!(room)]);
    let members = alice.get(&path!("/v3/rooms/{}/joined_members", room)).await.expect_ok();
    let members = members["joined"].as_object().expect("a map");
    assert_eq!(members.keys().collect::<Vec<_>>(), [&alice.id]);
    alice.set_state(&room, "m.room.name", "", json!({"name": "mine"})).await;
}

/// Rooms that are asked for in the same way at the same moment are different rooms.
/// spec: client-server-api/#post_matrixclientv3createroom
/// covers: POST /_matrix/client/v3/createRoom
#[tokio::test]
async fn equal_rooms_are_different_rooms() {
    const MANY: usize = 12;
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    for version in ["11", "12"] {
        let rooms = join_all((0..MANY).map(|_| alice.create_room(json!({"room_version": version})))).await;
        let distinct: HashSet<&String> = rooms.iter().collect();
        assert_eq!(distinct.len(), MANY, "{rooms:?}");
        for room in &rooms {
            let creates = whole_state(&alice, room).await;
            assert_eq!(creates.iter().filter(|event| event["type"] == "m.room.create").count(), 1);
        }
    }
}

/// A new room is the same after a restart.
/// spec: client-server-api/#post_matrixclientv3createroom
/// covers: POST /_matrix/client/v3/createRoom
/// covers: GET /_matrix/client/v3/rooms/{roomId}/state
#[tokio::test]
async fn new_room_survives_a_restart() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let alias = unique("lasting");
    let room = alice
        .create_room(json!({
            "preset": "public_chat",
            "visibility": "public",
            "room_alias_name": alias,
            "name": "Lasting",
            "invite": [bob.id],
        }))
        .await;
    let sorted = |mut events: Vec<Value>| {
        events.sort_by_key(|event| event["event_id"].to_string());
        events
            .into_iter()
            .map(|event| (event["event_id"].clone(), event["content"].clone()))
            .collect::<Vec<_>>()
    };
    let before = sorted(whole_state(&alice, &room).await);
    server.restart().await;
    assert_eq!(sorted(whole_state(&alice, &room).await), before);
    let listing = server.get(&path!("/v3/directory/list/room/{}", room)).await.expect_ok();
    listing.has("visibility", "public");
    assert_eq!(bob.join(&format!("#{alias}:{}", server.name())).await, room);
    let last = page(&alice, &room, "b").query("limit", "1").await.expect_ok();
    assert_eq!(last["/chunk/0/state_key"], bob.id.as_str());
}
