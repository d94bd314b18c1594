//! Account data, receipts and typing.

use super::slider::{Slider, named};
use sytest_like::{Response, Server, User, Value, json, path};

fn with(user: &User, extensions: Value) -> Slider {
    let mut slider = Slider::listing(user, 9, 5);
    slider.body["extensions"] = extensions;
    slider
}

fn extension<'a>(answer: &'a Response, name: &str) -> Option<&'a Value> {
    answer.json["extensions"].get(name)
}

fn types(events: &Value) -> Vec<String> {
    let events = events.as_array().map(Vec::as_slice).unwrap_or_default();
    events.iter().filter_map(|event| event["type"].as_str().map(str::to_owned)).collect()
}

async fn tag(user: &User, room: &str, tag: &str) {
    user.put(&path!("/v3/user/{}/rooms/{}/tags/{}", user.id, room, tag), json!({})).await.expect_ok();
}

async fn read(user: &User, room: &str, event: &str) {
    user.post(&path!("/v3/rooms/{}/receipt/m.read/{}", room, event), json!({})).await.expect_ok();
}

/// Global account data: all of it at first, changes later.
/// spec: client-server-api/#client-config
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn global_account_data() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let set = async |kind: &str, value: i64| {
        let path = path!("/v3/user/{}/account_data/{}", alice.id, kind);
        alice.put(&path, json!({"value": value})).await.expect_ok();
    };
    set("org.example.a", 1).await;
    let mut slider = with(&alice, json!({"account_data": {"enabled": true}}));
    let answer = slider.next(0).await;
    let data = extension(&answer, "account_data").expect("account data");
    assert!(types(&data["global"]).contains(&"org.example.a".to_owned()), "{answer}");
    assert!(types(&data["global"]).contains(&"m.push_rules".to_owned()), "{answer}");
    assert!(extension(&slider.next(0).await, "account_data").is_none());
    let (answer, ()) = tokio::join!(slider.next(30_000), set("org.example.b", 2));
    let data = extension(&answer, "account_data").expect("account data");
    assert_eq!(types(&data["global"]), ["org.example.b"]);
    assert_eq!(data["global"][0]["content"]["value"], 2);
}

/// Account data of a room comes with the room, and later by itself.
/// spec: client-server-api/#room-tagging
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn account_data_of_rooms() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let (one, two) = (named(&alice, "one").await, named(&alice, "two").await);
    tag(&alice, &one, "u.old").await;
    let mut slider = with(&alice, json!({"account_data": {"enabled": true}}));
    let answer = slider.next(0).await;
    let rooms = &extension(&answer, "account_data").expect("account data")["rooms"];
    assert_eq!(types(&rooms[&one]), ["m.tag"]);
    assert!(rooms.get(&two).is_none(), "{answer}");
    let (answer, ()) = tokio::join!(slider.next(30_000), tag(&alice, &two, "u.new"));
    let rooms = &extension(&answer, "account_data").expect("account data")["rooms"];
    assert!(rooms.get(&one).is_none() && rooms.get(&two).is_some(), "{answer}");
    assert_eq!(answer.json["rooms"], json!({}), "{answer}");
}

/// Data of a room that is not looked at waits until it is.
/// spec: client-server-api/#room-tagging
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn account_data_of_a_room_out_of_sight_waits() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let (one, two) = (named(&alice, "one").await, named(&alice, "two").await);
    let mut slider = with(&alice, json!({"account_data": {"enabled": true}}));
    slider.next(0).await;
    slider.body["lists"]["all"]["ranges"] = json!([[0, 0]]);
    tag(&alice, &one, "u.waiting").await;
    alice.send_text(&two, "news").await;
    let answer = slider.next(0).await;
    assert!(extension(&answer, "account_data").is_none(), "{answer}");
    alice.send_text(&two, "more news").await;
    slider.next(0).await;
    slider.body["lists"]["all"]["ranges"] = json!([[0, 9]]);
    let answer = slider.next(0).await;
    let rooms = &extension(&answer, "account_data").expect("account data")["rooms"];
    assert_eq!(types(&rooms[&one]), ["m.tag"], "{answer}");
    assert!(extension(&slider.next(0).await, "account_data").is_none());
}

