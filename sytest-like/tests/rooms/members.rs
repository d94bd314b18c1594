//! Who is in a room, now and at other times.

use sytest_like::{Response, User, json, path};

use super::ground::{room_with, three, two};

async fn members(user: &User, room: &str, query: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut request = user.get(&path!("/v3/rooms/{}/members", room));
    for (name, value) in query {
        request = request.query(name, value);
    }
    listed(&request.await.expect_ok())
}

fn listed(answer: &Response) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = answer
        .array("chunk")
        .iter()
        .inspect(|event| {
            assert_eq!(event["type"], "m.room.member");
            assert!(event["event_id"].is_string() && event["room_id"].is_string(), "{event}");
        })
        .map(|event| {
            let text = |value: &sytest_like::Value| value.as_str().unwrap_or_default().to_owned();
            (text(&event["state_key"]), text(&event["content"]["membership"]))
        })
        .collect();
    found.sort();
    found
}

fn sorted(pairs: &[(&User, &str)]) -> Vec<(String, String)> {
    let mut pairs: Vec<(String, String)> =
        pairs.iter().map(|(user, membership)| (user.id.clone(), (*membership).to_owned())).collect();
    pairs.sort();
    pairs
}

/// Everybody with a membership is listed, with what it is.
/// spec: client-server-api/#get_matrixclientv3roomsroomidmembers
/// covers: GET /_matrix/client/v3/rooms/{roomId}/members
#[tokio::test]
async fn all_memberships_are_listed() {
    let (alice, bob, carol) = three().await;
    let dora = alice.server.register("dora").await;
    let erin = alice.server.register("erin").await;
    let room = room_with(&alice, &[&bob, &carol]).await;
    bob.leave(&room).await;
    alice.invite(&room, &dora).await;
    alice.membership(&room, "ban", &erin.id).await.expect_ok();
    let all = [(&alice, "join"), (&bob, "leave"), (&carol, "join"), (&dora, "invite"), (&erin, "ban")];
    assert_eq!(members(&carol, &room, &[]).await, sorted(&all));
}

/// The list can be narrowed to a membership, or to all but one.
/// spec: client-server-api/#get_matrixclientv3roomsroomidmembers
/// covers: GET /_matrix/client/v3/rooms/{roomId}/members
#[tokio::test]
async fn membership_filters_narrow_the_list() {
    let (alice, bob, carol) = three().await;
    let room = room_with(&alice, &[&bob, &carol]).await;
    bob.leave(&room).await;
    let joined = sorted(&[(&alice, "join"), (&carol, "join")]);
    assert_eq!(members(&alice, &room, &[("membership", "join")]).await, joined);
    assert_eq!(members(&alice, &room, &[("not_membership", "leave")]).await, joined);
    assert_eq!(members(&alice, &room, &[("membership", "leave")]).await, sorted(&[(&bob, "leave")]));
    assert_eq!(members(&alice, &room, &[("not_membership", "join")]).await, sorted(&[(&bob, "leave")]));
    assert!(members(&alice, &room, &[("membership", "ban")]).await.is_empty());
}

/// Both filters together list who satisfies either.
/// spec: client-server-api/#get_matrixclientv3roomsroomidmembers
/// covers: GET /_matrix/client/v3/rooms/{roomId}/members
#[tokio::test]
async fn both_membership_filters_are_alternatives() {
    let (alice, bob, carol) = three().await;
    let room = room_with(&alice, &[&bob]).await;
    alice.invite(&room, &carol).await;
    bob.leave(&room).await;
    let found = members(&alice, &room, &[("membership", "join"), ("not_membership", "leave")]).await;
    assert_eq!(found, sorted(&[(&alice, "join"), (&carol, "invite")]));
    let found = members(&alice, &room, &[("membership", "leave"), ("not_membership", "join")]).await;
    assert_eq!(found, sorted(&[(&bob, "leave"), (&carol, "invite")]));
}

/// With `at` the members are those of that moment.
/// spec: client-server-api/#get_matrixclientv3roomsroomidmembers
/// covers: GET /_matrix/client/v3/rooms/{roomId}/members
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn members_at_a_moment() {
    let (alice, bob, carol) = three().await;
    let room = room_with(&alice, &[&bob]).await;
    let before = alice.sync().await.str("next_batch").to_owned();
    carol.join(&room).await;
    bob.leave(&room).await;
    let between = alice.sync().await.str("next_batch").to_owned();
    carol.leave(&room).await;
    let at_first = members(&alice, &room, &[("at", &before)]).await;
    assert_eq!(at_first, sorted(&[(&alice, "join"), (&bob, "join")]));
    let then = members(&alice, &room, &[("at", &between), ("membership", "join")]).await;
    assert_eq!(then, sorted(&[(&alice, "join"), (&carol, "join")]));
    assert_eq!(members(&alice, &room, &[("membership", "join")]).await, sorted(&[(&alice, "join")]));
}

