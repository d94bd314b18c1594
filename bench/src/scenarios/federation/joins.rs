//! Somebody of another server joins rooms of growing size.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use memchr::memmem;

use super::Pair;
use crate::{
    client::Conn,
    load::{Limit, Load, closed_loop},
    report::Row,
    session::register,
    world::World,
};

/// Rooms of up to so many members are joined several times: one such join costs less than the CPU clock can tell.
const SMALL: usize = 100;
const SMALL_ROOMS: usize = 10;
/// How many members are made at once.
const AT_ONCE: usize = 16;
/// How long making all members may take.
const PREPARE_TIME: Duration = Duration::from_mins(10);
/// How long all members of a room may take to be known.
const PATIENCE: Duration = Duration::from_mins(3);

impl Pair {
    /// For each size: when the join is answered, when something is sent in a large room, when all members are known.
    pub(super) async fn join_rooms(&mut self, world: &World) -> Result<Vec<Row>> {
        let mut rooms = Vec::new();
        for size in world.sizes.federated_joins.clone() {
            for number in 0..if size <= SMALL { SMALL_ROOMS } else { 1 } {
                let name = format!("of {size}, {number}");
                rooms.push((size, self.senders[0].create_public_room(&name).await?));
            }
        }
        self.fill(&rooms).await?;
        let mut rows = Vec::new();
        for rooms in rooms.chunk_by(|(a, _), (b, _)| a == b) {
            rows.push(self.join_each(world, rooms).await?);
        }
        Ok(rows)
    }

    /// New users of the first server join, until each room has its size.
    async fn fill(&self, rooms: &[(usize, String)]) -> Result<()> {
        // The owner is a member already.
        let count = rooms.iter().map(|(size, _)| *size).max().unwrap_or(1) - 1;
        let mut conns: Vec<Conn> = (0..AT_ONCE).map(|_| Conn::new(self.here.addr)).collect();
        let limit = Limit { count, time: PREPARE_TIME };
        let load = closed_loop(&mut conns, limit, async |conn, number| {
            let user = register(conn, &format!("crowd{number:05}")).await?;
            for (_, room) in rooms.iter().filter(|(size, _)| number + 1 < *size) {
                let path = format_args!("/_matrix/client/v3/rooms/{room}/join");
                conn.call("POST", path, &user.token, b"{}").await?.ok()?;
            }
            Ok(())
        })
        .await;
        ensure!(load.errors == 0, "filling rooms: {:?}", load.first_error);
        ensure!(load.done() == count, "the rooms were not filled in time");
        Ok(())
    }

    /// Joins rooms of the same size, one after the other. The times are means.
    async fn join_each(&mut self, world: &World, rooms: &[(usize, String)]) -> Result<Row> {
        let before = self.settled_cpu().await?;
        let mut load = Load::default();
        let (mut spoken, mut whole) = (Duration::ZERO, Duration::ZERO);
        for (size, room) in rooms {
            let times = self.join_one(world, *size, room).await?;
            load.latencies.push(times.joined);
            load.elapsed += times.joined;
            spoken += times.spoken;
            whole += times.whole;
        }
        let cpu = self.settled_cpu().await?.since(before);
        let (count, size) = (rooms.len() as u32, rooms.first().map_or(0, |(size, _)| *size));
        let mut row = self.row(format!("join of a room of {size}"), load, cpu)?;
        if !spoken.is_zero() {
            row.add_note(&format!("first message after {:.0} ms", (spoken / count).as_secs_f64() * 1e3));
        }
        row.add_note(&format!("all members known after {:.0} ms", (whole / count).as_secs_f64() * 1e3));
        Ok(row)
    }

    async fn join_one(&mut self, world: &World, size: usize, room: &str) -> Result<Times> {
        let here = self.here.name.clone();
        let newcomer = &mut self.watchers[0];
        let begun = Instant::now();
        newcomer.join_via(room, &here).await.context("joining a filled room")?;
        let joined = begun.elapsed();
        // A message would be a good part of the cost of a small join, and of a room that is whole at once it shows nothing.
        let spoken = if size > SMALL {
            newcomer.send(room, &format!("j{}", world.unique()), "hello").await?;
            begun.elapsed()
        } else {
            Duration::ZERO
        };
        loop {
            let reply = newcomer.call("GET", format_args!("/rooms/{room}/joined_members"), b"").await?;
            let known = memmem::find_iter(reply.body, b"\"@").count();
            if known == size + 1 {
                return Ok(Times { joined, spoken, whole: begun.elapsed() });
            }
            ensure!(begun.elapsed() < PATIENCE, "{known} of {} members are known", size + 1);
        }
    }
}

/// How long after the beginning a join was answered, something was said, and all members were known.
struct Times {
    joined: Duration,
    spoken: Duration,
    whole: Duration,
}
