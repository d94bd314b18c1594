//! Many servers in one room.

use futures_util::future::join_all;

use super::absence::all_hear_all;
use super::scenes::{agree, join_via, until_membership};
use sytest_like::fake::FakeRoom;
use sytest_like::{FakeServer, Server, User, json};

/// Four servers of the kind under test and six scripted ones, a user each, change a room at the same time, each going by what it
/// knows: the four come to the same state, and nothing that was said is missing.
/// spec: server-server-api/#room-state-resolution
/// covers: PUT /_matrix/federation/v1/send/{txnId}
#[tokio::test]
async fn ten_servers_come_to_the_same_state() {
    let start = || Server::federated().start();
    let (one, two, three, four) = tokio::join!(start(), start(), start(), start());
    let servers = [one, two, three, four];
    let fakes = join_all((0..6).map(|_| FakeServer::start())).await;
    let users: Vec<User> = join_all(
        servers.iter().zip(["alice", "bob", "carol", "dave"]).map(|(server, name)| server.register(name)),
    )
    .await;
    let everybody: Vec<String> =
        users.iter().map(|user| user.id.clone()).chain(fakes.iter().map(|fake| fake.user("guest"))).collect();
    let mut levels = json!({"users": {}});
    for user in &everybody[1..] {
        levels["users"][user] = json!(50);
    }
    let body = json!({"preset": "public_chat", "power_level_content_override": levels});
    let room = users[0].create_room(body).await;
    for user in &users[1..] {
        join_via(user, &room, &servers[0]).await.expect_ok();
    }
    let mut guests: Vec<(FakeRoom, String)> = Vec::new();
    for fake in &fakes {
        let guest = fake.user("guest");
        guests.push((fake.join(servers[0].name(), &room, &guest).await, guest));
    }
    for user in &users {
        for member in &everybody {
            until_membership(user, &room, member, "join").await;
        }
    }

    for round in 0..3 {
        let ours = users.iter().map(|user| async {
            let topic = json!({"topic": format!("{round} of {}", user.id)});
            user.set_state(&room, "m.room.topic", "", topic).await;
            user.set_state(&room, "org.example.own", &user.id, json!({"round": round})).await;
        });
        let theirs = guests.iter().map(|(room, guest)| async move {
            let name = json!({"name": format!("{round} of {guest}")});
            let event = room.event("m.room.name", guest).state_key("").content(name).build();
            room.add(&event);
            for server in room.other_servers() {
                room.send_to(&server, &event).await;
            }
        });
        tokio::join!(join_all(ours), join_all(theirs));
    }

    let users: Vec<&User> = users.iter().collect();
    all_hear_all(&users, &room).await;
    agree(&users, &room).await;
    for user in &users {
        users[0].get_state(&room, "org.example.own", &user.id).await.expect_ok().has("round", 2);
    }
}
