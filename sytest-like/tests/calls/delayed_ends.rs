//! Delayed events that end in another way, and what is refused.

use super::delayed::{LATER, UNSTABLE, act, list, look_up, schedule, scheduled, scheduled_state};
use sytest_like::{Server, ServerOptions, json, path, unique};

/// A cancelled event is never sent, and what contradicts that is refused.
/// spec: none (MSC4140)
/// not on synapse: it has another form of it
#[tokio::test]
async fn cancelled_event_stays_unsent() {
    let alice = Server::shared().await.register("alice").await;
    let room = alice.create_public_room().await;
    let delay_id = scheduled(&alice, &room, LATER, "never").await;
    act(&alice, &delay_id, "cancel").await.expect_ok();
    act(&alice, &delay_id, "cancel").await.expect_ok();
    for action in ["send", "restart"] {
        act(&alice, &delay_id, action).await.expect_err(409, "M_UNKNOWN");
    }
    let entry = look_up(&alice, &delay_id).await.expect_ok();
    entry.expect_absent("event_id").expect_absent("error").at("finalised_ts");
    assert!(list(&alice).await.is_empty());
}

/// An event that may not be sent when its time comes fails, and its sender can look up why; sent by hand, it is refused
/// and stays scheduled.
/// spec: none (MSC4140)
/// not on synapse: it has another form of it
#[tokio::test]
async fn forbidden_event_fails() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = alice.create_public_room().await;
    bob.join(&room).await;
    let late = scheduled_state(&bob, &room, "x", LATER).await;
    act(&bob, &late, "send").await.expect_err(403, "M_FORBIDDEN");
    look_up(&bob, &late).await.expect_ok().expect_absent("finalised_ts");
    let soon = scheduled_state(&bob, &room, "y", 1).await;
    // What comes after it in the room is sent, so it has been tried by then.
    let message = scheduled(&bob, &room, 5, "after").await;
    super::delayed::hear(&bob, &room, "after").await;
    look_up(&bob, &message).await.expect_ok().at("event_id");
    let failed = look_up(&bob, &soon).await.expect_ok().has("/error/errcode", "M_FORBIDDEN");
    failed.expect_absent("event_id").at("finalised_ts");
    act(&bob, &soon, "cancel").await.expect_ok();
    act(&bob, &soon, "send").await.expect_err(409, "M_UNKNOWN");
}

/// A permission that came in the meantime counts.
/// spec: none (MSC4140)
/// not on synapse: it has another form of it
#[tokio::test]
async fn power_counts_at_the_time_of_sending() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let levels = json!({"users": {}, "events": {"org.example.presence": 50}});
    let body = json!({"preset": "public_chat", "power_level_content_override": levels});
    let room = alice.create_room(body).await;
    bob.join(&room).await;
    let delay_id = scheduled_state(&bob, &room, "x", LATER).await;
    let mut levels = alice.get_state(&room, "m.room.power_levels", "").await.expect_ok().json;
    levels["events"]["org.example.presence"] = json!(0);
    alice.set_state(&room, "m.room.power_levels", "", levels).await;
    act(&bob, &delay_id, "send").await.expect_ok();
    alice.get_state(&room, "org.example.presence", "x").await.expect_ok();
}

/// State that somebody else sets ends what was to overwrite it; one's own state does not.
/// spec: none (MSC4140)
/// not on synapse: it has another form of it
#[tokio::test]
async fn state_of_others_ends_delayed_state() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let levels = json!({"events": {"org.example.presence": 0}});
    let body = json!({"preset": "public_chat", "power_level_content_override": levels});
    let room = alice.create_room(body).await;
    bob.join(&room).await;
    let here = json!({"here": true});
    bob.set_state(&room, "org.example.presence", "one", here.clone()).await;
    let (one, two) =
        (scheduled_state(&bob, &room, "one", LATER).await, scheduled_state(&bob, &room, "two", LATER).await);
    bob.set_state(&room, "org.example.presence", "two", here.clone()).await;
    alice.set_state(&room, "org.example.presence", "one", json!({"here": "as alice says"})).await;
    assert_eq!(list(&bob).await, [two.clone()]);
    look_up(&bob, &one).await.expect_ok().expect_absent("event_id").at("error");
    act(&bob, &one, "send").await.expect_err(409, "M_UNKNOWN");
    act(&bob, &two, "send").await.expect_ok();
    let kept = alice.get_state(&room, "org.example.presence", "one").await.expect_ok();
    kept.has("here", "as alice says");
}

