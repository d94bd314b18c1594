//! Rooms and sync across replicas.

use futures_util::future::join_all;
use sytest_like::{Server, ServerOptions, User, json, path, timeline, timeline_ids, unique};

async fn two() -> (Server, Server) {
    let mut replicas = ServerOptions::default().start_replicas(2).await;
    let second = replicas.remove(1);
    (replicas.remove(0), second)
}

/// Two users in a room, each on a replica of their own.
async fn apart() -> (User, User, String) {
    let (first, second) = two().await;
    let alice = first.register("alice").await;
    let bob = second.register("bob").await;
    let room = alice.create_public_room().await;
    bob.join(&room).await;
    (alice, bob, room)
}

/// A room made on one replica can be joined on the other at once.
/// spec: client-server-api/#room-membership
/// covers: POST /_matrix/client/v3/createRoom
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
/// not on synapse: it has no equal replicas
#[tokio::test]
async fn room_is_there_on_every_replica() {
    let (alice, bob, room) = apart().await;
    let members = alice.get(&path!("/v3/rooms/{}/joined_members", room)).await.expect_ok();
    assert!(members["joined"].get(&bob.id).is_some(), "{members}");
    let event = alice.send_text(&room, "hello there").await;
    bob.get_event(&room, &event).await.expect_ok().has("/content/body", "hello there");
}

/// A long poll on one replica is woken by what is sent on the other, both ways, in order and without gaps.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
/// not on synapse: it has no equal replicas
#[tokio::test]
async fn long_polls_hear_what_is_sent_elsewhere() {
    const TIMES: usize = 20;
    let (alice, bob, room) = apart().await;
    let (mut alice_hears, mut bob_hears) = (alice.syncer().await, bob.syncer().await);
    for number in 0..TIMES {
        let sent = alice.send_text(&room, &format!("ping {number}")).await;
        let heard = bob_hears.until_event(&room, &sent).await;
        assert_eq!(heard.len(), if number == 0 { 1 } else { 2 }, "{heard:?}");
        let sent = bob.send_text(&room, &format!("pong {number}")).await;
        alice_hears.until_event(&room, &sent).await;
    }
}

/// A client that moves from one replica to the other goes on with its token: nothing is missed, nothing comes twice.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
/// not on synapse: it has no equal replicas
#[tokio::test]
async fn sync_token_goes_on_elsewhere() {
    const TIMES: usize = 12;
    let (alice, bob, room) = apart().await;
    let views = [bob.clone(), alice.server.as_seen_here(&bob)];
    let mut since = bob.sync().await.str("next_batch").to_owned();
    let (mut sent, mut heard) = (Vec::new(), Vec::new());
    for number in 0..TIMES {
        sent.push(alice.send_text(&room, &format!("message {number}")).await);
        // Whichever replica is asked, an acknowledged event is there: it waits until it has caught up.
        let mut news = Vec::new();
        while !news.contains(&sent[number]) {
            let answer = views[number % 2].sync().since(&since).timeout(5_000).await;
            answer.str("next_batch").clone_into(&mut since);
            news.extend(timeline_ids(&answer, &room));
        }
        heard.extend(news);
    }
    assert_eq!(heard, sent);
}

/// What a user sent on one replica they read on the other with the next request.
/// spec: client-server-api/#getting-events-for-a-room
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
/// not on synapse: it has no equal replicas
#[tokio::test]
async fn acknowledged_events_are_read_everywhere_at_once() {
    const TIMES: usize = 10;
    let (alice, bob, room) = apart().await;
    let there = bob.server.as_seen_here(&alice);
    for number in 0..TIMES {
        let topic = format!("topic {number}");
        alice.set_state(&room, "m.room.topic", "", json!({"topic": topic})).await;
        there.get_state(&room, "m.room.topic", "").await.expect_ok().has("topic", topic);
        let sent = alice.send_text(&room, "hello").await;
        let messages = there.get(&path!("/v3/rooms/{}/messages", room)).query("dir", "b").await.expect_ok();
        assert_eq!(messages.array("chunk")[0]["event_id"], sent.as_str(), "{messages}");
    }
}

/// A transaction repeated on the other replica is the same transaction.
/// spec: client-server-api/#transaction-identifiers
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
/// not on synapse: it has no equal replicas
#[tokio::test]
async fn repeated_transaction_is_recognised_elsewhere() {
    let (alice, bob, room) = apart().await;
    let there = bob.server.as_seen_here(&alice);
    let path = path!("/v3/rooms/{}/send/m.room.message/{}", room, unique("txn"));
    let content = json!({"msgtype": "m.text", "body": "once"});
    let attempts = (0..8).map(|number| {
        let user = if number % 2 == 0 { &alice } else { &there };
        let (path, content) = (path.clone(), content.clone());
        async move { user.put(&path, content).await.expect_ok().str("event_id").to_owned() }
    });
    let ids = join_all(attempts).await;
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let messages = alice.get(&path!("/v3/rooms/{}/messages", room)).query("dir", "b").await.expect_ok();
    let count = messages.array("chunk").iter().filter(|event| event["content"]["body"] == "once").count();
    assert_eq!(count, 1, "{messages}");
}

