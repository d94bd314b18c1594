//! Long polls: they wake at once, wait when there is nothing, and end with an empty answer.

use std::time::{Duration, Instant};

use super::view::{bodies, ephemeral, events, has_room, limit, mentions, room_data, types, without_presence};
use sytest_like::{Response, Server, User, Value, json, path, timeline, timeline_ids, unique};

/// Far longer than news takes, far shorter than the polls wait: an answer within it was woken.
const AT_ONCE: Duration = Duration::from_secs(20);
const LONG: u64 = 60_000;

/// Two users in a room, and the second one's position with no news after it.
async fn pair() -> (User, User, String, String) {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = alice.create_public_room().await;
    bob.join(&room).await;
    let since = settle(&bob).await;
    (alice, bob, room, since)
}

/// A position that has heard everything so far.
async fn settle(user: &User) -> String {
    user.sync().filter(&without_presence()).await.str("next_batch").to_owned()
}

/// Polls while something is done, and expects the first answer to be woken by it and to have it.
async fn woken_by(
    user: &User,
    since: &str,
    action: impl Future<Output = ()>,
    heard: impl Fn(&Response) -> bool,
) -> Response {
    let before = Instant::now();
    let poll = async { user.sync().since(since).filter(&without_presence()).timeout(LONG).await };
    let (answer, ()) = tokio::join!(poll, action);
    assert!(before.elapsed() < AT_ONCE, "the poll was not woken: {:?}", before.elapsed());
    assert!(heard(&answer), "{answer}");
    answer
}

/// A message ends the wait of everybody in the room.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn message_wakes() {
    let (alice, bob, room, since) = pair().await;
    let send = async {
        alice.send_text(&room, "wake up").await;
    };
    woken_by(&bob, &since, send, |answer| bodies(&timeline(answer, &room)) == ["wake up"]).await;
}

/// What one device of a user does wakes the others.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn own_other_device_wakes() {
    let (_, bob, room, _) = pair().await;
    let laptop = bob.login().await;
    let since = settle(&bob).await;
    let send = async {
        laptop.send_text(&room, "from the laptop").await;
    };
    woken_by(&bob, &since, send, |answer| bodies(&timeline(answer, &room)) == ["from the laptop"]).await;
}

/// A state change ends the wait.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn state_change_wakes() {
    let (alice, bob, room, since) = pair().await;
    let change = async {
        alice.set_state(&room, "m.room.topic", "", json!({"topic": "new"})).await;
    };
    woken_by(&bob, &since, change, |answer| types(&timeline(answer, &room)) == ["m.room.topic"]).await;
}

/// An invite ends the wait.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn invite_wakes() {
    let (alice, bob, _, since) = pair().await;
    let room = alice.create_room(json!({"preset": "private_chat"})).await;
    let invite = alice.invite(&room, &bob);
    woken_by(&bob, &since, invite, |answer| has_room(answer, "invite", &room)).await;
}

/// Being thrown out ends the wait.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn kick_wakes() {
    let (alice, bob, room, since) = pair().await;
    let kick = async {
        alice.membership(&room, "kick", &bob.id).await.expect_ok();
    };
    woken_by(&bob, &since, kick, |answer| has_room(answer, "leave", &room)).await;
}

/// A join on another device ends the wait.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn own_join_elsewhere_wakes() {
    let (alice, bob, _, _) = pair().await;
    let room = alice.create_public_room().await;
    let laptop = bob.login().await;
    let since = settle(&bob).await;
    let join = async {
        laptop.join(&room).await;
    };
    woken_by(&bob, &since, join, |answer| has_room(answer, "join", &room)).await;
}

/// Somebody who types ends the wait.
/// spec: client-server-api/#typing-notifications
/// covers: GET /_matrix/client/v3/sync
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/typing/{userId}
#[tokio::test]
async fn typing_wakes() {
    let (alice, bob, room, since) = pair().await;
    let typing = async {
        let path = path!("/v3/rooms/{}/typing/{}", room, alice.id);
        alice.put(&path, json!({"typing": true, "timeout": 30_000})).await.expect_ok();
    };
    let heard = |answer: &Response| {
        ephemeral(answer, &room, "m.typing").is_some_and(|content| content["user_ids"] == json!([alice.id]))
    };
    woken_by(&bob, &since, typing, heard).await;
}

