//! `GET /room_summary/{roomIdOrAlias}`.

use sytest_like::{Response, Server, ServerOptions, User, json, path, unique};

async fn summary(user: &User, room: &str) -> Response {
    user.get(&path!("/v1/room_summary/{}", room)).await
}

async fn two() -> (User, User) {
    let server = Server::shared().await;
    tokio::join!(server.register("alice"), server.register("bob"))
}

/// A summary says what the room is, how many are in it, and what the asker is there.
/// spec: client-server-api/#get_matrixclientv1room_summaryroomidoralias
/// covers: GET /_matrix/client/v1/room_summary/{roomIdOrAlias}
#[tokio::test]
async fn summary_tells_what_the_room_is() {
    let (alice, bob) = two().await;
    let alias = unique("cheese").to_lowercase();
    let room = alice
        .create_room(json!({
            "preset": "public_chat", "name": "CHEESE", "topic": "Tasty", "room_alias_name": alias,
            "initial_state": [
                {"type": "m.room.avatar", "content": {"url": "mxc://example.org/brie"}},
                {"type": "m.room.encryption", "content": {"algorithm": "m.megolm.v1.aes-sha2"}},
            ],
        }))
        .await;
    let alias = format!("#{alias}:{}", alice.server.name());
    alice.set_state(&room, "m.room.canonical_alias", "", json!({"alias": alias})).await;
    for name in [&room, &alias] {
        let answer = summary(&bob, name).await.expect_ok();
        let answer = answer.has("room_id", room.as_str()).has("name", "CHEESE").has("topic", "Tasty");
        let answer =
            answer.has("canonical_alias", alias.as_str()).has("avatar_url", "mxc://example.org/brie");
        let answer =
            answer.has("num_joined_members", 1).has("join_rule", "public").has("membership", "leave");
        let answer = answer.has("world_readable", false).has("encryption", "m.megolm.v1.aes-sha2");
        assert!(answer["room_version"].is_string(), "{answer}");
        assert!(answer["guest_can_join"].is_boolean(), "{answer}");
        answer.expect_absent("room_type");
    }
    bob.join(&room).await;
    summary(&bob, &room).await.expect_ok().has("membership", "join").has("num_joined_members", 2);
}

/// Rooms that the asker could not enter are as if they did not exist.
/// spec: client-server-api/#get_matrixclientv1room_summaryroomidoralias
/// covers: GET /_matrix/client/v1/room_summary/{roomIdOrAlias}
#[tokio::test]
async fn closed_rooms_are_not_found() {
    let (alice, bob) = two().await;
    let room = alice.create_room(json!({"preset": "private_chat"})).await;
    summary(&bob, &room).await.expect_err(404, "M_NOT_FOUND");
    summary(&bob, "!nosuchroom:example.org").await.expect_err(404, "M_NOT_FOUND");
    summary(&bob, &format!("#no-such-alias:{}", bob.server.name())).await.expect_err(404, "M_NOT_FOUND");
    alice.invite(&room, &bob).await;
    summary(&bob, &room).await.expect_ok().has("membership", "invite");
    bob.leave(&room).await;
    summary(&bob, &room).await.expect_err(404, "M_NOT_FOUND");
}

/// Who is banned learns nothing of the room, public or not.
/// spec: client-server-api/#get_matrixclientv1room_summaryroomidoralias
/// covers: GET /_matrix/client/v1/room_summary/{roomIdOrAlias}
/// not on synapse: it answers whoever might join were they not banned
#[tokio::test]
async fn banned_users_get_none() {
    let (alice, bob) = two().await;
    let room = alice.create_public_room().await;
    alice.membership(&room, "ban", &bob.id).await.expect_ok();
    summary(&bob, &room).await.expect_err(404, "M_NOT_FOUND");
}

