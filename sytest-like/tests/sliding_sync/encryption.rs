//! Messages to devices, device lists and counts of keys.

use super::slider::{Slider, named};
use sytest_like::{Response, Server, User, Value, json, path, unique};

fn with(user: &User, extensions: Value) -> Slider {
    Slider::new(user, json!({"extensions": extensions}))
}

async fn tell(from: &User, to: &User, number: usize) {
    let path = path!("/v3/sendToDevice/org.example.hint/{}", unique("txn"));
    let body = json!({"messages": {to.id.as_str(): {to.device_id.as_str(): {"number": number}}}});
    from.put(&path, body).await.expect_ok();
}

fn numbers(answer: &Response) -> Vec<i64> {
    let events = answer.json["extensions"]["to_device"]["events"].as_array().cloned().unwrap_or_default();
    events.iter().filter_map(|event| event["content"]["number"].as_i64()).collect()
}

fn next_batch(answer: &Response) -> Value {
    answer.at("/extensions/to_device/next_batch").clone()
}

/// Messages come in order and again until the client confirms them by their token, on a new connection too.
/// spec: client-server-api/#send-to-device-messaging
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn messages_come_until_confirmed() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let mut slider = with(&bob, json!({"to_device": {"enabled": true}}));
    assert!(numbers(&slider.next(0).await).is_empty());
    for number in 0..3 {
        tell(&alice, &bob, number).await;
    }
    assert_eq!(numbers(&slider.peek().await), [0, 1, 2]);
    let answer = slider.next(0).await;
    assert_eq!(numbers(&answer), [0, 1, 2]);
    let mut again = with(&bob, json!({"to_device": {"enabled": true}}));
    assert_eq!(numbers(&again.next(0).await), [0, 1, 2]);
    again.body["extensions"]["to_device"]["since"] = next_batch(&answer);
    assert!(numbers(&again.next(0).await).is_empty());
    let mut fresh = with(&bob, json!({"to_device": {"enabled": true}}));
    assert!(numbers(&fresh.next(0).await).is_empty(), "what was confirmed is gone");
}

/// A message wakes a long poll, and a limit leaves the rest for the next request.
/// spec: client-server-api/#send-to-device-messaging
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn messages_wake_and_are_limited() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let mut slider = with(&bob, json!({"to_device": {"enabled": true, "limit": 2}}));
    let answer = slider.next(0).await;
    slider.body["extensions"]["to_device"]["since"] = next_batch(&answer);
    let (answer, ()) = tokio::join!(slider.next(30_000), tell(&alice, &bob, 0));
    assert_eq!(numbers(&answer), [0]);
    slider.body["extensions"]["to_device"]["since"] = next_batch(&answer);
    for number in 1..6 {
        tell(&alice, &bob, number).await;
    }
    let mut heard = Vec::new();
    while heard.len() < 5 {
        let answer = slider.next(5_000).await;
        assert!(numbers(&answer).len() <= 2, "{answer}");
        heard.extend(numbers(&answer));
        slider.body["extensions"]["to_device"]["since"] = next_batch(&answer);
    }
    assert_eq!(heard, [1, 2, 3, 4, 5]);
    for since in [json!("nonsense"), json!(5)] {
        slider.body["extensions"]["to_device"]["since"] = since;
        slider.request(0).await.expect_refused();
    }
}

/// Messages survive a restart of the server.
/// spec: client-server-api/#send-to-device-messaging
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn messages_survive_a_restart() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let mut slider = with(&bob, json!({"to_device": {"enabled": true}}));
    slider.next(0).await;
    tell(&alice, &bob, 7).await;
    server.restart().await;
    assert_eq!(numbers(&slider.next(0).await), [7]);
}

/// Counts of keys come with every answer; who shares no room any longer is told of.
/// spec: client-server-api/#e2e-extensions-to-sync
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn keys_and_device_lists() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = named(&alice, "Encrypted").await;
    bob.join(&room).await;
    let mut slider = with(&bob, json!({"e2ee": {"enabled": true}}));
    let answer = slider.next(0).await;
    assert_eq!(*answer.at("/extensions/e2ee/device_one_time_keys_count/signed_curve25519"), json!(0));
    assert_eq!(*answer.at("/extensions/e2ee/device_unused_fallback_key_types"), json!([]));
    let left = |answer: &Response| {
        let left = answer.json["extensions"]["e2ee"]["device_lists"]["left"].as_array().cloned();
        left.filter(|left| left.contains(&json!(alice.id)))
    };
    alice.leave(&room).await;
    slider.until("alice has left", left).await;
}
