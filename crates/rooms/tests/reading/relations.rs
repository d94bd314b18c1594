//! Relations, threads and aggregations.

use hs_rooms::{
    Intent,
    access::Access,
    event_filter::EventFilter,
    paginate::PageRequest,
    relations::{RelatedRequest, ThreadsRequest},
};
use hs_storage::events::Order;
use ruma::OwnedEventId;
use serde_json::{Value, json};

use crate::scene::Scene;

/// `m.relations` of an event as somebody sees it, both from memory and after a restart; they must agree.
async fn relations(scene: Scene, name: &str, event_id: &OwnedEventId) -> Value {
    let mut from_memory = scene.shown(name, event_id).await;
    let scene = scene.restarted().await;
    let mut from_database = scene.shown(name, event_id).await;
    for shown in [&mut from_memory, &mut from_database] {
        remove_ages(shown);
    }
    assert_eq!(from_memory, from_database);
    from_memory["unsigned"]["m.relations"].take()
}

fn remove_ages(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.remove("age");
            object.values_mut().for_each(remove_ages);
        }
        Value::Array(array) => array.iter_mut().for_each(remove_ages),
        _ => {}
    }
}

async fn related(scene: &Scene, name: &str, request: RelatedRequest<'_>) -> Vec<OwnedEventId> {
    let filter = EventFilter::default();
    let page = PageRequest { from: None, to: None, order: Order::Backward, limit: 100, filter: &filter };
    let viewer = scene.viewer(name);
    let page = scene.server.rooms.related(&scene.room, &viewer, &Access::Member, request, page).await;
    page.expect("a page").events.iter().map(|event| event.event_id.clone()).collect()
}

fn any_of(parent: &OwnedEventId) -> RelatedRequest<'_> {
    RelatedRequest { parent, rel_type: None, event_type: None, recurse: false }
}

#[tokio::test]
async fn an_event_without_children_has_no_aggregations() {
    let scene = Scene::new(Some("shared")).await;
    let root = scene.say("alice", "hello").await;
    scene.relate("alice", "m.annotation", &root).await;
    assert_eq!(relations(scene, "alice", &root).await, Value::Null);
}

#[tokio::test]
async fn the_newest_valid_edit_is_bundled() {
    let scene = Scene::new(Some("shared")).await;
    scene.join("bob").await;
    let root = scene.say("alice", "hello").await;
    scene.relate("alice", "m.replace", &root).await;
    let edit = scene.relate("alice", "m.replace", &root).await;
    // Not valid: somebody else's, of another type, without new content.
    scene.relate("bob", "m.replace", &root).await;
    let relates_to = json!({ "rel_type": "m.replace", "event_id": root });
    let other_type = json!({ "m.new_content": {}, "m.relates_to": relates_to }).to_string();
    scene.write("alice", Intent::message("org.example.other", other_type)).await;
    let without_content = json!({ "msgtype": "m.text", "body": "*", "m.relates_to": relates_to }).to_string();
    scene.write("alice", Intent::message("m.room.message", without_content)).await;

    let relations = relations(scene, "bob", &root).await;

    assert_eq!(relations["m.replace"]["event_id"], *edit.as_str());
    assert_eq!(relations["m.replace"]["content"]["m.new_content"]["body"], "new");
    assert_eq!(relations["m.replace"]["sender"], "@alice:test.example");
}

#[tokio::test]
async fn a_redacted_edit_gives_way_to_the_one_before() {
    let scene = Scene::new(Some("shared")).await;
    let root = scene.say("alice", "hello").await;
    let first = scene.relate("alice", "m.replace", &root).await;
    let second = scene.relate("alice", "m.replace", &root).await;
    scene.redact("alice", &second).await;
    assert_eq!(relations(scene, "alice", &root).await["m.replace"]["event_id"], *first.as_str());
}

#[tokio::test]
async fn a_redacted_event_has_no_edit_and_an_edit_none_either() {
    let scene = Scene::new(Some("shared")).await;
    let root = scene.say("alice", "hello").await;
    let edit = scene.relate("alice", "m.replace", &root).await;
    scene.relate("alice", "m.replace", &edit).await;
    assert_eq!(scene.shown("alice", &edit).await["unsigned"]["m.relations"], Value::Null);
    scene.redact("alice", &root).await;
    assert_eq!(relations(scene, "alice", &root).await, Value::Null);
}

#[tokio::test]
async fn a_thread_is_summed_up_with_its_newest_event() {
    let scene = Scene::new(Some("shared")).await;
    scene.join("bob").await;
    scene.join("carol").await;
    let root = scene.say("alice", "hello").await;
    scene.relate("bob", "m.thread", &root).await;
    let latest = scene.relate("bob", "m.thread", &root).await;
    let gone = scene.relate("carol", "m.thread", &root).await;
    scene.redact("carol", &gone).await;
    let edit = scene.relate("bob", "m.replace", &latest).await;
    let participated = async |name| {
        scene.shown(name, &root).await["unsigned"]["m.relations"]["m.thread"]["current_user_participated"]
            .take()
    };

    assert_eq!(participated("alice").await, true);
    assert_eq!(participated("bob").await, true);
    assert_eq!(participated("carol").await, false);
    let relations = relations(scene, "carol", &root).await;
    let thread = &relations["m.thread"];
    assert_eq!(thread["count"], 2);
    assert_eq!(thread["latest_event"]["event_id"], *latest.as_str());
    let inner = &thread["latest_event"]["unsigned"]["m.relations"];
    assert_eq!(inner["m.replace"]["event_id"], *edit.as_str());
}

