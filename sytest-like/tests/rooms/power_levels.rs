//! What power levels allow and forbid.

use sytest_like::{User, json, path};

use super::ground::{
    power_levels, redact, room_of_version, room_with, set_levels, state_event, three, try_redact, try_send,
    try_state, try_text, two,
};

const FORBIDDEN: (u16, &str) = (403, "M_FORBIDDEN");

/// A version 11 room with power 100 for alice, 50 for bob and 0 for carol.
async fn ranked(alice: &User, bob: &User, carol: &User) -> String {
    let room = room_of_version("11", alice, &[bob, carol]).await;
    set_levels(alice, &room, json!({"users": {&bob.id: 50}})).await.expect_ok();
    room
}

/// Messages need `events_default`, or what their type asks for.
/// spec: client-server-api/#mroompower_levels
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
#[tokio::test]
async fn messages_need_their_level() {
    let (alice, bob, carol) = three().await;
    let room = ranked(&alice, &bob, &carol).await;
    set_levels(&alice, &room, json!({"events_default": 50, "events": {"org.example.free": 0}}))
        .await
        .expect_ok();
    try_text(&carol, &room).await.expect_err(403, "M_FORBIDDEN");
    try_text(&bob, &room).await.expect_ok();
    try_send(&carol, &room, "org.example.free", json!({})).await.expect_ok();
    set_levels(&alice, &room, json!({"events_default": 0, "events": {"m.room.message": 51}}))
        .await
        .expect_ok();
    try_text(&bob, &room).await.expect_err(403, "M_FORBIDDEN");
    try_send(&carol, &room, "org.example.other", json!({})).await.expect_ok();
}

/// State needs `state_default`, or what its type asks for.
/// spec: client-server-api/#mroompower_levels
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
#[tokio::test]
async fn state_needs_its_level() {
    let (alice, bob, carol) = three().await;
    let room = ranked(&alice, &bob, &carol).await;
    try_state(&carol, &room, "org.example.x", "", json!({})).await.expect_err(403, "M_FORBIDDEN");
    try_state(&bob, &room, "org.example.x", "", json!({})).await.expect_ok();
    set_levels(&alice, &room, json!({"state_default": 51, "events": {"m.room.topic": 0}})).await.expect_ok();
    try_state(&bob, &room, "org.example.x", "", json!({"n": 1})).await.expect_err(403, "M_FORBIDDEN");
    try_state(&carol, &room, "m.room.topic", "", json!({"topic": "free"})).await.expect_ok();
}

/// `users_default` is for all who are not listed.
/// spec: client-server-api/#mroompower_levels
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
#[tokio::test]
async fn users_default_is_for_the_unlisted() {
    let (alice, bob, carol) = three().await;
    let room = ranked(&alice, &bob, &carol).await;
    set_levels(&alice, &room, json!({"users_default": 50, "users": {&bob.id: 10}})).await.expect_ok();
    try_state(&carol, &room, "m.room.topic", "", json!({"topic": "unlisted"})).await.expect_ok();
    try_state(&bob, &room, "m.room.topic", "", json!({"topic": "x"})).await.expect_err(403, "M_FORBIDDEN");
}

/// Levels that are left out have the specification's defaults.
/// spec: client-server-api/#mroompower_levels
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
/// covers: POST /_matrix/client/v3/rooms/{roomId}/kick
/// covers: POST /_matrix/client/v3/rooms/{roomId}/ban
/// covers: POST /_matrix/client/v3/rooms/{roomId}/invite
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}
#[tokio::test]
async fn absent_levels_have_defaults() {
    let (alice, bob, carol) = three().await;
    let room = room_of_version("11", &alice, &[&bob, &carol]).await;
    let dora = alice.server.register("dora").await;
    let erin = alice.server.register("erin").await;
    let levels = json!({"users": {&alice.id: 100, &bob.id: 49}});
    alice.set_state(&room, "m.room.power_levels", "", levels).await;
    let message = carol.send_text(&room, "needs nothing").await;
    carol.membership(&room, "invite", &dora.id).await.expect_ok();
    for action in ["kick", "ban"] {
        bob.membership(&room, action, &carol.id).await.expect_err(403, "M_FORBIDDEN");
    }
    try_redact(&bob, &room, &message, json!({})).await.expect_err(403, "M_FORBIDDEN");
    try_state(&bob, &room, "m.room.topic", "", json!({"topic": "x"})).await.expect_err(403, "M_FORBIDDEN");
    alice.set_state(&room, "m.room.power_levels", "", json!({"users": {&alice.id: 100, &bob.id: 50}})).await;
    try_state(&bob, &room, "m.room.topic", "", json!({"topic": "x"})).await.expect_ok();
    redact(&bob, &room, &message).await;
    bob.membership(&room, "kick", &carol.id).await.expect_ok();
    bob.membership(&room, "ban", &erin.id).await.expect_ok();
}

