//! Redactions and reactions.

use hs_rooms::{
    Intent, WriteError,
    send::{Redaction, SendError},
};
use ruma::{OwnedEventId, event_id};
use serde_json::json;

use crate::stage::{Stage, say};

fn redaction(event_id: &OwnedEventId) -> Redaction {
    Redaction { redacts: event_id.clone(), reason: None }
}

#[tokio::test]
async fn one_redacts_ones_own_events_and_with_power_those_of_others() {
    let stage = Stage::new().await;
    let (alice, bob) = (stage.person("alice").await, stage.person("bob").await);
    let room_id = stage.public_room(&alice).await;
    stage.actions.join((&*room_id).into(), &bob, None).await.expect("a public room");
    let of_alice = say(&stage.actions, &room_id, &alice, "a").await.expect("a message");
    let of_bob = say(&stage.actions, &room_id, &bob, "b").await.expect("a message");
    let second = say(&stage.actions, &room_id, &bob, "c").await.expect("a message");

    let without_power = stage.actions.redact(&room_id, bob.clone(), redaction(&of_alice), None).await;
    let own = stage.actions.redact(&room_id, bob.clone(), redaction(&of_bob), None).await;
    let with_power = stage.actions.redact(&room_id, alice.clone(), redaction(&second), None).await;
    let unknown = Redaction { redacts: event_id!("$unknown").to_owned(), reason: None };
    let unknown = stage.actions.redact(&room_id, alice, unknown, None).await;

    assert!(matches!(without_power, Err(SendError::Write(WriteError::Forbidden(_)))), "{without_power:?}");
    assert!(own.is_ok() && with_power.is_ok(), "{own:?} {with_power:?}");
    assert!(matches!(unknown, Err(SendError::Write(WriteError::UnknownRedactionTarget))), "{unknown:?}");
}

#[tokio::test]
async fn the_create_event_is_never_redacted() {
    let stage = Stage::new().await;
    let alice = stage.person("alice").await;
    let room_id = stage.public_room(&alice).await;
    let create = stage.state_event(&room_id, "m.room.create", "").await.expect("a create event");

    let redacted = stage.actions.redact(&room_id, alice, redaction(&create.event_id), None).await;

    assert!(matches!(redacted, Err(SendError::Write(WriteError::Forbidden(_)))), "{redacted:?}");
}

#[tokio::test]
async fn state_that_was_redacted_can_be_set_again() {
    let stage = Stage::new().await;
    let alice = stage.person("alice").await;
    let room_id = stage.public_room(&alice).await;
    let topic = || Intent::state("m.room.topic", "", r#"{"topic":"t"}"#);
    let first = stage.actions.send_state(&room_id, alice.clone(), topic(), None).await.expect("an admin");
    let same = stage.actions.send_state(&room_id, alice.clone(), topic(), None).await.expect("an admin");
    stage.actions.redact(&room_id, alice.clone(), redaction(&first), None).await.expect("an own event");

    let again = stage.actions.send_state(&room_id, alice, topic(), None).await.expect("an admin");

    assert_eq!(first, same);
    assert_ne!(first, again);
}

#[tokio::test]
async fn a_reaction_counts_once_until_it_is_taken_back() {
    let stage = Stage::new().await;
    let alice = stage.person("alice").await;
    let room_id = stage.public_room(&alice).await;
    let parent = say(&stage.actions, &room_id, &alice, "a").await.expect("a message");
    let relates_to = json!({ "rel_type": "m.annotation", "event_id": parent, "key": "👍" });
    let react = || {
        let content = json!({ "m.relates_to": relates_to }).to_string();
        stage.actions.send_message(&room_id, alice.clone(), Intent::message("m.reaction", content), None)
    };

    let first = react().await.expect("a first reaction");
    let second = react().await;
    stage.actions.redact(&room_id, alice.clone(), redaction(&first), None).await.expect("an own event");
    let third = react().await;

    assert!(matches!(second, Err(SendError::Write(WriteError::DuplicateAnnotation))), "{second:?}");
    assert!(third.is_ok(), "{third:?}");
}