/// Whoever was given the id may act without an account in the unstable form, which services that keep track of calls
/// speak; with an account, only the sender may.
/// spec: none (MSC4140)
/// not on synapse: it has another form of it
#[tokio::test]
async fn id_is_enough_in_the_unstable_form() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = alice.create_public_room().await;
    let ids = [
        scheduled(&alice, &room, LATER, "one").await,
        scheduled(&alice, &room, LATER, "two").await,
        scheduled(&alice, &room, LATER, "three").await,
    ];
    let unstable = |id: &str, action: &str| format!("{UNSTABLE}/delayed_events/{id}/{action}");
    server.post(&unstable(&ids[0], "restart"), json!({})).await.expect_ok();
    server.post(&unstable(&ids[0], "send"), json!({})).await.expect_ok();
    server.post(&unstable(&ids[1], "cancel"), json!({})).await.expect_ok();
    let named = format!("{UNSTABLE}/delayed_events/{}", ids[2]);
    server.post(&named, json!({"action": "dance"})).await.expect_err(400, "M_INVALID_PARAM");
    server.post(&named, json!({"action": "restart"})).await.expect_ok();
    server.post(&unstable(&ids[2], "dance"), json!({})).await.expect_err(404, "M_UNRECOGNIZED");
    server.post(&unstable("nonsense", "send"), json!({})).await.expect_err(404, "M_NOT_FOUND");
    bob.post(&unstable(&ids[2], "send"), json!({})).await.expect_err(404, "M_NOT_FOUND");
    act(&bob, &ids[2], "send").await.expect_err(404, "M_NOT_FOUND");
    look_up(&bob, &ids[2]).await.expect_err(404, "M_NOT_FOUND");
    let stable = path!("/v1/delayed_events/{}/send", ids[2]);
    server.post(&stable, json!({})).await.expect_err(401, "M_MISSING_TOKEN");
    let answer = alice.get(&format!("{UNSTABLE}/delayed_events")).await.expect_ok();
    assert_eq!(answer.column("/delayed_events", "delay_id"), [ids[2].clone()]);
    assert_eq!(answer.at("/scheduled/0/delay"), LATER);
    let finalised = answer.array("finalised");
    let outcomes: Vec<_> = finalised.iter().map(|entry| (&entry["outcome"], &entry["reason"])).collect();
    let expected = [(json!("cancel"), json!("action")), (json!("send"), json!("action"))];
    assert_eq!(outcomes, [(&expected[0].0, &expected[0].1), (&expected[1].0, &expected[1].1)], "{answer}");
}

/// There are limits, and they are told in the words of each form.
/// spec: none (MSC4140)
/// not on synapse: it has another form of it
#[tokio::test]
async fn limits_are_kept() {
    let server = ServerOptions::default()
        .kith("delayed_events.max_delay_seconds", "60")
        .kith("delayed_events.max_per_user", "2")
        .start()
        .await;
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    schedule(&alice, &room, 60_001, "x").await.expect_err(403, "M_FORBIDDEN");
    let path = path!("/v3/rooms/{}/send/m.room.message/{}", room, unique("txn"));
    let late = alice.put(&path, json!({})).query("org.matrix.msc4140.delay", "60001").await;
    let late = late.expect_err(400, "M_UNKNOWN");
    assert_eq!(late["org.matrix.msc4140.errcode"], "M_MAX_DELAY_EXCEEDED");
    assert_eq!(late["org.matrix.msc4140.max_delay"], 60_000);
    schedule(&alice, &room, 0, "x").await.expect_err(400, "M_INVALID_PARAM");
    let first = scheduled(&alice, &room, 60_000, "x").await;
    scheduled(&alice, &room, 60_000, "x").await;
    let full = schedule(&alice, &room, 60_000, "x").await.expect_err(429, "M_LIMIT_EXCEEDED");
    let retry: u64 = full.header("retry-after").parse().expect("a number of seconds");
    assert!((1..=60).contains(&retry), "{full}");
    act(&alice, &first, "cancel").await.expect_ok();
    scheduled(&alice, &room, 60_000, "x").await;
}

/// Where delayed events are switched off, that is said.
/// spec: none (MSC4140)
/// not on synapse: it has another form of it
#[tokio::test]
async fn limit_of_none_switches_off() {
    let server = ServerOptions::default().kith("delayed_events.max_per_user", "0").start().await;
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    schedule(&alice, &room, 1_000, "x").await.expect_err(403, "M_FORBIDDEN");
}

/// What could never be sent is not scheduled: no content, no object, a room one is not in, somebody else's room.
/// spec: none (MSC4140)
/// not on synapse: it has another form of it
#[tokio::test]
async fn nonsense_is_not_scheduled() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = alice.create_public_room().await;
    let path = path!("/v3/rooms/{}/delayed_event/m.room.name/{}", room, unique("txn"));
    for body in [
        json!({"content": {}}),
        json!({"delay_ms": LATER}),
        json!({"delay_ms": "soon", "content": {}}),
        json!({"delay_ms": -5, "content": {}}),
        json!({"delay_ms": LATER, "content": "text"}),
        json!({"delay_ms": LATER, "content": {"float": 1.5}}),
        json!({"delay_ms": LATER, "content": {}, "state_key": 5}),
        json!({"delay_ms": LATER, "content": {"name": 5}, "state_key": ""}),
    ] {
        alice.put(&path, body).await.expect_err(400, "M_BAD_JSON");
    }
    let nul = json!({"delay_ms": LATER, "content": {}, "state_key": "\u{0}"});
    alice.put(&path, nul).await.expect_err(400, "M_INVALID_PARAM");
    schedule(&bob, &room, LATER, "x").await.expect_err(403, "M_FORBIDDEN");
    schedule(&alice, "!nowhere:example.org", LATER, "x").await.expect_err(403, "M_FORBIDDEN");
    schedule(&alice, &room, LATER, "x").anonymous().await.expect_err(401, "M_MISSING_TOKEN");
    let large = "x".repeat(70_000);
    schedule(&alice, &room, LATER, &large).await.expect_err(413, "M_TOO_LARGE");
    assert!(list(&alice).await.is_empty());
}
