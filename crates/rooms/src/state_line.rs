//! How state groups are laid out: each stores its difference from a parent that is chosen so that both the chain to the
//! root and the differences stay short.
//!
//! The groups of a room form a line, numbered by `height`. A group whose height is divisible by 16^k (and not by 16^(k+1))
//! has as parent the group 16^k below it, and stores what changed in between. So a chain has at most 15 groups for each
//! hexadecimal digit of the height, and a change is stored about once for each digit: a room with a million changes of
//! state needs chains of 75 groups and five entries for each change, whatever the number of its members.

use std::{collections::BTreeMap, sync::Arc};

use hs_model::ids::{EventNid, SlotNid, StateGroupNid};
use hs_storage::{
    append::NewStateGroup,
    state_groups::{EMPTIED, StateGroupRow},
};

/// The base of the numbering.
const BASE: i64 = 16;

/// The state before the first event of a room. No row stands for it.
pub const EMPTY: StateGroupNid = StateGroupNid(0);

/// What a group changes.
type Delta = Arc<[(SlotNid, EventNid)]>;

/// The groups from the root of a room's line to the current one.
#[derive(Clone, Debug, Default)]
pub struct StateLine {
    /// Ascending by height.
    groups: Vec<(StateGroupNid, i64, Delta)>,
}

impl StateLine {
    /// The line that leads to a stored group; `chain` begins with that group.
    pub fn from_chain(chain: Vec<StateGroupRow>) -> Self {
        let groups = chain.into_iter().rev().map(|row| (row.nid, row.height, row.delta.into())).collect();
        Self { groups }
    }

    /// The group at the end.
    pub fn current(&self) -> StateGroupNid {
        self.groups.last().map_or(EMPTY, |(nid, ..)| *nid)
    }

    /// The line that ends with `current`, after groups were made from it one after the other; `None` when that is not how
    /// the group was made.
    #[must_use]
    pub fn extended_to(mut self, added: &[NewStateGroup], current: StateGroupNid) -> Option<Self> {
        for group in added {
            let keep =
                self.groups.partition_point(|(_, height, _)| Some(*height) <= parent_height(group.height));
            self.groups.truncate(keep);
            if self.groups.last().map(|(nid, ..)| *nid) != group.parent {
                return None;
            }
            self.groups.push((group.nid, group.height, group.delta.as_slice().into()));
        }
        (self.current() == current).then_some(self)
    }

    /// Adds a group in which `slot` holds `event`, and returns the row to store.
    pub fn push(&mut self, nid: StateGroupNid, slot: SlotNid, event: EventNid) -> NewStateGroup {
        self.push_changes(nid, &[(slot, Some(event))])
    }

    /// Adds a group in which some slots hold other events, or none, and returns the row to store.
    pub fn push_changes(
        &mut self,
        nid: StateGroupNid,
        changes: &[(SlotNid, Option<EventNid>)],
    ) -> NewStateGroup {
        let height = self.groups.last().map_or(0, |(_, height, _)| height + 1);
        let floor = parent_height(height);
        let keep = self.groups.partition_point(|(_, height, _)| Some(*height) <= floor);
        // Oldest first, so that what is newer overwrites.
        let mut merged = BTreeMap::new();
        for (.., older) in &self.groups[keep..] {
            merged.extend(older.iter().copied());
        }
        merged.extend(changes.iter().map(|(slot, event)| (*slot, event.unwrap_or(EMPTIED))));
        let delta: Vec<_> = merged.into_iter().collect();
        self.groups.truncate(keep);
        let parent = self.groups.last().map(|(nid, ..)| *nid);
        self.groups.push((nid, height, delta.as_slice().into()));
        NewStateGroup { nid, parent, height, delta }
    }
}

/// The height of the parent of the group at `height`; `None` for the root.
fn parent_height(height: i64) -> Option<i64> {
    if height == 0 {
        return None;
    }
    let mut step = 1;
    while height % (step * BASE) == 0 {
        step *= BASE;
    }
    Some(height - step)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// Writes `count` changes and returns what each group stores.
    fn write(count: i64, slots: i64) -> (Vec<NewStateGroup>, Vec<HashMap<SlotNid, EventNid>>) {
        let mut line = StateLine::default();
        let mut state = HashMap::new();
        let mut expected = Vec::new();
        let mut rows = Vec::new();
        for i in 0..count {
            let (slot, event) = (SlotNid((i * 7) % slots), EventNid(i));
            rows.push(line.push(StateGroupNid(i + 1), slot, event));
            state.insert(slot, event);
            expected.push(state.clone());
        }
        (rows, expected)
    }

    fn chain_of(rows: &[NewStateGroup], nid: StateGroupNid) -> Vec<&NewStateGroup> {
        let mut chain = Vec::new();
        let mut next = Some(nid);
        while let Some(nid) = next {
            let row = &rows[nid.0 as usize - 1];
            chain.push(row);
            next = row.parent;
        }
        chain
    }

    #[test]
    fn every_group_unfolds_to_the_state_it_was_made_from() {
        let (rows, expected) = write(1000, 300);
        for (row, expected) in rows.iter().zip(expected) {
            let mut state = HashMap::new();
            for group in chain_of(&rows, row.nid) {
                for (slot, event) in &group.delta {
                    state.entry(*slot).or_insert(*event);
                }
            }
            assert_eq!(state, expected);
        }
    }

    #[test]
    fn chains_and_differences_stay_short() {
        let (rows, _) = write(5000, 5000);
        let longest = rows.iter().map(|row| chain_of(&rows, row.nid).len()).max().expect("some rows");
        let entries: usize = rows.iter().map(|row| row.delta.len()).sum();
        assert!(longest <= 15 * 4 + 1, "a chain of {longest} groups");
        assert!(entries <= rows.len() * 4, "{entries} entries for {} changes", rows.len());
    }

    #[test]
    fn a_line_read_back_goes_on_as_before() {
        let (rows, _) = write(40, 10);
        let mut written = StateLine::default();
        for row in &rows {
            written.push(row.nid, SlotNid((row.height * 7) % 10), EventNid(row.height));
        }
        let chain = chain_of(&rows, StateGroupNid(40))
            .into_iter()
            .map(|row| StateGroupRow {
                nid: row.nid,
                parent: row.parent,
                height: row.height,
                delta: row.delta.clone(),
            })
            .collect();
        let mut read = StateLine::from_chain(chain);
        let (a, b) = (
            written.push(StateGroupNid(41), SlotNid(3), EventNid(40)),
            read.push(StateGroupNid(41), SlotNid(3), EventNid(40)),
        );
        assert_eq!((a.parent, a.height, a.delta), (b.parent, b.height, b.delta));
    }
}
