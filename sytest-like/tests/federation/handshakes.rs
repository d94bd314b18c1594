//! What is checked before users of other servers come into rooms here, and how they go.

use super::ground::{hears, public_room, versions, with_fake};
use sytest_like::{Response, Value, json, path};

/// What a case changes of an event, and what it calls that.
type Change = (&'static str, fn(&mut Value));

/// A user of another server leaves by the handshake, and their going is told; in every room version.
/// spec: server-server-api/#leaving-rooms-rejecting-invites
/// covers: GET /_matrix/federation/v1/make_leave/{roomId}/{userId}
/// covers: PUT /_matrix/federation/v2/send_leave/{roomId}/{eventId}
#[tokio::test]
async fn others_leave_in_every_version() {
    let (server, fake) = with_fake().await;
    let alice = server.register("alice").await;
    for version in versions() {
        let room_id = public_room(&alice, version).await;
        let bob = fake.user("bob");
        fake.join(server.name(), &room_id, &bob).await;

        let (template, made_for) = fake.make(server.name(), "leave", &room_id, &bob).await;
        let leave = fake.seal_template(template, made_for);
        fake.try_submit(server.name(), "leave", &room_id, &leave).await.expect_ok();

        hears(&alice, &room_id, &leave.id).await;
    }
}

/// Knocks are taken where the room wants them, answered with what the room is, and refused elsewhere.
/// spec: server-server-api/#knocking-rooms
/// covers: GET /_matrix/federation/v1/make_knock/{roomId}/{userId}
/// covers: PUT /_matrix/federation/v1/send_knock/{roomId}/{eventId}
#[tokio::test]
async fn others_knock() {
    let (server, fake) = with_fake().await;
    let alice = server.register("alice").await;
    let bob = fake.user("bob");
    let rules = json!([{"type": "m.room.join_rules", "content": {"join_rule": "knock"}}]);
    let room = json!({"preset": "private_chat", "name": "The club", "initial_state": rules});
    let room_id = alice.create_room(room).await;

    let (template, version) = fake.make(server.name(), "knock", &room_id, &bob).await;
    let knock = fake.seal_template(template, version);
    let answer = fake.try_submit(server.name(), "knock", &room_id, &knock).await.expect_ok();

    let types = answer.column("knock_room_state", "type");
    assert!(types.contains(&"m.room.create".to_owned()) && types.contains(&"m.room.name".to_owned()));
    hears(&alice, &room_id, &knock.id).await;
    let closed = alice.create_room(json!({"preset": "private_chat"})).await;
    fake.try_make(server.name(), "knock", &closed, &bob).await.expect_err(403, "M_FORBIDDEN");
}

/// A member of one room joins another by that; who is no member does not, and is told so.
/// spec: server-server-api/#restricted-rooms
/// covers: GET /_matrix/federation/v1/make_join/{roomId}/{userId}
/// covers: PUT /_matrix/federation/v2/send_join/{roomId}/{eventId}
#[tokio::test]
async fn members_of_another_room_join_by_that() {
    let (server, fake) = with_fake().await;
    let alice = server.register("alice").await;
    let (bob, carol) = (fake.user("bob"), fake.user("carol"));
    let lobby = public_room(&alice, "12").await;
    fake.join(server.name(), &lobby, &bob).await;
    let room_id = restricted_room(&alice, &lobby).await;

    let room = fake.join(server.name(), &room_id, &bob).await;

    let join = room.state_event("m.room.member", &bob).expect("the join");
    assert_eq!(join.json["content"]["join_authorised_via_users_server"], json!(alice.id));
    assert!(join.json["signatures"][server.name()].is_object(), "the server vouches for it: {}", join.json);
    fake.try_make(server.name(), "join", &room_id, &carol).await.expect_err(403, "M_FORBIDDEN");
}

/// Where a server is not in the room whose members may join, it cannot tell; where nobody has the power, nobody can let in.
/// spec: server-server-api/#restricted-rooms
/// covers: GET /_matrix/federation/v1/make_join/{roomId}/{userId}
#[tokio::test]
async fn restricted_joins_that_cannot_be_judged() {
    let (server, fake) = with_fake().await;
    let alice = server.register("alice").await;
    let bob = fake.user("bob");
    let unknown = restricted_room(&alice, "!elsewhere:example.org").await;
    let answer = fake.try_make(server.name(), "join", &unknown, &bob).await;
    answer.expect_err(400, "M_UNABLE_TO_AUTHORISE_JOIN");

    let lobby = public_room(&alice, "10").await;
    fake.join(server.name(), &lobby, &bob).await;
    let rules =
        json!({"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": lobby}]});
    let powerless = json!({"room_version": "10", "preset": "private_chat",
        "power_level_content_override": {"invite": 101},
        "initial_state": [{"type": "m.room.join_rules", "content": rules}]});
    let powerless = alice.create_room(powerless).await;
    let answer = fake.try_make(server.name(), "join", &powerless, &bob).await;
    answer.expect_err(400, "M_UNABLE_TO_GRANT_JOIN");
}

