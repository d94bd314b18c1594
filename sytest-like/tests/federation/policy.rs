//! Policy servers: the scripted server checks the events of a room of the server under test.

use std::sync::Arc;

use super::ground::{Shared, ids_of, read_back, with_fake};
use sytest_like::fake::{Event, Key, Reply, Version};
use sytest_like::{Response, json, path, unique};

const KEY_ID: &str = "ed25519:policy_server";
const SIGN: &str = "policy/v1/sign";

fn policy_key() -> Key {
    Key::from_seed(KEY_ID, "policy")
}

/// Has the scripted server sign what it is asked to, unless the body of the event says "spam".
fn checks(shared: &Shared, version: &'static str) {
    let name = shared.fake.name().to_owned();
    shared.fake.answer(SIGN, move |received| {
        if received.body["content"]["body"] == "spam" {
            let body = json!({"errcode": "M_FORBIDDEN", "error": "This smells of spam"});
            return Some(Reply::status(400, body));
        }
        let mut event = received.body.clone();
        policy_key().add_event_signature(&mut event, &name, Version::parse(version));
        let signature = event["signatures"][&name][KEY_ID].clone();
        Some(Reply::json(json!({name.clone(): {KEY_ID: signature}})))
    });
}

/// Makes the scripted server the policy server of the room.
async fn choose(shared: &Shared) {
    let content = json!({"via": shared.fake.name(), "public_keys": {"ed25519": policy_key().public()}});
    shared.set_and_hear("m.room.policy", content).await;
}

async fn say(shared: &Shared, body: &str) -> Response {
    let path = path!("/v3/rooms/{}/send/m.room.message/{}", shared.room_id(), unique("txn"));
    shared.alice.put(&path, json!({"msgtype": "m.text", "body": body})).await
}

/// The policy server signs what is sent, and what it refuses is not sent; the client is told why.
/// spec: server-server-api/#policy-servers
/// covers: POST /_matrix/policy/v1/sign
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
/// not on synapse: it speaks an earlier form of it
#[tokio::test]
async fn events_are_signed_or_not_sent() {
    let shared = Shared::start().await;
    checks(&shared, "12");
    choose(&shared).await;
    assert!(shared.fake.received(SIGN).is_empty(), "choosing a policy server needs no signature");
    let sent = say(&shared, "hello").await.expect_ok().str("event_id").to_owned();
    let pdu = shared.fake.wait_for_pdu("hello", |pdu| pdu["content"]["body"] == "hello").await;
    assert!(pdu["signatures"][shared.fake.name()][KEY_ID].is_string(), "{pdu}");
    assert!(pdu["signatures"][shared.server.name()].is_object(), "{pdu}");
    let refused = say(&shared, "spam").await.expect_err(400, "M_FORBIDDEN");
    assert_eq!(refused.str("error"), "This smells of spam");
    let messages =
        shared.alice.get(&path!("/v3/rooms/{}/messages", shared.room_id())).query("dir", "b").await;
    let messages = messages.expect_ok();
    assert_eq!(messages.array("chunk")[0]["event_id"], sent.as_str(), "{messages}");
    // State and memberships are checked as well.
    shared.alice.set_state(shared.room_id(), "m.room.topic", "", json!({"topic": "x"})).await;
    let asked: Vec<_> =
        shared.fake.received(SIGN).iter().map(|received| received.body["type"].clone()).collect();
    assert_eq!(asked, ["m.room.message", "m.room.message", "m.room.topic"]);
}

/// Without an answer nothing is sent, until the room does without its policy server.
/// spec: server-server-api/#policy-servers
/// covers: POST /_matrix/policy/v1/sign
/// not on synapse: it speaks an earlier form of it
#[tokio::test]
async fn room_does_without_a_policy_server_that_fails() {
    let shared = Shared::start().await;
    let name = shared.fake.name().to_owned();
    shared.fake.always(SIGN, Reply::json(json!({name: {KEY_ID: "bm90aGluZw"}})));
    choose(&shared).await;
    say(&shared, "hello").await.expect_status(503);
    shared.alice.set_state(shared.room_id(), "m.room.policy", "", json!({})).await;
    say(&shared, "hello").await.expect_ok();
}

/// What comes from elsewhere without a signature is shown only when the policy server signs it after all.
/// spec: server-server-api/#validating-policy-server-signatures
/// covers: PUT /_matrix/federation/v1/send/{txnId}
/// covers: POST /_matrix/policy/v1/sign
/// not on synapse: it speaks an earlier form of it
#[tokio::test]
async fn unsigned_events_from_elsewhere_are_asked_about() {
    let shared = Shared::start().await;
    checks(&shared, "12");
    choose(&shared).await;
    let spam = shared.room.message(&shared.bob, "spam").build();
    shared.fake.send_pdus(shared.server.name(), &[&spam]).await;
    let good = shared.room.say(&shared.bob, "good").await;
    let heard = shared.alice_hears(&good.id).await;
    assert!(heard.iter().all(|event| event["event_id"] != spam.id.as_str()), "{heard:?}");
    shared.alice.get_event(shared.room_id(), &spam.id).await.expect_err(404, "M_NOT_FOUND");
    // What is signed already is not asked about.
    shared.fake.forget();
    let version = shared.room.version();
    let mut json = shared.room.message(&shared.bob, "signed").build().json;
    policy_key().add_event_signature(&mut json, shared.fake.name(), version);
    let signed = Event::new(json, version);
    shared.room.add(&signed);
    shared.room.send(&signed).await;
    shared.alice_hears(&signed.id).await;
    assert!(shared.fake.received(SIGN).is_empty());
}

