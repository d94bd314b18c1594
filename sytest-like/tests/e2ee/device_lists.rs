//! Who has other devices: `device_lists` of `/sync`, and `/keys/changes`.

use http::Method;
use sytest_like::{Server, Syncer, User, json, path};

use super::ground::{Device, listed, until_listed};

async fn pair(server: &Server) -> (User, User, String) {
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = alice.create_public_room().await;
    bob.join(&room).await;
    (alice, bob, room)
}

/// Follows on from now.
async fn from_now(user: &User) -> Syncer {
    user.syncer().await
}

/// New keys are news for those who share a room, and wake them.
/// spec: client-server-api/#tracking-the-device-list-for-a-user
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn new_keys_are_news_for_those_in_a_room() {
    let server = Server::shared().await;
    let (alice, bob, _) = pair(&server).await;
    let stranger = server.register("stranger").await;
    let (mut bobs, mut strangers) = (from_now(&bob).await, from_now(&stranger).await);
    let (_, ()) = tokio::join!(Device::new(&alice), until_listed(&mut bobs, "changed", &alice));
    let quiet = strangers.next(0).await;
    assert!(quiet.get("device_lists").is_none_or(|lists| lists["changed"] == json!([])), "{quiet}");
    let quiet = bobs.next(0).await;
    assert_eq!(listed(&quiet, "changed"), [] as [&str; 0], "{quiet}");
}

/// A user hears of a new device of their own.
/// spec: client-server-api/#e2e-extensions-to-sync
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn own_devices_are_news() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let mut syncer = from_now(&alice).await;
    let laptop = alice.login().await;
    let (_, ()) = tokio::join!(Device::new(&laptop), until_listed(&mut syncer, "changed", &alice));
}

/// A device that goes is news, and so is a new name.
/// spec: client-server-api/#tracking-the-device-list-for-a-user
/// covers: POST /_matrix/client/v3/logout
/// covers: PUT /_matrix/client/v3/devices/{deviceId}
#[tokio::test]
async fn gone_and_renamed_devices_are_news() {
    let server = Server::shared().await;
    let (alice, bob, _) = pair(&server).await;
    let laptop = alice.login().await;
    Device::new(&alice).await;
    Device::new(&laptop).await;
    let mut syncer = from_now(&bob).await;
    let rename = json!({"display_name": "another name"});
    alice.put(&path!("/v3/devices/{}", alice.device_id), rename).await.expect_ok();
    until_listed(&mut syncer, "changed", &alice).await;
    laptop.post("/v3/logout", json!({})).await.expect_ok();
    until_listed(&mut syncer, "changed", &alice).await;
    let tablet = alice.login().await;
    Device::new(&tablet).await;
    until_listed(&mut syncer, "changed", &alice).await;
    let path = path!("/v3/devices/{}", tablet.device_id);
    alice.with_password(Method::DELETE, &path, json!({})).await.expect_ok();
    until_listed(&mut syncer, "changed", &alice).await;
}

/// Whoever comes into a room is news for those in it, and they for them.
/// spec: client-server-api/#e2e-extensions-to-sync
/// covers: GET /_matrix/client/v3/sync
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
#[tokio::test]
async fn joining_is_news_for_both() {
    let server = Server::shared().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = alice.create_public_room().await;
    let (mut alices, mut bobs) = (from_now(&alice).await, from_now(&bob).await);
    bob.join(&room).await;
    until_listed(&mut alices, "changed", &bob).await;
    until_listed(&mut bobs, "changed", &alice).await;
}

/// Whoever leaves the last common room is named as having left, on both sides; while there is another, nobody is.
/// spec: client-server-api/#e2e-extensions-to-sync
/// covers: GET /_matrix/client/v3/sync
/// covers: POST /_matrix/client/v3/rooms/{roomId}/leave
#[tokio::test]
async fn leaving_the_last_room_is_news() {
    let server = Server::shared().await;
    let (alice, bob, first) = pair(&server).await;
    let second = alice.create_public_room().await;
    bob.join(&second).await;
    let (mut alices, mut bobs) = (from_now(&alice).await, from_now(&bob).await);
    bob.leave(&first).await;
    for syncer in [&mut alices, &mut bobs] {
        let answer = syncer.next(5_000).await;
        assert_eq!(listed(&answer, "left"), [] as [&str; 0], "{answer}");
    }
    bob.leave(&second).await;
    until_listed(&mut alices, "left", &bob).await;
    until_listed(&mut bobs, "left", &alice).await;
    // What happens to those who left is no news any longer.
    Device::new(&alice).await;
    let quiet = bobs.next(0).await;
    assert_eq!(listed(&quiet, "changed"), [] as [&str; 0], "{quiet}");
}

