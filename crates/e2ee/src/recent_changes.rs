//! The latest changes that concern device lists, in order: who has new keys, who came into a room or left it.

use std::collections::VecDeque;

use hs_model::{
    ids::{RoomNid, UserNid},
    stream::Position,
};

/// How many changes are remembered. A sync from before them asks the database.
const KEPT: usize = 20_000;

/// A change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A user's devices or keys.
    Keys(UserNid),
    /// A user has signed another's key.
    Signature {
        /// Who may know.
        signer: UserNid,
        /// Whose key.
        target: UserNid,
    },
    /// A user is joined to a room, and was not before.
    Joined(RoomNid, UserNid),
    /// A user is joined to a room no longer.
    Left(RoomNid, UserNid),
    /// Everybody in a room may have come into it.
    Replaced(RoomNid),
}

/// Changes by position.
#[derive(Debug, Default)]
pub(crate) struct RecentChanges {
    /// All changes after this are known.
    since: Position,
    changes: VecDeque<(Position, Change)>,
}

impl RecentChanges {
    /// Begins at a position, with nothing.
    pub(crate) fn start(&mut self, position: Position) {
        self.since = position;
        self.changes.clear();
    }

    pub(crate) fn push(&mut self, position: Position, change: Change) {
        self.changes.push_back((position, change));
        if self.changes.len() > KEPT
            && let Some((position, _)) = self.changes.pop_front()
        {
            self.since = position;
        }
    }

    /// The changes after a position and up to another; `None` when they go too far back.
    pub(crate) fn between(
        &self,
        after: Position,
        up_to: Position,
    ) -> Option<impl Iterator<Item = Change> + Clone> {
        if after < self.since {
            return None;
        }
        let start = self.changes.partition_point(|(position, _)| *position <= after);
        Some(
            self.changes
                .range(start..)
                .take_while(move |(position, _)| *position <= up_to)
                .map(|(_, change)| *change),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(changes: &RecentChanges, after: i64, up_to: i64) -> Option<Vec<i64>> {
        let found = changes.between(Position(after), Position(up_to))?;
        let user = |change| match change {
            Change::Keys(user) | Change::Joined(_, user) | Change::Left(_, user) => user.0,
            Change::Signature { target, .. } => target.0,
            Change::Replaced(room) => room.0,
        };
        Some(found.map(user).collect())
    }

    #[test]
    fn range_excludes_its_start_and_includes_its_end() {
        let mut changes = RecentChanges::default();
        changes.start(Position(10));
        for position in 11..=14 {
            changes.push(Position(position), Change::Keys(UserNid(position)));
        }

        assert_eq!(users(&changes, 11, 13), Some(vec![12, 13]));
        assert_eq!(users(&changes, 10, 99), Some(vec![11, 12, 13, 14]));
        assert_eq!(users(&changes, 9, 13), None);
    }

    #[test]
    fn what_was_forgotten_is_not_claimed_to_be_known() {
        let mut changes = RecentChanges::default();
        for position in 1..=KEPT as i64 + 1 {
            changes.push(Position(position), Change::Keys(UserNid(position)));
        }

        assert_eq!(users(&changes, 0, 5), None);
        assert_eq!(users(&changes, 1, 3), Some(vec![2, 3]));
    }
}
