//! Delayed events: scheduling them, and having them sent.

use sytest_like::{Request, Response, Server, ServerOptions, User, Value, json, path, unique};

pub(super) const UNSTABLE: &str = "/unstable/org.matrix.msc4140";

/// The parameter by which clients of today schedule.
const DELAY: &str = "org.matrix.msc4140.delay";

/// So far off that it does not come within a case.
pub(super) const LATER: u64 = 600_000;

/// Schedules a message by the endpoint for it; the caller judges the answer.
pub(super) fn schedule(user: &User, room: &str, delay_ms: u64, body: &str) -> Request {
    let path = path!("/v3/rooms/{}/delayed_event/m.room.message/{}", room, unique("txn"));
    let content = json!({"msgtype": "m.text", "body": body});
    user.put(&path, json!({"delay_ms": delay_ms, "content": content}))
}

/// Schedules a message and returns the id of the delay.
pub(super) async fn scheduled(user: &User, room: &str, delay_ms: u64, body: &str) -> String {
    schedule(user, room, delay_ms, body).await.expect_ok().str("delay_id").to_owned()
}

/// Schedules state by the parameter of the endpoint that sets it.
pub(super) async fn scheduled_state(user: &User, room: &str, key: &str, delay_ms: u64) -> String {
    let path = path!("/v3/rooms/{}/state/{}/{}", room, "org.example.presence", key);
    let answer = user.put(&path, json!({"here": false})).query(DELAY, delay_ms.to_string()).await;
    answer.expect_ok().expect_absent("event_id").str("delay_id").to_owned()
}

pub(super) async fn act(user: &User, delay_id: &str, action: &str) -> Response {
    user.post(&path!("/v1/delayed_events/{}/{}", delay_id, action), json!({})).await
}

pub(super) async fn look_up(user: &User, delay_id: &str) -> Response {
    user.get(&path!("/v1/delayed_events/{}", delay_id)).await
}

/// The ids of what is scheduled, in the order of the list.
pub(super) async fn list(user: &User) -> Vec<String> {
    user.get("/v1/delayed_events").await.expect_ok().column("/delayed_events", "delay_id")
}

/// Follows the timeline until an event with this body is in it.
pub(super) async fn hear(user: &User, room: &str, body: &str) -> Value {
    let mut syncer = user.syncer().await;
    let find = |answer: &Response| {
        let events = sytest_like::timeline(answer, room);
        events.into_iter().find(|event| event["content"]["body"] == body)
    };
    match find(&syncer.initial) {
        Some(event) => event,
        None => syncer.until_some(body, find).await,
    }
}

/// A delayed message is sent when its time has come, not before, and its sender is told which one it was.
/// spec: none (MSC4140)
/// covers: GET /_matrix/client/v3/sync
/// not on synapse: it has another form of it
#[tokio::test]
async fn message_is_sent_when_its_time_has_come() {
    const DELAY_MS: u64 = 1_500;
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = alice.create_public_room().await;
    bob.join(&room).await;
    let delay_id = scheduled(&alice, &room, DELAY_MS, "later").await;
    let entry = look_up(&alice, &delay_id).await.expect_ok();
    let entry = entry.has("room_id", room.as_str()).has("type", "m.room.message").has("delay_ms", DELAY_MS);
    let entry = entry.has("/content/body", "later").expect_absent("state_key").expect_absent("finalised_ts");
    assert_eq!(list(&alice).await, [delay_id.clone()]);
    let heard = hear(&bob, &room, "later").await;
    assert!(
        heard["origin_server_ts"].as_i64() >= Some(entry.int("scheduled_at") + DELAY_MS as i64),
        "{heard}"
    );
    assert!(heard["unsigned"].get("delay_id").is_none(), "only its sender is told: {heard}");
    let own = hear(&alice, &room, "later").await;
    assert_eq!(own["unsigned"]["delay_id"], delay_id.as_str());
    assert_eq!(own["unsigned"]["org.matrix.msc4140.delay_id"], delay_id.as_str());
    assert!(own["unsigned"].get("transaction_id").is_none(), "{own}");
    let sent = look_up(&alice, &delay_id).await.expect_ok();
    sent.expect_absent("error").has("event_id", heard["event_id"].clone()).at("finalised_ts");
    assert!(list(&alice).await.is_empty());
}

