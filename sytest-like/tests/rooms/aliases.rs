//! Aliases of rooms and the canonical one.

use sytest_like::{Response, Server, User, json, path, unique};

use super::ground::{room_with, set_levels, three, try_state, two};

fn alias(user: &User, name: &str) -> String {
    format!("#{}:{}", unique(name), user.server.name())
}

async fn set(user: &User, alias: &str, room: &str) -> Response {
    user.put(&path!("/v3/directory/room/{}", alias), json!({"room_id": room})).await
}

async fn resolve(user: &User, alias: &str) -> Response {
    user.get(&path!("/v3/directory/room/{}", alias)).await
}

async fn remove(user: &User, alias: &str) -> Response {
    user.delete(&path!("/v3/directory/room/{}", alias)).await
}

async fn list(user: &User, room: &str) -> Vec<String> {
    let answer = user.get(&path!("/v3/rooms/{}/aliases", room)).await.expect_ok();
    let mut aliases: Vec<String> =
        answer.array("aliases").iter().filter_map(|alias| alias.as_str().map(str::to_owned)).collect();
    aliases.sort();
    aliases
}

/// An alias is made, resolves for everybody, with the servers that know the room, and is removed.
/// spec: client-server-api/#room-aliases
/// covers: PUT /_matrix/client/v3/directory/room/{roomAlias}
/// covers: GET /_matrix/client/v3/directory/room/{roomAlias}
/// covers: DELETE /_matrix/client/v3/directory/room/{roomAlias}
#[tokio::test]
async fn alias_is_made_resolved_and_removed() {
    let (alice, bob) = two().await;
    let room = alice.create_room(json!({})).await;
    let name = alias(&alice, "monkeys");
    resolve(&bob, &name).await.expect_err(404, "M_NOT_FOUND");
    assert_eq!(set(&alice, &name, &room).await.expect_ok().json, json!({}));
    let answer = resolve(&bob, &name).await.expect_ok().has("room_id", room.as_str());
    assert!(answer.array("servers").contains(&json!(alice.server.name())), "{answer}");
    assert_eq!(remove(&alice, &name).await.expect_ok().json, json!({}));
    resolve(&alice, &name).await.expect_err(404, "M_NOT_FOUND");
    remove(&alice, &name).await.expect_err(404, "M_NOT_FOUND");
}

/// Resolving needs no access token.
/// spec: client-server-api/#get_matrixclientv3directoryroomroomalias
/// covers: GET /_matrix/client/v3/directory/room/{roomAlias}
#[tokio::test]
async fn resolving_needs_no_token() {
    let (alice, _) = two().await;
    let room = alice.create_public_room().await;
    let name = alias(&alice, "open");
    set(&alice, &name, &room).await.expect_ok();
    let answer = alice.server.get(&path!("/v3/directory/room/{}", name)).await;
    answer.expect_ok().has("room_id", room.as_str());
}

/// An alias that is taken stays where it is, whoever asks, and even for the same room.
/// spec: client-server-api/#put_matrixclientv3directoryroomroomalias
/// covers: PUT /_matrix/client/v3/directory/room/{roomAlias}
#[tokio::test]
async fn taken_alias_is_a_conflict() {
    let (alice, bob) = two().await;
    let (one, two) = (alice.create_public_room().await, bob.create_public_room().await);
    let name = alias(&alice, "taken");
    set(&alice, &name, &one).await.expect_ok();
    set(&alice, &name, &one).await.expect_status(409).expect_refused();
    set(&bob, &name, &two).await.expect_status(409).expect_refused();
    resolve(&bob, &name).await.expect_ok().has("room_id", one.as_str());
}

