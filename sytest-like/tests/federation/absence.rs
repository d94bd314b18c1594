//! Servers that are away for a while, killed, or cut off, and come back to one room.

use std::time::{Duration, Instant};

use super::ground::{hears, ids_of, read_back};
use super::scenes::{World, agree, join_via, until_membership};
use sytest_like::{Network, Pair, Server, User, json};

/// Servers that could not reach each other for a while are slow to try again.
const READABLE_WITHIN: Duration = Duration::from_secs(150);

/// Everybody says something and hears what all others said; then nothing is missing on the way any more.
pub(crate) async fn all_hear_all(users: &[&User], room: &str) {
    let mut said = Vec::new();
    for user in users {
        said.push(user.send_text(room, &format!("roll call of {}", user.id)).await);
    }
    for user in users {
        for id in &said {
            until_readable(user, room, id).await;
        }
    }
}

/// Waits until a user can read an event, wherever it stands in the room.
pub(super) async fn until_readable(user: &User, room: &str, event_id: &str) {
    let mut syncer = user.syncer().await;
    let deadline = Instant::now() + READABLE_WITHIN;
    loop {
        let answer = user.get_event(room, event_id).await;
        if answer.status == 200 {
            return;
        }
        assert!(Instant::now() < deadline, "{}: {event_id} does not come: {answer}", user.id);
        syncer.next(1000).await;
    }
}

/// The far server is stopped while much is said, and catches up when it is back.
pub(crate) async fn catching_up(world: &World) {
    world.near.expect_log("");
    world.far.expect_log("");
    let room = world.public_room().await;
    world.far.stop().await;
    for number in 0..30 {
        world.alice.send_text(&room, &format!("missed {number}")).await;
    }
    let topic = json!({"topic": "changed meanwhile"});
    world.alice.set_state(&room, "m.room.topic", "", topic).await;

    world.far.start_again().await;

    all_hear_all(&[&world.bob, &world.alice], &room).await;
    agree(&[&world.alice, &world.bob], &room).await;
    let read = read_back(&world.bob, &room).await;
    let missing: Vec<usize> = (0..30).filter(|n| !read.contains(&format!("missed {n}"))).collect();
    assert!(missing.is_empty(), "{missing:?}: {read:?}");
}

/// A server that was away catches up with what was said and changed.
/// spec: server-server-api/#transactions
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn server_catches_up_after_an_outage() {
    catching_up(&World::on(Pair::start().await).await).await;
}

/// A server that is killed in the middle of a conversation loses nothing of it.
/// spec: server-server-api/#transactions
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn killed_server_loses_nothing_that_others_said() {
    let world = World::on(Pair::start().await).await;
    world.near.expect_log("");
    world.far.expect_log("");
    let room = world.public_room().await;
    let mut sent = Vec::new();
    for round in 0..4 {
        for number in 0..5 {
            sent.push(world.alice.send_text(&room, &format!("{round}-{number}")).await);
        }
        world.far.kill9();
        sent.push(world.alice.send_text(&room, &format!("into the void {round}")).await);
        world.far.start_again().await;
    }

    all_hear_all(&[&world.bob, &world.alice], &room).await;

    for id in &sent {
        world.bob.get_event(&room, id).await.expect_ok();
    }
    agree(&[&world.alice, &world.bob], &room).await;
}

/// What a server had acknowledged to its client reaches the others, though it is killed at once.
/// spec: server-server-api/#transactions
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn acknowledged_messages_leave_a_killed_server() {
    let world = World::on(Pair::start().await).await;
    world.near.expect_log("");
    world.far.expect_log("");
    let room = world.public_room().await;
    let mut sent = Vec::new();
    for number in 0..10 {
        sent.push(world.alice.send_text(&room, &format!("last words {number}")).await);
    }
    world.near.kill9();
    world.near.start_again().await;

    let heard = ids_of(&hears(&world.bob, &room, &sent[9]).await);

    let ours: Vec<String> = heard.into_iter().filter(|id| sent.contains(id)).collect();
    assert_eq!(ours, sent);
}

/// A server that joined others' rooms is in them after a restart, and is told what is said.
/// spec: server-server-api/#transactions
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn restarted_servers_go_on() {
    let world = World::on(Pair::start().await).await;
    world.near.expect_log("");
    world.far.expect_log("");
    let room = world.public_room().await;
    world.far.restart().await;
    world.near.restart().await;
    all_hear_all(&[&world.alice, &world.bob], &room).await;
    agree(&[&world.alice, &world.bob], &room).await;
}

