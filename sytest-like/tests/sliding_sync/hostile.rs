//! Requests that no honest client sends.

use super::slider::{Slider, UNSTABLE, V4, list, named};
use sytest_like::{Server, Value, json};

/// Without a token nobody is answered.
/// spec: client-server-api/#client-authentication
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn token_is_needed() {
    let server = Server::shared().await;
    for path in [UNSTABLE, V4] {
        server.post(path, json!({})).await.expect_err(401, "M_MISSING_TOKEN");
        server.post(path, json!({})).token("stolen").await.expect_err(401, "M_UNKNOWN_TOKEN");
    }
}

/// Fields of another type, negative and huge numbers, tuples of the wrong length.
/// spec: client-server-api/#standard-error-response
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn wrong_types_are_refused() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let with = |pointer: &str, value: Value| {
        let mut body = json!({"lists": {"a": list(5, 1)}, "room_subscriptions": {}, "extensions": {}});
        body["lists"]["a"]["filters"] = json!({});
        let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
        body.pointer_mut(parent).expect("the parent is there")[key] = value;
        body
    };
    let wrong = [
        with("/lists", json!([])),
        with("/lists", json!("x")),
        with("/lists", Value::Null),
        with("/lists/a", json!(5)),
        with("/lists/a/ranges", json!([[0]])),
        with("/lists/a/ranges", json!([[0, 1, 2]])),
        with("/lists/a/ranges", json!([[-1, 5]])),
        with("/lists/a/ranges", json!([[0, 1.5]])),
        with("/lists/a/ranges", json!([["0", "1"]])),
        with("/lists/a/ranges", json!({"0": 1})),
        with("/lists/a/timeline_limit", json!(-1)),
        with("/lists/a/timeline_limit", json!("10")),
        with("/lists/a/timeline_limit", Value::Null),
        with("/lists/a/required_state", json!([["m.room.name"]])),
        with("/lists/a/required_state", json!([["m.room.name", 5]])),
        with("/lists/a/required_state", json!("*")),
        with("/lists/a/filters/is_dm", json!("yes")),
        with("/lists/a/filters/spaces", json!(["no room"])),
        with("/lists/a/filters/room_types", json!("m.space")),
        with("/lists/a/filters/tags", json!([5])),
        with("/room_subscriptions", json!({"no room": {"timeline_limit": 1}})),
        with("/room_subscriptions", json!({"!a:b": 1})),
        with("/extensions", json!({"typing": {"enabled": "yes"}})),
        with("/extensions", json!({"receipts": {"enabled": true, "rooms": [5]}})),
        with("/conn_id", json!(5)),
        with("/conn_id", json!("x".repeat(300))),
        with("/conn_id", json!("a\u{0}b")),
    ];
    for body in wrong {
        alice.post(UNSTABLE, body).await.expect_refused();
    }
    let v4 = |required: Value| json!({"lists": {"a": {"timeline_limit": 1, "required_state": required}}});
    let wrong = [
        v4(json!([])),
        v4(json!({"include": {}})),
        v4(json!({"include": [{"type": 5}]})),
        v4(json!({"lazy_members": "yes"})),
        json!({"lists": {"a": {"timeline_limit": 1}}}),
        json!({"lists": {"a": {"required_state": {}}}}),
        json!({"lists": {"not opaque": {"timeline_limit": 1, "required_state": {}}}}),
        json!({"pos": 5}),
        json!({"timeout": -5}),
        json!({"timeout": "soon"}),
        json!({"set_presence": "dead"}),
    ];
    for body in wrong {
        alice.post(V4, body).await.expect_refused();
    }
    for (name, value) in
        [("timeout", "-1"), ("timeout", "soon"), ("timeout", "1e9"), ("set_presence", "dead")]
    {
        alice.post(UNSTABLE, json!({})).query(name, value).await.expect_err(400, "M_INVALID_PARAM");
    }
}

