//! What servers tell each other besides events, whichever they are: typing, receipts, presence, devices and keys.

use super::ground::hears;
use super::scenes::World;
use sytest_like::{Value, json, path, unique};

/// Typing is seen on the other side, and its end too.
pub(crate) async fn typing(world: &World) {
    let room = world.public_room().await;
    let mut syncer = world.bob.syncer().await;
    let path = path!("/v3/rooms/{}/typing/{}", room, world.alice.id);
    let typists = |answer: &sytest_like::Response| -> Option<Vec<Value>> {
        let events = answer.json["rooms"]["join"][&room]["ephemeral"]["events"].as_array()?;
        let typing = events.iter().find(|event| event["type"] == "m.typing")?;
        typing["content"]["user_ids"].as_array().cloned()
    };
    world.alice.put(&path, json!({"typing": true, "timeout": 30_000})).await.expect_ok();
    let ours = json!(world.alice.id);
    syncer.until("typing", |answer| typists(answer).is_some_and(|list| list.contains(&ours))).await;

    world.alice.put(&path, json!({"typing": false})).await.expect_ok();

    syncer.until("the end of it", |answer| typists(answer).is_some_and(|list| !list.contains(&ours))).await;
}

/// A receipt is seen on the other side.
pub(crate) async fn receipts(world: &World) {
    let room = world.public_room().await;
    let said = world.bob.send_text(&room, "read this").await;
    hears(&world.alice, &room, &said).await;
    let mut syncer = world.bob.syncer().await;

    let path = path!("/v3/rooms/{}/receipt/m.read/{}", room, said);
    world.alice.post(&path, json!({})).await.expect_ok();

    syncer
        .until("the receipt", |answer| {
            let events = answer.json["rooms"]["join"][&room]["ephemeral"]["events"].as_array();
            events.is_some_and(|events| {
                events.iter().any(|event| event["content"][&said]["m.read"][&world.alice.id].is_object())
            })
        })
        .await;
}

/// Presence is seen on the other side.
pub(crate) async fn presence(world: &World) {
    world.public_room().await;
    let mut syncer = world.bob.syncer().await;
    let status = unique("out to lunch");

    let path = path!("/v3/presence/{}/status", world.alice.id);
    world.alice.put(&path, json!({"presence": "unavailable", "status_msg": status})).await.expect_ok();

    syncer
        .until("her presence", |answer| {
            let events = answer.json["presence"]["events"].as_array();
            events.is_some_and(|events| {
                events.iter().any(|event| event["content"]["status_msg"] == status.as_str())
            })
        })
        .await;
}

/// A message to a device arrives, once.
pub(crate) async fn to_device(world: &World) {
    let mut syncer = world.bob.syncer().await;
    let path = path!("/v3/sendToDevice/org.example.note/{}", unique("txn"));
    let body = json!({"messages": {&world.bob.id: {&world.bob.device_id: {"note": "psst"}}}});

    world.alice.put(&path, body.clone()).await.expect_ok();
    world.alice.put(&path, body).await.expect_ok();

    let notes = |answer: &sytest_like::Response| -> usize {
        let events = answer.json["to_device"]["events"].as_array().map_or(&[] as &[Value], Vec::as_slice);
        let sent = events.iter().filter(|event| event["type"] == "org.example.note");
        sent.filter(|event| event["sender"] == world.alice.id.as_str()).count()
    };
    let answer = syncer.until("the note", |answer| notes(answer) > 0).await;
    assert_eq!(notes(&answer), 1, "{answer}");
    // Another message comes behind it, so that a second copy would have come first.
    let path = path!("/v3/sendToDevice/org.example.end/{}", unique("txn"));
    let body = json!({"messages": {&world.bob.id: {"*": {}}}});
    world.alice.put(&path, body).await.expect_ok();
    let answer = syncer.until("the end", |answer| answer.json.to_string().contains("org.example.end")).await;
    assert_eq!(notes(&answer), 0, "{answer}");
}

/// Keys that somebody uploads are found from the other side, a one-time key is claimed once, and the new device is told of.
pub(crate) async fn keys(world: &World) {
    world.public_room().await;
    let mut syncer = world.bob.syncer().await;
    let device = &world.alice.device_id;
    let phone = crate::e2ee::Device::new(&world.alice).await;
    phone.upload_one_time_keys(["AAAAHg".to_owned()]).await;
    let keys = phone.keys();
    syncer
        .until("her new keys", |answer| {
            let changed = answer.json["device_lists"]["changed"].as_array();
            changed.is_some_and(|changed| changed.contains(&json!(world.alice.id)))
        })
        .await;

    let query = json!({"device_keys": {&world.alice.id: []}});
    let found = world.bob.post("/v3/keys/query", query).await.expect_ok();
    let claim = json!({"one_time_keys": {&world.alice.id: {device: "signed_curve25519"}}});
    let first = world.bob.post("/v3/keys/claim", claim.clone()).await.expect_ok();
    let second = world.bob.post("/v3/keys/claim", claim).await.expect_ok();

    assert_eq!(found["device_keys"][&world.alice.id][device]["keys"], keys["keys"], "{found}");
    let claimed = &first["one_time_keys"][&world.alice.id][device];
    assert!(claimed["signed_curve25519:AAAAHg"]["key"].is_string(), "{first}");
    assert!(second.json["one_time_keys"][&world.alice.id][device].is_null(), "{second}");
}
