//! Guests, who look around without registering.

use http::Method;
use sytest_like::{Registration, Server, ServerOptions, User, json, path, unique};

async fn with_guests() -> Server {
    ServerOptions::default().kith("registration.guests", "true").start().await
}

async fn guest(server: &Server) -> User {
    let body = json!({"username": "ignored", "initial_device_display_name": "a browser"});
    let answer = server.post("/v3/register", body).query("kind", "guest").await.expect_ok();
    User::from_login(server, &answer, "")
}

/// A room that lets guests in, or not.
async fn room_for_guests(owner: &User, guest_access: &str) -> String {
    let state =
        json!([{"type": "m.room.guest_access", "state_key": "", "content": {"guest_access": guest_access}}]);
    owner.create_room(json!({"preset": "public_chat", "initial_state": state})).await
}

/// Guests come only where they are let in.
/// spec: client-server-api/#guest-access
/// covers: POST /_matrix/client/v3/register
#[tokio::test]
async fn guests_are_off_unless_switched_on() {
    let server = Server::shared().await;
    let answer = server.post("/v3/register", json!({})).query("kind", "guest").await;
    answer.expect_err_of(&[(403, "M_GUEST_ACCESS_FORBIDDEN"), (403, "M_UNKNOWN")]);
    let answer = server.post("/v3/register", json!({})).query("kind", "alien").await;
    answer.expect_status(400);
}

/// A guest gets a name and a session, is told apart from users, and may do what the specification lists, nothing else.
/// spec: client-server-api/#guest-access
/// covers: POST /_matrix/client/v3/register
/// covers: GET /_matrix/client/v3/account/whoami
/// not on synapse: it is configured in another way
#[tokio::test]
async fn guests_may_do_what_is_listed() {
    let server = with_guests().await;
    let guest = guest(&server).await;
    assert!(!guest.id.contains("ignored"), "a guest does not choose its name: {}", guest.id);
    guest.get("/v3/account/whoami").await.expect_ok().has("is_guest", true);
    let alice = server.register("alice").await;
    alice.get("/v3/account/whoami").await.expect_ok().has("is_guest", false);
    guest.get("/v3/sync").await.expect_ok();
    guest.get("/v3/devices").await.expect_ok();
    guest.post("/v3/keys/query", json!({"device_keys": {}})).await.expect_ok();
    let name = path!("/v3/profile/{}/displayname", guest.id);
    guest.put(&name, json!({"displayname": "Visitor"})).await.expect_ok();
    guest.delete(&name).await.expect_ok();
    let avatar = path!("/v3/profile/{}/avatar_url", guest.id);
    let forbidden = [
        guest.put(&avatar, json!({"avatar_url": "mxc://a/b"})),
        guest.post("/v3/createRoom", json!({})),
        guest.post("/v3/account/password", json!({})),
        guest.post("/v3/account/deactivate", json!({})),
        guest.get("/v3/pushrules/"),
        guest.get("/v3/capabilities"),
        guest.get("/v3/joined_rooms"),
        guest.post("/v3/user_directory/search", json!({"search_term": "a"})),
        guest.request(Method::DELETE, &path!("/v3/devices/{}", guest.device_id)),
        guest.put("/v3/presence/x/status", json!({})),
        guest.get("/v1/admin/whois/x"),
    ];
    for request in forbidden {
        let answer = request.await;
        assert!(answer.status == 403 || answer.status == 404, "{answer}");
        if answer.status == 403 {
            answer.expect_err(403, "M_GUEST_ACCESS_FORBIDDEN");
        }
    }
}

/// Guests join and talk where they are let in, and nowhere else, whichever way they try.
/// spec: client-server-api/#guest-access
/// covers: POST /_matrix/client/v3/rooms/{roomId}/join
/// covers: PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
/// not on synapse: it is configured in another way
#[tokio::test]
async fn guests_join_where_they_are_let_in() {
    let server = with_guests().await;
    let (alice, guest) = (server.register("alice").await, guest(&server).await);
    let open = room_for_guests(&alice, "can_join").await;
    let closed = room_for_guests(&alice, "forbidden").await;
    guest.join(&open).await;
    guest.send_text(&open, "hello").await;
    for path in [path!("/v3/rooms/{}/join", closed), path!("/v3/join/{}", closed)] {
        guest.post(&path, json!({})).await.expect_err(403, "M_GUEST_ACCESS_FORBIDDEN");
    }
    let state = path!("/v3/rooms/{}/state/m.room.member/{}", closed, guest.id);
    guest.put(&state, json!({"membership": "join"})).await.expect_err(403, "M_GUEST_ACCESS_FORBIDDEN");
    let members = alice.get(&path!("/v3/rooms/{}/joined_members", closed)).await.expect_ok();
    assert!(members["joined"].get(&guest.id).is_none(), "{members}");
}

