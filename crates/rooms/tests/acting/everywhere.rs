//! What accounts bring about in all rooms.

use hs_model::membership::Membership;
use hs_rooms::{create::CreateRoom, membership::MembershipOptions};
use serde_json::json;

use crate::stage::Stage;

#[tokio::test]
async fn a_new_name_is_shown_in_every_room_once() {
    let stage = Stage::new().await;
    let (alice, bob) = (stage.person("alice").await, stage.person("bob").await);
    let rooms = [stage.public_room(&alice).await, stage.public_room(&bob).await];
    stage.actions.join((&*rooms[1]).into(), &alice, None).await.expect("a public room");
    let elsewhere = stage.public_room(&bob).await;

    stage.names.set("Alice");
    stage.actions.show_profile_everywhere(&alice).await.expect("a working database");
    let depths = [stage.head(&rooms[0]).await.depth, stage.head(&rooms[1]).await.depth];
    stage.actions.show_profile_everywhere(&alice).await.expect("a working database");

    for room_id in &rooms {
        let member = stage.state(room_id, "m.room.member", alice.user_id.as_str()).await;
        assert_eq!(member, json!({ "membership": "join", "displayname": "Alice" }));
    }
    assert_eq!([stage.head(&rooms[0]).await.depth, stage.head(&rooms[1]).await.depth], depths);
    assert!(stage.state_event(&elsewhere, "m.room.member", alice.user_id.as_str()).await.is_none());
}

#[tokio::test]
async fn who_leaves_everywhere_leaves_rooms_and_rejects_invites() {
    let stage = Stage::new().await;
    let (alice, bob) = (stage.person("alice").await, stage.person("bob").await);
    let joined = stage.public_room(&alice).await;
    stage.actions.join((&*joined).into(), &bob, None).await.expect("a public room");
    let invited = stage.room(&alice, CreateRoom::default()).await;
    let banned = stage.public_room(&alice).await;
    let bob_options = || MembershipOptions { target: &bob.user_id, reason: None };
    stage.actions.invite(&invited, &alice, bob_options()).await.expect("a member may invite");
    stage.actions.ban(&banned, &alice, bob_options()).await.expect("a creator may ban");

    stage.actions.leave_everywhere(&bob).await.expect("a working database");

    let mut reader = stage.server.store.reader().await.expect("a connection");
    let mut memberships: Vec<_> = reader
        .list_memberships_of_user(bob.nid)
        .await
        .expect("a working database")
        .into_iter()
        .map(|row| row.membership)
        .collect();
    memberships.sort_unstable();
    assert_eq!(memberships, [Membership::Leave, Membership::Leave, Membership::Ban]);
}
