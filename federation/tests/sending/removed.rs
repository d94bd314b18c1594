//! Servers whose users are removed from a room.

use hs_rooms::{Intent, Sender as Person, membership::MembershipOptions};
use ruma::RoomId;
use serde_json::{Value, json};

use crate::scene::{Scene, fall_behind};

async fn kick(scene: &Scene, room_id: &RoomId, who: &Person, whom: &Person) {
    let target = MembershipOptions { target: &whom.user_id, reason: None };
    scene.replica.actions.kick(room_id, who, target).await.expect("they may kick");
}

/// What a server is told until it is told of a removal: bodies of messages, and the membership at the end.
async fn told_until_removal(scene: &mut Scene, destination: &str) -> Vec<String> {
    let mut told = Vec::new();
    while told.last().is_none_or(|last| last != "leave") {
        let attempt = scene.next(destination).await;
        let said = |pdu: &Value| {
            let content = &pdu["content"];
            let removal = content["membership"].as_str().filter(|membership| *membership == "leave");
            content["body"].as_str().or(removal).map(ToOwned::to_owned)
        };
        told.extend(attempt.pdus.iter().filter_map(said));
        attempt.accept();
    }
    told
}

#[tokio::test]
async fn who_is_removed_is_told_first_what_was_said_before() {
    let mut scene = Scene::new().await;
    let alice = scene.person("@alice:test.example").await;
    let (bob, carol) = (scene.person("@bob:b.example").await, scene.person("@carol:c.example").await);
    let room_id = scene.room(&alice, &[&bob, &carol]).await;

    // When the log is read, the room is one that Bob is not in.
    scene.replica.stop().await;
    scene.replica.say(&room_id, &alice, "one").await;
    kick(&scene, &room_id, &alice, &bob).await;
    scene.replica.say(&room_id, &alice, "among us").await;
    let _restarted = scene.start_replica("second").await;

    assert_eq!(told_until_removal(&mut scene, "b.example").await, ["one", "leave"]);
    assert_eq!(scene.accept_until("c.example", "among us").await, ["one", "among us"]);
    assert!(!scene.has_more("b.example"));
}

#[tokio::test]
async fn who_was_only_invited_is_not_told_what_was_said() {
    let mut scene = Scene::new().await;
    let alice = scene.person("@alice:test.example").await;
    let (bob, carol) = (scene.person("@bob:b.example").await, scene.person("@carol:c.example").await);
    let room_id = scene.room(&alice, &[&bob, &carol]).await;
    kick(&scene, &room_id, &alice, &bob).await;
    assert_eq!(told_until_removal(&mut scene, "b.example").await, ["leave"]);

    scene.replica.stop().await;
    scene.replica.say(&room_id, &alice, "among us").await;
    // A ban of somebody who is out already: the room's servers are the same before and after.
    let target = MembershipOptions { target: &bob.user_id, reason: None };
    scene.replica.actions.ban(&room_id, &alice, target).await.expect("alice may ban");
    scene.replica.say(&room_id, &alice, "end").await;
    let _restarted = scene.start_replica("second").await;

    assert_eq!(scene.accept_until("c.example", "end").await, ["among us", "end"]);
    let told = scene.next("b.example").await;
    assert!(told.bodies().is_empty(), "{told:?}");
    assert_eq!(told.pdus[0]["content"]["membership"], "ban");
    told.accept();
}

#[tokio::test]
async fn a_server_removed_in_its_absence_is_told_what_it_missed_before() {
    let mut scene = Scene::new().await;
    let alice = scene.person("@alice:test.example").await;
    let (bob, carol) = (scene.person("@bob:b.example").await, scene.person("@carol:c.example").await);
    let room_id = scene.room(&alice, &[&bob, &carol]).await;

    scene.replica.say(&room_id, &alice, "one").await;
    fall_behind(&mut scene, "b.example").await;
    scene.replica.say(&room_id, &alice, "two").await;
    kick(&scene, &room_id, &alice, &bob).await;
    scene.replica.say(&room_id, &alice, "among us").await;
    scene.accept_until("c.example", "among us").await;
    scene.clock.advance_ms(60_000);

    assert_eq!(told_until_removal(&mut scene, "b.example").await, ["one", "two", "leave"]);
    assert!(!scene.has_more("b.example"));
}

#[tokio::test]
async fn a_removal_by_somebody_elsewhere_ends_what_is_told() {
    let mut scene = Scene::new().await;
    let alice = scene.person("@alice:test.example").await;
    let (bob, carol) = (scene.person("@bob:b.example").await, scene.person("@carol:c.example").await);
    let quiet = scene.room(&alice, &[&bob, &carol]).await;
    let room_id = scene.room(&alice, &[&bob, &carol]).await;
    let levels = json!({ "users": { carol.user_id.as_str(): 50 } }).to_string();
    let intent = Intent::state("m.room.power_levels", "", levels);
    scene.replica.actions.send_state(&room_id, alice.clone(), intent, None).await.expect("alice may");

    scene.replica.say(&room_id, &alice, "one").await;
    fall_behind(&mut scene, "b.example").await;
    scene.replica.say(&room_id, &alice, "two").await;
    kick(&scene, &room_id, &carol, &bob).await;
    scene.replica.say(&room_id, &alice, "among us").await;
    scene.replica.say(&quiet, &alice, "end").await;
    scene.accept_until("c.example", "end").await;
    scene.clock.advance_ms(60_000);

    assert_eq!(scene.accept_until("b.example", "end").await, ["one", "two", "end"]);
}
