//! Lists: windows, order, filters, counts.

use super::slider::{Slider, count, has, list, named, room, timeline};
use sytest_like::{Server, User, Value, json, path};

async fn three(user: &User) -> [String; 3] {
    [named(user, "one").await, named(user, "two").await, named(user, "three").await]
}

async fn matching(user: &User, filters: Value) -> (Vec<String>, i64) {
    let mut all = list(99, 1);
    all["filters"] = filters;
    let answer = Slider::new(user, json!({"lists": {"some": all}})).next(0).await;
    let rooms = answer.json["rooms"].as_object().expect("rooms");
    let mut ids: Vec<String> = rooms.keys().cloned().collect();
    ids.sort();
    let count = answer.int("/lists/some/count");
    assert_eq!(count, ids.len() as i64, "{answer}");
    (ids, count)
}

async fn expect_matching(user: &User, filters: Value, wanted: &[&String]) {
    let mut wanted: Vec<String> = wanted.iter().map(|id| (*id).clone()).collect();
    wanted.sort();
    let (found, _) = matching(user, filters.clone()).await;
    assert_eq!(found, wanted, "{filters}");
}

/// The window holds the rooms in which something happened last; the count is that of all.
/// spec: client-server-api/#syncing
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn window_holds_the_most_recent() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let [one, two, three] = three(&alice).await;
    alice.send_text(&one, "now this is first").await;
    let answer = Slider::listing(&alice, 1, 1).next(0).await;
    assert!(has(&answer, &one) && has(&answer, &three) && !has(&answer, &two), "{answer}");
    answer.has("/lists/all/count", 3);
}

/// A wider window brings the rooms that were not sent, and those only.
/// spec: client-server-api/#syncing
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn growing_window_sends_each_room_once() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let [one, two, three] = three(&alice).await;
    let mut slider = Slider::listing(&alice, 0, 1);
    let answer = slider.next(0).await;
    assert!(has(&answer, &three) && count(&answer) == 1, "{answer}");
    slider.body["lists"]["all"]["ranges"] = json!([[0, 1]]);
    let answer = slider.next(0).await;
    assert!(has(&answer, &two) && count(&answer) == 1, "{answer}");
    slider.body["lists"]["all"]["ranges"] = json!([[0, 99]]);
    let answer = slider.next(0).await;
    assert!(has(&answer, &one) && count(&answer) == 1, "{answer}");
    assert_eq!(count(&slider.next(0).await), 0);
}

/// A room outside of the window comes as soon as something happens in it.
/// spec: client-server-api/#syncing
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn activity_brings_a_room_into_the_window() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let [one, ..] = three(&alice).await;
    let mut slider = Slider::listing(&alice, 0, 1);
    slider.next(0).await;
    let sent = alice.send_text(&one, "wake up").await;
    let answer = slider.next(5_000).await;
    let entry = room(&answer, &one);
    assert_eq!(entry["initial"], true);
    assert_eq!(timeline(entry), [sent]);
    assert_eq!(entry["num_live"], 1, "the event is news, though the room is new to the client: {answer}");
}

/// News of a room that has left the window is not lost: it comes when the room is looked at again.
/// spec: client-server-api/#syncing
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn room_that_fell_behind_catches_up() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let [one, two, _] = three(&alice).await;
    let mut slider = Slider::listing(&alice, 99, 10);
    assert_eq!(count(&slider.next(0).await), 3);
    let first = alice.send_text(&one, "missed").await;
    alice.send_text(&two, "the newest").await;
    slider.body["lists"]["all"]["ranges"] = json!([[0, 0]]);
    let answer = slider.next(0).await;
    assert!(has(&answer, &two) && !has(&answer, &one), "{answer}");
    alice.send_text(&two, "again").await;
    assert_eq!(count(&slider.next(0).await), 1);
    slider.body["lists"]["all"]["ranges"] = json!([[0, 99]]);
    let answer = slider.next(0).await;
    assert_eq!(count(&answer), 1, "{answer}");
    let entry = room(&answer, &one);
    assert_eq!(timeline(entry), [first]);
    assert!(entry.get("initial").is_none(), "the client knows the room: {answer}");
}

/// Several ranges, and none at all.
/// spec: client-server-api/#syncing
/// not on synapse: it reads only the first range
#[tokio::test]
async fn several_ranges_and_none() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let [one, two, three] = three(&alice).await;
    let mut slider = Slider::new(
        &alice,
        json!({"lists": {"all": {"ranges": [[0, 0], [2, 2]], "timeline_limit": 1, "required_state": []}}}),
    );
    let answer = slider.next(0).await;
    assert!(has(&answer, &three) && has(&answer, &one) && !has(&answer, &two), "{answer}");
    let all = json!({"lists": {"all": {"timeline_limit": 1, "required_state": []}}});
    assert_eq!(count(&Slider::new(&alice, all).next(0).await), 3);
}