/// A receipt ends the wait.
/// spec: client-server-api/#receipts
/// covers: GET /_matrix/client/v3/sync
/// covers: POST /_matrix/client/v3/rooms/{roomId}/receipt/{receiptType}/{eventId}
#[tokio::test]
async fn receipt_wakes() {
    let (alice, bob, room, _) = pair().await;
    let event = bob.send_text(&room, "read me").await;
    let since = settle(&bob).await;
    let read = async {
        alice.post(&path!("/v3/rooms/{}/receipt/m.read/{}", room, event), json!({})).await.expect_ok();
    };
    let heard = |answer: &Response| {
        ephemeral(answer, &room, "m.receipt")
            .is_some_and(|content| content[&event]["m.read"].get(&alice.id).is_some())
    };
    woken_by(&bob, &since, read, heard).await;
}

/// Account data of another device ends the wait, global and of a room.
/// spec: client-server-api/#client-config
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn account_data_wakes() {
    let (_, bob, room, _) = pair().await;
    let laptop = bob.login().await;
    let since = settle(&bob).await;
    let set = async {
        let path = path!("/v3/user/{}/account_data/org.example.wake", bob.id);
        laptop.put(&path, json!({"n": 1})).await.expect_ok();
    };
    let global = |answer: &Response| types(&events(&answer.json, "account_data")) == ["org.example.wake"];
    woken_by(&bob, &since, set, global).await;

    let since = settle(&bob).await;
    let set = async {
        let path = path!("/v3/user/{}/rooms/{}/account_data/org.example.wake", bob.id, room);
        laptop.put(&path, json!({"n": 2})).await.expect_ok();
    };
    let of_room = |answer: &Response| room_data(answer, &room, "org.example.wake") == Some(json!({"n": 2}));
    woken_by(&bob, &since, set, of_room).await;
}

/// A redaction ends the wait.
/// spec: client-server-api/#redactions
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn redaction_wakes() {
    let (alice, bob, room, _) = pair().await;
    let event = alice.send_text(&room, "oops").await;
    let since = settle(&bob).await;
    let redact = async {
        let path = path!("/v3/rooms/{}/redact/{}/{}", room, event, unique("txn"));
        alice.put(&path, json!({})).await.expect_ok();
    };
    woken_by(&bob, &since, redact, |answer| types(&timeline(answer, &room)) == ["m.room.redaction"]).await;
}

/// All polls of a user are woken by one message.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn every_poll_of_a_user_wakes() {
    const POLLS: usize = 12;
    let (alice, bob, room, _) = pair().await;
    let mut devices = vec![bob.clone()];
    for _ in 1..POLLS {
        devices.push(bob.login().await);
    }
    let since = &settle(&bob).await;
    let before = Instant::now();
    let polls = devices.iter().map(|device| async move {
        device.sync().since(since).filter(&without_presence()).timeout(LONG).await
    });
    let (answers, sent) =
        tokio::join!(futures_util::future::join_all(polls), alice.send_text(&room, "everybody up"));
    assert!(before.elapsed() < AT_ONCE, "{:?}", before.elapsed());
    for answer in answers {
        assert_eq!(timeline_ids(&answer, &room), [sent.clone()]);
    }
}

/// With nothing new the wait is as long as asked, and the answer empty; its token goes on.
/// spec: client-server-api/#get_matrixclientv3sync
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn quiet_poll_waits_and_ends_empty() {
    let (alice, bob, room, since) = pair().await;
    let before = Instant::now();
    let answer = bob.sync().since(&since).filter(&without_presence()).timeout(1_500).await;
    assert!(before.elapsed() >= Duration::from_millis(1_400), "{:?}", before.elapsed());
    assert!(!mentions(&answer, &room), "{answer}");
    let no_events = |part: &str| events(&answer.json, part).is_empty();
    assert!(no_events("presence") && no_events("account_data") && no_events("to_device"), "{answer}");
    let sent = alice.send_text(&room, "after").await;
    let next = bob.sync().since(answer.str("next_batch")).filter(&without_presence()).timeout(LONG).await;
    assert_eq!(timeline_ids(&next, &room), [sent]);
}

