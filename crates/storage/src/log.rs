//! Entries of the log.

use std::sync::Arc;

use hs_model::{
    ids::{RoomNid, UserNid},
    records::EventRecord,
    stream::Position,
};

use crate::{
    error::{Result, StorageError},
    presence::PresenceRow,
    receipts::ReceiptRow,
    typing::TypingUpdate,
};

/// What kind of change an entry tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i16)]
pub enum LogKind {
    /// A persistent event of a room; `subject` is its number.
    Event = 1,
    /// A read receipt of a user in a room.
    Receipt = 2,
    /// Who is typing in a room.
    Typing = 3,
    /// A user's presence.
    Presence = 4,
    /// A user's account data, global or of a room.
    AccountData = 5,
    /// Messages to devices of a user; `subject` is the device when there is one only.
    ToDevice = 6,
    /// A user's devices or their keys.
    DeviceList = 7,
    /// A user's profile.
    Profile = 8,
    /// A user's sessions: caches of access tokens must forget what they know of the user.
    Session = 9,
    /// What the server itself keeps of a room: aliases, its place in the directory, forgotten memberships.
    RoomRecord = 10,
    /// State resolution has put an event into a slot of a room's current state that is not simply the next of its timeline;
    /// `subject` is the event's number.
    StateRestored = 11,
    /// State resolution has emptied a slot of a room's current state; `subject` is the slot.
    StateRemoved = 12,
    /// Everything about a room may have changed: this server has come back to it.
    RoomReplaced = 13,
    /// The one-time and fallback keys that a device of a user has left; `subject` is the device.
    OneTimeKeys = 30,
    /// A user has signed another's key, which only they may know; `subject` is the other.
    UserSignature = 31,
    /// A user's subscription to a thread of a room.
    ThreadSubscription = 20,
    /// EDUs for other servers were queued at this position.
    OutgoingEdu = 83,
    /// An event of another server that this one has to send on to the servers of the room, as it does after `send_join`;
    /// `subject` is its number.
    ForwardedEvent = 84,
    /// A server that could not be reached has made itself heard; `subject` is its number in `destinations`.
    DestinationHeard = 85,
}

impl LogKind {
    /// Whether the entry is about an event, whose number is its `subject`.
    pub(crate) fn has_event(self) -> bool {
        matches!(self, Self::Event | Self::StateRestored)
    }

    /// The number stored in the database.
    pub fn code(self) -> i16 {
        self as i16
    }

    pub(crate) fn from_code(code: i16, position: i64) -> Result<Self> {
        Ok(match code {
            1 => Self::Event,
            2 => Self::Receipt,
            3 => Self::Typing,
            4 => Self::Presence,
            5 => Self::AccountData,
            6 => Self::ToDevice,
            7 => Self::DeviceList,
            8 => Self::Profile,
            9 => Self::Session,
            10 => Self::RoomRecord,
            11 => Self::StateRestored,
            12 => Self::StateRemoved,
            13 => Self::RoomReplaced,
            30 => Self::OneTimeKeys,
            31 => Self::UserSignature,
            20 => Self::ThreadSubscription,
            83 => Self::OutgoingEdu,
            84 => Self::ForwardedEvent,
            85 => Self::DestinationHeard,
            _ => {
                return Err(StorageError::Inconsistent {
                    table: "log",
                    column: "kind",
                    row: position.to_string(),
                });
            }
        })
    }
}

/// What passed, beside its entry.
#[derive(Clone, Debug)]
pub enum EphemeralChange {
    /// A receipt as it is now.
    Receipt(Arc<ReceiptRow>),
    /// Who started or stopped typing.
    Typing(Arc<TypingUpdate>),
    /// A user's presence as it is now.
    Presence(Arc<PresenceRow>),
}

/// One change, at one position.
#[derive(Clone, Debug)]
pub struct LogEntry {
    /// Where.
    pub position: Position,
    /// What kind.
    pub kind: LogKind,
    /// The room concerned, if any.
    pub room: Option<RoomNid>,
    /// The user concerned, if any; for an event its sender.
    pub user: Option<UserNid>,
    /// The event or device concerned.
    pub subject: Option<i64>,
    /// The event itself, for [`LogKind::Event`] and [`LogKind::StateRestored`].
    pub event: Option<Arc<EventRecord>>,
    /// The change itself, where this process has just written it: for [`LogKind::Receipt`], [`LogKind::Typing`] and
    /// [`LogKind::Presence`].
    pub change: Option<EphemeralChange>,
    /// Whether this process is known to have written it. An entry of its own may also come back through the database.
    pub is_local: bool,
}
