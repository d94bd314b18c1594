//! Membership of a user in a room, as the database keeps it.

use serde::{Deserialize, Serialize};

/// The value of `membership` in `m.room.member`.
///
/// <https://spec.matrix.org/v1.19/client-server-api/#mroommember>
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(i16)]
pub enum Membership {
    /// Not in the room: left, kicked, or never there.
    Leave = 0,
    /// Invited.
    Invite = 1,
    /// Joined.
    Join = 2,
    /// Asked to be let in.
    Knock = 3,
    /// Banned.
    Ban = 4,
}

impl Membership {
    /// Reads the word used in events; unknown words are `None`.
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "leave" => Self::Leave,
            "invite" => Self::Invite,
            "join" => Self::Join,
            "knock" => Self::Knock,
            "ban" => Self::Ban,
            _ => return None,
        })
    }

    /// The word used in events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Leave => "leave",
            Self::Invite => "invite",
            Self::Join => "join",
            Self::Knock => "knock",
            Self::Ban => "ban",
        }
    }

    /// The number stored in the database.
    pub fn code(self) -> i16 {
        self as i16
    }

    /// The inverse of [`code`](Self::code).
    pub fn from_code(code: i16) -> Option<Self> {
        Some(match code {
            0 => Self::Leave,
            1 => Self::Invite,
            2 => Self::Join,
            3 => Self::Knock,
            4 => Self::Ban,
            _ => return None,
        })
    }
}
