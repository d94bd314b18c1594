//! What `unsigned` says about events in `/sync`, and redactions.

use super::view::{bodies, chatter, entry, events, ids, limit};
use sytest_like::{Server, User, Value, json, path, timeline, unique};

async fn pair() -> (User, User, String) {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = alice.create_public_room().await;
    bob.join(&room).await;
    (alice, bob, room)
}

#[track_caller]
fn by_id<'a>(events: &'a [Value], id: &str) -> &'a Value {
    events.iter().find(|event| event["event_id"] == id).unwrap_or_else(|| panic!("no {id} in {events:?}"))
}

/// The device that sent an event gets its transaction id back, and only that device.
/// spec: client-server-api/#transaction-identifiers
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn transaction_id_is_for_the_sending_device() {
    let (alice, bob, room) = pair().await;
    let laptop = alice.login().await;
    let followers = [alice.syncer().await, laptop.syncer().await, bob.syncer().await];
    let transaction = unique("m1.transaction");
    let path = path!("/v3/rooms/{}/send/m.room.message/{}", room, transaction);
    let sent = alice.put(&path, json!({"msgtype": "m.text", "body": "hello"})).await.expect_ok();
    let sent = sent.str("event_id");
    for (number, mut follower) in followers.into_iter().enumerate() {
        let heard = follower.until_event(&room, sent).await;
        let unsigned = &by_id(&heard, sent)["unsigned"];
        let expected = (number == 0).then(|| json!(transaction));
        assert_eq!(unsigned.get("transaction_id"), expected.as_ref(), "{unsigned}");
    }
}

/// It is there in a later initial sync as well, and gone for a device that replaced the sending one.
/// spec: client-server-api/#transaction-identifiers
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn transaction_id_stays_with_the_device() {
    let (alice, _, room) = pair().await;
    let sent = alice.send_text(&room, "hello").await;
    let answer = alice.sync().await;
    assert!(by_id(&timeline(&answer, &room), &sent)["unsigned"]["transaction_id"].is_string(), "{answer}");
    let laptop = alice.login().await;
    alice.post("/v3/logout", json!({})).await.expect_ok();
    let answer = laptop.sync().await;
    let heard = timeline(&answer, &room);
    let unsigned = &by_id(&heard, &sent)["unsigned"];
    assert!(unsigned.get("transaction_id").is_none(), "{unsigned}");
}

/// Redactions have transaction ids too.
/// spec: client-server-api/#transaction-identifiers
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn redaction_has_its_transaction_id() {
    let (alice, _, room) = pair().await;
    let sent = alice.send_text(&room, "oops").await;
    let mut syncer = alice.syncer().await;
    let transaction = unique("redaction");
    let path = path!("/v3/rooms/{}/redact/{}/{}", room, sent, transaction);
    let redaction = alice.put(&path, json!({})).await.expect_ok();
    let heard = syncer.until_event(&room, redaction.str("event_id")).await;
    assert_eq!(by_id(&heard, redaction.str("event_id"))["unsigned"]["transaction_id"], transaction);
}

async fn redact(user: &User, room: &str, event: &str, reason: &str) -> String {
    let path = path!("/v3/rooms/{}/redact/{}/{}", room, event, unique("txn"));
    user.put(&path, json!({"reason": reason})).await.expect_ok().str("event_id").to_owned()
}

/// A redaction comes in the timeline and says what it redacts, and why.
/// spec: client-server-api/#redactions
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn redaction_names_its_target() {
    let (alice, bob, room) = pair().await;
    let sent = bob.send_text(&room, "rude").await;
    let mut syncer = bob.syncer().await;
    let redaction = redact(&alice, &room, &sent, "rude").await;
    let heard = syncer.until_event(&room, &redaction).await;
    let event = by_id(&heard, &redaction);
    assert_eq!(event["type"], "m.room.redaction");
    assert_eq!(event["content"]["redacts"], sent.as_str(), "{event}");
    assert_eq!(event["redacts"], sent.as_str(), "older clients look here: {event}");
    assert_eq!(event["content"]["reason"], "rude");
}

/// Who comes later gets the redacted form, with the redaction in it.
/// spec: client-server-api/#redactions
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn redacted_event_is_empty() {
    let (alice, bob, room) = pair().await;
    let sent = alice.send_text(&room, "a secret").await;
    let redaction = redact(&alice, &room, &sent, "slipped out").await;
    let answer = bob.sync().await;
    let heard = timeline(&answer, &room);
    let event = by_id(&heard, &sent);
    assert_eq!(event["content"], json!({}));
    assert_eq!(event["type"], "m.room.message");
    let because = &event["unsigned"]["redacted_because"];
    assert_eq!(because["event_id"], redaction.as_str(), "{event}");
    assert_eq!(because["content"]["reason"], "slipped out");
    assert!(!answer.to_string().contains("a secret"), "{answer}");
}

