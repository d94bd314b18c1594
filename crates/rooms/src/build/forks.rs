//! What remains to be written down when a batch has resolved forks: the difference between the current state and what the
//! events say by themselves.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use hs_model::{
    ids::{EventNid, SlotNid},
    membership::Membership,
    records::EventRecord,
};
use hs_storage::append::{MembershipChange, StateCorrection};
use ruma::UserId;

use super::Batch;
use crate::{WriteError, groups::SlotChange, resolve::Pending};

impl Batch<'_> {
    /// To be called once, when all events are in the batch.
    pub(crate) async fn settle(&mut self) -> Result<(), WriteError> {
        if !self.work.has_forked {
            return Ok(());
        }
        let groups = &self.rooms.inner.groups;
        let old = groups.chain(self.initial, &self.work.state_groups).await?;
        let new = groups.chain(self.work.line.current(), &self.work.state_groups).await?;
        let changes = old.changes_to(&new);

        // By slot: what the events say, and what holds.
        let mut outcome: BTreeMap<SlotNid, (Option<EventNid>, Option<EventNid>)> =
            changes.iter().map(|change| (change.slot, (change.before, change.after))).collect();
        for (slot, event) in &self.work.naive {
            outcome.entry(*slot).or_insert_with(|| (None, new.get(*slot))).0 = Some(*event);
        }
        let differing: Vec<_> = outcome
            .into_iter()
            .filter(|(_, (said, holds))| said != holds)
            .map(|(slot, (said, holds))| (slot, said, holds))
            .collect();
        let records = self.records(differing.iter().filter_map(|(.., holds)| *holds)).await?;
        self.work.corrections = differing
            .into_iter()
            .map(|(slot, replaces, holds)| StateCorrection {
                slot,
                event: holds.and_then(|nid| records.get(&nid).cloned()),
                replaces,
            })
            .collect();
        self.work.final_changes = Some(changes.iter().map(|change| (change.slot, change.after)).collect());
        self.work.memberships = self.memberships_of(&changes).await?;
        Ok(())
    }

    async fn records(
        &self,
        nids: impl Iterator<Item = EventNid>,
    ) -> Result<HashMap<EventNid, Arc<EventRecord>>, WriteError> {
        let mut stored = Vec::new();
        let mut found = HashMap::new();
        for nid in nids {
            match self.work.events.iter().find(|event| event.record.nid == nid) {
                Some(event) => {
                    found.insert(nid, Arc::new(event.record.clone()));
                }
                None => stored.push(nid),
            }
        }
        found.extend(self.rooms.inner.store.find_events(&stored).await?);
        Ok(found)
    }

    pub(super) async fn memberships_of(
        &self,
        changes: &[SlotChange],
    ) -> Result<HashMap<hs_model::ids::UserNid, MembershipChange>, WriteError> {
        let slots: Vec<_> = changes.iter().map(|change| change.slot).collect();
        let names = self.rooms.inner.store.slot_names(&slots).await?;
        let members: Vec<_> = changes
            .iter()
            .filter_map(|change| {
                let (event_type, state_key) = names.get(&change.slot)?;
                let user_id = <&UserId>::try_from(&**state_key).ok()?;
                (&**event_type == "m.room.member").then_some((change, user_id))
            })
            .collect();
        let pending = Pending { groups: &self.work.state_groups, events: &self.work.pending };
        let nids = members.iter().filter_map(|(change, _)| change.after);
        let pdus = self.rooms.pdus_of(self.room, nids, pending).await?;
        let user_ids: Vec<&UserId> = members.iter().map(|(_, user_id)| *user_id).collect();
        let users = self.rooms.inner.store.intern_users(&user_ids).await?;
        let mut memberships = HashMap::with_capacity(members.len());
        for (change, user_id) in members {
            let Some(user) = users.get(user_id).copied() else { continue };
            let said = change.after.and_then(|nid| pdus.get(&nid)).and_then(|pdu| pdu.membership().ok());
            let membership =
                said.and_then(|said| Membership::parse(said.as_str())).unwrap_or(Membership::Leave);
            // A membership that resolution has taken away is told by the event that used to say it.
            let Some(event) = change.after.or(change.before) else { continue };
            memberships.insert(user, MembershipChange { user, membership, event });
        }
        Ok(memberships)
    }
}
