//! What is asked for of a room: state, timelines, and changes of both.

use super::slider::{Slider, has, list, named, room, slot, state, timeline};
use sytest_like::{Server, Value, json};

fn with_state(required: Value) -> Value {
    json!({"lists": {"all": {"ranges": [[0, 9]], "timeline_limit": 1, "required_state": required}}})
}

/// All of a type, all of a key, everything, and the user's own.
/// spec: client-server-api/#syncing
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn wildcards_and_own_member() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let id = named(&alice, "Wild").await;
    bob.join(&id).await;
    alice.set_state(&id, "org.example.a", "x", json!({})).await;
    alice.set_state(&id, "org.example.a", "y", json!({})).await;
    alice.set_state(&id, "org.example.b", "x", json!({})).await;
    let of = async |required: Value| {
        let answer = Slider::new(&alice, with_state(required)).next(0).await;
        state(room(&answer, &id))
    };
    assert_eq!(
        of(json!([["org.example.a", "*"]])).await,
        [slot("org.example.a", "x"), slot("org.example.a", "y")]
    );
    assert_eq!(of(json!([["*", "x"]])).await, [slot("org.example.a", "x"), slot("org.example.b", "x")]);
    assert_eq!(of(json!([["m.room.member", "$ME"]])).await, [slot("m.room.member", &alice.id)]);
    assert_eq!(of(json!([["org.example.none", ""]])).await, []);
    let all = of(json!([["*", "*"]])).await;
    assert!(
        all.contains(&slot("m.room.create", "")) && all.contains(&slot("m.room.member", &bob.id)),
        "{all:?}"
    );
}

/// Lazy members: those who speak in the timeline, once.
/// spec: client-server-api/#lazy-loading-room-members
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn lazy_members_come_once() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let id = named(&alice, "Lazy").await;
    bob.join(&id).await;
    alice.send_text(&id, "first").await;
    let mut slider = Slider::new(&alice, with_state(json!([["m.room.member", "$LAZY"], ["*", "*"]])));
    let answer = slider.next(0).await;
    let members: Vec<_> =
        state(room(&answer, &id)).into_iter().filter(|(kind, _)| kind == "m.room.member").collect();
    assert_eq!(members, [slot("m.room.member", &alice.id)], "{answer}");
    assert!(state(room(&answer, &id)).contains(&slot("m.room.create", "")), "{answer}");
    bob.send_text(&id, "second").await;
    let answer = slider.next(5_000).await;
    assert_eq!(state(room(&answer, &id)), [slot("m.room.member", &bob.id)], "{answer}");
    bob.send_text(&id, "third").await;
    let answer = slider.next(5_000).await;
    assert_eq!(state(room(&answer, &id)), [], "{answer}");
}

/// Lazy or not, a membership that changes without a gap is told.
/// spec: client-server-api/#lazy-loading-room-members
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn changed_members_are_told_to_lazy_clients() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let id = named(&alice, "Coming").await;
    let mut slider = Slider::new(&alice, with_state(json!([["m.room.member", "$LAZY"]])));
    slider.next(0).await;
    bob.join(&id).await;
    let entry = slider.until_room(&id).await;
    assert_eq!(state(&entry), [slot("m.room.member", &bob.id)]);
}

/// Asking for more state brings what was not asked for before, at once.
/// spec: client-server-api/#syncing
/// not on synapse: it waits for the next event of the room
#[tokio::test]
async fn more_state_comes_at_once() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let id = named(&alice, "More").await;
    let mut slider = Slider::new(&alice, with_state(json!([["m.room.name", ""]])));
    slider.next(0).await;
    slider.body = with_state(json!([["m.room.name", ""], ["m.room.create", ""]]));
    let answer = slider.next(5_000).await;
    assert_eq!(state(room(&answer, &id)), [slot("m.room.create", "")]);
    assert!(!has(&slider.next(0).await, &id));
    // What was given up and changed meanwhile comes again.
    slider.body = with_state(json!([]));
    slider.next(0).await;
    alice.set_state(&id, "m.room.name", "", json!({"name": "Changed"})).await;
    let answer = slider.next(5_000).await;
    assert_eq!(state(room(&answer, &id)), [], "{answer}");
    slider.body = with_state(json!([["m.room.name", ""]]));
    let answer = slider.next(0).await;
    let entry = room(&answer, &id);
    assert_eq!(entry["required_state"][0]["content"]["name"], "Changed", "{answer}");
}

