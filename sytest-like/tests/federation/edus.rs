//! What passes between servers and is no event: typing, receipts, presence.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use super::ground::Shared;
use sytest_like::fake::Reply;
use sytest_like::{Response, Value, json, path};
use tokio::sync::watch;

/// The events of one type among what has passed in the room.
fn passing(answer: &Response, room_id: &str, event_type: &str) -> Vec<Value> {
    let events = &answer.json["rooms"]["join"][room_id]["ephemeral"]["events"];
    let events = events.as_array().cloned().unwrap_or_default();
    events
        .into_iter()
        .filter(|event| event["type"] == event_type)
        .map(|event| event["content"].clone())
        .collect()
}

/// Who types in the room, if the answer says so.
fn typists(answer: &Response, room_id: &str) -> Option<Value> {
    passing(answer, room_id, "m.typing").pop().map(|content| content["user_ids"].clone())
}

/// The presence of a user, if the answer tells of it.
fn presence_of(answer: &Response, user_id: &str) -> Option<Value> {
    let events = answer.json["presence"]["events"].as_array()?;
    events.iter().find(|event| event["sender"] == user_id).map(|event| event["content"].clone())
}

fn typing(shared: &Shared, user_id: &str, is_typing: bool) -> Value {
    json!({"room_id": shared.room_id(), "user_id": user_id, "typing": is_typing})
}

fn receipt(shared: &Shared, user_id: &str, event_id: &str, data: Value) -> Value {
    json!({shared.room_id(): {"m.read": {user_id: {"event_ids": [event_id], "data": data}}}})
}

fn presence(user_id: &str, presence: &str) -> Value {
    json!({"push": [{
        "user_id": user_id, "presence": presence, "last_active_ago": 5000, "currently_active": true,
        "status_msg": "far away",
    }]})
}

async fn tell(shared: &Shared, edu_type: &str, content: Value) {
    shared.fake.send_edu(shared.server.name(), edu_type, content).await;
}

/// A user of another server begins to type, and stops.
/// spec: server-server-api/#typing-notifications
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn typing_of_others_begins_and_ends() {
    let shared = Shared::start().await;
    let mut syncer = shared.alice.syncer().await;

    tell(&shared, "m.typing", typing(&shared, &shared.bob, true)).await;
    let begun = |answer: &Response| typists(answer, shared.room_id()) == Some(json!([shared.bob]));
    syncer.until("Bob types", begun).await;

    tell(&shared, "m.typing", typing(&shared, &shared.bob, false)).await;
    syncer.until("Bob has stopped", |answer| typists(answer, shared.room_id()) == Some(json!([]))).await;
}

/// A server cannot have the users of others type, nor anybody who is not in the room.
/// spec: server-server-api/#typing-notifications
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn typing_is_taken_of_own_members_only() {
    let shared = Shared::start().await;
    for user in [shared.alice.id.clone(), shared.fake.user("carol"), "@x:elsewhere.example".to_owned()] {
        tell(&shared, "m.typing", typing(&shared, &user, true)).await;
    }

    let answer = shared.alice.sync().await;

    assert_eq!(typists(&answer, shared.room_id()), None, "{answer}");
}

/// Users here who type are told of to the other servers in the room.
/// spec: server-server-api/#typing-notifications
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/typing/{userId}
#[tokio::test]
async fn typing_here_is_told() {
    let shared = Shared::start().await;
    let path = path!("/v3/rooms/{}/typing/{}", shared.room_id(), shared.alice.id);

    shared.alice.put(&path, json!({"typing": true, "timeout": 30_000})).await.expect_ok();

    let told = shared.fake.wait_for_edu("m.typing", |content| content["user_id"] == shared.alice.id).await;
    assert_eq!(told, typing(&shared, &shared.alice.id, true));
}

