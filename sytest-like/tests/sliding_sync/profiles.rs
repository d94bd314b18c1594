//! Profiles of those whom the client sees (MSC4262).

use super::slider::{Slider, named};
use sytest_like::{Response, Server, User, Value, json, path};

const EXTENSION: &str = "org.matrix.msc4262.profiles";

/// A connection with profiles, in these fields or all.
fn follower(user: &User, fields: Option<&[&str]>) -> Slider {
    let mut slider = Slider::listing(user, 9, 5);
    slider.body["lists"]["all"]["required_state"] = json!([["m.room.member", "$LAZY"]]);
    slider.body["extensions"][EXTENSION] = json!({"enabled": true});
    if let Some(fields) = fields {
        slider.body["extensions"][EXTENSION]["fields"] = json!(fields);
    }
    slider
}

fn told<'a>(answer: &'a Response, user: &User) -> Option<&'a Value> {
    answer.json["extensions"][EXTENSION]["users"].get(&user.id)
}

async fn set(user: &User, field: &str, value: Value) {
    let mut body = json!({});
    body[field] = value;
    user.put(&path!("/v3/profile/{}/{}", user.id, field), body).await.expect_ok();
}

async fn unset(user: &User, field: &str) {
    user.delete(&path!("/v3/profile/{}/{}", user.id, field)).await.expect_ok();
}

/// Two in a room, of whom the second has said something.
async fn two(server: &Server) -> (User, User, String) {
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = named(&alice, "Profiles").await;
    bob.join(&room).await;
    bob.send_text(&room, "hello").await;
    (alice, bob, room)
}

/// Whoever is shown comes with their profile; what changes later is told, and so is what was removed.
/// spec: client-server-api/#profiles
/// covers: PUT /_matrix/client/v3/profile/{userId}/{keyName}
/// covers: DELETE /_matrix/client/v3/profile/{userId}/{keyName}
/// not on synapse: it has to be switched on there
#[tokio::test]
async fn profiles_come_with_people_and_change() {
    let server = Server::shared().await;
    let (alice, bob, _) = two(&server).await;
    set(&bob, "org.example.mood", json!({"is": "good"})).await;
    set(&bob, "m.tz", json!("Europe/Berlin")).await;
    let mut slider = follower(&alice, None);
    let first = slider.next(0).await;
    let bob_now = &told(&first, &bob).expect("bob is shown")["updated"];
    assert_eq!(bob_now["org.example.mood"], json!({"is": "good"}));
    assert_eq!(bob_now["m.tz"], "Europe/Berlin");

    let (mood, ()) = tokio::join!(
        slider.until("the new mood", |answer| told(answer, &bob).cloned()),
        set(&bob, "org.example.mood", json!("better"))
    );
    assert_eq!(mood, json!({"updated": {"org.example.mood": "better"}}));
    let (gone, ()) = tokio::join!(
        slider.until("the zone that is gone", |answer| told(answer, &bob).cloned()),
        unset(&bob, "m.tz")
    );
    assert_eq!(gone, json!({"removed": ["m.tz"]}));
    assert!(told(&slider.next(0).await, &bob).is_none());
    set(&bob, "m.tz", json!("Asia/Tokyo")).await;
    let back = slider.until("the zone that is back", |answer| told(answer, &bob).cloned()).await;
    assert_eq!(back, json!({"updated": {"m.tz": "Asia/Tokyo"}}));
}

/// Only the fields that are asked for; one's own changes too; an answer that did not arrive is repeated.
/// spec: client-server-api/#profiles
/// not on synapse: it has to be switched on there
#[tokio::test]
async fn wanted_fields_alone() {
    let server = Server::shared().await;
    let (alice, bob, _) = two(&server).await;
    let mut slider = follower(&alice, Some(&["m.tz"]));
    slider.next(0).await;
    set(&bob, "org.example.mood", json!("good")).await;
    set(&bob, "m.tz", json!("Europe/Berlin")).await;
    set(&alice, "m.tz", json!("Europe/Paris")).await;
    let lost = slider.peek().await;
    let answer = slider.next(0).await;
    for answer in [&lost, &answer] {
        assert_eq!(told(answer, &bob), Some(&json!({"updated": {"m.tz": "Europe/Berlin"}})), "{answer}");
        assert_eq!(told(answer, &alice), Some(&json!({"updated": {"m.tz": "Europe/Paris"}})), "{answer}");
    }
    assert!(told(&slider.next(0).await, &bob).is_none());
}

/// Strangers are nobody's business, and whoever leaves the last shared room is taken leave of.
/// spec: client-server-api/#profiles
/// not on synapse: it has to be switched on there
#[tokio::test]
async fn only_those_near_are_followed() {
    let server = Server::shared().await;
    let (alice, bob, room) = two(&server).await;
    let stranger = server.register("stranger").await;
    let mut slider = follower(&alice, None);
    slider.next(0).await;
    set(&stranger, "m.tz", json!("Europe/Berlin")).await;
    bob.leave(&room).await;
    let answer = slider.next(0).await;
    assert_eq!(told(&answer, &bob), Some(&Value::Null), "{answer}");
    assert!(told(&answer, &stranger).is_none(), "{answer}");
    set(&bob, "m.tz", json!("Asia/Tokyo")).await;
    assert!(told(&slider.next(0).await, &bob).is_none());
}

/// Without the extension nothing is said, and wrong types are refused.
/// spec: client-server-api/#profiles
/// not on synapse: it has to be switched on there
#[tokio::test]
async fn extension_has_to_be_asked_for() {
    let server = Server::shared().await;
    let (alice, ..) = two(&server).await;
    let mut slider = follower(&alice, None);
    slider.body["extensions"][EXTENSION]["enabled"] = json!(false);
    assert!(slider.next(0).await.json["extensions"].get(EXTENSION).is_none());
    slider.body["extensions"][EXTENSION] = json!({"enabled": true, "fields": "m.tz"});
    slider.request(0).await.expect_err(400, "M_BAD_JSON");
}
