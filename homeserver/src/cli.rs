//! The commands of the `kith` program.

mod check;
mod failure;
mod media;
mod output;
mod password;
mod report;
mod search;
mod user;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use self::{
    failure::Failure, media::MediaCommand, report::ReportCommand, search::SearchCommand, user::UserCommand,
};
use crate::{
    config::{self, Config, ConfigError, LogFormat, Logging, Source},
    database::{Access, Database},
    telemetry::init_logging,
    wiring::{self, Reload},
};

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed; for `check`: something needs doing
  2  wrong usage
  3  the configuration cannot be used
  4  the database cannot be used, or another Kith is running on the data directory
  5  an address to listen on is taken

Configuration: --config, or $KITH_CONFIG, or kith.toml in the working directory, or the defaults. Each option can also
be set in the environment, as KITH_SECTION__KEY.";

/// A Matrix homeserver in one program.
#[derive(Debug, Parser)]
#[command(name = "kith", version, after_help = EXIT_CODES, max_term_width = 110)]
struct Arguments {
    /// The configuration file.
    #[arg(long, short, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server.
    Serve,
    /// Print a configuration file with every option, its default and what it does.
    GenerateConfig,
    /// Bring the database's schema up to date without starting the server (`serve` does so too).
    Migrate,
    /// Check configuration, database, keys, clock, ports, DNS and well-known: each line says ok or what to do.
    Check,
    /// Make and change accounts.
    #[command(subcommand)]
    User(UserCommand),
    /// What people have reported.
    #[command(subcommand)]
    Report(ReportCommand),
    /// The index of messages and people.
    #[command(subcommand)]
    Search(SearchCommand),
    /// Files that people attach, and where they lie.
    #[command(subcommand)]
    Media(MediaCommand),
    /// Print the version.
    Version,
}

/// Runs the command that the arguments of the process name.
pub fn main() -> ExitCode {
    // Usage errors and --help end here, with exit code 2 and 0.
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    // For requests that we make ourselves. Only fails if done before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match arguments.command {
        Command::GenerateConfig => output::line(config::example::example().trim_end()),
        Command::Version => output::line(format!("kith {}", env!("CARGO_PKG_VERSION"))),
        Command::Serve => serve(config_source(arguments.config))?,
        Command::Migrate => block_on(migrate(config_source(arguments.config)))??,
        Command::User(command) => block_on(user::run(config_source(arguments.config), command))??,
        Command::Report(command) => block_on(report::run(config_source(arguments.config), command))??,
        Command::Search(command) => block_on(search::run(config_source(arguments.config), command))??,
        Command::Media(command) => block_on(media::run(config_source(arguments.config), command))??,
        Command::Check => return block_on(check::run(config_source(arguments.config)))?,
    }
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::disallowed_methods, reason = "the environment is read here and nowhere else")]
fn config_source(named: Option<PathBuf>) -> Source {
    Source::find(named.or_else(|| std::env::var_os("KITH_CONFIG").map(PathBuf::from)))
}

#[expect(clippy::disallowed_methods, reason = "the environment is read here and nowhere else")]
fn load_config(source: &Source) -> Result<Config, ConfigError> {
    // What is not text cannot be meant for us.
    let environment = std::env::vars_os()
        .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
    Config::load(source, environment)
}

fn block_on<T>(future: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::other)?;
    Ok(runtime.block_on(future))
}

fn serve(source: Source) -> Result<(), Failure> {
    let config = load_config(&source)?;
    let log = init_logging(&config.logging).map_err(Failure::other)?;
    tracing::info!(configuration = %source, "starting");
    let reload = Reload { source, log, load: load_config };
    block_on(wiring::run(config, reload))?.map_err(Failure::from)
}

/// Commands talk through their output; the log is for what goes wrong on the way.
fn init_command_logging(config: &Config) -> Result<(), Failure> {
    let filter =
        if config.logging.filter == Logging::default().filter { "warn" } else { &config.logging.filter };
    let logging = Logging { filter: filter.to_owned(), format: LogFormat::Pretty };
    init_logging(&logging).map_err(Failure::other)?;
    Ok(())
}

async fn migrate(source: Source) -> Result<(), Failure> {
    let config = load_config(&source)?;
    init_command_logging(&config)?;
    let database = Database::open(&config, Access::Shared).await?;
    let outcome = database.prepare(&config).await;
    database.close().await;
    outcome?;
    output::line("The database is up to date.");
    Ok(())
}
