//! Pushers, and what push gateways are told.

use super::scene::Scene;
use sytest_like::{Gateway, Server, ServerOptions, User, Value, json, unique};

/// A server that may reach gateways of the test.
fn options() -> ServerOptions {
    ServerOptions::default().kith("push.allowed_private_ranges", "[\"127.0.0.0/8\"]")
}

fn pusher(url: &str, key: &str) -> Value {
    json!({
        "pushkey": key,
        "kind": "http",
        "app_id": "org.example.app",
        "app_display_name": "App",
        "device_display_name": "Phone",
        "profile_tag": "tag",
        "lang": "en",
        "data": {"url": url, "custom": {"a": 1}},
    })
}

async fn set(user: &User, body: Value) {
    user.post("/v3/pushers/set", body).await.expect_ok();
}

async fn listed(user: &User) -> Vec<Value> {
    user.get("/v3/pushers").await.expect_ok().array("pushers").clone()
}

/// Pushers are set, listed, replaced and deleted.
/// spec: client-server-api/#post_matrixclientv3pushersset
/// covers: GET /_matrix/client/v3/pushers
/// covers: POST /_matrix/client/v3/pushers/set
#[tokio::test]
async fn pushers_come_and_go() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let url = "https://push.example.org/_matrix/push/v1/notify";
    let key = unique("key");
    assert!(listed(&alice).await.is_empty());
    set(&alice, pusher(url, &key)).await;
    assert_eq!(listed(&alice).await, [pusher(url, &key)]);
    let mut changed = pusher(url, &key);
    changed["lang"] = json!("de");
    set(&alice, changed.clone()).await;
    assert_eq!(listed(&alice).await, [changed]);
    let gone = json!({"pushkey": key, "app_id": "org.example.app", "kind": null});
    set(&alice, gone.clone()).await;
    assert!(listed(&alice).await.is_empty());
    set(&alice, gone).await;
}

/// A device that changes hands takes its pusher along, unless the client says that both want it.
/// spec: client-server-api/#post_matrixclientv3pushersset
/// covers: POST /_matrix/client/v3/pushers/set
#[tokio::test]
async fn key_belongs_to_one_user_unless_appended() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let (url, key) = ("https://push.example.org/_matrix/push/v1/notify", unique("key"));
    set(&alice, pusher(url, &key)).await;
    let mut appended = pusher(url, &key);
    appended["append"] = json!(true);
    set(&bob, appended).await;
    assert_eq!((listed(&alice).await.len(), listed(&bob).await.len()), (1, 1));
    set(&bob, pusher(url, &key)).await;
    assert_eq!((listed(&alice).await.len(), listed(&bob).await.len()), (0, 1));
}

/// A pusher goes with the device that set it.
/// spec: client-server-api/#post_matrixclientv3logout
/// covers: POST /_matrix/client/v3/logout
/// covers: GET /_matrix/client/v3/pushers
#[tokio::test]
async fn pusher_goes_with_its_device() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let phone = alice.login().await;
    set(&phone, pusher("https://push.example.org/_matrix/push/v1/notify", &unique("key"))).await;
    assert_eq!(listed(&alice).await.len(), 1);
    phone.post("/v3/logout", json!({})).await.expect_ok();
    assert!(listed(&alice).await.is_empty());
}

/// What is no pusher is refused.
/// spec: client-server-api/#post_matrixclientv3pushersset
/// covers: POST /_matrix/client/v3/pushers/set
#[tokio::test]
async fn nonsense_is_refused() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let good = pusher("https://push.example.org/_matrix/push/v1/notify", "key");
    let bad = [
        ("pushkey", json!("k".repeat(513))),
        ("pushkey", json!("")),
        ("app_id", json!("a".repeat(65))),
        ("kind", json!("pigeon")),
        ("kind", json!(7)),
        ("lang", json!(null)),
        ("app_display_name", json!(null)),
        ("device_display_name", json!([])),
        ("data", json!({})),
        ("data", json!(null)),
        ("data", json!({"url": 7})),
        ("data", json!({"url": "not a url"})),
        ("data", json!({"url": "https://push.example.org/elsewhere"})),
        ("data", json!({"url": "ftp://push.example.org/_matrix/push/v1/notify"})),
    ];
    for (key, value) in bad {
        let mut body = good.clone();
        body[key] = value;
        alice.post("/v3/pushers/set", body).await.expect_refused();
    }
    for key in ["pushkey", "app_id", "kind"] {
        let mut body = good.clone();
        body.as_object_mut().expect("an object").remove(key);
        alice.post("/v3/pushers/set", body).await.expect_refused();
    }
    assert!(listed(&alice).await.is_empty());
}

