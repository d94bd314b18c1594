//! Servers that answer.

use std::time::Duration;

use federation::outbound::SendFailure;
use hs_rooms::membership::MembershipOptions;
use hs_storage::{outgoing_edus::NewOutgoingEdu, presence::Presence};
use serde_json::json;

use crate::scene::Scene;

#[tokio::test]
async fn events_come_in_order_with_one_transaction_under_way() {
    let mut scene = Scene::new().await;
    let alice = scene.person("@alice:test.example").await;
    let (bob, carol) = (scene.person("@bob:b.example").await, scene.person("@carol:c.example").await);
    let room_id = scene.room(&alice, &[&bob, &carol]).await;

    scene.replica.say(&room_id, &alice, "one").await;
    let first = scene.next("b.example").await;
    scene.replica.say(&room_id, &alice, "two").await;
    scene.replica.say(&room_id, &alice, "three").await;
    // The other server has both: the log is worked off, and still nothing more goes to the first.
    let others = scene.accept_until("c.example", "three").await;
    assert!(!scene.has_more("b.example"));
    assert_eq!(first.bodies(), ["one"]);
    first.accept();
    let second = scene.next("b.example").await;

    assert_eq!(second.bodies(), ["two", "three"]);
    assert_eq!(others, ["one", "two", "three"]);
    second.accept();
}

#[tokio::test]
async fn a_server_is_told_neither_of_its_own_events_nor_of_those_of_others() {
    let mut scene = Scene::new().await;
    let alice = scene.person("@alice:test.example").await;
    let (bob, carol) = (scene.person("@bob:b.example").await, scene.person("@carol:c.example").await);
    let room_id = scene.room(&alice, &[&bob, &carol]).await;

    scene.replica.say(&room_id, &bob, "from b").await;
    scene.replica.say(&room_id, &alice, "from here").await;

    assert_eq!(scene.accept_until("b.example", "from here").await, ["from here"]);
    assert_eq!(scene.accept_until("c.example", "from here").await, ["from here"]);
}

#[tokio::test]
async fn an_event_taken_in_for_another_server_is_sent_on_to_the_rest() {
    let mut scene = Scene::new().await;
    let alice = scene.person("@alice:test.example").await;
    let (bob, carol) = (scene.person("@bob:b.example").await, scene.person("@carol:c.example").await);
    let room_id = scene.room(&alice, &[&bob, &carol]).await;
    let event_id = scene.replica.say(&room_id, &bob, "from b").await;
    let store = &scene.replica.server.store;
    let event = store.reader().await.unwrap().find_event(&event_id).await.unwrap().unwrap();

    let mut txn = store.begin().await.unwrap();
    txn.forward_event(event.room, event.nid).await.unwrap();
    txn.commit().await.unwrap();
    scene.replica.say(&room_id, &alice, "end").await;

    assert_eq!(scene.accept_until("c.example", "end").await, ["from b", "end"]);
    assert_eq!(scene.accept_until("b.example", "end").await, ["end"]);
}

#[tokio::test]
async fn who_is_removed_hears_of_it() {
    let mut scene = Scene::new().await;
    let alice = scene.person("@alice:test.example").await;
    let bob = scene.person("@bob:b.example").await;
    let room_id = scene.room(&alice, &[&bob]).await;

    let target = MembershipOptions { target: &bob.user_id, reason: None };
    scene.replica.actions.kick(&room_id, &alice, target).await.expect("alice may kick");
    scene.replica.say(&room_id, &alice, "among us").await;
    let told = scene.next("b.example").await;

    assert_eq!(told.pdus.len(), 1);
    assert_eq!(told.pdus[0]["content"]["membership"], "leave");
    told.accept();
}

#[tokio::test]
async fn a_failed_transaction_is_repeated_as_it_was() {
    let mut scene = Scene::new().await;
    let alice = scene.person("@alice:test.example").await;
    let bob = scene.person("@bob:b.example").await;
    let room_id = scene.room(&alice, &[&bob]).await;

    scene.replica.say(&room_id, &alice, "one").await;
    let first = scene.next("b.example").await;
    let (id, pdus) = (first.id.clone(), first.pdus.clone());
    scene.replica.say(&room_id, &alice, "two").await;
    scene.fail(first).await;
    scene.clock.advance_ms(3_000);
    let second = scene.next("b.example").await;
    assert_eq!((&second.id, &second.pdus), (&id, &pdus));
    second.accept();
    let third = scene.next("b.example").await;

    assert_eq!(third.bodies(), ["two"]);
    assert_ne!(third.id, id);
    third.accept();
}

