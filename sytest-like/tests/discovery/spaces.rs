//! `GET /rooms/{roomId}/hierarchy`: the tree of a space.

use sytest_like::{Request, Response, Server, ServerOptions, User, Value, json, path};

async fn two() -> (User, User) {
    let server = Server::shared().await;
    tokio::join!(server.register("alice"), server.register("bob"))
}

async fn space(user: &User, preset: &str) -> String {
    user.create_room(json!({"preset": preset, "creation_content": {"type": "m.space"}})).await
}

/// Puts a room into a space, at a place in its order.
async fn add(user: &User, space: &str, child: &str, order: &str) {
    let content = json!({"via": [user.server.name()], "order": order});
    user.set_state(space, "m.space.child", child, content).await;
}

fn hierarchy(user: &User, space: &str) -> Request {
    user.get(&path!("/v1/rooms/{}/hierarchy", space))
}

fn ids(answer: &Response) -> Vec<String> {
    answer.column("rooms", "room_id")
}

fn entry<'a>(answer: &'a Response, room: &str) -> &'a Value {
    let found = answer.array("rooms").iter().find(|entry| entry["room_id"] == room);
    found.unwrap_or_else(|| panic!("{answer}: {room} is missing"))
}

/// The tree comes depth first, in the order of the children, each room with its summary and its children's events.
/// spec: client-server-api/#discovering-rooms-within-spaces
/// covers: GET /_matrix/client/v1/rooms/{roomId}/hierarchy
#[tokio::test]
async fn tree_comes_depth_first() {
    let (alice, _) = two().await;
    let root = space(&alice, "public_chat").await;
    let inner = space(&alice, "public_chat").await;
    let (first, deep, last) = (
        alice.create_public_room().await,
        alice.create_public_room().await,
        alice.create_public_room().await,
    );
    add(&alice, &root, &last, "c").await;
    add(&alice, &root, &inner, "b").await;
    add(&alice, &root, &first, "a").await;
    add(&alice, &inner, &deep, "a").await;
    let answer = hierarchy(&alice, &root).await.expect_ok().expect_absent("next_batch");
    assert_eq!(ids(&answer), [&root, &first, &inner, &deep, &last].map(String::as_str), "{answer}");
    let top = entry(&answer, &root);
    assert_eq!(top["room_type"], "m.space");
    assert_eq!(top["num_joined_members"], 1);
    let children = top["children_state"].as_array().expect("the space has children");
    let keys: Vec<&str> = children.iter().filter_map(|child| child["state_key"].as_str()).collect();
    assert_eq!(keys, [&first, &inner, &last], "{answer}");
    for child in children {
        assert!(child["origin_server_ts"].is_i64() && child["content"]["via"].is_array(), "{child}");
        assert_eq!(child["type"], "m.space.child");
        assert_eq!(child["sender"], alice.id.as_str());
    }
    assert_eq!(entry(&answer, &first)["children_state"], json!([]));
}

/// Children without a valid order come after the others, by the time of their events.
/// spec: client-server-api/#ordering-of-children-within-a-space
/// covers: GET /_matrix/client/v1/rooms/{roomId}/hierarchy
#[tokio::test]
async fn order_falls_back_on_time() {
    let (alice, _) = two().await;
    let root = space(&alice, "public_chat").await;
    let mut rooms = Vec::new();
    for _ in 0..5 {
        rooms.push(alice.create_public_room().await);
    }
    for (room, order) in rooms.iter().zip([json!("\u{7f}"), json!("ünicode"), json!("x".repeat(51))]) {
        let content = json!({"via": [alice.server.name()], "order": order});
        alice.set_state(&root, "m.space.child", room, content).await;
    }
    add(&alice, &root, &rooms[3], "~").await;
    add(&alice, &root, &rooms[4], " ").await;
    let answer = hierarchy(&alice, &root).await.expect_ok();
    let expected = [&root, &rooms[4], &rooms[3], &rooms[0], &rooms[1], &rooms[2]];
    assert_eq!(ids(&answer), expected.map(String::as_str), "{answer}");
}

