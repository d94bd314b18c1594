//! Room tags.

use sytest_like::{Server, User, json, path};

fn tags(user: &User, room: &str) -> String {
    path!("/v3/user/{}/rooms/{}/tags", user.id, room)
}

fn tag(user: &User, room: &str, tag: &str) -> String {
    path!("/v3/user/{}/rooms/{}/tags/{}", user.id, room, tag)
}

/// Tags are added, listed and removed.
/// spec: client-server-api/#room-tagging
/// covers: PUT /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags/{tag}
/// covers: GET /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags
/// covers: DELETE /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags/{tag}
#[tokio::test]
async fn tags_come_and_go() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    assert_eq!(alice.get(&tags(&alice, &room)).await.expect_ok().json, json!({"tags": {}}));
    alice.put(&tag(&alice, &room, "m.favourite"), json!({"order": 0.25})).await.expect_ok();
    alice.put(&tag(&alice, &room, "u.Büro"), json!({})).await.expect_ok();
    let listed = alice.get(&tags(&alice, &room)).await.expect_ok().json;
    assert_eq!(listed, json!({"tags": {"m.favourite": {"order": 0.25}, "u.Büro": {}}}));
    alice.delete(&tag(&alice, &room, "m.favourite")).await.expect_ok();
    assert_eq!(alice.get(&tags(&alice, &room)).await.expect_ok().json, json!({"tags": {"u.Büro": {}}}));
}

/// A tag put again is replaced.
/// spec: client-server-api/#room-tagging
/// covers: PUT /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags/{tag}
#[tokio::test]
async fn tag_is_replaced() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    alice.put(&tag(&alice, &room, "u.work"), json!({"order": 0.1})).await.expect_ok();
    alice.put(&tag(&alice, &room, "u.work"), json!({"order": 0.9})).await.expect_ok();
    let listed = alice.get(&tags(&alice, &room)).await.expect_ok();
    assert_eq!(listed.json, json!({"tags": {"u.work": {"order": 0.9}}}));
}

/// The tags of a room come down as `m.tag` in its account data, all of them each time.
/// spec: client-server-api/#room-tagging
/// covers: PUT /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags/{tag}
/// covers: DELETE /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags/{tag}
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn tags_come_down_sync() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    let mut syncer = alice.syncer().await;
    alice.put(&tag(&alice, &room, "u.one"), json!({})).await.expect_ok();
    alice.put(&tag(&alice, &room, "u.two"), json!({})).await.expect_ok();
    let heard = |answer: &sytest_like::Response| {
        let events = answer.json["rooms"]["join"][&room]["account_data"]["events"].as_array().cloned()?;
        events.into_iter().find(|event| event["type"] == "m.tag").map(|event| event["content"].clone())
    };
    let both = json!({"tags": {"u.one": {}, "u.two": {}}});
    syncer.until("both tags", |answer| heard(answer).as_ref() == Some(&both)).await;
    alice.delete(&tag(&alice, &room, "u.one")).await.expect_ok();
    let one = json!({"tags": {"u.two": {}}});
    syncer.until("one tag", |answer| heard(answer).as_ref() == Some(&one)).await;
}

/// Tags are private.
/// spec: client-server-api/#room-tagging
/// covers: PUT /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags/{tag}
/// covers: GET /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags
/// covers: DELETE /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags/{tag}
#[tokio::test]
async fn other_users_tags_are_out_of_reach() {
    let server = Server::shared().await;
    let (alice, mallory) = (server.register("alice").await, server.register("mallory").await);
    let room = alice.create_public_room().await;
    mallory.join(&room).await;
    alice.put(&tag(&alice, &room, "u.one"), json!({})).await.expect_ok();
    mallory.get(&tags(&alice, &room)).await.expect_err(403, "M_FORBIDDEN");
    mallory.put(&tag(&alice, &room, "u.two"), json!({})).await.expect_err(403, "M_FORBIDDEN");
    mallory.delete(&tag(&alice, &room, "u.one")).await.expect_err(403, "M_FORBIDDEN");
    assert_eq!(mallory.get(&tags(&mallory, &room)).await.expect_ok().json, json!({"tags": {}}));
}

/// Removing a tag that is not there is no error.
/// spec: client-server-api/#delete_matrixclientv3useruseridroomsroomidtagstag
/// covers: DELETE /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags/{tag}
#[tokio::test]
async fn removing_an_absent_tag_is_no_error() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    alice.delete(&tag(&alice, &room, "u.never")).await.expect_ok();
}

/// A tag's content is an object.
/// spec: client-server-api/#put_matrixclientv3useruseridroomsroomidtagstag
/// covers: PUT /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags/{tag}
#[tokio::test]
async fn tag_content_must_be_an_object() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    alice.put(&tag(&alice, &room, "u.one"), json!(["order", 1])).await.expect_refused();
}