#[tokio::test]
async fn references_are_listed_in_order() {
    let scene = Scene::new(Some("shared")).await;
    let root = scene.say("alice", "hello").await;
    let one = scene.relate("alice", "m.reference", &root).await;
    let two = scene.relate("alice", "m.reference", &root).await;
    let expected = json!({ "m.reference": { "chunk": [{ "event_id": one }, { "event_id": two }] } });
    assert_eq!(relations(scene, "alice", &root).await, expected);
}

#[tokio::test]
async fn who_left_is_not_told_of_later_children() {
    let scene = Scene::new(Some("shared")).await;
    scene.join("bob").await;
    let root = scene.say("alice", "hello").await;
    let seen = scene.relate("alice", "m.thread", &root).await;
    scene.leave("bob").await;
    scene.relate("alice", "m.thread", &root).await;
    scene.relate("alice", "m.replace", &root).await;

    let relations = relations(scene, "bob", &root).await;

    assert_eq!(relations["m.replace"], Value::Null);
    assert_eq!(relations["m.thread"]["count"], 1);
    assert_eq!(relations["m.thread"]["latest_event"]["event_id"], *seen.as_str());
}

#[tokio::test]
async fn recent_events_read_from_the_database_keep_their_aggregations() {
    let scene = Scene::new(Some("shared")).await;
    let root = scene.say("alice", "hello").await;
    let edit = scene.relate("alice", "m.replace", &root).await;
    let scene = scene.restarted().await;
    scene.server.rooms.warm_recent(&scene.room, 10).await.expect("a working database");

    let shown = scene.shown("alice", &root).await;
    assert_eq!(shown["unsigned"]["m.relations"]["m.replace"]["event_id"], *edit.as_str());
}

#[tokio::test]
async fn children_are_listed_newest_first_and_by_type() {
    let scene = Scene::new(Some("shared")).await;
    let root = scene.say("alice", "hello").await;
    let thread = scene.relate("alice", "m.thread", &root).await;
    let reference = scene.relate("alice", "m.reference", &root).await;
    let gone = scene.relate("alice", "m.reference", &root).await;
    scene.redact("alice", &gone).await;
    let grandchild = scene.relate("alice", "m.reference", &thread).await;

    assert_eq!(related(&scene, "alice", any_of(&root)).await, [reference.clone(), thread.clone()]);
    let threads = RelatedRequest { rel_type: Some("m.thread"), ..any_of(&root) };
    assert_eq!(related(&scene, "alice", threads).await, [thread.clone()]);
    let other = RelatedRequest { event_type: Some("m.reaction"), ..any_of(&root) };
    assert!(related(&scene, "alice", other).await.is_empty());
    let deep = RelatedRequest { recurse: true, ..any_of(&root) };
    assert_eq!(related(&scene, "alice", deep).await, [grandchild.clone(), reference.clone(), thread]);
    // The way to the grandchild may lead over events that are not wanted themselves.
    let references = RelatedRequest { rel_type: Some("m.reference"), recurse: true, ..any_of(&root) };
    assert_eq!(related(&scene, "alice", references).await, [grandchild, reference]);
}

#[tokio::test]
async fn recursion_goes_three_levels_deep() {
    let scene = Scene::new(Some("shared")).await;
    let root = scene.say("alice", "hello").await;
    let mut line = vec![root.clone()];
    for _ in 0..4 {
        let last = line.last().expect("a parent").clone();
        line.push(scene.relate("alice", "m.reference", &last).await);
    }
    let deep = RelatedRequest { recurse: true, ..any_of(&root) };
    assert_eq!(related(&scene, "alice", deep).await, [line[3].clone(), line[2].clone(), line[1].clone()]);
}

#[tokio::test]
async fn threads_are_listed_by_their_newest_event() {
    let scene = Scene::new(Some("shared")).await;
    scene.join("bob").await;
    let mut roots = Vec::new();
    for i in 0..3 {
        roots.push(scene.say("alice", &i.to_string()).await);
    }
    for root in [&roots[0], &roots[1], &roots[2], &roots[0]] {
        scene.relate("alice", "m.thread", root).await;
    }
    scene.relate("bob", "m.thread", &roots[1]).await;
    let list = async |name: &str, only_participated, from, limit| {
        let request = ThreadsRequest { only_participated, from, limit };
        let viewer = scene.viewer(name);
        let page = scene.server.rooms.threads(&scene.room, &viewer, &Access::Member, request).await;
        let page = page.expect("a page");
        let ids: Vec<_> = page.roots.iter().map(|event| event.event_id.clone()).collect();
        (ids, page.next)
    };

    let (all, next) = list("alice", false, None, 10).await;
    assert_eq!(all, [roots[1].clone(), roots[0].clone(), roots[2].clone()]);
    assert_eq!(next, None);
    let (first, next) = list("alice", false, None, 2).await;
    assert_eq!(first, all[..2]);
    let (second, next) = list("alice", false, next, 2).await;
    assert_eq!((second.as_slice(), next), (&all[2..], None));
    assert_eq!(list("bob", true, None, 10).await.0, [roots[1].clone()]);
    assert_eq!(list("alice", true, None, 10).await.0, all, "they are all threads of alice's messages");
}
