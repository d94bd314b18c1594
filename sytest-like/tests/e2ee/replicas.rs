//! End-to-end encryption over two replicas.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use sytest_like::{Server, ServerOptions, User, Value, json, path, unique};

use super::ground::{Device, count, messages, send, until_listed};

async fn two() -> (Server, Server) {
    let mut replicas = ServerOptions::default().start_replicas(2).await;
    let second = replicas.remove(1);
    (replicas.remove(0), second)
}

/// Two thousand keys claimed by twenty clients over two replicas: each is handed out once.
/// spec: client-server-api/#post_matrixclientv3keysclaim
/// covers: POST /_matrix/client/v3/keys/claim
/// not on synapse: it has no equal replicas
#[tokio::test]
async fn each_key_is_claimed_once_in_the_cluster() {
    const CLIENTS: usize = 20;
    const KEYS: usize = 2000;
    let (first, second) = two().await;
    let alice = first.register("alice").await;
    let device = Device::new(&alice).await;
    device.upload_one_time_keys((0..KEYS).map(|number| format!("K{number:04}"))).await;
    let bob = first.register("bob").await;
    let clients: Vec<User> = (0..CLIENTS)
        .map(|number| if number % 2 == 0 { bob.clone() } else { second.as_seen_here(&bob) })
        .collect();
    let claimed = join_all(clients.iter().map(|client| {
        let device = &device;
        async move {
            let mut claimed = Vec::new();
            for _ in 0..KEYS / CLIENTS {
                claimed.extend(device.claimed_by(client).await);
            }
            claimed
        }
    }))
    .await
    .concat();
    assert_eq!(claimed.len(), KEYS);
    assert_eq!(claimed.iter().collect::<BTreeSet<_>>().len(), KEYS);
    assert_eq!(device.claimed_by(&bob).await, None);
    assert_eq!(count(&second.as_seen_here(&alice).sync().await), 0);
}

/// What is left is counted alike everywhere.
/// spec: client-server-api/#e2e-extensions-to-sync
/// covers: GET /_matrix/client/v3/sync
/// not on synapse: it has no equal replicas
#[tokio::test]
async fn counts_are_known_everywhere() {
    let (first, second) = two().await;
    let alice = first.register("alice").await;
    let there = second.as_seen_here(&alice);
    assert_eq!(count(&there.sync().await), 0);
    let device = Device::new(&alice).await;
    for number in 0..5 {
        device.upload_one_time_keys([format!("K{number}")]).await;
        assert_eq!(count(&there.sync().await), number + 1);
    }
    for number in (0..5).rev() {
        device.claimed_by(&alice).await;
        assert_eq!(count(&there.sync().await), number);
    }
}

/// A message sent through one replica wakes a long poll at the other; confirmed there, it is gone here.
/// spec: client-server-api/#send-to-device-messaging
/// covers: PUT /_matrix/client/v3/sendToDevice/{eventType}/{txnId}
/// covers: GET /_matrix/client/v3/sync
/// not on synapse: it has no equal replicas
#[tokio::test]
async fn messages_cross_replicas() {
    let (first, second) = two().await;
    let (alice, bob) = (first.register("alice").await, second.register("bob").await);
    let mut syncer = bob.syncer().await;
    let before = syncer.since.clone();
    for number in 0..5 {
        let ((), answer) = tokio::join!(
            send(&alice, &bob, "*", json!({"n": number})),
            syncer.until("the message", |answer| !messages(answer).is_empty())
        );
        assert_eq!(messages(&answer), [json!({"n": number})]);
    }
    syncer.next(0).await;
    let here = first.as_seen_here(&bob);
    assert_eq!(messages(&here.sync().since(&before).await), [] as [Value; 0]);
}

/// A transaction repeated at the other replica is carried out once, even at the same moment.
/// spec: client-server-api/#transaction-identifiers
/// covers: PUT /_matrix/client/v3/sendToDevice/{eventType}/{txnId}
/// not on synapse: it has no equal replicas
#[tokio::test]
async fn transaction_counts_in_the_cluster() {
    let (first, second) = two().await;
    let (alice, bob) = (first.register("alice").await, first.register("bob").await);
    let there = second.as_seen_here(&alice);
    let path = path!("/v3/sendToDevice/{}/{}", "org.example.test", unique("txn"));
    let body = json!({"messages": {&bob.id: {"*": {"n": 1}}}});
    let requests =
        (0..10).map(|number| if number % 2 == 0 { &alice } else { &there }.put(&path, body.clone()));
    for answer in join_all(requests.map(IntoFuture::into_future)).await {
        answer.expect_ok();
    }
    assert_eq!(messages(&bob.sync().await), [json!({"n": 1})]);
}

/// New devices and memberships at one replica are news at the other.
/// spec: client-server-api/#tracking-the-device-list-for-a-user
/// covers: GET /_matrix/client/v3/sync
/// not on synapse: it has no equal replicas
#[tokio::test]
async fn device_lists_cross_replicas() {
    let (first, second) = two().await;
    let (alice, bob) = (first.register("alice").await, second.register("bob").await);
    let room = alice.create_public_room().await;
    let mut syncer = bob.syncer().await;
    first.as_seen_here(&bob).join(&room).await;
    until_listed(&mut syncer, "changed", &alice).await;
    let (_, ()) = tokio::join!(Device::new(&alice), until_listed(&mut syncer, "changed", &alice));
    alice.leave(&room).await;
    until_listed(&mut syncer, "left", &alice).await;
}

/// Writers at both replicas agree on a backup.
/// spec: client-server-api/#server-side-key-backups
/// covers: PUT /_matrix/client/v3/room_keys/keys/{roomId}/{sessionId}
/// not on synapse: it has no equal replicas
#[tokio::test]
async fn backup_writers_agree_across_replicas() {
    const WRITERS: usize = 16;
    let (first, second) = two().await;
    let alice = first.register("alice").await;
    let there = second.as_seen_here(&alice);
    let versions = join_all((0..WRITERS).map(|number| {
        let body = json!({"algorithm": "m.megolm_backup.v1.curve25519-aes-sha2", "auth_data": {"n": number}});
        if number % 2 == 0 { &alice } else { &there }.post("/v3/room_keys/version", body).into_future()
    }))
    .await;
    let versions: BTreeSet<u64> =
        versions.iter().map(|answer| answer.str("version").parse().expect("a number")).collect();
    assert_eq!(versions.len(), WRITERS);
    let newest = versions.last().expect("there are some").to_string();
    let answers = join_all((0..WRITERS).map(|number| {
        let path = path!("/v3/room_keys/keys/{}/{}", "!room:example.org", format!("session-{number}"));
        let key = json!({
            "first_message_index": 0, "forwarded_count": 0, "is_verified": true, "session_data": {"n": number},
        });
        let user = if number % 2 == 0 { &alice } else { &there };
        user.put(&path, key).query("version", &newest).into_future()
    }))
    .await;
    let etags: BTreeSet<&str> = answers.iter().map(|answer| answer.str("etag")).collect();
    assert_eq!(etags.len(), WRITERS);
    there.get("/v3/room_keys/version").await.expect_ok().has("count", WRITERS);
}
