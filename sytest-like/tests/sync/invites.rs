//! Invites in `/sync`: how they come, and how they end.

use super::view::{entry, events, find, has_room, mentions, types, without_presence};
use sytest_like::{Response, Server, Syncer, User, Value, json, path};

/// Two users, a private room of the first with a name, and the second one's follower.
async fn stage() -> (User, User, String, Syncer) {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = alice.create_room(json!({"preset": "private_chat", "name": "Den", "topic": "T"})).await;
    let syncer = bob.syncer_with_filter(without_presence()).await;
    (alice, bob, room, syncer)
}

#[track_caller]
fn invite_state(answer: &Response, room: &str) -> Vec<Value> {
    events(entry(answer, "invite", room), "invite_state")
}

/// An invite comes with stripped state that says what the room is and who invites.
/// spec: client-server-api/#stripped-state
/// covers: POST /_matrix/client/v3/rooms/{roomId}/invite
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn invite_has_stripped_state() {
    let (alice, bob, room, mut syncer) = stage().await;
    alice.set_state(&room, "m.room.avatar", "", json!({"url": "mxc://example.org/a"})).await;
    alice.invite(&room, &bob).await;
    let answer = syncer.next(5_000).await;
    let state = invite_state(&answer, &room);
    let content = |kind: &str| {
        &find(&state, kind, Some("")).unwrap_or_else(|| panic!("no {kind}: {answer}"))["content"]
    };
    assert_eq!(content("m.room.name")["name"], "Den");
    assert_eq!(content("m.room.join_rules")["join_rule"], "invite");
    assert_eq!(content("m.room.avatar")["url"], "mxc://example.org/a");
    assert!(content("m.room.create").is_object());
    let own = find(&state, "m.room.member", Some(&bob.id)).expect("the invite itself is there");
    assert_eq!(own["content"]["membership"], "invite");
    assert_eq!(own["sender"], alice.id.as_str());
}

/// Stripped state has four fields and no more.
/// spec: client-server-api/#stripped-state
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn stripped_state_is_stripped() {
    let (alice, bob, room, mut syncer) = stage().await;
    alice.invite(&room, &bob).await;
    let state = invite_state(&syncer.next(5_000).await, &room);
    for event in state.iter().filter(|event| event["type"] != "m.room.member") {
        let mut keys: Vec<_> = event.as_object().expect("an event is an object").keys().cloned().collect();
        keys.sort();
        assert_eq!(keys, ["content", "sender", "state_key", "type"], "{event}");
    }
}

/// An invited user does not hear what is said in the room.
/// spec: client-server-api/#room-membership
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn invited_user_hears_no_messages() {
    let (alice, bob, room, mut syncer) = stage().await;
    alice.invite(&room, &bob).await;
    syncer.until_room("invite", &room).await;
    alice.send_text(&room, "not for guests").await;
    let quiet = syncer.next(0).await;
    assert!(!mentions(&quiet, &room), "{quiet}");
    let all = bob.sync().await;
    assert!(!all.to_string().contains("not for guests"), "{all}");
    assert!(!has_room(&all, "join", &room), "{all}");
}

/// An invite comes once in the stream, and is in every initial sync until it is answered.
/// spec: client-server-api/#get_matrixclientv3sync
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn invite_stays_until_answered() {
    let (alice, bob, room, mut syncer) = stage().await;
    alice.invite(&room, &bob).await;
    syncer.until_room("invite", &room).await;
    let quiet = syncer.next(0).await;
    assert!(!mentions(&quiet, &room), "{quiet}");
    let fresh = bob.login().await.sync().await;
    assert!(find(&invite_state(&fresh, &room), "m.room.create", Some("")).is_some(), "{fresh}");
    assert!(!has_room(&fresh, "join", &room) && !has_room(&fresh, "leave", &room), "{fresh}");
}

