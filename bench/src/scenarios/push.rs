//! What push rules cost: messages in the biggest room, where many members have rules of their own.

use anyhow::Result;

use crate::{load::closed_loop, session::Session, world::World};

/// One in so many members has a keyword of their own.
const WITH_KEYWORD: usize = 10;
/// How many different keywords there are.
const KEYWORDS: usize = 50;
const SENDERS: usize = 16;

pub(super) async fn run(world: &mut World) -> Result<()> {
    let size = world.sizes.members.iter().copied().max().unwrap_or(1);
    let (room, mut members) = world.big_room(size).await?;
    measure(world, &room, &mut members, "predefined rules", &["nothing in particular is said here"]).await?;
    let everybody = members.len().div_ceil(WITH_KEYWORD);
    let mut keyed: Vec<&mut Session> = members.iter_mut().step_by(WITH_KEYWORD).collect();
    world
        .prepare(&mut keyed[..], everybody, async |session, number| {
            // The same session may come again: the rule is then set anew, which changes nothing.
            let word = number % KEYWORDS;
            let body =
                format!(r#"{{"pattern":"keyword{word}","actions":["notify",{{"set_tweak":"highlight"}}]}}"#);
            let path = format_args!("/pushrules/global/content/own");
            session.call("PUT", path, body.as_bytes()).await?;
            Ok(())
        })
        .await?;
    drop(keyed);
    let name = format!("{everybody} members with a keyword, none said");
    measure(world, &room, &mut members, &name, &["nothing in particular is said here"]).await?;
    let texts: Vec<String> =
        (0..KEYWORDS).map(|word| format!("we need more keyword{word} in here")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    measure(world, &room, &mut members, "one of their keywords in each message", &texts).await
}

async fn measure(
    world: &mut World,
    room: &str,
    members: &mut [Session],
    name: &str,
    texts: &[&str],
) -> Result<()> {
    let size = members.len();
    let limit = world.limit(world.sizes.messages_per_size);
    let senders = SENDERS.min(size);
    let row = world
        .measure("push", format!("{size} members, {name}"), async {
            Ok(closed_loop(&mut members[..senders], limit, async |session, number| {
                session.send(room, &format!("p{}", world.unique()), texts[number % texts.len()]).await
            })
            .await)
        })
        .await?;
    world.push(row);
    Ok(())
}
