//! What other servers answer, and what it means that they do not.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header::RETRY_AFTER};
use serde_json::{Map, Value};

/// For how long a server is left alone at most because it says so.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);
/// How much of an error message is kept.
const MAX_MESSAGE_CHARS: usize = 500;

/// Why a request to another server brought no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// This server does not talk to that one, or its address is in a network that requests must keep out of.
    #[error("requests to this server are not allowed")]
    Denied,
    /// The server did not answer lately, and it is not yet time to try again.
    #[error("the server did not answer lately")]
    BackingOff,
    /// It has no address, cannot be connected to, or has no certificate that is right.
    #[error("the server cannot be reached: {0}")]
    Unreachable(String),
    /// The connection broke before the answer was there.
    #[error("the connection to the server broke: {0}")]
    Broken(String),
    /// It took too long.
    #[error("the server did not answer in time")]
    Timeout,
    /// It answered with an error.
    #[error("the server answered {status} {errcode}: {message}")]
    Api {
        /// The status.
        status: StatusCode,
        /// `errcode`, empty if it has none.
        errcode: String,
        /// `error`, empty if it has none.
        message: String,
        /// When to ask again, if it says so.
        retry_after: Option<Duration>,
        /// The whole error.
        body: Map<String, Value>,
    },
    /// Its answer is longer than the limit.
    #[error("the server's answer is too large")]
    TooLarge,
    /// Its answer is not what it must be, or the request cannot be made.
    #[error("the server's answer is malformed: {0}")]
    Malformed(String),
}

impl RequestError {
    /// Whether the server as a whole is in trouble, so that whatever else it is asked would fail as well. An error that
    /// is about the request says that the server works.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::BackingOff | Self::Unreachable(_) | Self::Broken(_) | Self::Timeout => true,
            Self::Api { status, errcode, .. } => {
                // Without an error code it is no Matrix server that answers, but something in front of it.
                let is_about_request =
                    matches!(*status, StatusCode::NOT_FOUND | StatusCode::PAYLOAD_TOO_LARGE);
                status.is_server_error() || (errcode.is_empty() && !is_about_request)
            }
            Self::Denied | Self::TooLarge | Self::Malformed(_) => false,
        }
    }

    /// Whether the same request may go well later: after an outage, or when the server asks for patience.
    pub fn is_transient(&self) -> bool {
        self.is_outage() || matches!(self, Self::Api { status: StatusCode::TOO_MANY_REQUESTS, .. })
    }

    /// Whether the server answered with this error code.
    pub fn is_errcode(&self, code: &str) -> bool {
        matches!(self, Self::Api { errcode, .. } if errcode == code)
    }

    /// A name for figures.
    pub(super) fn outcome(&self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::BackingOff => "backing_off",
            Self::Unreachable(_) => "unreachable",
            Self::Broken(_) => "broken",
            Self::Timeout => "timeout",
            Self::Api { status, .. } if status.is_server_error() => "server_error",
            Self::Api { .. } => "refused",
            Self::TooLarge => "too_large",
            Self::Malformed(_) => "malformed",
        }
    }
}

/// The error that an answer is.
pub(super) fn api_error(status: StatusCode, headers: &HeaderMap, body: &Bytes) -> RequestError {
    let body: Map<String, Value> = serde_json::from_slice(body).unwrap_or_default();
    let text = |key: &str| -> String {
        let text = body.get(key).and_then(Value::as_str).unwrap_or_default();
        text.chars().take(MAX_MESSAGE_CHARS).collect()
    };
    let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let milliseconds = body.get("retry_after_ms").and_then(Value::as_u64);
    let retry_after = seconds.map(Duration::from_secs).or(milliseconds.map(Duration::from_millis));
    RequestError::Api {
        status,
        errcode: text("errcode"),
        message: text("error"),
        retry_after: retry_after.map(|time| time.min(MAX_RETRY_AFTER)),
        body,
    }
}
