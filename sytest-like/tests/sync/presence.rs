//! Presence.

use super::view::events;
use sytest_like::{Response, Server, User, Value, json, path};

async fn pair() -> (User, User) {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = alice.create_public_room().await;
    bob.join(&room).await;
    (alice, bob)
}

fn status(user: &User) -> String {
    path!("/v3/presence/{}/status", user.id)
}

async fn set(user: &User, presence: &str, message: Option<&str>) {
    let mut body = json!({"presence": presence});
    if let Some(message) = message {
        body["status_msg"] = json!(message);
    }
    user.put(&status(user), body).await.expect_ok();
}

/// The last that an answer says about a user.
fn told(answer: &Response, user: &User) -> Option<Value> {
    let events = events(&answer.json, "presence");
    events.iter().rfind(|event| event["sender"] == user.id.as_str()).map(|event| event["content"].clone())
}

/// What a user said about themself can be read, by themself and by who shares a room.
/// spec: client-server-api/#presence
/// covers: PUT /_matrix/client/v3/presence/{userId}/status
/// covers: GET /_matrix/client/v3/presence/{userId}/status
#[tokio::test]
async fn status_can_be_read() {
    let (alice, bob) = pair().await;
    set(&bob, "unavailable", Some("at lunch")).await;
    for reader in [&alice, &bob] {
        let answer = reader.get(&status(&bob)).await.expect_ok();
        let answer = answer.has("presence", "unavailable").has("status_msg", "at lunch");
        if let Some(ago) = answer.get("last_active_ago") {
            assert!(ago.as_i64().is_some_and(|ago| (0..600_000).contains(&ago)), "{answer}");
        }
        if let Some(active) = answer.get("currently_active") {
            assert!(active.is_boolean(), "{answer}");
        }
    }
}

/// Who shares a room hears of a change.
/// spec: client-server-api/#presence
/// covers: PUT /_matrix/client/v3/presence/{userId}/status
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn change_is_told_to_who_shares_a_room() {
    let (alice, bob) = pair().await;
    let mut syncer = alice.syncer().await;
    set(&bob, "online", Some("working")).await;
    let content = syncer
        .until_some("bob works", |answer| {
            told(answer, &bob).filter(|content| content["status_msg"] == "working")
        })
        .await;
    assert_eq!(content["presence"], "online");
    set(&bob, "unavailable", Some("at lunch")).await;
    let content = syncer
        .until_some("bob eats", |answer| {
            told(answer, &bob).filter(|content| content["status_msg"] == "at lunch")
        })
        .await;
    assert_eq!(content["presence"], "unavailable");
}

/// A presence event has a type, a sender and a content.
/// spec: client-server-api/#mpresence
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn presence_event_is_well_formed() {
    let (alice, bob) = pair().await;
    set(&bob, "online", Some("here")).await;
    let answer = alice.sync().await;
    let all = events(&answer.json, "presence");
    let event = all.iter().find(|event| event["sender"] == bob.id.as_str()).expect("bob is told");
    assert_eq!(event["type"], "m.presence");
    assert_eq!(event["content"]["presence"], "online");
    assert_eq!(event["content"]["status_msg"], "here");
    for key in ["event_id", "room_id", "state_key"] {
        assert!(event.get(key).is_none(), "{event}");
    }
}

/// Strangers hear nothing, and may not ask.
/// spec: client-server-api/#get_matrixclientv3presenceuseridstatus
/// covers: GET /_matrix/client/v3/presence/{userId}/status
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn strangers_learn_nothing() {
    let (alice, bob) = pair().await;
    let mallory = alice.server.register("mallory").await;
    set(&bob, "online", Some("private matter")).await;
    mallory.get(&status(&bob)).await.expect_err_of(&[(403, "M_FORBIDDEN"), (404, "M_NOT_FOUND")]);
    let answer = mallory.sync().await;
    assert_eq!(told(&answer, &bob), None, "{answer}");
}

/// Nobody sets another's presence.
/// spec: client-server-api/#put_matrixclientv3presenceuseridstatus
/// covers: PUT /_matrix/client/v3/presence/{userId}/status
#[tokio::test]
async fn nobody_sets_anothers_presence() {
    let (alice, bob) = pair().await;
    alice.put(&status(&bob), json!({"presence": "offline"})).await.expect_err(403, "M_FORBIDDEN");
}

