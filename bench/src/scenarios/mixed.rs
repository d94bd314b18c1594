//! A mixture of what clients do all day.

use anyhow::{Context as _, Result};

use crate::{client::string_field, load::closed_loop, session::Session, world::World};

const ROOMS: usize = 20;
const ROOMS_PER_USER: usize = 5;
const MESSAGES_PER_ROOM: usize = 30;

/// A client with a room in front of it.
struct Client {
    session: Session,
    rooms: Vec<String>,
    last_event: String,
    random: Random,
}

pub(super) async fn run(world: &mut World) -> Result<()> {
    let sessions = world.sessions(world.sizes.mixed_users).await?;
    let mut clients: Vec<_> = sessions
        .into_iter()
        .enumerate()
        .map(|(at, session)| Client {
            session,
            rooms: Vec::new(),
            last_event: String::new(),
            random: Random(at as u64 * 7919 + 1),
        })
        .collect();
    let count = clients.len();
    for number in 0..ROOMS {
        let owner = &mut clients[number % count];
        let room = owner.session.create_public_room(&format!("mixed {number}")).await?;
        owner.rooms.push(room.clone());
        // Members are spread so that each user comes to about five rooms.
        for (_, client) in
            clients.iter_mut().enumerate().filter(|(at, _)| (at + number) % ROOMS < ROOMS_PER_USER)
        {
            if !client.rooms.contains(&room) {
                client.session.join(&room).await?;
                client.rooms.push(room.clone());
            }
        }
    }
    world
        .prepare(&mut clients, ROOMS * MESSAGES_PER_ROOM, async |client, _| client.send(world).await)
        .await?;
    world
        .prepare(&mut clients, count, async |client, _| client.session.first_sync(world.unique()).await)
        .await?;
    let limit = world.limit(world.sizes.mixed_operations);
    let row = world
        .measure("mixed", format!("{count} clients"), async {
            Ok(closed_loop(&mut clients, limit, async |client, _| client.act(world).await).await)
        })
        .await?;
    world.push(row);
    Ok(())
}

impl Client {
    fn room(&mut self) -> String {
        let at = self.random.below(self.rooms.len());
        self.rooms[at].clone()
    }

    async fn send(&mut self, world: &World) -> Result<()> {
        let room = self.room();
        let txn = world.unique();
        let path = format_args!("/rooms/{room}/send/m.room.message/x{txn}");
        let body = br#"{"msgtype":"m.text","body":"a line in a busy day, neither short nor long"}"#;
        let reply = self.session.call("PUT", path, body).await?;
        let event = string_field(reply.body, "event_id").context("no event_id")?;
        event.clone_into(&mut self.last_event);
        Ok(())
    }

    async fn act(&mut self, world: &World) -> Result<()> {
        let choice = self.random.below(100);
        let room = self.room();
        let user = self.session.user.id.clone();
        let session = &mut self.session;
        match choice {
            0..35 => return self.send(world).await,
            35..65 => {
                session.sync("timeout=0").await?;
            }
            65..72 => {
                session.call("GET", format_args!("/rooms/{room}/messages?dir=b&limit=30"), b"").await?;
            }
            72..77 => {
                session.call("GET", format_args!("/rooms/{room}/state/m.room.name"), b"").await?;
            }
            77..81 => {
                session.call("GET", format_args!("/rooms/{room}/joined_members"), b"").await?;
            }
            81..85 => {
                session.call("GET", format_args!("/profile/{user}"), b"").await?;
            }
            85..93 => {
                let path = format_args!("/rooms/{room}/receipt/m.read/{}", self.last_event);
                // The event may be of another room of this client; servers accept that.
                session.call("POST", path, b"{}").await?;
            }
            93..98 => {
                let path = format_args!("/rooms/{room}/typing/{user}");
                session.call("PUT", path, br#"{"typing":true,"timeout":10000}"#).await?;
            }
            98 => {
                let body = format!(r#"{{"n":{}}}"#, world.unique());
                let path = format_args!("/user/{user}/account_data/org.example.bench");
                session.call("PUT", path, body.as_bytes()).await?;
            }
            _ => {
                session.create_public_room("one more").await?;
            }
        }
        Ok(())
    }
}

/// A small generator, the same sequence in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end
    }
}
