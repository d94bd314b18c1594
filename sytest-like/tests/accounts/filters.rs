//! Stored filters.

use sytest_like::{Server, User, json, path};

fn filters(user: &User) -> String {
    path!("/v3/user/{}/filter", user.id)
}

fn filter(user: &User, id: &str) -> String {
    path!("/v3/user/{}/filter/{}", user.id, id)
}

/// A filter is stored and given back.
/// spec: client-server-api/#post_matrixclientv3useruseridfilter
/// covers: POST /_matrix/client/v3/user/{userId}/filter
/// covers: GET /_matrix/client/v3/user/{userId}/filter/{filterId}
#[tokio::test]
async fn filter_is_stored() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let body = json!({
        "event_fields": ["type", "content"],
        "room": {"timeline": {"limit": 7, "types": ["m.room.*"]}, "include_leave": true},
    });
    let id = alice.post(&filters(&alice), body.clone()).await.expect_ok().str("filter_id").to_owned();
    assert!(!id.starts_with('{'), "an id must not look like an inline filter");
    assert_eq!(alice.get(&filter(&alice, &id)).await.expect_ok().json, body);
}

/// Different filters have different ids.
/// spec: client-server-api/#post_matrixclientv3useruseridfilter
/// covers: POST /_matrix/client/v3/user/{userId}/filter
#[tokio::test]
async fn different_filters_have_different_ids() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let one = alice.post(&filters(&alice), json!({"room": {"timeline": {"limit": 1}}})).await.expect_ok();
    let two = alice.post(&filters(&alice), json!({"room": {"timeline": {"limit": 2}}})).await.expect_ok();
    assert_ne!(one["filter_id"], two["filter_id"]);
}

/// A filter that nobody stored is not found.
/// spec: client-server-api/#get_matrixclientv3useruseridfilterfilterid
/// covers: GET /_matrix/client/v3/user/{userId}/filter/{filterId}
#[tokio::test]
async fn unknown_filter_is_not_found() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    alice.get(&filter(&alice, "123456")).await.expect_err(404, "M_NOT_FOUND");
    alice.get(&filter(&alice, "not-a-number")).await.expect_refused();
    alice.get(&filter(&alice, "99999999999999999999999999")).await.expect_refused();
}

/// Filters are private.
/// spec: client-server-api/#post_matrixclientv3useruseridfilter
/// covers: POST /_matrix/client/v3/user/{userId}/filter
/// covers: GET /_matrix/client/v3/user/{userId}/filter/{filterId}
#[tokio::test]
async fn other_users_filters_are_out_of_reach() {
    let server = Server::shared().await;
    let (alice, mallory) = (server.register("alice").await, server.register("mallory").await);
    let stored = alice.post(&filters(&alice), json!({})).await.expect_ok();
    mallory.post(&filters(&alice), json!({})).await.expect_err(403, "M_FORBIDDEN");
    mallory.get(&filter(&alice, stored.str("filter_id"))).await.expect_refused();
}

/// A stored filter is used by `/sync`.
/// spec: client-server-api/#filtering
/// covers: POST /_matrix/client/v3/user/{userId}/filter
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn stored_filter_works_in_sync() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    for number in 0..5 {
        alice.send_text(&room, &format!("message {number}")).await;
    }
    let stored = alice.post(&filters(&alice), json!({"room": {"timeline": {"limit": 2}}})).await.expect_ok();
    let answer = alice.sync().query("filter", stored.str("filter_id")).await;
    let bodies: Vec<_> =
        sytest_like::timeline(&answer, &room).iter().map(|event| event["content"]["body"].clone()).collect();
    assert_eq!(bodies, ["message 3", "message 4"]);
}

/// `/sync` refuses a filter that does not exist.
/// spec: client-server-api/#filtering
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn sync_with_an_unknown_filter_is_refused() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    alice.sync().query("filter", "123456").request().await.expect_refused();
    alice.sync().query("filter", "{broken").request().await.expect_refused();
}

/// Filters of the wrong shape are refused when they are stored.
/// spec: client-server-api/#post_matrixclientv3useruseridfilter
/// covers: POST /_matrix/client/v3/user/{userId}/filter
#[tokio::test]
async fn malformed_filters_are_refused() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let wrong = [
        json!({"room": 1}),
        json!({"room": {"timeline": "no"}}),
        json!({"room": {"timeline": {"limit": "ten"}}}),
        json!({"room": {"timeline": {"types": "m.room.message"}}}),
        json!({"room": {"rooms": [1, 2]}}),
        json!({"presence": {"senders": {"a": "b"}}}),
        json!({"event_format": 7}),
        json!([]),
    ];
    for body in wrong {
        let answer = alice.post(&filters(&alice), body.clone()).await;
        assert!((400..500).contains(&answer.status), "{body}: {answer}");
        answer.expect_refused();
    }
}

/// A filter that leaves nothing out may be stored and used.
/// spec: client-server-api/#post_matrixclientv3useruseridfilter
/// covers: POST /_matrix/client/v3/user/{userId}/filter
/// covers: GET /_matrix/client/v3/user/{userId}/filter/{filterId}
#[tokio::test]
async fn empty_filter_is_a_filter() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let stored = alice.post(&filters(&alice), json!({})).await.expect_ok();
    let id = stored.str("filter_id");
    assert_eq!(alice.get(&filter(&alice, id)).await.expect_ok().json, json!({}));
    alice.sync().query("filter", id).await;
}
