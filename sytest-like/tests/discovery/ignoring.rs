//! What users see of those whom they ignore: `m.ignored_user_list`.

use sytest_like::{Server, ServerOptions, User, Value, json, path, timeline};

/// A reader, a user they are about to ignore, and a room with both.
async fn stage() -> (User, User, String) {
    let server = Server::shared().await;
    let (reader, noisy) = (server.register("reader").await, server.register("noisy").await);
    let room = reader.create_public_room().await;
    noisy.join(&room).await;
    (reader, noisy, room)
}

/// Ignores exactly these users.
async fn ignore(user: &User, others: &[&User]) {
    let list: Value = others.iter().map(|other| (other.id.clone(), json!({}))).collect();
    set_list(user, json!({"ignored_users": list})).await;
}

async fn set_list(user: &User, content: Value) {
    user.put(&path!("/v3/user/{}/account_data/m.ignored_user_list", user.id), content).await.expect_ok();
}

/// The messages that a walk back through the room shows.
async fn bodies(user: &User, room: &str) -> Vec<String> {
    let page = user.get(&path!("/v3/rooms/{}/messages", room)).query("dir", "b").query("limit", "100");
    let page = page.await.expect_ok();
    let chunk = page.array("chunk").iter();
    chunk.filter_map(|event| event["content"]["body"].as_str().map(str::to_owned)).collect()
}

/// History leaves out what ignored users wrote, and shows it again once they are ignored no longer.
/// spec: client-server-api/#ignoring-users
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test]
async fn history_leaves_them_out() {
    let (reader, noisy, room) = stage().await;
    noisy.send_text(&room, "noise").await;
    reader.send_text(&room, "words").await;
    ignore(&reader, &[&noisy]).await;
    assert_eq!(bodies(&reader, &room).await, ["words"]);
    assert_eq!(bodies(&noisy, &room).await, ["words", "noise"]);
    ignore(&reader, &[]).await;
    assert_eq!(bodies(&reader, &room).await, ["words", "noise"]);
}

/// Pages of history stay full when much of it is left out.
/// spec: client-server-api/#ignoring-users
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
#[tokio::test]
async fn pages_stay_full() {
    let (reader, noisy, room) = stage().await;
    for number in 0..4 {
        reader.send_text(&room, &format!("word {number}")).await;
        for _ in 0..5 {
            noisy.send_text(&room, "noise").await;
        }
    }
    ignore(&reader, &[&noisy]).await;
    let page = reader.get(&path!("/v3/rooms/{}/messages", room)).query("dir", "b").query("limit", "3");
    let page = page.await.expect_ok();
    assert_eq!(page.array("chunk").len(), 3, "{page}");
}

/// The events around an event leave out what ignored users wrote; so does a look at one event.
/// spec: client-server-api/#ignoring-users
/// covers: GET /_matrix/client/v3/rooms/{roomId}/context/{eventId}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}
#[tokio::test]
async fn context_leaves_them_out() {
    let (reader, noisy, room) = stage().await;
    noisy.send_text(&room, "before").await;
    let event = reader.send_text(&room, "words").await;
    let after = noisy.send_text(&room, "after").await;
    ignore(&reader, &[&noisy]).await;
    let context = reader.get(&path!("/v3/rooms/{}/context/{}", room, event)).await.expect_ok();
    for side in ["events_before", "events_after"] {
        let shown = context.array(side).iter().filter(|event| event["type"] == "m.room.message");
        assert_eq!(shown.count(), 0, "{context}");
    }
    reader.get_event(&room, &after).await.expect_err(404, "M_NOT_FOUND");
    noisy.get_event(&room, &after).await.expect_ok();
}

/// A long poll is not ended by what an ignored user writes, and goes on with what others write.
/// spec: client-server-api/#ignoring-users
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn sync_goes_on_without_them() {
    let (reader, noisy, room) = stage().await;
    ignore(&reader, &[&noisy]).await;
    let mut syncer = reader.syncer().await;
    noisy.send_text(&room, "noise").await;
    let own = reader.send_text(&room, "words").await;
    let heard = syncer.until_event(&room, &own).await;
    assert_eq!(heard.len(), 1, "{heard:?}");
    ignore(&reader, &[]).await;
    let loud = noisy.send_text(&room, "again").await;
    syncer.until_event(&room, &loud).await;
}