/// Three servers, a user each, in one room of the first, with a network between them that can be cut.
pub(crate) struct Three {
    pub(crate) network: Network,
    pub(crate) servers: Vec<Server>,
    pub(crate) users: Vec<User>,
    pub(crate) room: String,
}

impl Three {
    pub(crate) async fn start() -> Self {
        Self::with_power(100).await
    }

    /// The users of the second and third server have this much power.
    pub(crate) async fn with_power(level: i64) -> Self {
        let network = Network::new();
        let start = || Server::federated().in_network(&network).start();
        let (one, two, three) = tokio::join!(start(), start(), start());
        let servers = vec![one, two, three];
        let mut users = Vec::new();
        for (server, name) in servers.iter().zip(["alice", "bob", "carol"]) {
            server.expect_log("");
            users.push(server.register(name).await);
        }
        let levels = json!({"users": {&users[1].id: level, &users[2].id: level}});
        let body = json!({"preset": "public_chat", "power_level_content_override": levels});
        let room = users[0].create_room(body).await;
        for user in &users[1..] {
            join_via(user, &room, &servers[0]).await.expect_ok();
        }
        for user in &users {
            for member in &users {
                until_membership(user, &room, &member.id, "join").await;
            }
        }
        Self { network, servers, users, room }
    }

    /// Cuts one server off from the other two.
    pub(crate) fn cut_off(&self, index: usize) {
        let alone = self.servers[index].name();
        for (other, server) in self.servers.iter().enumerate() {
            if other != index {
                self.network.part(alone, server.name());
            }
        }
    }

    /// After a cut: all hear all, and have the same state.
    pub(crate) async fn come_together(&self) {
        self.network.heal();
        let users: Vec<&User> = self.users.iter().collect();
        all_hear_all(&users, &self.room).await;
        agree(&users, &self.room).await;
    }
}

/// What is said on either side of a cut is read on both sides after it.
/// spec: server-server-api/#room-state-resolution
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn messages_of_both_sides_of_a_cut_come_together() {
    let three = Three::start().await;
    three.cut_off(2);
    for number in 0..15 {
        for user in &three.users {
            user.send_text(&three.room, &format!("{number} of {}", user.id)).await;
        }
    }

    three.come_together().await;

    for reader in &three.users {
        let read = read_back(reader, &three.room).await;
        for writer in &three.users {
            for number in 0..15 {
                let body = format!("{number} of {}", writer.id);
                assert!(read.contains(&body), "{} misses {body:?}", reader.id);
            }
        }
    }
}

/// A name that is changed on both sides of a cut is one name after it.
/// spec: server-server-api/#room-state-resolution
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn state_of_both_sides_of_a_cut_becomes_one() {
    let three = Three::start().await;
    three.cut_off(2);
    for user in &three.users {
        let name = json!({"name": format!("chosen by {}", user.id)});
        user.set_state(&three.room, "m.room.name", "", name).await;
        user.set_state(&three.room, "org.example.own", &user.id, json!({"mine": true})).await;
    }

    three.come_together().await;

    for user in &three.users {
        let own = three.users[0].get_state(&three.room, "org.example.own", &user.id).await;
        own.expect_ok();
    }
}

/// Who lost the power on one side of a cut changes nothing on the other side that lasts.
/// spec: rooms/v12/#state-resolution
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn lost_power_wins_over_what_was_done_with_it() {
    let three = Three::with_power(50).await;
    three.cut_off(2);
    let mut levels = three.users[0].get_state(&three.room, "m.room.power_levels", "").await.expect_ok().json;
    levels["users"][&three.users[2].id] = json!(0);
    three.users[0].set_state(&three.room, "m.room.power_levels", "", levels).await;
    three.users[2].set_state(&three.room, "m.room.name", "", json!({"name": "Carol was here"})).await;

    three.come_together().await;

    for user in &three.users {
        user.get_state(&three.room, "m.room.name", "").await.expect_err(404, "M_NOT_FOUND");
    }
}

