//! What it costs to talk to another server: messages from one to another, catching up after an outage, and joins.

mod joins;

use std::{
    cell::RefCell,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use memchr::memmem;
use tokio::time::sleep;

use super::fanout::{Channel, Pace, Tally, deliver};
use crate::{
    client::{Conn, string_field},
    load::Load,
    measure::{Cpu, Memory, quiesce},
    report::Row,
    server::{Server, authority::Authority},
    session::{Session, WATCH_FILTER, percent_encode, register},
    world::World,
};

/// Users of the server that is joined through, in the room.
const SENDERS: usize = 10;
/// Users of the other one.
const WATCHERS: usize = 3;
/// What one sender, who waits for each answer, may reach; for more all of them send.
const MAX_RATE_OF_ONE: f64 = 100.0;
/// How long the server that was away may take to hear of the newest message.
const PATIENCE: Duration = Duration::from_mins(2);
/// Events per page when the messages that were missed are read.
const PAGE: usize = 100;

/// Two servers with a room that both are in.
struct Pair {
    here: Server,
    there: Server,
    senders: Vec<Session>,
    watchers: Vec<Session>,
    room: String,
}

pub(super) async fn run(world: &mut World) -> Result<()> {
    let mut pair = Pair::start(world).await?;
    for rate in world.sizes.federated_rates.clone() {
        let row = pair.send(world, rate).await?;
        world.push(row);
    }
    let rows = pair.catch_up(world).await?;
    for row in rows {
        world.push(row);
    }
    for row in pair.join_rooms(world).await? {
        world.push(row);
    }
    Ok(())
}

impl Pair {
    async fn start(world: &World) -> Result<Self> {
        let authority = Authority::new()?;
        let kind = world.server.kind;
        let here = Server::start_federated(kind, &world.setup, &authority).await?;
        let there = Server::start_federated(kind, &world.setup, &authority).await?;
        let mut senders = users(&here, SENDERS).await?;
        let mut watchers = users(&there, WATCHERS).await?;
        let room = senders[0].create_public_room("federated").await?;
        for sender in &mut senders[1..] {
            sender.join(&room).await?;
        }
        for watcher in &mut watchers {
            watcher.join_via(&room, &here.name).await.context("joining through the other server")?;
        }
        Ok(Self { here, there, senders, watchers, room })
    }

    /// Messages at a rate, until each has come to the other server's users.
    async fn send(&mut self, world: &World, rate: f64) -> Result<Row> {
        for watcher in &mut self.watchers {
            watcher.first_sync(world.unique()).await?;
            watcher.sync(&format!("timeout=0&filter={WATCH_FILTER}")).await?;
        }
        let tally = Tally::default();
        let count = if rate > MAX_RATE_OF_ONE { SENDERS } else { 1 };
        let mut channel = Channel {
            room: self.room.clone(),
            senders: self.senders.drain(..count).collect(),
            watchers: std::mem::take(&mut self.watchers),
            sent: RefCell::default(),
        };
        let before = self.settled_cpu().await?;
        let begun = Instant::now();
        let paced = Pace::PerSecond(rate / count as f64);
        let delivered = deliver(world, std::slice::from_mut(&mut channel), paced, &tally).await;
        let load = tally.load(begun.elapsed());
        self.senders.splice(..0, channel.senders);
        self.watchers = channel.watchers;
        delivered?;
        let cpu = self.settled_cpu().await?.since(before);
        let name = format!("{rate:.0} messages per second, {count} senders, {WATCHERS} watchers");
        let mut row = self.row(name, load, cpu)?;
        row.add_note(&tally.note(world.sizes.window));
        let sent = tally.sent();
        if sent > 0 {
            row.add_note(&format!("{:.2} ms CPU per message", (cpu.server + cpu.postgres) / sent as f64));
        }
        Ok(row)
    }

    /// One server is away while the other goes on: how soon it knows the newest message when it is back, and what reading
    /// the others costs.
    async fn catch_up(&mut self, world: &World) -> Result<Vec<Row>> {
        self.there.stop();
        let room = self.room.clone();
        let missed = world.sizes.missed;
        world
            .prepare(&mut self.senders, missed, async |session, number| {
                session.send(&room, &format!("m{}", world.unique()), &format!("missed {number}.")).await
            })
            .await?;
        self.senders[0].send(&room, &format!("m{}", world.unique()), "the newest of all").await?;
        self.there.resume().await?;
        for watcher in &mut self.watchers {
            watcher.conn = Conn::new(self.there.addr);
        }
        let watcher = &mut self.watchers[0];
        watcher.first_sync(world.unique()).await?;
        let before = self.settled_cpu().await?;
        let begun = Instant::now();
        // Who speaks is there again, so that nobody waits for the next attempt.
        let watcher = &mut self.watchers[0];
        watcher.send(&room, &format!("m{}", world.unique()), "back again").await?;
        wait_for(watcher, "the newest of all").await?;
        let elapsed = begun.elapsed();
        let mut load = Load { elapsed, ..Load::default() };
        load.latencies.push(elapsed);
        let cpu = self.settled_cpu().await?.since(before);
        let newest = self.row(format!("newest of {missed} missed messages"), load, cpu)?;

        let before = self.settled_cpu().await?;
        let (load, found) = read_back(&mut self.watchers[0], &room, missed).await?;
        let cpu = self.settled_cpu().await?.since(before);
        let mut rest = self.row(format!("reading {missed} missed messages, pages of {PAGE}"), load, cpu)?;
        rest.add_note(&format!("{} of them lost", missed.saturating_sub(found)));
        Ok(vec![newest, rest])
    }

    async fn settled_cpu(&self) -> Result<Cpu> {
        let (here, there) = (self.here.pids()?, self.there.pids()?);
        quiesce(here).await;
        quiesce(there).await;
        Ok(Cpu::read(here).with(Cpu::read(there)))
    }

    fn row(&self, name: String, load: Load, cpu: Cpu) -> Result<Row> {
        let memory = Memory::read(self.there.pids()?);
        Ok(Row::new(self.here.kind, "federation", name).with_load(load, cpu).with_memory(memory))
    }
}

async fn users(server: &Server, count: usize) -> Result<Vec<Session>> {
    let mut sessions = Vec::new();
    for number in 0..count {
        let mut conn = Conn::new(server.addr);
        let user = register(&mut conn, &format!("user{number}")).await?;
        sessions.push(Session { conn, user: Rc::new(user), since: String::new() });
    }
    Ok(sessions)
}

/// Syncs until a message has come.
async fn wait_for(watcher: &mut Session, text: &str) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let reply = watcher.sync(&format!("timeout=1000&filter={WATCH_FILTER}")).await?;
        if memmem::find(reply.body, text.as_bytes()).is_some() {
            return Ok(());
        }
        sleep(Duration::from_millis(5)).await;
    }
    anyhow::bail!("the other server did not hear of the newest message within {PATIENCE:?}")
}

