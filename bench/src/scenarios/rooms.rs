//! Rooms made and joined.

use anyhow::Result;

use crate::{
    load::{closed_loop, each_once},
    world::World,
};

/// How many clients create or join at once.
const AT_ONCE: usize = 8;

pub(super) async fn create(world: &mut World) -> Result<()> {
    let mut sessions = world.sessions(AT_ONCE).await?;
    let limit = world.limit(world.sizes.rooms);
    let row = world
        .measure("rooms", "public_chat preset", async {
            Ok(closed_loop(&mut sessions, limit, async |session, number| {
                session.create_public_room(&format!("created {number}")).await?;
                Ok(())
            })
            .await)
        })
        .await?;
    world.push(row);
    Ok(())
}

/// Everybody joins one room. The room is kept, since making it again would take as long.
pub(super) async fn join(world: &mut World) -> Result<()> {
    let count = world.sizes.joins;
    let mut sessions = world.sessions(count).await?;
    let room = sessions[0].create_public_room("everybody").await?;
    let limit = world.limit(count - 1);
    let row = world
        .measure("join", "one room", async {
            Ok(each_once(&mut sessions[1..], AT_ONCE, limit, async |session| session.join(&room).await).await)
        })
        .await?;
    let joined = row.operations + 1;
    world.push(row);
    if joined == count {
        world.keep_big_room(count, room);
    }
    Ok(())
}
