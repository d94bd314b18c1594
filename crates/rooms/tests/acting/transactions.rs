//! Transaction ids.

use futures_util::future::join_all;
use hs_model::ids::DeviceNid;
use hs_rooms::{
    intent::{redaction_transaction, send_transaction},
    send::Redaction,
};
use ruma::TransactionId;

use crate::stage::{Stage, message};

const PHONE: DeviceNid = DeviceNid(1);
const LAPTOP: DeviceNid = DeviceNid(2);

#[tokio::test]
async fn a_transaction_is_sent_once_even_when_the_server_restarts_in_between() {
    let stage = Stage::new().await;
    let alice = stage.person("alice").await;
    let room_id = stage.public_room(&alice).await;
    let transaction = || Some(send_transaction(PHONE, <&TransactionId>::from("m1")));

    let first = stage.actions.send_message(&room_id, alice.clone(), message("a"), transaction()).await;
    let again = stage.actions.send_message(&room_id, alice.clone(), message("b"), transaction()).await;
    let (_server, restarted) = stage.replica().await;
    let later = restarted.send_message(&room_id, alice.clone(), message("c"), transaction()).await;

    let first = first.expect("an allowed message");
    assert_eq!(again.expect("the same"), first);
    assert_eq!(later.expect("the same"), first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_sent_many_times_at_once_is_one_event() {
    let stage = Stage::new().await;
    let (_server, other) = stage.replica().await;
    let alice = stage.person("alice").await;
    let room_id = stage.public_room(&alice).await;
    let before = stage.head(&room_id).await;

    let sent = join_all((0..20).map(|i| {
        let actions = if i % 2 == 0 { &stage.actions } else { &other };
        let transaction = Some(send_transaction(PHONE, <&TransactionId>::from("m1")));
        actions.send_message(&room_id, alice.clone(), message("a"), transaction)
    }))
    .await;

    let ids: Vec<_> = sent.into_iter().map(|sent| sent.expect("an allowed message")).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(stage.head(&room_id).await.depth, before.depth + 1);
}

#[tokio::test]
async fn transaction_ids_count_for_one_device_and_one_endpoint() {
    let stage = Stage::new().await;
    let alice = stage.person("alice").await;
    let room_id = stage.public_room(&alice).await;
    let id = <&TransactionId>::from("m1");

    let phone = stage
        .actions
        .send_message(&room_id, alice.clone(), message("a"), Some(send_transaction(PHONE, id)))
        .await
        .expect("an allowed message");
    let laptop = stage
        .actions
        .send_message(&room_id, alice.clone(), message("a"), Some(send_transaction(LAPTOP, id)))
        .await
        .expect("an allowed message");
    let redaction = Redaction { redacts: phone.clone(), reason: None };
    let redacted = stage
        .actions
        .redact(&room_id, alice.clone(), redaction, Some(redaction_transaction(PHONE, id)))
        .await
        .expect("an own message");

    assert_ne!(phone, laptop);
    assert_ne!(phone, redacted);
}
