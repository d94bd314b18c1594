//! `/sync` over two replicas.

use std::collections::BTreeMap;

use futures_util::future::join_all;

use super::view::{
    chatter, current_state, entry, ephemeral, events, has_room, ids, limit, mentions, room_data, state_of,
    walk_back, without_presence,
};
use sytest_like::{Server, ServerOptions, Syncer, User, Value, json, path, timeline, timeline_ids};

/// Two users in a room, each on a replica of their own.
async fn apart() -> (User, User, String) {
    let mut replicas: Vec<Server> = ServerOptions::default().start_replicas(2).await;
    let (second, first) = (replicas.remove(1), replicas.remove(0));
    let (alice, bob) = (first.register("alice").await, second.register("bob").await);
    let room = alice.create_public_room().await;
    bob.join(&room).await;
    (alice, bob, room)
}

/// Messages sent on one replica are heard by a long poll on the other, each exactly once and in order, while both
/// replicas write.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
/// not on synapse: it has no equal replicas
#[tokio::test]
async fn concurrent_writes_are_heard_once_everywhere() {
    const EACH: usize = 20;
    let (alice, bob, room) = apart().await;
    let writers = [
        alice.clone(),
        bob.clone(),
        bob.server.as_seen_here(&alice.login().await),
        alice.server.as_seen_here(&bob.login().await),
    ];
    let watchers = [
        alice.syncer_with_filter(limit(100)).await,
        bob.syncer_with_filter(limit(101)).await,
        Syncer::from_answer(&alice.server.as_seen_here(&bob), bob.sync().filter(&limit(1)).await),
    ];
    let write = join_all(writers.iter().enumerate().map(|(number, user)| {
        let room = &room;
        async move { chatter(user, room, &format!("writer {number}:"), EACH).await }
    }));
    let hear = join_all(watchers.into_iter().map(|mut watcher| {
        let room = &room;
        async move {
            let mut heard = Vec::new();
            while heard.len() < 4 * EACH {
                let answer = watcher.next(30_000).await;
                let news = timeline(&answer, room);
                assert!(
                    answer.json["rooms"]["join"]
                        .get(room)
                        .is_none_or(|entry| entry["timeline"]["limited"] != true)
                        || news.len() >= 10,
                    "{answer}"
                );
                heard.extend(ids(&news));
            }
            heard
        }
    }));
    let (sent, heard) = tokio::join!(write, hear);
    let order: BTreeMap<&String, usize> = heard[0].iter().enumerate().map(|(at, id)| (id, at)).collect();
    assert_eq!(order.len(), 4 * EACH, "an event came twice");
    for sent in &sent {
        let places: Vec<_> = sent.iter().map(|id| order.get(id).copied()).collect();
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?}");
    }
    for other in &heard[1..] {
        assert_eq!(*other, heard[0], "the watchers disagree");
    }
}

/// Jumping between replicas with one token under load: nothing is missed, nothing comes twice.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
/// not on synapse: it has no equal replicas
#[tokio::test]
async fn jumping_token_under_load() {
    const MANY: usize = 40;
    let (alice, bob, room) = apart().await;
    let views = [bob.clone(), alice.server.as_seen_here(&bob)];
    let mut since = bob.sync().filter(&limit(1)).await.str("next_batch").to_owned();
    let write = async {
        let (one, two) = tokio::join!(chatter(&alice, &room, "here", MANY / 2), async {
            chatter(&bob.server.as_seen_here(&alice), &room, "there", MANY / 2).await
        });
        (one, two)
    };
    let hear = async {
        let mut heard: Vec<Value> = Vec::new();
        for turn in 0.. {
            if heard.len() >= MANY {
                break;
            }
            let answer = views[turn % 2].sync().since(&since).filter(&limit(100)).timeout(2_000).await;
            answer.str("next_batch").clone_into(&mut since);
            heard.extend(timeline(&answer, &room));
        }
        heard
    };
    let ((here, there), heard) = tokio::join!(write, hear);
    let from = |start: &str| {
        let told = heard
            .iter()
            .filter(|event| event["content"]["body"].as_str().is_some_and(|b| b.starts_with(start)));
        ids(&told.cloned().collect::<Vec<_>>())
    };
    assert_eq!(heard.len(), MANY);
    assert_eq!((from("here"), from("there")), (here, there));
}

/// An invite made here wakes a long poll there, and the room is joined there as a whole.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
/// not on synapse: it has no equal replicas
#[tokio::test]
async fn memberships_cross() {
    let (alice, bob, _) = apart().await;
    let mut syncer = bob.syncer_with_filter(without_presence()).await;
    let room = alice.create_room(json!({"preset": "private_chat", "name": "Den"})).await;
    alice.invite(&room, &bob).await;
    syncer.until_room("invite", &room).await;
    bob.join(&room).await;
    let answer = syncer.until("the room", |answer| has_room(answer, "join", &room)).await;
    assert_eq!(state_of(entry(&answer, "join", &room)), current_state(&bob, &room).await);
    alice.membership(&room, "kick", &bob.id).await.expect_ok();
    syncer.until_room("leave", &room).await;
    alice.send_text(&room, "behind bob's back").await;
    let quiet = syncer.next(0).await;
    assert!(!mentions(&quiet, &room), "{quiet}");
}