/// Accepting an invite moves the room to the joined ones, whole.
/// spec: client-server-api/#joining-rooms
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn accepted_invite_becomes_a_joined_room() {
    let (alice, bob, room, mut syncer) = stage().await;
    alice.invite(&room, &bob).await;
    syncer.until_room("invite", &room).await;
    bob.join(&room).await;
    let answer = syncer.next(5_000).await;
    assert!(has_room(&answer, "join", &room) && !has_room(&answer, "invite", &room), "{answer}");
    let told = super::view::state_of(entry(&answer, "join", &room));
    assert_eq!(told, super::view::current_state(&bob, &room).await);
    let fresh = bob.login().await.sync().await;
    assert!(!has_room(&fresh, "invite", &room), "{fresh}");
}

/// An invite that came and was accepted between two syncs is just a joined room.
/// spec: client-server-api/#get_matrixclientv3sync
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn invite_and_join_between_syncs_is_a_join() {
    let (alice, bob, room, mut syncer) = stage().await;
    alice.invite(&room, &bob).await;
    bob.join(&room).await;
    let answer = syncer.next(5_000).await;
    assert!(has_room(&answer, "join", &room) && !has_room(&answer, "invite", &room), "{answer}");
}

/// Rejecting an invite moves the room to the left ones, for all devices.
/// spec: client-server-api/#leaving-rooms
/// covers: POST /_matrix/client/v3/rooms/{roomId}/leave
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn rejected_invite_is_a_left_room() {
    let (alice, bob, room, mut syncer) = stage().await;
    alice.invite(&room, &bob).await;
    syncer.until_room("invite", &room).await;
    bob.login().await.leave(&room).await;
    let answer = syncer.next(5_000).await;
    assert!(has_room(&answer, "leave", &room) && !has_room(&answer, "invite", &room), "{answer}");
    let fresh = bob.login().await.sync().await;
    assert!(!mentions(&fresh, &room), "{fresh}");
}

/// A rejected invite shows nothing of the room but the user's own membership.
/// spec: client-server-api/#room-history-visibility
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn rejected_invite_reveals_nothing() {
    let (alice, bob, room, mut syncer) = stage().await;
    alice.send_text(&room, "secret before").await;
    alice.set_state(&room, "org.example.secret", "", json!({"body": "secret state"})).await;
    alice.invite(&room, &bob).await;
    alice.send_text(&room, "secret after").await;
    bob.leave(&room).await;
    let answer = syncer.until("the left room", |answer| has_room(answer, "leave", &room)).await;
    assert!(!answer.to_string().contains("secret"), "{answer}");
}

/// An invite that is taken back moves the room to the left ones.
/// spec: client-server-api/#kicking-users-from-a-room
/// covers: POST /_matrix/client/v3/rooms/{roomId}/kick
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn retracted_invite_is_a_left_room() {
    let (alice, bob, room, mut syncer) = stage().await;
    alice.invite(&room, &bob).await;
    syncer.until_room("invite", &room).await;
    alice.membership(&room, "kick", &bob.id).await.expect_ok();
    let answer = syncer.next(5_000).await;
    assert!(has_room(&answer, "leave", &room) && !has_room(&answer, "invite", &room), "{answer}");
    let fresh = bob.login().await.sync().await;
    assert!(!has_room(&fresh, "invite", &room), "{fresh}");
}

/// Who rejected an invite can be invited again.
/// spec: client-server-api/#room-membership
/// covers: POST /_matrix/client/v3/rooms/{roomId}/invite
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn invite_comes_again_after_a_rejection() {
    let (alice, bob, room, mut syncer) = stage().await;
    for _ in 0..2 {
        alice.invite(&room, &bob).await;
        syncer.until_room("invite", &room).await;
        bob.leave(&room).await;
        syncer.until_room("leave", &room).await;
    }
}

/// Who left a room and is invited again has it among the invited ones, not among the left ones.
/// spec: client-server-api/#get_matrixclientv3sync
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn invite_after_leaving() {
    let (alice, bob, room, mut syncer) = stage().await;
    alice.invite(&room, &bob).await;
    bob.join(&room).await;
    syncer.until_room("join", &room).await;
    bob.leave(&room).await;
    alice.invite(&room, &bob).await;
    let answer = syncer.until("the invite", |answer| has_room(answer, "invite", &room)).await;
    assert!(!has_room(&answer, "join", &room), "{answer}");
    let fresh = bob.login().await.sync().filter(&json!({"room": {"include_leave": true}})).await;
    assert!(has_room(&fresh, "invite", &room) && !has_room(&fresh, "leave", &room), "{fresh}");
}

