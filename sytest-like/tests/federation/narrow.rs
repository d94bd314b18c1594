//! Servers behind something that takes small requests only.

use super::ground::Shared;
use sytest_like::fake::{Received, Reply};
use sytest_like::json;

/// As a proxy answers, which knows nothing of Matrix.
fn too_large() -> Reply {
    Reply::bytes(413, "text/html", "<html>413 Request Entity Too Large</html>")
}

fn bodies(received: &Received) -> Vec<String> {
    let pdus = received.pdus();
    pdus.iter().filter_map(|pdu| pdu["content"]["body"].as_str().map(str::to_owned)).collect()
}

/// Alice says this while the other server is away, which then comes back and hears of it.
async fn say_in_absence(shared: &Shared, texts: &[&str]) {
    shared.fake.go_down();
    for text in texts {
        shared.alice.send_text(shared.room_id(), text).await;
    }
    shared.fake.forget();
    shared.fake.come_back().await;
    shared.fake.send_edu(shared.server.name(), "org.example.hello", json!({})).await;
}

/// What is too large for a server as a whole is sent in parts, in order.
/// spec: server-server-api/#transactions
/// covers: PUT /_matrix/federation/v1/send/{txnId}
/// not on synapse: it tries the same again
#[tokio::test]
async fn transactions_that_are_too_large_are_sent_in_parts() {
    let shared = Shared::start().await;
    let is_too_large = |received: &Received| received.pdus().len() > 1;
    shared.fake.answer("send", move |received| is_too_large(received).then(too_large));
    let texts = ["one", "two", "three", "four", "five"];

    say_in_absence(&shared, &texts).await;

    shared.fake.wait_for_request("send", |received| bodies(received) == ["five"]).await;
    let taken = shared.fake.received("send").into_iter().filter(|received| !is_too_large(received));
    let mut told: Vec<String> = taken.flat_map(|received| bodies(&received)).collect();
    told.dedup();
    assert_eq!(told, texts);
}

/// What is too large by itself does not hold up the rest.
/// spec: server-server-api/#transactions
/// covers: PUT /_matrix/federation/v1/send/{txnId}
/// not on synapse: it tries the same again
#[tokio::test]
async fn an_event_that_is_too_large_does_not_hold_up_the_rest() {
    let shared = Shared::start().await;
    shared.server.expect_log("too large");
    let is_too_large = |received: &Received| bodies(received).contains(&"long".to_owned());
    shared.fake.answer("send", move |received| is_too_large(received).then(too_large));

    say_in_absence(&shared, &["one", "long", "two"]).await;
    shared.fake.wait_for_request("send", |received| bodies(received) == ["two"]).await;
    let last = shared.alice.send_text(shared.room_id(), "last").await;

    shared.fake.wait_for_event(shared.room_id(), &last).await;
    let taken = shared.fake.received("send").into_iter().filter(|received| !is_too_large(received));
    let mut told: Vec<String> = taken.flat_map(|received| bodies(&received)).collect();
    told.dedup();
    assert_eq!(told, ["one", "two", "last"]);
}