/// A change counts at once.
/// spec: client-server-api/#permissions
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
#[tokio::test]
async fn change_counts_at_once() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    for number in 0..5 {
        set_levels(&alice, &room, json!({"users": {&bob.id: 50}})).await.expect_ok();
        try_state(&bob, &room, "m.room.topic", "", json!({"topic": number.to_string()})).await.expect_ok();
        set_levels(&alice, &room, json!({"users": {&bob.id: 0}})).await.expect_ok();
        let answer = try_state(&bob, &room, "m.room.topic", "", json!({"topic": "no"})).await;
        answer.expect_err(403, "M_FORBIDDEN");
    }
}

/// Power levels themselves are state that needs a level.
/// spec: client-server-api/#permissions
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
#[tokio::test]
async fn ordinary_users_do_not_change_levels() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    let before = power_levels(&alice, &room).await;
    set_levels(&bob, &room, json!({"users": {&bob.id: 100}})).await.expect_err(403, "M_FORBIDDEN");
    assert_eq!(power_levels(&alice, &room).await, before);
}

/// Nobody gives more power than they have, to themselves or others.
/// spec: rooms/v11/#authorisation-rules
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
#[tokio::test]
async fn nobody_gives_more_than_they_have() {
    let (alice, bob, carol) = three().await;
    let room = ranked(&alice, &bob, &carol).await;
    set_levels(&alice, &room, json!({"events": {"m.room.power_levels": 50}})).await.expect_ok();
    let before = power_levels(&alice, &room).await;
    for changes in [
        json!({"users": {&bob.id: 51}}),
        json!({"users": {&carol.id: 51}}),
        json!({"users_default": 51}),
        json!({"ban": 51}),
        json!({"kick": 51}),
        json!({"redact": 51}),
        json!({"invite": 51}),
        json!({"events_default": 51}),
        json!({"state_default": 51}),
        json!({"events": {"org.example.new": 51}}),
        json!({"events": {"m.room.power_levels": 51}}),
        json!({"notifications": {"room": 51}}),
    ] {
        let answer = set_levels(&bob, &room, changes.clone()).await;
        assert_eq!(
            (answer.status, answer.json["errcode"].as_str()),
            (FORBIDDEN.0, Some(FORBIDDEN.1)),
            "{changes}"
        );
    }
    assert_eq!(power_levels(&alice, &room).await, before);
    set_levels(&bob, &room, json!({"users": {&carol.id: 50}, "kick": 50, "notifications": {"room": 50}}))
        .await
        .expect_ok();
}

/// Nobody touches what stands above them.
/// spec: rooms/v11/#authorisation-rules
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
#[tokio::test]
async fn nobody_touches_what_stands_above_them() {
    let (alice, bob, carol) = three().await;
    let room = ranked(&alice, &bob, &carol).await;
    let base = json!({
        "ban": 60,
        "events": {"m.room.power_levels": 50, "org.example.high": 60},
        "notifications": {"room": 60},
        "users": {&carol.id: 50},
    });
    set_levels(&alice, &room, base).await.expect_ok();
    for changes in [
        json!({"ban": 10}),
        json!({"events": {"org.example.high": 10}}),
        json!({"notifications": {"room": 10}}),
        json!({"users": {&alice.id: 10}}),
        // An equal is above as well.
        json!({"users": {&carol.id: 10}}),
    ] {
        let answer = set_levels(&bob, &room, changes.clone()).await;
        assert_eq!(
            (answer.status, answer.json["errcode"].as_str()),
            (FORBIDDEN.0, Some(FORBIDDEN.1)),
            "{changes}"
        );
    }
    let mut levels = power_levels(&bob, &room).await;
    levels["users"].as_object_mut().expect("users").remove(&carol.id);
    try_state(&bob, &room, "m.room.power_levels", "", levels).await.expect_err(403, "M_FORBIDDEN");
    let mut levels = power_levels(&bob, &room).await;
    levels["events"].as_object_mut().expect("events").remove("org.example.high");
    try_state(&bob, &room, "m.room.power_levels", "", levels).await.expect_err(403, "M_FORBIDDEN");
}

/// One may step down, and then not up again.
/// spec: rooms/v11/#authorisation-rules
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
#[tokio::test]
async fn stepping_down_is_for_good() {
    let (alice, bob, carol) = three().await;
    let room = ranked(&alice, &bob, &carol).await;
    set_levels(&alice, &room, json!({"users": {&alice.id: 60}, "events": {"m.room.power_levels": 60}}))
        .await
        .expect_ok();
    set_levels(&alice, &room, json!({"users": {&alice.id: 61}})).await.expect_err(403, "M_FORBIDDEN");
    set_levels(&alice, &room, json!({"users": {&alice.id: 0}})).await.expect_ok();
    set_levels(&alice, &room, json!({"users": {&alice.id: 60}})).await.expect_err(403, "M_FORBIDDEN");
    try_state(&alice, &room, "m.room.name", "", json!({"name": "x"})).await.expect_err(403, "M_FORBIDDEN");
}

