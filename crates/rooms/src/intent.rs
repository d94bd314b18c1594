//! What somebody wants to happen in a room, before it is an event.

use std::sync::Arc;

use hs_model::{
    ids::{DeviceNid, UserNid},
    membership::Membership,
    records::TransactionRef,
};
use ruma::{OwnedEventId, OwnedUserId, TransactionId};

/// What stands before the transaction ids of redactions. A transaction id counts for one endpoint, and the two that
/// send events share one index.
const REDACTION_SCOPE: &str = "redact\u{1}";
/// What stands before the ids of delayed events, which are their transaction ids: none is sent twice.
const DELAY_SCOPE: &str = "delay\u{1}";

/// A local user who acts.
#[derive(Clone, Debug)]
pub struct Sender {
    /// Their number.
    pub nid: UserNid,
    /// Their id.
    pub user_id: OwnedUserId,
}

/// An event to be.
#[derive(Clone, Debug, Default)]
pub struct Intent {
    /// Its type.
    pub event_type: String,
    /// Its state key, when it is to be a state event.
    pub state_key: Option<String>,
    /// Its content, as JSON text.
    pub content: String,
    /// For a redaction, the event it redacts.
    pub redacts: Option<OwnedEventId>,
    /// The time it claims, for those who may choose one (application services).
    pub origin_server_ts: Option<i64>,
    /// For how many milliseconds it is delivered whatever comes after it.
    pub sticky_ms: Option<i64>,
    /// What the membership of the user in the state key must be, beyond what the rules of rooms ask.
    pub expects: Option<ExpectedMembership>,
}

/// A condition on an event that changes somebody's membership, checked at the moment the event is built.
#[derive(Clone, Copy, Debug)]
pub struct ExpectedMembership {
    /// The memberships from which the change may be made.
    pub among: &'static [Membership],
    /// What is answered when it is another.
    pub otherwise: Mismatch,
}

/// Why a membership can not be changed from what it is.
#[derive(Clone, Copy, Debug)]
pub enum Mismatch {
    /// It may not: nobody may do this to a user who is so.
    Forbidden(&'static str),
    /// There is nothing to change.
    BadState(&'static str),
}

impl Intent {
    /// A message.
    pub fn message(event_type: impl Into<String>, content: impl Into<String>) -> Self {
        Self { event_type: event_type.into(), content: content.into(), ..Self::default() }
    }

    /// A state event.
    pub fn state(
        event_type: impl Into<String>,
        state_key: impl Into<String>,
        content: impl Into<String>,
    ) -> Self {
        Self { state_key: Some(state_key.into()), ..Self::message(event_type, content) }
    }
}

/// The transaction of a request to send an event.
pub fn send_transaction(device: DeviceNid, txn_id: &TransactionId) -> TransactionRef {
    TransactionRef { device, txn_id: Arc::from(txn_id.as_str()) }
}

/// The transaction of a request to redact an event.
pub fn redaction_transaction(device: DeviceNid, txn_id: &TransactionId) -> TransactionRef {
    TransactionRef { device, txn_id: format!("{REDACTION_SCOPE}{txn_id}").into() }
}

/// The transaction of a delayed event, once it is sent.
pub fn delayed_transaction(device: DeviceNid, delay_id: &str) -> TransactionRef {
    TransactionRef { device, txn_id: format!("{DELAY_SCOPE}{delay_id}").into() }
}

/// The transaction id as the client chose it; delayed events have none.
pub(crate) fn client_transaction_id(transaction: &TransactionRef) -> Option<&str> {
    if delay_id(transaction).is_some() {
        return None;
    }
    Some(transaction.txn_id.strip_prefix(REDACTION_SCOPE).unwrap_or(&transaction.txn_id))
}

/// Which delayed event became of a transaction.
pub(crate) fn delay_id(transaction: &TransactionRef) -> Option<&str> {
    transaction.txn_id.strip_prefix(DELAY_SCOPE)
}

/// Events that one sender wants to append to a room: all of them, or none.
#[derive(Clone, Debug)]
pub struct WriteRequest {
    /// Who.
    pub sender: Sender,
    /// What, in order.
    pub intents: Vec<Intent>,
    /// The transaction id of the client's request; it goes with the first event.
    pub transaction: Option<TransactionRef>,
}

impl WriteRequest {
    /// One event.
    pub fn one(sender: Sender, intent: Intent) -> Self {
        Self { sender, intents: vec![intent], transaction: None }
    }
}