/// A `prev_batch` is a moment as well: before the first event that the sync shows.
/// spec: client-server-api/#get_matrixclientv3roomsroomidmembers
/// covers: GET /_matrix/client/v3/rooms/{roomId}/members
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn members_at_a_prev_batch() {
    let (alice, bob, carol) = three().await;
    let room = room_with(&alice, &[&bob]).await;
    alice.send_text(&room, "a line between").await;
    carol.join(&room).await;
    alice.send_text(&room, "hello").await;
    let sync = alice.sync().filter(&json!({"room": {"timeline": {"limit": 2}}})).await;
    let moment = sync["rooms"]["join"][&room]["timeline"]["prev_batch"].as_str().expect("prev_batch");
    let then = members(&alice, &room, &[("at", moment)]).await;
    assert_eq!(then, sorted(&[(&alice, "join"), (&bob, "join")]));
}

/// Wrong parameters are refused.
/// spec: client-server-api/#get_matrixclientv3roomsroomidmembers
/// covers: GET /_matrix/client/v3/rooms/{roomId}/members
#[tokio::test]
async fn wrong_parameters_are_refused() {
    let (alice, _) = two().await;
    let room = alice.create_public_room().await;
    let path = path!("/v3/rooms/{}/members", room);
    alice.get(&path).query("at", "nonsense").await.expect_status(400).expect_refused();
}

/// Only who was in the room sees its members; only who is in it sees the joined ones.
/// spec: client-server-api/#get_matrixclientv3roomsroomidjoined_members
/// covers: GET /_matrix/client/v3/rooms/{roomId}/members
/// covers: GET /_matrix/client/v3/rooms/{roomId}/joined_members
#[tokio::test]
async fn strangers_see_no_members() {
    let (alice, bob, carol) = three().await;
    let room = room_with(&alice, &[&bob]).await;
    alice.invite(&room, &carol).await;
    bob.leave(&room).await;
    let (members, joined) = (path!("/v3/rooms/{}/members", room), path!("/v3/rooms/{}/joined_members", room));
    bob.get(&members).await.expect_ok();
    bob.get(&joined).await.expect_err(403, "M_FORBIDDEN");
    let dora = alice.server.register("dora").await;
    for user in [&carol, &dora] {
        user.get(&members).await.expect_err(403, "M_FORBIDDEN");
        user.get(&joined).await.expect_err(403, "M_FORBIDDEN");
    }
}

/// The joined members are listed with their names and pictures in the room.
/// spec: client-server-api/#get_matrixclientv3roomsroomidjoined_members
/// covers: GET /_matrix/client/v3/rooms/{roomId}/joined_members
#[tokio::test]
async fn joined_members_have_names_and_pictures() {
    let (alice, bob, carol) = three().await;
    let name = json!({"displayname": "Bob B."});
    bob.put(&path!("/v3/profile/{}/displayname", bob.id), name).await.expect_ok();
    let picture = json!({"avatar_url": "mxc://example.org/bob"});
    bob.put(&path!("/v3/profile/{}/avatar_url", bob.id), picture).await.expect_ok();
    let room = room_with(&alice, &[&bob]).await;
    alice.invite(&room, &carol).await;
    let answer = alice.get(&path!("/v3/rooms/{}/joined_members", room)).await.expect_ok();
    let joined = answer["joined"].as_object().expect("a map");
    assert_eq!(joined.len(), 2, "{answer}");
    assert!(joined.contains_key(&alice.id), "{answer}");
    assert_eq!(joined[&bob.id]["display_name"], "Bob B.");
    assert_eq!(joined[&bob.id]["avatar_url"], "mxc://example.org/bob");
}

/// The joined rooms are those that one is in, and no others.
/// spec: client-server-api/#get_matrixclientv3joined_rooms
/// covers: GET /_matrix/client/v3/joined_rooms
#[tokio::test]
async fn joined_rooms_are_those_one_is_in() {
    let (alice, bob) = two().await;
    bob.get("/v3/joined_rooms").await.expect_ok().has("joined_rooms", json!([]));
    let (one, two) = (room_with(&alice, &[&bob]).await, room_with(&alice, &[&bob]).await);
    let (left, banned) = (room_with(&alice, &[&bob]).await, room_with(&alice, &[&bob]).await);
    alice.create_room(json!({"invite": [bob.id]})).await;
    bob.leave(&left).await;
    alice.membership(&banned, "ban", &bob.id).await.expect_ok();
    let answer = bob.get("/v3/joined_rooms").await.expect_ok();
    let mut rooms: Vec<&str> = answer.array("joined_rooms").iter().filter_map(|room| room.as_str()).collect();
    rooms.sort_unstable();
    let mut expected = [one.as_str(), two.as_str()];
    expected.sort_unstable();
    assert_eq!(rooms, expected);
}
