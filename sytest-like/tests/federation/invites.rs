//! Invites across servers, both ways.

use super::ground::{hears, versions, with_fake};
use sytest_like::fake::{Event, FakeRoom};
use sytest_like::{FakeServer, Response, Server, User, Value, json, path};

/// Servers and Alice of the one under test, whom the scripted one invites.
async fn ground() -> (Server, FakeServer, User) {
    let (server, fake) = with_fake().await;
    let alice = server.register("alice").await;
    (server, fake, alice)
}

/// What comes with an invite.
fn shown(room: &FakeRoom) -> Vec<Value> {
    let create = room.state_event("m.room.create", "").expect("a create event");
    let rules = room.state_event("m.room.join_rules", "").expect("join rules");
    vec![create.json, rules.json]
}

async fn invite(fake: &FakeServer, to: &str, room: &FakeRoom, event: &Event, shown: Value) -> Response {
    let body =
        json!({"room_version": room.version().name(), "event": event.json, "invite_room_state": shown});
    fake.put(to, &path!("/_matrix/federation/v2/invite/{}/{}", room.id(), event.id), body).await
}

/// An invite from elsewhere is signed here, shown to its user with what came with it, and is still there after a restart.
/// spec: server-server-api/#put_matrixfederationv2inviteroomideventid
/// covers: PUT /_matrix/federation/v2/invite/{roomId}/{eventId}
#[tokio::test]
async fn invites_from_elsewhere_are_shown() {
    let (server, fake, alice) = ground().await;
    let bob = fake.user("bob");
    let mut syncer = alice.syncer().await;
    for version in versions() {
        let room = fake.create_room(version, &bob);
        let event = room.member(&bob, &alice.id, "invite").build();

        let answer = invite(&fake, server.name(), &room, &event, json!(shown(&room))).await.expect_ok();

        assert!(answer["event"]["signatures"][server.name()].is_object(), "{answer}");
        assert!(answer["event"]["signatures"][fake.name()].is_object(), "{answer}");
        let entry = syncer.until_room("invite", room.id()).await;
        let events = entry["invite_state"]["events"].as_array().cloned().unwrap_or_default();
        let types: Vec<&str> = events.iter().filter_map(|event| event["type"].as_str()).collect();
        assert!(types.contains(&"m.room.create") && types.contains(&"m.room.member"), "{entry}");
        assert!(events.iter().all(|event| event.get("signatures").is_none()), "{entry}");
    }

    server.restart().await;

    let initial = alice.sync().await.expect_ok();
    assert_eq!(initial["rooms"]["invite"].as_object().map(serde_json::Map::len), Some(12));
}

/// An invite must be what its path says, from one of the server's own users to one of ours, signed, in a version known here.
/// spec: server-server-api/#put_matrixfederationv2inviteroomideventid
/// covers: PUT /_matrix/federation/v2/invite/{roomId}/{eventId}
#[tokio::test]
async fn invites_are_checked() {
    let (server, fake, alice) = ground().await;
    let bob = fake.user("bob");
    let room = fake.create_room("12", &bob);
    let known = json!(shown(&room));
    let refused = async |event: &Event, what: &str| {
        let answer = invite(&fake, server.name(), &room, event, known.clone()).await;
        assert_eq!(answer.status, 400, "{what}: {answer}");
        answer.expect_err(400, "M_INVALID_PARAM");
    };
    let good = room.member(&bob, &alice.id, "invite").build();

    refused(&room.member(&bob, &alice.id, "join").build(), "another membership").await;
    refused(&room.member(&bob, "@dave:example.org", "invite").build(), "a user of another server").await;
    refused(&room.member("@eve:example.org", &alice.id, "invite").build(), "a foreign inviter").await;
    refused(&room.member(&bob, &alice.id, "invite").with_bad_signature().build(), "a bad signature").await;
    refused(&room.member(&bob, &alice.id, "invite").unsigned().build(), "no signature").await;
    refused(&room.member(&bob, &alice.id, "invite").with_bad_hash().build(), "a bad hash").await;
    let other = fake.create_room("12", &bob);
    let path = path!("/_matrix/federation/v2/invite/{}/{}", other.id(), good.id);
    let body = json!({"room_version": "12", "event": good.json, "invite_room_state": shown(&other)});
    fake.put(server.name(), &path, body).await.expect_err(400, "M_INVALID_PARAM");
    let path = path!("/_matrix/federation/v2/invite/{}/{}", room.id(), good.id);
    let body = json!({"room_version": "org.example.99", "event": good.json, "invite_room_state": known});
    fake.put(server.name(), &path, body).await.expect_err(400, "M_INCOMPATIBLE_ROOM_VERSION");
    let nobody = room.member(&bob, &format!("@nobody:{}", server.name()), "invite").build();
    invite(&fake, server.name(), &room, &nobody, known.clone()).await.expect_err(403, "M_FORBIDDEN");

    invite(&fake, server.name(), &room, &good, known.clone()).await.expect_ok();
}

