//! Under concurrent writers every watcher hears every event exactly once.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;

use super::view::{
    State, apply, current_state, entry, events, has_room, ids, limit, members, state_of, walk_back,
};
use sytest_like::{Server, User, Value, json};

const SENDERS: usize = 5;
const EACH: usize = 14;

/// What was acknowledged: the ids by room and sender, in the order of that sender.
type Sent = BTreeMap<(String, String), Vec<String>>;

async fn users(server: &Server, name: &str, count: usize) -> Vec<User> {
    join_all((0..count).map(|_| server.register(name))).await
}

/// Every sender sends into every room, all at once.
async fn send_all(senders: &[User], rooms: &[String]) -> Sent {
    let streams = senders.iter().flat_map(|sender| {
        rooms.iter().map(move |room| async move {
            let sent = super::view::chatter(sender, room, "m", EACH).await;
            ((room.clone(), sender.id.clone()), sent)
        })
    });
    join_all(streams).await.into_iter().collect()
}

/// Follows until `total` messages were heard, filling gaps through `/messages`. Returns them by room, in order.
async fn hear(user: &User, events_wanted: usize, since: &str, total: usize) -> BTreeMap<String, Vec<Value>> {
    let mut heard: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let mut since = since.to_owned();
    let mut count = 0;
    while count < total {
        let answer = user.sync().since(&since).filter(&limit(events_wanted)).timeout(30_000).await;
        let rooms = answer.json["rooms"]["join"].as_object().cloned().unwrap_or_default();
        assert!(!rooms.is_empty(), "{} heard {count} of {total} messages and then nothing more", user.id);
        for (room, entry) in rooms {
            let mut news = Vec::new();
            if entry["timeline"]["limited"] == true {
                let prev_batch = entry["timeline"]["prev_batch"].as_str().expect("a gap has a beginning");
                news = walk_back(user, &room, prev_batch, 7, Some(&since)).await;
            }
            news.extend(events(&entry, "timeline"));
            news.retain(|event| event["type"] == "m.room.message");
            count += news.len();
            heard.entry(room).or_default().extend(news);
        }
        answer.str("next_batch").clone_into(&mut since);
    }
    let quiet = user.sync().since(&since).filter(&limit(events_wanted)).await;
    for room in heard.keys() {
        assert!(!has_room(&quiet, "join", room), "more than was sent: {quiet}");
    }
    heard
}

/// Each acknowledged event once, and each sender's in the order of sending.
fn check(sent: &Sent, heard: &BTreeMap<String, Vec<Value>>) {
    for ((room, sender), sent) in sent {
        let from: Vec<Value> =
            heard[room].iter().filter(|event| event["sender"] == sender.as_str()).cloned().collect();
        assert_eq!(ids(&from), *sent, "from {sender} in {room}");
    }
    let total: usize = sent.values().map(Vec::len).sum();
    assert_eq!(heard.values().map(Vec::len).sum::<usize>(), total);
}

async fn rooms_with(owner: &User, others: &[&[User]], count: usize) -> Vec<String> {
    let mut rooms = Vec::new();
    for _ in 0..count {
        let room = owner.create_public_room().await;
        for user in others.iter().copied().flatten() {
            user.join(&room).await;
        }
        rooms.push(room);
    }
    rooms
}

async fn watch_while_sending(events_wanted: usize, room_count: usize) {
    let server = Server::shared().await;
    let (senders, watchers) = (users(&server, "sender", SENDERS).await, users(&server, "watcher", 3).await);
    let rooms = rooms_with(&senders[0], &[&senders[1..], &watchers], room_count).await;
    let mut positions = Vec::new();
    for watcher in &watchers {
        positions.push(watcher.sync().filter(&limit(1)).await.str("next_batch").to_owned());
    }
    let total = SENDERS * room_count * EACH;
    let hearing =
        watchers.iter().zip(&positions).map(|(user, since)| hear(user, events_wanted, since, total));
    let (sent, heard) = tokio::join!(send_all(&senders, &rooms), join_all(hearing));
    for heard in &heard {
        check(&sent, heard);
    }
}

/// Many senders in one room; watchers get long timelines.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn one_busy_room() {
    watch_while_sending(100, 1).await;
}

/// Many senders in several rooms; watchers get long timelines.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn several_rooms() {
    watch_while_sending(100, 3).await;
}

/// Timelines of two events at most: what is left out is found in the gaps, and only there.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test]
async fn small_timelines_and_their_gaps() {
    watch_while_sending(2, 2).await;
}

/// All watchers see a room's events in the same order.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn watchers_agree_on_the_order() {
    let server = Server::shared().await;
    let (senders, watchers) = (users(&server, "sender", SENDERS).await, users(&server, "watcher", 3).await);
    let rooms = rooms_with(&senders[0], &[&senders[1..], &watchers], 1).await;
    let mut positions = Vec::new();
    for watcher in &watchers {
        positions.push(watcher.sync().filter(&limit(1)).await.str("next_batch").to_owned());
    }
    let hearing = watchers.iter().zip(&positions).map(|(user, since)| hear(user, 100, since, SENDERS * EACH));
    let (_, heard) = tokio::join!(send_all(&senders, &rooms), join_all(hearing));
    let orders: BTreeSet<Vec<String>> = heard.iter().map(|heard| ids(&heard[&rooms[0]])).collect();
    assert_eq!(orders.len(), 1, "{orders:?}");
}

