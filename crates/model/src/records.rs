//! Plain rows that storage hands out.

use std::sync::Arc;

use ruma::{OwnedEventId, OwnedUserId};

use crate::{
    ids::{DeviceNid, EventNid, RoomNid, SlotNid, StateGroupNid, UserNid},
    membership::Membership,
    notices::Notice,
    stream::Position,
};

/// What the checks on receipt decided about an event. A dropped event is not stored at all.
///
/// <https://spec.matrix.org/v1.19/server-server-api/#checks-performed-on-receipt-of-a-pdu>
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i16)]
pub enum Outcome {
    /// Part of the room.
    Accepted = 0,
    /// Valid where it was made, not allowed by the current state: kept, but never shown to clients.
    SoftFailed = 1,
    /// Broke the rules: kept so that it is not fetched again, and never used.
    Rejected = 2,
}

impl Outcome {
    /// The number stored in the database.
    pub fn code(self) -> i16 {
        self as i16
    }

    /// The inverse of [`code`](Self::code).
    pub fn from_code(code: i16) -> Option<Self> {
        Some(match code {
            0 => Self::Accepted,
            1 => Self::SoftFailed,
            2 => Self::Rejected,
            _ => return None,
        })
    }
}

/// Who sent an event through which transaction id, so that the sender's own device recognises its echo.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TransactionRef {
    /// The device that sent it.
    pub device: DeviceNid,
    /// The id the client chose.
    pub txn_id: Arc<str>,
}

/// An event with what queries need beside its JSON.
#[derive(Clone, Debug)]
pub struct EventRecord {
    /// Its number.
    pub nid: EventNid,
    /// Its id.
    pub event_id: OwnedEventId,
    /// The room it belongs to.
    pub room: RoomNid,
    /// Its sender's number.
    pub sender_nid: UserNid,
    /// Its sender.
    pub sender: OwnedUserId,
    /// Its type.
    pub event_type: Arc<str>,
    /// Its state key, when it is a state event.
    pub state_key: Option<Arc<str>>,
    /// The slot it fills, when it is a state event.
    pub slot: Option<SlotNid>,
    /// Where it stands in the log; `None` for outliers, negative for backfilled events.
    pub position: Option<Position>,
    /// Its depth in the graph.
    pub depth: i64,
    /// When its origin says it was made, in milliseconds.
    pub origin_server_ts: i64,
    /// The state before it; `None` for outliers.
    pub state_before: Option<StateGroupNid>,
    /// What the checks decided.
    pub outcome: Outcome,
    /// The redaction that applies to it. Readers must prune the JSON when it is set.
    pub redacted_by: Option<EventNid>,
    /// The event that this one redacts, when it is a redaction in force; known only to news of the log.
    pub redacts: Option<EventNid>,
    /// The state event whose place it took, when it is a state event and there was one.
    pub replaces: Option<EventNid>,
    /// The transaction it was sent by, when a local client sent it.
    pub transaction: Option<TransactionRef>,
    /// Whom it notifies; `None` for nobody.
    pub notice: Option<Arc<Notice>>,
    /// The JSON as received or built: signed, canonical, without `unsigned`.
    pub json: Arc<str>,
}

/// A user's present membership in a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembershipRecord {
    /// The room.
    pub room: RoomNid,
    /// The user.
    pub user: UserNid,
    /// The membership.
    pub membership: Membership,
    /// The `m.room.member` event that says so.
    pub event: EventNid,
    /// That event's position.
    pub position: Position,
    /// Whether the user has asked to forget the room.
    pub is_forgotten: bool,
}
