//! Log lines by `tracing`.

use std::io::{self, IsTerminal};

use tracing_subscriber::{
    EnvFilter, Layer, Registry, filter::ParseError, fmt, layer::SubscriberExt, reload,
    util::SubscriberInitExt,
};

use crate::config::{LogFormat, Logging};

/// Parts that say at `info` what concerns nobody (that a table already exists). The configured filter comes later and
/// can undo this.
const QUIET: &str = "sqlx::postgres::notice=error,ruma_state_res=error,ruma_common::identifiers=error";

/// Changes the filter of a running program.
#[derive(Clone, Debug)]
pub struct LogHandle(reload::Handle<EnvFilter, Registry>);

/// The filter could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The text is no filter.
    #[error("logging.filter: {0}")]
    Parse(#[from] ParseError),
    /// Logging has ended.
    #[error("logging has ended: {0}")]
    Gone(#[from] reload::Error),
}

impl LogHandle {
    /// Uses another filter from now on.
    pub fn set_filter(&self, filter: &str) -> Result<(), ReloadError> {
        Ok(self.0.reload(parse_filter(filter)?)?)
    }
}

fn parse_filter(filter: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::builder().parse(format!("{QUIET},{filter}"))
}

/// Sends log lines to the standard error output from now on. To be called once, at the start of the program.
pub fn init_logging(logging: &Logging) -> Result<LogHandle, ReloadError> {
    let (filter, handle) = reload::Layer::new(parse_filter(&logging.filter)?);
    let is_terminal = io::stderr().is_terminal();
    let layer = fmt::layer().with_writer(io::stderr as fn() -> io::Stderr).with_ansi(is_terminal);
    let lines = match logging.format {
        LogFormat::Json => json(layer),
        LogFormat::Auto if !is_terminal => json(layer),
        LogFormat::Pretty | LogFormat::Auto => layer.with_target(false).boxed(),
    };
    Registry::default().with(filter).with(lines).init();
    Ok(LogHandle(handle))
}

/// One object per line: the fields of the event at the top, those of the spans around it (the request id) in `spans`.
fn json<S>(
    layer: fmt::Layer<S, fmt::format::DefaultFields, fmt::format::Format, fn() -> io::Stderr>,
) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    layer.json().flatten_event(true).with_current_span(false).with_span_list(true).boxed()
}
