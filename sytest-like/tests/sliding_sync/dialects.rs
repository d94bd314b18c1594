//! The dialect of the proposal, and how servers say that they know the other one.

use super::slider::{Slider, V4, named, room, slot, state, timeline};
use sytest_like::{Server, User, Value, json};

fn all(required: Value) -> Value {
    json!({"all": {"range": [0, 9], "timeline_limit": 2, "required_state": required}})
}

async fn ask(user: &User, body: Value) -> sytest_like::Response {
    user.post(V4, body).await.expect_ok()
}

/// The feature is announced.
/// spec: client-server-api/#get_matrixclientversions
#[tokio::test]
async fn unstable_feature_is_announced() {
    let server = Server::shared().await;
    let versions = server.get("/versions").await.expect_ok();
    versions.has("/unstable_features/org.matrix.simplified_msc3575", true);
}

/// A room, with the keys that the other dialect does not have, and position and timeout in the body.
/// spec: client-server-api/#syncing
/// not on synapse: it does not have it
#[tokio::test]
async fn room_in_the_dialect_of_the_proposal() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let id = named(&alice, "Fourth").await;
    let name = json!({"include": [{"type": "m.room.name", "state_key": ""}]});
    let answer = ask(&alice, json!({"lists": all(name.clone())})).await;
    let entry = room(&answer, &id);
    assert_eq!((&entry["membership"], &entry["lists"]), (&json!("join"), &json!(["all"])), "{answer}");
    assert_eq!(state(entry), [slot("m.room.name", "")]);
    let sent = alice.send_text(&id, "news").await;
    let body = json!({"pos": answer.str("pos"), "timeout": 5_000, "lists": all(name.clone())});
    let answer = ask(&alice, body).await;
    assert_eq!(timeline(room(&answer, &id)), [sent.clone()]);
    let mut longer = all(name);
    longer["all"]["timeline_limit"] = json!(4);
    let answer = ask(&alice, json!({"pos": answer.str("pos"), "lists": longer})).await;
    assert_eq!(room(&answer, &id)["expanded_timeline"], true, "{answer}");
    assert_eq!(timeline(room(&answer, &id)).last(), Some(&sent));
}

/// State is included, excluded, and loaded lazily.
/// spec: client-server-api/#syncing
/// not on synapse: it does not have it
#[tokio::test]
async fn state_rules_of_the_proposal() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let id = named(&alice, "Rules").await;
    bob.join(&id).await;
    alice.send_text(&id, "one").await;
    alice.send_text(&id, "two").await;
    let of = async |required: Value| {
        let answer = ask(&alice, json!({"lists": all(required)})).await;
        state(room(&answer, &id))
    };
    let everything = of(json!({"include": [{}]})).await;
    assert!(everything.contains(&slot("m.room.member", &bob.id)), "{everything:?}");
    let but_create =
        of(json!({"include": [{}], "exclude": [{"type": "m.room.create", "state_key": ""}]})).await;
    assert_eq!(but_create.len() + 1, everything.len(), "{but_create:?}");
    let lazy = of(json!({"include": [{}], "lazy_members": true})).await;
    assert!(
        lazy.contains(&slot("m.room.member", &alice.id)) && lazy.len() + 1 == everything.len(),
        "{lazy:?}"
    );
    let own = json!({"include": [{"type": "m.room.member", "state_key": bob.id}], "lazy_members": true});
    assert_eq!(of(own).await.len(), 2);
    assert_eq!(of(json!({})).await, []);
}

/// An invite comes with `stripped_state`.
/// spec: client-server-api/#stripped-state
/// not on synapse: it does not have it
#[tokio::test]
async fn invite_in_the_dialect_of_the_proposal() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let id = named(&alice, "Invited").await;
    alice.invite(&id, &bob).await;
    let mut lists = all(json!({}));
    lists["all"]["filters"] = json!({"is_invited": true});
    let answer = ask(&bob, json!({"lists": lists})).await;
    let entry = room(&answer, &id);
    assert_eq!(entry["membership"], "invite");
    assert!(entry["stripped_state"].is_array() && entry.get("invite_state").is_none(), "{answer}");
}

/// A request without lists and subscriptions opens a connection that tells of nothing.
/// spec: client-server-api/#syncing
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn empty_request() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    named(&alice, "Unseen").await;
    for body in [json!({}), json!({"lists": {}, "room_subscriptions": {}, "extensions": {}})] {
        let answer = ask(&alice, body.clone()).await;
        assert!(answer["rooms"] == json!({}) && answer["lists"] == json!({}), "{answer}");
        let mut slider = Slider::new(&alice, body);
        slider.next(0).await;
        slider.next(0).await;
    }
}

/// The client's transaction id comes back.
/// spec: client-server-api/#syncing
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn transaction_id_comes_back() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let mut slider = Slider::listing(&alice, 9, 1);
    slider.body["txn_id"] = json!("mine");
    slider.next(0).await.has("txn_id", "mine");
}
