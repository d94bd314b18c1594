//! Walking through history, and finding places in it.

use hs_model::stream::{Position, RoomStreamToken};
use hs_rooms::{
    access::Access,
    event_filter::EventFilter,
    paginate::{Page, PageRequest},
};
use hs_storage::events::Order;
use ruma::OwnedEventId;
use serde_json::json;

use crate::scene::{Scene, filter};

async fn page(scene: &Scene, name: &str, request: PageRequest<'_>) -> Page {
    let viewer = scene.viewer(name);
    let rooms = &scene.server.rooms;
    let access = rooms.access(&scene.room, &viewer).await.expect("an answer").expect("a room one may read");
    rooms.page(&scene.room, &viewer, &access, request).await.expect("a page")
}

fn request(order: Order, limit: usize, filter: &EventFilter) -> PageRequest<'_> {
    PageRequest { from: None, to: None, order, limit, filter }
}

/// The ids of all events that walking shows, and how many pages that took.
async fn walk(
    scene: &Scene,
    name: &str,
    order: Order,
    limit: usize,
    filter: &EventFilter,
) -> (Vec<OwnedEventId>, usize) {
    let (mut ids, mut pages) = (Vec::new(), 0);
    let mut next = request(order, limit, filter);
    loop {
        let page = page(scene, name, next).await;
        pages += 1;
        assert!(page.events.len() <= limit);
        ids.extend(page.events.iter().map(|event| event.event_id.clone()));
        match page.end {
            Some(end) => {
                assert_ne!(next.from, Some(end), "a page leads to itself");
                next.from = Some(end);
            }
            None => return (ids, pages),
        }
    }
}

/// A room in which 20 things were said, and their ids after those of its beginning.
async fn busy_scene() -> (Scene, Vec<OwnedEventId>) {
    let scene = Scene::new(Some("shared")).await;
    let mut ids = Vec::new();
    for i in 0..20 {
        ids.push(scene.say("alice", &i.to_string()).await);
    }
    (scene, ids)
}

#[tokio::test]
async fn either_way_shows_every_event_once() {
    let (scene, said) = busy_scene().await;
    let everything = EventFilter::default();
    for limit in [1, 3, 6, 8, 24, 100] {
        let (forward, _) = walk(&scene, "alice", Order::Forward, limit, &everything).await;
        let (mut backward, pages) = walk(&scene, "alice", Order::Backward, limit, &everything).await;
        backward.reverse();
        assert_eq!(forward.len(), 24);
        assert_eq!(forward[4..], said);
        assert_eq!(forward, backward);
        assert_eq!(pages, 24_usize.div_ceil(limit), "the last page says that it is the last");
    }
}

#[tokio::test]
async fn what_is_said_meanwhile_does_not_shift_pages() {
    let (scene, said) = busy_scene().await;
    let everything = EventFilter::default();
    let first = page(&scene, "alice", request(Order::Backward, 5, &everything)).await;
    let later = scene.say("alice", "meanwhile").await;

    let from = first.end;
    let second =
        page(&scene, "alice", PageRequest { from, ..request(Order::Backward, 5, &everything) }).await;
    let ids: Vec<_> = second.events.iter().rev().map(|event| event.event_id.clone()).collect();
    assert_eq!(ids, said[10..15]);

    let from = Some(first.start);
    let news = page(&scene, "alice", PageRequest { from, ..request(Order::Forward, 5, &everything) }).await;
    let ids: Vec<_> = news.events.iter().map(|event| &event.event_id).collect();
    assert_eq!(ids, [&later]);
    assert_eq!(news.end, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn walking_among_writers_shows_every_event_once() {
    let (scene, said) = busy_scene().await;
    let everything = EventFilter::default();
    let write = async {
        for i in 0..30 {
            scene.say("alice", &format!("more {i}")).await;
        }
    };
    let read = async {
        let mut walks = Vec::new();
        for _ in 0..5 {
            walks.push(walk(&scene, "alice", Order::Backward, 4, &everything).await.0);
            walks.push(walk(&scene, "alice", Order::Forward, 4, &everything).await.0);
        }
        walks
    };
    let (walks, ()) = tokio::join!(read, write);

    for ids in walks {
        let mut unique = ids.clone();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), ids.len(), "an event was shown twice");
        assert!(said.iter().all(|id| ids.contains(id)), "an event was left out");
    }
}

