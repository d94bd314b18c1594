//! Upgrading rooms.

use hs_rooms::{
    Intent, Sender, WriteError,
    aliases::Asker,
    create::{CreateRoom, Preset},
    membership::MembershipOptions,
    send::SendError,
    upgrade::{Upgrade, UpgradeError},
};
use ruma::{OwnedRoomId, RoomId, RoomVersionId, room_alias_id};
use serde_json::{Value, json};

use crate::stage::{Stage, initial, object, say};

async fn upgrade(stage: &Stage, room_id: &RoomId, sender: &Sender, version: RoomVersionId) -> OwnedRoomId {
    let upgrade = Upgrade { version, additional_creators: Vec::new() };
    stage.actions.upgrade_room(room_id, sender.clone(), upgrade).await.expect("a creator may upgrade")
}

#[tokio::test]
async fn an_upgrade_carries_over_what_makes_up_the_room() {
    let stage = Stage::new().await;
    let (alice, bob, carol) =
        (stage.person("alice").await, stage.person("bob").await, stage.person("carol").await);
    let parameters = CreateRoom {
        version: Some(RoomVersionId::V10),
        preset: Preset::Public,
        is_published: true,
        alias_localpart: Some("old".to_owned()),
        name: Some("Name".to_owned()),
        topic: Some("Topic".to_owned()),
        creation_content: object(&json!({ "type": "m.space", "m.federate": false })),
        initial_state: vec![
            initial("m.room.server_acl", &json!({ "allow": ["*"] })),
            initial("org.example.private", &json!({ "a": 1 })),
        ],
        ..CreateRoom::default()
    };
    let old = stage.room(&alice, parameters).await;
    stage.actions.join((&*old).into(), &bob, None).await.expect("a public room");
    let options = MembershipOptions { target: &carol.user_id, reason: Some("spam") };
    stage.actions.ban(&old, &alice, options).await.expect("an admin");

    let new = upgrade(&stage, &old, &alice, RoomVersionId::V12).await;

    let create = stage.state(&new, "m.room.create", "").await;
    assert_eq!((&create["type"], &create["m.federate"]), (&json!("m.space"), &json!(false)));
    assert_eq!(create["predecessor"], json!({ "room_id": old }));
    for event_type in
        ["m.room.name", "m.room.topic", "m.room.server_acl", "m.room.join_rules", "m.room.history_visibility"]
    {
        let (before, after) =
            (stage.state(&old, event_type, "").await, stage.state(&new, event_type, "").await);
        assert_eq!(before, after, "{event_type}");
    }
    assert_eq!(stage.state(&new, "org.example.private", "").await, Value::Null);
    assert_eq!(
        stage.state(&new, "m.room.member", carol.user_id.as_str()).await,
        json!({ "membership": "ban", "reason": "spam" })
    );
    assert_eq!(stage.state(&new, "m.room.member", bob.user_id.as_str()).await, Value::Null);
    let levels = stage.state(&new, "m.room.power_levels", "").await;
    assert_eq!((&levels["users"], &levels["events"]["m.room.tombstone"]), (&json!({}), &json!(150)));
    let alias = stage.actions.resolve_alias(room_alias_id!("#old:test.example")).await;
    assert_eq!(alias.expect("the alias").room_id, new);
    assert_eq!(stage.state(&new, "m.room.canonical_alias", "").await["alias"], "#old:test.example");
    assert_eq!(stage.state(&old, "m.room.canonical_alias", "").await, json!({}));
    assert!(stage.actions.is_listed(&new).await.expect("the room"));
    assert!(!stage.actions.is_listed(&old).await.expect("the room"));
}

#[tokio::test]
async fn the_old_room_is_closed() {
    let stage = Stage::new().await;
    let (alice, bob) = (stage.person("alice").await, stage.person("bob").await);
    let old = stage.public_room(&alice).await;
    stage.actions.join((&*old).into(), &bob, None).await.expect("a public room");

    let new = upgrade(&stage, &old, &alice, RoomVersionId::V12).await;

    assert_eq!(stage.state(&old, "m.room.tombstone", "").await["replacement_room"], json!(new));
    let sent = say(&stage.actions, &old, &bob, "still here?").await;
    assert!(matches!(sent, Err(SendError::Write(WriteError::Forbidden(_)))), "{sent:?}");
}

