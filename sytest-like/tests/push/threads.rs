//! How subscriptions to threads change what notifies (MSC4306).

use super::scene::{Scene, now};
use sytest_like::{Server, User, Value, json, path};

const SUBSCRIBED: &str = ".io.element.msc4306.rule.subscribed_thread";
const UNSUBSCRIBED: &str = ".io.element.msc4306.rule.unsubscribed_thread";

async fn subscribe(user: &User, room: &str, root: &str) {
    let path = path!("/unstable/io.element.msc4306/rooms/{}/thread/{}/subscription", room, root);
    user.put(&path, json!({})).await.expect_ok();
}

async fn unsubscribe(user: &User, room: &str, root: &str) {
    let path = path!("/unstable/io.element.msc4306/rooms/{}/thread/{}/subscription", room, root);
    user.delete(&path).await.expect_ok();
}

async fn rules_of_threads(user: &User) -> Vec<String> {
    let rules = user.get("/v3/pushrules/").await.expect_ok();
    let rules = rules.json["global"]["postcontent"].as_array().cloned().unwrap_or_default();
    rules.iter().filter_map(|rule| rule["rule_id"].as_str().map(str::to_owned)).collect()
}

async fn mute(user: &User, room: &str) {
    user.put(&path!("/v3/pushrules/global/room/{}", room), json!({"actions": []})).await.expect_ok();
}

/// The rules about threads come with the first subscription, and nobody can make others of their kind.
/// spec: client-server-api/#push-rules
/// covers: GET /_matrix/client/v3/pushrules/
/// not on synapse: it has to be switched on there
#[tokio::test]
async fn rules_come_with_the_first_subscription() {
    let Scene { alice, room, .. } = Scene::new(&Server::shared().await).await;
    let root = alice.send_text(&room, "the root").await;
    assert!(rules_of_threads(&alice).await.is_empty());
    let mut syncer = alice.syncer().await;
    subscribe(&alice, &room, &root).await;
    assert_eq!(rules_of_threads(&alice).await, [UNSUBSCRIBED, SUBSCRIBED]);
    let is_told = |event: &Value| {
        event["type"] == "m.push_rules"
            && event["content"]["global"]["postcontent"][1]["rule_id"] == SUBSCRIBED
    };
    syncer
        .until("the new rules", |answer| {
            answer.json["account_data"]["events"].as_array().is_some_and(|events| events.iter().any(is_told))
        })
        .await;

    let own = json!({"actions": ["notify"], "conditions": []});
    let path = path!("/v3/pushrules/global/postcontent/{}", "mine");
    alice.put(&path, own).await.expect_err(400, "M_INVALID_PARAM");
    assert_eq!(rules_of_threads(&alice).await, [UNSUBSCRIBED, SUBSCRIBED]);
}

/// Messages of a subscribed thread notify in a muted room; those of other threads notify nobody who uses subscriptions,
/// unless they are mentioned. Those who do not use them are not concerned.
/// spec: client-server-api/#push-rules
/// covers: GET /_matrix/client/v3/sync
/// not on synapse: it has to be switched on there
#[tokio::test]
async fn subscriptions_decide_what_notifies() {
    let scene = Scene::new(&Server::shared().await).await;
    let Scene { alice, bob, carol, room } = &scene;
    let (root, other) = (alice.send_text(room, "one root").await, alice.send_text(room, "another").await);
    subscribe(bob, room, &root).await;
    assert_eq!(now(bob, room).await, (2, 0));
    scene.send_in_thread(alice, &other, json!({})).await;
    assert_eq!((now(bob, room).await, now(carol, room).await), ((2, 0), (3, 0)));
    scene.send_in_thread(alice, &other, json!({"m.mentions": {"user_ids": [bob.id]}})).await;
    assert_eq!(now(bob, room).await, (3, 1));
    mute(bob, room).await;
    // Only the mention counts in a muted room.
    assert_eq!(now(bob, room).await, (1, 1));
    scene.send_in_thread(alice, &root, json!({})).await;
    assert_eq!(now(bob, room).await, (2, 1));
    alice.send_text(room, "beside the thread").await;
    assert_eq!(now(bob, room).await, (2, 1));
    unsubscribe(bob, room, &root).await;
    scene.send_in_thread(alice, &root, json!({})).await;
    assert_eq!(now(bob, room).await, (2, 1));
}

/// Each of the two rules can be switched off, and that outlasts a restart.
/// spec: client-server-api/#put_matrixclientv3pushrulesglobalkindruleidenabled
/// covers: PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/enabled
/// not on synapse: it has to be switched on there
#[tokio::test]
async fn rules_of_threads_can_be_switched_off() {
    let server = Server::start().await;
    let scene = Scene::new(&server).await;
    let Scene { alice, bob, room, .. } = &scene;
    let (root, other) = (alice.send_text(room, "one root").await, alice.send_text(room, "another").await);
    subscribe(bob, room, &root).await;
    let path = path!("/v3/pushrules/global/postcontent/{}/enabled", UNSUBSCRIBED);
    bob.put(&path, json!({"enabled": false})).await.expect_ok();
    server.restart().await;
    bob.get(&path).await.expect_ok().has("enabled", false);
    scene.send_in_thread(alice, &other, json!({})).await;
    assert_eq!(now(bob, room).await, (3, 0));
    scene.send_in_thread(alice, &root, json!({})).await;
    assert_eq!(now(bob, room).await, (4, 0));
}