/// A gateway is told of events, with all that it needs.
/// spec: push-gateway-api/#post_matrixpushv1notify
/// covers: POST /_matrix/client/v3/pushers/set
/// not on synapse: it follows another way to allow gateways of one's own network
#[tokio::test]
async fn gateway_is_told_of_events() {
    let server = options().start().await;
    let mut gateway = Gateway::start().await;
    let Scene { alice, bob, room, .. } = Scene::new(&server).await;
    alice.set_state(&room, "m.room.name", "", json!({"name": "The room"})).await;
    set(&bob, pusher(&gateway.url(), "bobs key")).await;
    let content = json!({"msgtype": "m.text", "body": "you!", "m.mentions": {"user_ids": [bob.id]}});
    let event = alice.send(&room, "m.room.message", content.clone()).await;
    let told = gateway.next_about(&event).await;
    assert_eq!(told["room_id"], room);
    assert_eq!(told["type"], "m.room.message");
    assert_eq!(told["sender"], alice.id);
    assert_eq!(told["room_name"], "The room");
    assert_eq!(told["content"], content);
    assert_eq!(told["prio"], "high");
    assert_eq!(told["counts"], json!({"unread": 1}));
    let device = &told["devices"][0];
    assert_eq!((&device["app_id"], &device["pushkey"]), (&json!("org.example.app"), &json!("bobs key")));
    assert_eq!(device["data"], json!({"custom": {"a": 1}}));
    assert_eq!(device["tweaks"]["highlight"], true);
    // What does not notify is not pushed: the next one heard of is the next that does.
    alice.send(&room, "m.room.message", json!({"msgtype": "m.notice", "body": "beep"})).await;
    let event = alice.send_text(&room, "plain").await;
    let told = gateway.next().await;
    assert_eq!(
        (&told["event_id"], &told["prio"], &told["counts"]["unread"]),
        (&json!(event), &json!("low"), &json!(2))
    );
}

/// With `event_id_only`, the gateway learns nothing but the ids.
/// spec: push-gateway-api/#homeserver-behaviour
/// covers: POST /_matrix/client/v3/pushers/set
/// not on synapse: it follows another way to allow gateways of one's own network
#[tokio::test]
async fn event_id_only_tells_no_content() {
    let server = options().start().await;
    let mut gateway = Gateway::start().await;
    let Scene { alice, bob, room, .. } = Scene::new(&server).await;
    let mut body = pusher(&gateway.url(), "key");
    body["data"]["format"] = json!("event_id_only");
    set(&bob, body).await;
    let event = alice.send_text(&room, "secret").await;
    let told = gateway.next_about(&event).await;
    for key in ["type", "sender", "content", "room_name", "sender_display_name"] {
        assert!(told.get(key).is_none(), "{told}");
    }
    assert_eq!((&told["room_id"], &told["devices"][0]["pushkey"]), (&json!(room), &json!("key")));
}

/// An invite is pushed to the one who is invited.
/// spec: client-server-api/#predefined-rules
/// covers: POST /_matrix/client/v3/rooms/{roomId}/invite
/// not on synapse: it follows another way to allow gateways of one's own network
#[tokio::test]
async fn invite_is_pushed() {
    let server = options().start().await;
    let mut gateway = Gateway::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    set(&bob, pusher(&gateway.url(), "key")).await;
    let room = alice.create_room(json!({"preset": "private_chat"})).await;
    alice.invite(&room, &bob).await;
    let told = gateway.next().await;
    assert_eq!(
        (&told["type"], &told["user_is_target"], &told["room_id"]),
        (&json!("m.room.member"), &json!(true), &json!(room))
    );
    assert_eq!(told["counts"]["unread"], 1);
}

/// Reading tells the gateway the new count.
/// spec: push-gateway-api/#post_matrixpushv1notify
/// covers: POST /_matrix/client/v3/rooms/{roomId}/receipt/{receiptType}/{eventId}
/// not on synapse: it follows another way to allow gateways of one's own network
#[tokio::test]
async fn reading_updates_the_badge() {
    let server = options().start().await;
    let mut gateway = Gateway::start().await;
    let scene = Scene::new(&server).await;
    let Scene { alice, bob, room, .. } = &scene;
    set(bob, pusher(&gateway.url(), "key")).await;
    let event = alice.send_text(room, "hello").await;
    assert_eq!(gateway.next_about(&event).await["counts"]["unread"], 1);
    scene.read(bob, "m.read", &event, json!({})).await;
    let told = gateway.next().await;
    assert!(told.get("event_id").is_none(), "{told}");
    assert_eq!(told["counts"]["unread"], 0);
}

