//! The one way to ask another server.

use std::{fmt, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use hs_outbound::{Guard, GuardedClient};
use hs_room_rules::sign::SigningKey;
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper_util::{
    client::legacy,
    rt::{TokioExecutor, TokioTimer},
};
use metrics::{counter, describe_counter, describe_histogram, histogram};
use ruma::{
    OwnedServerName, ServerName,
    api::{IncomingResponseExt as _, OutgoingBody, OutgoingRequest, path_builder::PathBuilder},
};
use rustls::ClientConfig;
use tokio::time::Instant;

pub use super::response::RequestError;
use super::{
    connector::{ConnectError, Connector},
    outages::Outages,
    response::api_error,
};
use crate::{
    ServerPolicy,
    discovery::{Discovery, Dns, HttpFetch, WellKnownCache},
    request_auth::SignedRequest,
};

/// How long a connection is kept for the next request.
const IDLE_TIMEOUT: Duration = Duration::from_mins(2);
/// How many are kept for each server that does not speak HTTP/2.
const MAX_IDLE_PER_SERVER: usize = 4;
/// How often an HTTP/2 connection in use is asked whether it still stands, and how long the answer may take.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a server's `.well-known` may take, and how many redirects it may be behind.
const WELL_KNOWN_TIMEOUT: Duration = Duration::from_secs(10);
const WELL_KNOWN_REDIRECTS: usize = 5;

/// How much a request may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From finding the server to the last byte of its answer.
    pub timeout: Duration,
    /// The longest answer that is read.
    pub max_response_bytes: usize,
}

impl Default for Limits {
    /// For ordinary requests, about one thing, that somebody may be waiting for.
    fn default() -> Self {
        Self { timeout: Duration::from_secs(30), max_response_bytes: 4 * 1024 * 1024 }
    }
}

impl Limits {
    /// The usual size, and another time.
    pub fn within(timeout: Duration) -> Self {
        Self { timeout, ..Self::default() }
    }
}

/// What a client is made of.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// The name of this server.
    pub server_name: OwnedServerName,
    /// Signs requests.
    pub signing_key: Arc<SigningKey>,
    /// Which servers are asked at all.
    pub policy: ServerPolicy,
    /// Keeps requests out of our own network.
    pub guard: Guard,
    /// Whose certificates are believed.
    pub tls: ClientConfig,
}

/// A client cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make a client for other servers: {0}")]
pub struct ClientError(#[from] reqwest::Error);

/// Asks other servers. Cloning is cheap.
#[derive(Clone)]
pub struct FederationClient {
    inner: Arc<Inner>,
    /// Whether servers are asked that did not answer lately.
    is_insisting: bool,
}

struct Inner {
    server_name: OwnedServerName,
    signing_key: Arc<SigningKey>,
    policy: ServerPolicy,
    discovery: Discovery,
    http: legacy::Client<Connector, Full<Bytes>>,
    outages: Outages,
}

impl fmt::Debug for FederationClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FederationClient")
            .field("server_name", &self.inner.server_name)
            .finish_non_exhaustive()
    }
}

impl FederationClient {
    /// A client that finds servers with `dns`.
    pub fn new(options: ClientOptions, dns: Arc<dyn Dns>) -> Result<Self, ClientError> {
        describe_counter!(
            "kith_federation_requests_sent_total",
            "Requests to other servers, by what came of them."
        );
        describe_histogram!("kith_federation_request_seconds", "How long other servers took to answer.");
        let ClientOptions { server_name, signing_key, policy, guard, tls } = options;
        let web = hs_outbound::ClientOptions {
            timeout: WELL_KNOWN_TIMEOUT,
            max_redirects: WELL_KNOWN_REDIRECTS,
            https_only: true,
            tls: tls.clone(),
        };
        let fetch = HttpFetch::new(GuardedClient::new(guard.clone(), web)?);
        let discovery = Discovery::new(dns, WellKnownCache::new(Arc::new(fetch)));
        let http = legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(MAX_IDLE_PER_SERVER)
            .http2_adaptive_window(true)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .http2_keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .build(Connector::new(discovery.clone(), guard, tls));
        let inner = Inner { server_name, signing_key, policy, discovery, http, outages: Outages::new() };
        Ok(Self { inner: Arc::new(inner), is_insisting: false })
    }

