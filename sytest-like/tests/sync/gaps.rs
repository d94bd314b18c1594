//! Limited timelines, and the gap before them.

use super::view::{
    apply, bodies, chatter, current_state, entry, events, has_room, ids, limit, members, state_of, types,
    walk_back,
};
use sytest_like::{Response, Server, User, Value, json, path, timeline_ids};

/// Two users in a room, and the second one's position.
async fn pair() -> (User, User, String, String) {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = alice.create_public_room().await;
    bob.join(&room).await;
    let since = bob.sync().filter(&limit(1)).await.str("next_batch").to_owned();
    (alice, bob, room, since)
}

#[track_caller]
fn is_limited(answer: &Response, room: &str) -> bool {
    entry(answer, "join", room)["timeline"]["limited"] == true
}

#[track_caller]
fn prev_batch(answer: &Response, room: &str) -> String {
    let batch = &entry(answer, "join", room)["timeline"]["prev_batch"];
    batch.as_str().unwrap_or_else(|| panic!("no prev_batch in {answer}")).to_owned()
}

/// More news than the limit: the newest are given, and the answer says that there were more.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn limited_timeline_has_the_newest() {
    let (alice, bob, room, since) = pair().await;
    let sent = chatter(&alice, &room, "message", 12).await;
    let answer = bob.sync().since(&since).filter(&limit(5)).await;
    assert_eq!(timeline_ids(&answer, &room), sent[7..]);
    assert!(is_limited(&answer, &room), "{answer}");
}

/// Just as many news as the limit is no gap.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn exactly_the_limit_is_not_limited() {
    let (alice, bob, room, since) = pair().await;
    let sent = chatter(&alice, &room, "message", 5).await;
    let answer = bob.sync().since(&since).filter(&limit(5)).await;
    assert_eq!(timeline_ids(&answer, &room), sent);
    assert!(!is_limited(&answer, &room), "{answer}");
    let answer = bob.sync().since(&since).filter(&limit(4)).await;
    assert_eq!(timeline_ids(&answer, &room), sent[1..]);
    assert!(is_limited(&answer, &room), "{answer}");
}

/// Backwards from `prev_batch` down to the last sync's position is the gap, no event more, no event less.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test]
async fn prev_batch_meets_the_previous_sync() {
    let (alice, bob, room, since) = pair().await;
    let sent = chatter(&alice, &room, "message", 14).await;
    for (events_wanted, page) in [(1, 4), (4, 3), (5, 50), (13, 1)] {
        let answer = bob.sync().since(&since).filter(&limit(events_wanted)).await;
        let gap = walk_back(&bob, &room, &prev_batch(&answer, &room), page, Some(&since)).await;
        assert_eq!(ids(&gap), sent[..14 - events_wanted], "with a limit of {events_wanted}");
        assert_eq!(timeline_ids(&answer, &room), sent[14 - events_wanted..]);
    }
}

/// The gap can be filled forwards as well: from the last sync's position to `prev_batch`.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test]
async fn gap_is_filled_forwards() {
    let (alice, bob, room, since) = pair().await;
    let sent = chatter(&alice, &room, "message", 9).await;
    let answer = bob.sync().since(&since).filter(&limit(3)).await;
    let page = bob
        .get(&path!("/v3/rooms/{}/messages", room))
        .query("dir", "f")
        .query("from", &since)
        .query("to", prev_batch(&answer, &room))
        .query("limit", "50")
        .await
        .expect_ok();
    assert_eq!(ids(page.array("chunk")), sent[..6], "{page}");
}

/// Backwards from the `prev_batch` of any later answer is what that client has seen already.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test]
async fn prev_batch_of_an_answer_without_gap_leads_back_too() {
    let (alice, bob, room, since) = pair().await;
    let before = chatter(&alice, &room, "before", 3).await;
    let first = bob.sync().since(&since).filter(&limit(10)).await;
    let after = chatter(&alice, &room, "after", 2).await;
    let second = bob.sync().since(first.str("next_batch")).filter(&limit(10)).await;
    assert_eq!(timeline_ids(&second, &room), after);
    let page = bob
        .get(&path!("/v3/rooms/{}/messages", room))
        .query("dir", "b")
        .query("from", prev_batch(&second, &room))
        .query("limit", "3")
        .await
        .expect_ok();
    let mut seen = ids(page.array("chunk"));
    seen.reverse();
    assert_eq!(seen, before);
}

