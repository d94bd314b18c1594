//! What somebody wants to happen in a room, before it is an event.

use hs_model::{ids::UserNid, records::TransactionRef};
use ruma::{OwnedEventId, OwnedUserId};

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
