//! `kith search`: the index of messages and people.

use std::time::Duration;

use anyhow::Context;
use clap::Subcommand;
use hs_search::{Progress, Search};
use rand::RngExt as _;

use super::{Failure, init_command_logging, load_config, output};
use crate::{
    config::Source,
    database::{Access, Database},
};

/// How often to look while a running server does the work.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug, Subcommand)]
pub(super) enum SearchCommand {
    /// Build the index anew, beside a running server or without one. Searches find less until it is done.
    Rebuild,
}

pub(super) async fn run(source: Source, command: SearchCommand) -> Result<(), Failure> {
    let config = load_config(&source)?;
    init_command_logging(&config)?;
    let database = Database::open(&config, Access::Shared).await?;
    let outcome = async {
        database.prepare(&config).await?;
        let holder = format!("{:016x}", rand::rng().random::<u64>());
        let search = Search::new(database.store.clone(), holder);
        match command {
            SearchCommand::Rebuild => rebuild(&search).await.map_err(Failure::from),
        }
    };
    let outcome = outcome.await;
    database.close().await;
    outcome
}

/// Empties the index, and fills it, unless a running server is quicker.
async fn rebuild(search: &Search) -> anyhow::Result<()> {
    search.request_rebuild().await.context("cannot empty the index")?;
    while !search.state().await.context("cannot read how far the index is")?.is_rebuilt() {
        if search.step().await.context("cannot fill the index")? == Progress::NotOurs {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }
    output::line("The index is built anew.");
    Ok(())
}
