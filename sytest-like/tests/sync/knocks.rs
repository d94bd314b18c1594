//! Knocks in `/sync`.

use super::view::{entry, events, find, has_room, mentions, without_presence};
use sytest_like::{Server, Syncer, User, json, path};

/// A room to knock at, somebody outside, and that one's follower.
async fn stage() -> (User, User, String, Syncer) {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let rule = json!([{"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}]);
    let room =
        alice.create_room(json!({"preset": "private_chat", "name": "Den", "initial_state": rule})).await;
    let syncer = bob.syncer_with_filter(without_presence()).await;
    (alice, bob, room, syncer)
}

async fn knock(user: &User, room: &str) {
    user.post(&path!("/v3/knock/{}", room), json!({"reason": "let me in"})).await.expect_ok();
}

/// A knock is shown to who knocked, with stripped state.
/// spec: client-server-api/#knocking-on-rooms
/// covers: POST /_matrix/client/v3/knock/{roomIdOrAlias}
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn knock_has_stripped_state() {
    let (_, bob, room, mut syncer) = stage().await;
    knock(&bob, &room).await;
    let answer = syncer.next(5_000).await;
    let state = events(entry(&answer, "knock", &room), "knock_state");
    let own = find(&state, "m.room.member", Some(&bob.id)).expect("the knock itself is there");
    assert_eq!(own["content"]["membership"], "knock");
    assert_eq!(own["content"]["reason"], "let me in");
    let content = |kind: &str| {
        &find(&state, kind, Some("")).unwrap_or_else(|| panic!("no {kind}: {answer}"))["content"]
    };
    assert_eq!(content("m.room.name")["name"], "Den");
    assert_eq!(content("m.room.join_rules")["join_rule"], "knock");
    assert!(content("m.room.create").is_object());
}

/// A knock comes once in the stream, and is in every initial sync until it is answered.
/// spec: client-server-api/#get_matrixclientv3sync
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn knock_stays_until_answered() {
    let (_, bob, room, mut syncer) = stage().await;
    knock(&bob, &room).await;
    syncer.until_room("knock", &room).await;
    let quiet = syncer.next(0).await;
    assert!(!mentions(&quiet, &room), "{quiet}");
    let fresh = bob.login().await.sync().await;
    assert!(has_room(&fresh, "knock", &room), "{fresh}");
}

/// The members hear of the knock in the timeline.
/// spec: client-server-api/#knocking-on-rooms
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn members_hear_the_knock() {
    let (alice, bob, room, _) = stage().await;
    let mut syncer = alice.syncer().await;
    knock(&bob, &room).await;
    let heard = syncer
        .until_some("the knock", |answer| {
            find(&sytest_like::timeline(answer, &room), "m.room.member", Some(&bob.id)).cloned()
        })
        .await;
    assert_eq!(heard["content"]["membership"], "knock");
    assert_eq!(heard["sender"], bob.id.as_str());
}

/// A knock that is answered becomes an invite, and then a joined room.
/// spec: client-server-api/#knocking-on-rooms
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn accepted_knock_becomes_an_invite() {
    let (alice, bob, room, mut syncer) = stage().await;
    knock(&bob, &room).await;
    syncer.until_room("knock", &room).await;
    alice.invite(&room, &bob).await;
    let answer = syncer.next(5_000).await;
    assert!(has_room(&answer, "invite", &room) && !has_room(&answer, "knock", &room), "{answer}");
    bob.join(&room).await;
    let answer = syncer.next(5_000).await;
    assert!(has_room(&answer, "join", &room), "{answer}");
    let fresh = bob.login().await.sync().await;
    assert!(!has_room(&fresh, "knock", &room) && !has_room(&fresh, "invite", &room), "{fresh}");
}

/// A knock that is turned down is a left room.
/// spec: client-server-api/#knocking-on-rooms
/// covers: POST /_matrix/client/v3/rooms/{roomId}/kick
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn rejected_knock_is_a_left_room() {
    let (alice, bob, room, mut syncer) = stage().await;
    knock(&bob, &room).await;
    syncer.until_room("knock", &room).await;
    alice.membership(&room, "kick", &bob.id).await.expect_ok();
    let answer = syncer.next(5_000).await;
    assert!(has_room(&answer, "leave", &room) && !has_room(&answer, "knock", &room), "{answer}");
    let fresh = bob.login().await.sync().await;
    assert!(!has_room(&fresh, "knock", &room), "{fresh}");
}

/// A knock can be taken back.
/// spec: client-server-api/#leaving-rooms
/// covers: POST /_matrix/client/v3/rooms/{roomId}/leave
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn retracted_knock_is_a_left_room() {
    let (_, bob, room, mut syncer) = stage().await;
    knock(&bob, &room).await;
    syncer.until_room("knock", &room).await;
    bob.leave(&room).await;
    let answer = syncer.next(5_000).await;
    assert!(has_room(&answer, "leave", &room), "{answer}");
}

/// Who only knocked does not hear what is said inside.
/// spec: client-server-api/#knocking-on-rooms
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn knocking_user_hears_no_messages() {
    let (alice, bob, room, mut syncer) = stage().await;
    alice.send_text(&room, "secret before").await;
    knock(&bob, &room).await;
    alice.send_text(&room, "secret after").await;
    let answer = syncer.until("the knock", |answer| has_room(answer, "knock", &room)).await;
    assert!(!answer.to_string().contains("secret"), "{answer}");
    let quiet = syncer.next(0).await;
    assert!(!mentions(&quiet, &room), "{quiet}");
}