    /// The same client for requests that are made though the server did not answer lately: those that have pauses of their own,
    /// or that nobody else could answer.
    #[must_use]
    pub fn insisting(&self) -> Self {
        Self { inner: self.inner.clone(), is_insisting: true }
    }

    /// Whether a server did not answer lately, so that it had better be asked after others.
    pub fn is_away(&self, server: &ServerName) -> bool {
        self.inner.outages.contains(server)
    }

    /// A request of another server has come in: it is there again, should it not have answered.
    pub fn heard_from(&self, server: &ServerName) {
        self.inner.outages.heard(server);
    }

    /// The name of this server.
    pub fn server_name(&self) -> &ServerName {
        &self.inner.server_name
    }

    /// Which servers are asked at all.
    pub fn policy(&self) -> &ServerPolicy {
        &self.inner.policy
    }

    /// Makes a request of ruma's server-server API, signed, and waits for the answer.
    pub fn send<R>(
        &self,
        destination: &ServerName,
        request: R,
        limits: Limits,
    ) -> impl Future<Output = Result<R::IncomingResponse, RequestError>> + Send + use<R>
    where
        R: OutgoingRequest,
        for<'a> R::PathBuilder: PathBuilder<Input<'a> = ()>,
    {
        let exchange = plain_request(request).map(|request| self.exchange(destination, request, limits));
        async move {
            let (parts, body) = exchange?.await?.into_parts();
            R::IncomingResponse::try_from_http_response(Response::from_parts(parts, &*body))
                .map_err(|error| RequestError::Malformed(error.to_string()))
        }
    }

    /// Makes a request whose URI is path and query, signed, and waits for an answer that is no error. For what ruma has
    /// no fitting type for.
    pub fn exchange(
        &self,
        destination: &ServerName,
        request: Request<Bytes>,
        limits: Limits,
    ) -> impl Future<Output = Result<Response<Bytes>, RequestError>> + Send + use<> {
        let (client, destination) = (self.clone(), destination.to_owned());
        Box::pin(async move {
            let begun_at = Instant::now();
            let exchanged = tokio::time::timeout(
                limits.timeout,
                client.exchange_unbounded(&destination, request, limits.max_response_bytes),
            );
            let answer = exchanged.await.unwrap_or(Err(RequestError::Timeout));
            let outcome = answer.as_ref().map_or_else(RequestError::outcome, |_| "ok");
            counter!("kith_federation_requests_sent_total", "outcome" => outcome).increment(1);
            match &answer {
                Ok(_) => {
                    histogram!("kith_federation_request_seconds").record(begun_at.elapsed().as_secs_f64());
                }
                Err(error) => tracing::debug!(%destination, %error, "request to another server failed"),
            }
            answer
        })
    }

    /// As [`exchange`](Self::exchange), for an answer whose body is read as it comes. Redirects are handed out; the time is
    /// for the beginning of the answer.
    pub fn open(
        &self,
        destination: &ServerName,
        request: Request<Bytes>,
        timeout: Duration,
    ) -> impl Future<Output = Result<Response<Incoming>, RequestError>> + Send + use<> {
        /// Errors have a few words.
        const MAX_ERROR_BYTES: usize = 64 * 1024;
        let (client, destination) = (self.clone(), destination.to_owned());
        Box::pin(async move {
            let opened = async {
                let response = client.begin(&destination, request).await?;
                if response.status().is_success() || response.status().is_redirection() {
                    return Ok(response);
                }
                match read(response, MAX_ERROR_BYTES).await {
                    Ok(_) => Err(RequestError::Malformed("an error that is none".to_owned())),
                    Err(error) => Err(error),
                }
            };
            let answer = tokio::time::timeout(timeout, opened).await.unwrap_or(Err(RequestError::Timeout));
            let outcome = answer.as_ref().map_or_else(RequestError::outcome, |_| "ok");
            counter!("kith_federation_requests_sent_total", "outcome" => outcome).increment(1);
            answer
        })
    }

