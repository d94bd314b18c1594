//! Messages delivered to waiting clients: how soon, at what cost, and each exactly once and in order.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use futures_util::future::{Either, join_all, select, try_join_all};
use memchr::memmem;
use tokio::{
    task::coop::unconstrained,
    time::{MissedTickBehavior, interval_at, sleep},
};

use crate::{
    load::{Latencies, Load},
    session::{Session, WATCH_FILTER},
    world::World,
};

/// How long after the last delivery a missing one is given up.
const PATIENCE: Duration = Duration::from_secs(10);
const WATCHERS_PER_ROOM: usize = 5;
const BURST_SENDERS: usize = 4;
const MAX_ERRORS: usize = 50;
/// Marks our messages in a sync answer: `~<sender>.<number>.`
const MARK: &[u8] = b"\"body\":\"~";

/// How the senders of one room send.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pace {
    /// One sender at this many messages per second.
    PerSecond(f64),
    /// This many senders, each as soon as its last message is acknowledged.
    Burst(usize),
}

pub(super) async fn run(world: &mut World) -> Result<()> {
    let sizes = world.sizes.clone();
    let watchers = sizes.watchers;
    let paced = Pace::PerSecond(sizes.one_room_rate);
    fanout(world, &format!("one room, {watchers} watchers"), 1, watchers, paced).await?;
    let paced = Pace::PerSecond(sizes.many_rooms_rate / sizes.fanout_rooms as f64);
    let name = format!("{} rooms, {WATCHERS_PER_ROOM} watchers each", sizes.fanout_rooms);
    fanout(world, &name, sizes.fanout_rooms, WATCHERS_PER_ROOM, paced).await?;
    let burst = Pace::Burst(BURST_SENDERS);
    fanout(world, &format!("one room, {WATCHERS_PER_ROOM} watchers, burst"), 1, WATCHERS_PER_ROOM, burst)
        .await
}

async fn fanout(world: &mut World, name: &str, rooms: usize, watchers: usize, pace: Pace) -> Result<()> {
    let senders = match pace {
        Pace::PerSecond(_) => 1,
        Pace::Burst(senders) => senders,
    };
    let mut sessions = world.sessions(rooms * (watchers + senders)).await?;
    let mut channels = Vec::new();
    for _ in 0..rooms {
        let mut members = sessions.split_off(sessions.len() - watchers - senders);
        let room = world.room_of(&mut members).await?;
        let senders = members.split_off(watchers);
        channels.push(Channel { room, senders, watchers: members, sent: RefCell::default() });
    }
    for channel in &mut channels {
        for watcher in &mut channel.watchers {
            watcher.sync(&format!("timeout={}&filter={WATCH_FILTER}", world.unique())).await?;
        }
    }
    let tally = Tally::default();
    let window = world.sizes.window;
    let mut row = world
        .measure("fanout", name, async {
            let begun = Instant::now();
            deliver(world, &mut channels, pace, &tally).await?;
            Ok(tally.load(begun.elapsed()))
        })
        .await?;
    row.add_note(&tally.note(window));
    world.push(row);
    Ok(())
}

/// A room with those who write and those who watch.
pub(super) struct Channel {
    pub(super) room: String,
    pub(super) senders: Vec<Session>,
    pub(super) watchers: Vec<Session>,
    /// When each message was sent, by its number.
    pub(super) sent: RefCell<Vec<Instant>>,
}

/// What all watchers saw together.
#[derive(Debug, Default)]
pub(super) struct Tally {
    latencies: RefCell<Latencies>,
    sent: Cell<usize>,
    expected: Cell<usize>,
    delivered: Cell<usize>,
    missing: Cell<usize>,
    twice: Cell<usize>,
    unordered: Cell<usize>,
    /// Limited timelines: the server left messages out, which it may, and which makes them missing here.
    gaps: Cell<usize>,
    failed: Cell<usize>,
    first_error: RefCell<Option<String>>,
}

impl Tally {
    /// What was delivered, and what went wrong.
    pub(super) fn load(&self, elapsed: Duration) -> Load {
        Load {
            elapsed,
            latencies: self.latencies.take(),
            errors: self.wrong(),
            first_error: self.first_error.take(),
        }
    }

    /// How many messages were sent.
    pub(super) fn sent(&self) -> usize {
        self.sent.get()
    }

    /// How much was sent, and how it came.
    pub(super) fn note(&self, window: Duration) -> String {
        let sent = self.sent.get();
        format!(
            "{sent} sent in {} s ({:.0}/s), their cost included; {} missing, {} twice, {} out of order, {} gaps",
            window.as_secs(),
            sent as f64 / window.as_secs_f64(),
            self.missing.get(),
            self.twice.get(),
            self.unordered.get(),
            self.gaps.get(),
        )
    }

    fn wrong(&self) -> usize {
        self.missing.get() + self.twice.get() + self.unordered.get() + self.failed.get()
    }
}

fn add(cell: &Cell<usize>, more: usize) {
    cell.set(cell.get() + more);
}