/// After its removal an alias is free.
/// spec: client-server-api/#put_matrixclientv3directoryroomroomalias
/// covers: PUT /_matrix/client/v3/directory/room/{roomAlias}
/// covers: DELETE /_matrix/client/v3/directory/room/{roomAlias}
#[tokio::test]
async fn removed_alias_is_free() {
    let (alice, bob) = two().await;
    let (one, two) = (alice.create_public_room().await, bob.create_public_room().await);
    let name = alias(&alice, "moving");
    set(&alice, &name, &one).await.expect_ok();
    remove(&alice, &name).await.expect_ok();
    set(&bob, &name, &two).await.expect_ok();
    resolve(&alice, &name).await.expect_ok().has("room_id", two.as_str());
}

/// What is no alias is refused, and so are aliases of other servers.
/// spec: appendices/#room-aliases
/// covers: PUT /_matrix/client/v3/directory/room/{roomAlias}
/// covers: GET /_matrix/client/v3/directory/room/{roomAlias}
#[tokio::test]
async fn impossible_aliases_are_refused() {
    let (alice, _) = two().await;
    let room = alice.create_public_room().await;
    for wrong in ["monkeys", "#monkeys", "@monkeys:example.org", "!monkeys:example.org", "#"] {
        set(&alice, wrong, &room).await.expect_status(400).expect_refused();
        resolve(&alice, wrong).await.expect_status(400).expect_refused();
    }
    let long = format!("#{}:{}", "a".repeat(255), alice.server.name());
    set(&alice, &long, &room).await.expect_status(400).expect_refused();
    set(&alice, "#monkeys:example.org", &room).await.expect_refused();
}

/// The body must name a room.
/// spec: client-server-api/#put_matrixclientv3directoryroomroomalias
/// covers: PUT /_matrix/client/v3/directory/room/{roomAlias}
#[tokio::test]
async fn body_must_name_a_room() {
    let (alice, _) = two().await;
    let name = alias(&alice, "nothing");
    let path = path!("/v3/directory/room/{}", name);
    for body in [json!({}), json!({"room_id": 7}), json!({"room_id": "nonsense"}), json!({"room_id": ""})] {
        alice.put(&path, body).await.expect_status(400).expect_refused();
    }
    let unknown = format!("!{}:{}", unique("unknown"), alice.server.name());
    set(&alice, &name, &unknown).await.expect_refused();
    resolve(&alice, &name).await.expect_err(404, "M_NOT_FOUND");
}

/// Aliases may hold any letters, and case matters.
/// spec: appendices/#room-aliases
/// covers: PUT /_matrix/client/v3/directory/room/{roomAlias}
/// covers: GET /_matrix/client/v3/directory/room/{roomAlias}
#[tokio::test]
async fn aliases_may_hold_any_letters() {
    let (alice, _) = two().await;
    let (one, two) = (alice.create_public_room().await, alice.create_public_room().await);
    let name = alias(&alice, "\u{2603}/100%?&=+");
    set(&alice, &name, &one).await.expect_ok();
    resolve(&alice, &name).await.expect_ok().has("room_id", one.as_str());
    assert_eq!(list(&alice, &one).await, [name.clone()]);
    assert_eq!(alice.join(&name).await, one);
    let (lower, upper) = (alias(&alice, "case"), alias(&alice, "CASE"));
    let upper = lower.replace("#case", &upper[..5]);
    set(&alice, &lower, &one).await.expect_ok();
    set(&alice, &upper, &two).await.expect_ok();
    resolve(&alice, &lower).await.expect_ok().has("room_id", one.as_str());
    resolve(&alice, &upper).await.expect_ok().has("room_id", two.as_str());
}

/// Who made an alias removes it, and so does who may change the room's canonical alias; others do not.
/// spec: client-server-api/#delete_matrixclientv3directoryroomroomalias
/// covers: DELETE /_matrix/client/v3/directory/room/{roomAlias}
#[tokio::test]
async fn strangers_remove_no_aliases() {
    let (alice, bob, carol) = three().await;
    let room = room_with(&alice, &[&bob, &carol]).await;
    let (by_alice, by_bob) = (alias(&alice, "alices"), alias(&bob, "bobs"));
    set(&alice, &by_alice, &room).await.expect_ok();
    set(&bob, &by_bob, &room).await.expect_ok();
    remove(&carol, &by_alice).await.expect_err(403, "M_FORBIDDEN");
    remove(&carol, &by_bob).await.expect_err(403, "M_FORBIDDEN");
    remove(&bob, &by_alice).await.expect_err(403, "M_FORBIDDEN");
    assert_eq!(list(&alice, &room).await.len(), 2);
    remove(&bob, &by_bob).await.expect_ok();
    set(&bob, &by_bob, &room).await.expect_ok();
    remove(&alice, &by_bob).await.expect_ok();
    assert_eq!(list(&alice, &room).await, [by_alice]);
}

