//! Positions in the log, and the tokens clients hold that stand for them.
//!
//! The log is one sequence of positions without gaps. Positions become visible in order: who has read up to `n` never
//! later finds something new at or below `n`. So one number says everything about how far a client has read.

use std::{fmt, str::FromStr};

/// A position in the log. Positions start at 1; 0 means "before everything".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub i64);

impl Position {
    /// Before the first entry.
    pub const START: Self = Self(0);
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The text is not a token of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidToken;

impl fmt::Display for InvalidToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this token was not issued by this server")
    }
}

impl std::error::Error for InvalidToken {}

/// What `/sync` hands out as `next_batch`: everything up to a position of the log (`s12`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamToken(pub Position);

impl fmt::Display for StreamToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{}", self.0)
    }
}

impl FromStr for StreamToken {
    type Err = InvalidToken;

    /// Takes a [`SyncToken`] too, for its position.
    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        SyncToken::from_str(text).map(|token| Self(token.position))
    }
}

/// A [`StreamToken`] of a device that has not got all of its messages yet (`s12-5`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncToken {
    /// Everything else is known up to here.
    pub position: Position,
    /// Messages to the device are known up to here, at most the position.
    pub to_device: Position,
}

impl fmt::Display for SyncToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.to_device >= self.position {
            return write!(f, "s{}", self.position);
        }
        write!(f, "s{}-{}", self.position, self.to_device)
    }
}

impl FromStr for SyncToken {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        let text = text.strip_prefix('s').ok_or(InvalidToken)?;
        let (position, to_device) = text.split_once('-').unwrap_or((text, text));
        let position = parse_number(position).ok_or(InvalidToken)?;
        let to_device = parse_number(to_device).ok_or(InvalidToken)?;
        if to_device > position {
            return Err(InvalidToken);
        }
        Ok(Self { position: Position(position), to_device: Position(to_device) })
    }
}

/// What sliding sync hands out as `pos` (`c3-s12`): the state of a connection, and everything up to a position of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionToken {
    /// The number of the state.
    pub serial: i64,
    /// Up to where the client was told everything.
    pub position: Position,
}

impl fmt::Display for ConnectionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{}-{}", self.serial, StreamToken(self.position))
    }
}

impl FromStr for ConnectionToken {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        let (serial, stream) =
            text.strip_prefix('c').and_then(|rest| rest.split_once('-')).ok_or(InvalidToken)?;
        let serial = parse_number(serial).ok_or(InvalidToken)?;
        Ok(Self { serial, position: StreamToken::from_str(stream)?.0 })
    }
}

/// A place between two events of a room: after everything up to a position of the log (`s12`), or after the event
/// with this depth and position in the order of the graph (`t4-12`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RoomStreamToken {
    /// Between positions of the log.
    Stream(Position),
    /// Between events in topological order. Backfilled events have negative positions.
    Topological {
        /// `depth` of the event before this place.
        depth: i64,
        /// The event's stream ordering, which breaks ties between equal depths.
        position: Position,
    },
}

impl fmt::Display for RoomStreamToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stream(position) => write!(f, "s{position}"),
            Self::Topological { depth, position } => write!(f, "t{depth}-{position}"),
        }
    }
}

impl FromStr for RoomStreamToken {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        if let Some(rest) = text.strip_prefix('t') {
            let (depth, position) = rest.split_once('-').ok_or(InvalidToken)?;
            let depth = parse_number(depth).ok_or(InvalidToken)?;
            let position = match position.strip_prefix('-') {
                Some(negative) => -parse_number(negative).ok_or(InvalidToken)?,
                None => parse_number(position).ok_or(InvalidToken)?,
            };
            return Ok(Self::Topological { depth, position: Position(position) });
        }
        // Sliding sync's token may be used wherever that of the older sync may.
        if let Ok(token) = ConnectionToken::from_str(text) {
            return Ok(Self::Stream(token.position));
        }
        StreamToken::from_str(text).map(|token| Self::Stream(token.0))
    }
}

/// Digits only: `i64::from_str` alone would also take `+5` and let two spellings name one token.
fn parse_number(text: &str) -> Option<i64> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_token_survives_a_round_trip(depth in 0..=i64::MAX, position in -i64::MAX..=i64::MAX) {
            let place = RoomStreamToken::Topological { depth, position: Position(position) };
            prop_assert_eq!(place.to_string().parse::<RoomStreamToken>().ok(), Some(place));

            let moment = StreamToken(Position(depth));
            prop_assert_eq!(moment.to_string().parse::<StreamToken>().ok(), Some(moment));
        }

        #[test]
        fn whatever_is_taken_for_a_token_is_written_so(text in "[st]?[0-9+\\-_ .]{0,24}|.{0,12}") {
            if let Ok(token) = text.parse::<RoomStreamToken>() {
                prop_assert_eq!(token.to_string(), text);
            }
        }
    }

    #[test]
    fn tokens_survive_a_round_trip() {
        for text in ["s0", "s12", "t4-12", "t4--12"] {
            let token: RoomStreamToken = text.parse().expect("a valid token");
            assert_eq!(token.to_string(), text);
        }
    }

    #[test]
    fn position_of_messages_is_said_where_it_differs() {
        for (text, position, to_device) in [("s12", 12, 12), ("s12-5", 12, 5)] {
            let token: SyncToken = text.parse().expect("a valid token");
            assert_eq!((token.position.0, token.to_device.0), (position, to_device));
            assert_eq!(token.to_string(), text);
            assert_eq!(text.parse(), Ok(StreamToken(Position(12))));
        }
        for text in ["s5-12", "s5-", "s-5", "s5-4-3", "s5--4"] {
            assert!(text.parse::<SyncToken>().is_err(), "{text} was accepted");
        }
    }

    #[test]
    fn connection_token_stands_for_its_position() {
        let token = ConnectionToken { serial: 3, position: Position(12) };

        assert_eq!(token.to_string(), "c3-s12");
        assert_eq!("c3-s12".parse(), Ok(token));
        assert_eq!("c3-s12".parse(), Ok(RoomStreamToken::Stream(Position(12))));
        for text in ["c3", "c-s12", "c3-12", "c-3-s12", "c3-s", "s12"] {
            assert!(text.parse::<ConnectionToken>().is_err(), "{text} was accepted");
        }
    }

    #[test]
    fn foreign_tokens_are_refused() {
        for text in ["", "s", "12", "s-1", "s+1", "t4", "t-4-1", "s99999999999999999999", "s1_2", "x1"] {
            assert!(text.parse::<RoomStreamToken>().is_err(), "{text} was accepted");
        }
    }
}
