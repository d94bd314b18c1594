//! A room's history read backwards.

use anyhow::{Context as _, Result};

use crate::{client::string_field, load::closed_loop, session::percent_encode, world::World};

const READERS: usize = 8;
const MEMBERS: usize = 20;
const PAGE: usize = 50;

pub(super) async fn paginate(world: &mut World) -> Result<()> {
    let mut members = world.sessions(MEMBERS).await?;
    let room = world.room_of(&mut members).await?;
    world.fill(&mut members, &room, world.sizes.page_messages).await?;
    members.truncate(READERS);
    let mut readers: Vec<_> = members.into_iter().map(|session| (session, String::new())).collect();
    let limit = world.limit(world.sizes.pages);
    let row = world
        .measure("pagination", format!("pages of {PAGE}"), async {
            Ok(closed_loop(&mut readers, limit, async |(session, from), _| {
                let start = if from.is_empty() { String::new() } else { format!("&from={from}") };
                let path = format_args!("/rooms/{room}/messages?dir=b&limit={PAGE}{start}");
                let reply = session.call("GET", path, b"").await?;
                anyhow::ensure!(string_field(reply.body, "start").is_some(), "no start");
                // At the beginning of the room the reader starts again at its end.
                *from = string_field(reply.body, "end").map(percent_encode).unwrap_or_default();
                Ok(())
            })
            .await)
        })
        .await
        .context("pagination")?;
    world.push(row);
    Ok(())
}
