//! What search finds of people who were forgotten, and after its index was built anew.

use sytest_like::{Server, json};

use super::search::{found, search, two, word};

/// The words of somebody who asked to be forgotten are found by those who were there, and by no newcomer.
/// spec: client-server-api/#post_matrixclientv3accountdeactivate
/// covers: POST /_matrix/client/v3/search
/// covers: POST /_matrix/client/v3/account/deactivate
/// not on synapse: it looks at what is stored
#[tokio::test]
async fn words_of_forgotten_people_are_not_found_by_newcomers() {
    let (alice, bob) = two().await;
    let room = bob.create_public_room().await;
    alice.join(&room).await;
    let word = word("secret");
    let hers = alice.send_text(&room, &word).await;
    let his = bob.send_text(&room, &word).await;
    let body = json!({"erase": true});
    alice.with_password(http::Method::POST, "/v3/account/deactivate", body).await.expect_ok();
    let carol = bob.server.register("carol").await;
    carol.join(&room).await;
    assert_eq!(found(&search(&carol, &word).await), [his.clone()]);
    let seen = found(&search(&bob, &word).await);
    assert!(seen.contains(&hers) && seen.contains(&his), "{seen:?}");
}

/// The index is built anew beside a running server, and finds what it found before.
/// spec: none (operation)
/// covers: POST /_matrix/client/v3/search
/// not on synapse: it has no such command
#[tokio::test]
async fn index_is_built_anew_by_a_command() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let room = alice.create_public_room().await;
    let event = alice.send_text(&room, "a needle in the haystack").await;
    assert_eq!(found(&search(&alice, "needle").await), [event.clone()]);
    server.run(&["search", "rebuild"]).await.expect_success();
    assert_eq!(found(&search(&alice, "needle").await), [event.clone()]);
    let later = alice.send_text(&room, "another needle").await;
    let seen = found(&search(&alice, "needle").await);
    assert!(seen.contains(&event) && seen.contains(&later), "{seen:?}");
}