/// Both parameters that clients of today send schedule events too, and the server says that they can.
/// spec: none (MSC4140)
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
/// covers: GET /_matrix/client/v3/capabilities
/// not on synapse: it is switched off there
#[tokio::test]
async fn parameters_of_sending_schedule() {
    let alice = Server::shared().await.register("alice").await;
    let room = alice.create_public_room().await;
    let versions = alice.get("/versions").await.expect_ok();
    assert_eq!(versions.at("/unstable_features")["org.matrix.msc4140"], true);
    let capabilities = alice.get("/v3/capabilities").await.expect_ok();
    for name in ["m.delayed_events", "org.matrix.msc4140.delayed_events"] {
        assert!(capabilities["capabilities"][name]["max_delay_ms"].as_u64() > Some(LATER), "{capabilities}");
        assert!(capabilities["capabilities"][name]["max_scheduled"].as_u64() > Some(1), "{capabilities}");
    }
    let path = path!("/v3/rooms/{}/send/m.room.message/{}", room, unique("txn"));
    let message = json!({"msgtype": "m.text", "body": "x"});
    let answer = alice.put(&path, message).query(DELAY, LATER.to_string()).await.expect_ok();
    let message = answer.expect_absent("event_id").str("delay_id").to_owned();
    let state = scheduled_state(&alice, &room, "me", LATER + 1).await;
    assert_eq!(list(&alice).await, [message.clone(), state.clone()]);
    look_up(&alice, &state).await.expect_ok().has("state_key", "me").has("type", "org.example.presence");
    alice.get_state(&room, "org.example.presence", "me").await.expect_err(404, "M_NOT_FOUND");
    act(&alice, &state, "send").await.expect_ok();
    alice.get_state(&room, "org.example.presence", "me").await.expect_ok().has("here", false);
    act(&alice, &message, "cancel").await.expect_ok();
    for wrong in ["0", "-1", "soon", "1.5"] {
        let path = path!("/v3/rooms/{}/send/m.room.message/{}", room, unique("txn"));
        alice.put(&path, json!({})).query(DELAY, wrong).await.expect_err(400, "M_INVALID_PARAM");
    }
}

/// A heartbeat holds an event back: each restart begins its whole delay anew.
/// spec: none (MSC4140)
/// not on synapse: it has another form of it
#[tokio::test]
async fn restart_begins_the_delay_anew() {
    let alice = Server::shared().await.register("alice").await;
    let room = alice.create_public_room().await;
    let first = scheduled(&alice, &room, LATER, "first").await;
    let second = scheduled(&alice, &room, LATER, "second").await;
    assert_eq!(list(&alice).await, [first.clone(), second.clone()]);
    let before = look_up(&alice, &first).await.expect_ok().int("scheduled_at");
    act(&alice, &first, "restart").await.expect_ok();
    let after = look_up(&alice, &first).await.expect_ok().has("delay_ms", LATER).int("scheduled_at");
    assert!(after > before, "{after} is not after {before}");
    assert_eq!(list(&alice).await, [second, first]);
}

