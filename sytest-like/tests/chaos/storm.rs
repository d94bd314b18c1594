//! The storm: rounds of work and of trouble.

use std::time::Duration;

use super::dice::Dice;
use crate::federation::absence::all_hear_all;
use crate::federation::scenes::{agree, join_via, until_membership};
use sytest_like::{Network, Request, Server, User, Value, json, path, unique};
use tokio::task::JoinSet;

const SERVERS: usize = 5;
/// How many minutes their clocks are ahead of the time, or behind.
const CLOCKS: [i32; SERVERS] = [0, 7, -11, 0, 3];
/// In the ordinary run; `KITH_TEST_CHAOS_SEED` asks for another storm.
const SEED: u64 = 20_261_122;
/// In the ordinary run; `KITH_TEST_CHAOS_ROUNDS` asks for more.
const ROUNDS: usize = 12;
/// What everybody does in one round.
const ACTIONS: usize = 6;
/// A request to a server that is killed in the middle of it is given up.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(30);

fn asked_for<T: std::str::FromStr>(variable: &str) -> Option<T> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable} is no whole number: {value}")))
}

struct Storm {
    network: Network,
    servers: Vec<Server>,
    users: Vec<User>,
    room: String,
    dice: Dice,
    /// The ids of events that a server has taken responsibility for.
    acknowledged: Vec<String>,
}

impl Storm {
    async fn start(seed: u64) -> Self {
        let network = Network::new();
        let mut servers = Vec::new();
        let mut users = Vec::new();
        for (number, offset) in CLOCKS.into_iter().enumerate() {
            let options = Server::federated().in_network(&network).clock_offset_minutes(offset);
            let server = options.start().await;
            // Peers that vanish are worth a warning, and are what this is about.
            server.expect_log("");
            users.push(server.register(&format!("user{number}")).await);
            servers.push(server);
        }
        let mut levels = json!({"users": {}});
        for user in &users[1..] {
            levels["users"][&user.id] = json!(100);
        }
        let body = json!({"preset": "public_chat", "power_level_content_override": levels});
        let room = users[0].create_room(body).await;
        for user in &users[1..] {
            join_via(user, &room, &servers[0]).await.expect_ok();
        }
        for member in &users {
            until_membership(&users[0], &room, &member.id, "join").await;
        }
        Self { network, servers, users, room, dice: Dice::new(seed), acknowledged: Vec::new() }
    }

    /// Everybody does several things at once, one after the other for each.
    async fn work(&mut self) {
        let mut everybody = JoinSet::new();
        for user in self.users.clone() {
            let plan: Vec<Request> = (0..ACTIONS).map(|_| self.action(&user)).collect();
            everybody.spawn(async move {
                let mut taken = Vec::new();
                for request in plan {
                    let answer = tokio::time::timeout(GIVEN_UP_AFTER, request.try_send()).await;
                    // Who was killed answers nothing, and promised nothing.
                    let Ok(Ok(answer)) = answer else { continue };
                    if answer.status == 200 {
                        taken.push(answer.str("event_id").to_owned());
                    } else {
                        assert!(answer.status < 500, "{answer}");
                    }
                }
                taken
            });
        }
        self.trouble().await;
        for taken in everybody.join_all().await {
            self.acknowledged.extend(taken);
        }
    }

    /// Something that a user does in the room.
    fn action(&mut self, user: &User) -> Request {
        let number = self.dice.roll(1000);
        let state = |kind: &str, key: &str, content: Value| {
            user.put(&path!("/v3/rooms/{}/state/{}/{}", self.room, kind, key), content)
        };
        match self.dice.roll(10) {
            0 => state("m.room.name", "", json!({"name": format!("name {number}")})),
            1 => state("m.room.topic", "", json!({"topic": format!("topic {number}")})),
            2 => state("org.example.own", &user.id, json!({"number": number})),
            3 => state("org.example.common", "", json!({"number": number})),
            4 => {
                let content = json!({"membership": "join", "displayname": format!("name {number}")});
                state("m.room.member", &user.id, content)
            }
            _ => {
                let path = path!("/v3/rooms/{}/send/m.room.message/{}", self.room, unique("txn"));
                user.put(&path, json!({"msgtype": "m.text", "body": format!("message {number}")}))
            }
        }
    }

    /// Cuts, heals, kills, in the middle of the work.
    async fn trouble(&mut self) {
        match self.dice.roll(4) {
            0 => self.network.heal(),
            1 => {
                let cut = 1 + self.dice.roll(SERVERS - 1);
                let first = self.dice.roll(SERVERS);
                let names: Vec<&str> =
                    (0..SERVERS).map(|index| self.servers[(first + index) % SERVERS].name()).collect();
                self.network.part_groups(&names[..cut], &names[cut..]);
            }
            2 => {
                let hidden = self.dice.roll(SERVERS);
                self.network.hide(self.servers[hidden].name());
            }
            _ => {
                let victim = self.servers[self.dice.roll(SERVERS)].clone();
                victim.kill9();
                victim.start_again().await;
            }
        }
    }

    async fn calm(&self) {
        self.network.heal();
        let users: Vec<&User> = self.users.iter().collect();
        all_hear_all(&users, &self.room).await;
        agree(&users, &self.room).await;
        for user in users {
            let found = events_read_back(user, &self.room).await;
            let missing: Vec<&String> = self.acknowledged.iter().filter(|id| !found.contains(id)).collect();
            assert!(
                missing.is_empty(),
                "{} misses {} of {}: {missing:?}",
                user.id,
                missing.len(),
                self.acknowledged.len()
            );
        }
    }
}

/// The ids of all events of a room as a user reads them going back.
async fn events_read_back(user: &User, room: &str) -> Vec<String> {
    let mut ids = Vec::new();
    let mut from: Option<String> = None;
    loop {
        let mut request =
            user.get(&path!("/v3/rooms/{}/messages", room)).query("dir", "b").query("limit", "100");
        if let Some(from) = &from {
            request = request.query("from", from);
        }
        let page = request.await.expect_ok();
        ids.extend(page.column("/chunk", "event_id"));
        match page.get("end").and_then(Value::as_str) {
            Some(end) if Some(end) != from.as_deref() => from = Some(end.to_owned()),
            _ => return ids,
        }
    }
}

/// Five servers with clocks that differ by minutes, cut from each other and killed at random while everybody talks and changes state, end with one state and all that was said.
/// spec: server-server-api/#room-state-resolution
/// covers: PUT /_matrix/federation/v1/send/{txnId}
/// not on synapse: it takes too long
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_servers_weather_a_storm() {
    let mut storm = Storm::start(asked_for("KITH_TEST_CHAOS_SEED").unwrap_or(SEED)).await;
    for _ in 0..asked_for("KITH_TEST_CHAOS_ROUNDS").unwrap_or(ROUNDS) {
        storm.work().await;
    }
    storm.calm().await;
}