/// Where the room id says what the create event is, that must come with the invite, and be of the room.
/// spec: server-server-api/#put_matrixfederationv2inviteroomideventid
/// covers: PUT /_matrix/federation/v2/invite/{roomId}/{eventId}
#[tokio::test]
async fn the_create_event_comes_with_invites() {
    let (server, fake, alice) = ground().await;
    let bob = fake.user("bob");
    let room = fake.create_room("12", &bob);
    // Two rooms that one user makes in the same millisecond are the same room.
    let other = fake.create_room("12", &fake.user("carol"));
    let event = room.member(&bob, &alice.id, "invite").build();

    for wrong in [json!([]), json!(shown(&other)), json!([shown(&room)[1]])] {
        let answer = invite(&fake, server.name(), &room, &event, wrong).await;
        answer.expect_err(400, "M_INVALID_PARAM");
    }
}

/// Who wants no invites gets none from elsewhere either.
/// spec: client-server-api/#invite-permission
/// covers: PUT /_matrix/federation/v2/invite/{roomId}/{eventId}
#[tokio::test]
async fn blocked_invites_are_refused() {
    let (server, fake, alice) = ground().await;
    let bob = fake.user("bob");
    let data = path!("/_matrix/client/v3/user/{}/account_data/m.invite_permission_config", alice.id);
    alice.put(&data, json!({"default_action": "block"})).await.expect_ok();
    let room = fake.create_room("12", &bob);
    let event = room.member(&bob, &alice.id, "invite").build();

    let answer = invite(&fake, server.name(), &room, &event, json!(shown(&room))).await;

    answer.expect_err(403, "M_INVITE_BLOCKED");
}

/// An invite by the first version of the endpoint.
/// spec: server-server-api/#put_matrixfederationv1inviteroomideventid
/// covers: PUT /_matrix/federation/v1/invite/{roomId}/{eventId}
#[tokio::test]
async fn invites_by_the_first_version() {
    let (server, fake, alice) = ground().await;
    let bob = fake.user("bob");
    let room = fake.create_room("1", &bob);
    let event = room.member(&bob, &alice.id, "invite").build();
    let path = path!("/_matrix/federation/v1/invite/{}/{}", room.id(), event.id);

    let answer = fake.put(server.name(), &path, event.json.clone()).await.expect_ok();

    assert_eq!(answer.json[0], 200);
    assert!(answer.json[1]["event"]["signatures"][server.name()].is_object(), "{answer}");
    alice.syncer().await.initial["rooms"]["invite"].get(room.id()).expect("the invite is shown");
}

/// An invite is accepted: the user joins through the inviter's server, and both talk.
/// spec: server-server-api/#joining-rooms
/// covers: PUT /_matrix/federation/v2/invite/{roomId}/{eventId}
/// covers: POST /_matrix/client/v3/join/{roomIdOrAlias}
#[tokio::test]
async fn invites_are_accepted() {
    let (server, fake, alice) = ground().await;
    let bob = fake.user("bob");
    let room = fake.new_room("12", &bob).join_rules(json!({"join_rule": "invite"})).create();
    let event = room.member(&bob, &alice.id, "invite").build();
    invite(&fake, server.name(), &room, &event, json!(shown(&room))).await.expect_ok();
    room.add(&event);

    alice.join(room.id()).await;

    let said = room.say(&bob, "there you are").await;
    hears(&alice, room.id(), &said.id).await;
    let answered = alice.send_text(room.id(), "here I am").await;
    fake.wait_for_event(room.id(), &answered).await;
    assert_eq!(fake.faults(), Vec::<String>::new());
}

/// An invite is rejected: the inviter's server is told.
/// spec: server-server-api/#leaving-rooms-rejecting-invites
/// covers: POST /_matrix/client/v3/rooms/{roomId}/leave
#[tokio::test]
async fn invites_are_rejected() {
    let (server, fake, alice) = ground().await;
    let bob = fake.user("bob");
    let room = fake.create_room("11", &bob);
    let event = room.member(&bob, &alice.id, "invite").build();
    invite(&fake, server.name(), &room, &event, json!(shown(&room))).await.expect_ok();
    room.add(&event);
    let mut syncer = alice.syncer().await;

    alice.leave(room.id()).await;

    syncer.until_room("leave", room.id()).await;
    let left = room.state_event("m.room.member", &alice.id).expect("a membership");
    assert_eq!(left.json["content"]["membership"], "leave");
    assert_eq!(fake.faults(), Vec::<String>::new());
}

/// An invite is rejected although the inviter's server is gone: the user is rid of it all the same.
/// spec: client-server-api/#post_matrixclientv3roomsroomidleave
/// covers: POST /_matrix/client/v3/rooms/{roomId}/leave
#[tokio::test]
async fn invites_of_lost_servers_are_rejected() {
    let (server, fake, alice) = ground().await;
    let bob = fake.user("bob");
    let room = fake.create_room("12", &bob);
    let event = room.member(&bob, &alice.id, "invite").build();
    invite(&fake, server.name(), &room, &event, json!(shown(&room))).await.expect_ok();
    let mut syncer = alice.syncer().await;
    fake.go_down();

    alice.leave(room.id()).await;

    syncer.until_room("leave", room.id()).await;
    let initial = alice.sync().await.expect_ok();
    assert!(initial.json["rooms"]["invite"].get(room.id()).is_none());
}

