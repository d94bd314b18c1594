//! Making rooms.

use std::collections::BTreeMap;

use hs_model::stream::Position;
use hs_rooms::{
    Room, WriteError,
    create::{CreateRoom, CreateRoomError, Preset},
};
use ruma::{RoomVersionId, room_alias_id};
use serde_json::json;

use crate::stage::{Stage, VERSIONS, initial, object, say};

async fn types(stage: &Stage, room_id: &ruma::RoomId) -> Vec<String> {
    let mut reader = stage.server.store.reader().await.expect("a connection");
    let row = reader.find_room(room_id).await.expect("a working database").expect("the room");
    let nids = reader
        .list_recent_events(row.nid, Position::START, Position(i64::MAX), 1000)
        .await
        .expect("a working database");
    let events = reader.list_events(&nids).await.expect("a working database");
    events.iter().map(|event| event.event_type.to_string()).collect()
}

#[tokio::test]
async fn events_come_in_the_order_of_the_specification() {
    let stage = Stage::new().await;
    let (alice, bob) = (stage.person("alice").await, stage.person("bob").await);
    let parameters = CreateRoom {
        alias_localpart: Some("here".to_owned()),
        name: Some("Here".to_owned()),
        topic: Some("All".to_owned()),
        invite: vec![bob.user_id.clone(), bob.user_id.clone()],
        initial_state: vec![
            initial("m.room.encryption", &json!({ "algorithm": "m.megolm.v1.aes-sha2" })),
            initial("m.room.join_rules", &json!({ "join_rule": "knock" })),
            initial("m.room.name", &json!({ "name": "There" })),
        ],
        ..CreateRoom::default()
    };

    let room_id = stage.room(&alice, parameters).await;

    assert_eq!(
        types(&stage, &room_id).await,
        [
            "m.room.create",
            "m.room.member",
            "m.room.power_levels",
            "m.room.canonical_alias",
            "m.room.history_visibility",
            "m.room.guest_access",
            "m.room.encryption",
            "m.room.join_rules",
            "m.room.name",
            "m.room.topic",
            "m.room.member",
        ]
    );
    assert_eq!(stage.state(&room_id, "m.room.join_rules", "").await["join_rule"], "knock");
    assert_eq!(stage.state(&room_id, "m.room.name", "").await["name"], "Here");
    assert_eq!(stage.state(&room_id, "m.room.topic", "").await["m.topic"]["m.text"][0]["body"], "All");
    let found = stage.actions.resolve_alias(room_alias_id!("#here:test.example")).await;
    assert_eq!(found.expect("the alias").room_id, room_id);
}

#[tokio::test]
async fn rooms_of_every_version_work_and_read_back_the_same() {
    let stage = Stage::new().await;
    let (alice, bob) = (stage.person("alice").await, stage.person("bob").await);
    for version in VERSIONS {
        let parameters = CreateRoom {
            version: Some(version.clone()),
            preset: Preset::TrustedPrivate,
            invite: vec![bob.user_id.clone()],
            ..CreateRoom::default()
        };
        let room_id = stage.room(&alice, parameters).await;
        let (server, restarted) = stage.replica().await;

        stage.actions.join((&*room_id).into(), &bob, None).await.expect("an invited user");
        say(&restarted, &room_id, &bob, "hello").await.expect("an allowed message");

        let here = stage.server.rooms.find(&room_id).await.expect("a working database").expect("the room");
        let there = server.rooms.find(&room_id).await.expect("a working database").expect("the room");
        server.store.tail().wait_applied(stage.head(&room_id).await.last_position).await;
        stage.server.store.tail().wait_applied(stage.head(&room_id).await.last_position).await;
        assert_eq!(here.read().state, there.read().state, "version {version}");
        let members = |room: &Room| {
            room.read().members().map(|(user, member)| (user, member.membership)).collect::<BTreeMap<_, _>>()
        };
        assert_eq!(members(&here), members(&there), "version {version}");
    }
}

#[tokio::test]
async fn trusted_invitees_have_the_power_of_the_creator() {
    let stage = Stage::new().await;
    let (alice, bob) = (stage.person("alice").await, stage.person("bob").await);
    let trusted = |version| CreateRoom {
        version: Some(version),
        preset: Preset::TrustedPrivate,
        invite: vec![bob.user_id.clone()],
        creation_content: object(&json!({ "additional_creators": ["@carol:test.example"] })),
        ..CreateRoom::default()
    };

    let new = stage.room(&alice, trusted(RoomVersionId::V12)).await;
    let old = stage.room(&alice, trusted(RoomVersionId::V11)).await;

    let create = stage.state(&new, "m.room.create", "").await;
    assert_eq!(create["additional_creators"], json!(["@carol:test.example", "@bob:test.example"]));
    assert_eq!(stage.state(&new, "m.room.power_levels", "").await["users"], json!({}));
    let levels = stage.state(&old, "m.room.power_levels", "").await;
    assert_eq!(levels["users"], json!({ "@alice:test.example": 100, "@bob:test.example": 100 }));
}

#[tokio::test]
async fn a_creator_without_the_power_for_what_they_ask_makes_no_room() {
    let stage = Stage::new().await;
    let alice = stage.person("alice").await;
    let parameters = CreateRoom {
        version: Some(RoomVersionId::V11),
        name: Some("Mine".to_owned()),
        power_levels: object(&json!({ "users": { "@alice:test.example": 10 } })),
        ..CreateRoom::default()
    };

    let created = stage.actions.create_room(alice.clone(), parameters).await;

    assert!(matches!(created, Err(CreateRoomError::InvalidState(_))), "{created:?}");
    assert!(stage.server.rooms.list_joined(alice.nid).await.expect("a working database").is_empty());
}

#[tokio::test]
async fn what_is_malformed_or_taken_makes_no_room() {
    let stage = Stage::new().await;
    let alice = stage.person("alice").await;
    let alias = |name: &str| CreateRoom { alias_localpart: Some(name.to_owned()), ..CreateRoom::default() };
    let levels = |value| CreateRoom { power_levels: object(&value), ..CreateRoom::default() };
    stage.room(&alice, alias("taken")).await;

    let create = |parameters| stage.actions.create_room(alice.clone(), parameters);
    let taken = create(alias("taken")).await;
    let invalid = create(alias("in valid")).await;
    let fraction = create(levels(json!({ "ban": 1.5 }))).await;
    let text = create(levels(json!({ "ban": "50" }))).await;
    let version = RoomVersionId::try_from("13").expect("a name of a version");
    let unknown = create(CreateRoom { version: Some(version), ..CreateRoom::default() }).await;

    assert!(matches!(taken, Err(CreateRoomError::AliasTaken)), "{taken:?}");
    assert!(matches!(invalid, Err(CreateRoomError::InvalidAlias(_))), "{invalid:?}");
    assert!(matches!(fraction, Err(CreateRoomError::Write(WriteError::Build(_)))), "{fraction:?}");
    assert!(matches!(text, Err(CreateRoomError::Write(WriteError::Content(_)))), "{text:?}");
    assert!(matches!(unknown, Err(CreateRoomError::UnsupportedVersion(_))), "{unknown:?}");
    assert_eq!(stage.server.rooms.list_joined(alice.nid).await.expect("a working database").len(), 1);
}
