//! The receipts that changed lately, in memory.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use hs_model::{
    ids::{RoomNid, UserNid},
    stream::Position,
};
use hs_storage::receipts::ReceiptRow;

/// How many changes are kept in all: some 20 MB.
const MAX_CHANGES: usize = 50_000;
/// How many changes are kept for one room.
const MAX_ROOM_CHANGES: usize = 500;

/// Changes of receipts, in order of position.
#[derive(Debug, Default)]
pub(crate) struct RecentReceipts {
    /// Every change after this position is here, except in rooms with a later floor of their own. `None` until it is known
    /// where this process began to follow the log.
    floor: Option<Position>,
    rooms: HashMap<RoomNid, RoomReceipts>,
    /// Oldest first. May name changes that their room has dropped already.
    order: VecDeque<(Position, RoomNid)>,
}

#[derive(Debug)]
struct RoomReceipts {
    /// Every change in the room after this position is in `rows`.
    floor: Position,
    rows: VecDeque<Arc<ReceiptRow>>,
}

impl RecentReceipts {
    /// Begins anew: what comes after `position` will be told.
    pub(crate) fn start(&mut self, position: Position) {
        *self = Self { floor: Some(position), ..Self::default() };
    }

    /// Keeps a change that came after all others.
    pub(crate) fn insert(&mut self, row: Arc<ReceiptRow>) {
        let Some(floor) = self.floor else { return };
        let (room_nid, position) = (row.receipt.room, row.position);
        let room =
            self.rooms.entry(room_nid).or_insert_with(|| RoomReceipts { floor, rows: VecDeque::new() });
        room.rows.push_back(row);
        if room.rows.len() > MAX_ROOM_CHANGES {
            room.drop_until(room.rows[0].position);
        }
        self.order.push_back((position, room_nid));
        if self.order.len() > MAX_CHANGES
            && let Some((position, room_nid)) = self.order.pop_front()
        {
            self.floor = Some(position);
            if let Some(room) = self.rooms.get_mut(&room_nid) {
                room.drop_until(position);
                if room.rows.is_empty() && room.floor <= position {
                    self.rooms.remove(&room_nid);
                }
            }
        }
    }

    /// The receipts in a room that a user may know of and that changed after one position and up to another, in order.
    /// `None` when memory does not reach back that far.
    pub(crate) fn between(
        &self,
        room: RoomNid,
        viewer: UserNid,
        after: Position,
        up_to: Position,
    ) -> Option<Vec<Arc<ReceiptRow>>> {
        let Some(room) = self.rooms.get(&room) else {
            return (after >= self.floor?).then(Vec::new);
        };
        if after < room.floor {
            return None;
        }
        let mut seen = HashSet::new();
        let mut found: Vec<Arc<ReceiptRow>> = room
            .rows
            .iter()
            .rev()
            .skip_while(|row| row.position > up_to)
            .take_while(|row| row.position > after)
            .filter(|row| row.is_visible_to(viewer))
            // Only the newest of each kind: the others are no longer true.
            .filter(|row| {
                let receipt = &row.receipt;
                seen.insert((receipt.user, receipt.receipt_type, receipt.thread_id.as_deref()))
            })
            .cloned()
            .collect();
        found.reverse();
        Some(found)
    }
}

impl RoomReceipts {
    fn drop_until(&mut self, position: Position) {
        while self.rows.front().is_some_and(|row| row.position <= position) {
            self.rows.pop_front();
        }
        self.floor = self.floor.max(position);
    }
}

#[cfg(test)]
mod tests {
    use hs_storage::receipts::{NewReceipt, ReceiptType};

    use super::*;

    const ROOM: RoomNid = RoomNid(1);
    const ALICE: UserNid = UserNid(1);
    const BOB: UserNid = UserNid(2);

    fn change(position: i64, room: RoomNid, user: UserNid, receipt_type: ReceiptType) -> Arc<ReceiptRow> {
        Arc::new(ReceiptRow {
            receipt: NewReceipt {
                room,
                user,
                user_id: format!("@user{}:example.org", user.0).try_into().unwrap(),
                receipt_type,
                thread_id: None,
                event_id: format!("$event{position}").try_into().unwrap(),
                event_position: Some(Position(position)),
                ts: 0,
            },
            position: Position(position),
        })
    }

    fn started_at(position: i64) -> RecentReceipts {
        let mut recent = RecentReceipts::default();
        recent.start(Position(position));
        recent
    }

    fn positions(recent: &RecentReceipts, viewer: UserNid, after: i64, up_to: i64) -> Option<Vec<i64>> {
        let rows = recent.between(ROOM, viewer, Position(after), Position(up_to))?;
        Some(rows.iter().map(|row| row.position.0).collect())
    }

    #[test]
    fn changes_are_told_in_order_within_the_range() {
        let mut recent = started_at(10);
        for (position, user) in [(11, 1), (12, 2), (13, 3), (14, 4)] {
            recent.insert(change(position, ROOM, UserNid(user), ReceiptType::Read));
        }

        assert_eq!(positions(&recent, ALICE, 11, 13), Some(vec![12, 13]));
        assert_eq!(positions(&recent, ALICE, 14, 20), Some(vec![]));
    }

    #[test]
    fn only_the_newest_of_a_users_receipts_is_told() {
        let mut recent = started_at(10);
        recent.insert(change(11, ROOM, ALICE, ReceiptType::Read));
        recent.insert(change(12, ROOM, BOB, ReceiptType::Read));
        recent.insert(change(13, ROOM, ALICE, ReceiptType::Read));

        assert_eq!(positions(&recent, BOB, 10, 13), Some(vec![12, 13]));
    }

    #[test]
    fn private_receipts_are_told_to_their_owner_only() {
        let mut recent = started_at(10);
        recent.insert(change(11, ROOM, ALICE, ReceiptType::ReadPrivate));

        assert_eq!(positions(&recent, ALICE, 10, 11), Some(vec![11]));
        assert_eq!(positions(&recent, BOB, 10, 11), Some(vec![]));
    }

    #[test]
    fn what_lies_before_the_beginning_is_not_known() {
        let mut recent = RecentReceipts::default();
        assert_eq!(positions(&recent, ALICE, 100, 200), None);

        recent.start(Position(10));
        assert_eq!(positions(&recent, ALICE, 9, 20), None);
        assert_eq!(positions(&recent, ALICE, 10, 20), Some(vec![]));
    }

    #[test]
    fn busy_room_forgets_its_oldest_changes_and_says_so() {
        let mut recent = started_at(0);
        let last = MAX_ROOM_CHANGES as i64 + 1;
        for position in 1..=last {
            recent.insert(change(position, ROOM, UserNid(position), ReceiptType::Read));
        }

        assert_eq!(positions(&recent, ALICE, 0, last), None);
        assert_eq!(positions(&recent, ALICE, 1, last).map(|found| found.len()), Some(MAX_ROOM_CHANGES));
    }

    #[test]
    fn oldest_changes_of_all_rooms_are_forgotten_first() {
        let mut recent = started_at(0);
        recent.insert(change(1, ROOM, ALICE, ReceiptType::Read));
        for position in 2..=(MAX_CHANGES as i64 + 1) {
            recent.insert(change(position, RoomNid(position), ALICE, ReceiptType::Read));
        }

        assert_eq!(positions(&recent, ALICE, 0, 1), None);
        assert_eq!(positions(&recent, ALICE, 1, 1), Some(vec![]));
        assert!(!recent.rooms.contains_key(&ROOM));
        assert_eq!(recent.order.len(), MAX_CHANGES);
    }
}
