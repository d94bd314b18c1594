//! What two servers do together, whichever they are. The cases choose the servers.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::ground::{hears, ids_of, read_back};
use sytest_like::{Pair, Response, Server, User, Value, json, path, unique};

/// How long the servers may take to agree.
const AGREED_WITHIN: Duration = Duration::from_mins(1);

/// Two servers with a user each.
pub(crate) struct World {
    pub(crate) near: Server,
    pub(crate) far: Server,
    /// On `near`.
    pub(crate) alice: User,
    /// On `far`.
    pub(crate) bob: User,
}

impl World {
    /// New users on these servers.
    pub(crate) async fn on(pair: Pair) -> Self {
        let Pair { near, far } = pair;
        let (alice, bob) = tokio::join!(near.register("alice"), far.register("bob"));
        Self { near, far, alice, bob }
    }

    /// A room of Alice that Bob has joined, and whose join she has heard of.
    pub(crate) async fn room(&self, body: Value) -> String {
        let room = self.alice.create_room(body).await;
        join_via(&self.bob, &room, &self.near).await.expect_ok();
        until_membership(&self.alice, &room, &self.bob.id, "join").await;
        room
    }

    /// A public room that both are in.
    pub(crate) async fn public_room(&self) -> String {
        self.room(json!({"preset": "public_chat"})).await
    }
}

/// Joins through a server.
pub(crate) async fn join_via(user: &User, room: &str, server: &Server) -> Response {
    let request = user.post(&path!("/v3/join/{}", room), json!({}));
    request.query("server_name", server.name()).query("via", server.name()).await
}

/// Follows the stream of a user until the state has what the case looks for.
pub(crate) async fn until_state(
    user: &User,
    room: &str,
    slot: (&str, &str),
    what: &str,
    is_right: impl Fn(&Value) -> bool,
) {
    let mut syncer = user.syncer().await;
    let deadline = Instant::now() + AGREED_WITHIN;
    loop {
        let state = user.get_state(room, slot.0, slot.1).await;
        if state.status == 200 && is_right(&state.json) {
            return;
        }
        assert!(Instant::now() < deadline, "{}: {what}: {state}", user.id);
        syncer.next(1000).await;
    }
}

pub(crate) async fn until_membership(user: &User, room: &str, member: &str, membership: &str) {
    let slot = ("m.room.member", member);
    until_state(user, room, slot, membership, |content| content["membership"] == membership).await;
}

/// The current state of a room as a user's server has it: event ids by type and state key.
pub(crate) async fn state_of(user: &User, room: &str) -> BTreeMap<(String, String), String> {
    let answer = user.get(&path!("/v3/rooms/{}/state", room)).await.expect_ok();
    let text = |event: &Value, key: &str| event[key].as_str().unwrap_or_default().to_owned();
    let events = answer.json.as_array().expect("the state is a list");
    events
        .iter()
        .map(|event| ((text(event, "type"), text(event, "state_key")), text(event, "event_id")))
        .collect()
}

/// Waits until all of them see the same state of the room.
pub(crate) async fn agree(users: &[&User], room: &str) {
    let deadline = Instant::now() + AGREED_WITHIN;
    let mut syncer = users[0].syncer().await;
    loop {
        let mut states = Vec::new();
        for user in users {
            states.push(state_of(user, room).await);
        }
        if states.windows(2).all(|two| two[0] == two[1]) {
            return;
        }
        if Instant::now() >= deadline {
            for (user, state) in users.iter().zip(&states).skip(1) {
                let (first, other): (Vec<_>, Vec<_>) = (
                    states[0].iter().filter(|entry| state.get(entry.0) != Some(entry.1)).collect(),
                    state.iter().filter(|entry| states[0].get(entry.0) != Some(entry.1)).collect(),
                );
                assert!(
                    first.is_empty() && other.is_empty(),
                    "{} has {first:?}, {} has {other:?}",
                    users[0].id,
                    user.id
                );
            }
        }
        syncer.next(500).await;
    }
}

/// Messages of both sides reach the other, in the order in which they were said.
pub(crate) async fn messages_both_ways(world: &World) {
    let room = world.public_room().await;
    let (mut hers, mut his) = (Vec::new(), Vec::new());
    for number in 0..5 {
        hers.push(world.alice.send_text(&room, &format!("hers {number}")).await);
        his.push(world.bob.send_text(&room, &format!("his {number}")).await);
    }

    let at_far = ids_of(&hears(&world.bob, &room, &hers[4]).await);
    let at_near = ids_of(&hears(&world.alice, &room, &his[4]).await);

    let from = |heard: &[String], sent: &[String]| -> Vec<String> {
        heard.iter().filter(|id| sent.contains(id)).cloned().collect()
    };
    assert_eq!(from(&at_far, &hers), hers);
    assert_eq!(from(&at_near, &his), his);
}