#[tokio::test]
async fn an_admin_who_is_not_the_most_powerful_fills_the_new_room_all_the_same() {
    let stage = Stage::new().await;
    let (alice, bob) = (stage.person("alice").await, stage.person("bob").await);
    let parameters = CreateRoom {
        version: Some(RoomVersionId::V9),
        preset: Preset::Public,
        initial_state: vec![initial("m.room.encryption", &json!({ "algorithm": "m.megolm.v1.aes-sha2" }))],
        power_levels: object(&json!({
            "users": { "@alice:test.example": 100, "@bob:test.example": 50 },
            "events": { "m.room.tombstone": 50, "m.room.encryption": 100 },
        })),
        ..CreateRoom::default()
    };
    let old = stage.room(&alice, parameters).await;
    stage.actions.join((&*old).into(), &bob, None).await.expect("a public room");

    let new = upgrade(&stage, &old, &bob, RoomVersionId::V11).await;

    let create = stage.state(&new, "m.room.create", "").await;
    let tombstone = stage.state_event(&old, "m.room.tombstone", "").await.expect("a tombstone");
    assert_eq!(create["predecessor"], json!({ "room_id": old, "event_id": tombstone.event_id }));
    assert_eq!(stage.state(&new, "m.room.encryption", "").await["algorithm"], "m.megolm.v1.aes-sha2");
    let levels = stage.state(&new, "m.room.power_levels", "").await;
    assert_eq!(levels["users"], json!({ "@alice:test.example": 100, "@bob:test.example": 50 }));
}

#[tokio::test]
async fn who_may_not_close_a_room_may_not_upgrade_it() {
    let stage = Stage::new().await;
    let (alice, bob) = (stage.person("alice").await, stage.person("bob").await);
    let room_id = stage.public_room(&alice).await;
    stage.actions.join((&*room_id).into(), &bob, None).await.expect("a public room");

    let request = Upgrade { version: RoomVersionId::V12, additional_creators: Vec::new() };
    let upgraded = stage.actions.upgrade_room(&room_id, bob, request).await;

    assert!(matches!(upgraded, Err(UpgradeError::Forbidden(_))), "{upgraded:?}");
}

#[tokio::test]
async fn tags_go_with_those_who_follow() {
    let stage = Stage::new().await;
    let (alice, bob) = (stage.person("alice").await, stage.person("bob").await);
    let old = stage.public_room(&alice).await;
    stage.actions.join((&*old).into(), &bob, None).await.expect("a public room");
    let room = stage.server.rooms.find(&old).await.expect("a working database").expect("the room");
    let mut txn = stage.server.store.begin().await.expect("a connection");
    let tags = r#"{"tags":{"m.favourite":{}}}"#;
    txn.upsert_account_data(bob.nid, Some(room.nid), "m.tag", tags).await.expect("a working database");
    txn.commit().await.expect("a working database");

    let new = upgrade(&stage, &old, &alice, RoomVersionId::V12).await;
    stage.actions.join((&*new).into(), &bob, None).await.expect("a public room");

    let room = stage.server.rooms.find(&new).await.expect("a working database").expect("the room");
    let mut reader = stage.server.store.reader().await.expect("a connection");
    let copied =
        reader.find_account_data(bob.nid, Some(room.nid), "m.tag").await.expect("a working database");
    assert_eq!(copied.as_deref(), Some(tags));
}

#[tokio::test]
async fn a_canonical_alias_leads_to_its_room_and_goes_with_its_alias() {
    let stage = Stage::new().await;
    let alice = stage.person("alice").await;
    let (room_id, other) = (stage.public_room(&alice).await, stage.public_room(&alice).await);
    let alias = room_alias_id!("#one:test.example");
    let canonical = || Intent::state("m.room.canonical_alias", "", r##"{"alias":"#one:test.example"}"##);

    let too_early = stage.actions.send_state(&room_id, alice.clone(), canonical(), None).await;
    stage.actions.create_alias(alias, &room_id, &alice).await.expect("a free alias");
    let elsewhere = stage.actions.send_state(&other, alice.clone(), canonical(), None).await;
    stage.actions.send_state(&room_id, alice.clone(), canonical(), None).await.expect("the room's alias");
    let asker = Asker { user: alice, is_admin: false };
    stage.actions.delete_alias(alias, &asker).await.expect("the creator of the alias");

    assert!(matches!(too_early, Err(SendError::BadAlias(_))), "{too_early:?}");
    assert!(matches!(elsewhere, Err(SendError::BadAlias(_))), "{elsewhere:?}");
    assert_eq!(stage.state(&room_id, "m.room.canonical_alias", "").await, json!({}));
}
