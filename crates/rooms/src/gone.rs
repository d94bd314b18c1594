//! Servers that are no longer in a room, and what was said there while they were.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use hs_model::{
    ids::{EventNid, SlotNid},
    membership::Membership,
    records::EventRecord,
    stream::Position,
};
use hs_storage::StorageError;
use ruma::{OwnedServerName, ServerName};

use crate::{Room, Rooms, client_event::membership_of, for_servers::SlotsBefore};

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
        let slots = SlotsBefore::read(&mut store.reader().await?, events, &slots).await?;
        let is_join = |(_, member): (SlotNid, &EventRecord)| membership_of(member) == Some(Membership::Join);
        let has_server = |event: &&Arc<EventRecord>| slots.before(event).any(is_join);
        Ok(events.iter().filter(has_server).map(|event| event.nid).collect())
    }
}
