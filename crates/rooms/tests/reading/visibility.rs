//! <https://spec.matrix.org/v1.19/client-server-api/#room-history-visibility>

use hs_rooms::access::Access;
use ruma::OwnedEventId;

use crate::scene::Scene;

/// What became of Bob, told by the events that he may see under each setting. The room says `<n>` after each step.
const HISTORIES: &[History] = &[
    History { steps: &[], shared: "", invited: "", joined: "" },
    History { steps: &["join"], shared: "01", invited: "1", joined: "1" },
    History { steps: &["invite"], shared: "", invited: "1", joined: "" },
    History { steps: &["invite", "join"], shared: "012", invited: "12", joined: "2" },
    History { steps: &["invite", "leave"], shared: "", invited: "1", joined: "" },
    History { steps: &["join", "leave"], shared: "01", invited: "1", joined: "1" },
    History { steps: &["join", "kick"], shared: "01", invited: "1", joined: "1" },
    History { steps: &["join", "ban"], shared: "01", invited: "1", joined: "1" },
    History { steps: &["ban"], shared: "", invited: "", joined: "" },
    History { steps: &["join", "leave", "join"], shared: "0123", invited: "13", joined: "13" },
    History { steps: &["join", "leave", "invite"], shared: "01", invited: "13", joined: "1" },
    History {
        steps: &["join", "ban", "kick", "join", "leave"],
        shared: "01234",
        invited: "14",
        joined: "14",
    },
];

struct History {
    steps: &'static [&'static str],
    shared: &'static str,
    invited: &'static str,
    joined: &'static str,
}

/// Lets a history happen in a new room of Alice's; returns what was said there.
async fn happen(scene: &mut Scene, setting: Option<&str>, steps: &[&str]) -> Vec<OwnedEventId> {
    scene.make_room(setting).await;
    let mut said = vec![scene.say("alice", "0").await];
    for (i, step) in steps.iter().enumerate() {
        match *step {
            "join" => scene.join("bob").await,
            "leave" => scene.leave("bob").await,
            "kick" => scene.member("alice", "bob", "leave").await,
            other => scene.member("alice", "bob", other).await,
        };
        said.push(scene.say("alice", &(i + 1).to_string()).await);
    }
    said
}

async fn seen_by_bob(scene: &Scene, said: &[OwnedEventId]) -> String {
    let mut seen = String::new();
    for (i, event_id) in said.iter().enumerate() {
        if scene.can_see("bob", event_id).await {
            seen.push_str(&i.to_string());
        }
    }
    seen
}

#[tokio::test]
async fn every_setting_and_membership_history_shows_what_the_rules_allow() {
    let mut scene = Scene::new(None).await;
    let mut cases = Vec::new();
    for history in HISTORIES {
        let all: String = (0..=history.steps.len()).map(|i| i.to_string()).collect();
        for (setting, expected) in [
            (None, history.shared.to_owned()),
            (Some("shared"), history.shared.to_owned()),
            (Some("invited"), history.invited.to_owned()),
            (Some("joined"), history.joined.to_owned()),
            (Some("world_readable"), all),
        ] {
            let said = happen(&mut scene, setting, history.steps).await;
            let what = format!("{setting:?} with {:?}", history.steps);
            assert_eq!(seen_by_bob(&scene, &said).await, expected, "{what}");
            cases.push((scene.room.room_id.clone(), said, expected, what));
        }
    }
    let mut scene = scene.restarted().await;
    for (room_id, said, expected, what) in cases {
        scene.room = scene.server.rooms.find(&room_id).await.expect("a working database").expect("the room");
        assert_eq!(seen_by_bob(&scene, &said).await, expected, "{what}, after a restart");
    }
}

#[tokio::test]
async fn a_setting_counts_from_when_it_is_made() {
    let scene = Scene::new(Some("shared")).await;
    let open = scene.say("alice", "open").await;
    scene.set_history_visibility("joined").await;
    let closed = scene.say("alice", "closed").await;
    scene.set_history_visibility("shared").await;
    let open_again = scene.say("alice", "open again").await;
    scene.join("bob").await;

    assert!(scene.can_see("bob", &open).await);
    assert!(!scene.can_see("bob", &closed).await);
    assert!(scene.can_see("bob", &open_again).await);
    assert!(scene.can_see("alice", &closed).await);
}

