//! What a batch does in a room of which most members are not known yet; see [`crate::whole`].

use std::sync::Arc;

use hs_model::ids::{EventNid, SlotNid, StateGroupNid};
use hs_room_rules::pdu::Pdu;
use ruma::OwnedEventId;

use super::Batch;
use crate::WriteError;

/// The event by which this server came into a room.
#[derive(Clone, Debug)]
pub(super) struct Entrance {
    /// What came before it, in ascending order.
    pub(super) prev: Vec<OwnedEventId>,
    /// The state before it.
    pub(super) before: StateGroupNid,
}

impl Batch<'_> {
    /// Reads by what this server came into the room.
    pub(super) async fn find_entrance(&mut self, join: EventNid) -> Result<(), WriteError> {
        let found = self.rooms.inner.store.find_events(&[join]).await?;
        let Some(event) = found.get(&join) else { return Ok(()) };
        let Some(before) = event.state_before else { return Ok(()) };
        let mut prev = crate::pdus::parse(self.room, event)?.prev_events().to_vec();
        prev.sort_unstable();
        self.entrance = Some(Entrance { prev, before });
        Ok(())
    }

    /// The state after some events, if those are what came before the event by which this server came in.
    pub(super) fn state_before_entrance(&self, prev: &[OwnedEventId]) -> Option<StateGroupNid> {
        let mut prev = prev.to_vec();
        prev.sort_unstable();
        self.entrance.as_ref().filter(|entrance| entrance.prev == prev).map(|entrance| entrance.before)
    }

    /// The state before an event with those members who authorise it, where most members are not known yet: until they are,
    /// the event's word is taken for what these members are. It is judged anew then.
    pub(super) async fn with_members_of(
        &mut self,
        pdu: &Arc<Pdu>,
        before: StateGroupNid,
    ) -> Result<StateGroupNid, WriteError> {
        let named = self.auth_events(pdu).await?;
        let members =
            named.iter().filter(|event| event.type_str() == "m.room.member" && !event.is_rejected());
        let members: Vec<(SlotNid, EventNid)> = members
            .filter_map(|event| {
                self.node_here(event.event_id()).and_then(|node| Some((node.slot?, node.nid)))
            })
            .collect();
        let chain = self.rooms.inner.groups.chain(before, &self.work.state_groups).await?;
        let mut unknown: Vec<_> = members
            .into_iter()
            .filter(|(slot, _)| chain.get(*slot).is_none())
            .map(|(slot, event)| (slot, Some(event)))
            .collect();
        if unknown.is_empty() {
            return Ok(before);
        }
        unknown.sort_unstable_by_key(|(slot, _)| *slot);
        unknown.dedup_by_key(|(slot, _)| *slot);
        let nid = self.rooms.inner.store.allocate_state_group_nid().await?;
        let group = chain.to_line().push_changes(nid, &unknown);
        self.work.state_groups.push(group);
        Ok(nid)
    }
}
