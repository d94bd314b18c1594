//! Joining, inviting, leaving.

use hs_rooms::{
    Intent, WriteError,
    create::{CreateRoom, Preset},
    membership::{ForgetError, MembershipError, MembershipOptions},
    send::SendError,
};
use ruma::user_id;
use serde_json::{Value, json};

use crate::stage::{Stage, initial, object};

fn restricted_to(room_id: &ruma::RoomId) -> CreateRoom {
    let rules = json!({
        "join_rule": "restricted",
        "allow": [{ "type": "m.room_membership", "room_id": room_id }, { "type": "unknown" }],
    });
    CreateRoom { initial_state: vec![initial("m.room.join_rules", &rules)], ..CreateRoom::default() }
}

#[tokio::test]
async fn members_of_the_space_join_a_restricted_room_and_others_do_not() {
    let stage = Stage::new().await;
    let (alice, bob) = (stage.person("alice").await, stage.person("bob").await);
    let space = stage.public_room(&alice).await;
    let room_id = stage.room(&alice, restricted_to(&space)).await;

    let outside = stage.actions.join((&*room_id).into(), &bob, None).await;
    stage.actions.join((&*space).into(), &bob, None).await.expect("a public room");
    stage.actions.join((&*room_id).into(), &bob, None).await.expect("a member of the space");

    assert!(matches!(outside, Err(MembershipError::NotAllowed(_))), "{outside:?}");
    let member = stage.state(&room_id, "m.room.member", bob.user_id.as_str()).await;
    assert_eq!(member["join_authorised_via_users_server"], "@alice:test.example");
}

#[tokio::test]
async fn nobody_lets_themselves_into_a_restricted_room_by_naming_an_admin() {
    let stage = Stage::new().await;
    let (alice, bob) = (stage.person("alice").await, stage.person("bob").await);
    let space = stage.public_room(&alice).await;
    let room_id = stage.room(&alice, restricted_to(&space)).await;

    let content = json!({ "membership": "join", "join_authorised_via_users_server": alice.user_id });
    let intent = Intent::state("m.room.member", bob.user_id.as_str(), content.to_string());
    let joined = stage.actions.send_state(&room_id, bob.clone(), intent, None).await;

    assert!(matches!(joined, Err(SendError::Write(WriteError::Forbidden(_)))), "{joined:?}");
}

#[tokio::test]
async fn the_profile_goes_into_joins_and_invites() {
    let stage = Stage::new().await;
    stage.names.set("Somebody");
    let (alice, bob) = (stage.person("alice").await, stage.person("bob").await);
    let room_id = stage.room(&alice, CreateRoom::default()).await;

    let options = MembershipOptions { target: &bob.user_id, reason: Some("come") };
    stage.actions.invite(&room_id, &alice, options).await.expect("a member may invite");

    assert_eq!(
        stage.state(&room_id, "m.room.member", alice.user_id.as_str()).await["displayname"],
        "Somebody"
    );
    assert_eq!(
        stage.state(&room_id, "m.room.member", bob.user_id.as_str()).await,
        json!({ "membership": "invite", "displayname": "Somebody", "reason": "come" })
    );
}

#[tokio::test]
async fn who_is_not_in_the_room_can_not_be_kicked_and_who_is_not_banned_can_not_be_unbanned() {
    let stage = Stage::new().await;
    let (alice, bob) = (stage.person("alice").await, stage.person("bob").await);
    let room_id = stage.public_room(&alice).await;
    stage.actions.join((&*room_id).into(), &bob, None).await.expect("a public room");
    let bob_options = || MembershipOptions { target: &bob.user_id, reason: None };

    let unbanned = stage.actions.unban(&room_id, &alice, bob_options()).await;
    stage.actions.kick(&room_id, &alice, bob_options()).await.expect("a member");
    let kicked_again = stage.actions.kick(&room_id, &alice, bob_options()).await;

    assert!(matches!(unbanned, Err(MembershipError::Write(WriteError::BadState(_)))), "{unbanned:?}");
    assert!(
        matches!(kicked_again, Err(MembershipError::Write(WriteError::Forbidden(_)))),
        "{kicked_again:?}"
    );
}

#[tokio::test]
async fn leaving_twice_is_leaving_once() {
    let stage = Stage::new().await;
    let (alice, bob) = (stage.person("alice").await, stage.person("bob").await);
    let room_id = stage.public_room(&alice).await;
    stage.actions.join((&*room_id).into(), &bob, None).await.expect("a public room");

    stage.actions.leave(&room_id, &bob, None).await.expect("a member");
    let depth = stage.head(&room_id).await.depth;
    stage.actions.leave(&room_id, &bob, None).await.expect("nothing to do");

    assert_eq!(stage.head(&room_id).await.depth, depth);
}

#[tokio::test]
async fn a_room_is_forgotten_only_by_those_who_left() {
    let stage = Stage::new().await;
    let alice = stage.person("alice").await;
    let room_id = stage.public_room(&alice).await;

    let while_there = stage.actions.forget(&room_id, &alice).await;
    stage.actions.leave(&room_id, &alice, None).await.expect("a member");
    let after = stage.actions.forget(&room_id, &alice).await;

    assert!(matches!(while_there, Err(ForgetError::StillThere)), "{while_there:?}");
    assert!(after.is_ok(), "{after:?}");
}

#[tokio::test]
async fn users_of_other_servers_are_refused_instead_of_invited_in_vain() {
    let stage = Stage::new().await;
    let alice = stage.person("alice").await;
    let room_id = stage.public_room(&alice).await;

    let target = user_id!("@somebody:elsewhere.example");
    let options = MembershipOptions { target, reason: None };
    let invited = stage.actions.invite(&room_id, &alice, options).await;

    assert!(matches!(invited, Err(MembershipError::RemoteUser(_))), "{invited:?}");
    assert_eq!(stage.state(&room_id, "m.room.member", target.as_str()).await, Value::Null);
}

#[tokio::test]
async fn who_blocks_invites_gets_none() {
    let stage = Stage::new().await;
    let (alice, bob) = (stage.person("alice").await, stage.person("bob").await);
    let room_id = stage.public_room(&alice).await;
    let mut txn = stage.server.store.begin().await.expect("a connection");
    txn.upsert_account_data(bob.nid, None, "m.invite_permission_config", r#"{"default_action":"block"}"#)
        .await
        .expect("a working database");
    txn.commit().await.expect("a working database");

    let options = MembershipOptions { target: &bob.user_id, reason: None };
    let invited = stage.actions.invite(&room_id, &alice, options).await;

    assert!(matches!(invited, Err(MembershipError::InvitesBlocked(_))), "{invited:?}");
}

#[tokio::test]
async fn a_knock_is_answered_by_an_invite() {
    let stage = Stage::new().await;
    let (alice, bob) = (stage.person("alice").await, stage.person("bob").await);
    let rules = initial("m.room.join_rules", &json!({ "join_rule": "knock" }));
    let parameters = CreateRoom {
        initial_state: vec![rules],
        preset: Preset::Private,
        power_levels: object(&json!({})),
        ..CreateRoom::default()
    };
    let room_id = stage.room(&alice, parameters).await;

    stage.actions.knock((&*room_id).into(), &bob, Some("please")).await.expect("a room to knock at");
    let options = MembershipOptions { target: &bob.user_id, reason: None };
    stage.actions.invite(&room_id, &alice, options).await.expect("who knocks can be invited");
    stage.actions.join((&*room_id).into(), &bob, None).await.expect("an invited user");

    assert_eq!(stage.state(&room_id, "m.room.member", bob.user_id.as_str()).await["membership"], "join");
}