/// State keys that begin with `@` are for the user of that name alone.
/// spec: rooms/v11/#authorisation-rules
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
#[tokio::test]
async fn state_of_users_is_theirs() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    set_levels(&alice, &room, json!({"events": {"org.example.status": 0}})).await.expect_ok();
    try_state(&bob, &room, "org.example.status", &bob.id, json!({"s": 1})).await.expect_ok();
    try_state(&alice, &room, "org.example.status", &bob.id, json!({"s": 2}))
        .await
        .expect_err(403, "M_FORBIDDEN");
    try_state(&alice, &room, "org.example.status", "@else", json!({"s": 2}))
        .await
        .expect_err(403, "M_FORBIDDEN");
    try_state(&alice, &room, "org.example.status", &format!("_{}", bob.id), json!({"s": 3}))
        .await
        .expect_ok();
    bob.get_state(&room, "org.example.status", &bob.id).await.expect_ok().has("s", 1);
}

/// The create event cannot be replaced.
/// spec: rooms/v11/#authorisation-rules
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
#[tokio::test]
async fn create_event_cannot_be_replaced() {
    let (alice, bob) = two().await;
    let room = room_of_version("11", &alice, &[&bob]).await;
    let before = state_event(&alice, &room, "m.room.create", "").await;
    try_state(&alice, &room, "m.room.create", "", json!({"room_version": "11"})).await.expect_refused();
    try_state(&alice, &room, "m.room.create", "x", json!({"room_version": "11"})).await.expect_refused();
    let after = state_event(&alice, &room, "m.room.create", "").await;
    assert_eq!(after["event_id"], before["event_id"]);
}

/// Power levels that are no such thing are refused.
/// spec: rooms/v11/#authorisation-rules
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
#[tokio::test]
async fn malformed_power_levels_are_refused() {
    let (alice, bob) = two().await;
    let room = room_of_version("11", &alice, &[&bob]).await;
    let before = power_levels(&alice, &room).await;
    for (key, value) in [
        ("users", json!([])),
        ("users", json!({"bob": 50})),
        ("users", json!({&bob.id: 1.5})),
        ("users", json!({&bob.id: null})),
        ("users", json!({&bob.id: "50"})),
        ("events", json!("m.room.name")),
        ("events", json!({"m.room.name": {}})),
        ("notifications", json!({"room": "50"})),
        ("notifications", json!([50])),
        ("ban", json!("50")),
        ("kick", json!([])),
        ("events_default", json!(true)),
        ("state_default", json!(9_007_199_254_740_992_i64)),
    ] {
        let mut levels = before.clone();
        levels[key] = value.clone();
        let answer = try_state(&alice, &room, "m.room.power_levels", "", levels).await;
        assert!((400..500).contains(&answer.status), "{key}: {value}: {answer}");
        answer.expect_refused();
    }
    assert_eq!(power_levels(&alice, &room).await, before);
}

/// Only members send, whatever their level.
/// spec: rooms/v11/#authorisation-rules
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
#[tokio::test]
async fn level_without_membership_is_nothing() {
    let (alice, bob) = two().await;
    let room = alice.create_room(json!({"room_version": "11", "preset": "public_chat"})).await;
    set_levels(&alice, &room, json!({"users": {&bob.id: 100}})).await.expect_ok();
    try_text(&bob, &room).await.expect_err(403, "M_FORBIDDEN");
    try_state(&bob, &room, "m.room.name", "", json!({"name": "x"})).await.expect_err(403, "M_FORBIDDEN");
    bob.membership(&room, "ban", "@x:example.org").await.expect_err(403, "M_FORBIDDEN");
    bob.join(&room).await;
    bob.set_state(&room, "m.room.name", "", json!({"name": "now"})).await;
}

/// What is refused leaves no trace.
/// spec: client-server-api/#permissions
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn refused_events_leave_no_trace() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    let since = alice.sync().await.str("next_batch").to_owned();
    try_state(&bob, &room, "m.room.name", "", json!({"name": "no"})).await.expect_err(403, "M_FORBIDDEN");
    set_levels(&bob, &room, json!({"users": {&bob.id: 100}})).await.expect_err(403, "M_FORBIDDEN");
    bob.membership(&room, "kick", &alice.id).await.expect_err(403, "M_FORBIDDEN");
    let sent = bob.send_text(&room, "allowed").await;
    assert_eq!(sytest_like::timeline_ids(&alice.sync().since(&since).await, &room), [sent.clone()]);
    let last = super::ground::page(&alice, &room, "b").query("limit", "1").await.expect_ok();
    assert_eq!(last.column("chunk", "event_id"), [sent]);
    alice.get(&path!("/v3/rooms/{}/state/m.room.name", room)).await.expect_err(404, "M_NOT_FOUND");
}