/// What a server remembers of a room that it has left is not vouched for: who was in it then may be out of it now.
/// spec: server-server-api/#restricted-rooms
/// covers: GET /_matrix/federation/v1/make_join/{roomId}/{userId}
/// covers: PUT /_matrix/federation/v2/send_join/{roomId}/{eventId}
#[tokio::test]
async fn members_of_rooms_that_were_left_are_not_vouched_for() {
    let (server, fake) = with_fake().await;
    let alice = server.register("alice").await;
    let bob = fake.user("bob");
    let lobby = fake.create_room("12", &bob);
    alice.post(&path!("/v3/join/{}", lobby.id()), json!({})).query("via", fake.name()).await.expect_ok();
    let room_id = restricted_room(&alice, lobby.id()).await;
    let (template, version) = fake.make(server.name(), "join", &room_id, &bob).await;

    alice.post(&path!("/v3/rooms/{}/leave", lobby.id()), json!({})).await.expect_ok();

    let answer = fake.try_make(server.name(), "join", &room_id, &bob).await;
    answer.expect_err(400, "M_UNABLE_TO_AUTHORISE_JOIN");
    let join = fake.seal_template(template, version);
    let answer = fake.try_submit(server.name(), "join", &room_id, &join).await;
    answer.expect_err(400, "M_UNABLE_TO_AUTHORISE_JOIN");
}

/// A join that claims a member here let its sender in, who did not, is refused.
/// spec: server-server-api/#restricted-rooms
/// covers: PUT /_matrix/federation/v2/send_join/{roomId}/{eventId}
#[tokio::test]
async fn nobody_claims_to_have_been_let_in() {
    let (server, fake) = with_fake().await;
    let alice = server.register("alice").await;
    let (bob, carol) = (fake.user("bob"), fake.user("carol"));
    let lobby = public_room(&alice, "12").await;
    fake.join(server.name(), &lobby, &bob).await;
    let room_id = restricted_room(&alice, &lobby).await;
    let (mut template, version) = fake.make(server.name(), "join", &room_id, &bob).await;
    template["sender"] = json!(carol);
    template["state_key"] = json!(carol);
    let join = fake.seal_template(template, version);

    let answer = fake.try_submit(server.name(), "join", &room_id, &join).await;

    answer.expect_err(403, "M_FORBIDDEN");
}

/// A join must be what its path says, of one of the server's own users, signed by it, and unchanged since.
/// spec: server-server-api/#put_matrixfederationv2send_joinroomideventid
/// covers: PUT /_matrix/federation/v2/send_join/{roomId}/{eventId}
#[tokio::test]
async fn joins_are_checked() {
    let (server, fake) = with_fake().await;
    let alice = server.register("alice").await;
    let bob = fake.user("bob");
    let room_id = public_room(&alice, "12").await;
    let other_room = public_room(&alice, "12").await;
    let (template, version) = fake.make(server.name(), "join", &room_id, &bob).await;
    let sealed = |change: &dyn Fn(&mut Value)| {
        let mut template = template.clone();
        change(&mut template);
        fake.seal_template(template, version)
    };
    let submit = async |room_id: &str, id: &str, json: Value| -> Response {
        let path = path!("/_matrix/federation/v2/send_join/{}/{}", room_id, id);
        fake.put(server.name(), &path, json).await
    };
    let good = sealed(&|_| {});

    submit(&other_room, &good.id, good.json.clone()).await.expect_err(400, "M_INVALID_PARAM");
    let wrong_id = "$gR3-ihkbUhrRFDT1OUfVkYR4Ux6Tqz6VrZLA1Q6pZQo";
    submit(&room_id, wrong_id, good.json.clone()).await.expect_err(400, "M_INVALID_PARAM");
    let changes: [Change; 4] = [
        ("another type", |event| event["type"] = json!("m.room.name")),
        ("another membership", |event| event["content"]["membership"] = json!("leave")),
        ("another user", |event| event["state_key"] = json!("@alice:example.org")),
        ("a foreign user", |event| {
            event["sender"] = json!("@eve:example.org");
            event["state_key"] = json!("@eve:example.org");
        }),
    ];
    for (what, change) in changes {
        let event = sealed(&change);
        let answer = submit(&room_id, &event.id, event.json.clone()).await;
        assert_eq!(answer.status, 400, "{what}: {answer}");
        answer.expect_err(400, "M_INVALID_PARAM");
    }
    let mut tampered = good.json.clone();
    tampered["content"]["displayname"] = json!("somebody else");
    submit(&room_id, &good.id, tampered).await.expect_err(400, "M_INVALID_PARAM");
    let mut unsigned = good.json.clone();
    unsigned["signatures"] = json!({});
    submit(&room_id, &good.id, unsigned).await.expect_err(400, "M_INVALID_PARAM");
    submit(&room_id, &good.id, json!({"type": "m.room.member"})).await.expect_err(400, "M_BAD_JSON");

    submit(&room_id, &good.id, good.json.clone()).await.expect_ok();
}