/// A key that the gateway rejects is never used again.
/// spec: push-gateway-api/#post_matrixpushv1notify
/// covers: GET /_matrix/client/v3/pushers
/// not on synapse: it follows another way to allow gateways of one's own network
#[tokio::test]
async fn rejected_key_is_removed() {
    let server = options().start().await;
    let mut gateway = Gateway::start().await;
    let Scene { alice, bob, carol, room } = Scene::new(&server).await;
    gateway.answer_next(200, json!({"rejected": ["bobs"]}));
    set(&bob, pusher(&gateway.url(), "bobs")).await;
    let event = alice.send_text(&room, "hello").await;
    gateway.next_about(&event).await;
    set(&carol, pusher(&gateway.url(), "carols")).await;
    let event = alice.send_text(&room, "again").await;
    let told = gateway.next().await;
    assert_eq!((&told["event_id"], &told["devices"][0]["pushkey"]), (&json!(event), &json!("carols")));
    // The gateway's answer may still be on its way into the database.
    let mut left = listed(&bob).await;
    for _ in 0..500 {
        if left.is_empty() {
            return;
        }
        left = listed(&bob).await;
    }
    panic!("the rejected pusher is still there: {left:?}");
}

/// A gateway that fails is asked again, in order, and nothing is lost when the server dies meanwhile.
/// spec: push-gateway-api/#post_matrixpushv1notify
/// covers: POST /_matrix/client/v3/pushers/set
/// not on synapse: it follows another way to allow gateways of one's own network
#[tokio::test]
async fn failed_notification_is_sent_again_even_after_a_crash() {
    let server = options().start().await;
    let mut gateway = Gateway::start().await;
    let Scene { alice, bob, room, .. } = Scene::new(&server).await;
    set(&bob, pusher(&gateway.url(), "key")).await;
    gateway.answer_next(500, json!({}));
    let first = alice.send_text(&room, "one").await;
    assert_eq!(gateway.next().await["event_id"], first);
    gateway.answer_next(502, json!({}));
    assert_eq!(gateway.next().await["event_id"], first);
    let second = alice.send_text(&room, "two").await;
    server.kill9();
    server.start_again().await;
    let mut told = Vec::new();
    while told.last() != Some(&json!(second)) {
        told.push(gateway.next().await["event_id"].clone());
    }
    assert_eq!(told[0], first);
}

/// Each notification is pushed by one of two replicas, and by the other when that one dies.
/// spec: client-server-api/#push-notifications
/// covers: POST /_matrix/client/v3/pushers/set
/// not on synapse: it has no equal replicas
#[tokio::test]
async fn one_replica_pushes_and_the_other_takes_over() {
    let replicas = options().start_replicas(2).await;
    let mut gateway = Gateway::start().await;
    let Scene { alice, bob, room, .. } = Scene::new(&replicas[1]).await;
    set(&bob, pusher(&gateway.url(), "key")).await;
    let mut sent = Vec::new();
    for number in 0..5 {
        sent.push(json!(alice.send_text(&room, &format!("m{number}")).await));
    }
    let mut told = Vec::new();
    while told.len() < sent.len() {
        told.push(gateway.next().await["event_id"].clone());
    }
    assert_eq!(told, sent);
    replicas[0].kill9();
    let last = alice.send_text(&room, "last").await;
    assert_eq!(gateway.next_about(&last).await["event_id"], last);
}

/// A pusher must not make the server probe its own network.
/// spec: push-gateway-api/#post_matrixpushv1notify
/// covers: POST /_matrix/client/v3/pushers/set
/// not on synapse: it follows another way to allow gateways of one's own network
#[tokio::test]
async fn own_network_is_out_of_reach() {
    let server =
        ServerOptions::default().kith("push.allowed_private_ranges", "[\"127.9.9.9/32\"]").start().await;
    let mut gateway = Gateway::start().await;
    let Scene { alice, bob, carol, room } = Scene::new(&server).await;
    set(&bob, pusher(&gateway.url(), "bobs")).await;
    set(&carol, pusher(&gateway.url().replace("127.0.0.1", "localhost"), "carols")).await;
    alice.send_text(&room, "hello").await;
    // A server that may reach the gateway is heard; the other never was.
    let allowed = options().start().await;
    let other = Scene::new(&allowed).await;
    set(&other.bob, pusher(&gateway.url(), "other")).await;
    let event = other.alice.send_text(&other.room, "hello").await;
    assert_eq!(gateway.next().await["event_id"], event);
}

/// Other users' pushers are out of reach.
/// spec: client-server-api/#get_matrixclientv3pushers
/// covers: GET /_matrix/client/v3/pushers
/// covers: POST /_matrix/client/v3/pushers/set
#[tokio::test]
async fn pushers_are_private() {
    let server = Server::shared().await;
    let (alice, mallory) = (server.register("alice").await, server.register("mallory").await);
    let key = unique("key");
    set(&alice, pusher("https://push.example.org/_matrix/push/v1/notify", &key)).await;
    assert!(listed(&mallory).await.is_empty());
    set(&mallory, json!({"pushkey": key, "app_id": "org.example.app", "kind": null})).await;
    assert_eq!(listed(&alice).await.len(), 1);
    server.get("/v3/pushers").await.expect_err(401, "M_MISSING_TOKEN");
}