/// More lists, subscriptions, ranges or state than anybody needs.
/// spec: client-server-api/#standard-error-response
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn too_much_is_refused() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let config = json!({"timeline_limit": 1, "required_state": []});
    let many = |count: usize, name: &dyn Fn(usize) -> String| -> Value {
        (0..count).map(|number| (name(number), config.clone())).collect::<serde_json::Map<_, _>>().into()
    };
    let lists = |count| json!({"lists": many(count, &|number| format!("list{number}"))});
    let rooms =
        |count| json!({"room_subscriptions": many(count, &|number| format!("!r{number}:example.org"))});
    for body in [lists(100), rooms(100)] {
        alice.post(UNSTABLE, body).await.expect_ok();
    }
    let state: Vec<Value> = (0..5_000).map(|number| json!(["org.example", number.to_string()])).collect();
    let ranges: Vec<Value> = (0..5_000).map(|number| json!([number, number])).collect();
    for body in [
        lists(101),
        rooms(101),
        json!({"lists": {"a": {"ranges": [[0, 1]], "timeline_limit": 1, "required_state": state}}}),
        json!({"lists": {"a": {"ranges": ranges, "timeline_limit": 1, "required_state": []}}}),
    ] {
        alice.post(UNSTABLE, body).await.expect_err(400, "M_INVALID_PARAM");
    }
}

/// Ranges without end, upside down or empty, and timelines without end, are served as far as they make sense.
/// spec: client-server-api/#syncing
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn huge_ranges_are_served() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let id = named(&alice, "Only").await;
    for (ranges, is_there) in [
        (json!([[0, u64::MAX]]), true),
        (json!([[u64::MAX, u64::MAX]]), false),
        (json!([[5, 1]]), false),
        (json!([]), false),
        (json!([[0, 0], [0, 0], [0, 9_007_199_254_740_991_u64]]), true),
    ] {
        let mut slider = Slider::listing(&alice, 1, 1);
        slider.body["lists"]["all"]["ranges"] = ranges.clone();
        slider.body["lists"]["all"]["timeline_limit"] = json!(u64::MAX);
        let answer = slider.next(0).await;
        assert_eq!(super::slider::has(&answer, &id), is_there, "{ranges}: {answer}");
        answer.has("/lists/all/count", 1);
    }
}

/// Account data that is not what it should be does no harm to lists that are made of it.
/// spec: client-server-api/#mdirect
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn strange_account_data_does_no_harm() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let id = named(&alice, "Plain").await;
    for content in [json!({"@a:b": "text"}), json!({"@a:b": [1, null, "no room"]}), json!({"": {}})] {
        let path = sytest_like::path!("/v3/user/{}/account_data/m.direct", alice.id);
        alice.put(&path, content).await.expect_ok();
        let path = sytest_like::path!("/v3/user/{}/rooms/{}/account_data/m.tag", alice.id, id);
        alice.put(&path, json!({"tags": ["not", "an", "object"]})).await.expect_ok();
        let mut slider = Slider::listing(&alice, 9, 1);
        slider.body["lists"]["all"]["filters"] = json!({"is_dm": false, "not_tags": ["not"]});
        assert!(super::slider::has(&slider.next(0).await, &id));
    }
}

/// An inherited room name or type of the wrong kind does no harm.
/// spec: client-server-api/#mroomname
/// not on synapse: its flavour of the proposal differs in details
#[tokio::test]
async fn strange_state_does_no_harm() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let id = alice.create_public_room().await;
    for (kind, content) in [
        ("m.room.name", json!({"name": {"nested": true}})),
        ("m.room.avatar", json!({"url": 7})),
        ("m.room.encryption", json!({})),
    ] {
        let answer = alice.put(&sytest_like::path!("/v3/rooms/{}/state/{}", id, kind), content).await;
        assert!(answer.status < 500, "{answer}");
    }
    let mut slider = Slider::listing(&alice, 9, 1);
    slider.body["lists"]["all"]["filters"] = json!({"room_types": [null]});
    let answer = slider.next(0).await;
    assert!(super::slider::has(&answer, &id), "{answer}");
    assert!(answer.json["rooms"][&id].get("name").is_none(), "{answer}");
}
