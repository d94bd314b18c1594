//! Suspended accounts.

use http::Method;
use sytest_like::{Response, ServerOptions, json, path, timeline_ids};

use super::ground::{admin_and_alice, admin_of, suspend};

#[track_caller]
fn expect_suspended(answer: Response) {
    answer.expect_err(403, "M_USER_SUSPENDED");
}

/// Whatever others would notice is refused while the suspension lasts.
/// spec: client-server-api/#account-suspension
/// covers: PUT /_matrix/client/v1/admin/suspend/{userId}
/// covers: GET /_matrix/client/v1/admin/suspend/{userId}
/// not on synapse: it has no such endpoint
#[tokio::test]
async fn suspended_user_cannot_act() {
    let (admin, alice) = admin_and_alice().await;
    let bob = alice.server.register("bob").await;
    let (room, open) = (alice.create_public_room().await, bob.create_public_room().await);
    bob.join(&room).await;
    let path = path!("/v1/admin/suspend/{}", alice.id);
    admin.get(&path).await.expect_ok().has("suspended", false);
    suspend(&admin, &alice.id, true).await.expect_ok().has("suspended", true);
    admin.get(&path).await.expect_ok().has("suspended", true);

    let text = json!({"msgtype": "m.text", "body": "spam"});
    expect_suspended(alice.put(&path!("/v3/rooms/{}/send/m.room.message/1", room), text.clone()).await);
    expect_suspended(alice.put(&path!("/v3/rooms/{}/state/m.room.name", room), json!({"name": "x"})).await);
    expect_suspended(alice.post("/v3/createRoom", json!({})).await);
    expect_suspended(alice.post(&path!("/v3/join/{}", open), json!({})).await);
    expect_suspended(alice.post(&path!("/v3/rooms/{}/join", open), json!({})).await);
    expect_suspended(alice.post(&path!("/v3/knock/{}", open), json!({})).await);
    for action in ["invite", "kick", "ban", "unban"] {
        expect_suspended(alice.membership(&room, action, &bob.id).await);
    }
    expect_suspended(alice.post(&path!("/v3/rooms/{}/upgrade", room), json!({"new_version": "11"})).await);
    let profile = path!("/v3/profile/{}/displayname", alice.id);
    expect_suspended(alice.put(&profile, json!({"displayname": "x"})).await);
    expect_suspended(alice.delete(&profile).await);
    let alias = path!("/v3/directory/room/{}", format!("#x:{}", alice.server.name()));
    expect_suspended(alice.put(&alias, json!({"room_id": room})).await);
    let listed = path!("/v3/directory/list/room/{}", room);
    expect_suspended(alice.put(&listed, json!({"visibility": "public"})).await);

    suspend(&admin, &alice.id, false).await.expect_ok().has("suspended", false);
    alice.put(&path!("/v3/rooms/{}/send/m.room.message/1", room), text).await.expect_ok();
}

/// A suspended user reads, logs in, sets things of their own, leaves, rejects invites and closes the account.
/// spec: client-server-api/#account-suspension
/// covers: PUT /_matrix/client/v1/admin/suspend/{userId}
/// not on synapse: it has no such endpoint
#[tokio::test]
async fn suspended_user_can_read_and_tidy_up() {
    let (admin, alice) = admin_and_alice().await;
    let bob = alice.server.register("bob").await;
    let room = bob.create_public_room().await;
    alice.join(&room).await;
    let invited = bob.create_room(json!({"preset": "private_chat", "invite": [alice.id]})).await;
    let since = alice.sync().await.str("next_batch").to_owned();
    suspend(&admin, &alice.id, true).await.expect_ok();

    let sent = bob.send_text(&room, "news").await;
    let answer = alice.sync().since(&since).await;
    assert!(timeline_ids(&answer, &room).contains(&sent), "{answer}");
    alice.get(&path!("/v3/rooms/{}/messages", room)).query("dir", "b").await.expect_ok();
    let laptop = alice.login().await;
    laptop.post("/v3/createRoom", json!({})).await.expect_err(403, "M_USER_SUSPENDED");
    laptop.post("/v3/logout", json!({})).await.expect_ok();
    alice.put(&path!("/v3/user/{}/account_data/org.example.x", alice.id), json!({})).await.expect_ok();
    alice.post(&path!("/v3/rooms/{}/receipt/m.read/{}", room, sent), json!({})).await.expect_ok();
    alice.leave(&invited).await;
    alice.leave(&room).await;
    alice.with_password(Method::POST, "/v3/account/deactivate", json!({})).await.expect_ok();
}

/// A suspended user takes back what they wrote, and nothing that others wrote, by either path.
/// spec: client-server-api/#account-suspension
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
/// not on synapse: it has no such endpoint
#[tokio::test]
async fn suspended_user_redacts_only_own_events() {
    let (admin, alice) = admin_and_alice().await;
    let bob = alice.server.register("bob").await;
    let room = alice.create_room(json!({"preset": "public_chat", "room_version": "11"})).await;
    bob.join(&room).await;
    let own = [alice.send_text(&room, "one").await, alice.send_text(&room, "two").await];
    let other = bob.send_text(&room, "three").await;
    suspend(&admin, &alice.id, true).await.expect_ok();
    let redact = |event: &str| path!("/v3/rooms/{}/redact/{}/{}", room, event, event);
    alice.put(&redact(&own[0]), json!({})).await.expect_ok();
    expect_suspended(alice.put(&redact(&other), json!({})).await);
    expect_suspended(alice.put(&redact("$unknown"), json!({})).await);
    let send = |txn: &str| path!("/v3/rooms/{}/send/m.room.redaction/{}", room, txn);
    alice.put(&send("1"), json!({"redacts": own[1]})).await.expect_ok();
    expect_suspended(alice.put(&send("2"), json!({"redacts": other})).await);
    expect_suspended(alice.put(&send("3"), json!({"redacts": 5})).await);
    bob.get_event(&room, &own[1]).await.expect_ok().expect_absent("/content/body");
    bob.get_event(&room, &other).await.expect_ok().has("/content/body", "three");
}

/// A suspension holds on every replica at once, and after a restart.
/// spec: client-server-api/#account-suspension
/// covers: PUT /_matrix/client/v1/admin/suspend/{userId}
/// not on synapse: it has no equal replicas
#[tokio::test]
async fn suspension_holds_everywhere() {
    let replicas = ServerOptions::default().shared_secret("only here").start_replicas(2).await;
    let admin = admin_of(&replicas[0]).await;
    let alice = replicas[1].register("alice").await;
    alice.create_public_room().await;
    suspend(&admin, &alice.id, true).await.expect_ok();
    expect_suspended(alice.post("/v3/createRoom", json!({})).await);
    replicas[1].restart().await;
    expect_suspended(alice.post("/v3/createRoom", json!({})).await);
    expect_suspended(replicas[0].as_seen_here(&alice).post("/v3/createRoom", json!({})).await);
}
