//! Searching messages: rare words and common ones, best and newest first.

use anyhow::{Context as _, Result, ensure};
use memchr::memmem;

use crate::{load::closed_loop, server::Kind, session::Session, world::World};

const ROOMS: usize = 20;
const SEARCHERS: usize = 4;
/// How many words there are; the first are said most often, as in any language.
const VOCABULARY: usize = 50_000;
const WORDS_PER_MESSAGE: usize = 10;

pub(super) async fn run(world: &mut World) -> Result<()> {
    let mut members = world.new_sessions(SEARCHERS).await?;
    let mut rooms = Vec::with_capacity(ROOMS);
    for _ in 0..ROOMS {
        rooms.push(world.room_of(&mut members).await?);
    }
    let sent = world.sizes.search_messages;
    world
        .prepare(&mut members, sent, async |session, number| {
            let txn = format!("s{}", world.unique());
            session.send(&rooms[number % ROOMS], &txn, &text(number)).await
        })
        .await?;
    let mut total = sent;
    if world.server.kind == Kind::Kith && world.sizes.search_total > sent {
        total = world.sizes.search_total;
        multiply(world, &rooms, total - sent)?;
        world.server.restart().await?;
        for session in &mut members {
            session.conn = crate::client::Conn::new(world.server.addr);
        }
    }
    until_found(&mut members[0]).await?;
    for (name, order, first, step) in [
        ("a rare word", "recent", VOCABULARY / 2, 1),
        ("a rare word", "rank", VOCABULARY / 2, 1),
        ("a common word", "recent", 0, 0),
        ("a common word", "rank", 0, 0),
    ] {
        let limit = world.limit(world.sizes.searches);
        let row = world
            .measure("search", format!("{total} messages, {name}, by {order}"), async {
                Ok(closed_loop(&mut members, limit, async |session, number| {
                    let term = format!("w{}", first + (number * step) % (VOCABULARY / 2));
                    search(session, &term, order).await?;
                    Ok(())
                })
                .await)
            })
            .await?;
        world.push(row);
    }
    Ok(())
}

/// A message; which words it has depends on its number alone.
fn text(number: usize) -> String {
    let mut state = number as u64 * 2 + 1;
    let words = (0..WORDS_PER_MESSAGE).map(|_| {
        // A multiplicative generator is random enough for this.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let share = (state >> 11) as f64 / (1_u64 << 53) as f64;
        format!("w{}", (VOCABULARY as f64 * share.powi(4)) as usize)
    });
    words.collect::<Vec<_>>().join(" ") + " lighthouse"
}

/// Searches; returns how many there are.
async fn search(session: &mut Session, term: &str, order: &str) -> Result<usize> {
    let body = format!(
        r#"{{"search_categories":{{"room_events":{{"search_term":"{term}","order_by":"{order}","keys":["content.body"]}}}}}}"#
    );
    let reply = session.call("POST", format_args!("/search"), body.as_bytes()).await?;
    Ok(memmem::find_iter(reply.body, b"\"rank\":").count())
}

/// The index follows the messages; measuring begins when it has come to the last.
async fn until_found(session: &mut Session) -> Result<()> {
    const TRIES: usize = 600;
    for _ in 0..TRIES {
        if search(session, "lighthouse", "recent").await? > 0 {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    anyhow::bail!("nothing is found")
}

/// Makes many more messages out of those that were sent, in the database itself: sending so many would take longer than
/// everything else. They have words of their own, and the index has them as it would have them from the follower.
fn multiply(world: &World, rooms: &[String], count: usize) -> Result<()> {
    let rooms: Vec<String> = rooms.iter().map(|room| format!("'{room}'")).collect();
    let rooms = rooms.join(",");
    let words: Vec<String> = (0..WORDS_PER_MESSAGE)
        .map(|_| format!("'w' || floor({VOCABULARY} * power(random(), 4))::int"))
        .collect();
    let words = words.join(" || ' ' || ");
    // Numbers of events are handed out in blocks, and none may be handed out again.
    let rows = world.server.query("SELECT nextval('event_nids')")?;
    let base: usize =
        rows.first().and_then(|row| row.first()?.parse().ok()).context("no number for events")?;
    world.server.query(&format!("SELECT setval('event_nids', {base} + {count} + 1000)"))?;
    let statements = [
        format!(
            "CREATE UNLOGGED TABLE bench_seed AS
             SELECT e.*, j.json, row_number() OVER (ORDER BY e.event_nid) - 1 AS number
             FROM events e JOIN event_json j USING (event_nid) JOIN rooms r USING (room_nid)
             JOIN event_types t USING (type_nid)
             WHERE r.room_id IN ({rooms}) AND t.event_type = 'm.room.message'"
        ),
        format!(
            "CREATE UNLOGGED TABLE bench_new AS
             SELECT {base} + n AS new_nid, '$' || md5(n::text) || 'bench' AS new_id,
               {words} AS body, s.*
             FROM generate_series(1, {count}) n
             JOIN bench_seed s ON s.number = n % (SELECT COUNT(*) FROM bench_seed)"
        ),
        "INSERT INTO events (event_nid, event_id, room_nid, sender_nid, type_nid, slot_nid, stream_position, depth,
           origin_server_ts, state_before, state_after, outcome, prev_nids, auth_nids, notice)
         SELECT new_nid, new_id, room_nid, sender_nid, type_nid, slot_nid, stream_position, depth, origin_server_ts,
           state_before, state_after, outcome, prev_nids, auth_nids, 0
         FROM bench_new"
            .to_owned(),
        "INSERT INTO event_json (event_nid, json)
         SELECT new_nid, jsonb_set(json::jsonb, '{content,body}', to_jsonb(body))::text FROM bench_new"
            .to_owned(),
        "INSERT INTO search_index (event_nid, room_nid, sender_nid, field, stream_position, words)
         SELECT new_nid, room_nid, sender_nid, 0, stream_position, to_tsvector('simple', body) FROM bench_new"
            .to_owned(),
        "DROP TABLE bench_new, bench_seed".to_owned(),
        "VACUUM ANALYZE events, event_json, search_index".to_owned(),
    ];
    for statement in statements {
        world.server.query(&statement)?;
    }
    let rows = world.server.query("SELECT COUNT(*) FROM search_index")?;
    let indexed: usize = rows.first().and_then(|row| row.first()?.parse().ok()).unwrap_or(0);
    ensure!(indexed >= count, "only {indexed} messages are in the index");
    Ok(())
}