/// A longer timeline is sent at once, from the newest event back.
/// spec: client-server-api/#syncing
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn longer_timeline_is_expanded() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let id = named(&alice, "Long").await;
    let mut sent = Vec::new();
    for number in 0..6 {
        sent.push(alice.send_text(&id, &format!("message {number}")).await);
    }
    let mut slider = Slider::listing(&alice, 9, 1);
    let answer = slider.next(0).await;
    assert_eq!(timeline(room(&answer, &id)), sent[5..]);
    slider.body["room_subscriptions"] =
        json!({id.as_str(): {"timeline_limit": 4, "required_state": [["m.room.name", ""]]}});
    let answer = slider.next(5_000).await;
    let entry = room(&answer, &id);
    assert_eq!(timeline(entry), sent[2..]);
    assert_eq!(entry["unstable_expanded_timeline"], true, "{answer}");
    assert_eq!((&entry["num_live"], &entry["limited"]), (&json!(0), &json!(true)));
    assert!(entry.get("initial").is_none(), "{answer}");
    assert!(!has(&slider.next(0).await, &id));
    // Back and forth without a gap: the client has them all.
    slider.body["room_subscriptions"] = json!({});
    sent.push(alice.send_text(&id, "one more").await);
    let answer = slider.next(5_000).await;
    assert_eq!(timeline(room(&answer, &id)), sent[6..]);
    slider.body["room_subscriptions"] =
        json!({id.as_str(): {"timeline_limit": 4, "required_state": [["m.room.name", ""]]}});
    assert!(!has(&slider.next(0).await, &id));
}

/// A room in several rules gets the most of each.
/// spec: client-server-api/#syncing
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn rules_are_combined() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let id = named(&alice, "Both").await;
    let mut one = list(9, 1);
    one["required_state"] = json!([["m.room.create", ""]]);
    let body = json!({
        "lists": {"one": one, "two": list(9, 3)},
        "room_subscriptions": {id.as_str(): {"timeline_limit": 2, "required_state": [["m.room.join_rules", ""]]}},
    });
    let answer = Slider::new(&alice, body).next(0).await;
    let entry = room(&answer, &id);
    assert_eq!(timeline(entry).len(), 3);
    assert_eq!(
        state(entry),
        [slot("m.room.create", ""), slot("m.room.join_rules", ""), slot("m.room.name", "")]
    );
}

/// A subscription brings a room that no list has; rooms that are none of the user's business are passed over.
/// spec: client-server-api/#syncing
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn subscriptions_show_own_rooms_only() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let own = named(&alice, "Own").await;
    let foreign = named(&bob, "Foreign").await;
    let wanted = json!({"timeline_limit": 5, "required_state": [["*", "*"]]});
    let body = json!({"room_subscriptions": {
        own.as_str(): wanted, foreign.as_str(): wanted, "!nowhere:example.org": wanted,
    }});
    let mut slider = Slider::new(&alice, body);
    let answer = slider.next(0).await;
    assert!(has(&answer, &own) && !has(&answer, &foreign), "{answer}");
    assert!(!answer.json.to_string().contains("Foreign"), "{answer}");
    let sent = alice.send_text(&own, "subscribed").await;
    let answer = slider.next(5_000).await;
    assert_eq!(timeline(room(&answer, &own)), [sent]);
}