/// An invite reaches the other server with the room's name, is accepted, and both talk.
pub(crate) async fn invite_is_accepted(world: &World) {
    let room = world.alice.create_room(json!({"preset": "private_chat", "name": "Quiet corner"})).await;
    let mut syncer = world.bob.syncer().await;
    world.alice.invite(&room, &world.bob).await;

    let invite = syncer.until_room("invite", &room).await;

    let events = invite["invite_state"]["events"].as_array().expect("there is stripped state");
    assert!(events.iter().any(|event| event["content"]["name"] == "Quiet corner"), "{invite}");
    world.bob.join(&room).await;
    until_membership(&world.alice, &room, &world.bob.id, "join").await;
    let said = world.bob.send_text(&room, "thank you").await;
    hears(&world.alice, &room, &said).await;
}

/// An invite is turned down, and the other side hears of it.
pub(crate) async fn invite_is_declined(world: &World) {
    let room = world.alice.create_room(json!({"preset": "private_chat"})).await;
    let mut syncer = world.bob.syncer().await;
    world.alice.invite(&room, &world.bob).await;
    syncer.until_room("invite", &room).await;

    world.bob.leave(&room).await;

    until_membership(&world.alice, &room, &world.bob.id, "leave").await;
    syncer.until_room("leave", &room).await;
}

/// An invite that is taken back is gone on the other side.
pub(crate) async fn invite_is_taken_back(world: &World) {
    let room = world.alice.create_room(json!({"preset": "private_chat"})).await;
    let mut syncer = world.bob.syncer().await;
    world.alice.invite(&room, &world.bob).await;
    syncer.until_room("invite", &room).await;

    world.alice.membership(&room, "kick", &world.bob.id).await.expect_ok();

    syncer.until_room("leave", &room).await;
    join_via(&world.bob, &room, &world.near).await.expect_err(403, "M_FORBIDDEN");
}

/// Who leaves is gone on the other side, and hears nothing more.
pub(crate) async fn leaving(world: &World) {
    let room = world.public_room().await;
    world.bob.leave(&room).await;
    until_membership(&world.alice, &room, &world.bob.id, "leave").await;
    let unheard = world.alice.send_text(&room, "gone?").await;
    world.bob.get_event(&room, &unheard).await.expect_refused();
}

/// Who comes back finds what was said meanwhile.
pub(crate) async fn coming_back(world: &World) {
    let room = world.public_room().await;
    world.bob.leave(&room).await;
    until_membership(&world.alice, &room, &world.bob.id, "leave").await;
    for number in 0..5 {
        world.alice.send_text(&room, &format!("while you were away {number}")).await;
    }
    let topic = json!({"topic": "changed meanwhile"});
    world.alice.set_state(&room, "m.room.topic", "", topic).await;

    join_via(&world.bob, &room, &world.near).await.expect_ok();

    agree(&[&world.alice, &world.bob], &room).await;
    let read = read_back(&world.bob, &room).await;
    for number in 0..5 {
        assert!(read.contains(&format!("while you were away {number}")), "{number}: {read:?}");
    }
}

/// What was said before the join is read by going back.
pub(crate) async fn history_is_read_back(world: &World) {
    let room = world.alice.create_public_room().await;
    for number in 0..30 {
        world.alice.send_text(&room, &format!("old {number}")).await;
    }
    join_via(&world.bob, &room, &world.near).await.expect_ok();

    let read = read_back(&world.bob, &room).await;

    let expected: Vec<String> = (0..30).rev().map(|number| format!("old {number}")).collect();
    let found: Vec<String> = read.into_iter().filter(|body| body.starts_with("old ")).collect();
    assert_eq!(found, expected);
}

/// Kicked, banned, and let in again.
pub(crate) async fn kick_and_ban(world: &World) {
    let room = world.public_room().await;
    let mut syncer = world.bob.syncer().await;
    world.alice.membership(&room, "kick", &world.bob.id).await.expect_ok();
    syncer.until_room("leave", &room).await;
    join_via(&world.bob, &room, &world.near).await.expect_ok();
    until_membership(&world.alice, &room, &world.bob.id, "join").await;

    world.alice.membership(&room, "ban", &world.bob.id).await.expect_ok();

    syncer.until_room("leave", &room).await;
    join_via(&world.bob, &room, &world.near).await.expect_err(403, "M_FORBIDDEN");
    world.alice.membership(&room, "unban", &world.bob.id).await.expect_ok();
    join_via(&world.bob, &room, &world.near).await.expect_ok();
    until_membership(&world.alice, &room, &world.bob.id, "join").await;
}

