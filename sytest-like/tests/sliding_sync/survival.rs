//! Restarts and replicas.

use super::slider::{Slider, count, has, named, room, slot, state, timeline};
use sytest_like::{Server, ServerOptions, json};

/// A connection goes on after a restart where it stood: nothing missed, nothing twice, rooms that fell behind included.
/// spec: client-server-api/#syncing
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn connection_survives_a_restart() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let (one, two) = (named(&alice, "one").await, named(&alice, "two").await);
    let mut slider = Slider::listing(&alice, 9, 10);
    assert_eq!(count(&slider.next(0).await), 2);
    slider.body["lists"]["all"]["ranges"] = json!([[0, 0]]);
    let missed = alice.send_text(&one, "missed").await;
    alice.send_text(&two, "seen").await;
    assert_eq!(count(&slider.next(0).await), 1);
    let before = alice.send_text(&two, "before").await;
    server.restart().await;
    let after = alice.send_text(&two, "after").await;
    let answer = slider.next(0).await;
    assert_eq!(timeline(room(&answer, &two)), [before, after]);
    assert!(room(&answer, &two).get("initial").is_none() && count(&answer) == 1, "{answer}");
    slider.body["lists"]["all"]["ranges"] = json!([[0, 9]]);
    let answer = slider.next(0).await;
    assert_eq!(timeline(room(&answer, &one)), [missed]);
    assert_eq!(count(&answer), 1, "{answer}");
}

/// The same after `kill -9`.
/// spec: client-server-api/#syncing
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn connection_survives_a_kill() {
    let server = Server::start().await;
    server.expect_log("");
    let alice = server.register("alice").await;
    let id = named(&alice, "Killed").await;
    let mut slider = Slider::listing(&alice, 9, 50);
    slider.next(0).await;
    let (mut sent, mut heard) = (Vec::new(), Vec::new());
    for round in 0..3 {
        sent.push(alice.send_text(&id, &format!("round {round}")).await);
        server.kill9();
        server.start_again().await;
        while heard.len() < sent.len() {
            let answer = slider.next(5_000).await;
            heard.extend(timeline(&answer.json["rooms"][&id]));
        }
    }
    assert_eq!(heard, sent);
}

/// Any replica answers the next request of a connection, and what is sent at one is heard at the other.
/// spec: client-server-api/#syncing
/// not on synapse: it has no equal replicas
#[tokio::test]
async fn connection_moves_between_replicas() {
    let replicas = ServerOptions::default().start_replicas(2).await;
    let alice = replicas[0].register("alice").await;
    let (one, two) = (named(&alice, "one").await, named(&alice, "two").await);
    let mut slider = Slider::listing(&alice, 0, 20);
    assert!(has(&slider.next(0).await, &two));
    let mut heard = Vec::new();
    let mut sent = Vec::new();
    for round in 0..10 {
        slider = slider.at(&replicas[(round + 1) % 2]);
        let writer = replicas[round % 2].as_seen_here(&alice);
        let text = format!("round {round}");
        let write = writer.send_text(&two, &text);
        let (answer, event) = tokio::join!(slider.next(30_000), write);
        sent.push(event);
        heard.extend(timeline(room(&answer, &two)));
        assert!(!has(&answer, &one), "{answer}");
    }
    assert_eq!(heard, sent);
    slider.body["lists"]["all"]["ranges"] = json!([[0, 9]]);
    let answer = slider.at(&replicas[1]).next(0).await;
    assert!(has(&answer, &one) && count(&answer) == 1, "{answer}");
    assert_eq!(state(room(&answer, &one)), [slot("m.room.name", "")]);
}

/// Order and filters follow what other replicas write.
/// spec: client-server-api/#syncing
/// not on synapse: it has no equal replicas
#[tokio::test]
async fn lists_follow_other_replicas() {
    let replicas = ServerOptions::default().start_replicas(2).await;
    let alice = replicas[0].register("alice").await;
    let there = replicas[1].as_seen_here(&alice);
    let (one, two) = (named(&alice, "one").await, named(&alice, "two").await);
    let mut slider = Slider::listing(&alice, 0, 1);
    assert!(has(&slider.next(0).await, &two));
    there.send_text(&one, "now first").await;
    assert!(has(&slider.next(30_000).await, &one));
    let content = json!({"algorithm": "m.megolm.v1.aes-sha2"});
    there.set_state(&two, "m.room.encryption", "", content).await;
    let mut encrypted = Slider::listing(&alice, 9, 1);
    encrypted.body["lists"]["all"]["filters"] = json!({"is_encrypted": true});
    encrypted.body["conn_id"] = json!("encrypted");
    let answer = encrypted.next(0).await;
    assert!(has(&answer, &two) && count(&answer) == 1, "{answer}");
}
