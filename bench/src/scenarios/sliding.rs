//! Sliding sync of an account in many rooms: the first response, and what follows.

use anyhow::Result;

use crate::{
    load::{closed_loop, each_once},
    session::Session,
    world::World,
};

/// How many rooms the first request of a client shows, and how many messages each of them has.
const SHOWN_ROOMS: usize = 20;
const SHOWN_MESSAGES: usize = 20;

pub(super) async fn run(world: &mut World) -> Result<()> {
    for rooms in world.sizes.sliding_rooms.clone() {
        let mut members = world.sessions(2).await?;
        let ids = make_rooms(world, &mut members, rooms).await?;
        world.server.restart().await?;
        for session in &mut members {
            session.conn = crate::client::Conn::new(world.server.addr);
        }
        members.truncate(1);
        for variant in ["after a restart", "again"] {
            let limit = world.limit(1);
            let row = world
                .measure("sliding", format!("{rooms} rooms, first response, {variant}"), async {
                    Ok(each_once(&mut members, 1, limit, async |session| first(session).await).await)
                })
                .await?;
            world.push(row);
        }
        let limit = world.limit(world.sizes.syncs);
        let mut row = world
            .measure("sliding", format!("{rooms} rooms, first response, warm"), async {
                Ok(closed_loop(&mut members, limit, async |session, _| first(session).await).await)
            })
            .await?;
        members[0].since.clear();
        let bytes = members[0].sliding(&request(SHOWN_ROOMS - 1)).await?.body.len();
        row.add_note(&format!("{bytes} bytes each"));
        world.push(row);
        let row = world
            .measure("sliding", format!("{rooms} rooms, nothing new"), async {
                Ok(closed_loop(&mut members, limit, async |session, _| {
                    session.sliding(&request(SHOWN_ROOMS - 1)).await?;
                    Ok(())
                })
                .await)
            })
            .await?;
        world.push(row);
        members[0].sliding(&request(rooms)).await?;
        let row = world
            .measure("sliding", format!("{rooms} rooms, all listed, a message and its delivery"), async {
                Ok(closed_loop(&mut members, limit, async |session, number| {
                    let txn = format!("slide{}", world.unique());
                    session.send(&ids[number % ids.len()], &txn, "something new").await?;
                    session.sliding(&request(rooms)).await?;
                    Ok(())
                })
                .await)
            })
            .await?;
        world.push(row);
    }
    Ok(())
}

/// Rooms of two members; the newest have messages.
async fn make_rooms(world: &World, members: &mut [Session], count: usize) -> Result<Vec<String>> {
    let mut ids = Vec::with_capacity(count);
    for number in 0..count {
        let room = world.room_of(members).await?;
        if number + SHOWN_ROOMS >= count {
            world.fill(members, &room, SHOWN_MESSAGES).await?;
        }
        ids.push(room);
    }
    Ok(ids)
}

async fn first(session: &mut Session) -> Result<()> {
    session.since.clear();
    session.sliding(&request(SHOWN_ROOMS - 1)).await?;
    Ok(())
}

/// What a client asks for that shows a list of rooms.
fn request(last: usize) -> String {
    format!(
        r#"{{"lists":{{"all":{{"ranges":[[0,{last}]],"timeline_limit":20,"required_state":[["m.room.create",""],["m.room.name",""],["m.room.avatar",""],["m.room.encryption",""],["m.room.member","$LAZY"],["m.room.member","$ME"]]}}}},"extensions":{{"account_data":{{"enabled":true}},"receipts":{{"enabled":true}},"typing":{{"enabled":true}}}}}}"#
    )
}
