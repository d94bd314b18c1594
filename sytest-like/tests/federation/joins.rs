//! Users of other servers join rooms here.

use super::ground::{Shared, hears, public_room, versions, with_fake};
use sytest_like::{json, path};

/// A user of another server joins, and both sides hear each other; in every room version.
/// spec: server-server-api/#joining-rooms
/// covers: GET /_matrix/federation/v1/make_join/{roomId}/{userId}
/// covers: PUT /_matrix/federation/v2/send_join/{roomId}/{eventId}
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn others_join_and_talk_in_every_version() {
    let (server, fake) = with_fake().await;
    let alice = server.register("alice").await;
    for version in versions() {
        let room_id = public_room(&alice, version).await;
        let bob = fake.user("bob");

        let room = fake.join(server.name(), &room_id, &bob).await;

        assert_eq!(alice.get_state(&room_id, "m.room.member", &bob).await.str("membership"), "join");
        let said = room.say(&bob, "hello from afar").await;
        hears(&alice, &room_id, &said.id).await;
        let answered = alice.send_text(&room_id, "hello back").await;
        fake.wait_for_event(&room_id, &answered).await;
    }
}

/// Whoever was banned does not join from elsewhere.
/// spec: server-server-api/#joining-rooms
/// covers: GET /_matrix/federation/v1/make_join/{roomId}/{userId}
#[tokio::test]
async fn banned_users_get_no_template() {
    let (server, fake) = with_fake().await;
    let alice = server.register("alice").await;
    let room_id = public_room(&alice, "12").await;
    let bob = fake.user("bob");
    alice.membership(&room_id, "ban", &bob).await.expect_ok();

    fake.try_make(server.name(), "join", &room_id, &bob).await.expect_err(403, "M_FORBIDDEN");
}

/// A server speaks for its own users only.
/// spec: server-server-api/#joining-rooms
/// covers: GET /_matrix/federation/v1/make_join/{roomId}/{userId}
#[tokio::test]
async fn servers_join_with_their_own_users_only() {
    let (server, fake) = with_fake().await;
    let alice = server.register("alice").await;
    let room_id = public_room(&alice, "12").await;

    let answer = fake.try_make(server.name(), "join", &room_id, "@carol:elsewhere.example").await;

    answer.expect_err(403, "M_FORBIDDEN");
}

/// A join in a version that the other server does not know is refused with the version.
/// spec: server-server-api/#get_matrixfederationv1make_joinroomiduserid
/// covers: GET /_matrix/federation/v1/make_join/{roomId}/{userId}
#[tokio::test]
async fn unknown_version_is_named() {
    let (server, fake) = with_fake().await;
    let alice = server.register("alice").await;
    let room_id = public_room(&alice, "10").await;
    let path = path!("/_matrix/federation/v1/make_join/{}/{}", room_id, fake.user("bob"));

    let answer = fake.get(server.name(), &path).query("ver", "9").await;

    answer.expect_err(400, "M_INCOMPATIBLE_ROOM_VERSION").has("room_version", "10");
}

/// What the server sends after a join is signed and hashed as it should be, and follows what it knows.
/// spec: server-server-api/#transactions
/// covers: PUT /_matrix/federation/v2/send_join/{roomId}/{eventId}
#[tokio::test]
async fn messages_here_reach_the_joined_server_in_order() {
    let shared = Shared::start().await;
    let mut sent = Vec::new();
    for number in 0..10 {
        sent.push(shared.alice.send_text(shared.room_id(), &format!("message {number}")).await);
    }

    shared.fake.wait_for_event(shared.room_id(), &sent[9]).await;

    let heard: Vec<String> = shared.room.event_ids().into_iter().filter(|id| sent.contains(id)).collect();
    assert_eq!(heard, sent);
    assert_eq!(shared.fake.faults(), Vec::<String>::new());
    let bodies = shared.alice.get_event(shared.room_id(), &sent[0]).await.expect_ok();
    assert_eq!(bodies["content"], json!({"msgtype": "m.text", "body": "message 0"}));
}