/// The members of the room see the invite in their timeline, and the join after it.
/// spec: client-server-api/#room-membership
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn members_see_the_invite_in_the_timeline() {
    let (alice, bob, room, _) = stage().await;
    let mut syncer = alice.syncer().await;
    alice.invite(&room, &bob).await;
    let heard = syncer
        .until_some("the invite", |answer| {
            find(&sytest_like::timeline(answer, &room), "m.room.member", Some(&bob.id)).cloned()
        })
        .await;
    assert_eq!(heard["content"]["membership"], "invite");
    bob.join(&room).await;
    let heard = syncer
        .until_some("the join", |answer| {
            find(&sytest_like::timeline(answer, &room), "m.room.member", Some(&bob.id)).cloned()
        })
        .await;
    assert_eq!(heard["content"]["membership"], "join");
    assert_eq!(heard["unsigned"]["prev_content"]["membership"], "invite", "{heard}");
}

/// A direct chat says so in the invite.
/// spec: client-server-api/#direct-messaging
/// covers: POST /_matrix/client/v3/createRoom
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn direct_invite_says_so() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let mut syncer = bob.syncer().await;
    let room = alice
        .create_room(json!({"preset": "trusted_private_chat", "is_direct": true, "invite": [bob.id]}))
        .await;
    let answer = syncer.until("the invite", |answer| has_room(answer, "invite", &room)).await;
    let state = invite_state(&answer, &room);
    let own = find(&state, "m.room.member", Some(&bob.id)).expect("the invite itself is there");
    assert_eq!(own["content"]["is_direct"], true, "{answer}");
}

/// The reason given with an invite reaches the invited user.
/// spec: client-server-api/#post_matrixclientv3roomsroomidinvite
/// covers: POST /_matrix/client/v3/rooms/{roomId}/invite
#[tokio::test]
async fn reason_of_an_invite_arrives() {
    let (alice, bob, room, mut syncer) = stage().await;
    let body = json!({"user_id": bob.id, "reason": "we need you"});
    alice.post(&path!("/v3/rooms/{}/invite", room), body).await.expect_ok();
    let state = invite_state(&syncer.next(5_000).await, &room);
    let own = find(&state, "m.room.member", Some(&bob.id)).expect("the invite itself is there");
    assert_eq!(own["content"]["reason"], "we need you");
}

/// Invites from people whom the user ignores are not shown; their state events in common rooms are.
/// spec: client-server-api/#ignoring-users
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn invites_of_ignored_users_are_hidden() {
    let (alice, bob, room, _) = stage().await;
    let ignored = json!({"ignored_users": {alice.id.clone(): {}}});
    bob.put(&path!("/v3/user/{}/account_data/m.ignored_user_list", bob.id), ignored).await.expect_ok();
    alice.invite(&room, &bob).await;
    let carol = alice.server.register("carol").await;
    let other = carol.create_room(json!({"preset": "private_chat"})).await;
    carol.invite(&other, &bob).await;
    let answer = bob.sync().await;
    assert!(has_room(&answer, "invite", &other), "{answer}");
    assert!(!has_room(&answer, "invite", &room), "{answer}");
}

/// Messages of ignored users are not shown, their state events are.
/// spec: client-server-api/#ignoring-users
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn messages_of_ignored_users_are_hidden() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = bob
        .create_room(json!({"preset": "public_chat", "power_level_content_override": {"state_default": 0}}))
        .await;
    alice.join(&room).await;
    let ignored = json!({"ignored_users": {alice.id.clone(): {}}});
    bob.put(&path!("/v3/user/{}/account_data/m.ignored_user_list", bob.id), ignored).await.expect_ok();
    let mut syncer = bob.syncer().await;
    alice.send_text(&room, "noise").await;
    alice.set_state(&room, "org.example.x", "", json!({})).await;
    let own = bob.send_text(&room, "and me").await;
    let heard = syncer.until_event(&room, &own).await;
    assert_eq!(types(&heard), ["org.example.x", "m.room.message"], "{heard:?}");
}