/// A join by the first version of the endpoint has its answer in a list.
/// The release leaves it out; older servers still fall back to it.
/// spec: server-server-api/#put_matrixfederationv2send_joinroomideventid
/// covers: PUT /_matrix/federation/v2/send_join/{roomId}/{eventId}
/// covers: PUT /_matrix/federation/v2/send_leave/{roomId}/{eventId}
#[tokio::test]
async fn first_version_of_the_endpoints() {
    let (server, fake) = with_fake().await;
    let alice = server.register("alice").await;
    let bob = fake.user("bob");
    let room_id = public_room(&alice, "6").await;
    let (template, version) = fake.make(server.name(), "join", &room_id, &bob).await;
    let join = fake.seal_template(template, version);
    let path = path!("/_matrix/federation/v1/send_join/{}/{}", room_id, join.id);

    let joined = fake.put(server.name(), &path, join.json.clone()).await.expect_ok();

    assert_eq!(joined.json[0], 200);
    assert!(joined.json[1]["state"].as_array().is_some_and(|state| !state.is_empty()));
    let (template, version) = fake.make(server.name(), "leave", &room_id, &bob).await;
    let leave = fake.seal_template(template, version);
    let path = path!("/_matrix/federation/v1/send_leave/{}/{}", room_id, leave.id);
    let left = fake.put(server.name(), &path, leave.json.clone()).await.expect_ok();
    assert_eq!(left.json, json!([200, {}]));
}

/// A server that asks for it gets a state without members, and the names of the servers there.
/// spec: server-server-api/#put_matrixfederationv2send_joinroomideventid
/// covers: PUT /_matrix/federation/v2/send_join/{roomId}/{eventId}
#[tokio::test]
async fn members_are_left_out_on_request() {
    let (server, fake) = with_fake().await;
    let alice = server.register("alice").await;
    let invited: Vec<String> = (0..110).map(|number| fake.user(&format!("guest{number}"))).collect();
    let named = json!({"preset": "public_chat", "name": "Named", "invite": invited});
    let room_id = alice.create_room(named).await;
    let (template, version) = fake.make(server.name(), "join", &room_id, &fake.user("bob")).await;
    let join = fake.seal_template(template, version);
    let path = path!("/_matrix/federation/v2/send_join/{}/{}?omit_members=true", room_id, join.id);

    let answer = fake.put(server.name(), &path, join.json.clone()).await.expect_ok();

    assert_eq!(answer["members_omitted"], json!(true));
    assert_eq!(answer["servers_in_room"], json!([server.name()]));
    assert!(!answer.column("state", "type").contains(&"m.room.member".to_owned()));
    assert!(answer.column("auth_chain", "type").contains(&"m.room.member".to_owned()));
}

/// In a small room all members are told: to fetch them later would be more work for both.
/// spec: server-server-api/#put_matrixfederationv2send_joinroomideventid
/// covers: PUT /_matrix/federation/v2/send_join/{roomId}/{eventId}
/// not on synapse: it always leaves them out
#[tokio::test]
async fn few_members_are_told_all_the_same() {
    let (server, fake) = with_fake().await;
    let alice = server.register("alice").await;
    let room_id = alice.create_room(json!({"preset": "public_chat", "name": "Named"})).await;
    let (template, version) = fake.make(server.name(), "join", &room_id, &fake.user("bob")).await;
    let join = fake.seal_template(template, version);
    let path = path!("/_matrix/federation/v2/send_join/{}/{}?omit_members=true", room_id, join.id);

    let answer = fake.put(server.name(), &path, join.json.clone()).await.expect_ok();

    assert_eq!(answer["members_omitted"], json!(false));
    assert!(answer.column("state", "state_key").contains(&alice.id));
}

/// A room that a server here is not in is not found, whatever is asked.
/// spec: server-server-api/#joining-rooms
/// covers: GET /_matrix/federation/v1/make_join/{roomId}/{userId}
/// covers: GET /_matrix/federation/v1/make_leave/{roomId}/{userId}
/// covers: GET /_matrix/federation/v1/make_knock/{roomId}/{userId}
#[tokio::test]
async fn unknown_rooms_are_not_found() {
    let (server, fake) = with_fake().await;
    for what in ["join", "leave", "knock"] {
        let made = fake.try_make(server.name(), what, "!nowhere:example.org", &fake.user("bob")).await;
        made.expect_err(404, "M_NOT_FOUND");
    }
}

async fn restricted_room(owner: &sytest_like::User, allowed: &str) -> String {
    let rules =
        json!({"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": allowed}]});
    let state = json!([{"type": "m.room.join_rules", "content": rules}]);
    owner.create_room(json!({"preset": "private_chat", "initial_state": state})).await
}