/// Receipts of users of other servers are shown, for the room and for a thread.
/// spec: server-server-api/#receipts
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn receipts_of_others_are_shown() {
    let shared = Shared::start().await;
    let message = shared.alice.send_text(shared.room_id(), "read me").await;
    let mut syncer = shared.alice.syncer().await;

    for data in [json!({"ts": 1_000}), json!({"ts": 2_000, "thread_id": "main"})] {
        tell(&shared, "m.receipt", receipt(&shared, &shared.bob, &message, data.clone())).await;
        syncer
            .until("Bob's receipt", |answer| {
                let receipts = passing(answer, shared.room_id(), "m.receipt");
                receipts.iter().any(|content| content[&message]["m.read"][&shared.bob] == data)
            })
            .await;
    }
}

/// A server cannot read for the users of others, and private receipts are not its business.
/// spec: server-server-api/#receipts
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn receipts_are_taken_of_own_members_only() {
    let shared = Shared::start().await;
    let message = shared.alice.send_text(shared.room_id(), "read me").await;
    let data = json!({"ts": 1_000});
    tell(&shared, "m.receipt", receipt(&shared, &shared.alice.id, &message, data.clone())).await;
    tell(&shared, "m.receipt", receipt(&shared, &shared.fake.user("carol"), &message, data.clone())).await;
    let mut private = receipt(&shared, &shared.bob, &message, data);
    let of_room = private[shared.room_id()].take();
    private[shared.room_id()] = json!({"m.read.private": of_room["m.read"], "org.example.odd": 5});
    tell(&shared, "m.receipt", private).await;

    let answer = shared.alice.sync().await;

    assert_eq!(passing(&answer, shared.room_id(), "m.receipt"), Vec::<Value>::new(), "{answer}");
}

/// What users here have read is told to the other servers in the room.
/// spec: server-server-api/#receipts
/// covers: POST /_matrix/client/v3/rooms/{roomId}/receipt/{receiptType}/{eventId}
#[tokio::test]
async fn receipts_here_are_told() {
    let shared = Shared::start().await;
    let said = shared.room.say(&shared.bob, "read me").await;
    let path = path!("/v3/rooms/{}/receipt/m.read/{}", shared.room_id(), said.id);

    shared.alice.post(&path, json!({})).await.expect_ok();

    let is_hers = |content: &Value| {
        content[shared.room_id()]["m.read"][&shared.alice.id]["event_ids"] == json!([said.id])
    };
    shared.fake.wait_for_edu("m.receipt", is_hers).await;
}

/// However many threads somebody has read while a server did not answer, it is told of each.
/// spec: server-server-api/#receipts
/// covers: POST /_matrix/client/v3/rooms/{roomId}/receipt/{receiptType}/{eventId}
#[tokio::test]
async fn receipts_of_many_threads_are_told() {
    let shared = Shared::start().await;
    let (is_read, gate) = watch::channel(false);
    shared.fake.answer_async("send", move |_| {
        let mut gate = gate.clone();
        async move {
            // An error means that the case is over.
            let _ = gate.wait_for(|is_open| *is_open).await;
            None
        }
    });
    let mut roots = Vec::new();
    for _ in 0..105 {
        let root = shared.alice.send_text(shared.room_id(), "root").await;
        let relation = json!({"rel_type": "m.thread", "event_id": root});
        let content = json!({"msgtype": "m.text", "body": "reply", "m.relates_to": relation});
        let reply = shared.alice.send(shared.room_id(), "m.room.message", content).await;
        let path = path!("/v3/rooms/{}/receipt/m.read/{}", shared.room_id(), reply);
        shared.alice.post(&path, json!({"thread_id": root})).await.expect_ok();
        roots.push(root);
    }

    is_read.send_replace(true);

    for root in roots {
        let is_it = |content: &Value| {
            content[shared.room_id()]["m.read"][&shared.alice.id]["data"]["thread_id"] == root
        };
        shared.fake.wait_for_edu("m.receipt", is_it).await;
    }
}

