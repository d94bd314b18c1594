//! Subscriptions to threads (MSC4306), and how sliding sync tells of them (MSC4308).

use super::slider::{Slider, named};
use sytest_like::{Response, Server, ServerOptions, User, Value, json, path};

const EXTENSION: &str = "io.element.msc4308.thread_subscriptions";

fn subscription(room: &str, root: &str) -> String {
    path!("/unstable/io.element.msc4306/rooms/{}/thread/{}/subscription", room, root)
}

async fn subscribe(user: &User, room: &str, root: &str, body: Value) -> Response {
    user.put(&subscription(room, root), body).await
}

async fn reply(user: &User, room: &str, root: &str) -> String {
    let relation = json!({"rel_type": "m.thread", "event_id": root});
    user.send(room, "m.room.message", json!({"msgtype": "m.text", "body": "in it", "m.relates_to": relation}))
        .await
}

/// Two users in a room with a thread: its root and the first event in it.
async fn thread(server: &Server) -> (User, User, String, String, String) {
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = named(&alice, "Threads").await;
    bob.join(&room).await;
    let root = alice.send_text(&room, "the root").await;
    let first = reply(&bob, &room, &root).await;
    (alice, bob, room, root, first)
}

/// Subscribing, asking, and ending it, which may be done twice.
/// spec: client-server-api/#threading
/// not on synapse: it has to be switched on there
#[tokio::test]
async fn subscription_comes_and_goes() {
    let server = Server::shared().await;
    let (alice, bob, room, root, _) = thread(&server).await;
    let path = subscription(&room, &root);
    alice.get(&path).await.expect_err(404, "M_NOT_FOUND");
    subscribe(&alice, &room, &root, json!({})).await.expect_ok();
    subscribe(&alice, &room, &root, json!({})).await.expect_ok();
    alice.get(&path).await.expect_ok().has("automatic", false);
    bob.get(&path).await.expect_err(404, "M_NOT_FOUND");
    alice.delete(&path).await.expect_ok();
    alice.delete(&path).await.expect_ok();
    alice.get(&path).await.expect_err(404, "M_NOT_FOUND");
}

/// A client subscribes by itself because of an event of the thread; what the user does stands above that.
/// spec: client-server-api/#threading
/// not on synapse: it has to be switched on there
#[tokio::test]
async fn automatic_subscription() {
    let server = Server::shared().await;
    let (alice, bob, room, root, first) = thread(&server).await;
    let path = subscription(&room, &root);
    subscribe(&alice, &room, &root, json!({"automatic": first})).await.expect_ok();
    alice.get(&path).await.expect_ok().has("automatic", true);
    subscribe(&alice, &room, &root, json!({})).await.expect_ok();
    alice.get(&path).await.expect_ok().has("automatic", false);
    subscribe(&alice, &room, &root, json!({"automatic": first})).await.expect_ok();
    alice.get(&path).await.expect_ok().has("automatic", false);
    alice.delete(&path).await.expect_ok();
    subscribe(&alice, &room, &root, json!({"automatic": first}))
        .await
        .expect_err(409, "IO.ELEMENT.MSC4306.M_CONFLICTING_UNSUBSCRIPTION");
    alice.get(&path).await.expect_err(404, "M_NOT_FOUND");
    let later = reply(&bob, &room, &root).await;
    subscribe(&alice, &room, &root, json!({"automatic": later})).await.expect_ok();
    alice.get(&path).await.expect_ok().has("automatic", true);
}

/// Events of other threads, of other rooms, or of none are no reason; what is not to be seen cannot be subscribed to.
/// spec: client-server-api/#threading
/// not on synapse: it has to be switched on there
#[tokio::test]
async fn senseless_subscriptions_are_refused() {
    let server = Server::shared().await;
    let (alice, _, room, root, first) = thread(&server).await;
    let mallory = server.register("mallory").await;
    let plain = alice.send_text(&room, "outside").await;
    for cause in [plain.as_str(), root.as_str(), "$nothing:example.org"] {
        subscribe(&alice, &room, &root, json!({"automatic": cause}))
            .await
            .expect_err(400, "IO.ELEMENT.MSC4306.M_NOT_IN_THREAD");
    }
    let other = named(&alice, "Other").await;
    for (user, room, root) in [
        (&mallory, room.as_str(), root.as_str()),
        (&alice, other.as_str(), root.as_str()),
        (&alice, room.as_str(), "$nothing:example.org"),
        (&alice, "!nowhere:example.org", root.as_str()),
    ] {
        let path = subscription(room, root);
        user.put(&path, json!({})).await.expect_err(404, "M_NOT_FOUND");
        user.get(&path).await.expect_err(404, "M_NOT_FOUND");
        user.delete(&path).await.expect_err(404, "M_NOT_FOUND");
    }
    for body in [json!({"automatic": true}), json!({"automatic": "no event"}), json!({"automatic": [first]})]
    {
        subscribe(&alice, &room, &root, body).await.expect_refused();
    }
}

