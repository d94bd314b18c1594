//! Requests to push gateways. Users choose the URL, so it must not lead into the server's own network.

use std::time::Duration;

use hs_outbound::{ClientOptions, ForbiddenAddress, Guard, GuardedClient, ReadError, read_limited};
use reqwest::{Method, Url};
use rustls::ClientConfig;
use serde::Deserialize;
use serde_json::Value;

const TIMEOUT: Duration = Duration::from_secs(10);
/// The most bytes of an answer that are read.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Why a gateway did not take a notification.
#[derive(Debug, thiserror::Error)]
pub(super) enum GatewayError {
    /// The URL leads nowhere it may lead.
    #[error("the gateway's address is not allowed")]
    Forbidden,
    /// It could not be reached.
    #[error("the gateway cannot be reached: {0}")]
    Unreachable(#[from] reqwest::Error),
    /// It did not take the notification.
    #[error("the gateway answered {0}")]
    Refused(u16),
    /// Its answer is not what the specification says.
    #[error("the gateway's answer is none")]
    Nonsense,
}

impl From<ForbiddenAddress> for GatewayError {
    fn from(_: ForbiddenAddress) -> Self {
        Self::Forbidden
    }
}

impl From<ReadError> for GatewayError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::TooLarge(_) => Self::Nonsense,
            ReadError::Broken(error) => Self::Unreachable(error),
        }
    }
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    rejected: Vec<String>,
}

/// The way to push gateways.
#[derive(Clone, Debug)]
pub(super) struct Gateways {
    client: GuardedClient,
}

impl Gateways {
    /// Gateways where the guard lets requests go.
    pub(super) fn new(guard: Guard, tls: ClientConfig) -> Result<Self, reqwest::Error> {
        let options = ClientOptions { timeout: TIMEOUT, max_redirects: 0, https_only: false, tls };
        Ok(Self { client: GuardedClient::new(guard, options)? })
    }

    /// Sends a notification; returns the keys that the gateway wants to hear of no longer.
    pub(super) async fn notify(&self, url: &str, body: &Value) -> Result<Vec<String>, GatewayError> {
        let url: Url = url.parse().map_err(|_| GatewayError::Forbidden)?;
        let response = self.client.request(Method::POST, url)?.json(body).send().await?;
        if !response.status().is_success() {
            return Err(GatewayError::Refused(response.status().as_u16()));
        }
        let answer = read_limited(response, MAX_ANSWER_BYTES).await?;
        // Some gateways answer with nothing at all.
        if answer.is_empty() {
            return Ok(Vec::new());
        }
        let answer: Answer = serde_json::from_slice(&answer).map_err(|_| GatewayError::Nonsense)?;
        Ok(answer.rejected)
    }
}