/// A policy server counts only as long as one of its users is in the room.
/// spec: server-server-api/#determining-if-a-policy-server-is-enabled-in-a-room
/// covers: POST /_matrix/policy/v1/sign
/// not on synapse: it speaks an earlier form of it
#[tokio::test]
async fn policy_server_outside_the_room_does_not_count() {
    let shared = Shared::start().await;
    checks(&shared, "12");
    let other = json!({"via": "elsewhere.example", "public_keys": {"ed25519": policy_key().public()}});
    shared.set_and_hear("m.room.policy", other).await;
    say(&shared, "spam").await.expect_ok();
    choose(&shared).await;
    say(&shared, "spam").await.expect_err(400, "M_FORBIDDEN");
    shared.alice.membership(shared.room_id(), "kick", &shared.bob).await.expect_ok();
    say(&shared, "spam").await.expect_ok();
    assert_eq!(shared.fake.received(SIGN).len(), 2);
}

/// A policy server that does not answer holds up what it is to sign, and nothing else in the room.
/// spec: server-server-api/#asking-for-a-policy-server-signature-on-an-event
/// covers: POST /_matrix/policy/v1/sign
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
/// not on synapse: it speaks an earlier form of it
#[tokio::test]
async fn policy_server_that_hangs_holds_up_only_what_it_is_to_sign() {
    let shared = Arc::new(Shared::start().await);
    shared.fake.hang(SIGN);
    choose(&shared).await;
    let sending = tokio::spawn({
        let shared = shared.clone();
        async move { say(&shared, "hello").await }
    });
    shared.fake.wait_for_request(SIGN, |_| true).await;
    // What needs no signature goes through the same room meanwhile.
    shared.alice.set_state(shared.room_id(), "m.room.policy", "", json!({})).await;
    assert!(!sending.is_finished(), "the other request has waited for the policy server");
    sending.await.expect("no panic").expect_status(503);
}

/// The events of a transaction are asked about side by side, and taken in in their order.
/// spec: server-server-api/#validating-policy-server-signatures
/// covers: PUT /_matrix/federation/v1/send/{txnId}
/// covers: POST /_matrix/policy/v1/sign
/// not on synapse: it speaks an earlier form of it
#[tokio::test]
async fn events_of_a_transaction_are_asked_about_side_by_side() {
    let shared = Shared::start().await;
    choose(&shared).await;
    let all_here = Arc::new(tokio::sync::Barrier::new(5));
    let name = shared.fake.name().to_owned();
    shared.fake.answer_async(SIGN, move |received| {
        let (all_here, name) = (all_here.clone(), name.clone());
        async move {
            all_here.wait().await;
            let mut event = received.body.clone();
            policy_key().add_event_signature(&mut event, &name, Version::parse("12"));
            let signature = event["signatures"][&name][KEY_ID].clone();
            Some(Reply::json(json!({name: {KEY_ID: signature}})))
        }
    });
    let events: Vec<Event> =
        (0..5).map(|number| shared.room.add_message(&shared.bob, &format!("message {number}"))).collect();
    shared.fake.send_pdus(shared.server.name(), &events.iter().collect::<Vec<_>>()).await;
    let heard = ids_of(&shared.alice_hears(&events[4].id).await);
    let sent: Vec<&String> = events.iter().map(|event| &event.id).collect();
    let ours: Vec<&String> = heard.iter().filter(|id| sent.contains(id)).collect();
    assert_eq!(ours, sent);
}

/// A policy server that has just failed is left alone for a moment: what it would have to sign fails at once.
/// spec: server-server-api/#asking-for-a-policy-server-signature-on-an-event
/// covers: POST /_matrix/policy/v1/sign
/// not on synapse: it speaks an earlier form of it
#[tokio::test]
async fn policy_server_that_fails_is_left_alone_for_a_moment() {
    let shared = Shared::start().await;
    shared.fake.always(SIGN, Reply::error(500, "M_UNKNOWN"));
    choose(&shared).await;
    say(&shared, "hello").await.expect_status(503);
    let asked = shared.fake.received(SIGN).len();
    say(&shared, "hello").await.expect_status(503);
    assert_eq!(shared.fake.received(SIGN).len(), asked, "it was not asked again");
}