/// Members list a room's aliases, and nobody else does.
/// spec: client-server-api/#get_matrixclientv3roomsroomidaliases
/// covers: GET /_matrix/client/v3/rooms/{roomId}/aliases
#[tokio::test]
async fn members_list_aliases() {
    let (alice, bob) = two().await;
    let room = alice.create_public_room().await;
    assert!(list(&alice, &room).await.is_empty());
    let mut names = vec![alias(&alice, "one"), alias(&alice, "two")];
    for name in &names {
        set(&alice, name, &room).await.expect_ok();
    }
    names.sort();
    assert_eq!(list(&alice, &room).await, names);
    let path = path!("/v3/rooms/{}/aliases", room);
    bob.get(&path).await.expect_err(403, "M_FORBIDDEN");
    bob.join(&room).await;
    assert_eq!(list(&bob, &room).await, names);
    bob.leave(&room).await;
    bob.get(&path).await.expect_err(403, "M_FORBIDDEN");
}

/// Everybody lists the aliases of a world-readable room.
/// spec: client-server-api/#get_matrixclientv3roomsroomidaliases
/// covers: GET /_matrix/client/v3/rooms/{roomId}/aliases
#[tokio::test]
async fn aliases_of_a_world_readable_room_are_open() {
    let (alice, bob) = two().await;
    let visibility = json!({"history_visibility": "world_readable"});
    let room = alice
        .create_room(json!({"initial_state": [{"type": "m.room.history_visibility", "content": visibility}]}))
        .await;
    let name = alias(&alice, "open");
    set(&alice, &name, &room).await.expect_ok();
    assert_eq!(list(&bob, &room).await, [name]);
}

/// The canonical alias must be one of this room's: others are refused, whatever room they lead to.
/// spec: client-server-api/#put_matrixclientv3roomsroomidstateeventtypestatekey
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
/// covers: PUT /_matrix/client/v3/directory/room/{roomAlias}
#[tokio::test]
async fn canonical_alias_must_lead_here() {
    let (alice, _) = two().await;
    let (here, there) = (alice.create_public_room().await, alice.create_public_room().await);
    let (good, other, absent) = (alias(&alice, "good"), alias(&alice, "other"), alias(&alice, "absent"));
    set(&alice, &good, &here).await.expect_ok();
    set(&alice, &other, &there).await.expect_ok();
    let kind = "m.room.canonical_alias";
    for wrong in [&other, &absent] {
        let main = try_state(&alice, &here, kind, "", json!({"alias": wrong})).await;
        main.expect_err(400, "M_BAD_ALIAS");
        let alternative =
            try_state(&alice, &here, kind, "", json!({"alias": good, "alt_aliases": [wrong]})).await;
        alternative.expect_err(400, "M_BAD_ALIAS");
    }
    alice.get_state(&here, kind, "").await.expect_err(404, "M_NOT_FOUND");
    try_state(&alice, &here, kind, "", json!({"alias": good, "alt_aliases": [good]})).await.expect_ok();
    alice.get_state(&here, kind, "").await.expect_ok().has("alias", good.as_str());
}

