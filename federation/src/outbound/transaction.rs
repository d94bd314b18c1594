//! What is sent to a server in one request.

use std::{fmt, pin::Pin, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ruma::ServerName;
use sha2::{Digest as _, Sha256};

/// How many events a transaction has at most.
///
/// <https://spec.matrix.org/v1.19/server-server-api/#transactions>
pub(super) const MAX_PDUS: usize = 50;
/// How many EDUs.
pub(super) const MAX_EDUS: usize = 100;
/// How much JSON of EDUs goes into a transaction, unless a single one is larger.
pub(super) const MAX_EDU_BYTES: usize = 1024 * 1024;

/// Events and EDUs for one server.
#[derive(Debug, PartialEq, Eq)]
pub struct Transaction {
    /// The same as long as the content is the same.
    pub id: String,
    /// When it was made, in milliseconds.
    pub origin_server_ts: i64,
    /// Events as JSON.
    pub pdus: Vec<Arc<str>>,
    /// EDUs as JSON: objects with `edu_type` and `content`.
    pub edus: Vec<Arc<str>>,
}

/// Why a transaction was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendFailure {
    /// The server cannot be reached, or is in trouble.
    #[error("{0}")]
    Unavailable(String),
    /// The server asks to be left alone, perhaps for some time.
    #[error("the server asks to wait")]
    RateLimited(Option<Duration>),
    /// The server will not take this transaction, however often it is sent.
    #[error("{0}")]
    Refused(String),
}

/// What a transaction came to, later.
pub type SendFuture<'a> = Pin<Box<dyn Future<Output = Result<(), SendFailure>> + Send + 'a>>;

/// Carries transactions to other servers.
pub trait Transport: Send + Sync + fmt::Debug {
    /// Sends a transaction; returns when the server has taken it. `timeout` is for the whole of it.
    fn send_transaction<'a>(
        &'a self,
        destination: &'a ServerName,
        transaction: &'a Transaction,
        timeout: Duration,
    ) -> SendFuture<'a>;
}

/// An EDU as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BuiltEdu {
    /// Tells it from others that have the same content, whenever it is built: a position.
    pub(super) mark: i64,
    pub(super) json: Arc<str>,
}

impl BuiltEdu {
    /// `content` must be JSON.
    pub(super) fn new(mark: i64, edu_type: &str, content: &str) -> Self {
        let edu_type = serde_json::Value::from(edu_type);
        Self { mark, json: format!(r#"{{"content":{content},"edu_type":{edu_type}}}"#).into() }
    }
}

/// Makes a [`Transaction`].
pub(super) struct Builder {
    hash: Sha256,
    transaction: Transaction,
}

impl Builder {
    pub(super) fn new(now_ms: i64) -> Self {
        let transaction =
            Transaction { id: String::new(), origin_server_ts: now_ms, pdus: Vec::new(), edus: Vec::new() };
        Self { hash: Sha256::new(), transaction }
    }

    pub(super) fn pdu(&mut self, event_id: &str, json: Arc<str>) {
        self.hash.update(event_id);
        self.hash.update([0]);
        self.transaction.pdus.push(json);
    }

    pub(super) fn edu(&mut self, edu: BuiltEdu) {
        self.hash.update([1]);
        self.hash.update(edu.mark.to_be_bytes());
        // Not the content, which may tell how long ago something was.
        self.transaction.edus.push(edu.json);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.transaction.pdus.is_empty() && self.transaction.edus.is_empty()
    }

    pub(super) fn finish(mut self) -> Arc<Transaction> {
        self.transaction.id = URL_SAFE_NO_PAD.encode(&self.hash.finalize()[..18]);
        Arc::new(self.transaction)
    }
}