/// An invite is taken back: it disappears.
/// spec: server-server-api/#transactions
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn invites_are_taken_back() {
    let (server, fake, alice) = ground().await;
    let bob = fake.user("bob");
    let room = fake.create_room("12", &bob);
    let event = room.member(&bob, &alice.id, "invite").build();
    invite(&fake, server.name(), &room, &event, json!(shown(&room))).await.expect_ok();
    room.add(&event);
    let mut syncer = alice.syncer().await;
    assert!(syncer.initial["rooms"]["invite"].get(room.id()).is_some());

    let unrelated = room.member(&bob, &alice.id, "leave").auth(&[]).build();
    fake.send_pdus(server.name(), &[&unrelated]).await;
    let taken_back = room.member(&bob, &alice.id, "leave").build();
    fake.send_pdus(server.name(), &[&taken_back]).await;

    let entry = syncer.until_room("leave", room.id()).await;
    assert_eq!(entry["timeline"]["events"][0]["event_id"], json!(taken_back.id));
}

/// A user of another server is invited: their server signs it, and it goes into the room.
/// spec: server-server-api/#inviting-to-a-room
/// covers: POST /_matrix/client/v3/rooms/{roomId}/invite
/// covers: POST /_matrix/client/v3/createRoom
#[tokio::test]
async fn users_of_other_servers_are_invited() {
    let (_server, fake, alice) = ground().await;
    let (bob, carol) = (fake.user("bob"), fake.user("carol"));
    let room_id = alice.create_room(json!({"preset": "private_chat", "invite": [carol]})).await;

    alice.membership(&room_id, "invite", &bob).await.expect_ok();

    for user in [&bob, &carol] {
        alice.get_state(&room_id, "m.room.member", user).await.expect_ok().has("membership", "invite");
    }
    let asked = fake.received("invite");
    assert_eq!(asked.len(), 2);
    for request in asked {
        let shown = request.body["invite_room_state"].as_array().cloned().unwrap_or_default();
        let create = shown.iter().find(|event| event["type"] == "m.room.create").expect("a create event");
        assert!(create["signatures"].is_object(), "whole events are sent: {create}");
    }
    assert_eq!(fake.faults(), Vec::<String>::new());
}

/// A server that knows only the old way of inviting is asked in that, for the rooms that were there then.
/// spec: server-server-api/#put_matrixfederationv2inviteroomideventid
/// covers: POST /_matrix/client/v3/rooms/{roomId}/invite
#[tokio::test]
async fn old_servers_are_invited_in_the_old_way() {
    let (_server, fake, alice) = ground().await;
    let old = |status: u16| {
        move |request: &sytest_like::fake::Received| {
            let refusal = sytest_like::fake::Reply::error(status, "M_UNRECOGNIZED");
            (request.edition() == "v2").then_some(refusal)
        }
    };
    for (version, status) in [("1", 400), ("2", 404)] {
        fake.answer("invite", old(status));
        let room_id = alice.create_room(json!({"preset": "private_chat", "room_version": version})).await;
        let bob = fake.user("bob");

        alice.membership(&room_id, "invite", &bob).await.expect_ok();

        alice.get_state(&room_id, "m.room.member", &bob).await.expect_ok().has("membership", "invite");
        let asked = fake.wait_for_request("invite", |request| request.edition() == "v1").await;
        let shown = asked.body["unsigned"]["invite_room_state"].as_array().cloned().unwrap_or_default();
        assert!(shown.iter().any(|event| event["type"] == "m.room.create"), "{shown:?}");
        fake.forget();
    }
    let room_id = alice.create_room(json!({"preset": "private_chat", "room_version": "10"})).await;
    alice.membership(&room_id, "invite", &fake.user("bob")).await.expect_refused();
    assert!(fake.received("invite").iter().all(|request| request.edition() == "v2"));
    assert_eq!(fake.faults(), Vec::<String>::new());
}

/// What the other server says against an invite is told to the inviter, and nothing happens in the room.
/// spec: server-server-api/#inviting-to-a-room
/// covers: POST /_matrix/client/v3/rooms/{roomId}/invite
#[tokio::test]
async fn refused_invites_do_not_happen() {
    let (_server, fake, alice) = ground().await;
    let bob = fake.user("bob");
    let room_id = alice.create_room(json!({"preset": "private_chat"})).await;

    fake.always("invite", sytest_like::fake::Reply::error(403, "M_INVITE_BLOCKED"));
    alice.membership(&room_id, "invite", &bob).await.expect_err(403, "M_INVITE_BLOCKED");
    fake.answer("invite", |request| {
        Some(sytest_like::fake::Reply::json(json!({"event": request.body["event"]})))
    });
    alice.membership(&room_id, "invite", &bob).await.expect_err(502, "M_UNKNOWN");
    fake.go_down();
    alice.membership(&room_id, "invite", &bob).await.expect_err(502, "M_UNKNOWN");

    alice.get_state(&room_id, "m.room.member", &bob).await.expect_err(404, "M_NOT_FOUND");
}
