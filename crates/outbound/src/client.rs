//! An HTTP client for URLs that somebody else chose.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::{Client, Method, RequestBuilder, Response, Url, redirect::Policy};
use rustls::ClientConfig;

use crate::{ForbiddenAddress, Guard};

/// How a [`GuardedClient`] behaves.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// For a whole request, from looking up the name to the last byte of the answer.
    pub timeout: Duration,
    /// How many redirects are followed.
    pub max_redirects: usize,
    /// Whether only `https` URLs are asked, at first and after redirects.
    pub https_only: bool,
    /// Whose certificates are believed.
    pub tls: ClientConfig,
}

/// An HTTP client that cannot be led into the server's own network. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct GuardedClient {
    client: Client,
    guard: Guard,
}

impl GuardedClient {
    /// A client of its own pool of connections.
    pub fn new(guard: Guard, options: ClientOptions) -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .timeout(options.timeout)
            .redirect(redirects(guard.clone(), options.max_redirects))
            .https_only(options.https_only)
            .no_proxy()
            .dns_resolver(guard.clone())
            .tls_backend_preconfigured(options.tls)
            .user_agent(concat!("Kith/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { client, guard })
    }

    /// Begins a request.
    pub fn request(&self, method: Method, url: Url) -> Result<RequestBuilder, ForbiddenAddress> {
        // Addresses in the URL itself are not looked up, so the resolver does not see them.
        self.guard.check_url(&url)?;
        Ok(self.client.request(method, url))
    }
}

fn redirects(guard: Guard, max: usize) -> Policy {
    if max == 0 {
        return Policy::none();
    }
    Policy::custom(move |attempt| {
        // The first of those before is what was asked for at first.
        if attempt.previous().len() > max {
            return attempt.error("too many redirects");
        }
        match guard.check_url(attempt.url()) {
            Ok(()) => attempt.follow(),
            Err(forbidden) => attempt.error(forbidden),
        }
    })
}

/// Why an answer was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is longer than allowed.
    #[error("the answer is longer than {0} bytes")]
    TooLarge(usize),
    /// It broke off.
    #[error(transparent)]
    Broken(#[from] reqwest::Error),
}

/// Reads the body of an answer, up to `max_bytes`.
pub async fn read_limited(mut response: Response, max_bytes: usize) -> Result<Bytes, ReadError> {
    if response.content_length().is_some_and(|length| length > max_bytes as u64) {
        return Err(ReadError::TooLarge(max_bytes));
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > max_bytes {
            return Err(ReadError::TooLarge(max_bytes));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}
