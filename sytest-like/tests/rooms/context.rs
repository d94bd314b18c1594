//! An event and what is around it.

use sytest_like::{Response, User, Value, json, path};

use super::ground::{ids, page, room_with, send_numbered, two, walk_from};

async fn context(user: &User, room: &str, event: &str, limit: usize) -> Response {
    user.get(&path!("/v3/rooms/{}/context/{}", room, event))
        .query("limit", limit.to_string())
        .await
        .expect_ok()
}

/// The events before come backwards, those after forwards, without gaps, and no more than asked for.
/// spec: client-server-api/#get_matrixclientv3roomsroomidcontexteventid
/// covers: GET /_matrix/client/v3/rooms/{roomId}/context/{eventId}
#[tokio::test]
async fn context_is_what_is_around() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    let sent = send_numbered(&alice, &room, 15).await;
    let answer = context(&bob, &room, &sent[7], 6).await;
    assert_eq!(answer["event"]["event_id"], sent[7].as_str());
    let before = answer.column("events_before", "event_id");
    let after = answer.column("events_after", "event_id");
    assert!(before.len() + after.len() <= 6 && !before.is_empty() && !after.is_empty(), "{answer}");
    let expected: Vec<&String> = sent[..7].iter().rev().take(before.len()).collect();
    assert_eq!(before.iter().collect::<Vec<_>>(), expected);
    assert_eq!(after, sent[8..8 + after.len()]);
}

/// With a limit of zero there is the event alone.
/// spec: client-server-api/#get_matrixclientv3roomsroomidcontexteventid
/// covers: GET /_matrix/client/v3/rooms/{roomId}/context/{eventId}
#[tokio::test]
async fn no_context_is_the_event_alone() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    let sent = send_numbered(&alice, &room, 3).await;
    let answer = context(&bob, &room, &sent[1], 0).await;
    assert_eq!(answer["event"]["event_id"], sent[1].as_str());
    assert!(answer.column("events_before", "event_id").is_empty(), "{answer}");
    assert!(answer.column("events_after", "event_id").is_empty(), "{answer}");
}

/// At the ends of a room there is nothing on one side.
/// spec: client-server-api/#get_matrixclientv3roomsroomidcontexteventid
/// covers: GET /_matrix/client/v3/rooms/{roomId}/context/{eventId}
#[tokio::test]
async fn context_at_the_ends_of_a_room() {
    let (alice, _) = two().await;
    let room = alice.create_public_room().await;
    let sent = send_numbered(&alice, &room, 3).await;
    let last = context(&alice, &room, &sent[2], 10).await;
    assert!(last.column("events_after", "event_id").is_empty(), "{last}");
    assert_eq!(last.column("events_before", "event_id")[..2], [sent[1].clone(), sent[0].clone()]);
    let create = super::ground::state_event(&alice, &room, "m.room.create", "").await;
    let first = context(&alice, &room, create["event_id"].as_str().expect("an id"), 4).await;
    assert!(first.column("events_before", "event_id").is_empty(), "{first}");
    assert_eq!(first["/events_after/0/type"], "m.room.member");
}

/// The tokens go on where the context ends, on both sides, without a gap and without doubling.
/// spec: client-server-api/#get_matrixclientv3roomsroomidcontexteventid
/// covers: GET /_matrix/client/v3/rooms/{roomId}/context/{eventId}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test]
async fn tokens_go_on_where_the_context_ends() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    let sent = send_numbered(&alice, &room, 24).await;
    for limit in [0, 1, 5, 10] {
        let answer = context(&bob, &room, &sent[12], limit).await;
        let earlier = walk_from(&bob, &room, "b", 4, Some(answer.str("start"))).await;
        let later = walk_from(&bob, &room, "f", 4, Some(answer.str("end"))).await;
        let mut all: Vec<String> = ids(&earlier).into_iter().rev().map(str::to_owned).collect();
        all.extend(answer.column("events_before", "event_id").into_iter().rev());
        all.push(answer.str("/event/event_id").to_owned());
        all.extend(answer.column("events_after", "event_id"));
        all.extend(ids(&later).into_iter().map(str::to_owned));
        let first = all.iter().position(|id| *id == sent[0]).expect("the first message");
        assert_eq!(all[first..], sent, "limit {limit}");
        assert_eq!(earlier.last().expect("the beginning")["type"], "m.room.create");
    }
}

