//! The state of a room as a user may read it: the current one for those who are in it, that of their leaving for those
//! who were.

use std::{collections::HashSet, sync::Arc};

use hs_model::{
    ids::{EventNid, StateGroupNid, UserNid},
    membership::Membership,
    records::EventRecord,
};
use hs_room_rules::visibility::HistoryVisibility;
use hs_storage::{Reader, StorageError};

use crate::{Room, Rooms, client_event::membership_of};

/// How many changes of a user's membership are looked through for the moment they left. After it, others can only ban,
/// unban, invite and so on.
const MAX_CHANGES: usize = 100;

/// Which state of a room a user may read.
#[derive(Clone, Debug)]
pub enum SeenState {
    /// The current one.
    Current,
    /// That at the event by which the user left: the group before it, and the event itself.
    AsOfLeaving(StateGroupNid, Arc<EventRecord>),
    /// None at all.
    Nothing,
}

impl Rooms {
    /// Which state a user may read.
    ///
    /// <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidstate>
    pub async fn seen_state(&self, room: &Room, user: UserNid) -> Result<SeenState, StorageError> {
        if room.read().membership(user) == Some(Membership::Join) {
            return Ok(SeenState::Current);
        }
        let mut reader = self.inner.store.reader().await?;
        if let Some(membership) = reader.find_membership(room.nid, user).await? {
            if membership.membership == Membership::Join {
                return Ok(SeenState::Current);
            }
            if !membership.is_forgotten
                && let Some(left) = find_leaving(&mut reader, membership.event).await?
                && let Some(before) = left.state_before
            {
                return Ok(SeenState::AsOfLeaving(before, left));
            }
        }
        drop(reader);
        let [visibility] = self.current_state_pdus(room, ["m.room.history_visibility"]).await?;
        if HistoryVisibility::from_state(visibility.as_deref()) == HistoryVisibility::WorldReadable {
            return Ok(SeenState::Current);
        }
        Ok(SeenState::Nothing)
    }

    /// One event of the state that a user may read; the outer `None` says that there is no such state.
    pub async fn find_seen_state_event(
        &self,
        room: &Room,
        user: UserNid,
        slot: (&str, &str),
    ) -> Result<Option<Option<Arc<EventRecord>>>, StorageError> {
        let nid = match self.seen_state(room, user).await? {
            SeenState::Nothing => return Ok(None),
            SeenState::Current => room.read().state_event(slot.0, slot.1),
            SeenState::AsOfLeaving(before, left) => {
                if &*left.event_type == slot.0 && left.state_key.as_deref() == Some(slot.1) {
                    return Ok(Some(Some(left)));
                }
                let slots: Vec<_> = self.inner.store.find_slots(&[slot]).await?.into_values().collect();
                let mut reader = self.inner.store.reader().await?;
                let found = reader.find_state_slots(&[before], &slots).await?;
                found.into_values().flat_map(|state| state.into_values()).next()
            }
        };
        let Some(nid) = nid else { return Ok(Some(None)) };
        Ok(Some(self.inner.store.reader().await?.find_events(&[nid]).await?.remove(&nid)))
    }

    /// All of the state that a user may read; `None` when there is none.
    pub async fn list_seen_state(
        &self,
        room: &Room,
        user: UserNid,
    ) -> Result<Option<Vec<Arc<EventRecord>>>, StorageError> {
        let nids: HashSet<EventNid> = match self.seen_state(room, user).await? {
            SeenState::Nothing => return Ok(None),
            SeenState::Current => {
                let state = room.read();
                state.state.values().flat_map(|by_key| by_key.values().copied()).collect()
            }
            SeenState::AsOfLeaving(before, left) => {
                let mut state = self.inner.store.reader().await?.find_state(before).await?;
                if let Some(slot) = left.slot {
                    state.insert(slot, left.nid);
                }
                state.into_values().collect()
            }
        };
        let mut nids: Vec<EventNid> = nids.into_iter().collect();
        nids.sort_unstable();
        Ok(Some(self.inner.store.reader().await?.list_events(&nids).await?))
    }
}

/// The event by which a user who is not in a room ceased to be in it; `None` when they never were. `member_event` is
/// their present one.
async fn find_leaving(
    reader: &mut Reader,
    member_event: EventNid,
) -> Result<Option<Arc<EventRecord>>, StorageError> {
    let mut next = Some(member_event);
    let mut later: Option<Arc<EventRecord>> = None;
    for _ in 0..MAX_CHANGES {
        let Some(nid) = next else { break };
        let Some(event) = reader.find_events(&[nid]).await?.remove(&nid) else { break };
        if membership_of(&event) == Some(Membership::Join) {
            return Ok(later);
        }
        next = event.replaces;
        later = Some(event);
    }
    Ok(None)
}
