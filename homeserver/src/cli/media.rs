//! `kith media`: files and where they lie.

use anyhow::Context;
use clap::{Subcommand, ValueEnum};
use hs_storage::media::BlobStore;
use media_repo::{Repository, thumbnail::Thumbnailer};

use super::{Failure, init_command_logging, load_config, output};
use crate::{
    config::Source,
    database::{Access, Database},
    wiring::media,
};

#[derive(Clone, Copy, Debug, Subcommand)]
pub(super) enum MediaCommand {
    /// Move all files into the other store, beside a running server or without one. Both stores must be configured; what
    /// was broken off is gone on with.
    Migrate {
        /// Where to.
        to: To,
    },
    /// Look for media whose files are missing, and files that belong to no media.
    Check {
        /// Forget the former, which nobody can read, and delete the latter.
        #[arg(long)]
        repair: bool,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum To {
    /// The directory.
    Disk,
    /// The S3-compatible store.
    S3,
}

pub(super) async fn run(source: Source, command: MediaCommand) -> Result<(), Failure> {
    let config = load_config(&source)?;
    init_command_logging(&config)?;
    let database = Database::open(&config, Access::Shared).await?;
    let outcome = async {
        database.prepare(&config).await?;
        let thumbnailer = Thumbnailer::new(config.media.thumbnail_options());
        let repository = media::open(&config, database.store.clone(), thumbnailer, None)?;
        match command {
            MediaCommand::Migrate { to } => migrate(&repository, to).await.map_err(Failure::from),
            MediaCommand::Check { repair } => check(&repository, repair).await.map_err(Failure::from),
        }
    };
    let outcome = outcome.await;
    database.close().await;
    outcome
}

async fn migrate(repository: &Repository, to: To) -> anyhow::Result<()> {
    let to = match to {
        To::Disk => BlobStore::Disk,
        To::S3 => BlobStore::Objects,
    };
    let moved = repository.move_all(to, |moved| {
        output::line(format!("{} files, {} bytes", moved.files, moved.bytes));
    });
    let moved = moved.await.context("not all files could be moved: run this again")?;
    output::line(format!("Moved {} files of {} bytes.", moved.files, moved.bytes));
    anyhow::ensure!(
        moved.failed == 0,
        "{} files are missing or damaged: see `kith media check`",
        moved.failed
    );
    Ok(())
}

async fn check(repository: &Repository, repair: bool) -> anyhow::Result<()> {
    let checked = repository.check().await.context("the files could not be looked at")?;
    for blob in &checked.missing {
        output::line(format!("missing: {}", blob.key));
    }
    for (_, key, size) in &checked.orphaned {
        output::line(format!("belongs to nothing: {key} ({size} bytes)"));
    }
    if repair {
        let own = &repository.options().server_name;
        for (origin, id) in repository.repair(&checked).await.context("not everything could be repaired")? {
            let server = if origin.is_empty() { own.as_str() } else { &origin };
            output::line(format!("lost: mxc://{server}/{id}"));
        }
    }
    let found = checked.missing.len() + checked.orphaned.len();
    output::line(format!("{} contents, {found} faults.", checked.blobs));
    anyhow::ensure!(repair || found == 0, "there are faults: `kith media check --repair` deals with them");
    Ok(())
}