/// Receipts: those on what is shown at first, changes later; private ones are one's own.
/// spec: client-server-api/#receipts
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn receipts_of_rooms() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let id = named(&alice, "Read").await;
    bob.join(&id).await;
    let first = alice.send_text(&id, "first").await;
    read(&bob, &id, &first).await;
    let mut slider = with(&alice, json!({"receipts": {"enabled": true}}));
    let answer = slider.next(0).await;
    let event = &extension(&answer, "receipts").expect("receipts")["rooms"][&id];
    assert_eq!(event["type"], "m.receipt");
    assert!(event["content"][&first]["m.read"].get(&bob.id).is_some(), "{answer}");
    let second = alice.send_text(&id, "second").await;
    slider.next(0).await;
    let private = path!("/v3/rooms/{}/receipt/m.read.private/{}", id, second);
    bob.post(&private, json!({})).await.expect_ok();
    assert!(extension(&slider.next(0).await, "receipts").is_none());
    let (answer, ()) = tokio::join!(slider.next(30_000), read(&bob, &id, &second));
    let event = &extension(&answer, "receipts").expect("receipts")["rooms"][&id];
    assert!(event["content"][&second]["m.read"].get(&bob.id).is_some(), "{answer}");
}

/// Typing begins and ends.
/// spec: client-server-api/#typing-notifications
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn typing_in_rooms() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let id = named(&alice, "Typing").await;
    bob.join(&id).await;
    let mut slider = with(&alice, json!({"typing": {"enabled": true}}));
    slider.next(0).await;
    let path = path!("/v3/rooms/{}/typing/{}", id, bob.id);
    let types = |answer: &Response| {
        let event = extension(answer, "typing")?["rooms"].get(&id)?;
        assert_eq!(event["type"], "m.typing", "{answer}");
        Some(event["content"]["user_ids"].clone())
    };
    bob.put(&path, json!({"typing": true, "timeout": 30_000})).await.expect_ok();
    assert_eq!(slider.until("typing", types).await, json!([bob.id]));
    bob.put(&path, json!({"typing": false})).await.expect_ok();
    assert_eq!(slider.until("no typing", types).await, json!([]));
}

/// An extension looks only at the lists and subscriptions that it names.
/// spec: client-server-api/#syncing
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn extensions_keep_to_their_rooms() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let (one, two) = (named(&alice, "one").await, named(&alice, "two").await);
    tag(&alice, &one, "u.one").await;
    tag(&alice, &two, "u.two").await;
    let seen = async |scope: Value| {
        let mut slider = with(&alice, json!({"account_data": scope}));
        slider.body["room_subscriptions"] =
            json!({two.as_str(): {"timeline_limit": 1, "required_state": []}});
        slider.body["lists"]["all"]["ranges"] = json!([[1, 1]]);
        let answer = slider.next(0).await;
        let rooms = extension(&answer, "account_data").map(|data| data["rooms"].clone());
        let has = |id: &str| rooms.as_ref().is_some_and(|rooms| rooms.get(id).is_some());
        (has(&one), has(&two))
    };
    assert_eq!(seen(json!({"enabled": true})).await, (true, true));
    assert_eq!(seen(json!({"enabled": true, "lists": [], "rooms": ["*"]})).await, (false, true));
    assert_eq!(seen(json!({"enabled": true, "lists": ["all"], "rooms": []})).await, (true, false));
    assert_eq!(seen(json!({"enabled": true, "lists": ["other"], "rooms": [one]})).await, (false, false));
    assert_eq!(seen(json!({"enabled": false})).await, (false, false));
    assert_eq!(seen(json!({})).await, (false, false));
}

/// An extension that is switched on later begins with everything.
/// spec: client-server-api/#syncing
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn extension_switched_on_later() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let id = named(&alice, "Later").await;
    tag(&alice, &id, "u.before").await;
    let path = path!("/v3/user/{}/account_data/org.example.before", alice.id);
    alice.put(&path, json!({})).await.expect_ok();
    let mut slider = Slider::listing(&alice, 9, 5);
    slider.next(0).await;
    slider.body["extensions"] = json!({"account_data": {"enabled": true}});
    let answer = slider.next(0).await;
    let data = extension(&answer, "account_data").expect("account data");
    assert_eq!(types(&data["rooms"][&id]), ["m.tag"], "{answer}");
    assert!(types(&data["global"]).contains(&"org.example.before".to_owned()), "{answer}");
    assert!(extension(&slider.next(0).await, "account_data").is_none());
}
