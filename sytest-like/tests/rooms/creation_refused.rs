//! Rooms that are not made.

use sytest_like::{Server, Value, json, path, unique};

use super::creation::joined_rooms;
use super::ground::two;

/// Overridden power levels are in force while the rest of the room is made: what they forbid is refused.
/// spec: client-server-api/#post_matrixclientv3createroom
/// covers: POST /_matrix/client/v3/createRoom
#[tokio::test]
async fn override_that_forbids_the_rest_is_refused() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let wrong = [
        json!({"users": {&alice.id: 0}}),
        json!({"users": {}}),
        json!({"events": {"m.room.name": 101}}),
        json!({"state_default": 150}),
    ];
    for levels in wrong {
        let body = json!({"room_version": "11", "name": "x", "power_level_content_override": levels});
        let answer = alice.post("/v3/createRoom", body.clone()).await;
        assert!((400..500).contains(&answer.status), "{body}: {answer}");
        answer.expect_refused();
    }
}

/// A room that could not be made is not there at all.
/// spec: client-server-api/#post_matrixclientv3createroom
/// covers: POST /_matrix/client/v3/createRoom
/// covers: GET /_matrix/client/v3/joined_rooms
/// not on synapse: it leaves the part of the room that was made before the failure
#[tokio::test]
async fn refused_creation_leaves_nothing() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let alias = unique("nothing");
    let body = json!({
        "room_version": "11",
        "room_alias_name": alias,
        "name": "x",
        "power_level_content_override": {"events": {"m.room.name": 101}},
    });
    alice.post("/v3/createRoom", body).await.expect_refused();
    assert!(joined_rooms(&alice).await.is_empty());
    let alias = format!("#{alias}:{}", server.name());
    server.get(&path!("/v3/directory/room/{}", alias)).await.expect_err(404, "M_NOT_FOUND");
    let sync = alice.sync().await;
    assert!(sync.json["rooms"]["join"].as_object().is_none_or(serde_json::Map::is_empty), "{sync}");
}

/// An alias that is taken stays with its room, and no second room is made.
/// spec: client-server-api/#post_matrixclientv3createroom
/// covers: POST /_matrix/client/v3/createRoom
/// covers: GET /_matrix/client/v3/directory/room/{roomAlias}
#[tokio::test]
async fn taken_alias_is_refused() {
    let (alice, bob) = two().await;
    let name = unique("taken");
    let room = alice.create_room(json!({"room_alias_name": name})).await;
    bob.post("/v3/createRoom", json!({"room_alias_name": name})).await.expect_err(400, "M_ROOM_IN_USE");
    assert!(joined_rooms(&bob).await.is_empty());
    let alias = format!("#{name}:{}", alice.server.name());
    bob.get(&path!("/v3/directory/room/{}", alias)).await.expect_ok().has("room_id", room.as_str());
}

/// Names that cannot be part of an alias are refused.
/// spec: appendices/#room-aliases
/// covers: POST /_matrix/client/v3/createRoom
#[tokio::test]
async fn impossible_alias_names_are_refused() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let whole = format!("#{}:{}", unique("whole"), server.name());
    for name in [whole.as_str(), "with:colon", "with space", &"a".repeat(255)] {
        alice.post("/v3/createRoom", json!({"room_alias_name": name})).await.expect_refused();
    }
    assert!(joined_rooms(&alice).await.is_empty());
}

/// Room versions that nobody knows are refused by their own code.
/// spec: client-server-api/#post_matrixclientv3createroom
/// covers: POST /_matrix/client/v3/createRoom
#[tokio::test]
async fn unknown_room_versions_are_refused() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    for version in ["", "0", "13", "1.0", "org.example.nonsense"] {
        let answer = alice.post("/v3/createRoom", json!({"room_version": version})).await;
        answer.expect_err(400, "M_UNSUPPORTED_ROOM_VERSION");
    }
    let answer = alice.post("/v3/createRoom", json!({"room_version": 11})).await;
    answer.expect_status(400).expect_refused();
    assert!(joined_rooms(&alice).await.is_empty());
}

/// Invites to what is no user are refused, and so is the room.
/// spec: client-server-api/#post_matrixclientv3createroom
/// covers: POST /_matrix/client/v3/createRoom
#[tokio::test]
async fn invites_to_nonsense_are_refused() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let bob = server.register("bob").await;
    for nonsense in ["bob", "@bob", "#bob:example.org", ""] {
        let body = json!({"invite": [bob.id, nonsense]});
        alice.post("/v3/createRoom", body).await.expect_status(400).expect_refused();
    }
    assert!(joined_rooms(&alice).await.is_empty());
}

/// Parameters of the wrong kind are refused, and no room is made.
/// spec: client-server-api/#post_matrixclientv3createroom
/// covers: POST /_matrix/client/v3/createRoom
#[tokio::test]
async fn malformed_parameters_are_refused() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let wrong = [
        json!({"preset": "nonsense_chat"}),
        json!({"initial_state": [{"type": "org.example.x", "state_key": ""}]}),
        json!({"initial_state": [{"content": {}}]}),
        json!({"initial_state": {"type": "org.example.x", "content": {}}}),
        json!({"creation_content": "no"}),
        json!({"power_level_content_override": {"users": {&alice.id: "a hundred"}}}),
        json!({"invite": bob_as_object()}),
    ];
    for body in wrong {
        let answer = alice.post("/v3/createRoom", body.clone()).await;
        assert_eq!(answer.status, 400, "{body}: {answer}");
        answer.expect_refused();
    }
    assert!(joined_rooms(&alice).await.is_empty());
}

fn bob_as_object() -> Value {
    json!({"user_id": "@bob:example.org"})
}

/// A room has one create event: `initial_state` cannot bring another.
/// spec: client-server-api/#post_matrixclientv3createroom
/// covers: POST /_matrix/client/v3/createRoom
#[tokio::test]
async fn initial_state_cannot_bring_a_create_event() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let body = json!({"initial_state": [
        {"type": "m.room.create", "state_key": "", "content": {"creator": alice.id, "room_version": "1"}},
    ]});
    alice.post("/v3/createRoom", body).await.expect_refused();
}

/// A mail address cannot be invited where there is no identity server: refused, and no room is made.
/// spec: client-server-api/#post_matrixclientv3createroom
/// covers: POST /_matrix/client/v3/createRoom
#[tokio::test]
async fn third_party_invites_are_refused_cleanly() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let body = json!({"invite_3pid": [
        {"id_server": "localhost:1", "id_access_token": "x", "medium": "email", "address": "bob@example.org"},
    ]});
    alice.post("/v3/createRoom", body).await.expect_refused();
    assert!(joined_rooms(&alice).await.is_empty());
}