/// The senders hear their own messages and each other's exactly once.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn senders_hear_themselves() {
    let server = Server::shared().await;
    let senders = users(&server, "sender", SENDERS).await;
    let rooms = rooms_with(&senders[0], &[&senders[1..]], 1).await;
    let mut positions = Vec::new();
    for sender in &senders {
        positions.push(sender.sync().filter(&limit(1)).await.str("next_batch").to_owned());
    }
    let hearing = senders.iter().zip(&positions).map(|(user, since)| hear(user, 100, since, SENDERS * EACH));
    let (sent, heard) = tokio::join!(send_all(&senders, &rooms), join_all(hearing));
    for heard in &heard {
        check(&sent, heard);
    }
}

/// Two polls at once with one token hear the same; nothing is taken away from either.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn parallel_polls_do_not_steal() {
    let server = Server::shared().await;
    let senders = users(&server, "sender", 3).await;
    let watcher = server.register("watcher").await;
    let rooms = rooms_with(&senders[0], &[&senders[1..], std::slice::from_ref(&watcher)], 1).await;
    let since = watcher.sync().filter(&limit(1)).await.str("next_batch").to_owned();
    let total = senders.len() * EACH;
    let hearing = join_all((0..4).map(|extra| hear(&watcher, 100 + extra, &since, total)));
    let (sent, heard) = tokio::join!(send_all(&senders, &rooms), hearing);
    for heard in &heard {
        check(&sent, heard);
    }
}

/// Everybody who joins a room at the same time is heard of once.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
#[tokio::test]
async fn concurrent_joins() {
    const MANY: usize = 15;
    let server = Server::shared().await;
    let owner = server.register("owner").await;
    let room = owner.create_public_room().await;
    let guests = users(&server, "guest", MANY).await;
    let mut syncer = owner.syncer_with_filter(limit(100)).await;
    let expected: BTreeSet<String> = guests.iter().map(|guest| guest.id.clone()).collect();
    let hear = async {
        let mut heard = Vec::new();
        while heard.len() < MANY {
            let answer = syncer.next(30_000).await;
            let entry = entry(&answer, "join", &room);
            assert!(events(entry, "state").is_empty(), "the timeline has it all: {answer}");
            heard.extend(events(entry, "timeline"));
        }
        heard
    };
    let (_, heard) = tokio::join!(join_all(guests.iter().map(|guest| guest.join(&room))), hear);
    assert_eq!(heard.len(), MANY, "{heard:?}");
    assert_eq!(members(&heard), expected);
}

/// Who joins a busy room hears everything from then on, and what was before is behind `prev_batch`, without overlap.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
#[tokio::test]
async fn joining_a_busy_room() {
    let server = Server::shared().await;
    let senders = users(&server, "sender", 4).await;
    let rooms = rooms_with(&senders[0], &[&senders[1..]], 1).await;
    let guest = server.register("guest").await;
    let since = guest.sync().filter(&limit(1)).await.str("next_batch").to_owned();
    let follow = async {
        senders[0].send_text(&rooms[0], "before").await;
        guest.join(&rooms[0]).await;
        let first = guest.sync().since(&since).filter(&limit(5)).timeout(30_000).await;
        let entry = entry(&first, "join", &rooms[0]);
        let prev_batch = entry["timeline"]["prev_batch"].as_str().expect("there was something before");
        let mut heard = walk_back(&guest, &rooms[0], prev_batch, 9, None).await;
        heard.extend(events(entry, "timeline"));
        let already = heard.iter().filter(|event| event["content"]["body"] != "before");
        let already = already.filter(|event| event["type"] == "m.room.message").count();
        let rest = senders.len() * EACH - already;
        let mut later = hear(&guest, 100, first.str("next_batch"), rest).await;
        heard.extend(later.remove(&rooms[0]).unwrap_or_default());
        heard.retain(|event| event["type"] == "m.room.message" && event["content"]["body"] != "before");
        BTreeMap::from([(rooms[0].clone(), heard)])
    };
    let (sent, heard) = tokio::join!(send_all(&senders, &rooms), follow);
    check(&sent, &heard);
}

/// State changed from many sides at once: a watcher's own copy is the current state in the end.
/// spec: client-server-api/#syncing
/// covers: GET /_matrix/client/v3/sync
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
#[tokio::test]
async fn concurrent_state_changes() {
    const CHANGES: usize = 12;
    let server = Server::shared().await;
    let owner = server.register("owner").await;
    let room = owner.create_room(json!({"preset": "public_chat"})).await;
    let watcher = server.register("watcher").await;
    watcher.join(&room).await;
    let first = watcher.sync().filter(&limit(3)).await;
    let mut state: State = state_of(entry(&first, "join", &room));
    let change = |side: usize| {
        let (owner, room) = (&owner, &room);
        async move {
            for number in 0..CHANGES {
                let key = format!("{}", number % 4);
                owner.set_state(room, "org.example.x", &key, json!({"by": side, "n": number})).await;
            }
        }
    };
    let mut since = first.str("next_batch").to_owned();
    let follow = async {
        let mut finished = false;
        while !finished {
            let answer = watcher.sync().since(&since).filter(&limit(3)).timeout(30_000).await;
            answer.str("next_batch").clone_into(&mut since);
            let entry = entry(&answer, "join", &room);
            apply(&mut state, &events(entry, "state"));
            let timeline = events(entry, "timeline");
            apply(&mut state, &timeline);
            finished = timeline.iter().any(|event| event["type"] == "org.example.finished");
        }
        state
    };
    let changes = async {
        join_all((0..4).map(change)).await;
        owner.send(&room, "org.example.finished", json!({})).await;
    };
    let ((), state) = tokio::join!(changes, follow);
    assert_eq!(state, current_state(&watcher, &room).await);
}
