//! The presence that changed lately, in memory.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
    sync::Arc,
};

use hs_model::{ids::UserNid, stream::Position};
use hs_storage::presence::PresenceRow;

/// How many users are kept: some 10 MB.
const MAX_USERS: usize = 50_000;

/// The newest presence of each user for whom it changed lately.
#[derive(Debug, Default)]
pub(super) struct RecentPresence {
    /// Every user whose presence changed after this position is here. `None` until it is known where this process began to
    /// follow the log.
    floor: Option<Position>,
    changes: BTreeMap<Position, Arc<PresenceRow>>,
    by_user: HashMap<UserNid, Position>,
}

impl RecentPresence {
    /// Begins anew: what comes after `position` will be told.
    pub(super) fn start(&mut self, position: Position) {
        *self = Self { floor: Some(position), ..Self::default() };
    }

    /// Keeps a change that came after all others.
    pub(super) fn insert(&mut self, row: Arc<PresenceRow>) {
        if self.floor.is_none() {
            return;
        }
        if let Some(before) = self.by_user.insert(row.user, row.position) {
            self.changes.remove(&before);
        }
        self.changes.insert(row.position, row);
        if self.changes.len() > MAX_USERS
            && let Some((position, row)) = self.changes.pop_first()
        {
            self.by_user.remove(&row.user);
            self.floor = Some(position);
        }
    }

    /// What changed after one position and up to another, in order; `None` when memory does not reach back that far.
    pub(super) fn between(
        &self,
        after: Position,
        up_to: Position,
    ) -> Option<impl Iterator<Item = &Arc<PresenceRow>>> {
        (after >= self.floor?).then(|| {
            let range = (Bound::Excluded(after), Bound::Included(up_to));
            // An empty range that is the wrong way round panics.
            let range = if after < up_to { Some(self.changes.range(range)) } else { None };
            range.into_iter().flatten().map(|(_, row)| row)
        })
    }
}

#[cfg(test)]
mod tests {
    use hs_storage::presence::Presence;

    use super::*;

    fn change(position: i64, user: i64) -> Arc<PresenceRow> {
        Arc::new(PresenceRow {
            user: UserNid(user),
            user_id: format!("@user{user}:example.org").try_into().unwrap(),
            presence: Presence::Online,
            status_msg: None,
            last_active_at: 0,
            currently_active: true,
            position: Position(position),
        })
    }

    fn positions(recent: &RecentPresence, after: i64, up_to: i64) -> Option<Vec<i64>> {
        Some(recent.between(Position(after), Position(up_to))?.map(|row| row.position.0).collect())
    }

    #[test]
    fn only_the_newest_presence_of_a_user_is_told() {
        let mut recent = RecentPresence::default();
        assert_eq!(positions(&recent, 0, 9), None);
        recent.start(Position(1));
        for (position, user) in [(2, 1), (3, 2), (4, 1)] {
            recent.insert(change(position, user));
        }

        assert_eq!(positions(&recent, 1, 9), Some(vec![3, 4]));
        assert_eq!(positions(&recent, 3, 9), Some(vec![4]));
        assert_eq!(positions(&recent, 9, 9), Some(vec![]));
        assert_eq!(positions(&recent, 0, 9), None);
    }

    #[test]
    fn oldest_changes_are_forgotten_first() {
        let mut recent = RecentPresence::default();
        recent.start(Position(0));
        for position in 1..=(MAX_USERS as i64 + 1) {
            recent.insert(change(position, position));
        }

        assert_eq!(positions(&recent, 0, 5), None);
        assert_eq!(positions(&recent, 1, 3), Some(vec![2, 3]));
        assert_eq!(recent.by_user.len(), MAX_USERS);
    }
}
