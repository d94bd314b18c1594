//! Messages sent while nobody listens.

use anyhow::Result;

use crate::{
    load::{Limit, closed_loop},
    report::Row,
    session::Session,
    world::World,
};

/// A message of usual length.
const TEXT: &str = "The meeting moved to three, same room as last week. Bring the figures, please.";
/// Senders at once in the rooms of growing size: enough to keep the server busy, and present in each.
const SENDERS_PER_SIZE: usize = 16;
/// Sent before measuring, so that caches and connections are as in a running server.
const WARM_UP: usize = 50;

pub(super) async fn run(world: &mut World) -> Result<()> {
    let senders = world.sizes.senders;
    let count = world.sizes.messages;
    let mut sessions = world.sessions(senders).await?;
    let busy = world.room_of(&mut sessions).await?;
    let mut own = Vec::new();
    for session in sessions {
        let mut session = [session];
        let room = world.room_of(&mut session).await?;
        let [session] = session;
        own.push((session, room));
    }

    let row = measure(world, "one client alone", &mut own[..1], count / 5).await?;
    world.push(row);
    let row = measure(world, "many rooms", &mut own, count).await?;
    world.push(row);
    for (_, room) in &mut own {
        room.clone_from(&busy);
    }
    let row = measure(world, "one room", &mut own, count).await?;
    world.push(row);
    Ok(())
}

/// The same load in rooms of growing size. A room of one has one sender, who cannot be compared with sixteen,
/// so that there the sender uses as many connections.
pub(super) async fn sizes(world: &mut World) -> Result<()> {
    for size in world.sizes.members.clone() {
        let (room, mut members) = world.big_room(size).await?;
        members.truncate(SENDERS_PER_SIZE);
        let users: Vec<_> = members.iter().map(|member| std::rc::Rc::clone(&member.user)).collect();
        let mut senders: Vec<_> =
            (0..SENDERS_PER_SIZE).map(|at| (world.session(&users[at % users.len()]), room.clone())).collect();
        let count = world.sizes.messages_per_size;
        let name = if size == 1 { "1 member".to_owned() } else { format!("{size} members") };
        let limit = world.limit(count);
        let row = measure_as(world, "send-sizes", &name, &mut senders, limit).await?;
        world.push(row);
    }
    Ok(())
}

async fn measure(world: &World, name: &str, senders: &mut [(Session, String)], count: usize) -> Result<Row> {
    measure_as(world, "send", name, senders, world.limit(count)).await
}

async fn measure_as(
    world: &World,
    scenario: &'static str,
    name: &str,
    senders: &mut [(Session, String)],
    limit: Limit,
) -> Result<Row> {
    let send = async |(session, room): &mut (Session, String), _| {
        session.send(room, &format!("t{}", world.unique()), TEXT).await
    };
    world.prepare(senders, WARM_UP.min(limit.count), send).await?;
    world.measure(scenario, name, async { Ok(closed_loop(senders, limit, send).await) }).await
}
