//! Reading state groups: what a slot holds in a group, and in what two groups differ. A group is read once; after that its
//! rows are in memory, since they never change.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use hs_model::ids::{EventNid, SlotNid, StateGroupNid};
use hs_storage::{
    StorageError, Store,
    append::NewStateGroup,
    state_groups::{EMPTIED, StateGroupRow},
};
use moka::sync::Cache;

use crate::state_line::{EMPTY, StateLine};

/// Upper bound of the entries kept of all groups together.
const CAPACITY_ENTRIES: u64 = 1_000_000;

/// A change of one slot: what it held, and what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotChange {
    pub(crate) slot: SlotNid,
    pub(crate) before: Option<EventNid>,
    pub(crate) after: Option<EventNid>,
}

/// A group with its ancestors, itself first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chain(Vec<Arc<StateGroupRow>>);

impl Chain {
    /// The group.
    pub(crate) fn tip(&self) -> StateGroupNid {
        self.0.first().map_or(EMPTY, |row| row.nid)
    }

    /// Its number in its line.
    pub(crate) fn height(&self) -> i64 {
        self.0.first().map_or(-1, |row| row.height)
    }

    /// What a slot holds.
    pub(crate) fn get(&self, slot: SlotNid) -> Option<EventNid> {
        let event = self.0.iter().find_map(|row| {
            // Differences are written in the order of their slots.
            let at = row.delta.binary_search_by_key(&slot, |(slot, _)| *slot).ok()?;
            Some(row.delta[at].1)
        })?;
        (event != EMPTIED).then_some(event)
    }

    /// All of the state, in the order of the slots.
    pub(crate) fn list(&self) -> Vec<(SlotNid, EventNid)> {
        let mut all = Vec::with_capacity(self.0.iter().map(|row| row.delta.len()).sum());
        for row in &self.0 {
            all.extend_from_slice(&row.delta);
        }
        // Each row is in order, which a stable sort makes use of; of one slot it leaves the newest row's first.
        all.sort_by_key(|(slot, _)| *slot);
        all.dedup_by_key(|(slot, _)| *slot);
        all.retain(|(_, event)| *event != EMPTIED);
        all
    }

    /// All of the state.
    pub(crate) fn entries(&self) -> BTreeMap<SlotNid, EventNid> {
        self.list().into_iter().collect()
    }

    /// The slots in which any of some groups may differ: those that changed since the newest group that all descend from.
    pub(crate) fn touched(chains: &[&Self]) -> BTreeSet<SlotNid> {
        let is_common =
            |nid: StateGroupNid| chains.iter().all(|chain| chain.0.iter().any(|row| row.nid == nid));
        let common = chains
            .first()
            .and_then(|chain| chain.0.iter().find(|row| is_common(row.nid)))
            .map_or(EMPTY, |row| row.nid);
        let above = chains.iter().flat_map(|chain| chain.0.iter().take_while(|row| row.nid != common));
        above.flat_map(|row| row.delta.iter().map(|(slot, _)| *slot)).collect()
    }

    /// In what the state of `after` differs from this one.
    pub(crate) fn changes_to(&self, after: &Self) -> Vec<SlotChange> {
        let slots = Self::touched(&[self, after]).into_iter();
        let change = |slot| SlotChange { slot, before: self.get(slot), after: after.get(slot) };
        slots.map(change).filter(|change| change.before != change.after).collect()
    }

    /// The line that the group ends.
    pub(crate) fn to_line(&self) -> StateLine {
        StateLine::from_chain(self.0.iter().map(|row| StateGroupRow::clone(row)).collect())
    }
}

/// The groups of all rooms.
#[derive(Debug)]
pub(crate) struct Groups {
    store: Store,
    rows: Cache<StateGroupNid, Arc<StateGroupRow>>,
}

impl Groups {
    pub(crate) fn new(store: Store) -> Self {
        let rows = Cache::builder()
            .max_capacity(CAPACITY_ENTRIES)
            .weigher(|_, row: &Arc<StateGroupRow>| row.delta.len() as u32 + 8)
            .build();
        Self { store, rows }
    }

    /// A group; `pending` are those that are not stored yet.
    pub(crate) async fn chain(
        &self,
        group: StateGroupNid,
        pending: &[NewStateGroup],
    ) -> Result<Chain, StorageError> {
        let mut rows = Vec::new();
        let mut next = (group != EMPTY).then_some(group);
        while let Some(nid) = next {
            let row = match pending.iter().find(|new| new.nid == nid) {
                Some(new) => Arc::new(StateGroupRow {
                    nid,
                    parent: new.parent,
                    height: new.height,
                    delta: new.delta.clone(),
                }),
                None => {
                    if let Some(row) = self.rows.get(&nid) {
                        row
                    } else {
                        rows.extend(self.read(nid).await?);
                        break;
                    }
                }
            };
            next = row.parent;
            rows.push(row);
        }
        Ok(Chain(rows))
    }

    async fn read(&self, group: StateGroupNid) -> Result<Vec<Arc<StateGroupRow>>, StorageError> {
        let rows = self.store.reader().await?.list_state_group_chain(group).await?;
        if rows.is_empty() {
            let row = group.0.to_string();
            return Err(StorageError::Inconsistent { table: "state_groups", column: "state_group", row });
        }
        let rows: Vec<_> = rows.into_iter().map(Arc::new).collect();
        for row in &rows {
            self.rows.insert(row.nid, row.clone());
        }
        Ok(rows)
    }
}
