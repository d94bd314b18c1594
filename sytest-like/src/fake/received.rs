//! What the fake server is asked, and what it answers.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Method};
use hyper::body::{Body, Frame};
use serde_json::{Value, json};

/// A request that arrived.
#[derive(Clone, Debug)]
pub struct Received {
    /// The method.
    pub method: Method,
    /// The path as it came, without the query.
    pub path: String,
    /// The query's parameters, decoded.
    pub query: Vec<(String, String)>,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, null when there is none.
    pub body: Value,
    /// The server that signed the request.
    pub origin: Option<String>,
}

impl Received {
    /// The path without what all paths of the server-server API begin with: `send/1`, `user/keys/query`, `key/v2/server`.
    pub fn endpoint(&self) -> &str {
        let path = self.path.strip_prefix("/_matrix/").unwrap_or(&self.path);
        let Some(path) = path.strip_prefix("federation/") else { return path };
        path.split_once('/').map_or(path, |(_, endpoint)| endpoint)
    }

    /// Whether the request is to this endpoint: `send`, `state_ids`, `query/profile`.
    pub fn is(&self, endpoint: &str) -> bool {
        self.endpoint().strip_prefix(endpoint).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The edition of the endpoint: `v1` or `v2`.
    pub fn edition(&self) -> &str {
        self.path.split('/').nth(3).unwrap_or_default()
    }

    /// A segment of [`Received::endpoint`], decoded: 0 is its name.
    pub fn segment(&self, index: usize) -> String {
        self.endpoint().split('/').nth(index).map(decode).unwrap_or_default()
    }

    /// The first query parameter of this name.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// All query parameters of this name.
    pub fn params<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.query.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The PDUs of a transaction.
    pub fn pdus(&self) -> Vec<Value> {
        self.list("pdus")
    }

    /// The EDUs of a transaction.
    pub fn edus(&self) -> Vec<Value> {
        self.list("edus")
    }

    fn list(&self, key: &str) -> Vec<Value> {
        if !self.is("send") {
            return Vec::new();
        }
        self.body[key].as_array().cloned().unwrap_or_default()
    }
}

/// Percent-decoding.
pub(super) fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        let escaped = (bytes[index] == b'%')
            .then(|| text.get(index + 1..index + 3))
            .flatten()
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        out.push(escaped.unwrap_or(bytes[index]));
        index += if escaped.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

pub(super) fn parse_query(query: &str) -> Vec<(String, String)> {
    let one = |pair: &str| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(key), decode(&value.replace('+', " ")))
    };
    query.split('&').filter(|pair| !pair.is_empty()).map(one).collect()
}

/// An answer of the fake server.
#[derive(Clone, Debug)]
pub struct Reply {
    pub(super) status: u16,
    pub(super) content_type: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: ReplyBody,
    pub(super) hang_up: bool,
}

impl Reply {
    /// 200 with this JSON.
    pub fn json(body: Value) -> Self {
        Self::status(200, body)
    }

    /// Any status with this JSON.
    pub fn status(status: u16, body: Value) -> Self {
        Self::bytes(status, "application/json", body.to_string())
    }

    /// An error with this code.
    pub fn error(status: u16, errcode: &str) -> Self {
        Self::status(status, json!({"errcode": errcode, "error": "Said by the fake server"}))
    }

    /// Any bytes of any content type.
    pub fn bytes(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            content_type: content_type.to_owned(),
            headers: Vec::new(),
            body: ReplyBody::Whole(Some(body.into())),
            hang_up: false,
        }
    }

    /// A body that never ends.
    pub fn endless() -> Self {
        Self { body: ReplyBody::Endless, ..Self::bytes(200, "application/json", "") }
    }

    /// A body that begins like this and never goes on.
    pub fn stalling(beginning: &str) -> Self {
        let body = ReplyBody::Stalling(Some(Bytes::from(beginning.to_owned())));
        Self { body, ..Self::bytes(200, "application/json", "") }
    }

    /// No answer: the connection is closed.
    pub fn hang_up() -> Self {
        Self { hang_up: true, ..Self::bytes(200, "", "") }
    }

    /// One more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

#[derive(Clone, Debug)]
pub(super) enum ReplyBody {
    Whole(Option<Bytes>),
    Endless,
    Stalling(Option<Bytes>),
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        const CHUNK: &[u8] = &[b' '; 65_536];
        let data = match &mut *self {
            Self::Whole(bytes) => return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Endless => Bytes::from_static(CHUNK),
            Self::Stalling(beginning) => match beginning.take() {
                Some(bytes) => bytes,
                None => return Poll::Pending,
            },
        };
        Poll::Ready(Some(Ok(Frame::data(data))))
    }
}