/// A request that is repeated is one event, though it took the policy server to make it.
/// spec: client-server-api/#transaction-identifiers
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
/// not on synapse: it speaks an earlier form of it
#[tokio::test]
async fn repeated_requests_are_one_event_with_a_policy_server() {
    let shared = Shared::start().await;
    checks(&shared, "12");
    choose(&shared).await;
    let path = path!("/v3/rooms/{}/send/m.room.message/{}", shared.room_id(), unique("txn"));
    let send = || shared.alice.put(&path, json!({"msgtype": "m.text", "body": "once"}));
    let (one, two) = tokio::join!(async { send().await }, async { send().await });
    let one = one.expect_ok().str("event_id").to_owned();
    assert_eq!(two.expect_ok().str("event_id"), one);
    assert_eq!(send().await.expect_ok().str("event_id"), one);
    let heard = shared.alice_hears(&one).await;
    let own = heard.iter().find(|event| event["event_id"] == one.as_str()).expect("it was heard");
    assert!(own["unsigned"]["transaction_id"].is_string(), "{own}");
    assert_eq!(shared.read_back(&shared.alice).await, ["once"]);
}

/// The policy server is not asked about drafts, which are nobody's events yet; it is once they are handed in.
/// spec: server-server-api/#asking-for-a-policy-server-signature-on-an-event
/// covers: GET /_matrix/federation/v1/make_join/{roomId}/{userId}
/// covers: PUT /_matrix/federation/v2/send_join/{roomId}/{eventId}
/// covers: GET /_matrix/federation/v1/make_leave/{roomId}/{userId}
/// not on synapse: it speaks an earlier form of it
#[tokio::test]
async fn drafts_are_not_asked_about() {
    let shared = Shared::start().await;
    checks(&shared, "12");
    choose(&shared).await;
    let (server, carol) = (shared.server.name(), shared.fake.user("carol"));
    shared.fake.make(server, "leave", shared.room_id(), &shared.bob).await;
    let (template, version) = shared.fake.make(server, "join", shared.room_id(), &carol).await;
    assert!(shared.fake.received(SIGN).is_empty(), "drafts need no signature");
    let join = shared.fake.seal_template(template, version);
    shared.fake.try_submit(server, "join", shared.room_id(), &join).await.expect_ok();
    let asked: Vec<_> = shared.fake.received(SIGN).iter().map(|asked| asked.body["type"].clone()).collect();
    assert_eq!(asked, ["m.room.member"]);
    // What it refuses does not come in.
    shared.fake.always(SIGN, Reply::error(400, "M_FORBIDDEN"));
    let (template, version) =
        shared.fake.make(server, "join", shared.room_id(), &shared.fake.user("dave")).await;
    let join = shared.fake.seal_template(template, version);
    shared.fake.try_submit(server, "join", shared.room_id(), &join).await.expect_err(403, "M_FORBIDDEN");
}

/// History that is fetched is not put before the policy server, which may not be what the room had when it was made.
/// spec: server-server-api/#validating-policy-server-signatures
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
/// covers: POST /_matrix/policy/v1/sign
/// not on synapse: it speaks an earlier form of it
#[tokio::test]
async fn history_is_not_asked_about() {
    let (server, fake) = with_fake().await;
    let bob = fake.user("bob");
    let room = fake.create_room("12", &bob);
    for number in 0..5 {
        room.add_message(&bob, &format!("before {number}"));
    }
    let content = json!({"via": fake.name(), "public_keys": {"ed25519": policy_key().public()}});
    room.add_state("m.room.policy", "", &bob, content);
    fake.always(SIGN, Reply::error(400, "M_FORBIDDEN"));
    let alice = server.register("alice").await;
    let join = path!("/v3/join/{}", room.id());
    alice.post(&join, json!({})).query("via", fake.name()).await.expect_ok();
    let read = read_back(&alice, room.id()).await;
    assert_eq!(read, ["before 4", "before 3", "before 2", "before 1", "before 0"]);
    assert!(fake.received(SIGN).is_empty(), "history was asked about");
}

/// A server sends its transactions one at a time; of those that do not, some have to wait, and more are told to come again.
/// spec: server-server-api/#transactions
/// covers: PUT /_matrix/federation/v1/send/{txnId}
/// not on synapse: it speaks an earlier form of it
#[tokio::test]
async fn few_transactions_of_a_server_wait_for_their_turn() {
    let shared = Arc::new(Shared::start().await);
    choose(&shared).await;
    // The first one takes until the policy server has answered.
    let released = tokio::sync::watch::Sender::new(false);
    let waiting = released.subscribe();
    shared.fake.answer_async(SIGN, move |_| {
        let mut waiting = waiting.clone();
        async move {
            // An error means that the case is over.
            let _ = waiting.wait_for(|released| *released).await;
            Some(Reply::error(400, "M_FORBIDDEN"))
        }
    });
    let events: Vec<Event> =
        (0..5).map(|number| shared.room.message(&shared.bob, &format!("{number}")).build()).collect();
    let mut sending = tokio::task::JoinSet::new();
    for event in events {
        let shared = shared.clone();
        sending.spawn(async move { shared.fake.transaction(shared.server.name(), &[event.json], &[]).await });
    }
    let refused = sending.join_next().await.expect("five are sent").expect("no panic");
    refused.expect_err(429, "M_LIMIT_EXCEEDED");
    released.send_replace(true);
    for answer in sending.join_all().await {
        answer.expect_ok();
    }
}
