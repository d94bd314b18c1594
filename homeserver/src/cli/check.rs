//! `kith check`: says of everything the server depends on whether it is in order, or what to do.

mod media;
mod network;

use std::{fmt, fs, process::ExitCode};

use super::{Failure, init_command_logging, load_config, output};
use crate::{
    config::{Bind, Config, Source},
    database::{Access, Database, postgres_options, without_password},
    postgres::{EmbeddedPostgres, Inspection},
    signing_key,
};

/// One line of the output.
#[derive(Clone, Debug)]
struct Finding {
    status: Status,
    subject: &'static str,
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Ok,
    /// Works, but is worth knowing.
    Note,
    /// Something needs doing.
    Bad,
}

impl Finding {
    fn ok(subject: &'static str, text: impl Into<String>) -> Self {
        Self { status: Status::Ok, subject, text: text.into() }
    }

    fn note(subject: &'static str, text: impl Into<String>) -> Self {
        Self { status: Status::Note, subject, text: text.into() }
    }

    fn bad(subject: &'static str, text: impl Into<String>) -> Self {
        Self { status: Status::Bad, subject, text: text.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = match self.status {
            Status::Ok => "ok  ",
            Status::Note => "note",
            Status::Bad => "BAD ",
        };
        write!(f, "{status}  {:<14} {}", self.subject, self.text)
    }
}

/// Prints a line per check. The exit code is 1 if something needs doing.
pub(super) async fn run(source: Source) -> Result<ExitCode, Failure> {
    let config = match load_config(&source) {
        Ok(config) => config,
        Err(error) => {
            print(&[Finding::bad("configuration", error.to_string())]);
            return Ok(ExitCode::from(3));
        }
    };
    init_command_logging(&config)?;
    let mut is_good = print(&[Finding::ok("configuration", source.to_string())]);
    is_good &= print(&check_registration(&config));
    is_good &= print(&[check_data_dir(&config), check_signing_key(&config), check_clock()]);
    is_good &= print(&[check_database(&config).await]);
    is_good &= print(&media::check_media(&config).await);
    is_good &= print(&network::check_ports(&config).await);
    is_good &= print(&network::check_names(&config).await);
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(findings: &[Finding]) -> bool {
    for finding in findings {
        output::line(finding);
    }
    findings.iter().all(|finding| finding.status != Status::Bad)
}

/// What the types allow, but an operator may not have meant.
fn check_registration(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    let is_reachable = config.listeners.iter().any(|listener| match &listener.bind {
        Bind::Tcp(address) => !address.ip().is_loopback(),
        Bind::Unix(_) => false,
    });
    let is_open = config.registration.mode == crate::config::RegistrationMode::Open;
    if is_open && (is_reachable || !config.server.is_local()) {
        findings.push(Finding::note(
            "registration",
            "anybody can make an account; set registration.mode to \"token\" unless that is meant",
        ));
    }
    if !config.server.is_local() && config.server.public_base_url.starts_with("http://") {
        findings.push(Finding::note(
            "public URL",
            format!(
                "{} is not encrypted; browsers and most clients insist on https:// beyond the own machine",
                config.server.public_base_url
            ),
        ));
    }
    findings
}

fn check_data_dir(config: &Config) -> Finding {
    let directory = &config.server.data_dir;
    let probe = directory.join(format!(".kith-check-{}", std::process::id()));
    let written = fs::create_dir_all(directory).and_then(|()| fs::write(&probe, b"check"));
    let _ = fs::remove_file(&probe);
    match written {
        Ok(()) => Finding::ok("data directory", directory.display().to_string()),
        Err(error) => Finding::bad(
            "data directory",
            format!(
                "cannot write to {}: {error}; give it to the user that Kith runs as, or set server.data_dir",
                directory.display()
            ),
        ),
    }
}

fn check_signing_key(config: &Config) -> Finding {
    let path = signing_key::path(config);
    match signing_key::load(&path) {
        Ok(Some(key)) => Finding::ok("signing key", format!("{} in {}", key.key_id(), path.display())),
        Ok(None) => {
            Finding::ok("signing key", format!("will be made at the first start in {}", path.display()))
        }
        Err(error) => Finding::bad("signing key", error.to_string()),
    }
}

/// Other servers refuse signatures from a clock that is wrong by more than a little.
fn check_clock() -> Finding {
    let asked =
        std::process::Command::new("timedatectl").args(["show", "-p", "NTPSynchronized", "--value"]).output();
    let answer = asked.ok().filter(|output| output.status.success());
    match answer.as_ref().map(|output| output.stdout.trim_ascii()) {
        Some(b"yes") => Finding::ok("clock", "is kept right over the network"),
        Some(b"no") => Finding::bad(
            "clock",
            "is not kept right over the network; run `timedatectl set-ntp true`, or install chrony",
        ),
        _ => Finding::note(
            "clock",
            "cannot tell whether it is kept right here; the host of a container does that",
        ),
    }
}

/// Looks without changing anything: what is missing is made by the next start.
async fn check_database(config: &Config) -> Finding {
    const SUBJECT: &str = "database";
    let place = if config.database.is_embedded() {
        match EmbeddedPostgres::inspect(&postgres_options(config)) {
            Ok(Inspection::Missing { version }) => {
                return Finding::ok(
                    SUBJECT,
                    format!("will be made at the first start, with Postgres {version}"),
                );
            }
            Ok(Inspection::Exists { directory }) => format!("own Postgres in {}", directory.display()),
            Err(error) => return Finding::bad(SUBJECT, error.to_string()),
        }
    } else {
        without_password(config.database.url.expose())
    };
    let database = match Database::open(config, Access::Shared).await {
        Ok(database) => database,
        Err(error) => return Finding::bad(SUBJECT, error.to_string()),
    };
    let has_schema = match database.store.reader().await {
        Ok(mut reader) => reader.find_log_head().await.is_ok(),
        Err(_) => false,
    };
    database.close().await;
    if has_schema {
        Finding::ok(SUBJECT, place)
    } else {
        Finding::note(SUBJECT, format!("{place} has no schema yet; `kith serve` or `kith migrate` makes it"))
    }
}
