//! Where servers say that another host serves for them.

use std::{
    fmt::Debug,
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use hs_outbound::{GuardedClient, read_limited};
use http::{HeaderMap, header};
use moka::{Expiry, future::Cache};
use reqwest::{Method, Url};
use ruma::{OwnedServerName, ServerName};
use serde::Deserialize;

/// How many servers are remembered.
const CACHE_SIZE: u64 = 20_000;
/// How large the file may be.
const MAX_BYTES: usize = 50 * 1024;
/// How long an answer holds that does not say so, and for how long at most and at least.
const DEFAULT_TTL: Duration = Duration::from_hours(24);
const MAX_TTL: Duration = Duration::from_hours(48);
const MIN_TTL: Duration = Duration::from_mins(5);
/// How long it holds that there is no such file.
const ABSENT_TTL: Duration = Duration::from_hours(1);
/// How long it holds that nobody answered: at first, and then twice as long each time up to [`ABSENT_TTL`].
const FIRST_FAILURE_TTL: Duration = Duration::from_secs(30);

/// What a server's `.well-known` was found to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// It names who serves for the server, and for how long that holds, if it says so.
    Delegated(OwnedServerName, Option<Duration>),
    /// There is none, or it is none.
    Absent,
    /// Nobody answered.
    Failed,
}

/// An answer that takes a while.
pub type FetchFuture<'a> = Pin<Box<dyn Future<Output = Fetched> + Send + 'a>>;

/// Reads the `.well-known` of servers.
pub trait Fetch: Debug + Send + Sync {
    /// Asks a host, without a port.
    fn fetch<'a>(&'a self, host: &'a str) -> FetchFuture<'a>;
}

/// Remembers what was read. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct WellKnownCache {
    fetch: Arc<dyn Fetch>,
    known: Cache<OwnedServerName, Entry>,
    /// What was last read of each server that answered: it holds on while the server's web server is down.
    last_good: Cache<OwnedServerName, OwnedServerName>,
    /// How often in a row nobody answered.
    failures: Cache<OwnedServerName, u32>,
}

#[derive(Clone, Debug)]
struct Entry {
    delegated: Option<OwnedServerName>,
    ttl: Duration,
}

#[derive(Debug)]
struct ByEntry;

impl Expiry<OwnedServerName, Entry> for ByEntry {
    fn expire_after_create(&self, _: &OwnedServerName, entry: &Entry, _: Instant) -> Option<Duration> {
        Some(entry.ttl)
    }
}

impl WellKnownCache {
    /// An empty cache in front of `fetch`.
    pub fn new(fetch: Arc<dyn Fetch>) -> Self {
        Self {
            fetch,
            known: Cache::builder().max_capacity(CACHE_SIZE).expire_after(ByEntry).build(),
            last_good: Cache::builder().max_capacity(CACHE_SIZE).time_to_live(MAX_TTL).build(),
            failures: Cache::builder().max_capacity(CACHE_SIZE).time_to_live(2 * ABSENT_TTL).build(),
        }
    }

    /// Who serves for a server, if it says so. Those who ask at the same time wait for one answer.
    pub(super) async fn find(&self, server: &ServerName) -> Option<OwnedServerName> {
        let entry = self.known.get_with(server.to_owned(), self.read(server)).await;
        entry.delegated
    }

    async fn read(&self, server: &ServerName) -> Entry {
        match self.fetch.fetch(server.host()).await {
            Fetched::Delegated(name, max_age) => {
                self.failures.invalidate(server).await;
                self.last_good.insert(server.to_owned(), name.clone()).await;
                let ttl = max_age.unwrap_or(DEFAULT_TTL).clamp(MIN_TTL, MAX_TTL);
                Entry { delegated: Some(name), ttl }
            }
            Fetched::Absent => {
                self.failures.invalidate(server).await;
                self.last_good.invalidate(server).await;
                Entry { delegated: None, ttl: ABSENT_TTL }
            }
            Fetched::Failed => {
                let failures = self.failures.get(server).await.unwrap_or(0);
                self.failures.insert(server.to_owned(), failures.saturating_add(1)).await;
                let ttl = FIRST_FAILURE_TTL.saturating_mul(1 << failures.min(10)).min(ABSENT_TTL);
                Entry { delegated: self.last_good.get(server).await, ttl }
            }
        }
    }
}

