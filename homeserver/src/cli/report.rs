//! `kith report`: what people have reported.

use anyhow::{Context, bail};
use clap::Subcommand;
use hs_storage::{
    Store,
    moderation::{Report, ReportKind, ReportQuery},
};

use super::{Failure, init_command_logging, load_config, output};
use crate::{
    config::Source,
    database::{Access, Database},
};

/// How many reports are read at once.
const PAGE: i64 = 200;

#[derive(Clone, Copy, Debug, Subcommand)]
pub(super) enum ReportCommand {
    /// List the reports, oldest first: number, what is reported, by whom, and why.
    List,
    /// Delete a report that was dealt with.
    Close {
        /// Its number.
        id: i64,
    },
}

pub(super) async fn run(source: Source, command: ReportCommand) -> Result<(), Failure> {
    let config = load_config(&source)?;
    init_command_logging(&config)?;
    let database = Database::open(&config, Access::Shared).await?;
    let outcome = async {
        database.prepare(&config).await?;
        act(&database.store, command).await.map_err(Failure::from)
    };
    let outcome = outcome.await;
    database.close().await;
    outcome
}

async fn act(store: &Store, command: ReportCommand) -> anyhow::Result<()> {
    match command {
        ReportCommand::List => {
            let mut query = ReportQuery { oldest_first: true, limit: PAGE, ..ReportQuery::default() };
            loop {
                let (reports, _) =
                    store.reader().await?.list_reports(query).await.context("cannot read the reports")?;
                for report in &reports {
                    output::line(line(report));
                }
                if (reports.len() as i64) < PAGE {
                    return Ok(());
                }
                query.skip += PAGE;
            }
        }
        ReportCommand::Close { id } => {
            let mut txn = store.begin().await?;
            if !txn.delete_report(id).await.context("cannot delete the report")? {
                bail!("there is no report {id}");
            }
            txn.commit().await.context("cannot delete the report")?;
            output::line(format!("Report {id} is closed."));
            Ok(())
        }
    }
}

/// One report. What people wrote may hold anything; it stays on its line.
fn line(report: &Report) -> String {
    let nothing = || "-".to_owned();
    let subject = match report.kind {
        ReportKind::Event => format!(
            "event {} by {} in {}",
            report.event_id.clone().unwrap_or_else(nothing),
            report.user_id.clone().unwrap_or_else(nothing),
            report.room_id.clone().unwrap_or_else(nothing)
        ),
        ReportKind::Room => format!("room {}", report.room_id.clone().unwrap_or_else(nothing)),
        ReportKind::User => format!("user {}", report.user_id.clone().unwrap_or_else(nothing)),
    };
    format!("{}\t{subject}\t{}\t{}", report.id, report.reporter, report.reason.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_stays_on_its_line() {
        let report = Report {
            id: 7,
            kind: ReportKind::User,
            reporter: "@a:b".to_owned(),
            room_id: None,
            event_id: None,
            event: None,
            user_id: Some("@c:d".to_owned()),
            reason: "bad\nthings\u{1b}[31m".to_owned(),
            score: None,
            created_at: 0,
        };

        assert_eq!(line(&report), "7\tuser @c:d\t@a:b\tbad\\nthings\\u{1b}[31m");
    }
}
