//! Stops, crashes, and several replicas.

use hs_rooms::Intent;
use serde_json::json;

use crate::scene::{PATIENCE, Scene};

#[tokio::test]
async fn what_was_not_taken_is_sent_after_a_restart() {
    let mut scene = Scene::new().await;
    let alice = scene.person("@alice:test.example").await;
    let (bob, carol) = (scene.person("@bob:b.example").await, scene.person("@carol:c.example").await);
    let room_id = scene.room(&alice, &[&bob, &carol]).await;

    scene.replica.say(&room_id, &alice, "one").await;
    scene.accept_until("c.example", "one").await;
    let lost = scene.next("b.example").await;
    scene.replica.stop().await;
    drop(lost);
    scene.replica.say(&room_id, &alice, "two").await;
    let _restarted = scene.start_replica("second").await;

    assert_eq!(scene.accept_until("b.example", "two").await, ["one", "two"]);
    assert_eq!(scene.accept_until("c.example", "two").await, ["two"]);
}

#[tokio::test]
async fn a_new_name_is_told_by_a_replica_that_reads_the_room_later() {
    let mut scene = Scene::new().await;
    let alice = scene.person("@alice:test.example").await;
    let bob = scene.person("@bob:b.example").await;
    let room_id = scene.room(&alice, &[&bob]).await;
    scene.replica.say(&room_id, &alice, "one").await;
    scene.accept_until("b.example", "one").await;

    scene.replica.stop().await;
    let content = json!({ "membership": "join", "displayname": "Alice" }).to_string();
    let intent = Intent::state("m.room.member", alice.user_id.as_str(), content);
    scene.replica.actions.send_state(&room_id, alice.clone(), intent, None).await.expect("her own name");
    let _restarted = scene.start_replica("second").await;
    let told = scene.next("b.example").await;

    assert_eq!(told.pdus.len(), 1);
    assert_eq!(told.pdus[0]["content"]["displayname"], "Alice");
    told.accept();
}

#[tokio::test]
async fn another_replica_takes_over_from_one_that_dies() {
    let mut scene = Scene::new().await;
    let alice = scene.person("@alice:test.example").await;
    let bob = scene.person("@bob:b.example").await;
    let room_id = scene.room(&alice, &[&bob]).await;

    scene.replica.say(&room_id, &alice, "one").await;
    let lost = scene.next("b.example").await;
    let other = scene.start_replica("second").await;
    scene.replica.kill().await;
    drop(lost);
    other.say(&room_id, &alice, "two").await;

    let told = scene.accept_until("b.example", "two").await;
    assert_eq!(told, ["one", "two"]);
}

#[tokio::test]
async fn one_replica_sends_what_both_write() {
    let mut scene = Scene::new().await;
    let alice = scene.person("@alice:test.example").await;
    let bob = scene.person("@bob:b.example").await;
    let room_id = scene.room(&alice, &[&bob]).await;
    let other = scene.start_replica("second").await;

    let mut expected = Vec::new();
    for number in 0..10 {
        let body = number.to_string();
        let replica = if number % 2 == 0 { &other } else { &scene.replica };
        replica.say(&room_id, &alice, &body).await;
        expected.push(body);
    }

    assert_eq!(scene.accept_until("b.example", "9").await, expected);
    assert!(!scene.has_more("b.example"));
}

#[tokio::test]
async fn pauses_outlast_a_restart_and_end_when_another_replica_hears_the_server() {
    let mut scene = Scene::new().await;
    let alice = scene.person("@alice:test.example").await;
    let (bob, carol) = (scene.person("@bob:b.example").await, scene.person("@carol:c.example").await);
    let room_id = scene.room(&alice, &[&bob, &carol]).await;

    scene.replica.say(&room_id, &alice, "one").await;
    for _ in 0..5 {
        let attempt = scene.next("b.example").await;
        scene.fail(attempt).await;
        scene.clock.advance_ms(100_000);
    }
    let sixth = scene.next("b.example").await;
    scene.fail(sixth).await;
    scene.accept_until("c.example", "one").await;
    scene.replica.stop().await;
    // A minute after the sixth failure, at the earliest, comes the seventh attempt.
    let holder = scene.start_replica("second").await;
    holder.say(&room_id, &alice, "two").await;
    scene.accept_until("c.example", "two").await;
    assert!(!scene.has_more("b.example"));
    let hearing = scene.start_replica("third").await;
    // It learns whom the other one waits for when it starts.
    let b_example = "b.example".try_into().unwrap();
    let hears = async {
        while !scene.has_more("b.example") {
            hearing.sender.heard_from(b_example);
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, hears).await.expect("the pause ends");

    assert_eq!(scene.accept_until("b.example", "two").await, ["one", "two"]);
}