/// What an ignored user does to the state of a room is shown: otherwise the room would look different.
/// spec: client-server-api/#ignoring-users
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn state_is_shown() {
    let (reader, noisy, room) = stage().await;
    ignore(&reader, &[&noisy]).await;
    let syncer = reader.syncer().await;
    noisy.leave(&room).await;
    let answer = reader.sync().since(&syncer.since).await;
    let left = timeline(&answer, &room);
    assert!(left.iter().any(|event| event["state_key"] == noisy.id.as_str()), "{answer}");
}

/// Threads that ignored users began are not listed.
/// spec: client-server-api/#ignoring-users
/// covers: GET /_matrix/client/v1/rooms/{roomId}/threads
/// covers: GET /_matrix/client/v1/rooms/{roomId}/relations/{eventId}
#[tokio::test]
async fn threads_leave_them_out() {
    let (reader, noisy, room) = stage().await;
    let relation = |root: &str| {
        let relates_to = json!({"rel_type": "m.thread", "event_id": root});
        json!({"msgtype": "m.text", "body": "in a thread", "m.relates_to": relates_to})
    };
    let noise = noisy.send_text(&room, "noise").await;
    reader.send(&room, "m.room.message", relation(&noise)).await;
    let words = reader.send_text(&room, "words").await;
    noisy.send(&room, "m.room.message", relation(&words)).await;
    let reply = reader.send(&room, "m.room.message", relation(&words)).await;
    ignore(&reader, &[&noisy]).await;
    let threads = reader.get(&path!("/v1/rooms/{}/threads", room)).await.expect_ok();
    assert_eq!(threads.column("chunk", "event_id"), [words.clone()], "{threads}");
    let children = reader.get(&path!("/v1/rooms/{}/relations/{}", room, words)).await.expect_ok();
    assert_eq!(children.column("chunk", "event_id"), [reply], "{children}");
}

/// Nonsense in the list does no harm, and nobody can ignore themselves.
/// spec: client-server-api/#mignored_user_list
/// covers: PUT /_matrix/client/v3/user/{userId}/account_data/{type}
#[tokio::test]
async fn nonsense_in_the_list_does_no_harm() {
    let (reader, noisy, room) = stage().await;
    noisy.send_text(&room, "noise").await;
    reader.send_text(&room, "words").await;
    for nonsense in [json!({}), json!({"ignored_users": []}), json!({"ignored_users": "all"})] {
        set_list(&reader, nonsense).await;
        assert_eq!(bodies(&reader, &room).await, ["words", "noise"]);
        reader.sync().await;
    }
    let list =
        json!({"ignored_users": {"not an id": 1, "": {}, (reader.id.clone()): {}, (noisy.id.clone()): 5}});
    set_list(&reader, list).await;
    assert_eq!(bodies(&reader, &room).await, ["words"]);
}

/// The list holds on every replica, and after a restart.
/// spec: client-server-api/#ignoring-users
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
/// not on synapse: it has no equal replicas
#[tokio::test]
async fn list_holds_everywhere() {
    let replicas = ServerOptions::default().start_replicas(2).await;
    let (reader, noisy) = (replicas[0].register("reader").await, replicas[1].register("noisy").await);
    let room = reader.create_public_room().await;
    noisy.join(&room).await;
    noisy.send_text(&room, "noise").await;
    let elsewhere = replicas[1].as_seen_here(&reader);
    assert_eq!(bodies(&elsewhere, &room).await, ["noise"]);
    ignore(&reader, &[&noisy]).await;
    assert!(bodies(&elsewhere, &room).await.is_empty());
    ignore(&elsewhere, &[]).await;
    assert_eq!(bodies(&reader, &room).await, ["noise"]);
    ignore(&reader, &[&noisy]).await;
    replicas[0].restart().await;
    assert!(bodies(&reader, &room).await.is_empty());
}