/// An event that was redacted between two syncs comes redacted, and the redaction after it.
/// spec: client-server-api/#redactions
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn redacted_between_syncs() {
    let (alice, bob, room) = pair().await;
    let mut syncer = bob.syncer_with_filter(limit(20)).await;
    let sent = alice.send_text(&room, "a secret").await;
    let redaction = redact(&alice, &room, &sent, "").await;
    let answer = syncer.next(5_000).await;
    let heard = timeline(&answer, &room);
    assert_eq!(ids(&heard), [sent.clone(), redaction], "{answer}");
    assert_eq!(by_id(&heard, &sent)["content"], json!({}));
}

/// Redacted state comes redacted, in `state` as in the timeline.
/// spec: client-server-api/#redactions
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn redacted_state_is_empty() {
    let (alice, bob, room) = pair().await;
    let topic = alice.set_state(&room, "m.room.topic", "", json!({"topic": "a secret"})).await;
    redact(&alice, &room, &topic, "").await;
    chatter(&alice, &room, "message", 3).await;
    let answer = bob.sync().filter(&limit(2)).await;
    let state = events(entry(&answer, "join", &room), "state");
    assert_eq!(by_id(&state, &topic)["content"], json!({}), "{answer}");
    assert!(!answer.to_string().contains("a secret"), "{answer}");
}

/// An edit is bundled with the event that it edits when that comes in a limited timeline.
/// spec: client-server-api/#aggregations-of-child-events
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn edit_is_bundled() {
    let (alice, bob, room) = pair().await;
    chatter(&alice, &room, "before", 5).await;
    let sent = alice.send_text(&room, "first wroding").await;
    let edit = json!({
        "msgtype": "m.text", "body": "* first wording",
        "m.new_content": {"msgtype": "m.text", "body": "first wording"},
        "m.relates_to": {"rel_type": "m.replace", "event_id": sent},
    });
    let edit = alice.send(&room, "m.room.message", edit).await;
    let answer = bob.sync().filter(&limit(3)).await;
    let heard = timeline(&answer, &room);
    let bundled = &by_id(&heard, &sent)["unsigned"]["m.relations"]["m.replace"];
    assert_eq!(bundled["event_id"], edit.as_str(), "{answer}");
    assert_eq!(bundled["content"]["m.new_content"]["body"], "first wording");
}

/// A thread's root says how many answers there are, which is the last, and whether the user takes part.
/// spec: client-server-api/#server-side-aggregation-of-mthread-relationships
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn thread_is_summarised_in_its_root() {
    let (alice, bob, room) = pair().await;
    let root = alice.send_text(&room, "root").await;
    let reply = |body: &str| {
        json!({
            "msgtype": "m.text", "body": body,
            "m.relates_to": {"rel_type": "m.thread", "event_id": root},
        })
    };
    alice.send(&room, "m.room.message", reply("one")).await;
    let last = alice.send(&room, "m.room.message", reply("two")).await;
    for (user, takes_part) in [(&alice, true), (&bob, false)] {
        let answer = user.sync().filter(&limit(3)).await;
        let heard = timeline(&answer, &room);
        let thread = &by_id(&heard, &root)["unsigned"]["m.relations"]["m.thread"];
        assert_eq!(thread["count"], 2, "{answer}");
        assert_eq!(thread["latest_event"]["event_id"], last.as_str());
        assert_eq!(thread["current_user_participated"], takes_part);
    }
}

/// `membership` in `unsigned`, where it is given, is the user's own at that event.
/// spec: client-server-api/#room-event-format
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn membership_is_that_of_the_reader() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = alice.create_public_room().await;
    alice.send_text(&room, "before").await;
    bob.join(&room).await;
    alice.send_text(&room, "after").await;
    let answer = bob.sync().filter(&limit(3)).await;
    let heard = timeline(&answer, &room);
    let mut given = Vec::new();
    for event in &heard {
        if let Some(membership) = event["unsigned"].get("membership") {
            let expected = if event["content"]["body"] == "before" { "leave" } else { "join" };
            assert_eq!(membership, expected, "{event}");
            given.push(membership.clone());
        }
    }
    assert_eq!(bodies(&heard), ["before", "after"]);
}

/// Content comes exactly as it was sent, whatever characters and numbers it has.
/// spec: client-server-api/#put_matrixclientv3roomsroomidsendeventtypetxnid
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn content_comes_as_it_was_sent() {
    let (alice, bob, room) = pair().await;
    let mut syncer = bob.syncer().await;
    let content = json!({
        "msgtype": "m.text",
        "body": "\u{1F600} \u{202E}rtl \"quotes\" \\ \n\t zero\u{0000}width \u{FEFF}",
        "numbers": [0, -1, 9_007_199_254_740_991_i64, -9_007_199_254_740_991_i64],
        "empty": {"": "", "list": [], "null": null, "deep": [[[{}]]]},
        "true": true,
    });
    let sent = alice.send(&room, "m.room.message", content.clone()).await;
    let heard = syncer.until_event(&room, &sent).await;
    assert_eq!(by_id(&heard, &sent)["content"], content);
}
