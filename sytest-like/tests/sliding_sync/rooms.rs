//! What is told of a room.

use super::slider::{Slider, named, room, slot, state, timeline};
use sytest_like::{Server, json};

/// A room that is new to the client comes with all that was asked for.
/// spec: client-server-api/#syncing
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn first_sight_of_a_room() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let id = named(&alice, "Garden").await;
    alice.set_state(&id, "m.room.avatar", "", json!({"url": "mxc://example.org/tree"})).await;
    bob.join(&id).await;
    let sent = alice.send_text(&id, "hello").await;
    let answer = Slider::listing(&alice, 10, 2).next(0).await;
    answer.clone().has("/lists/all/count", 1);
    let entry = room(&answer, &id);
    assert_eq!(entry["initial"], true, "{answer}");
    assert_eq!(entry["name"], "Garden");
    assert_eq!(entry["avatar"], "mxc://example.org/tree");
    assert_eq!((&entry["joined_count"], &entry["invited_count"]), (&json!(2), &json!(0)));
    assert_eq!(state(entry), [slot("m.room.name", "")]);
    assert_eq!(timeline(entry).last(), Some(&sent));
    assert_eq!(timeline(entry).len(), 2);
    assert_eq!((&entry["limited"], &entry["num_live"]), (&json!(true), &json!(0)));
    assert!(entry["bump_stamp"].is_u64() && entry["prev_batch"].is_string(), "{answer}");
    assert!(entry.get("heroes").is_none(), "a room with a name needs none: {answer}");
}

/// Afterwards only what has changed is told.
/// spec: client-server-api/#syncing
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn later_only_changes_are_told() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let id = named(&alice, "Before").await;
    bob.join(&id).await;
    let mut slider = Slider::listing(&bob, 10, 5);
    let first = slider.next(0).await;
    let stamp = room(&first, &id)["bump_stamp"].as_i64().expect("a number");
    let sent = alice.send_text(&id, "news").await;
    let answer = slider.next(5_000).await;
    let entry = room(&answer, &id);
    assert_eq!(timeline(entry), [sent]);
    assert_eq!((&entry["num_live"], &entry["limited"]), (&json!(1), &json!(false)));
    for key in ["initial", "name", "avatar", "heroes", "joined_count", "required_state", "is_dm"] {
        assert!(entry.get(key).is_none(), "{key}: {answer}");
    }
    assert!(entry["bump_stamp"].as_i64().is_some_and(|now| now > stamp), "{answer}");
    alice.set_state(&id, "m.room.name", "", json!({"name": "After"})).await;
    let answer = slider.next(5_000).await;
    let entry = room(&answer, &id);
    assert_eq!(entry["name"], "After");
    assert_eq!(state(entry), [slot("m.room.name", "")]);
    assert!(entry.get("bump_stamp").is_none(), "a name is no activity: {answer}");
}

/// A removed name is told as null, with heroes to name the room after.
/// spec: client-server-api/#calculating-the-display-name-for-a-room
/// not on synapse: it does not say that the name is gone
#[tokio::test]
async fn removed_name_is_null() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let id = named(&alice, "Named").await;
    bob.join(&id).await;
    let mut slider = Slider::listing(&alice, 10, 5);
    slider.next(0).await;
    alice.set_state(&id, "m.room.name", "", json!({})).await;
    let answer = slider.next(5_000).await;
    let entry = room(&answer, &id);
    assert!(entry["name"].is_null() && entry.get("name").is_some(), "{answer}");
    assert_eq!(entry["heroes"][0]["user_id"], bob.id);
}

/// A room without a name comes with its heroes, by name and picture, and without the user.
/// spec: client-server-api/#calculating-the-display-name-for-a-room
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn heroes_of_a_room_without_a_name() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let profile = json!({"displayname": "Bobby"});
    bob.put(&format!("/v3/profile/{}/displayname", bob.id), profile).await.expect_ok();
    let id = alice.create_public_room().await;
    bob.join(&id).await;
    let answer = Slider::listing(&alice, 10, 1).next(0).await;
    let entry = room(&answer, &id);
    let heroes = entry["heroes"].as_array().expect("heroes");
    assert_eq!(heroes.len(), 1, "{answer}");
    assert_eq!((&heroes[0]["user_id"], &heroes[0]["displayname"]), (&json!(bob.id), &json!("Bobby")));
}