/// Limited answers one after another cover everything once their gaps are filled.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test]
async fn gaps_in_a_row_cover_everything() {
    let (alice, bob, room, mut since) = pair().await;
    let (mut sent, mut heard) = (Vec::new(), Vec::new());
    for round in 0..6 {
        sent.extend(chatter(&alice, &room, &format!("round {round}"), round * 2).await);
        let answer = bob.sync().since(&since).filter(&limit(3)).await;
        if has_room(&answer, "join", &room) {
            if is_limited(&answer, &room) {
                let gap = walk_back(&bob, &room, &prev_batch(&answer, &room), 4, Some(&since)).await;
                heard.extend(ids(&gap));
            }
            heard.extend(timeline_ids(&answer, &room));
        }
        answer.str("next_batch").clone_into(&mut since);
    }
    assert_eq!(heard, sent);
}

/// `state` is what changed in the gap: the last value each, and nothing else.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn state_of_a_gap_is_what_changed_in_it() {
    let (alice, bob, room, since) = pair().await;
    alice.set_state(&room, "m.room.topic", "", json!({"topic": "skipped"})).await;
    let topic = alice.set_state(&room, "m.room.topic", "", json!({"topic": "last in the gap"})).await;
    let custom = alice.set_state(&room, "org.example.x", "key", json!({"n": 1})).await;
    chatter(&alice, &room, "message", 5).await;
    let name = alice.set_state(&room, "m.room.name", "", json!({"name": "In the timeline"})).await;
    chatter(&alice, &room, "more", 2).await;
    let answer = bob.sync().since(&since).filter(&limit(5)).await;
    let entry = entry(&answer, "join", &room);
    let mut state = ids(&events(entry, "state"));
    state.sort();
    let mut expected = vec![topic, custom];
    expected.sort();
    assert_eq!(state, expected, "{answer}");
    assert!(timeline_ids(&answer, &room).contains(&name), "{answer}");
}

/// State at the *start* of the timeline: a value that was replaced inside the timeline is still told as it was before.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn state_is_that_before_the_timeline() {
    let (alice, bob, room, since) = pair().await;
    let old = alice.set_state(&room, "m.room.topic", "", json!({"topic": "old"})).await;
    chatter(&alice, &room, "message", 6).await;
    let new = alice.set_state(&room, "m.room.topic", "", json!({"topic": "new"})).await;
    let answer = bob.sync().since(&since).filter(&limit(3)).await;
    let state = events(entry(&answer, "join", &room), "state");
    assert_eq!(ids(&state), [old], "{answer}");
    assert_eq!(timeline_ids(&answer, &room).last(), Some(&new));
}

/// Without a gap there is no `state`: state changes are in the timeline.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn no_gap_no_state() {
    let (alice, bob, room, since) = pair().await;
    alice.set_state(&room, "m.room.topic", "", json!({"topic": "one"})).await;
    alice.send_text(&room, "between").await;
    alice.set_state(&room, "m.room.topic", "", json!({"topic": "two"})).await;
    let answer = bob.sync().since(&since).filter(&limit(10)).await;
    let entry = entry(&answer, "join", &room);
    assert!(events(entry, "state").is_empty(), "{answer}");
    assert_eq!(types(&events(entry, "timeline")), ["m.room.topic", "m.room.message", "m.room.topic"]);
}

/// Who joined and left during a gap is in its state.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn memberships_of_a_gap_are_told() {
    let (alice, bob, room, since) = pair().await;
    let (carol, dora) = (alice.server.register("carol").await, alice.server.register("dora").await);
    carol.join(&room).await;
    dora.join(&room).await;
    dora.leave(&room).await;
    chatter(&alice, &room, "message", 6).await;
    let answer = bob.sync().since(&since).filter(&limit(4)).await;
    let state = events(entry(&answer, "join", &room), "state");
    assert_eq!(members(&state), [carol.id.clone(), dora.id.clone()].into(), "{answer}");
    let membership = |user: &User| {
        let event = super::view::find(&state, "m.room.member", Some(&user.id)).expect("it was there above");
        event["content"]["membership"].clone()
    };
    assert_eq!(membership(&carol), "join");
    assert_eq!(membership(&dora), "leave");
}

/// A client that follows through gaps of every size has the current state in the end.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn following_through_gaps_keeps_the_state() {
    let (alice, bob, room, _) = pair().await;
    let first = bob.sync().filter(&limit(2)).await;
    let mut state = state_of(entry(&first, "join", &room));
    let mut since = first.str("next_batch").to_owned();
    for round in 0..8_usize {
        for number in 0..=round {
            alice
                .set_state(&room, "org.example.x", &format!("{}", number % 3), json!({"n": [round, number]}))
                .await;
            if number % 2 == 0 {
                alice.send_text(&room, "between").await;
            }
        }
        let answer = bob.sync().since(&since).filter(&limit(1 + round % 4)).await;
        let entry = entry(&answer, "join", &room);
        apply(&mut state, &events(entry, "state"));
        apply(&mut state, &events(entry, "timeline"));
        answer.str("next_batch").clone_into(&mut since);
        assert_eq!(state, current_state(&bob, &room).await, "after round {round}");
    }
}