/// Of a tree with mixed access everybody gets the rooms that they could enter or read.
/// spec: client-server-api/#get_matrixclientv1roomsroomidhierarchy
/// covers: GET /_matrix/client/v1/rooms/{roomId}/hierarchy
#[tokio::test]
async fn access_is_decided_room_by_room() {
    let (alice, bob) = two().await;
    let root = space(&alice, "public_chat").await;
    let private = || alice.create_room(json!({"preset": "private_chat"}));
    let (hidden, invited, knock, readable, restricted) =
        (private().await, private().await, private().await, private().await, private().await);
    alice.invite(&invited, &bob).await;
    alice.set_state(&knock, "m.room.join_rules", "", json!({"join_rule": "knock"})).await;
    let open = json!({"history_visibility": "world_readable"});
    alice.set_state(&readable, "m.room.history_visibility", "", open).await;
    let allow = json!([{"type": "m.room_membership", "room_id": root}]);
    let rules = json!({"join_rule": "restricted", "allow": allow});
    alice.set_state(&restricted, "m.room.join_rules", "", rules).await;
    // What lies below a hidden space is hidden with it.
    let hidden_space = space(&alice, "private_chat").await;
    let below = alice.create_public_room().await;
    add(&alice, &hidden_space, &below, "a").await;
    let children = [&hidden, &invited, &knock, &readable, &restricted, &hidden_space];
    for (child, order) in children.into_iter().zip(["1", "2", "3", "4", "5", "6"]) {
        add(&alice, &root, child, order).await;
    }
    let answer = hierarchy(&bob, &root).await.expect_ok();
    assert_eq!(ids(&answer), [&root, &invited, &knock, &readable].map(String::as_str), "{answer}");
    bob.join(&root).await;
    let answer = hierarchy(&bob, &root).await.expect_ok();
    assert_eq!(ids(&answer), [&root, &invited, &knock, &readable, &restricted].map(String::as_str));
    assert_eq!(entry(&answer, &restricted)["allowed_room_ids"], json!([root]), "{answer}");
    assert_eq!(hierarchy(&alice, &root).await.expect_ok().array("rooms").len(), 8);
}

/// A space that the asker may not see is refused, and so is one that does not exist.
/// spec: client-server-api/#get_matrixclientv1roomsroomidhierarchy
/// covers: GET /_matrix/client/v1/rooms/{roomId}/hierarchy
#[tokio::test]
async fn closed_space_is_refused() {
    let (alice, bob) = two().await;
    let root = space(&alice, "private_chat").await;
    hierarchy(&bob, &root).await.expect_err(403, "M_FORBIDDEN");
    hierarchy(&bob, "!nosuchroom:example.org").await.expect_err(403, "M_FORBIDDEN");
}

/// Only suggested rooms, when that is wanted.
/// spec: client-server-api/#get_matrixclientv1roomsroomidhierarchy
/// covers: GET /_matrix/client/v1/rooms/{roomId}/hierarchy
#[tokio::test]
async fn only_suggested_rooms() {
    let (alice, _) = two().await;
    let root = space(&alice, "public_chat").await;
    let (plain, suggested, odd) = (
        alice.create_public_room().await,
        alice.create_public_room().await,
        alice.create_public_room().await,
    );
    add(&alice, &root, &plain, "a").await;
    for (room, value) in [(&suggested, json!(true)), (&odd, json!(false))] {
        let content = json!({"via": [alice.server.name()], "suggested": value});
        alice.set_state(&root, "m.space.child", room, content).await;
    }
    let answer = hierarchy(&alice, &root).query("suggested_only", "true").await.expect_ok();
    assert_eq!(ids(&answer), [&root, &suggested].map(String::as_str), "{answer}");
    assert_eq!(hierarchy(&alice, &root).await.expect_ok().array("rooms").len(), 4);
}

/// The depth is limited: zero gives the space alone.
/// spec: client-server-api/#get_matrixclientv1roomsroomidhierarchy
/// covers: GET /_matrix/client/v1/rooms/{roomId}/hierarchy
#[tokio::test]
async fn depth_is_limited() {
    let (alice, _) = two().await;
    let mut chain = vec![space(&alice, "public_chat").await];
    for depth in 0..3 {
        let next = space(&alice, "public_chat").await;
        add(&alice, &chain[depth], &next, "a").await;
        chain.push(next);
    }
    for depth in 0..4 {
        let answer = hierarchy(&alice, &chain[0]).query("max_depth", depth.to_string()).await.expect_ok();
        assert_eq!(ids(&answer), chain[..=depth], "{answer}");
    }
}

/// Loops end, and each room comes once.
/// spec: client-server-api/#discovering-rooms-within-spaces
/// covers: GET /_matrix/client/v1/rooms/{roomId}/hierarchy
#[tokio::test]
async fn loops_end() {
    let (alice, _) = two().await;
    let (one, other) = (space(&alice, "public_chat").await, space(&alice, "public_chat").await);
    add(&alice, &one, &other, "a").await;
    add(&alice, &other, &one, "a").await;
    add(&alice, &other, &other, "b").await;
    let answer = hierarchy(&alice, &one).await.expect_ok();
    assert_eq!(ids(&answer), [one, other], "{answer}");
}