/// Reads backwards until all missed messages have come, or there are no more. Returns how many different ones came.
async fn read_back(reader: &mut Session, room: &str, missed: usize) -> Result<(Load, usize)> {
    let mut found = vec![false; missed];
    let mut from = String::new();
    let mut load = Load::default();
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE && !found.iter().all(|place| *place) {
        let asked = Instant::now();
        let path = format_args!("/rooms/{room}/messages?dir=b&limit={PAGE}{from}");
        let reply = reader.call("GET", path, b"").await?;
        load.latencies.push(asked.elapsed());
        for number in numbers(reply.body) {
            if let Some(place) = found.get_mut(number) {
                *place = true;
            }
        }
        let Some(end) = string_field(reply.body, "end") else { break };
        from = format!("&from={}", percent_encode(end));
    }
    load.elapsed = begun.elapsed();
    Ok((load, found.into_iter().filter(|place| *place).count()))
}

/// The numbers of the missed messages in an answer.
fn numbers(body: &[u8]) -> impl Iterator<Item = usize> + '_ {
    const MARK: &[u8] = b"\"body\":\"missed ";
    memmem::find_iter(body, MARK).filter_map(|at| {
        let rest = &body[at + MARK.len()..];
        let text = std::str::from_utf8(&rest[..rest.len().min(12)]).ok()?;
        text.split('.').next()?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missed_messages_are_counted() {
        let body = br#"{"a":{"body":"missed 17.","x":1},"b":{"body":"other"},"c":{"body":"missed 2."}}"#;
        assert_eq!(numbers(body).collect::<Vec<_>>(), [17, 2]);
    }
}
