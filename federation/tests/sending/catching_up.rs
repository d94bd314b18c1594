//! Servers that have been away.

use hs_storage::outgoing_edus::NewOutgoingEdu;

use crate::scene::{Scene, fall_behind, give_up};

#[tokio::test]
async fn all_of_a_short_absence_is_told_in_order() {
    let mut scene = Scene::new().await;
    let alice = scene.person("@alice:test.example").await;
    let (bob, carol) = (scene.person("@bob:b.example").await, scene.person("@carol:c.example").await);
    let room_id = scene.room(&alice, &[&bob, &carol]).await;

    scene.replica.say(&room_id, &alice, "0").await;
    give_up(&mut scene, "b.example").await;
    // The fourth attempt is under way while more is said.
    let probe = scene.next("b.example").await;
    for number in 1..=60 {
        scene.replica.say(&room_id, &alice, &number.to_string()).await;
    }
    scene.accept_until("c.example", "60").await;
    probe.accept();

    let told = scene.accept_until("b.example", "60").await;
    let expected: Vec<String> = (1..=60).map(|number: i32| number.to_string()).collect();
    assert_eq!(told, expected);
    // And then as ever.
    scene.replica.say(&room_id, &alice, "61").await;
    assert_eq!(scene.accept_until("b.example", "61").await, ["61"]);
}

#[tokio::test]
async fn after_a_long_absence_only_the_latest_events_are_told() {
    let mut scene = Scene::new().await;
    let alice = scene.person("@alice:test.example").await;
    let (bob, carol) = (scene.person("@bob:b.example").await, scene.person("@carol:c.example").await);
    let busy = scene.room(&alice, &[&bob, &carol]).await;
    let quiet = scene.room(&alice, &[&bob, &carol]).await;

    scene.replica.say(&busy, &alice, "first").await;
    fall_behind(&mut scene, "b.example").await;
    scene.replica.say(&quiet, &alice, "quiet one").await;
    for number in 0..150 {
        scene.replica.say(&busy, &alice, &number.to_string()).await;
    }
    scene.replica.say(&quiet, &alice, "quiet two").await;
    scene.accept_until("c.example", "quiet two").await;
    scene.clock.advance_ms(60_000);

    assert_eq!(scene.accept_until("b.example", "quiet two").await, ["149", "quiet one", "quiet two"]);
}

#[tokio::test]
async fn much_that_others_said_does_not_hide_what_was_said_here() {
    let mut scene = Scene::new().await;
    let alice = scene.person("@alice:test.example").await;
    let (bob, carol) = (scene.person("@bob:b.example").await, scene.person("@carol:c.example").await);
    let room_id = scene.room(&alice, &[&bob, &carol]).await;

    scene.replica.say(&room_id, &alice, "one").await;
    fall_behind(&mut scene, "b.example").await;
    for number in 0..600 {
        scene.replica.say(&room_id, &carol, &number.to_string()).await;
    }
    scene.clock.advance_ms(60_000);

    // By the newest it finds the way to the rest.
    assert_eq!(scene.accept_until("b.example", "599").await, ["599"]);
}

#[tokio::test]
async fn what_was_said_before_a_server_came_is_not_told() {
    let mut scene = Scene::new().await;
    let alice = scene.person("@alice:test.example").await;
    let (bob, carol) = (scene.person("@bob:b.example").await, scene.person("@carol:c.example").await);
    let old = scene.room(&alice, &[&bob]).await;
    let secret = scene.room(&alice, &[&carol]).await;

    scene.replica.say(&old, &alice, "one").await;
    fall_behind(&mut scene, "b.example").await;
    scene.replica.say(&secret, &alice, "before").await;
    scene.replica.actions.join((&*secret).into(), &bob, None).await.expect("a public room");
    scene.replica.say(&secret, &alice, "after").await;
    scene.accept_until("c.example", "after").await;
    scene.clock.advance_ms(60_000);

    assert_eq!(scene.accept_until("b.example", "after").await, ["one", "after"]);
}

#[tokio::test]
async fn stored_edus_outlast_the_absence() {
    let mut scene = Scene::new().await;
    let store = scene.replica.server.store.clone();
    let numbers: Vec<String> = (0..150).map(|number| format!(r#"{{"message_id":"{number}"}}"#)).collect();

    for content in &numbers {
        let edu = NewOutgoingEdu { destination: "b.example", edu_type: "m.direct_to_device", content };
        let mut txn = store.begin().await.unwrap();
        txn.insert_outgoing_edus(&[edu], 0).await.unwrap();
        txn.commit().await.unwrap();
    }
    give_up(&mut scene, "b.example").await;
    let mut told = Vec::new();
    while told.len() < numbers.len() {
        let attempt = scene.next("b.example").await;
        assert!(attempt.edus.len() <= 100);
        told.extend(attempt.edus.iter().map(|edu| edu["content"].to_string()));
        attempt.accept();
    }

    assert_eq!(told, numbers);
}

#[tokio::test]
async fn a_server_that_speaks_is_tried_again() {
    let mut scene = Scene::new().await;
    let alice = scene.person("@alice:test.example").await;
    let (bob, carol) = (scene.person("@bob:b.example").await, scene.person("@carol:c.example").await);
    let room_id = scene.room(&alice, &[&bob, &carol]).await;

    scene.replica.say(&room_id, &alice, "one").await;
    fall_behind(&mut scene, "b.example").await;
    // The next attempt would come after about sixteen seconds.
    scene.clock.advance_ms(6_000);
    scene.replica.say(&room_id, &alice, "two").await;
    scene.accept_until("c.example", "two").await;
    assert!(!scene.has_more("b.example"));
    scene.replica.sender.heard_from("b.example".try_into().unwrap());

    assert_eq!(scene.accept_until("b.example", "two").await, ["one", "two"]);
}