/// Reads it over HTTPS.
#[derive(Clone, Debug)]
pub struct HttpFetch(GuardedClient);

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "m.server")]
    server: OwnedServerName,
}

impl HttpFetch {
    /// Through a client that follows a few redirects, and speaks HTTPS only.
    pub fn new(client: GuardedClient) -> Self {
        Self(client)
    }

    async fn get(&self, host: &str) -> Option<Fetched> {
        let url: Url = format!("https://{host}/.well-known/matrix/server").parse().ok()?;
        let Ok(request) = self.0.request(Method::GET, url) else { return Some(Fetched::Absent) };
        let response = request.send().await.ok()?;
        if response.status().is_server_error() {
            return None;
        }
        if !response.status().is_success() {
            return Some(Fetched::Absent);
        }
        let max_age = max_age(response.headers());
        let body = read_limited(response, MAX_BYTES).await.ok()?;
        let answer: Result<Answer, _> = serde_json::from_slice(&body);
        Some(answer.map_or(Fetched::Absent, |answer| Fetched::Delegated(answer.server, max_age)))
    }
}

impl Fetch for HttpFetch {
    fn fetch<'a>(&'a self, host: &'a str) -> FetchFuture<'a> {
        Box::pin(async move { self.get(host).await.unwrap_or(Fetched::Failed) })
    }
}

/// For how long the answer says that it may be kept.
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let directives = headers.get_all(header::CACHE_CONTROL);
    let directives =
        directives.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let mut age = None;
    for directive in directives.map(|directive| directive.trim().to_ascii_lowercase()) {
        match directive.split_once('=') {
            None if directive == "no-store" || directive == "no-cache" => return Some(Duration::ZERO),
            Some(("max-age", seconds)) => {
                let seconds = seconds.trim_matches('"').parse();
                age = seconds.ok().map(Duration::from_secs).or(age);
            }
            _ => {}
        }
    }
    age.or_else(|| until_expiry(headers))
}

/// How long it is until the moment at which the answer says that it expires, by the clock of who answers.
fn until_expiry(headers: &HeaderMap) -> Option<Duration> {
    let read = |name| httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok();
    let expires = headers.get(header::EXPIRES)?;
    // What is no date, such as 0, has expired.
    let Ok(expires) = httpdate::parse_http_date(expires.to_str().ok()?) else { return Some(Duration::ZERO) };
    let now = read(header::DATE)?;
    Some(expires.duration_since(now).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_control_says_how_long() {
        let age = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CACHE_CONTROL, value.parse().unwrap());
            max_age(&headers)
        };
        assert_eq!(age("public, Max-Age=600"), Some(Duration::from_mins(10)));
        assert_eq!(age("max-age=600, no-store"), Some(Duration::ZERO));
        assert_eq!(age("max-age=soon"), None);
        assert_eq!(max_age(&HeaderMap::new()), None);
    }

    #[test]
    fn expiry_counts_where_nothing_else_is_said() {
        let mut headers = HeaderMap::new();
        headers.insert(header::DATE, "Sun, 06 Nov 1994 08:49:37 GMT".parse().unwrap());
        headers.insert(header::EXPIRES, "Sun, 06 Nov 1994 08:59:37 GMT".parse().unwrap());
        assert_eq!(max_age(&headers), Some(Duration::from_mins(10)));

        headers.insert(header::EXPIRES, "0".parse().unwrap());
        assert_eq!(max_age(&headers), Some(Duration::ZERO));

        headers.insert(header::CACHE_CONTROL, "max-age=600".parse().unwrap());
        assert_eq!(max_age(&headers), Some(Duration::from_mins(10)));
    }
}