/// The state is that of the room then, not now.
/// spec: client-server-api/#get_matrixclientv3roomsroomidcontexteventid
/// covers: GET /_matrix/client/v3/rooms/{roomId}/context/{eventId}
#[tokio::test]
async fn state_is_that_of_then() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    alice.set_state(&room, "m.room.topic", "", json!({"topic": "then"})).await;
    let event = alice.send_text(&room, "about then").await;
    send_numbered(&alice, &room, 5).await;
    alice.set_state(&room, "m.room.topic", "", json!({"topic": "now"})).await;
    alice.set_state(&room, "m.room.name", "", json!({"name": "new"})).await;
    let answer = context(&bob, &room, &event, 2).await;
    let find = |kind: &str| answer.array("state").iter().find(|event| event["type"] == kind).cloned();
    assert_eq!(find("m.room.topic").expect("a topic")["content"]["topic"], "then");
    assert!(find("m.room.name").is_none(), "{answer}");
    assert!(find("m.room.create").is_some() && find("m.room.power_levels").is_some(), "{answer}");
}

/// The filter is for what is around, not for the event itself.
/// spec: client-server-api/#get_matrixclientv3roomsroomidcontexteventid
/// covers: GET /_matrix/client/v3/rooms/{roomId}/context/{eventId}
#[tokio::test]
async fn filter_spares_the_event_itself() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    send_numbered(&bob, &room, 2).await;
    let wanted = alice.send(&room, "org.example.wanted", json!({})).await;
    let event = bob.send_text(&room, "in the middle").await;
    let also_wanted = alice.send(&room, "org.example.wanted", json!({})).await;
    send_numbered(&bob, &room, 2).await;
    let answer = bob
        .get(&path!("/v3/rooms/{}/context/{}", room, event))
        .query("limit", "20")
        .query("filter", json!({"types": ["org.example.*"]}).to_string())
        .await
        .expect_ok();
    assert_eq!(answer["event"]["event_id"], event.as_str());
    assert_eq!(answer.column("events_before", "event_id"), [wanted]);
    assert_eq!(answer.column("events_after", "event_id"), [also_wanted]);
}

/// With lazy loading the state has only those members who speak.
/// spec: client-server-api/#lazy-loading-room-members
/// covers: GET /_matrix/client/v3/rooms/{roomId}/context/{eventId}
#[tokio::test]
async fn lazy_loading_brings_only_who_speaks() {
    let (alice, bob, carol) = super::ground::three().await;
    let room = room_with(&alice, &[&bob, &carol]).await;
    send_numbered(&alice, &room, 6).await;
    let event = bob.send_text(&room, "I speak").await;
    send_numbered(&alice, &room, 6).await;
    let answer = carol
        .get(&path!("/v3/rooms/{}/context/{}", room, event))
        .query("limit", "4")
        .query("filter", json!({"lazy_load_members": true}).to_string())
        .await
        .expect_ok();
    let mut members: Vec<&str> = answer
        .array("state")
        .iter()
        .filter(|event| event["type"] == "m.room.member")
        .filter_map(|event| event["state_key"].as_str())
        .collect();
    members.sort_unstable();
    let mut expected = vec![alice.id.as_str(), bob.id.as_str()];
    expected.sort_unstable();
    assert_eq!(members, expected, "{answer}");
}

/// Events that are not there, or not for the user, have no context.
/// spec: client-server-api/#get_matrixclientv3roomsroomidcontexteventid
/// covers: GET /_matrix/client/v3/rooms/{roomId}/context/{eventId}
#[tokio::test]
async fn no_event_no_context() {
    let (alice, bob) = two().await;
    let room = alice.create_public_room().await;
    let event = alice.send_text(&room, "secret").await;
    let path = |room: &str, event: &str| path!("/v3/rooms/{}/context/{}", room, event);
    bob.get(&path(&room, &event)).await.expect_err_of(&[(403, "M_FORBIDDEN"), (404, "M_NOT_FOUND")]);
    alice.get(&path(&room, &format!("${}", "A".repeat(43)))).await.expect_status(404).expect_refused();
    let other = alice.create_public_room().await;
    alice.get(&path(&other, &event)).await.expect_status(404).expect_refused();
    for wrong in ["-1", "many", "1.5"] {
        alice.get(&path(&room, &event)).query("limit", wrong).await.expect_status(400).expect_refused();
    }
}

/// A context token is good for walking on after new events came in.
/// spec: client-server-api/#get_matrixclientv3roomsroomidcontexteventid
/// covers: GET /_matrix/client/v3/rooms/{roomId}/context/{eventId}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test]
async fn end_token_reaches_what_came_later() {
    let (alice, bob) = two().await;
    let room = room_with(&alice, &[&bob]).await;
    let sent = send_numbered(&alice, &room, 2).await;
    let answer = context(&bob, &room, &sent[1], 4).await;
    let later = send_numbered(&alice, &room, 3).await;
    let forward = page(&bob, &room, "f").query("from", answer.str("end")).await.expect_ok();
    let events: Vec<Value> = forward.array("chunk").clone();
    assert_eq!(ids(&events), later);
}
