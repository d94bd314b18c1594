//! A small HTTP client: one request, one buffered answer, nothing done behind the case's back.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use crate::Response;
use crate::encode;

/// No single answer takes longer than this; a server that hangs fails the case instead of the run.
const ANSWER_WITHIN: Duration = Duration::from_secs(90);

/// Connections to one server. Belongs to one case, since its connections live on that case's runtime.
#[derive(Clone, Debug)]
pub struct Client {
    base: String,
    pool: Pool<HttpConnector, Full<Bytes>>,
}

impl Client {
    /// A client for the server at `base` (`http://address:port`).
    pub fn new(base: &str) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self { base: base.to_owned(), pool: Pool::builder(TokioExecutor::new()).build(connector) }
    }

    /// A request to `path`. Paths of the client-server API need not say so: `/_matrix/client` goes in front of what has
    /// no other prefix that we know.
    pub fn request(&self, method: Method, path: &str) -> Request {
        const COMPLETE: &[&str] = &["/_", "/.", "/health", "/metrics"];
        let path = if COMPLETE.iter().any(|prefix| path.starts_with(prefix)) {
            path.to_owned()
        } else {
            format!("/_matrix/client{path}")
        };
        Request {
            client: self.clone(),
            method,
            path,
            query: String::new(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }
}

/// A request in the making; `.await` sends it.
#[derive(Debug)]
#[must_use = "a request is sent by `.await`"]
pub struct Request {
    client: Client,
    method: Method,
    path: String,
    query: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Request {
    /// Adds a query parameter; both parts are percent-encoded.
    pub fn query(mut self, name: &str, value: impl AsRef<str>) -> Self {
        self.query.push(if self.query.is_empty() { '?' } else { '&' });
        self.query.extend([encode(name).as_str(), "=", encode(value.as_ref()).as_str()]);
        self
    }

    /// Sends `body` as JSON.
    pub fn json(self, body: &Value) -> Self {
        self.body(body.to_string())
    }

    /// Sends these bytes as they are, called JSON.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self.header("content-type", "application/json")
    }

    /// Sets a header.
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        let value = HeaderValue::from_str(value).expect("the case wrote a valid header");
        self.headers.insert(HeaderName::from_static(name), value);
        self
    }

    /// Leaves out the content type that [`Request::json`] and [`Request::body`] set.
    pub fn without_content_type(mut self) -> Self {
        self.headers.remove(CONTENT_TYPE);
        self
    }

    /// Authorises with this access token.
    pub fn token(self, access_token: &str) -> Self {
        self.header(AUTHORIZATION_NAME, &format!("Bearer {access_token}"))
    }

    /// Leaves out the access token.
    pub fn anonymous(mut self) -> Self {
        self.headers.remove(AUTHORIZATION);
        self
    }

    /// Sends the request; `Err` when the server did not answer at all (killed, hung, connection refused).
    pub async fn try_send(self) -> Result<Response, String> {
        let what = format!("{} {}{}", self.method, self.path, self.query);
        let uri = format!("{}{}{}", self.client.base, self.path, self.query);
        let mut request = http::Request::new(Full::new(self.body));
        *request.method_mut() = self.method;
        *request.uri_mut() = uri.parse().map_err(|error| format!("{what}: {error}"))?;
        *request.headers_mut() = self.headers;
        let answer = async {
            let response =
                self.client.pool.request(request).await.map_err(|error| format!("{what}: {error:?}"))?;
            let (parts, body) = response.into_parts();
            let body = body.collect().await.map_err(|error| format!("{what}: body: {error:?}"))?.to_bytes();
            Ok(Response::new(what.clone(), parts.status.as_u16(), parts.headers, body))
        };
        tokio::time::timeout(ANSWER_WITHIN, answer)
            .await
            .map_err(|_| format!("{what}: no answer within {ANSWER_WITHIN:?}"))?
    }
}

const AUTHORIZATION_NAME: &str = "authorization";

impl IntoFuture for Request {
    type Output = Response;
    type IntoFuture = Pin<Box<dyn Future<Output = Response> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async { self.try_send().await.unwrap_or_else(|error| panic!("{error}")) })
    }
}