/// What is sent by hand goes at once, and is not sent again when its time comes.
/// spec: none (MSC4140)
/// not on synapse: it has another form of it
#[tokio::test]
async fn event_can_be_sent_at_once() {
    let alice = Server::shared().await.register("alice").await;
    let room = alice.create_public_room().await;
    let delay_id = scheduled(&alice, &room, LATER, "now").await;
    act(&alice, &delay_id, "send").await.expect_ok();
    let event = hear(&alice, &room, "now").await;
    let sent = look_up(&alice, &delay_id).await.expect_ok().has("event_id", event["event_id"].clone());
    assert!(sent.int("finalised_ts") < sent.int("scheduled_at") + LATER as i64, "{sent}");
    // The same again changes nothing, and what contradicts it is refused.
    act(&alice, &delay_id, "send").await.expect_ok();
    act(&alice, &delay_id, "cancel").await.expect_err(409, "M_UNKNOWN");
    let messages = alice.get(&path!("/v3/rooms/{}/messages", room)).query("dir", "b").await.expect_ok();
    let times = messages.array("chunk").iter().filter(|event| event["content"]["body"] == "now").count();
    assert_eq!(times, 1, "{messages}");
}

/// The same transaction schedules once.
/// spec: none (MSC4140)
/// not on synapse: it has another form of it
#[tokio::test]
async fn transaction_schedules_once() {
    let alice = Server::shared().await.register("alice").await;
    let room = alice.create_public_room().await;
    let path = path!("/v3/rooms/{}/delayed_event/m.room.message/{}", room, unique("txn"));
    let body = json!({"delay_ms": LATER, "content": {"body": "x"}});
    let first = alice.put(&path, body.clone()).await.expect_ok().str("delay_id").to_owned();
    alice.put(&path, body.clone()).await.expect_ok().has("delay_id", first.as_str());
    assert_eq!(list(&alice).await, [first.clone()]);
    // Another device has transactions of its own.
    let other = alice.login().await;
    let second = other.put(&path, body).await.expect_ok().str("delay_id").to_owned();
    assert_ne!(first, second);
}

/// Events whose time came while the server was down are sent when it comes back, in the order of their times.
/// spec: none (MSC4140)
/// not on synapse: it has another form of it
#[tokio::test]
async fn events_outlive_a_kill() {
    let server = Server::start().await;
    server.expect_log("");
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    // Scheduled in another order than they are due.
    for delay in [300_u64, 100, 200] {
        scheduled(&alice, &room, delay + 400, &format!("after {delay}")).await;
    }
    let kept = scheduled(&alice, &room, LATER, "kept").await;
    server.kill9();
    server.start_again().await;
    hear(&alice, &room, "after 300").await;
    let messages = alice.get(&path!("/v3/rooms/{}/messages", room)).query("dir", "f").await.expect_ok();
    let bodies: Vec<_> =
        messages.array("chunk").iter().filter_map(|event| event["content"]["body"].as_str()).collect();
    assert_eq!(bodies, ["after 100", "after 200", "after 300"], "{messages}");
    assert_eq!(list(&alice).await, [kept]);
}

/// Two replicas send each event once, and the one goes on when the other dies.
/// spec: none (MSC4140)
/// not on synapse: it has no equal replicas
#[tokio::test]
async fn replicas_send_each_event_once() {
    const TIMES: usize = 20;
    let replicas = ServerOptions::default().start_replicas(2).await;
    let alice = replicas[0].register("alice").await;
    let there = replicas[1].as_seen_here(&alice);
    let room = alice.create_public_room().await;
    for number in 0..TIMES {
        let by = [&alice, &there][number % 2];
        scheduled(by, &room, 500, &format!("number {number}")).await;
    }
    let last = scheduled(&alice, &room, 2_500, "last").await;
    hear(&there, &room, &format!("number {}", TIMES - 1)).await;
    replicas[0].expect_log("");
    replicas[1].expect_log("");
    replicas[0].kill9();
    hear(&there, &room, "last").await;
    look_up(&there, &last).await.expect_ok().at("event_id");
    let path = path!("/v3/rooms/{}/messages", room);
    let messages = there.get(&path).query("dir", "f").query("limit", "100").await.expect_ok();
    let mut bodies: Vec<_> =
        messages.array("chunk").iter().filter_map(|event| event["content"]["body"].as_str()).collect();
    assert_eq!(bodies.len(), TIMES + 1, "{messages}");
    bodies.sort_unstable();
    bodies.dedup();
    assert_eq!(bodies.len(), TIMES + 1, "{messages}");
}
