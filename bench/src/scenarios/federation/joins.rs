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

/// How many members are made at once.
const AT_ONCE: usize = 16;
/// How long making all members may take.
const PREPARE_TIME: Duration = Duration::from_mins(10);
/// How long all members of a room may take to be known.
const PATIENCE: Duration = Duration::from_mins(3);

impl Pair {
    /// For each size: when the join is answered, when something is sent, when all members are known.
    pub(super) async fn join_rooms(&mut self, world: &World) -> Result<Vec<Row>> {
        let mut rooms = Vec::new();
        for size in world.sizes.federated_joins.clone() {
            rooms.push((size, self.senders[0].create_public_room(&format!("of {size}")).await?));
        }
        self.fill(&rooms).await?;
        let mut rows = Vec::new();
        for (size, room) in &rooms {
            rows.push(self.join_one(world, *size, room).await?);
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

    async fn join_one(&mut self, world: &World, size: usize, room: &str) -> Result<Row> {
        let before = self.settled_cpu().await?;
        let here = self.here.name.clone();
        let newcomer = &mut self.watchers[0];
        let begun = Instant::now();
        newcomer.join_via(room, &here).await.context("joining a filled room")?;
        let joined = begun.elapsed();
        newcomer.send(room, &format!("j{}", world.unique()), "hello").await?;
        let spoken = begun.elapsed();
        loop {
            let reply = newcomer.call("GET", format_args!("/rooms/{room}/joined_members"), b"").await?;
            let known = memmem::find_iter(reply.body, b"\"@").count();
            if known == size + 1 {
                break;
            }
            ensure!(begun.elapsed() < PATIENCE, "{known} of {} members are known", size + 1);
        }
        let whole = begun.elapsed();
        let mut load = Load { elapsed: joined, ..Load::default() };
        load.latencies.push(joined);
        let cpu = self.settled_cpu().await?.since(before);
        let mut row = self.row(format!("join of a room of {size}"), load, cpu)?;
        row.add_note(&format!(
            "first message after {:.0} ms, all members known after {:.0} ms",
            spoken.as_secs_f64() * 1e3,
            whole.as_secs_f64() * 1e3
        ));
        Ok(row)
    }
}
