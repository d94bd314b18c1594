//! What the server tells its operators: log lines and figures.

mod logging;
mod metrics;
mod process;
mod requests;

pub use self::{
    logging::{LogHandle, ReloadError, init_logging},
    metrics::Metrics,
    requests::measure,
};