/// A direct chat is one that the account data names as such.
/// spec: client-server-api/#mdirect
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn direct_chats_are_filtered() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let [one, two, three] = three(&alice).await;
    let path = path!("/v3/user/{}/account_data/m.direct", alice.id);
    alice.put(&path, json!({"@somebody:example.org": [one]})).await.expect_ok();
    expect_matching(&alice, json!({"is_dm": true}), &[&one]).await;
    expect_matching(&alice, json!({"is_dm": false}), &[&two, &three]).await;
    let mut slider = Slider::listing(&alice, 10, 1);
    let answer = slider.next(0).await;
    assert_eq!(room(&answer, &one)["is_dm"], true);
    assert!(room(&answer, &two).get("is_dm").is_none(), "{answer}");
    alice.put(&path, json!({"@somebody:example.org": [two]})).await.expect_ok();
    let answer = slider.next(5_000).await;
    assert_eq!(room(&answer, &one)["is_dm"], false);
    assert_eq!(room(&answer, &two)["is_dm"], true);
    expect_matching(&alice, json!({"is_dm": true}), &[&two]).await;
}

/// Encrypted rooms, from the moment when they are.
/// spec: client-server-api/#mroomencryption
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn encrypted_rooms_are_filtered() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let [one, two, three] = three(&alice).await;
    expect_matching(&alice, json!({"is_encrypted": true}), &[]).await;
    let content = json!({"algorithm": "m.megolm.v1.aes-sha2"});
    alice.set_state(&one, "m.room.encryption", "", content).await;
    expect_matching(&alice, json!({"is_encrypted": true}), &[&one]).await;
    expect_matching(&alice, json!({"is_encrypted": false}), &[&two, &three]).await;
}

/// Rooms by their type; `null` stands for rooms without one, and what is excluded stays out.
/// spec: client-server-api/#types
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn room_types_are_filtered() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let plain = named(&alice, "plain").await;
    let space = alice.create_room(json!({"creation_content": {"type": "m.space"}})).await;
    expect_matching(&alice, json!({"room_types": ["m.space"]}), &[&space]).await;
    expect_matching(&alice, json!({"room_types": [null]}), &[&plain]).await;
    expect_matching(&alice, json!({"not_room_types": ["m.space"]}), &[&plain]).await;
    expect_matching(&alice, json!({"not_room_types": [null]}), &[&space]).await;
    let both = json!({"room_types": ["m.space", null], "not_room_types": ["m.space"]});
    expect_matching(&alice, both, &[&plain]).await;
    expect_matching(&alice, json!({"room_types": []}), &[]).await;
}

/// Rooms of a space are those that it names as children; a child that was removed is none.
/// spec: client-server-api/#mspacechild
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn rooms_of_a_space_are_filtered() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let [one, two, _] = three(&alice).await;
    let space = alice.create_room(json!({"creation_content": {"type": "m.space"}})).await;
    let via = json!({"via": [server.name()]});
    alice.set_state(&space, "m.space.child", &one, via.clone()).await;
    alice.set_state(&space, "m.space.child", &two, via.clone()).await;
    expect_matching(&alice, json!({"spaces": [space]}), &[&one, &two]).await;
    alice.set_state(&space, "m.space.child", &two, json!({})).await;
    expect_matching(&alice, json!({"spaces": [space]}), &[&one]).await;
    let foreign = bob.create_room(json!({"creation_content": {"type": "m.space"}})).await;
    bob.set_state(&foreign, "m.space.child", &two, via).await;
    expect_matching(&alice, json!({"spaces": [foreign]}), &[]).await;
}

/// Rooms by tags.
/// spec: client-server-api/#room-tagging
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn tagged_rooms_are_filtered() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let [one, two, three] = three(&alice).await;
    for (room, tag) in [(&one, "m.favourite"), (&two, "m.favourite"), (&two, "m.lowpriority")] {
        let path = path!("/v3/user/{}/rooms/{}/tags/{}", alice.id, room, tag);
        alice.put(&path, json!({})).await.expect_ok();
    }
    expect_matching(&alice, json!({"tags": ["m.favourite"]}), &[&one, &two]).await;
    expect_matching(&alice, json!({"not_tags": ["m.favourite"]}), &[&three]).await;
    let both = json!({"tags": ["m.favourite"], "not_tags": ["m.lowpriority"]});
    expect_matching(&alice, both, &[&one]).await;
}

/// Invites alone, or everything else.
/// spec: client-server-api/#syncing
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn invites_are_filtered() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let own = named(&bob, "own").await;
    let invited = named(&alice, "invited").await;
    alice.invite(&invited, &bob).await;
    expect_matching(&bob, json!({"is_invite": true}), &[&invited]).await;
    expect_matching(&bob, json!({"is_invite": false}), &[&own]).await;
    expect_matching(&bob, json!({}), &[&own, &invited]).await;
}