    async fn exchange_unbounded(
        &self,
        destination: &ServerName,
        request: Request<Bytes>,
        max_bytes: usize,
    ) -> Result<Response<Bytes>, RequestError> {
        read(self.begin(destination, request).await?, max_bytes).await
    }

    /// Makes a request; the answer's body is still to come.
    async fn begin(
        &self,
        destination: &ServerName,
        request: Request<Bytes>,
    ) -> Result<Response<Incoming>, RequestError> {
        let inner = &self.inner;
        if *destination == *inner.server_name || !inner.policy.allows(destination) {
            return Err(RequestError::Denied);
        }
        if !self.is_insisting && inner.outages.contains(destination) {
            return Err(RequestError::BackingOff);
        }
        let attempt = inner.outages.attempt(destination);
        let authority = inner.discovery.authority(destination).await;
        let request = inner.finish(destination, &authority, request)?;
        let answer = inner.http.request(request).await.map_err(|error| connection_error(&error));
        attempt.end(&answer);
        answer
    }
}

impl Inner {
    /// Signs a request and tells it where to go.
    fn finish(
        &self,
        destination: &ServerName,
        authority: &ServerName,
        request: Request<Bytes>,
    ) -> Result<Request<Full<Bytes>>, RequestError> {
        let malformed = |error: &dyn fmt::Display| RequestError::Malformed(error.to_string());
        let (mut parts, body) = request.into_parts();
        let uri = parts.uri.path_and_query().map_or("/", |uri| uri.as_str());
        let signed = SignedRequest {
            method: &parts.method,
            uri,
            origin: &self.server_name,
            destination: Some(destination),
            body: (!body.is_empty()).then_some(&*body),
        };
        let proof = signed.sign(&self.signing_key).map_err(|error| malformed(&error))?;
        let proof = HeaderValue::try_from(proof.to_string()).map_err(|error| malformed(&error))?;
        let host = HeaderValue::from_str(authority.as_str()).map_err(|error| malformed(&error))?;
        parts.uri = Uri::builder()
            .scheme("https")
            .authority(authority.as_str())
            .path_and_query(uri)
            .build()
            .map_err(|error| malformed(&error))?;
        parts.headers.insert(header::AUTHORIZATION, proof);
        parts.headers.insert(header::HOST, host);
        parts.headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        if !body.is_empty() {
            parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        Ok(Request::from_parts(parts, Full::new(body)))
    }
}

const USER_AGENT: &str = concat!("Kith/", env!("CARGO_PKG_VERSION"));

/// Writes one of ruma's requests, without a host.
fn plain_request<R>(request: R) -> Result<Request<Bytes>, RequestError>
where
    R: OutgoingRequest,
    for<'a> R::PathBuilder: PathBuilder<Input<'a> = ()>,
{
    let malformed = |error: ruma::api::error::IntoHttpError| RequestError::Malformed(error.to_string());
    let request = request.try_into_http_request_inner("", ()).map_err(malformed)?;
    let (parts, body) = request.into_parts();
    let body: BytesMut = body.try_into_buf().map_err(|error| malformed(error.into()))?;
    Ok(Request::from_parts(parts, body.freeze()))
}

/// Reads an answer, up to a limit.
async fn read(response: Response<Incoming>, max_bytes: usize) -> Result<Response<Bytes>, RequestError> {
    let (parts, body) = response.into_parts();
    if body.size_hint().lower() > max_bytes as u64 {
        return Err(RequestError::TooLarge);
    }
    let body = Limited::new(body, max_bytes).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            RequestError::TooLarge
        } else {
            RequestError::Broken(error.to_string())
        }
    })?;
    let body = body.to_bytes();
    if parts.status.is_success() {
        return Ok(Response::from_parts(parts, body));
    }
    Err(api_error(parts.status, &parts.headers, &body))
}

fn connection_error(error: &legacy::Error) -> RequestError {
    match ConnectError::find(error) {
        Some(ConnectError::Forbidden) => RequestError::Denied,
        Some(ConnectError::Timeout) => RequestError::Timeout,
        Some(error) => RequestError::Unreachable(error.to_string()),
        None => RequestError::Broken(hs_http::error::Chain(error).to_string()),
    }
}
