//! First syncs.

use anyhow::Result;

use crate::{
    load::{closed_loop, each_once},
    world::World,
};

/// What each room holds beside the users who sync.
const ROOM_MEMBERS: usize = 10;
const ROOM_MESSAGES: usize = 20;

pub(super) async fn initial(world: &mut World) -> Result<()> {
    for (rooms, users) in world.sizes.synced_rooms.clone() {
        // What they are in besides would be in their answers.
        let mut members = world.new_sessions(ROOM_MEMBERS.max(users)).await?;
        for _ in 0..rooms {
            let room = world.room_of(&mut members).await?;
            world.fill(&mut members, &room, ROOM_MESSAGES).await?;
        }
        world.server.restart().await?;
        members.truncate(users);
        for session in &mut members {
            session.conn = crate::client::Conn::new(world.server.addr);
        }
        let limit = world.limit(users);
        let row = world
            .measure("initial-sync", format!("{rooms} rooms, after a restart"), async {
                Ok(each_once(&mut members, 1, limit, async |session| {
                    session.first_sync(world.unique()).await
                })
                .await)
            })
            .await?;
        world.push(row);
        // One at a time is what a person waits for; two at a time is what the machine can do.
        for at_once in [1, 2] {
            let limit = world.limit(world.sizes.syncs);
            let mut row = world
                .measure("initial-sync", format!("{rooms} rooms, warm, {at_once} at a time"), async {
                    let users = &mut members[..at_once];
                    Ok(closed_loop(users, limit, async |session, _| session.first_sync(world.unique()).await)
                        .await)
                })
                .await?;
            members[0].since.clear();
            let bytes = members[0].sync("timeout=1").await?.body.len();
            row.add_note(&format!("{bytes} bytes each"));
            world.push(row);
        }
    }
    Ok(())
}
