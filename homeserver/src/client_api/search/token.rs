//! Where a page of results begins.

use std::{fmt, str::FromStr};

use hs_model::{
    ids::{EventNid, RoomNid, UserNid},
    stream::Position,
};
use hs_storage::search::FoundPlace;

/// The group that a page belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    Room(RoomNid),
    Sender(UserNid),
}

/// A place among the results of a search, perhaps within a group. Whoever makes one up finds nothing that they could not find
/// anyway.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct SearchToken {
    pub(super) group: Option<Group>,
    pub(super) after: FoundPlace,
}

impl fmt::Display for SearchToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.group {
            None => write!(f, "a0")?,
            Some(Group::Room(room)) => write!(f, "r{}", room.0)?,
            Some(Group::Sender(user)) => write!(f, "u{}", user.0)?,
        }
        let FoundPlace { rank, position, event } = self.after;
        write!(f, ".{:x}.{}.{}", rank.to_bits(), position.0, event.0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotAToken;

impl FromStr for SearchToken {
    type Err = NotAToken;

    fn from_str(text: &str) -> Result<Self, NotAToken> {
        let mut parts = text.split('.');
        let mut part = || parts.next().ok_or(NotAToken);
        let (group, rank, position, event) = (part()?, part()?, part()?, part()?);
        if parts.next().is_some() {
            return Err(NotAToken);
        }
        let number = |text: &str| text.parse::<i64>().map_err(|_| NotAToken);
        let (kind, nid) = group.split_at_checked(1).ok_or(NotAToken)?;
        let nid = number(nid)?;
        let group = match kind {
            "a" => None,
            "r" => Some(Group::Room(RoomNid(nid))),
            "u" => Some(Group::Sender(UserNid(nid))),
            _ => return Err(NotAToken),
        };
        let rank = f32::from_bits(u32::from_str_radix(rank, 16).map_err(|_| NotAToken)?);
        if rank.is_nan() {
            return Err(NotAToken);
        }
        let (position, event) = (Position(number(position)?), EventNid(number(event)?));
        Ok(Self { group, after: FoundPlace { rank, position, event } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_as_written() {
        let after = FoundPlace { rank: 0.25, position: Position(-7), event: EventNid(9) };
        for group in [None, Some(Group::Room(RoomNid(3))), Some(Group::Sender(UserNid(4)))] {
            let token = SearchToken { group, after };
            assert_eq!(token.to_string().parse(), Ok(token));
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for nonsense in
            ["", "a", "a0.0.0", "x0.0.0.0", "a0.0.0.0.0", "a0.7fc00000.0.0", "ä.0.0.0", "a0.g.0.0"]
        {
            assert_eq!(nonsense.parse::<SearchToken>(), Err(NotAToken), "{nonsense}");
        }
    }
}
