//! Lists of members.

use hs_model::{membership::Membership, stream::RoomStreamToken};
use hs_rooms::members::MembersFilter;

use crate::scene::Scene;

async fn members(
    scene: &Scene,
    viewer: &str,
    at: Option<RoomStreamToken>,
    filter: MembersFilter,
) -> Option<Vec<String>> {
    let viewer = scene.viewer(viewer);
    let rooms = &scene.server.rooms;
    let access = rooms.access(&scene.room, &viewer).await.expect("an answer").expect("a room one may read");
    let events = rooms.members(&scene.room, &viewer, &access, at, filter).await.expect("an answer")?;
    let name = |key: &str| key.trim_start_matches('@').split(':').next().expect("a name").to_owned();
    let mut names: Vec<_> =
        events.iter().map(|event| name(event.state_key.as_deref().expect("a state event"))).collect();
    names.sort();
    Some(names)
}

#[tokio::test]
async fn members_are_listed_by_membership() {
    let scene = Scene::new(Some("shared")).await;
    scene.join("bob").await;
    scene.leave("bob").await;
    scene.member("alice", "carol", "invite").await;
    scene.member("alice", "dave", "ban").await;
    let list = async |membership, not_membership| {
        let filter = MembersFilter { membership, not_membership };
        members(&scene, "alice", None, filter).await.expect("a list").join(" ")
    };

    assert_eq!(list(None, None).await, "alice bob carol dave");
    assert_eq!(list(Some(Membership::Join), None).await, "alice");
    assert_eq!(list(None, Some(Membership::Join)).await, "bob carol dave");
    assert_eq!(list(Some(Membership::Ban), Some(Membership::Ban)).await, "alice bob carol dave");
    assert_eq!(list(Some(Membership::Join), Some(Membership::Ban)).await, "alice bob carol");
}

#[tokio::test]
async fn members_are_listed_as_they_were_at_a_token() {
    let scene = Scene::new(Some("shared")).await;
    let before = scene.event(&scene.say("alice", "before").await).await;
    let joined = scene.event(&scene.join("bob").await).await;
    scene.say("alice", "after").await;
    let list = async |token| members(&scene, "alice", Some(token), MembersFilter::default()).await;
    let stream = |event: &hs_model::records::EventRecord| {
        RoomStreamToken::Stream(event.position.expect("a place in the log"))
    };

    assert_eq!(list(stream(&before)).await.expect("a list"), ["alice"]);
    assert_eq!(list(stream(&joined)).await.expect("a list"), ["alice", "bob"]);
    let topological =
        RoomStreamToken::Topological { depth: before.depth, position: before.position.expect("a place") };
    assert_eq!(list(topological).await.expect("a list"), ["alice"]);
}

#[tokio::test]
async fn who_left_sees_the_members_of_that_moment() {
    let scene = Scene::new(Some("shared")).await;
    scene.join("bob").await;
    scene.leave("bob").await;
    let later = scene.event(&scene.join("carol").await).await;

    let filter = MembersFilter { membership: Some(Membership::Join), not_membership: None };
    assert_eq!(members(&scene, "bob", None, filter).await.expect("a list"), ["alice"]);
    let at = Some(RoomStreamToken::Stream(later.position.expect("a place in the log")));
    assert_eq!(members(&scene, "bob", at, filter).await.expect("a list"), ["alice"]);
}

#[tokio::test]
async fn members_at_a_hidden_point_are_hidden() {
    let scene = Scene::new(Some("joined")).await;
    let before = scene.event(&scene.say("alice", "before").await).await;
    scene.join("bob").await;
    scene.say("bob", "after").await;

    let at = Some(RoomStreamToken::Stream(before.position.expect("a place in the log")));
    assert_eq!(members(&scene, "bob", at, MembersFilter::default()).await, None);
}

#[tokio::test]
async fn joined_members_come_with_their_names() {
    let scene = Scene::new(Some("shared")).await;
    let content = r#"{"membership":"join","displayname":"Bob","avatar_url":"mxc://a/b"}"#;
    let bob = scene.sender("bob").user_id.clone();
    scene.write("bob", hs_rooms::Intent::state("m.room.member", bob.as_str(), content)).await;
    scene.join("carol").await;
    scene.leave("carol").await;

    let mut joined = scene.server.rooms.joined_members(&scene.room).await.expect("an answer");
    joined.sort_by(|a, b| a.user_id.cmp(&b.user_id));

    assert_eq!(joined.len(), 2);
    assert_eq!(joined[1].user_id, bob);
    assert_eq!(joined[1].display_name.as_deref(), Some("Bob"));
    assert_eq!(joined[1].avatar_url.as_deref(), Some("mxc://a/b"));
    assert_eq!(joined[0].display_name, None);
}
