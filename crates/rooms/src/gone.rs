//! Servers that are no longer in a room, and what was said there while they were.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use hs_model::{
    ids::{EventNid, SlotNid, StateGroupNid},
    membership::Membership,
    records::EventRecord,
    stream::Position,
};
use hs_storage::StorageError;
use ruma::{OwnedServerName, ServerName};

use crate::{Room, Rooms, client_event::membership_of};

impl Rooms {
    /// The other servers that are not in a room now, with users who have left it or were removed after a position. Whether
    /// those were in it at all, [`list_events_with_server`](Self::list_events_with_server) tells.
    pub async fn list_servers_gone_since(
        &self,
        room: &Room,
        position: Position,
    ) -> Result<Vec<OwnedServerName>, StorageError> {
        let users = room.read().out_since(position);
        if users.is_empty() {
            return Ok(Vec::new());
        }
        let ids = self.inner.store.user_ids(&users).await?;
        let names: BTreeSet<&ServerName> = ids.values().map(|user_id| user_id.server_name()).collect();
        let is_gone = |name: &&&ServerName| ***name != *self.server_name() && !room.has_server(name);
        Ok(names.iter().filter(is_gone).map(|name| (*name).to_owned()).collect())
    }

    /// Those of the events of a room in the state before which a server had a joined member.
    pub async fn list_events_with_server(
        &self,
        room: &Room,
        events: &[Arc<EventRecord>],
        server: &ServerName,
    ) -> Result<HashSet<EventNid>, StorageError> {
        let store = &self.inner.store;
        let users = store.reader().await?.list_users_of_server(room.nid, server).await?;
        let names: Vec<(&str, &str)> =
            users.iter().map(|(_, user_id)| ("m.room.member", user_id.as_str())).collect();
        let slots: Vec<SlotNid> = store.find_slots(&names).await?.into_values().collect();
        let mut groups: Vec<StateGroupNid> = events.iter().filter_map(|event| event.state_before).collect();
        groups.sort_unstable();
        groups.dedup();
        let mut reader = store.reader().await?;
        let states = reader.find_state_slots(&groups, &slots).await?;
        let mut nids: Vec<EventNid> = states.values().flat_map(|state| state.values().copied()).collect();
        nids.sort_unstable();
        nids.dedup();
        let members = reader.find_events(&nids).await?;
        drop(reader);
        let is_join = |nid: &EventNid| {
            members.get(nid).and_then(|event| membership_of(event)) == Some(Membership::Join)
        };
        let has_server = |event: &&Arc<EventRecord>| {
            let state = event.state_before.and_then(|group| states.get(&group));
            state.is_some_and(|state| state.values().any(is_join))
        };
        Ok(events.iter().filter(has_server).map(|event| event.nid).collect())
    }
}