/// Counts follow the members.
/// spec: client-server-api/#syncing
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn counts_follow_the_members() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let id = named(&alice, "Counted").await;
    let mut slider = Slider::listing(&alice, 10, 5);
    slider.next(0).await;
    alice.invite(&id, &bob).await;
    let entry = slider.until_room(&id).await;
    assert_eq!((&entry["joined_count"], &entry["invited_count"]), (&json!(1), &json!(1)));
    bob.join(&id).await;
    let entry = slider.until_room(&id).await;
    assert_eq!((&entry["joined_count"], &entry["invited_count"]), (&json!(2), &json!(0)));
}

/// More news than the timeline holds: the newest, marked as limited, and the way to the rest.
/// spec: client-server-api/#syncing
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn gap_is_marked_and_can_be_filled() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let id = named(&alice, "Busy").await;
    let mut slider = Slider::listing(&alice, 10, 2);
    slider.next(0).await;
    let mut sent = Vec::new();
    for number in 0..5 {
        sent.push(alice.send_text(&id, &format!("message {number}")).await);
    }
    let answer = slider.next(0).await;
    let entry = room(&answer, &id);
    assert_eq!(timeline(entry), sent[3..]);
    assert_eq!((&entry["limited"], &entry["num_live"]), (&json!(true), &json!(2)));
    let from = entry["prev_batch"].as_str().expect("a token");
    let messages = sytest_like::path!("/v3/rooms/{}/messages", id);
    let page =
        alice.get(&messages).query("dir", "b").query("from", from).query("limit", "3").await.expect_ok();
    let earlier: Vec<String> = page.column("chunk", "event_id").into_iter().rev().collect();
    assert_eq!(earlier, sent[..3]);
}

/// The position itself is a token for `/messages`.
/// spec: client-server-api/#get_matrixclientv3roomsroomidmessages
/// not on synapse: it refuses that
#[tokio::test]
async fn position_is_a_token_for_messages() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let id = named(&alice, "Read").await;
    let before = alice.send_text(&id, "before").await;
    let mut slider = Slider::listing(&alice, 10, 2);
    let pos = slider.next(0).await.str("pos").to_owned();
    alice.send_text(&id, "after").await;
    let messages = sytest_like::path!("/v3/rooms/{}/messages", id);
    let page = alice.get(&messages).query("dir", "b").query("from", &pos).await.expect_ok();
    assert_eq!(page.column("chunk", "event_id").first(), Some(&before));
}

/// The sender's own device finds its transaction id with the event, as in the older sync.
/// spec: client-server-api/#transaction-identifiers
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn echo_has_the_transaction_id() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let id = named(&alice, "Echo").await;
    let mut slider = Slider::listing(&alice, 10, 2);
    slider.next(0).await;
    let path = sytest_like::path!("/v3/rooms/{}/send/m.room.message/{}", id, "echo-1");
    alice.put(&path, json!({"msgtype": "m.text", "body": "x"})).await.expect_ok();
    let answer = slider.next(0).await;
    assert_eq!(room(&answer, &id)["timeline"][0]["unsigned"]["transaction_id"], "echo-1");
}

/// What a user may not see does not come: history from before the join, where the room keeps it to itself.
/// spec: client-server-api/#room-history-visibility
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn hidden_history_stays_hidden() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let id = named(&alice, "Secret").await;
    alice.set_state(&id, "m.room.history_visibility", "", json!({"history_visibility": "joined"})).await;
    alice.send_text(&id, "not for bob").await;
    bob.join(&id).await;
    let seen = alice.send_text(&id, "for bob").await;
    let answer = Slider::listing(&bob, 10, 50).next(0).await;
    let entry = room(&answer, &id);
    assert!(!answer.json.to_string().contains("not for bob"), "{answer}");
    assert_eq!(timeline(entry).last(), Some(&seen));
}