#[tokio::test]
async fn pages_stop_where_they_are_told_to() {
    let (scene, said) = busy_scene().await;
    let everything = EventFilter::default();
    let newest = page(&scene, "alice", request(Order::Backward, 5, &everything)).await;
    let middle =
        page(&scene, "alice", PageRequest { from: newest.end, ..request(Order::Backward, 5, &everything) })
            .await;

    let backward =
        page(&scene, "alice", PageRequest { to: newest.end, ..request(Order::Backward, 100, &everything) })
            .await;
    let ids: Vec<_> = backward.events.iter().rev().map(|event| event.event_id.clone()).collect();
    assert_eq!(ids, said[15..]);
    assert_eq!(backward.end, None);

    let forward =
        PageRequest { from: middle.end, to: newest.end, ..request(Order::Forward, 100, &everything) };
    let forward = page(&scene, "alice", forward).await;
    let ids: Vec<_> = forward.events.iter().map(|event| event.event_id.clone()).collect();
    assert_eq!(ids, said[10..15]);
}

#[tokio::test]
async fn positions_of_the_log_stand_between_events() {
    let (scene, said) = busy_scene().await;
    let everything = EventFilter::default();
    let position = scene.event(&said[9]).await.position.expect("a place in the log");
    let from = Some(RoomStreamToken::Stream(position));

    let backward =
        page(&scene, "alice", PageRequest { from, ..request(Order::Backward, 1, &everything) }).await;
    assert_eq!(backward.events[0].event_id, said[9]);
    let forward =
        page(&scene, "alice", PageRequest { from, ..request(Order::Forward, 1, &everything) }).await;
    assert_eq!(forward.events[0].event_id, said[10]);

    let from = Some(RoomStreamToken::Stream(Position::START));
    let nothing =
        page(&scene, "alice", PageRequest { from, ..request(Order::Backward, 1, &everything) }).await;
    assert!(nothing.events.is_empty() && nothing.end.is_none());
}

#[tokio::test]
async fn filters_leave_out_and_pages_are_filled_all_the_same() {
    let (scene, said) = busy_scene().await;
    scene.join("bob").await;
    let by_bob = scene.say("bob", "hello").await;
    for i in 0..20 {
        scene.say("alice", &format!("more {i}")).await;
    }

    let of_bob = filter(&json!({ "senders": ["@bob:test.example"], "types": ["m.room.mess*"] }));
    let (ids, pages) = walk(&scene, "alice", Order::Backward, 5, &of_bob).await;
    assert_eq!((ids, pages), (vec![by_bob.clone()], 1));

    let state = filter(&json!({ "not_types": ["m.room.message"] }));
    let (ids, _) = walk(&scene, "alice", Order::Forward, 2, &state).await;
    assert_eq!(ids.len(), 5);

    let elsewhere = filter(&json!({ "rooms": ["!other:test.example"] }));
    assert!(walk(&scene, "alice", Order::Forward, 2, &elsewhere).await.0.is_empty());

    scene.relate("bob", "m.thread", &said[3]).await;
    let rooted =
        filter(&json!({ "related_by_rel_types": ["m.thread"], "related_by_senders": ["@bob:test.example"] }));
    let (ids, _) = walk(&scene, "alice", Order::Backward, 5, &rooted).await;
    assert_eq!(ids, [said[3].clone()]);
}

#[tokio::test]
async fn a_page_whose_events_are_all_hidden_leads_on() {
    let scene = Scene::new(Some("shared")).await;
    let open = scene.say("alice", "open").await;
    scene.set_history_visibility("joined").await;
    for i in 0..30 {
        scene.say("alice", &format!("closed {i}")).await;
    }
    scene.join("bob").await;

    let messages = filter(&json!({ "types": ["m.room.message"] }));
    let (ids, _) = walk(&scene, "bob", Order::Backward, 5, &messages).await;
    assert_eq!(ids, [open]);
}