/// The presence of users of other servers is shown to those who share a room with them.
/// spec: server-server-api/#presence
/// covers: PUT /_matrix/federation/v1/send/{txnId}
/// covers: GET /_matrix/client/v3/presence/{userId}/status
#[tokio::test]
async fn presence_of_others_is_shown() {
    let shared = Shared::start().await;
    let mut syncer = shared.alice.syncer().await;

    tell(&shared, "m.presence", presence(&shared.bob, "online")).await;

    let shown = syncer.until_some("Bob is there", |answer| presence_of(answer, &shared.bob)).await;
    assert_eq!((&shown["presence"], &shown["status_msg"]), (&json!("online"), &json!("far away")));
    assert_eq!(shown["currently_active"], true);
    assert!(shown["last_active_ago"].as_i64().is_some_and(|ago| ago >= 5000), "{shown}");
    let status = shared.alice.get(&path!("/v3/presence/{}/status", shared.bob)).await.expect_ok();
    assert_eq!(status["presence"], "online");
    tell(&shared, "m.presence", presence(&shared.bob, "offline")).await;
    let is_gone = |answer: &Response| {
        presence_of(answer, &shared.bob).is_some_and(|content| content["presence"] == "offline")
    };
    syncer.until("Bob is gone", is_gone).await;
}

/// A server that did not answer for a while is told who is there, as soon as it answers again.
/// spec: server-server-api/#presence
/// covers: PUT /_matrix/federation/v1/send/{txnId}
/// not on synapse: it tells again after 25 minutes only
#[tokio::test]
async fn presence_is_told_after_an_outage() {
    let shared = Shared::start().await;
    let is_away = Arc::new(AtomicBool::new(true));
    let away = is_away.clone();
    shared.fake.answer("send", move |_| away.load(SeqCst).then(|| Reply::error(503, "M_UNKNOWN")));
    let status = json!({"presence": "online", "status_msg": "here again"});
    shared.alice.put(&path!("/v3/presence/{}/status", shared.alice.id), status).await.expect_ok();
    let names_her = |content: &Value| {
        let mut told = content["push"].as_array().into_iter().flatten();
        told.any(|one| one["user_id"] == shared.alice.id && one["status_msg"] == "here again")
    };
    shared.fake.wait_for_edu("m.presence", names_her).await;
    let said = shared.alice.send_text(shared.room_id(), "are you there?").await;
    shared.fake.forget();

    is_away.store(false, SeqCst);
    tell(&shared, "m.typing", typing(&shared, &shared.bob, true)).await;

    shared.fake.wait_for_event(shared.room_id(), &said).await;
    shared.fake.wait_for_edu("m.presence", names_her).await;
}

/// A server cannot say who of the users of others is there.
/// spec: server-server-api/#presence
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn presence_is_taken_of_own_users_only() {
    let shared = Shared::start().await;
    let carol = shared.server.register("carol").await;
    carol.join(shared.room_id()).await;

    tell(&shared, "m.presence", presence(&carol.id, "online")).await;

    let status = shared.alice.get(&path!("/v3/presence/{}/status", carol.id)).await.expect_ok();
    assert_ne!(status.get("status_msg"), Some(&json!("far away")), "{status}");
}

/// Who is kept out by the room's access control list tells nothing about it.
/// spec: server-server-api/#server-access-control-lists-acls
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn denied_servers_tell_nothing_of_the_room() {
    let shared = Shared::start().await;
    let message = shared.alice.send_text(shared.room_id(), "read me").await;
    let host = shared.fake.name().split(':').next().expect("a name has a host");
    let acl = json!({"allow": ["*"], "deny": [host], "allow_ip_literals": true});
    shared.alice.set_state(shared.room_id(), "m.room.server_acl", "", acl).await;

    tell(&shared, "m.typing", typing(&shared, &shared.bob, true)).await;
    tell(&shared, "m.receipt", receipt(&shared, &shared.bob, &message, json!({"ts": 1}))).await;

    let answer = shared.alice.sync().await;
    assert_eq!(typists(&answer, shared.room_id()), None, "{answer}");
    assert_eq!(passing(&answer, shared.room_id(), "m.receipt"), Vec::<Value>::new(), "{answer}");
}