/// Who was away for many messages and comes back finds the room whole: left, rejoined, all between two syncs.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
#[tokio::test]
async fn rejoin_after_a_gap_gives_the_current_state() {
    let (alice, bob, room, since) = pair().await;
    bob.leave(&room).await;
    alice.set_state(&room, "m.room.topic", "", json!({"topic": "while bob was away"})).await;
    chatter(&alice, &room, "message", 8).await;
    bob.join(&room).await;
    let answer = bob.sync().since(&since).filter(&limit(3)).await;
    let entry = entry(&answer, "join", &room);
    // State that did not change while bob was away may be left out; what changed must be there.
    let current = current_state(&bob, &room).await;
    let told = state_of(entry);
    for key in [("m.room.topic", ""), ("m.room.member", bob.id.as_str())] {
        let key = (key.0.to_owned(), key.1.to_owned());
        assert_eq!(told.get(&key), current.get(&key), "{answer}");
    }
    assert!(told.iter().all(|(key, id)| current.get(key) == Some(id)), "stale state in {answer}");
    assert!(!has_room(&answer, "leave", &room), "{answer}");
}

/// Joining a room with a long past gives its whole state, once.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
#[tokio::test]
async fn newly_joined_room_has_its_whole_state() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = alice.create_room(json!({"preset": "public_chat", "name": "Old", "topic": "Long past"})).await;
    chatter(&alice, &room, "past", 15).await;
    let mut syncer = bob.syncer_with_filter(limit(4)).await;
    bob.join(&room).await;
    let answer = syncer.next(5_000).await;
    let entry = entry(&answer, "join", &room);
    assert_eq!(state_of(entry), current_state(&bob, &room).await, "{answer}");
    let timeline = events(entry, "timeline");
    let own = super::view::find(&timeline, "m.room.member", Some(&bob.id));
    assert_eq!(own.map(|event| &event["content"]["membership"]), Some(&json!("join")), "{answer}");
    let quiet = syncer.next(0).await;
    assert!(!has_room(&quiet, "join", &room), "{quiet}");
}

/// Back from a newly joined room's `prev_batch` is its past.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test]
async fn newly_joined_room_leads_to_its_past() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = alice.create_public_room().await;
    let past = chatter(&alice, &room, "past", 10).await;
    let mut syncer = bob.syncer_with_filter(limit(3)).await;
    bob.join(&room).await;
    let answer = syncer.next(5_000).await;
    let mut all = walk_back(&bob, &room, &prev_batch(&answer, &room), 4, None).await;
    all.extend(events(entry(&answer, "join", &room), "timeline"));
    let messages: Vec<Value> = all.into_iter().filter(|event| event["type"] == "m.room.message").collect();
    assert_eq!(ids(&messages), past);
}

/// The limit counts what the filter lets through, so that rare events are found among many others.
/// spec: client-server-api/#filtering
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn limit_counts_what_the_filter_lets_through() {
    let (alice, bob, room, since) = pair().await;
    for number in 0..4 {
        alice.send_text(&room, &format!("rare {number}")).await;
        for _ in 0..6 {
            alice.send(&room, "org.example.noise", json!({})).await;
        }
    }
    let filter = json!({
        "presence": {"not_types": ["*"]},
        "room": {"timeline": {"limit": 3, "types": ["m.room.message"]}},
    });
    let answer = bob.sync().since(&since).filter(&filter).await;
    let entry = entry(&answer, "join", &room);
    assert_eq!(bodies(&events(entry, "timeline")), ["rare 1", "rare 2", "rare 3"], "{answer}");
    assert!(is_limited(&answer, &room), "{answer}");
}

/// A gap in one room does not limit another.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn gaps_are_by_room() {
    let (alice, bob, busy, _) = pair().await;
    let calm = alice.create_public_room().await;
    bob.join(&calm).await;
    let since = bob.sync().filter(&limit(2)).await.str("next_batch").to_owned();
    let calmly = chatter(&alice, &calm, "calm", 2).await;
    chatter(&alice, &busy, "busy", 8).await;
    let answer = bob.sync().since(&since).filter(&limit(3)).await;
    assert!(is_limited(&answer, &busy) && !is_limited(&answer, &calm), "{answer}");
    assert_eq!(timeline_ids(&answer, &calm), calmly);
}
