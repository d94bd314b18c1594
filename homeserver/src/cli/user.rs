//! `kith user`: accounts from the command line, beside a running server or without one.

use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};
use hs_accounts::{Accounts, NewUser};
use hs_storage::{accounts::AccountSummary, moderation::Measure};

use super::{Failure, init_command_logging, load_config, output, password};
use crate::{
    config::Source,
    database::{Access, Database},
    wiring,
};

/// How many accounts are read at once.
const PAGE: i64 = 500;

#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// Make an account.
    Create(Create),
    /// Set the password of an account; all its sessions end.
    Password {
        /// The name, or the whole user id.
        name: String,
        /// Let the sessions go on.
        #[arg(long)]
        keep_sessions: bool,
        /// Make up a password and print it, instead of asking for one.
        #[arg(long)]
        generate: bool,
    },
    /// Make a user an administrator of this server.
    Admin {
        /// The name, or the whole user id.
        name: String,
        /// Make them an ordinary user again.
        #[arg(long)]
        revoke: bool,
    },
    /// Lock an account: nothing can be done with it but log out, until it is unlocked.
    Lock {
        /// The name, or the whole user id.
        name: String,
        /// Unlock it again.
        #[arg(long)]
        undo: bool,
    },
    /// Suspend an account: its user can only read, and tidy up, until the suspension is lifted.
    Suspend {
        /// The name, or the whole user id.
        name: String,
        /// Lift the suspension.
        #[arg(long)]
        undo: bool,
    },
    /// List the accounts: user id, what they are, and when they were made.
    List,
    /// Close an account for good: its sessions end, and nobody can have its name again.
    Deactivate {
        /// The name, or the whole user id.
        name: String,
        /// Hide what the user wrote from those who have not read it yet.
        #[arg(long)]
        erase: bool,
    },
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// The name: what stands before the colon in the user id.
    name: String,
    /// Make the user an administrator of this server.
    #[arg(long)]
    admin: bool,
    /// What to call the user.
    #[arg(long, value_name = "TEXT")]
    display_name: Option<String>,
    /// Make up a password and print it, instead of asking for one (or reading it from the standard input).
    #[arg(long, conflicts_with = "no_password")]
    generate: bool,
    /// Nobody can log in by password until one is set.
    #[arg(long)]
    no_password: bool,
}

pub(super) async fn run(source: Source, command: UserCommand) -> Result<(), Failure> {
    let config = load_config(&source)?;
    init_command_logging(&config)?;
    let database = Database::open(&config, Access::Shared).await?;
    let outcome = async {
        database.prepare(&config).await?;
        let accounts = wiring::accounts::open(&config, database.store.clone())?;
        act(&accounts, command).await.map_err(Failure::from)
    };
    let outcome = outcome.await;
    database.close().await;
    outcome
}

async fn act(accounts: &Accounts, command: UserCommand) -> anyhow::Result<()> {
    match command {
        UserCommand::Create(create) => return make(accounts, create).await,
        UserCommand::Password { name, keep_sessions, generate } => {
            let password = if generate { password::generate() } else { password::read()? };
            let user = accounts
                .admin_set_password(&name, &password, !keep_sessions)
                .await
                .with_context(|| format!("cannot set the password of {name}"))?;
            if generate {
                output::line(format!("{user} {}", *password));
            } else {
                output::line(format!("{user} has a new password."));
            }
        }
        UserCommand::Admin { name, revoke } => {
            let changed = accounts.admin_set_admin(&name, !revoke).await;
            let user = changed.with_context(|| format!("cannot change {name}"))?;
            output::line(format!("{user} {} an administrator.", if revoke { "is no longer" } else { "is" }));
        }
        UserCommand::Lock { name, undo } => {
            let changed = accounts.admin_set_measure(&name, Measure::Lock, !undo).await;
            let user = changed.with_context(|| format!("cannot change {name}"))?;
            output::line(format!("{user} {} locked.", if undo { "is no longer" } else { "is" }));
        }
        UserCommand::Suspend { name, undo } => {
            let changed = accounts.admin_set_measure(&name, Measure::Suspension, !undo).await;
            let user = changed.with_context(|| format!("cannot change {name}"))?;
            output::line(format!("{user} {} suspended.", if undo { "is no longer" } else { "is" }));
        }
        UserCommand::List => list(accounts).await?,
        UserCommand::Deactivate { name, erase } => {
            let closed = accounts.admin_deactivate(&name, erase).await;
            output::line(format!("{} is closed.", closed.with_context(|| format!("cannot close {name}"))?));
        }
    }
    Ok(())
}

async fn make(accounts: &Accounts, create: Create) -> anyhow::Result<()> {
    let Create { name, admin, display_name, generate, no_password } = create;
    let password = match (no_password, generate) {
        (true, _) => None,
        (false, true) => Some(password::generate()),
        (false, false) => Some(password::read()?),
    };
    let new = NewUser {
        username: name.clone(),
        password: password.as_deref().cloned(),
        is_admin: admin,
        user_type: None,
        displayname: display_name,
    };
    let made = accounts.admin_create_user(&new).await;
    let user = made.with_context(|| format!("cannot make the account {name}"))?;
    match password.filter(|_| generate) {
        Some(password) => output::line(format!("{user} {}", *password)),
        None => output::line(format!("{user} is there.")),
    }
    Ok(())
}

async fn list(accounts: &Accounts) -> anyhow::Result<()> {
    let mut after = String::new();
    loop {
        let page = accounts.admin_list_users(&after, PAGE).await.context("cannot list the accounts")?;
        let Some(last) = page.last() else { return Ok(()) };
        after.clone_from(&last.user_id);
        for account in &page {
            output::line(line(account));
        }
    }
}

/// One account: its id, what it is, and when it was made.
fn line(account: &AccountSummary) -> String {
    let mut traits = Vec::new();
    if account.is_admin {
        traits.push("admin");
    }
    traits.extend(account.user_type.as_deref());
    if account.deactivated_at.is_some() {
        traits.push("deactivated");
    }
    if traits.is_empty() {
        traits.push("-");
    }
    format!("{}\t{}\t{}", account.user_id, traits.join(","), date(account.created_at))
}

/// The day of a time in milliseconds, as 2026-11-22, in UTC.
fn date(time_ms: i64) -> String {
    const DAYS_IN_400_YEARS: i64 = 146_097;
    // Years that begin in March have their leap day at the end, so that a formula gives the month. Day 0 is 1970-01-01,
    // which is 719,468 days after 0000-03-01.
    let days = Duration::from_millis(time_ms.max(0).cast_unsigned()).as_secs() as i64 / 86_400 + 719_468;
    let (era, day_of_era) = (days / DAYS_IN_400_YEARS, days % DAYS_IN_400_YEARS);
    let leap_corrected = day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096;
    let year_of_era = leap_corrected / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (time_ms, expected) in [
            (0, "1970-01-01"),
            (951_782_400_000, "2000-02-29"),
            (1_709_164_799_999, "2024-02-28"),
            (1_709_164_800_000, "2024-02-29"),
            (4_107_542_400_000, "2100-03-01"),
            (1_795_356_355_000, "2026-11-22"),
        ] {
            assert_eq!(date(time_ms), expected);
        }
    }

    #[test]
    fn line_says_what_an_account_is() {
        let account = AccountSummary {
            user_id: "@a:b".to_owned(),
            is_admin: true,
            user_type: Some("bot".to_owned()),
            created_at: 0,
            deactivated_at: Some(1),
        };

        assert_eq!(line(&account), "@a:b\tadmin,bot,deactivated\t1970-01-01");
    }
}