#[tokio::test]
async fn a_server_that_asks_for_patience_gets_it() {
    let mut scene = Scene::new().await;
    let alice = scene.person("@alice:test.example").await;
    let (bob, carol) = (scene.person("@bob:b.example").await, scene.person("@carol:c.example").await);
    let room_id = scene.room(&alice, &[&bob, &carol]).await;

    scene.replica.say(&room_id, &alice, "one").await;
    let limited = SendFailure::RateLimited(Some(Duration::from_mins(10)));
    let attempt = scene.next("b.example").await;
    scene.fail_with(attempt, limited).await;
    scene.accept_until("c.example", "one").await;
    scene.clock.advance_ms(9 * 60 * 1000);
    scene.replica.say(&room_id, &alice, "two").await;
    scene.accept_until("c.example", "two").await;
    assert!(!scene.has_more("b.example"));
    scene.clock.advance_ms(61 * 1000);

    assert_eq!(scene.accept_until("b.example", "two").await, ["one", "two"]);
}

#[tokio::test]
async fn what_a_server_refuses_does_not_hold_up_the_rest() {
    let mut scene = Scene::new().await;
    let alice = scene.person("@alice:test.example").await;
    let bob = scene.person("@bob:b.example").await;
    let room_id = scene.room(&alice, &[&bob]).await;

    scene.replica.say(&room_id, &alice, "one").await;
    scene.next("b.example").await.refuse();
    scene.replica.say(&room_id, &alice, "two").await;

    assert_eq!(scene.accept_until("b.example", "two").await, ["two"]);
}

#[tokio::test]
async fn stored_edus_are_sent_in_order_and_struck_off() {
    let mut scene = Scene::new().await;
    let store = scene.replica.server.store.clone();
    let edu = |content: &'static str| NewOutgoingEdu {
        destination: "b.example",
        edu_type: "m.direct_to_device",
        content,
    };

    let mut txn = store.begin().await.unwrap();
    let both = [edu(r#"{"message_id":"1"}"#), edu(r#"{"message_id":"2"}"#)];
    txn.insert_outgoing_edus(&both, 0).await.unwrap();
    txn.commit().await.unwrap();
    let first = scene.next("b.example").await;
    assert_eq!(
        first.edus,
        [
            json!({ "edu_type": "m.direct_to_device", "content": { "message_id": "1" } }),
            json!({ "edu_type": "m.direct_to_device", "content": { "message_id": "2" } }),
        ]
    );
    first.accept();
    let mut txn = store.begin().await.unwrap();
    txn.insert_outgoing_edus(&[edu(r#"{"message_id":"3"}"#)], 0).await.unwrap();
    txn.commit().await.unwrap();
    let second = scene.next("b.example").await;

    assert_eq!(second.edus.len(), 1);
    let waiting = store.reader().await.unwrap().list_outgoing_edus("b.example", store.applied(), 10).await;
    let contents: Vec<String> = waiting.unwrap().into_iter().map(|edu| edu.content).collect();
    assert_eq!(contents, [r#"{"message_id":"3"}"#]);
    second.accept();
}

#[tokio::test]
async fn a_server_that_speaks_is_told_again_who_is_there() {
    let mut scene = Scene::new().await;
    let alice = scene.person("@alice:test.example").await;
    let (bob, carol) = (scene.person("@bob:b.example").await, scene.person("@carol:c.example").await);
    let room_id = scene.room(&alice, &[&bob, &carol]).await;
    scene.replica.say(&room_id, &alice, "one").await;
    scene.accept_until("b.example", "one").await;
    scene.accept_until("c.example", "one").await;

    scene.presence(&alice, Presence::Online).await;
    let first = scene.next("b.example").await;
    assert_eq!(first.edus[0]["edu_type"], "m.presence");
    scene.fail(first).await;
    scene.next("c.example").await.accept();
    // Nothing waits for the server, so that it is not tried again by itself.
    scene.presence(&alice, Presence::Unavailable).await;
    scene.next("c.example").await.accept();
    assert!(!scene.has_more("b.example"));
    scene.clock.advance_ms(6_000);
    scene.replica.sender.heard_from("b.example".try_into().unwrap());
    let second = scene.next("b.example").await;

    assert_eq!(second.edus[0]["content"]["push"][0]["presence"], "unavailable");
    second.accept();
}
