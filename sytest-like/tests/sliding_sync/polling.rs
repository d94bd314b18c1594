//! Waiting for news.

use std::time::{Duration, Instant};

use super::slider::{Slider, count, has, named, room, timeline};
use sytest_like::{Server, json, path};

/// A long poll is woken by an event.
/// spec: client-server-api/#syncing
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn event_wakes_a_poll() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let id = named(&alice, "Awake").await;
    bob.join(&id).await;
    let mut slider = Slider::listing(&bob, 9, 10);
    slider.next(0).await;
    let begun = Instant::now();
    let (answer, sent) = tokio::join!(slider.next(30_000), alice.send_text(&id, "wake up"));
    assert_eq!(timeline(room(&answer, &id)), [sent]);
    assert!(begun.elapsed() < Duration::from_secs(20));
}

/// Without news a poll ends when its time is up, and the position is as good as before.
/// spec: client-server-api/#syncing
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn quiet_poll_ends_in_time() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let id = named(&alice, "Quiet").await;
    let mut slider = Slider::listing(&alice, 9, 10);
    slider.next(0).await;
    let begun = Instant::now();
    let answer = slider.next(300).await;
    assert!(count(&answer) == 0 && begun.elapsed() >= Duration::from_millis(300), "{answer}");
    answer.has("/lists/all/count", 1);
    let sent = alice.send_text(&id, "after the poll").await;
    let answer = slider.next(0).await;
    assert_eq!(timeline(room(&answer, &id)), [sent]);
}

/// The first request of a connection never waits.
/// spec: client-server-api/#syncing
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn first_request_does_not_wait() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let begun = Instant::now();
    let answer = Slider::listing(&alice, 9, 10).next(30_000).await;
    assert!(count(&answer) == 0 && begun.elapsed() < Duration::from_secs(20), "{answer}");
}

/// News that the lists leave out does not end a poll.
/// spec: client-server-api/#syncing
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn unwanted_news_does_not_wake() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let plain = named(&alice, "Plain").await;
    let mut slider = Slider::listing(&alice, 9, 10);
    slider.body["lists"]["all"]["filters"] = json!({"is_dm": true});
    slider.next(0).await;
    let (answer, _) = tokio::join!(slider.next(1_000), alice.send_text(&plain, "no direct chat"));
    assert!(count(&answer) == 0, "{answer}");
    // It becomes wanted: the account data says so.
    let direct = path!("/v3/user/{}/account_data/m.direct", alice.id);
    let set = alice.put(&direct, json!({"@bob:example.org": [plain]}));
    let (answer, _) = tokio::join!(slider.next(30_000), set);
    assert!(has(&answer, &plain), "{answer}");
}