/// There are three states.
/// spec: client-server-api/#put_matrixclientv3presenceuseridstatus
/// covers: PUT /_matrix/client/v3/presence/{userId}/status
#[tokio::test]
async fn broken_presence_is_refused() {
    let (alice, _) = pair().await;
    for body in [
        json!({}),
        json!({"presence": "asleep"}),
        json!({"presence": 1}),
        json!({"presence": "online", "status_msg": 7}),
        json!([]),
    ] {
        let answer = alice.put(&status(&alice), body.clone()).await;
        assert!((400..500).contains(&answer.status), "{body}: {answer}");
    }
}

/// Nobody knows anything about users that there are not.
/// spec: client-server-api/#get_matrixclientv3presenceuseridstatus
/// covers: GET /_matrix/client/v3/presence/{userId}/status
#[tokio::test]
async fn unknown_users_have_no_presence() {
    let (alice, _) = pair().await;
    for id in [format!("@nobody-here:{}", alice.server.name()), "not a user".to_owned()] {
        alice.get(&path!("/v3/presence/{}/status", id)).await.expect_refused();
    }
}

/// A sync makes the user online.
/// spec: client-server-api/#presence
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn sync_makes_online() {
    let (alice, bob) = pair().await;
    let mut syncer = alice.syncer().await;
    set(&bob, "offline", None).await;
    bob.sync().query("set_presence", "online").await;
    syncer
        .until("bob is online", |answer| {
            told(answer, &bob).is_some_and(|content| content["presence"] == "online")
        })
        .await;
    alice.get(&status(&bob)).await.expect_ok().has("presence", "online");
}

/// `set_presence=offline` leaves the presence alone, `unavailable` says idle.
/// spec: client-server-api/#get_matrixclientv3sync
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn sync_says_what_it_makes_of_the_user() {
    let (alice, bob) = pair().await;
    set(&bob, "offline", None).await;
    bob.sync().query("set_presence", "offline").await;
    alice.get(&status(&bob)).await.expect_ok().has("presence", "offline");
    let mut syncer = alice.syncer().await;
    bob.login().await.sync().query("set_presence", "unavailable").await;
    syncer
        .until("bob is idle", |answer| {
            told(answer, &bob).is_some_and(|content| content["presence"] == "unavailable")
        })
        .await;
}

/// Who joins a room hears of the people in it, and they of who joined.
/// spec: client-server-api/#presence
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn newcomers_and_members_hear_of_each_other() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = alice.create_public_room().await;
    set(&alice, "online", Some("in the room")).await;
    set(&bob, "online", Some("at the door")).await;
    let (mut inside, mut outside) = (alice.syncer().await, bob.syncer().await);
    assert_eq!(told(&outside.initial, &alice), None);
    bob.join(&room).await;
    outside.until("alice is told", |answer| told(answer, &alice).is_some()).await;
    inside.until("bob is told", |answer| told(answer, &bob).is_some()).await;
}

/// A status message can be taken back.
/// spec: client-server-api/#put_matrixclientv3presenceuseridstatus
/// covers: PUT /_matrix/client/v3/presence/{userId}/status
/// covers: GET /_matrix/client/v3/presence/{userId}/status
#[tokio::test]
async fn status_message_can_be_taken_back() {
    let (alice, bob) = pair().await;
    set(&bob, "online", Some("here")).await;
    alice.get(&status(&bob)).await.expect_ok().has("status_msg", "here");
    set(&bob, "online", Some("")).await;
    let answer = alice.get(&status(&bob)).await.expect_ok();
    assert!(answer.get("status_msg").is_none_or(|message| message.is_null() || message == ""), "{answer}");
}

/// Who comes into a room is told of the presence of those in it, and they of the newcomer's, though neither changes.
/// spec: client-server-api/#presence
/// covers: GET /_matrix/client/v3/sync
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
#[tokio::test]
async fn those_who_meet_are_told_of_each_other() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = alice.create_public_room().await;
    set(&alice, "online", Some("here")).await;
    set(&bob, "online", Some("outside")).await;
    let (for_alice, for_bob) = (alice.sync().await, bob.sync().await);
    assert_eq!(told(&for_alice, &bob), None, "{for_alice}");
    assert_eq!(told(&for_bob, &alice), None, "{for_bob}");
    bob.join(&room).await;
    let for_alice = alice.sync().since(for_alice.str("next_batch")).await;
    let for_bob = bob.sync().since(for_bob.str("next_batch")).await;
    assert_eq!(told(&for_alice, &bob).expect("bob is here")["status_msg"], "outside", "{for_alice}");
    assert_eq!(told(&for_bob, &alice).expect("alice is here")["status_msg"], "here", "{for_bob}");
}
