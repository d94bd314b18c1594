//! What a state change in a big room adds to the database.

use std::collections::HashMap;

use anyhow::{Context as _, Result};

use crate::{load::closed_loop, world::World};

/// Tables that keep state carry the word in their names, in Kith as in Synapse.
const STATE_MARK: &str = "state";
const LISTED_TABLES: usize = 6;
const SIZES: &str = "SELECT c.relname, pg_total_relation_size(c.oid) FROM pg_class c \
     JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p') AND n.nspname NOT LIKE 'pg_%' AND n.nspname <> 'information_schema'";

pub(super) async fn run(world: &mut World) -> Result<()> {
    let size = world.sizes.members.iter().copied().max().unwrap_or(1);
    let (room, members) = world.big_room(size).await?;
    let mut owner: Vec<_> = members.into_iter().take(1).collect();
    let limit = world.limit(world.sizes.state_changes);
    let before = table_sizes(world)?;
    let mut row = world
        .measure("growth", format!("topic changes with {size} members"), async {
            Ok(closed_loop(&mut owner, limit, async |session, number| {
                let body = format!(r#"{{"topic":"Topic number {number}"}}"#);
                session
                    .call("PUT", format_args!("/rooms/{room}/state/m.room.topic/"), body.as_bytes())
                    .await?;
                Ok(())
            })
            .await)
        })
        .await?;
    let after = table_sizes(world)?;
    let mut growth: Vec<_> = after
        .into_iter()
        .map(|(table, bytes)| {
            let grown = bytes - before.get(&table).copied().unwrap_or_default();
            (table, grown / row.operations.max(1) as f64)
        })
        .filter(|(_, bytes)| *bytes >= 1.0)
        .collect();
    growth.sort_by(|(_, left), (_, right)| right.total_cmp(left));
    let total: f64 = growth.iter().map(|(_, bytes)| bytes).sum();
    let state: f64 =
        growth.iter().filter(|(table, _)| table.contains(STATE_MARK)).map(|(_, bytes)| bytes).sum();
    let most = growth.iter().take(LISTED_TABLES);
    let most: Vec<_> = most.map(|(table, bytes)| format!("{table} {bytes:.0}")).collect();
    row.add_note(&format!(
        "bytes per change: {state:.0} in state tables, {total:.0} in all (most: {})",
        most.join(", ")
    ));
    world.push(row);
    Ok(())
}

fn table_sizes(world: &World) -> Result<HashMap<String, f64>> {
    let rows = world.server.query(SIZES)?;
    rows.into_iter()
        .map(|row| match <[String; 2]>::try_from(row) {
            Ok([table, bytes]) => Ok((table, bytes.parse()?)),
            Err(row) => anyhow::bail!("unexpected row {row:?}"),
        })
        .collect::<Result<_>>()
        .context("cannot read the table sizes")
}