/// Rubbish is passed over, and what comes with it counts.
/// spec: server-server-api/#edus
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn rubbish_does_not_hurt_what_comes_with_it() {
    let shared = Shared::start().await;
    let types = [
        "m.typing",
        "m.receipt",
        "m.presence",
        "m.direct_to_device",
        "m.device_list_update",
        "m.signing_key_update",
        "org.example.unknown",
    ];
    let contents = [
        json!({}),
        json!({"room_id": 5, "user_id": [], "typing": "yes"}),
        json!({"user_id": format!("{}\u{0}", shared.bob), "device_id": "\u{0}", "stream_id": 1, "prev_id": []}),
        json!({shared.room_id(): {"m.read": {&shared.bob: {"event_ids": "x", "data": 7}}}}),
        json!({"push": [null, 5, {"user_id": &shared.bob, "presence": 7}]}),
        json!({"sender": &shared.bob, "type": "m.x", "message_id": "1", "messages": {"not a user": {"D": 5}}}),
    ];
    let mut edus: Vec<Value> = types
        .iter()
        .flat_map(|edu_type| {
            contents.iter().map(move |content| json!({"edu_type": edu_type, "content": content}))
        })
        .collect();
    edus.push(json!({"edu_type": "m.typing", "content": typing(&shared, &shared.bob, true)}));

    shared.fake.transaction(shared.server.name(), &[], &edus).await.expect_ok();

    let answer = shared.alice.sync().await;
    assert_eq!(typists(&answer, shared.room_id()), Some(json!([shared.bob])), "{answer}");
}

/// What passes of a user who is ignored is not shown, in either dialect of sync.
/// spec: client-server-api/#ignoring-users
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn what_passes_of_ignored_users_is_not_shown() {
    let shared = Shared::start().await;
    let message = shared.alice.send_text(shared.room_id(), "read me").await;
    let list = json!({"ignored_users": {&shared.bob: {}}});
    let path = path!("/v3/user/{}/account_data/m.ignored_user_list", shared.alice.id);
    shared.alice.put(&path, list).await.expect_ok();
    let carol = shared.fake.user("carol");
    shared.fake.join(shared.server.name(), shared.room_id(), &carol).await;

    for user in [&shared.bob, &carol] {
        tell(&shared, "m.typing", typing(&shared, user, true)).await;
        tell(&shared, "m.receipt", receipt(&shared, user, &message, json!({"ts": 1}))).await;
        tell(&shared, "m.presence", presence(user, "online")).await;
    }

    let answer = shared.alice.sync().await;
    assert_eq!(typists(&answer, shared.room_id()), Some(json!([carol])), "{answer}");
    let receipts = passing(&answer, shared.room_id(), "m.receipt");
    assert_eq!(receipts, [json!({&message: {"m.read": {&carol: {"ts": 1}}}})]);
    assert!(
        presence_of(&answer, &carol).is_some() && presence_of(&answer, &shared.bob).is_none(),
        "{answer}"
    );
    let extensions = json!({"typing": {"enabled": true}, "receipts": {"enabled": true}});
    let lists = json!({"all": {"ranges": [[0, 9]], "timeline_limit": 5, "required_state": []}});
    let body = json!({"lists": lists, "extensions": extensions});
    let sliding = shared.alice.post("/unstable/org.matrix.simplified_msc3575/sync", body).await.expect_ok();
    let extension =
        |name: &str| sliding.json["extensions"][name]["rooms"][shared.room_id()]["content"].clone();
    assert_eq!(extension("typing"), json!({"user_ids": [carol]}), "{sliding}");
    assert_eq!(extension("receipts"), json!({&message: {"m.read": {&carol: {"ts": 1}}}}), "{sliding}");
}
