//! Rooms that the user is invited to, knocks at, leaves, or is removed from.

use super::slider::{Slider, has, named, room, timeline};
use sytest_like::{Server, Value, json, path};

fn shown(entry: &Value, key: &str) -> Vec<String> {
    let events = entry[key].as_array().map(Vec::as_slice).unwrap_or_default();
    events.iter().filter_map(|event| event["type"].as_str().map(str::to_owned)).collect()
}

/// An invite comes with stripped state and nothing of what happens inside; after joining the room comes in full.
/// spec: client-server-api/#stripped-state
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn invite_then_join() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let id = named(&alice, "Party").await;
    alice.send_text(&id, "a secret").await;
    let mut slider = Slider::listing(&bob, 9, 10);
    slider.next(0).await;
    alice.invite(&id, &bob).await;
    let entry = slider.until_room(&id).await;
    let types = shown(&entry, "invite_state");
    for wanted in ["m.room.create", "m.room.name", "m.room.member"] {
        assert!(types.iter().any(|kind| kind == wanted), "{wanted}: {entry}");
    }
    assert!(entry.get("timeline").is_none() && !entry.to_string().contains("a secret"), "{entry}");
    alice.send_text(&id, "another secret").await;
    assert!(!has(&slider.next(0).await, &id));
    bob.join(&id).await;
    let entry = slider.until_room(&id).await;
    assert_eq!((&entry["initial"], &entry["name"]), (&json!(true), &json!("Party")));
    assert!(entry.get("invite_state").is_none(), "{entry}");
}

/// A rejected invite is told once, without anything of the room.
/// spec: client-server-api/#rejecting-or-leaving-a-room
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn rejected_invite_ends_quietly() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let id = named(&alice, "Unwanted").await;
    alice.send_text(&id, "a secret").await;
    alice.invite(&id, &bob).await;
    let mut slider = Slider::listing(&bob, 9, 10);
    assert!(has(&slider.next(0).await, &id));
    bob.leave(&id).await;
    let entry = slider.until_room(&id).await;
    assert_eq!(entry["timeline"].as_array().map(Vec::len), Some(1), "{entry}");
    assert_eq!(entry["timeline"][0]["content"]["membership"], "leave");
    assert!(!entry.to_string().contains("a secret"), "{entry}");
    slider.next(0).await.has("/lists/all/count", 0);
    Slider::listing(&bob, 9, 10).next(0).await.has("/lists/all/count", 0);
}

/// A knock is shown as one.
/// spec: client-server-api/#knocking-on-rooms
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn knock_is_shown() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let id = named(&alice, "Door").await;
    alice.set_state(&id, "m.room.join_rules", "", json!({"join_rule": "knock"})).await;
    let mut slider = Slider::listing(&bob, 9, 10);
    slider.next(0).await;
    bob.post(&path!("/v3/knock/{}", id), json!({})).await.expect_ok();
    let entry = slider.until_room(&id).await;
    let own = entry["invite_state"]
        .as_array()
        .and_then(|events| events.iter().find(|event| event["state_key"] == bob.id.as_str()).cloned());
    assert_eq!(own.expect("the own member event")["content"]["membership"], "knock");
}

/// Leaving is told once, with what happened up to it; what comes after it is not.
/// spec: client-server-api/#rejecting-or-leaving-a-room
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn leaving_is_told_once() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let id = named(&alice, "Left").await;
    bob.join(&id).await;
    let mut slider = Slider::listing(&bob, 9, 10);
    slider.next(0).await;
    let last = alice.send_text(&id, "goodbye").await;
    bob.leave(&id).await;
    alice.send_text(&id, "when he is gone").await;
    let entry = slider.until_room(&id).await;
    let events = timeline(&entry);
    assert_eq!((events.len(), &events[0]), (2, &last), "{entry}");
    assert_eq!(entry["timeline"][1]["content"]["membership"], "leave");
    assert!(!entry.to_string().contains("when he is gone"), "{entry}");
    let quiet = slider.next(0).await;
    assert!(!has(&quiet, &id), "{quiet}");
    quiet.has("/lists/all/count", 0);
    // A client that never saw the room is not told of it.
    let fresh = Slider::listing(&bob, 9, 10).next(0).await;
    assert!(!has(&fresh, &id), "{fresh}");
}

/// Being removed is told, to a client that begins too, and nothing that happened afterwards.
/// spec: client-server-api/#kicking-users
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn removal_is_told_to_every_client() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let id = named(&alice, "Removed").await;
    bob.join(&id).await;
    let mut slider = Slider::listing(&bob, 9, 10);
    slider.next(0).await;
    alice.membership(&id, "kick", &bob.id).await.expect_ok();
    alice.set_state(&id, "m.room.name", "", json!({"name": "Later"})).await;
    alice.send_text(&id, "later").await;
    let entry = slider.until_room(&id).await;
    assert_eq!(entry["timeline"][0]["content"]["membership"], "leave", "{entry}");
    let fresh = Slider::listing(&bob, 9, 10).next(0).await;
    let entry = room(&fresh, &id);
    assert_eq!(entry["name"], "Removed", "{fresh}");
    assert!(!entry.to_string().to_lowercase().contains("later"), "{fresh}");
    fresh.has("/lists/all/count", 1);
}

/// A ban from a room where the user never was is none of their rooms, and shows nothing of it.
/// spec: client-server-api/#banning-users-in-a-room
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn ban_from_a_foreign_room_shows_nothing() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let id = named(&alice, "Foreign").await;
    alice.membership(&id, "ban", &bob.id).await.expect_ok();
    let mut slider = Slider::listing(&bob, 9, 10);
    slider.body["room_subscriptions"] =
        json!({id.as_str(): {"timeline_limit": 5, "required_state": [["*", "*"]]}});
    let answer = slider.next(0).await;
    assert!(!has(&answer, &id), "{answer}");
    answer.has("/lists/all/count", 0);
}

/// Who comes back to a room that the client saw them leave gets all of it again.
/// spec: client-server-api/#room-membership
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn coming_back_begins_anew() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let id = named(&alice, "Again").await;
    bob.join(&id).await;
    let mut slider = Slider::listing(&bob, 9, 10);
    slider.next(0).await;
    bob.leave(&id).await;
    slider.until_room(&id).await;
    bob.join(&id).await;
    let entry = slider.until_room(&id).await;
    assert_eq!((&entry["initial"], &entry["name"]), (&json!(true), &json!("Again")), "{entry}");
}

/// Invites from people whom one ignores are neither told nor counted.
/// spec: client-server-api/#ignoring-users
/// not on synapse: it counts them
#[tokio::test]
async fn invites_of_ignored_people_are_not_counted() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let carol = server.register("carol").await;
    let ignored = json!({"ignored_users": {alice.id.clone(): {}}});
    bob.put(&path!("/v3/user/{}/account_data/m.ignored_user_list", bob.id), ignored).await.expect_ok();
    let (hidden, shown) = (named(&alice, "Hidden").await, named(&carol, "Shown").await);
    alice.invite(&hidden, &bob).await;
    carol.invite(&shown, &bob).await;
    let answer = Slider::listing(&bob, 9, 1).peek().await;
    assert_eq!(answer.at("/lists/all/count"), 1);
    assert!(has(&answer, &shown) && !has(&answer, &hidden), "{answer}");
    let nobody = json!({"ignored_users": {}});
    bob.put(&path!("/v3/user/{}/account_data/m.ignored_user_list", bob.id), nobody).await.expect_ok();
    assert_eq!(Slider::listing(&bob, 9, 1).peek().await.at("/lists/all/count"), 2);
}
