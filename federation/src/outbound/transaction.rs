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

impl Transaction {
    /// The same in two transactions, whose ids follow from that of this one; `None` when it is a single item.
    pub(super) fn halves(&self) -> Option<(Self, Self)> {
        let middle = usize::midpoint(self.pdus.len(), self.edus.len());
        if middle == 0 {
            return None;
        }
        let (first_pdus, other_pdus) = self.pdus.split_at(middle.min(self.pdus.len()));
        let (first_edus, other_edus) = self.edus.split_at(middle - first_pdus.len());
        let half = |name: &str, pdus: &[Arc<str>], edus: &[Arc<str>]| Self {
            id: transaction_id(Sha256::new().chain_update(&self.id).chain_update(name)),
            origin_server_ts: self.origin_server_ts,
            pdus: pdus.to_vec(),
            edus: edus.to_vec(),
        };
        Some((half("first", first_pdus, first_edus), half("second", other_pdus, other_edus)))
    }
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
    /// The transaction is larger than the server, or something in front of it, takes: a part of it may not be.
    #[error("{0}")]
    TooLarge(String),
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
        self.hash.update(edu.json.as_bytes());
        self.hash.update([0]);
        self.transaction.edus.push(edu.json);
    }

    /// An EDU that may be said again in the same words and with the same mark, and is something new then.
    pub(super) fn passing_edu(&mut self, edu: BuiltEdu) {
        self.hash.update(self.transaction.origin_server_ts.to_be_bytes());
        self.edu(edu);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.transaction.pdus.is_empty() && self.transaction.edus.is_empty()
    }

    pub(super) fn finish(mut self) -> Arc<Transaction> {
        self.transaction.id = transaction_id(self.hash);
        Arc::new(self.transaction)
    }
}

fn transaction_id(hash: Sha256) -> String {
    URL_SAFE_NO_PAD.encode(&hash.finalize()[..18])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(parts: &[Arc<str>]) -> Vec<&str> {
        parts.iter().map(|part| &**part).collect()
    }

    fn parts(transaction: &Transaction) -> (Vec<&str>, Vec<&str>) {
        (texts(&transaction.pdus), texts(&transaction.edus))
    }

    #[test]
    fn halves_have_everything_in_order_and_ids_of_their_own() {
        let shared = |texts: &[&str]| texts.iter().map(|text| Arc::from(*text)).collect();
        let whole = Transaction {
            id: "whole".to_owned(),
            origin_server_ts: 5,
            pdus: shared(&["1", "2", "3"]),
            edus: shared(&["a", "b"]),
        };

        let (first, second) = whole.halves().unwrap();

        assert_eq!(parts(&first), (vec!["1", "2"], vec![]));
        assert_eq!(parts(&second), (vec!["3"], vec!["a", "b"]));
        assert_eq!(whole.halves(), Some((first, second)), "each time the same");
        let (first, second) = whole.halves().unwrap();
        assert!(first.id != second.id && first.id != whole.id && second.id != whole.id);
        let (three, edus) = second.halves().unwrap();
        assert_eq!((parts(&three), parts(&edus)), ((vec!["3"], vec![]), (vec![], vec!["a", "b"])));
        assert_eq!(three.halves(), None);
    }
}
