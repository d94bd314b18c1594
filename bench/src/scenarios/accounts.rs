//! Registration.

use anyhow::Result;

use crate::{client::Conn, load::closed_loop, session, world::World};

/// Two at a time, which is as many hashes as the machine has cores for.
const AT_ONCE: usize = 2;

pub(super) async fn register(world: &mut World) -> Result<()> {
    let mut conns: Vec<_> = (0..AT_ONCE).map(|_| Conn::new(world.server.addr)).collect();
    let limit = world.limit(world.sizes.registrations);
    let row = world
        .measure("register", "hash cost as shipped", async {
            Ok(closed_loop(&mut conns, limit, async |conn, number| {
                session::register(conn, &format!("person{number}")).await?;
                Ok(())
            })
            .await)
        })
        .await?;
    world.push(row);
    Ok(())
}