/// Children without `via`, redacted ones and those that are no rooms do not count; the child of a room that is no space
/// neither.
/// spec: client-server-api/#mspacechild-relationship
/// covers: GET /_matrix/client/v1/rooms/{roomId}/hierarchy
#[tokio::test]
async fn invalid_children_do_not_count() {
    let (alice, _) = two().await;
    let root = space(&alice, "public_chat").await;
    let (removed, redacted, room) = (
        alice.create_public_room().await,
        alice.create_public_room().await,
        alice.create_public_room().await,
    );
    let via = json!([alice.server.name()]);
    alice.set_state(&root, "m.space.child", &removed, json!({})).await;
    let event = alice.set_state(&root, "m.space.child", &redacted, json!({"via": via})).await;
    alice.put(&path!("/v3/rooms/{}/redact/{}/{}", root, event, "1"), json!({})).await.expect_ok();
    alice.set_state(&root, "m.space.child", "no room id", json!({"via": via})).await;
    alice.set_state(&root, "m.space.child", "!unknown:example.org", json!({"via": via})).await;
    alice.set_state(&root, "m.space.child", &room, json!({"via": via})).await;
    alice.set_state(&room, "m.space.child", &removed, json!({"via": via})).await;
    let answer = hierarchy(&alice, &root).await.expect_ok();
    assert_eq!(ids(&answer), [&root, &room].map(String::as_str), "{answer}");
    assert_eq!(entry(&answer, &room)["children_state"], json!([]), "{answer}");
}

/// Pages follow each other without gaps, on any replica, and the walk may not be changed under way.
/// spec: client-server-api/#get_matrixclientv1roomsroomidhierarchy
/// covers: GET /_matrix/client/v1/rooms/{roomId}/hierarchy
/// not on synapse: it has no equal replicas
#[tokio::test]
async fn pages_follow_each_other() {
    let replicas = ServerOptions::default().start_replicas(2).await;
    let alice = replicas[0].register("alice").await;
    let views = [alice.clone(), replicas[1].as_seen_here(&alice)];
    let root = space(&alice, "public_chat").await;
    let mut expected = vec![root.clone()];
    for number in 0..7 {
        let room = alice.create_public_room().await;
        add(&alice, &root, &room, &number.to_string()).await;
        expected.push(room);
    }
    let mut found = Vec::new();
    let mut from: Option<String> = None;
    for turn in 0..4 {
        let mut request = hierarchy(&views[turn % 2], &root).query("limit", "2");
        if let Some(from) = &from {
            request = request.query("from", from);
        }
        let answer = request.await.expect_ok();
        assert_eq!(ids(&answer).len(), 2, "{answer}");
        found.extend(ids(&answer));
        from = answer.get("next_batch").and_then(Value::as_str).map(str::to_owned);
        assert_eq!(from.is_some(), turn < 3, "{answer}");
        if let Some(from) = &from {
            let changed = hierarchy(&alice, &root).query("from", from).query("max_depth", "1");
            changed.await.expect_err(400, "M_INVALID_PARAM");
            let changed = hierarchy(&alice, &root).query("from", from).query("suggested_only", "true");
            changed.await.expect_err(400, "M_INVALID_PARAM");
        }
    }
    assert_eq!(found, expected);
}

/// Nonsense in the query is refused.
/// spec: client-server-api/#get_matrixclientv1roomsroomidhierarchy
/// covers: GET /_matrix/client/v1/rooms/{roomId}/hierarchy
#[tokio::test]
async fn nonsense_is_refused() {
    let (alice, _) = two().await;
    let root = space(&alice, "public_chat").await;
    for (name, value) in
        [("limit", "0"), ("limit", "-1"), ("limit", "many"), ("max_depth", "-1"), ("suggested_only", "maybe")]
    {
        hierarchy(&alice, &root).query(name, value).await.expect_err(400, "M_INVALID_PARAM");
    }
    for token in ["nonsense", "", "h1", "h99999999999999999999_1_0"] {
        hierarchy(&alice, &root).query("from", token).await.expect_err(400, "M_INVALID_PARAM");
    }
    alice.server.get(&path!("/v1/rooms/{}/hierarchy", root)).await.expect_err(401, "M_MISSING_TOKEN");
}
