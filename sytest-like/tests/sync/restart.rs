//! The server stops between two syncs. Each case has a server of its own.

use super::view::{
    chatter, current_state, entry, ephemeral, events, limit, mentions, room_data, state_of, walk_back,
    without_presence,
};
use sytest_like::{Server, User, json, path, timeline_ids};

async fn pair(server: &Server) -> (User, User, String) {
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = alice.create_public_room().await;
    bob.join(&room).await;
    (alice, bob, room)
}

/// A token from before the restart goes on: nothing is missed, nothing comes twice.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn token_survives_a_restart() {
    let server = Server::start().await;
    let (alice, bob, room) = pair(&server).await;
    let heard = alice.send_text(&room, "heard before").await;
    let mut syncer = bob.syncer_with_filter(limit(20)).await;
    assert_eq!(timeline_ids(&syncer.initial, &room).last(), Some(&heard));
    let before = alice.send_text(&room, "sent before").await;
    server.restart().await;
    let after = alice.send_text(&room, "sent after").await;
    let answer = syncer.next(5_000).await;
    assert_eq!(timeline_ids(&answer, &room), [before, after]);
    assert!(events(entry(&answer, "join", &room), "state").is_empty(), "{answer}");
    let quiet = syncer.next(0).await;
    assert!(!mentions(&quiet, &room), "{quiet}");
}

/// The same after `kill -9`: what was acknowledged is there.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn token_survives_a_kill() {
    let server = Server::start().await;
    server.expect_log("");
    let (alice, bob, room) = pair(&server).await;
    let mut syncer = bob.syncer_with_filter(limit(20)).await;
    let mut sent = Vec::new();
    let mut heard = Vec::new();
    for round in 0..3 {
        sent.extend(chatter(&alice, &room, &format!("round {round}"), 3).await);
        server.kill9();
        server.start_again().await;
        while heard.len() < sent.len() {
            heard.extend(timeline_ids(&syncer.next(5_000).await, &room));
        }
    }
    assert_eq!(heard, sent);
}

/// An initial sync after a restart is the same as before it.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn initial_sync_is_the_same_after_a_restart() {
    let server = Server::start().await;
    let (alice, bob, room) = pair(&server).await;
    alice.set_state(&room, "m.room.topic", "", json!({"topic": "x"})).await;
    chatter(&alice, &room, "message", 4).await;
    let before = bob.sync().filter(&limit(3)).await;
    server.restart().await;
    let after = bob.sync().filter(&limit(3)).await;
    let (before, after) = (entry(&before, "join", &room), entry(&after, "join", &room));
    assert_eq!(state_of(before), state_of(after));
    assert_eq!(super::view::ids(&events(before, "timeline")), super::view::ids(&events(after, "timeline")));
    assert_eq!(before["summary"], after["summary"]);
    assert_eq!(state_of(after), current_state(&bob, &room).await);
}

/// A `prev_batch` from before the restart still leads back.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test]
async fn prev_batch_survives_a_restart() {
    let server = Server::start().await;
    let (alice, bob, room) = pair(&server).await;
    let since = bob.sync().filter(&limit(1)).await.str("next_batch").to_owned();
    let sent = chatter(&alice, &room, "message", 8).await;
    let answer = bob.sync().since(&since).filter(&limit(3)).await;
    let prev_batch =
        entry(&answer, "join", &room)["timeline"]["prev_batch"].as_str().expect("there is a gap");
    server.restart().await;
    let gap = walk_back(&bob, &room, prev_batch, 2, Some(&since)).await;
    assert_eq!(super::view::ids(&gap), sent[..5]);
}

/// Receipts, markers, account data, tags and stored filters are kept.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn data_survives_a_restart() {
    let server = Server::start().await;
    let (alice, bob, room) = pair(&server).await;
    let event = alice.send_text(&room, "read me").await;
    let filter = bob.post(&path!("/v3/user/{}/filter", bob.id), limit(1)).await.expect_ok();
    let since = bob.sync().filter(&without_presence()).await.str("next_batch").to_owned();
    bob.post(&path!("/v3/rooms/{}/receipt/m.read/{}", room, event), json!({})).await.expect_ok();
    bob.post(&path!("/v3/rooms/{}/read_markers", room), json!({"m.fully_read": event})).await.expect_ok();
    bob.put(&path!("/v3/user/{}/rooms/{}/tags/u.x", bob.id, room), json!({"order": 0.5})).await.expect_ok();
    bob.put(&path!("/v3/user/{}/account_data/org.example.x", bob.id), json!({"n": 1})).await.expect_ok();
    server.restart().await;
    for answer in [bob.sync().since(&since).await, bob.sync().query("filter", filter.str("filter_id")).await]
    {
        let receipts = ephemeral(&answer, &room, "m.receipt").expect("the receipt is there");
        assert!(receipts[&event]["m.read"].get(&bob.id).is_some(), "{answer}");
        assert_eq!(room_data(&answer, &room, "m.fully_read"), Some(json!({"event_id": event})), "{answer}");
        assert_eq!(
            room_data(&answer, &room, "m.tag"),
            Some(json!({"tags": {"u.x": {"order": 0.5}}})),
            "{answer}"
        );
        let global = events(&answer.json, "account_data");
        assert!(super::view::types(&global).contains(&"org.example.x".to_owned()), "{answer}");
    }
}

/// The transaction id is given to the sending device after a restart too.
/// spec: client-server-api/#transaction-identifiers
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn transaction_id_survives_a_restart() {
    let server = Server::start().await;
    let (alice, bob, room) = pair(&server).await;
    let since = alice.sync().filter(&without_presence()).await.str("next_batch").to_owned();
    alice.send_text(&room, "hello").await;
    server.restart().await;
    let own = alice.sync().since(&since).await;
    let unsigned = &sytest_like::timeline(&own, &room)[0]["unsigned"];
    assert!(unsigned["transaction_id"].is_string(), "{own}");
    let other = bob.sync().since(&since).await;
    let unsigned = &sytest_like::timeline(&other, &room)[0]["unsigned"];
    assert!(unsigned["age"].is_number() && unsigned.get("transaction_id").is_none(), "{other}");
}

/// Invites, knocks and left rooms are where they were.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn memberships_survive_a_restart() {
    let server = Server::start().await;
    let (alice, bob, joined) = pair(&server).await;
    let since = bob.sync().filter(&without_presence()).await.str("next_batch").to_owned();
    let invited = alice.create_room(json!({"preset": "private_chat", "name": "Invited"})).await;
    alice.invite(&invited, &bob).await;
    let left = alice.create_public_room().await;
    bob.join(&left).await;
    bob.leave(&left).await;
    server.restart().await;
    let include = json!({"room": {"include_leave": true}});
    let initial = bob.sync().filter(&include).await;
    for (section, room) in [("join", &joined), ("invite", &invited), ("leave", &left)] {
        entry(&initial, section, room);
    }
    let incremental = bob.sync().since(&since).await;
    let state = events(entry(&incremental, "invite", &invited), "invite_state");
    let name = super::view::find(&state, "m.room.name", Some("")).expect("the invite has the name");
    assert_eq!(name["content"]["name"], "Invited");
}
