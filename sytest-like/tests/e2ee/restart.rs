//! Nothing is lost when the server stops. Each case has a server of its own.

use sytest_like::{Server, Syncer, Value, json};

use super::ground::{Device, Identity, count, listed, messages, query, send};

/// Messages, keys and counts survive `kill -9`.
/// spec: client-server-api/#send-to-device-messaging
/// covers: PUT /_matrix/client/v3/sendToDevice/{eventType}/{txnId}
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    let server = Server::start().await;
    server.expect_log("");
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let device = Device::new(&bob).await;
    device.upload_one_time_keys(["A", "B", "C"].map(str::to_owned)).await;
    let mut syncer = bob.syncer().await;
    let (mut sent, mut heard) = (0, Vec::new());
    for _ in 0..3 {
        for _ in 0..4 {
            send(&alice, &bob, "*", json!({"n": sent})).await;
            sent += 1;
        }
        assert!(device.claimed_by(&alice).await.is_some());
        server.kill9();
        server.start_again().await;
        while heard.len() < sent {
            heard.extend(messages(&syncer.next(5_000).await));
        }
    }
    assert_eq!(heard, (0..sent).map(|number| json!({"n": number})).collect::<Vec<_>>());
    let quiet = syncer.next(0).await;
    assert_eq!(messages(&quiet), [] as [Value; 0]);
    assert_eq!(count(&quiet), 0);
    assert_eq!(device.claimed_by(&alice).await, None);
}

/// A token from before a crash has all device lists that changed since, as if there had been none.
/// spec: client-server-api/#tracking-the-device-list-for-a-user
/// covers: GET /_matrix/client/v3/sync
/// covers: GET /_matrix/client/v3/keys/changes
#[tokio::test]
async fn device_lists_survive_a_kill() {
    let server = Server::start().await;
    server.expect_log("");
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let (carol, dan) = (server.register("carol").await, server.register("dan").await);
    let stranger = server.register("stranger").await;
    let (room, other) = (alice.create_public_room().await, dan.create_public_room().await);
    for user in [&bob, &carol] {
        user.join(&room).await;
    }
    let mut syncer: Syncer = bob.syncer().await;
    let before = syncer.since.clone();
    let told = Identity::new(&alice).await;
    Device::new(&stranger).await;
    carol.leave(&room).await;
    bob.join(&other).await;
    server.kill9();
    server.start_again().await;
    let answer = syncer.next(5_000).await;
    let mut expected = [alice.id.as_str(), dan.id.as_str()];
    expected.sort_unstable();
    let mut changed = listed(&answer, "changed");
    changed.sort();
    assert_eq!(changed, expected, "{answer}");
    assert_eq!(listed(&answer, "left"), [carol.id.as_str()], "{answer}");
    let asked =
        bob.get("/v3/keys/changes").query("from", &before).query("to", &syncer.since).await.expect_ok();
    assert_eq!(asked.array("left"), &vec![json!(carol.id)], "{asked}");
    let quiet = syncer.next(0).await;
    assert!(quiet.get("device_lists").is_none_or(|lists| lists["changed"] == json!([])), "{quiet}");
    let keys = query(&bob, &alice).await;
    assert_eq!(keys.json["master_keys"][&alice.id], told.master_key(), "{keys}");
}