/// A canonical alias that is no alias is refused.
/// spec: client-server-api/#put_matrixclientv3roomsroomidstateeventtypestatekey
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
#[tokio::test]
async fn canonical_alias_must_be_an_alias() {
    let (alice, _) = two().await;
    let room = alice.create_public_room().await;
    let kind = "m.room.canonical_alias";
    for wrong in
        [json!({"alias": "nonsense"}), json!({"alt_aliases": ["nonsense"]}), json!({"alias": "@a:b"})]
    {
        let answer = try_state(&alice, &room, kind, "", wrong).await;
        answer.expect_err_of(&[(400, "M_INVALID_PARAM"), (400, "M_BAD_ALIAS")]);
    }
    for wrong in [json!({"alias": 7}), json!({"alt_aliases": "x"}), json!({"alt_aliases": [7]})] {
        try_state(&alice, &room, kind, "", wrong).await.expect_status(400).expect_refused();
    }
}

/// Aliases that the canonical alias has already are not looked at again.
/// spec: client-server-api/#put_matrixclientv3roomsroomidstateeventtypestatekey
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
/// covers: DELETE /_matrix/client/v3/directory/room/{roomAlias}
#[tokio::test]
async fn known_canonical_aliases_are_not_checked_again() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    let (first, second) = (alias(&alice, "first"), alias(&alice, "second"));
    set(&bob, &first, &room).await.expect_ok();
    set(&alice, &second, &room).await.expect_ok();
    let kind = "m.room.canonical_alias";
    alice.set_state(&room, kind, "", json!({"alt_aliases": [first]})).await;
    // Bob removes the alias but may not change the canonical alias, so it stays in the event.
    remove(&bob, &first).await.expect_ok();
    let both = json!({"alias": second, "alt_aliases": [first]});
    try_state(&alice, &room, kind, "", both).await.expect_ok();
    // Taking everything away is always possible.
    try_state(&alice, &room, kind, "", json!({})).await.expect_ok();
}

/// The canonical alias needs the level for it.
/// spec: client-server-api/#permissions
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
#[tokio::test]
async fn canonical_alias_needs_its_level() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    let name = alias(&bob, "mine");
    set(&bob, &name, &room).await.expect_ok();
    let kind = "m.room.canonical_alias";
    try_state(&bob, &room, kind, "", json!({"alias": name})).await.expect_err(403, "M_FORBIDDEN");
    set_levels(&alice, &room, json!({"users": {&bob.id: 50}})).await.expect_ok();
    try_state(&bob, &room, kind, "", json!({"alias": name})).await.expect_ok();
}

/// Two who want the same alias at once do not both get it.
/// spec: client-server-api/#put_matrixclientv3directoryroomroomalias
/// covers: PUT /_matrix/client/v3/directory/room/{roomAlias}
#[tokio::test]
async fn alias_goes_to_one_of_two() {
    let (alice, bob) = two().await;
    let (one, two) = (alice.create_public_room().await, bob.create_public_room().await);
    for _ in 0..5 {
        let name = alias(&alice, "wanted");
        let (first, second) = tokio::join!(set(&alice, &name, &one), set(&bob, &name, &two));
        let mut statuses = [first.status, second.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409], "{first} {second}");
        let winner = if first.status == 200 { &one } else { &two };
        resolve(&bob, &name).await.expect_ok().has("room_id", winner.as_str());
    }
}

/// Aliases survive a restart.
/// spec: client-server-api/#room-aliases
/// covers: PUT /_matrix/client/v3/directory/room/{roomAlias}
/// covers: GET /_matrix/client/v3/directory/room/{roomAlias}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/aliases
#[tokio::test]
async fn aliases_survive_a_restart() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    let (kept, gone) = (alias(&alice, "kept"), alias(&alice, "gone"));
    set(&alice, &kept, &room).await.expect_ok();
    set(&alice, &gone, &room).await.expect_ok();
    remove(&alice, &gone).await.expect_ok();
    server.restart().await;
    assert_eq!(list(&alice, &room).await, [kept.clone()]);
    resolve(&alice, &kept).await.expect_ok().has("room_id", room.as_str());
    resolve(&alice, &gone).await.expect_err(404, "M_NOT_FOUND");
}