/// Two admins who demote each other on two sides of a cut: all servers come to the same end.
/// spec: rooms/v12/#state-resolution
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn conflicting_power_levels_become_one() {
    let three = Three::with_power(100).await;
    three.cut_off(2);
    for (actor, target) in [(1, 2), (2, 1)] {
        let actor = &three.users[actor];
        let mut levels = actor.get_state(&three.room, "m.room.power_levels", "").await.expect_ok().json;
        levels["events"]["org.example.by"] = json!(10 * target);
        levels["ban"] = json!(30 + target);
        actor.set_state(&three.room, "m.room.power_levels", "", levels).await;
        actor.set_state(&three.room, "m.room.topic", "", json!({"topic": actor.id})).await;
    }
    three.come_together().await;
}

/// Who is banned on one side of a cut is banned after it, whatever they did on the other side.
/// spec: rooms/v12/#state-resolution
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn ban_across_a_cut_holds() {
    let three = Three::with_power(50).await;
    three.cut_off(2);
    let (alice, carol) = (&three.users[0], &three.users[2]);
    alice.membership(&three.room, "ban", &carol.id).await.expect_ok();
    carol.set_state(&three.room, "m.room.name", "", json!({"name": "still mine"})).await;
    carol.send_text(&three.room, "can you hear me?").await;
    let mut syncer = carol.syncer().await;

    three.network.heal();
    let users = [alice, &three.users[1]];
    let after = alice.send_text(&three.room, "after the cut").await;
    hears(&three.users[1], &three.room, &after).await;
    syncer.until_room("leave", &three.room).await;

    agree(&users, &three.room).await;
    for user in users {
        user.get_state(&three.room, "m.room.name", "").await.expect_err(404, "M_NOT_FOUND");
        let member = user.get_state(&three.room, "m.room.member", &carol.id).await;
        assert_eq!(member.str("membership"), "ban");
    }
}

/// A server that hears nothing of another's messages from itself gets them from a third when it asks.
/// spec: server-server-api/#backfilling-and-retrieving-missing-events
/// covers: POST /_matrix/federation/v1/get_missing_events/{roomId}
#[tokio::test]
async fn third_server_fills_the_gap() {
    let three = Three::start().await;
    three.network.part(three.servers[0].name(), three.servers[2].name());
    let said = three.users[0].send_text(&three.room, "for all of you").await;
    hears(&three.users[1], &three.room, &said).await;

    let answer = three.users[1].send_text(&three.room, "I heard").await;

    let heard = ids_of(&hears(&three.users[2], &three.room, &answer).await);
    assert!(heard.contains(&said), "{heard:?}");
}

/// Two who join through different servers at once are both in the room on all servers.
/// spec: server-server-api/#joining-rooms
/// covers: PUT /_matrix/federation/v2/send_join/{roomId}/{eventId}
#[tokio::test]
async fn concurrent_joins_are_all_there() {
    let three = Three::start().await;
    let mut joins = tokio::task::JoinSet::new();
    for (index, server) in three.servers.iter().enumerate().skip(1) {
        for number in 0..3 {
            let user = server.register(&format!("guest{index}{number}")).await;
            let (room, via) = (three.room.clone(), three.servers[(index + number) % 3].clone());
            joins.spawn(async move {
                join_via(&user, &room, &via).await.expect_ok();
                user.id.clone()
            });
        }
    }
    let joined = joins.join_all().await;

    for reader in &three.users {
        for member in &joined {
            until_membership(reader, &three.room, member, "join").await;
        }
    }
    three.come_together().await;
}

/// All leave but one server; it goes on alone, and who comes back finds everything.
/// spec: server-server-api/#joining-rooms
/// covers: PUT /_matrix/federation/v2/send_join/{roomId}/{eventId}
#[tokio::test]
async fn last_server_keeps_the_room() {
    let three = Three::start().await;
    let [alice, bob, carol] = &three.users[..] else { panic!("there are three") };
    alice.leave(&three.room).await;
    until_membership(carol, &three.room, &alice.id, "leave").await;
    bob.leave(&three.room).await;
    until_membership(carol, &three.room, &bob.id, "leave").await;
    carol.send_text(&three.room, "alone at last").await;

    join_via(alice, &three.room, &three.servers[2]).await.expect_ok();

    until_membership(carol, &three.room, &alice.id, "join").await;
    let read = read_back(alice, &three.room).await;
    assert!(read.contains(&"alone at last".to_owned()), "{read:?}");
    all_hear_all(&[alice, carol], &three.room).await;
    agree(&[alice, carol], &three.room).await;
}
