//! Requests of the fake server to other servers, signed as they should be or not.

use std::future::{Future, IntoFuture};
use std::pin::Pin;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use http_body_util::Full;
use serde_json::{Value, json};

use super::json::Key;
use super::server::FakeServer;
use super::wire;
use crate::Response;

/// A request in the making; `.await` signs and sends it.
#[derive(Debug)]
#[must_use = "a request is sent by `.await`"]
pub struct SignedRequest {
    to: String,
    method: Method,
    uri: String,
    body: Option<Value>,
    raw_body: Option<Bytes>,
    headers: HeaderMap,
    origin: String,
    destination: String,
    names_destination: bool,
    key: Key,
    scheme: Scheme,
}

#[derive(Debug)]
enum Scheme {
    Signed,
    Corrupt,
    None,
    Raw(String),
}

impl SignedRequest {
    pub(super) fn new(server: &FakeServer, method: Method, to: &str, uri: &str) -> Self {
        Self {
            to: to.to_owned(),
            method,
            uri: uri.to_owned(),
            body: None,
            raw_body: None,
            headers: HeaderMap::new(),
            origin: server.name().to_owned(),
            destination: to.to_owned(),
            names_destination: true,
            key: server.key(),
            scheme: Scheme::Signed,
        }
    }

    /// Adds a query parameter; both parts are percent-encoded.
    pub fn query(mut self, name: &str, value: impl AsRef<str>) -> Self {
        self.uri.push(if self.uri.contains('?') { '&' } else { '?' });
        self.uri.extend([crate::encode(name).as_str(), "=", crate::encode(value.as_ref()).as_str()]);
        self
    }

    /// The body, which is signed too.
    pub fn json(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    /// Sends these bytes instead of the body that is signed.
    pub fn raw_body(mut self, body: impl Into<Bytes>) -> Self {
        self.raw_body = Some(body.into());
        self
    }

    /// Sets a header.
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        let value = HeaderValue::from_str(value).expect("the case wrote a valid header");
        self.headers.insert(HeaderName::from_static(name), value);
        self
    }

    /// Says that another server asks.
    pub fn origin(mut self, origin: &str) -> Self {
        origin.clone_into(&mut self.origin);
        self
    }

    /// Says (and signs) that the request is meant for another server.
    pub fn destination(mut self, destination: &str) -> Self {
        destination.clone_into(&mut self.destination);
        self
    }

    /// Does not say in the header whom the request is meant for, as older servers do; the signature covers it.
    pub fn without_destination(mut self) -> Self {
        self.names_destination = false;
        self
    }

    /// Signs with another key.
    pub fn key(mut self, key: &Key) -> Self {
        self.key = key.clone();
        self
    }

    /// Carries a signature of something else.
    pub fn with_bad_signature(mut self) -> Self {
        self.scheme = Scheme::Corrupt;
        self
    }

    /// Carries no authorization.
    pub fn anonymous(mut self) -> Self {
        self.scheme = Scheme::None;
        self
    }

    /// Carries this `Authorization` header.
    pub fn authorization(mut self, value: &str) -> Self {
        self.scheme = Scheme::Raw(value.to_owned());
        self
    }

    /// The signature over method, path, parties and body.
    pub fn signature(&self) -> String {
        let mut signed = json!({
            "method": self.method.as_str(),
            "uri": self.uri,
            "origin": self.origin,
            "destination": self.destination,
        });
        if let Some(body) = &self.body {
            signed["content"] = body.clone();
        }
        if matches!(self.scheme, Scheme::Corrupt) {
            signed["uri"] = json!("/something/else");
        }
        self.key.sign(&signed)
    }

    fn header_value(&self) -> Option<String> {
        match &self.scheme {
            Scheme::None => None,
            Scheme::Raw(value) => Some(value.clone()),
            Scheme::Signed | Scheme::Corrupt => {
                let destination = if self.names_destination {
                    format!(",destination=\"{}\"", self.destination)
                } else {
                    String::new()
                };
                let (origin, key, signature) = (&self.origin, &self.key.id, self.signature());
                Some(format!("X-Matrix origin=\"{origin}\"{destination},key=\"{key}\",sig=\"{signature}\""))
            }
        }
    }

    /// Sends the request; `Err` when nobody answered.
    pub async fn try_send(self) -> Result<Response, String> {
        let authorization = self.header_value();
        let body = self
            .raw_body
            .unwrap_or_else(|| self.body.map_or_else(Bytes::new, |body| body.to_string().into()));
        let mut request = http::Request::new(Full::new(body));
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri.parse().map_err(|error| format!("{}: {error}", self.uri))?;
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        request.headers_mut().extend(self.headers);
        if let Some(value) = authorization {
            let value = HeaderValue::from_str(&value).map_err(|error| error.to_string())?;
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        wire::send(&self.to, request).await
    }
}

impl IntoFuture for SignedRequest {
    type Output = Response;
    type IntoFuture = Pin<Box<dyn Future<Output = Response> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async { self.try_send().await.unwrap_or_else(|error| panic!("{error}")) })
    }
}

/// Asking others.
impl FakeServer {
    /// A signed request to `to`.
    pub fn request(&self, method: Method, to: &str, path: &str) -> SignedRequest {
        SignedRequest::new(self, method, to, path)
    }

    /// A signed GET.
    pub fn get(&self, to: &str, path: &str) -> SignedRequest {
        self.request(Method::GET, to, path)
    }

    /// A signed PUT.
    pub fn put(&self, to: &str, path: &str, body: Value) -> SignedRequest {
        self.request(Method::PUT, to, path).json(body)
    }

    /// A signed POST.
    pub fn post(&self, to: &str, path: &str, body: Value) -> SignedRequest {
        self.request(Method::POST, to, path).json(body)
    }

    /// A transaction in the making, with an id that was not used before.
    pub fn transaction(&self, to: &str, pdus: &[Value], edus: &[Value]) -> SignedRequest {
        self.transaction_with_id(to, &crate::unique("txn"), pdus, edus)
    }

    /// A transaction with this id.
    pub fn transaction_with_id(&self, to: &str, id: &str, pdus: &[Value], edus: &[Value]) -> SignedRequest {
        let body = json!({
            "origin": self.name(),
            "origin_server_ts": super::event::now_ms(),
            "pdus": pdus,
            "edus": edus,
        });
        self.put(to, &crate::path!("/_matrix/federation/v1/send/{}", id), body)
    }

    /// Sends events in one transaction, which must be answered with 200.
    pub async fn send_pdus(&self, to: &str, events: &[&super::event::Event]) -> Response {
        let pdus: Vec<Value> = events.iter().map(|event| event.json.clone()).collect();
        self.transaction(to, &pdus, &[]).await.expect_ok()
    }

    /// Sends an EDU in a transaction of its own, which must be answered with 200.
    pub async fn send_edu(&self, to: &str, edu_type: &str, content: Value) -> Response {
        let edu = json!({"edu_type": edu_type, "content": content});
        self.transaction(to, &[], &[edu]).await.expect_ok()
    }
}
