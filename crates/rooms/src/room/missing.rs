//! What is missing of a room that was joined without most of its members; see [`crate::whole`].

use hs_model::{ids::EventNid, stream::Position};
use ruma::OwnedServerName;

use super::RoomState;

/// What is missing of a room's state.
#[derive(Clone, Debug, Default)]
pub(crate) enum Missing {
    /// Nothing.
    #[default]
    Nothing,
    /// Nothing since a position. Before that most of the members were.
    NothingSince(Position),
    /// Most of the members: the room was joined by an event, and another server says which servers are in it.
    Members { join: EventNid, servers: Vec<OwnedServerName> },
}

impl RoomState {
    /// Whether most of the room's members are not known yet.
    pub fn is_partial(&self) -> bool {
        matches!(self.missing, Missing::Members { .. })
    }

    /// The event by which this server came into the room, while most of its members are not known.
    pub(crate) fn missing_since(&self) -> Option<EventNid> {
        match &self.missing {
            Missing::Members { join, .. } => Some(*join),
            Missing::Nothing | Missing::NothingSince(_) => None,
        }
    }

    /// From where on all members have been known, if that was not so from the beginning and is now.
    pub fn whole_since(&self) -> Option<Position> {
        match &self.missing {
            Missing::NothingSince(position) => Some(*position),
            Missing::Nothing | Missing::Members { .. } => None,
        }
    }
}