#[tokio::test]
async fn who_left_walks_back_from_there_and_no_further_forward() {
    let scene = Scene::new(Some("shared")).await;
    scene.join("bob").await;
    let before = scene.say("alice", "before").await;
    let left = scene.leave("bob").await;
    scene.say("alice", "after").await;

    let everything = EventFilter::default();
    let newest = page(&scene, "bob", request(Order::Backward, 2, &everything)).await;
    let ids: Vec<_> = newest.events.iter().map(|event| &event.event_id).collect();
    assert_eq!(ids, [&left, &before]);
    let (ids, _) = walk(&scene, "bob", Order::Forward, 3, &everything).await;
    assert_eq!(ids.last(), Some(&left));
}

#[tokio::test]
async fn lazy_members_are_those_of_the_senders_as_of_the_newest_event() {
    let scene = Scene::new(Some("shared")).await;
    scene.join("carol").await;
    scene.join("bob").await;
    let said = scene.say("bob", "hello").await;
    scene.leave("bob").await;
    let event = scene.event(&said).await;

    let members = scene.server.rooms.lazy_members(&[event]).await.expect("an answer");

    let keys: Vec<_> = members.iter().filter_map(|event| event.state_key.as_deref()).collect();
    assert_eq!(keys, ["@bob:test.example"]);
    assert!(members[0].json.contains(r#""membership":"join""#));
}

#[tokio::test]
async fn context_halves_the_limit_and_shows_the_state_at_its_end() {
    let (scene, said) = busy_scene().await;
    scene.join("bob").await;
    let viewer = scene.viewer("alice");
    let rooms = &scene.server.rooms;
    let event = scene.event(&said[10]).await;
    let everything = EventFilter::default();
    let around = async |limit, filter: &EventFilter| {
        rooms
            .context(&scene.room, &viewer, &Access::Member, &event, limit, filter)
            .await
            .expect("an answer")
            .expect("an event of the timeline")
    };

    let context = around(5, &everything).await;
    let before: Vec<_> = context.before.iter().map(|event| &event.event_id).collect();
    let after: Vec<_> = context.after.iter().map(|event| &event.event_id).collect();
    assert_eq!(before, [&said[9], &said[8]]);
    assert_eq!(after, [&said[11], &said[12], &said[13]]);
    assert_eq!(context.state.len(), 4, "bob had not joined then");

    let lazy = around(0, &filter(&json!({ "lazy_load_members": true }))).await;
    assert!(lazy.before.is_empty() && lazy.after.is_empty());
    assert_eq!(lazy.state.len(), 4);

    let from = Some(context.start);
    let older = page(&scene, "alice", PageRequest { from, ..request(Order::Backward, 1, &everything) }).await;
    assert_eq!(older.events[0].event_id, said[7]);
    let from = Some(context.end);
    let newer = page(&scene, "alice", PageRequest { from, ..request(Order::Forward, 1, &everything) }).await;
    assert_eq!(newer.events[0].event_id, said[14]);
}

#[tokio::test]
async fn the_event_nearest_to_a_time_is_one_that_may_be_seen() {
    let scene = Scene::new(Some("joined")).await;
    let hidden = scene.event(&scene.say("alice", "hidden").await).await;
    let joined = scene.event(&scene.join("bob").await).await;
    let rooms = &scene.server.rooms;
    let nearest = async |name: &str, ts, order| {
        let found = rooms
            .find_visible_event_by_time(&scene.room, &scene.viewer(name), ts, order)
            .await
            .expect("an answer");
        found.map(|event| event.event_id.clone())
    };

    assert_eq!(nearest("bob", hidden.origin_server_ts, Order::Forward).await, Some(joined.event_id.clone()));
    assert_eq!(nearest("alice", i64::MAX, Order::Backward).await, Some(joined.event_id.clone()));
    assert_eq!(nearest("alice", i64::MAX, Order::Forward).await, None);
    assert_eq!(nearest("alice", 0, Order::Backward).await, None);
    assert!(nearest("alice", 0, Order::Forward).await.is_some());
}