/// State set on both replicas at once ends the same on both.
/// spec: server-server-api/#room-state-resolution
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/state
/// not on synapse: it has no equal replicas
#[tokio::test]
async fn concurrent_state_changes_converge() {
    const EACH: usize = 25;
    let (alice, bob, room) = apart().await;
    let there = bob.server.as_seen_here(&alice);
    let change = |user: User, side: &'static str| {
        let room = room.clone();
        async move {
            for number in 0..EACH {
                user.set_state(&room, "m.room.topic", "", json!({"topic": format!("{side} {number}")})).await;
                user.set_state(&room, "org.example.counter", side, json!({"n": number})).await;
            }
        }
    };
    tokio::join!(change(alice.clone(), "here"), change(there.clone(), "there"));

    let path = path!("/v3/rooms/{}/state", room);
    let sorted = |answer: sytest_like::Response| {
        let events = answer.expect_ok().json.as_array().cloned().unwrap_or_default();
        let mut ids: Vec<_> = events.iter().map(|event| event["event_id"].to_string()).collect();
        ids.sort();
        ids
    };
    assert_eq!(sorted(alice.get(&path).await), sorted(there.get(&path).await));
    for side in ["here", "there"] {
        alice.get_state(&room, "org.example.counter", side).await.expect_ok().has("n", EACH - 1);
    }
    let topic = alice.get_state(&room, "m.room.topic", "").await.expect_ok();
    assert!(topic.str("topic").ends_with(&format!(" {}", EACH - 1)), "{topic}");
}

/// Many join one room through both replicas at once, and all are in it.
/// spec: client-server-api/#joining-rooms
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/joined_members
/// not on synapse: it has no equal replicas
#[tokio::test]
async fn concurrent_joins_all_count() {
    const MANY: usize = 20;
    let (first, second) = two().await;
    let owner = first.register("owner").await;
    let room = owner.create_public_room().await;
    let joins = (0..MANY).map(|number| {
        let server = if number % 2 == 0 { &first } else { &second };
        let room = &room;
        async move {
            let user = server.register("guest").await;
            user.join(room).await;
            user.id.clone()
        }
    });
    let users = join_all(joins).await;
    for server in [&first, &second] {
        let owner = server.as_seen_here(&owner);
        let members = owner.get(&path!("/v3/rooms/{}/joined_members", room)).await.expect_ok();
        for user in &users {
            assert!(members["joined"].get(user).is_some(), "{user} is not in {members}");
        }
    }
}

/// Somebody banned on one replica is out on the other at once.
/// spec: client-server-api/#banning-users-in-a-room
/// covers: POST /_matrix/client/v3/rooms/{roomId}/ban
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
/// not on synapse: it has no equal replicas
#[tokio::test]
async fn ban_counts_everywhere_at_once() {
    let (alice, bob, room) = apart().await;
    bob.send_text(&room, "still here").await;
    alice.membership(&room, "ban", &bob.id).await.expect_ok();
    let path = path!("/v3/rooms/{}/send/m.room.message/{}", room, unique("txn"));
    bob.put(&path, json!({"msgtype": "m.text", "body": "and now?"})).await.expect_err(403, "M_FORBIDDEN");
    bob.post(&path!("/v3/join/{}", room), json!({})).await.expect_err(403, "M_FORBIDDEN");
}

/// Typing, receipts and account data cross from replica to replica.
/// spec: client-server-api/#typing-notifications
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/typing/{userId}
/// covers: POST /_matrix/client/v3/rooms/{roomId}/receipt/{receiptType}/{eventId}
/// covers: GET /_matrix/client/v3/sync
/// not on synapse: it has no equal replicas
#[tokio::test]
async fn typing_and_receipts_cross() {
    let (alice, bob, room) = apart().await;
    let event = alice.send_text(&room, "read me").await;
    let mut syncer = alice.syncer().await;
    let ephemeral = |answer: &sytest_like::Response, kind: &str| {
        let events = answer.json["rooms"]["join"][&room]["ephemeral"]["events"].as_array().cloned()?;
        events.into_iter().find(|event| event["type"] == kind)
    };
    let typing = path!("/v3/rooms/{}/typing/{}", room, bob.id);
    bob.put(&typing, json!({"typing": true, "timeout": 30_000})).await.expect_ok();
    syncer
        .until("bob types", |answer| {
            ephemeral(answer, "m.typing").is_some_and(|event| event["content"]["user_ids"] == json!([bob.id]))
        })
        .await;
    bob.post(&path!("/v3/rooms/{}/receipt/m.read/{}", room, event), json!({})).await.expect_ok();
    syncer
        .until("bob has read", |answer| {
            ephemeral(answer, "m.receipt")
                .is_some_and(|receipt| receipt["content"][&event]["m.read"].get(&bob.id).is_some())
        })
        .await;
}

/// While one replica is dead the other serves everything, and when it is back it knows what happened.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
/// not on synapse: it has no equal replicas
#[tokio::test]
async fn dead_replica_is_not_missed_and_catches_up() {
    let (alice, bob, room) = apart().await;
    bob.server.expect_log("");
    alice.server.expect_log("");
    let since = bob.sync().await.str("next_batch").to_owned();
    bob.server.kill9();
    let mut sent = Vec::new();
    for number in 0..5 {
        sent.push(alice.send_text(&room, &format!("message {number}")).await);
    }
    let moved = alice.server.as_seen_here(&bob);
    assert_eq!(timeline_ids(&moved.sync().since(&since).await, &room), sent);
    bob.server.start_again().await;
    let answer = bob.sync().since(&since).await;
    assert_eq!(timeline(&answer, &room).len(), sent.len(), "{answer}");
}