#[tokio::test]
async fn a_change_of_the_setting_is_seen_if_either_side_allows_it() {
    let scene = Scene::new(Some("joined")).await;
    let opened = scene.set_history_visibility("world_readable").await;
    let closed = scene.set_history_visibility("joined").await;
    let unseen = scene.set_history_visibility("invited").await;

    assert!(scene.can_see("bob", &opened).await);
    assert!(scene.can_see("bob", &closed).await);
    assert!(!scene.can_see("bob", &unseen).await);
}

#[tokio::test]
async fn own_comings_and_goings_are_seen_if_either_side_allows_it() {
    let scene = Scene::new(Some("joined")).await;
    let invited = scene.member("alice", "bob", "invite").await;
    let joined = scene.join("bob").await;
    let kicked = scene.member("alice", "bob", "leave").await;
    let banned = scene.member("alice", "bob", "ban").await;

    assert!(!scene.can_see("bob", &invited).await);
    assert!(scene.can_see("bob", &joined).await);
    assert!(scene.can_see("bob", &kicked).await);
    assert!(!scene.can_see("bob", &banned).await);
    assert!(!scene.can_see("carol", &joined).await);
}

#[tokio::test]
async fn others_are_seen_in_the_order_given_and_without_what_is_hidden() {
    let scene = Scene::new(Some("joined")).await;
    let hidden = scene.say("alice", "hidden").await;
    scene.join("bob").await;
    let (first, second) = (scene.say("alice", "1").await, scene.say("bob", "2").await);
    let mut events = Vec::new();
    for id in [&second, &hidden, &first] {
        events.push(scene.event(id).await);
    }

    let rooms = &scene.server.rooms;
    let visible = rooms.filter_visible(&scene.room, events, &scene.viewer("bob")).await.expect("an answer");

    let ids: Vec<_> = visible.iter().map(|event| &event.event_id).collect();
    assert_eq!(ids, [&second, &first]);
}

#[tokio::test]
async fn a_room_may_be_read_by_members_former_members_and_where_everybody_may() {
    let scene = Scene::new(Some("shared")).await;
    scene.join("bob").await;
    let left = scene.leave("bob").await;
    scene.member("alice", "carol", "invite").await;
    let access = async |name: &str| {
        scene.server.rooms.access(&scene.room, &scene.viewer(name)).await.expect("a working database")
    };

    assert!(matches!(access("alice").await, Some(Access::Member)));
    let Some(Access::Former(event)) = access("bob").await else { panic!("bob was in the room") };
    assert_eq!(event.event_id, left);
    assert!(access("carol").await.is_none(), "who is only invited has to join first");
    assert!(access("dave").await.is_none());

    scene.set_history_visibility("world_readable").await;
    assert!(matches!(access("dave").await, Some(Access::Reader)));
}

#[tokio::test]
async fn who_declined_an_invitation_never_was_in_the_room() {
    let scene = Scene::new(Some("shared")).await;
    scene.member("alice", "bob", "invite").await;
    scene.leave("bob").await;

    assert!(scene.server.rooms.access(&scene.room, &scene.viewer("bob")).await.expect("an answer").is_none());
}

#[tokio::test]
async fn a_forgotten_room_may_not_be_read_until_one_is_let_in_again() {
    let scene = Scene::new(Some("shared")).await;
    scene.join("bob").await;
    scene.leave("bob").await;
    let mut txn = scene.server.store.begin().await.expect("a connection");
    assert!(txn.forget_room(scene.room.nid, scene.sender("bob").nid).await.expect("a working database"));
    txn.commit().await.expect("a commit");
    let access = async || {
        scene.server.rooms.access(&scene.room, &scene.viewer("bob")).await.expect("a working database")
    };

    assert!(access().await.is_none());
    scene.join("bob").await;
    assert!(matches!(access().await, Some(Access::Member)));
}