/// A timeout of 0, and none, answer at once.
/// spec: client-server-api/#get_matrixclientv3sync
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn no_timeout_does_not_wait() {
    let (_, bob, _, since) = pair().await;
    let before = Instant::now();
    bob.sync().since(&since).filter(&without_presence()).await;
    bob.sync().since(&since).filter(&without_presence()).timeout(0).await;
    assert!(before.elapsed() < AT_ONCE, "{:?}", before.elapsed());
}

/// With `full_state` the timeout is ignored.
/// spec: client-server-api/#get_matrixclientv3sync
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn full_state_does_not_wait() {
    let (_, bob, room, since) = pair().await;
    let before = Instant::now();
    let request = bob.sync().since(&since).filter(&without_presence()).timeout(LONG);
    let answer = request.query("full_state", "true").await;
    assert!(before.elapsed() < AT_ONCE, "{:?}", before.elapsed());
    assert!(has_room(&answer, "join", &room), "{answer}");
}

/// News that is there already is not waited for.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn waiting_news_is_given_at_once() {
    let (alice, bob, room, since) = pair().await;
    let sent = alice.send_text(&room, "already there").await;
    let before = Instant::now();
    let answer = bob.sync().since(&since).filter(&without_presence()).timeout(LONG).await;
    assert!(before.elapsed() < AT_ONCE, "{:?}", before.elapsed());
    assert_eq!(timeline_ids(&answer, &room), [sent]);
}

/// What happens in rooms of others does not end the wait.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn foreign_rooms_do_not_wake() {
    let (alice, bob, room, since) = pair().await;
    let elsewhere = alice.create_public_room().await;
    let before = Instant::now();
    let poll = async { bob.sync().since(&since).filter(&without_presence()).timeout(1_500).await };
    let noise = async {
        for number in 0..5 {
            alice.send_text(&elsewhere, &format!("noise {number}")).await;
        }
    };
    let (answer, ()) = tokio::join!(poll, noise);
    assert!(before.elapsed() >= Duration::from_millis(1_400), "{:?}", before.elapsed());
    assert!(!mentions(&answer, &elsewhere) && !mentions(&answer, &room), "{answer}");
}

/// What the filter leaves out does not end the wait.
/// spec: client-server-api/#filtering
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn filtered_events_do_not_wake() {
    let (alice, bob, room, _) = pair().await;
    let filter = json!({
        "presence": {"not_types": ["*"]},
        "room": {"timeline": {"not_types": ["m.room.message"]}, "ephemeral": {"not_types": ["*"]}},
    });
    let since = bob.sync().filter(&filter).await.str("next_batch").to_owned();
    let poll = async { bob.sync().since(&since).filter(&filter).timeout(LONG).await };
    let noise = async {
        alice.send_text(&room, "not for this client").await;
        alice.send_text(&room, "nor this").await;
        alice.set_state(&room, "m.room.topic", "", json!({"topic": "but this"})).await;
    };
    let (answer, ()) = tokio::join!(poll, noise);
    assert_eq!(types(&timeline(&answer, &room)), ["m.room.topic"], "{answer}");
}

/// A burst of messages during the wait is given in order over as many answers as it takes.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn burst_arrives_in_order() {
    const MANY: usize = 40;
    let (alice, bob, room, _) = pair().await;
    let mut syncer = bob.syncer_with_filter(limit(100)).await;
    let burst = super::view::chatter(&alice, &room, "burst", MANY);
    let hear = async {
        let mut heard: Vec<Value> = Vec::new();
        while heard.len() < MANY {
            let answer = syncer.next(30_000).await;
            heard.extend(timeline(&answer, &room));
        }
        heard
    };
    let (sent, heard) = tokio::join!(burst, hear);
    assert_eq!(super::view::ids(&heard), sent);
}
