//! Memory of an idle server, and what a waiting client costs.

use std::{cell::Cell, time::Duration};

use anyhow::Result;
use futures_util::future::{Either, join_all, select};
use tokio::{task::coop::unconstrained, time::sleep};

use crate::{
    load::Load,
    measure::{Cpu, Memory, quiesce},
    report::Row,
    session::{Session, WATCH_FILTER},
    world::World,
};

const ROOM_MEMBERS: usize = 50;
/// Long enough that no poll ends by itself while it is looked at.
const POLL: &str = "timeout=120000";
const OPEN_TIMEOUT: Duration = Duration::from_mins(1);
const LOOK: Duration = Duration::from_secs(5);

pub(super) async fn run(world: &mut World) -> Result<()> {
    let first = world.server.first_start;
    sleep(LOOK).await;
    let row = idle_row(world, "idle after start").await?;
    world.push(row);

    let count = world.sizes.polls;
    let mut sessions = world.sessions(count).await?;
    let mut rooms = Vec::new();
    for members in sessions.chunks_mut(ROOM_MEMBERS) {
        rooms.push(world.room_of(members).await?);
    }
    for batch in sessions.chunks_mut(16) {
        world
            .prepare(batch, batch.len(), async |session, _| {
                session.since.clear();
                let query = format!("timeout={}&filter={WATCH_FILTER}", world.unique());
                session.sync(&query).await?;
                Ok(())
            })
            .await?;
    }
    let row = idle_row(world, "idle after preparing").await?;
    let without = row.server_mb;
    world.push(row);
    let row = polls(world, &mut sessions, &rooms, without).await?;
    world.push(row);

    drop(sessions);
    let again = world.server.restart().await?;
    for (variant, time) in [("empty", first), ("migrated", again)] {
        let mut row = Row::new(world.server.kind, "start", variant);
        row.seconds = time.as_secs_f64();
        row.add_note(&format!("ready after {:.2} s", row.seconds));
        world.push(row.with_memory(Memory::read(world.server.pids()?)));
    }
    Ok(())
}

async fn idle_row(world: &World, variant: &str) -> Result<Row> {
    world.measure("memory", variant, async { Ok(Load::default()) }).await
}

/// Opens all polls, looks, and then wakes one room's to see that they were really waiting.
async fn polls(world: &World, sessions: &mut [Session], rooms: &[String], without_mb: f64) -> Result<Row> {
    let count = sessions.len();
    let pids = world.server.pids()?;
    quiesce(pids).await;
    Memory::reset_peak(pids);
    let open = Cell::new(0);
    let woken = Cell::new(0);
    let failed = Cell::new(0);
    let mut sender = world.session(&sessions[0].user);
    let query = format!("{POLL}&filter={WATCH_FILTER}");
    let waiting = join_all(sessions.iter_mut().map(|session| async {
        // An event that arrived since the last sync ends the first poll at once; the next one then waits.
        loop {
            open.set(open.get() + 1);
            let outcome = session.sync(&query).await;
            open.set(open.get() - 1);
            match outcome {
                Ok(_) => woken.set(woken.get() + 1),
                Err(_) => return failed.set(failed.get() + 1),
            }
        }
    }));
    let look = async {
        let mut waited = Duration::ZERO;
        let mut last = usize::MAX;
        while (open.get() < count || woken.get() != last) && waited < OPEN_TIMEOUT {
            last = woken.get();
            sleep(LOOK).await;
            waited += LOOK;
        }
        quiesce(pids).await;
        let before = Cpu::read(pids);
        sleep(LOOK).await;
        let used = Cpu::read(pids).since(before);
        let mut row = Row::new(world.server.kind, "memory", format!("{count} idle long polls"));
        row = row.with_memory(Memory::read(pids));
        let each_kb = (row.server_mb - without_mb) * 1024.0 / count as f64;
        let share = (used.server + used.postgres) / LOOK.as_secs_f64() / 10.0;
        row.add_note(&format!(
            "{} open, {each_kb:.1} kB each over the state before, {share:.1} % of a core while idle",
            open.get()
        ));
        woken.set(0);
        let txn = format!("wake{}", world.unique());
        sender.send(&rooms[0], &txn, "wake up").await?;
        sleep(LOOK).await;
        row.errors = failed.get();
        row.add_note(&format!("{} of {} woken by a message", woken.get(), ROOM_MEMBERS.min(count)));
        anyhow::Ok(row)
    };
    let (waiting, look) = (std::pin::pin!(waiting), std::pin::pin!(look));
    match unconstrained(select(waiting, look)).await {
        Either::Right((row, _)) => row,
        Either::Left(_) => anyhow::bail!("all long polls failed"),
    }
}