/// Who is thrown out has left.
/// spec: client-server-api/#e2e-extensions-to-sync
/// covers: POST /_matrix/client/v3/rooms/{roomId}/ban
#[tokio::test]
async fn banning_is_leaving() {
    let server = Server::shared().await;
    let (alice, bob, room) = pair(&server).await;
    let (mut alices, mut bobs) = (from_now(&alice).await, from_now(&bob).await);
    alice.membership(&room, "ban", &bob.id).await.expect_ok();
    until_listed(&mut alices, "left", &bob).await;
    until_listed(&mut bobs, "left", &alice).await;
}

/// A device without keys is nobody's business.
/// spec: client-server-api/#get_matrixclientv3keyschanges
/// covers: GET /_matrix/client/v3/keys/changes
/// not on synapse: it tells of every device
#[tokio::test]
async fn device_without_keys_is_no_news() {
    let server = Server::shared().await;
    let (alice, bob, _) = pair(&server).await;
    let before = bob.sync().await.str("next_batch").to_owned();
    let laptop = alice.login().await;
    let rename = json!({"display_name": "another name"});
    laptop.put(&path!("/v3/devices/{}", laptop.device_id), rename).await.expect_ok();
    laptop.post("/v3/logout", json!({})).await.expect_ok();
    let after = bob.sync().await.str("next_batch").to_owned();
    let asked = bob.get("/v3/keys/changes").query("from", &before).query("to", &after).await.expect_ok();
    assert_eq!(asked.json, json!({"changed": [], "left": []}));
}

/// A new name of a user is no new device, nor is an invite.
/// spec: client-server-api/#e2e-extensions-to-sync
/// covers: GET /_matrix/client/v3/sync
#[tokio::test]
async fn profiles_and_invites_are_no_devices() {
    let server = Server::shared().await;
    let (alice, bob, room) = pair(&server).await;
    let carol = server.register("carol").await;
    let mut syncer = from_now(&bob).await;
    let member = json!({"membership": "join", "displayname": "Alice of the room"});
    alice.put(&path!("/v3/rooms/{}/state/m.room.member/{}", room, alice.id), member).await.expect_ok();
    alice.invite(&room, &carol).await;
    let marker = alice.send_text(&room, "after it").await;
    loop {
        let answer = syncer.next(5_000).await;
        assert_eq!(listed(&answer, "changed"), [] as [&str; 0], "{answer}");
        assert_eq!(listed(&answer, "left"), [] as [&str; 0], "{answer}");
        if sytest_like::timeline_ids(&answer, &room).contains(&marker) {
            break;
        }
    }
}

/// An initial sync has no device lists: there is nothing to compare with.
/// spec: client-server-api/#e2e-extensions-to-sync
/// covers: GET /_matrix/client/v3/sync
/// not on synapse: it sends empty lists
#[tokio::test]
async fn initial_sync_has_no_device_lists() {
    let server = Server::shared().await;
    let (alice, bob, _) = pair(&server).await;
    Device::new(&alice).await;
    bob.sync().await.expect_absent("device_lists");
}

/// What `/sync` would have told of can be asked for.
/// spec: client-server-api/#get_matrixclientv3keyschanges
/// covers: GET /_matrix/client/v3/keys/changes
#[tokio::test]
async fn changes_can_be_asked_for() {
    let server = Server::shared().await;
    let (alice, bob, room) = pair(&server).await;
    let carol = server.register("carol").await;
    let before = bob.sync().await.str("next_batch").to_owned();
    Device::new(&alice).await;
    carol.join(&room).await;
    let between = bob.sync().await.str("next_batch").to_owned();
    alice.leave(&room).await;
    let after = bob.sync().await.str("next_batch").to_owned();
    let changes = async |from: &str, to: &str| {
        let answer = bob.get("/v3/keys/changes").query("from", from).query("to", to).await.expect_ok();
        let mut changed = answer.array("changed").clone();
        changed.sort_by_key(ToString::to_string);
        (changed, answer.array("left").clone())
    };
    assert_eq!(changes(&before, &after).await, (vec![json!(carol.id)], vec![json!(alice.id)]));
    assert_eq!(changes(&between, &after).await, (vec![], vec![json!(alice.id)]));
    assert_eq!(changes(&after, &after).await, (vec![], vec![]));
}

/// Both tokens are required, and must be tokens.
/// spec: client-server-api/#get_matrixclientv3keyschanges
/// covers: GET /_matrix/client/v3/keys/changes
#[tokio::test]
async fn changes_need_tokens() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let token = alice.sync().await.str("next_batch").to_owned();
    alice.get("/v3/keys/changes").query("to", &token).await.expect_err(400, "M_MISSING_PARAM");
    alice.get("/v3/keys/changes").query("from", "rubbish").query("to", &token).await.expect_refused();
}