/// Guests look into rooms that everybody may read without joining them.
/// spec: client-server-api/#guest-access
/// covers: GET /_matrix/client/v3/rooms/{roomId}/initialSync
/// covers: GET /_matrix/client/v3/events
/// not on synapse: it is configured in another way
#[tokio::test]
async fn guests_look_into_readable_rooms() {
    let server = with_guests().await;
    let (alice, guest) = (server.register("alice").await, guest(&server).await);
    let readable = json!([{
        "type": "m.room.history_visibility", "state_key": "", "content": {"history_visibility": "world_readable"},
    }]);
    let room = alice.create_room(json!({"preset": "public_chat", "initial_state": readable})).await;
    let whole = guest.get(&path!("/v3/rooms/{}/initialSync", room)).await.expect_ok();
    let sent = alice.send_text(&room, "hello").await;
    let events = guest.get("/v3/events").query("room_id", &room).query("from", whole.str("/messages/end"));
    assert_eq!(events.query("timeout", "5000").await.expect_ok().column("chunk", "event_id"), [sent.clone()]);
    guest.get_event(&room, &sent).await.expect_ok();
    guest.get(&path!("/v3/rooms/{}/messages", room)).query("dir", "b").await.expect_ok();
}

/// Guests leave a room that lets them in no longer; users stay.
/// spec: client-server-api/#guest-access
/// not on synapse: it is configured in another way
#[tokio::test]
async fn guests_leave_when_they_are_let_in_no_longer() {
    let server = with_guests().await;
    let (alice, bob, guest) =
        (server.register("alice").await, server.register("bob").await, guest(&server).await);
    let room = room_for_guests(&alice, "can_join").await;
    bob.join(&room).await;
    guest.join(&room).await;
    let mut syncer = guest.syncer().await;
    alice.set_state(&room, "m.room.guest_access", "", json!({"guest_access": "forbidden"})).await;
    syncer.until_room("leave", &room).await;
    let members = alice.get(&path!("/v3/rooms/{}/joined_members", room)).await.expect_ok();
    assert!(members["joined"].get(&guest.id).is_none(), "{members}");
    assert!(members["joined"].get(&bob.id).is_some(), "{members}");
}

/// A guest becomes a user with the same name by registering with the guest's token; nobody else can.
/// spec: client-server-api/#guest-access
/// covers: POST /_matrix/client/v3/register
/// not on synapse: it is configured in another way
#[tokio::test]
async fn guest_becomes_a_user() {
    let server = with_guests().await;
    let (alice, guest) = (server.register("alice").await, guest(&server).await);
    let body = |username: &str, token: &str| {
        json!({
            "username": username, "password": "a long password", "guest_access_token": token,
            "auth": {"type": "m.login.dummy"},
        })
    };
    let name = guest.localpart().to_owned();
    let register = |body| server.post("/v3/register", body);
    register(body(&name, "nonsense")).await.expect_err(403, "M_FORBIDDEN");
    register(body(&name, &alice.access_token)).await.expect_err(403, "M_FORBIDDEN");
    register(body(&unique("other"), &guest.access_token)).await.expect_err(403, "M_FORBIDDEN");
    let without = json!({"username": name, "password": "a long password", "auth": {"type": "m.login.dummy"}});
    register(without).await.expect_err(400, "M_USER_IN_USE");
    let answer =
        register(body(&name, &guest.access_token)).await.expect_ok().has("user_id", guest.id.as_str());
    let user = User::from_login(&server, &answer, "a long password");
    user.get("/v3/account/whoami").await.expect_ok().has("is_guest", false);
    user.create_public_room().await;
    // The session of the guest is one of the user now.
    guest.get("/v3/account/whoami").await.expect_ok().has("is_guest", false);
    user.login().await;
    register(body(&name, &guest.access_token)).await.expect_err(403, "M_FORBIDDEN");
}

/// Where nobody may register, guests may still come if they are switched on.
/// spec: client-server-api/#guest-access
/// covers: POST /_matrix/client/v3/register
/// not on synapse: it is configured in another way
#[tokio::test]
async fn guests_come_to_closed_servers() {
    let options = ServerOptions::default().kith("registration.guests", "true");
    let server = options.registration(Registration::Closed).start().await;
    let guest = guest(&server).await;
    guest.get("/v3/sync").await.expect_ok();
    let body = json!({"username": guest.localpart(), "guest_access_token": guest.access_token});
    let answer = server.post("/v3/register", body).await;
    answer.expect_status(401);
}