/// Somebody knocks from the other server, and is let in.
pub(crate) async fn knock_is_answered(world: &World) {
    let rules = json!([{"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}]);
    let room = world.alice.create_room(json!({"preset": "private_chat", "initial_state": rules})).await;
    let mut syncer = world.bob.syncer().await;
    let knock = world.bob.post(&path!("/v3/knock/{}", room), json!({"reason": "please"}));
    knock.query("server_name", world.near.name()).query("via", world.near.name()).await.expect_ok();
    syncer.until_room("knock", &room).await;
    until_membership(&world.alice, &room, &world.bob.id, "knock").await;

    world.alice.invite(&room, &world.bob).await;

    syncer.until_room("invite", &room).await;
    world.bob.join(&room).await;
    until_membership(&world.alice, &room, &world.bob.id, "join").await;
}

/// A knock that is taken back is gone on the other side.
pub(crate) async fn knock_is_taken_back(world: &World) {
    let rules = json!([{"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}]);
    let room = world.alice.create_room(json!({"preset": "private_chat", "initial_state": rules})).await;
    let knock = world.bob.post(&path!("/v3/knock/{}", room), json!({}));
    knock.query("server_name", world.near.name()).query("via", world.near.name()).await.expect_ok();
    until_membership(&world.alice, &room, &world.bob.id, "knock").await;

    world.bob.leave(&room).await;

    until_membership(&world.alice, &room, &world.bob.id, "leave").await;
}

/// A room for the members of another one: they come in from elsewhere, and nobody else does.
pub(crate) async fn restricted_join(world: &World) {
    let club = world.public_room().await;
    let allow = json!([{"type": "m.room_membership", "room_id": club}]);
    let content = json!({"join_rule": "restricted", "allow": allow});
    let rules = json!([{"type": "m.room.join_rules", "state_key": "", "content": content}]);
    let room = world.alice.create_room(json!({"preset": "private_chat", "initial_state": rules})).await;
    let carol = world.far.register("carol").await;
    join_via(&carol, &room, &world.near).await.expect_err(403, "M_FORBIDDEN");

    join_via(&world.bob, &room, &world.near).await.expect_ok();

    until_membership(&world.alice, &room, &world.bob.id, "join").await;
    let said = world.bob.send_text(&room, "members only").await;
    hears(&world.alice, &room, &said).await;
}

/// The name is changed here, power is given away, and used there.
pub(crate) async fn power_is_given_away(world: &World) {
    let room = world.public_room().await;
    let name = json!({"name": "not allowed"});
    let path = path!("/v3/rooms/{}/state/m.room.name/", room);
    world.bob.put(&path, name).await.expect_err(403, "M_FORBIDDEN");
    let mut levels = world.alice.get_state(&room, "m.room.power_levels", "").await.expect_ok().json;
    levels["users"][&world.bob.id] = json!(50);
    world.alice.set_state(&room, "m.room.power_levels", "", levels).await;
    let slot = ("m.room.power_levels", "");
    until_state(&world.bob, &room, slot, "power", |content| content["users"][&world.bob.id] == 50).await;

    world.bob.set_state(&room, "m.room.name", "", json!({"name": "Bob's choice"})).await;

    let slot = ("m.room.name", "");
    until_state(&world.alice, &room, slot, "the name", |content| content["name"] == "Bob's choice").await;
    agree(&[&world.alice, &world.bob], &room).await;
}

/// A redaction takes the content away on both sides.
pub(crate) async fn redaction(world: &World) {
    let room = world.public_room().await;
    let said = world.bob.send_text(&room, "regretted").await;
    hears(&world.alice, &room, &said).await;

    let path = path!("/v3/rooms/{}/redact/{}/{}", room, said, unique("txn"));
    let redaction = world.alice.put(&path, json!({"reason": "no"})).await.expect_ok();

    hears(&world.bob, &room, redaction.str("event_id")).await;
    let seen = world.bob.get_event(&room, &said).await.expect_ok();
    assert_eq!(seen["content"], json!({}), "{seen}");
}

/// A thread that is begun here and continued there is one thread on both sides.
pub(crate) async fn threads(world: &World) {
    let room = world.public_room().await;
    let root = world.alice.send_text(&room, "root").await;
    hears(&world.bob, &room, &root).await;
    let relation = json!({"rel_type": "m.thread", "event_id": root});
    let content = json!({"msgtype": "m.text", "body": "reply", "m.relates_to": relation});
    let reply = world.bob.send(&room, "m.room.message", content.clone()).await;
    hears(&world.alice, &room, &reply).await;
    let second = world.alice.send(&room, "m.room.message", content).await;
    hears(&world.bob, &room, &second).await;

    for user in [&world.alice, &world.bob] {
        let path = path!("/v1/rooms/{}/relations/{}/m.thread", room, root);
        let chunk = user.get(&path).await.expect_ok().column("/chunk", "event_id");
        assert_eq!(chunk, [second.clone(), reply.clone()], "{}", user.id);
    }
}

/// An upgraded room is followed to its successor.
pub(crate) async fn upgrade(world: &World) {
    let room = world.room(json!({"preset": "public_chat", "room_version": "10"})).await;

    let path = path!("/v3/rooms/{}/upgrade", room);
    let answer = world.alice.post(&path, json!({"new_version": "11"})).await.expect_ok();
    let successor = answer.str("replacement_room");

    let slot = ("m.room.tombstone", "");
    let leads = |content: &Value| content["replacement_room"] == successor;
    until_state(&world.bob, &room, slot, "the tombstone", leads).await;
    join_via(&world.bob, successor, &world.near).await.expect_ok();
    until_membership(&world.alice, successor, &world.bob.id, "join").await;
    let create = world.bob.get_state(successor, "m.room.create", "").await.expect_ok();
    assert_eq!(create["predecessor"]["room_id"], room.as_str(), "{create}");
}

/// A room is found by its alias and joined through the server that has it.
pub(crate) async fn aliases(world: &World) {
    let alias = unique("alias").to_lowercase();
    let body = json!({"preset": "public_chat", "room_alias_name": alias});
    let room = world.alice.create_room(body).await;
    let full = format!("#{alias}:{}", world.near.name());

    let found = world.bob.get(&path!("/v3/directory/room/{}", full)).await.expect_ok();

    assert_eq!(found["room_id"], room.as_str(), "{found}");
    assert!(found.array("servers").iter().any(|server| server == world.near.name()), "{found}");
    assert_eq!(world.bob.join(&full).await, room);
    let missing = format!("#nothing-{alias}:{}", world.near.name());
    let absent = world.bob.get(&path!("/v3/directory/room/{}", missing)).await;
    absent.expect_err(404, "M_NOT_FOUND");
}

/// Waits until the directory has a room: Synapse puts rooms there a little later.
async fn until_listed(user: &User, room: &str) {
    let mut syncer = user.syncer().await;
    let deadline = Instant::now() + AGREED_WITHIN;
    loop {
        let list = user.get("/v3/publicRooms").await.expect_ok();
        if list.column("/chunk", "room_id").iter().any(|id| id == room) {
            return;
        }
        assert!(Instant::now() < deadline, "{room} is not listed: {list}");
        syncer.next(500).await;
    }
}

/// The directory of the other server is read, and searched.
pub(crate) async fn public_rooms(world: &World) {
    let name = unique("Listed");
    let body = json!({"preset": "public_chat", "visibility": "public", "name": name});
    let room = world.alice.create_room(body).await;
    until_listed(&world.alice, &room).await;

    let list = world.bob.get("/v3/publicRooms").query("server", world.near.name()).await.expect_ok();
    let filter = json!({"filter": {"generic_search_term": name}, "limit": 5});
    let search =
        world.bob.post("/v3/publicRooms", filter).query("server", world.near.name()).await.expect_ok();

    assert!(list.column("/chunk", "room_id").contains(&room), "{list}");
    assert_eq!(search.column("/chunk", "room_id"), [room], "{search}");
}

/// Names and avatars are asked for over there.
pub(crate) async fn profiles(world: &World) {
    let path = path!("/v3/profile/{}/displayname", world.alice.id);
    world.alice.put(&path, json!({"displayname": "Alice L."})).await.expect_ok();

    let profile = world.bob.get(&path!("/v3/profile/{}", world.alice.id)).await.expect_ok();

    assert_eq!(profile["displayname"], "Alice L.", "{profile}");
    let nobody = format!("@nobody-at-all:{}", world.near.name());
    world.bob.get(&path!("/v3/profile/{}", nobody)).await.expect_err(404, "M_NOT_FOUND");
}

/// A space with rooms of both servers shows them all.
pub(crate) async fn spaces(world: &World) {
    let content = json!({"type": "m.space"});
    let space = world.alice.create_room(json!({"preset": "public_chat", "creation_content": content})).await;
    let child = world.alice.create_room(json!({"preset": "public_chat", "name": "Child"})).await;
    let via = json!({"via": [world.near.name()]});
    world.alice.set_state(&space, "m.space.child", &child, via).await;
    join_via(&world.bob, &space, &world.near).await.expect_ok();

    let tree = world.bob.get(&path!("/v1/rooms/{}/hierarchy", space)).await.expect_ok();

    assert_eq!(tree.column("/rooms", "room_id"), [space, child], "{tree}");
}
