//! Events of other servers, once their signatures are checked: see [`Rooms::receive`](crate::Rooms::receive).

use std::sync::Arc;

use hs_model::records::Outcome;
use hs_room_rules::pdu::Pdu;
use ruma::OwnedEventId;

/// An event of another server.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// The event. Its signatures and hash are checked; it is redacted if the hash was wrong.
    pub pdu: Arc<Pdu>,
    /// The state before it as another server told it, when not all of its predecessors are known here. All of it must be
    /// stored.
    pub state_before: Option<Vec<OwnedEventId>>,
}

/// How many characters of a reason are kept, and told: reasons quote what other servers write, however long that is.
const MAX_REASON_CHARS: usize = 200;

/// A reason as it can be kept and told.
pub fn short_reason(why: &str) -> String {
    why.chars().filter(|character| *character != '\0').take(MAX_REASON_CHARS).collect()
}

/// What became of an event of another server.
///
/// <https://spec.matrix.org/v1.19/server-server-api/#checks-performed-on-receipt-of-a-pdu>
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PduOutcome {
    /// It is part of the room.
    Accepted,
    /// It was allowed where it was made, and is not by the current state: kept, and not shown.
    SoftFailed(String),
    /// It breaks the rules: kept, and never used.
    Rejected(String),
    /// It was stored before.
    Known(Outcome),
    /// These of its predecessors are not known here with their state. Nothing was stored.
    MissingPrev(Vec<OwnedEventId>),
    /// These of its auth events are not stored. Nothing was stored.
    MissingAuth(Vec<OwnedEventId>),
    /// It has no place in this room. Nothing was stored.
    Dropped(String),
}