/// Sliding sync tells of subscriptions that are made and ended, on whichever device.
/// spec: client-server-api/#threading
/// not on synapse: it has to be switched on there
#[tokio::test]
async fn changes_come_down_sliding_sync() {
    let server = Server::shared().await;
    let (alice, _, room, root, first) = thread(&server).await;
    let mut slider = Slider::listing(&alice, 9, 1);
    slider.body["extensions"] = json!({EXTENSION: {"enabled": true}});
    let answer = slider.next(0).await;
    assert!(answer.json["extensions"].get(EXTENSION).is_none(), "{answer}");
    let (answer, made) =
        tokio::join!(slider.next(30_000), subscribe(&alice, &room, &root, json!({"automatic": first})));
    made.expect_ok();
    let entry = &answer.json["extensions"][EXTENSION]["subscribed"][&room][&root];
    assert_eq!(entry["automatic"], true, "{answer}");
    let stamp = entry["bump_stamp"].as_i64().expect("a number");
    let path = subscription(&room, &root);
    let (answer, ended) = tokio::join!(slider.next(30_000), alice.delete(&path));
    ended.expect_ok();
    let entry = &answer.json["extensions"][EXTENSION]["unsubscribed"][&room][&root];
    assert!(entry["bump_stamp"].as_i64().is_some_and(|now| now > stamp), "{answer}");
    assert_eq!(slider.next(0).await.json["extensions"], json!({}));
}

/// More changes than fit come newest first, and the rest by pages.
/// spec: client-server-api/#threading
/// not on synapse: it has to be switched on there
#[tokio::test]
async fn many_changes_come_in_pages() {
    const MANY: usize = 7;
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let room = named(&alice, "Many").await;
    let mut slider = Slider::listing(&alice, 9, 1);
    slider.body["extensions"] = json!({EXTENSION: {"enabled": true, "limit": 3}});
    let pos = slider.next(0).await.str("pos").to_owned();
    let mut roots = Vec::new();
    for number in 0..MANY {
        let root = alice.send_text(&room, &format!("root {number}")).await;
        subscribe(&alice, &room, &root, json!({})).await.expect_ok();
        roots.push(root);
    }
    let answer = slider.next(0).await;
    let told = &answer.json["extensions"][EXTENSION];
    let names = |page: &Value| -> Vec<String> {
        let threads = page["subscribed"][&room].as_object();
        threads.map(|threads| threads.keys().cloned().collect()).unwrap_or_default()
    };
    let mut found = names(told);
    assert_eq!(found.len(), 3, "{answer}");
    assert!(roots[MANY - 3..].iter().all(|root| found.contains(root)), "{answer}");
    let mut from = told["prev_batch"].as_str().map(str::to_owned);
    while let Some(token) = from {
        let list = alice.get("/unstable/io.element.msc4308/thread_subscriptions");
        let request = list.query("dir", "b").query("from", &token).query("to", &pos).query("limit", "3");
        let page = request.await.expect_ok();
        found.extend(names(&page.json));
        from = page.get("end").and_then(Value::as_str).map(str::to_owned);
    }
    found.sort();
    roots.sort();
    assert_eq!(found, roots);
    let list = "/unstable/io.element.msc4308/thread_subscriptions";
    for (name, value) in [("dir", "f"), ("from", "nonsense"), ("to", "t1-2"), ("limit", "-1")] {
        alice.get(list).query(name, value).await.expect_err(400, "M_INVALID_PARAM");
    }
}

/// A subscription made at one replica is heard of at the other.
/// spec: client-server-api/#threading
/// not on synapse: it has no equal replicas
#[tokio::test]
async fn subscriptions_cross_replicas() {
    let replicas = ServerOptions::default().start_replicas(2).await;
    let (alice, _, room, root, _) = thread(&replicas[0]).await;
    let mut slider = Slider::listing(&replicas[1].as_seen_here(&alice), 9, 1);
    slider.body["extensions"] = json!({EXTENSION: {"enabled": true}});
    slider.next(0).await;
    let (answer, made) = tokio::join!(slider.next(30_000), subscribe(&alice, &room, &root, json!({})));
    made.expect_ok();
    assert_eq!(
        answer.json["extensions"][EXTENSION]["subscribed"][&room][&root]["automatic"], false,
        "{answer}"
    );
}