/// A gap is closed on the other replica than the one that told of it.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
/// not on synapse: it has no equal replicas
#[tokio::test]
async fn gap_is_closed_elsewhere() {
    let (alice, bob, room) = apart().await;
    let there = alice.server.as_seen_here(&bob);
    let since = bob.sync().filter(&limit(1)).await.str("next_batch").to_owned();
    let sent = chatter(&alice, &room, "message", 9).await;
    let answer = there.sync().since(&since).filter(&limit(3)).await;
    assert_eq!(timeline_ids(&answer, &room), sent[6..]);
    let prev_batch =
        entry(&answer, "join", &room)["timeline"]["prev_batch"].as_str().expect("there is a gap");
    let gap = walk_back(&bob, &room, prev_batch, 4, Some(&since)).await;
    assert_eq!(ids(&gap), sent[..6]);
}

/// Account data, tags, markers and stored filters made here are known there.
/// spec: client-server-api/#client-config
/// covers: GET /_matrix/client/v3/sync
/// not on synapse: it has no equal replicas
#[tokio::test]
async fn data_crosses() {
    let (alice, bob, room) = apart().await;
    let there = alice.server.as_seen_here(&bob);
    let mut syncer = there.syncer_with_filter(without_presence()).await;
    let event = alice.send_text(&room, "read me").await;
    bob.post(&path!("/v3/rooms/{}/read_markers", room), json!({"m.fully_read": event})).await.expect_ok();
    syncer.until("the marker", |answer| room_data(answer, &room, "m.fully_read").is_some()).await;
    bob.put(&path!("/v3/user/{}/account_data/org.example.x", bob.id), json!({"n": 1})).await.expect_ok();
    syncer
        .until("the account data", |answer| {
            super::view::types(&events(&answer.json, "account_data")).contains(&"org.example.x".to_owned())
        })
        .await;
    let filter = bob.post(&path!("/v3/user/{}/filter", bob.id), limit(1)).await.expect_ok();
    let answer = there.sync().query("filter", filter.str("filter_id")).await;
    assert_eq!(timeline_ids(&answer, &room), [event]);
}

/// Who stops typing here has stopped there, also by running out of time; presence crosses.
/// spec: client-server-api/#typing-notifications
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/typing/{userId}
/// covers: PUT /_matrix/client/v3/presence/{userId}/status
/// covers: GET /_matrix/client/v3/sync
/// not on synapse: it has no equal replicas
#[tokio::test]
async fn typing_and_presence_cross() {
    let (alice, bob, room) = apart().await;
    let mut syncer = alice.syncer().await;
    let put = path!("/v3/rooms/{}/typing/{}", room, bob.id);
    let list = |answer: &sytest_like::Response| {
        ephemeral(answer, &room, "m.typing").map(|content| content["user_ids"].clone())
    };
    bob.put(&put, json!({"typing": true, "timeout": 60_000})).await.expect_ok();
    syncer.until("bob types", |answer| list(answer) == Some(json!([bob.id]))).await;
    bob.put(&put, json!({"typing": false})).await.expect_ok();
    syncer.until("bob stops", |answer| list(answer) == Some(json!([]))).await;
    bob.put(&put, json!({"typing": true, "timeout": 300})).await.expect_ok();
    syncer.until("time is over", |answer| list(answer) == Some(json!([]))).await;
    let status = path!("/v3/presence/{}/status", bob.id);
    bob.put(&status, json!({"presence": "online", "status_msg": "over there"})).await.expect_ok();
    syncer
        .until("bob's status", |answer| {
            let all = events(&answer.json, "presence");
            all.iter().any(|event| {
                event["sender"] == bob.id.as_str() && event["content"]["status_msg"] == "over there"
            })
        })
        .await;
}

/// The transaction id reaches the sending device on whichever replica it syncs.
/// spec: client-server-api/#transaction-identifiers
/// covers: GET /_matrix/client/v3/sync
/// not on synapse: it has no equal replicas
#[tokio::test]
async fn transaction_id_crosses() {
    let (alice, bob, room) = apart().await;
    let there = bob.server.as_seen_here(&alice);
    let mut syncer = there.syncer().await;
    let sent = alice.send_text(&room, "hello").await;
    let heard = syncer.until_event(&room, &sent).await;
    assert!(heard.iter().any(|event| event["unsigned"]["transaction_id"].is_string()), "{heard:?}");
}

/// Lazily loaded members are told on the second replica when the first one told of them before, or again; never not.
/// spec: client-server-api/#lazy-loading-room-members
/// covers: GET /_matrix/client/v3/sync
/// not on synapse: it has no equal replicas
#[tokio::test]
async fn lazy_members_are_known_after_a_jump() {
    let (alice, bob, room) = apart().await;
    let views = [bob.clone(), alice.server.as_seen_here(&bob)];
    let filter = json!({"room": {"timeline": {"limit": 5}, "state": {"lazy_load_members": true}}});
    let silent = alice.server.register("silent").await;
    silent.join(&room).await;
    chatter(&alice, &room, "message", 6).await;
    let first = bob.sync().filter(&filter).await;
    let mut known = super::view::members(&events(entry(&first, "join", &room), "state"));
    let mut since = first.str("next_batch").to_owned();
    for turn in 0..4 {
        let speaker = if turn % 2 == 0 { &silent } else { &alice };
        let sent = speaker.send_text(&room, "hello").await;
        let mut heard = Vec::new();
        while !ids(&heard).contains(&sent) {
            let answer = views[turn % 2].sync().since(&since).filter(&filter).timeout(5_000).await;
            answer.str("next_batch").clone_into(&mut since);
            heard.extend(timeline(&answer, &room));
            if has_room(&answer, "join", &room) {
                known.extend(super::view::members(&events(entry(&answer, "join", &room), "state")));
            }
        }
        assert!(known.contains(&speaker.id), "{} spoke and was not introduced", speaker.id);
    }
}
