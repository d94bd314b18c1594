//! Connections and their positions.

use super::slider::{Slider, UNSTABLE, count, has, named, room, timeline};
use sytest_like::{Server, json};

/// A request that is repeated is answered again, with nothing missing.
/// spec: client-server-api/#syncing
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn repeated_request_loses_nothing() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let (one, two) = (named(&alice, "one").await, named(&alice, "two").await);
    let mut slider = Slider::listing(&alice, 0, 10);
    assert!(has(&slider.next(0).await, &two));
    let sent = alice.send_text(&one, "hello").await;
    for _ in 0..3 {
        let lost = slider.peek().await;
        assert_eq!(timeline(room(&lost, &one)).last(), Some(&sent));
        assert_eq!(room(&lost, &one)["initial"], true, "{lost}");
    }
    // Other parameters, the same position.
    slider.body["lists"]["all"]["ranges"] = json!([[0, 9]]);
    let answer = slider.next(0).await;
    assert!(has(&answer, &one) && count(&answer) == 1, "{answer}");
    assert_eq!(count(&slider.next(0).await), 0);
}

/// A repeated request for live news is answered again, too, with what came in between.
/// spec: client-server-api/#syncing
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn repeated_request_for_news() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let id = named(&alice, "Live").await;
    let mut slider = Slider::listing(&alice, 9, 10);
    slider.next(0).await;
    let first = alice.send_text(&id, "first").await;
    assert_eq!(timeline(room(&slider.peek().await, &id)), [first.clone()]);
    let second = alice.send_text(&id, "second").await;
    let answer = slider.next(0).await;
    assert_eq!(timeline(room(&answer, &id)), [first, second]);
}

/// A connection that begins anew makes the positions of the old one unknown.
/// spec: client-server-api/#syncing
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn new_connection_ends_the_old_one() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let id = named(&alice, "Anew").await;
    let mut old = Slider::listing(&alice, 9, 10);
    old.next(0).await;
    let mut new = Slider::listing(&alice, 9, 10);
    assert_eq!(room(&new.next(0).await, &id)["initial"], true);
    old.request(0).await.expect_err(400, "M_UNKNOWN_POS");
    assert_eq!(count(&new.next(0).await), 0);
}

/// Connections with names of their own do not meet.
/// spec: client-server-api/#syncing
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn named_connections_are_apart() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let id = named(&alice, "Apart").await;
    let mut sliders = ["one", "two", ""].map(|name| {
        let mut slider = Slider::listing(&alice, 9, 10);
        slider.body["conn_id"] = json!(name);
        slider
    });
    for slider in &mut sliders {
        assert_eq!(room(&slider.next(0).await, &id)["initial"], true);
    }
    let sent = alice.send_text(&id, "to all").await;
    for slider in &mut sliders {
        assert_eq!(timeline(room(&slider.next(5_000).await, &id)), [sent.clone()]);
    }
    // The position of one is nothing to the other.
    let [one, mut two, _] = sliders;
    two.pos = one.pos;
    two.request(0).await.expect_err(400, "M_UNKNOWN_POS");
}

/// A position is good for its own device alone.
/// spec: client-server-api/#syncing
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn position_of_another_device_is_unknown() {
    let server = Server::shared().await;
    let (alice, mallory) = (server.register("alice").await, server.register("mallory").await);
    named(&alice, "Private").await;
    let mut slider = Slider::listing(&alice, 9, 10);
    slider.next(0).await;
    for thief in [mallory, alice.login().await] {
        let stolen = Slider { user: thief, ..slider.clone() };
        stolen.request(0).await.expect_err(400, "M_UNKNOWN_POS");
    }
}

/// Positions that were never given out.
/// spec: client-server-api/#syncing
/// not on synapse: it refuses some of them with another code
#[tokio::test]
async fn invented_positions_are_unknown() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let mut slider = Slider::listing(&alice, 9, 10);
    let pos = slider.next(0).await.str("pos").to_owned();
    let serial = pos.split('-').next().expect("a part").to_owned();
    let invented = [
        String::new(),
        "nonsense".to_owned(),
        "s1".to_owned(),
        format!("{serial}-s0"),
        format!("{serial}-s-5"),
        format!("{serial}-s9223372036854775807"),
        format!("{serial}-s99999999999999999999"),
        "c9223372036854775807-s1".to_owned(),
        "c0-s1".to_owned(),
    ];
    for pos in invented {
        let request = alice.post(UNSTABLE, slider.body.clone()).query("pos", &pos);
        let answer = request.await;
        assert!(answer.json["errcode"] == "M_UNKNOWN_POS" && answer.status == 400, "{pos}: {answer}");
    }
    slider.next(0).await;
}

/// A device cannot fill the database with connections: old ones end.
/// spec: client-server-api/#syncing
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn connections_of_a_device_are_limited() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let mut first = Slider::listing(&alice, 9, 10);
    first.next(0).await;
    for number in 0..40 {
        let mut slider = Slider::listing(&alice, 9, 10);
        slider.body["conn_id"] = json!(format!("connection {number}"));
        slider.next(0).await;
    }
    server.restart().await;
    first.request(0).await.expect_err(400, "M_UNKNOWN_POS");
}