pub(super) async fn deliver(
    world: &World,
    channels: &mut [Channel],
    pace: Pace,
    tally: &Tally,
) -> Result<()> {
    let end = Instant::now() + world.sizes.window;
    let count = channels.len();
    let (mut watching, mut sending) = (Vec::new(), Vec::new());
    for (at, Channel { room, senders, watchers, sent }) in channels.iter_mut().enumerate() {
        let (room, sent) = (&*room, &*sent);
        let listeners = watchers.len();
        watching.extend(watchers.iter_mut().map(|watcher| watch(watcher, sent, tally)));
        let start = at as f64 / count as f64;
        for (number, sender) in senders.iter_mut().enumerate() {
            let sender = Sender { session: sender, number, room, sent, listeners, tally };
            sending.push(sender.send_until(end, pace, start, world));
        }
    }
    let watching = std::pin::pin!(join_all(watching));
    let sending = std::pin::pin!(async {
        try_join_all(sending).await?;
        let mut last = (tally.delivered.get(), Instant::now());
        while tally.delivered.get() < tally.expected.get() && last.1.elapsed() < PATIENCE {
            sleep(Duration::from_millis(5)).await;
            if tally.delivered.get() != last.0 {
                last = (tally.delivered.get(), Instant::now());
            }
        }
        tally.missing.set(tally.expected.get() - tally.delivered.get());
        anyhow::Ok(())
    });
    match unconstrained(select(sending, watching)).await {
        Either::Left((outcome, _)) => outcome,
        Either::Right(_) => {
            let error = tally.first_error.take().unwrap_or_default();
            anyhow::bail!("all watchers failed: {error}")
        }
    }
}

struct Sender<'a> {
    session: &'a mut Session,
    number: usize,
    room: &'a str,
    sent: &'a RefCell<Vec<Instant>>,
    listeners: usize,
    tally: &'a Tally,
}

impl Sender<'_> {
    /// Sends until the end. `start` shifts the rooms' beats against each other, as a share of a beat.
    async fn send_until(self, end: Instant, pace: Pace, start: f64, world: &World) -> Result<()> {
        let mut beat = match pace {
            Pace::PerSecond(rate) => {
                let period = Duration::from_secs_f64(1.0 / rate);
                let mut beat = interval_at(tokio::time::Instant::now() + period.mul_f64(start), period);
                beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
                Some(beat)
            }
            Pace::Burst(_) => None,
        };
        loop {
            if let Some(beat) = &mut beat {
                beat.tick().await;
            }
            if Instant::now() >= end {
                return Ok(());
            }
            let number = self.sent.borrow().len();
            self.sent.borrow_mut().push(Instant::now());
            add(&self.tally.sent, 1);
            add(&self.tally.expected, self.listeners);
            let txn = format!("f{}", world.unique());
            let text = format!("~{}.{number}. is a message that others are waiting for", self.number);
            self.session.send(self.room, &txn, &text).await.context("sending to watchers")?;
        }
    }
}

/// Syncs on and on, until dropped.
async fn watch(watcher: &mut Session, sent: &RefCell<Vec<Instant>>, tally: &Tally) {
    let query = format!("timeout=30000&filter={WATCH_FILTER}");
    let mut seen = Seen::default();
    loop {
        match watcher.sync(&query).await {
            Ok(reply) => {
                let now = Instant::now();
                let sent = sent.borrow();
                for (sender, number) in marks(reply.body) {
                    match seen.note(sender, number) {
                        Sight::New => {}
                        Sight::Unordered => add(&tally.unordered, 1),
                        Sight::Again => {
                            add(&tally.twice, 1);
                            continue;
                        }
                    }
                    add(&tally.delivered, 1);
                    if let Some(sent) = sent.get(number) {
                        tally.latencies.borrow_mut().push(now - *sent);
                    }
                }
                add(&tally.gaps, memmem::find_iter(reply.body, b"\"limited\":true").count());
            }
            Err(error) => {
                add(&tally.failed, 1);
                tally.first_error.borrow_mut().get_or_insert_with(|| format!("{error:#}"));
                if tally.failed.get() >= MAX_ERRORS {
                    return;
                }
            }
        }
    }
}

/// The sender and number of every message of ours in a sync answer.
fn marks(body: &[u8]) -> impl Iterator<Item = (usize, usize)> + '_ {
    memmem::find_iter(body, MARK).filter_map(|at| {
        let rest = &body[at + MARK.len()..];
        let text = std::str::from_utf8(&rest[..rest.len().min(30)]).ok()?;
        let mut parts = text.split('.');
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    })
}

/// What one watcher has seen of its room.
#[derive(Debug, Default)]
struct Seen {
    numbers: Vec<bool>,
    last_of_sender: HashMap<usize, usize>,
}

#[derive(Debug, PartialEq, Eq)]
enum Sight {
    New,
    Again,
    /// New, but after a later message of the same sender.
    Unordered,
}

impl Seen {
    fn note(&mut self, sender: usize, number: usize) -> Sight {
        if self.numbers.len() <= number {
            self.numbers.resize(number + 1, false);
        }
        if std::mem::replace(&mut self.numbers[number], true) {
            return Sight::Again;
        }
        match self.last_of_sender.insert(sender, number) {
            Some(last) if last > number => Sight::Unordered,
            _ => Sight::New,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_found_in_a_sync_answer() {
        let body = br#"{"a":{"body":"~3.17. is","x":1},"b":{"body":"other"},"c":{"body":"~0.2. is"}}"#;
        assert_eq!(marks(body).collect::<Vec<_>>(), [(3, 17), (0, 2)]);
    }

    #[test]
    fn repeats_and_disorder_are_noticed() {
        let mut seen = Seen::default();
        assert_eq!(seen.note(0, 1), Sight::New);
        assert_eq!(seen.note(1, 0), Sight::New);
        assert_eq!(seen.note(0, 1), Sight::Again);
        assert_eq!(seen.note(0, 5), Sight::New);
        assert_eq!(seen.note(0, 4), Sight::Unordered);
    }
}