/// Rooms that one may knock at, or read, can be asked about.
/// spec: client-server-api/#get_matrixclientv1room_summaryroomidoralias
/// covers: GET /_matrix/client/v1/room_summary/{roomIdOrAlias}
#[tokio::test]
async fn knockable_and_readable_rooms_are_shown() {
    let (alice, bob) = two().await;
    let knockable = alice.create_room(json!({"preset": "private_chat"})).await;
    alice.set_state(&knockable, "m.room.join_rules", "", json!({"join_rule": "knock"})).await;
    summary(&bob, &knockable).await.expect_ok().has("join_rule", "knock");
    let readable = alice.create_room(json!({"preset": "private_chat"})).await;
    let open = json!({"history_visibility": "world_readable"});
    alice.set_state(&readable, "m.room.history_visibility", "", open).await;
    summary(&bob, &readable).await.expect_ok().has("world_readable", true).has("join_rule", "invite");
}

/// A restricted room is shown to the members of the rooms that it lets in, and names those rooms.
/// spec: client-server-api/#get_matrixclientv1room_summaryroomidoralias
/// covers: GET /_matrix/client/v1/room_summary/{roomIdOrAlias}
#[tokio::test]
async fn restricted_rooms_are_shown_to_those_let_in() {
    let (alice, bob) = two().await;
    let club = alice.create_public_room().await;
    let room = alice.create_room(json!({"preset": "private_chat"})).await;
    let rules = json!({
        "join_rule": "restricted",
        "allow": [{"type": "m.room_membership", "room_id": club}, {"type": "org.example.other"}, 5],
    });
    alice.set_state(&room, "m.room.join_rules", "", rules).await;
    summary(&bob, &room).await.expect_err(404, "M_NOT_FOUND");
    bob.join(&club).await;
    let answer = summary(&bob, &room).await.expect_ok();
    answer.has("join_rule", "restricted").has("allowed_room_ids", json!([club]));
}

/// Without a session, rooms that anybody may enter are shown, and others are not.
/// spec: client-server-api/#get_matrixclientv1room_summaryroomidoralias
/// covers: GET /_matrix/client/v1/room_summary/{roomIdOrAlias}
/// not on synapse: it wants a session
#[tokio::test]
async fn strangers_see_open_rooms_only() {
    let alice = Server::shared().await.register("alice").await;
    let open = alice.create_public_room().await;
    let closed = alice.create_room(json!({"preset": "private_chat"})).await;
    let ask = |room: &str| alice.server.get(&path!("/v1/room_summary/{}", room));
    ask(&open).await.expect_ok().expect_absent("membership");
    ask(&closed).await.expect_err(404, "M_NOT_FOUND");
    ask(&open).token("no such token").await.expect_err(401, "M_UNKNOWN_TOKEN");
}

/// The path of before the endpoint was part of the specification works too.
/// spec: client-server-api/#get_matrixclientv1room_summaryroomidoralias
/// covers: GET /_matrix/client/v1/room_summary/{roomIdOrAlias}
#[tokio::test]
async fn unstable_path_works() {
    let alice = Server::shared().await.register("alice").await;
    let room = alice.create_public_room().await;
    for path in ["/unstable/im.nheko.summary/summary/{}", "/unstable/im.nheko.summary/rooms/{}/summary"] {
        let answer = alice.get(&path.replace("{}", &room)).await.expect_ok();
        let version = answer["room_version"].clone();
        answer.has("im.nheko.summary.room_version", version);
    }
}

/// A room that was just made on one replica is summarised by the other.
/// spec: client-server-api/#get_matrixclientv1room_summaryroomidoralias
/// covers: GET /_matrix/client/v1/room_summary/{roomIdOrAlias}
/// not on synapse: it has no equal replicas
#[tokio::test]
async fn every_replica_summarises() {
    let replicas = ServerOptions::default().start_replicas(2).await;
    let alice = replicas[0].register("alice").await;
    let elsewhere = replicas[1].as_seen_here(&alice);
    let room = alice.create_public_room().await;
    summary(&elsewhere, &room).await.expect_ok().has("membership", "join");
    alice.set_state(&room, "m.room.name", "", json!({"name": "Renamed"})).await;
    summary(&elsewhere, &room).await.expect_ok().has("name", "Renamed");
}
