//! Rooms that were joined without most of their members, until these are known.
//!
//! Another server lets a user in with the state of the room but for its members (`omit_members`). The room can be used from
//! then on: what its own users send is authorised by what is known. Of an event of somebody else it is taken on trust that
//! the members whom it names as authorising it are still what they were then. When the whole state before the join has come,
//! all events since are judged anew, as if they came then, and the room is replaced in one step: see [`Rooms::make_whole`].
//!
//! Until then nobody's membership is changed of whom it is not known what they are, and no other server is told a state
//! that is not whole.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv2send_joinroomideventid>

use std::{collections::HashMap, sync::Arc, time::Duration};

use hs_model::{
    ids::{EventNid, SlotNid},
    records::{EventRecord, Outcome},
    stream::Position,
};
use hs_room_rules::{auth, pdu::Pdu};
use hs_storage::{StorageError, append::AppendError};
use ruma::{EventId, OwnedEventId};

use crate::{Room, Rooms, WriteError, build::replay::Replay};

/// How often writing is tried when the room changes meanwhile.
const MAX_ATTEMPTS: usize = 50;

/// Why a room was not made whole.
#[derive(Debug, thiserror::Error)]
pub enum MakeWholeError {
    /// The state that another server told cannot be that of the room.
    #[error("{0}")]
    Invalid(String),
    /// It could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl From<StorageError> for MakeWholeError {
    fn from(error: StorageError) -> Self {
        Self::Write(error.into())
    }
}

impl Rooms {
    /// Waits until a room was joined here without its members.
    pub async fn partial_news(&self) {
        self.inner.partial_news.notified().await;
    }

    /// Waits until all members of a room are known, but not for longer than `patience`. Whether they are.
    pub async fn wait_whole(&self, room: &Room, patience: Duration) -> bool {
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            let mut news = std::pin::pin!(room.became_whole.notified());
            news.as_mut().enable();
            if !room.read().is_partial() {
                return true;
            }
            if tokio::time::timeout_at(deadline, news).await.is_err() {
                return !room.read().is_partial();
            }
        }
    }

    /// Puts the whole state before the event into place by which this server came into a room, and judges all events since
    /// anew. `told` is that state, as another server says: all of it must be stored. Does nothing if the room is whole.
    pub async fn make_whole(
        &self,
        room: &Arc<Room>,
        join: EventNid,
        told: &[OwnedEventId],
    ) -> Result<(), MakeWholeError> {
        let found = self.inner.store.find_events(&[join]).await?;
        let Some(event) = found.get(&join).cloned() else { return Ok(()) };
        let state = self.told_state(room, &event, told).await?;
        for _ in 0..MAX_ATTEMPTS {
            let Some(head) = self.catch_up(room).await? else { return Ok(()) };
            let mut reader = self.inner.store.snapshot().await?;
            let partial = reader.find_partial_room(room.nid).await?;
            if partial.is_none_or(|partial| partial.join != join || partial.whole_at.is_some()) {
                return Ok(());
            }
            let since = event.position.unwrap_or(Position::START);
            let nids = reader.list_all_events_after(room.nid, since).await?;
            let events = reader.list_events(&nids).await?;
            drop(reader);
            let replay = Replay { head: &head, join: &event, state: &state, events: &events };
            let unit = replay.run(self, room).await?;
            match self.inner.appender.append(unit).await {
                Ok(_) => return Ok(()),
                Err(AppendError::Storage(error)) => return Err(WriteError::Storage(error).into()),
                // Something else was written to the room meanwhile.
                Err(_) => {}
            }
        }
        Err(WriteError::Busy.into())
    }

    /// A state that another server told, if it allows the event that it is said to be before.
    async fn told_state(
        &self,
        room: &Room,
        join: &EventRecord,
        told: &[OwnedEventId],
    ) -> Result<HashMap<SlotNid, EventNid>, MakeWholeError> {
        let ids: Vec<&EventId> = told.iter().map(|id| &**id).collect();
        let nodes = self.inner.store.reader().await?.find_graph_nodes(&ids).await?;
        let valid = nodes.values().filter(|node| node.room == room.nid && node.outcome != Outcome::Rejected);
        let state: HashMap<SlotNid, EventNid> =
            valid.filter_map(|node| Some((node.slot?, node.nid))).collect();

        let join = crate::pdus::parse(room, join)?;
        let needed = auth::auth_types(
            join.type_str(),
            join.sender(),
            join.state_key(),
            join.content_str(),
            room.rules,
        );
        let mut keys: Vec<(&str, &str)> = vec![("m.room.create", "")];
        let needed = needed.unwrap_or_default();
        keys.extend(needed.iter().map(|(kind, key)| (*kind, &**key)));
        let slots = self.inner.store.find_slots(&keys).await?;
        let filled: Vec<_> =
            slots.into_iter().filter_map(|(name, slot)| Some((name, *state.get(&slot)?))).collect();
        let pdus = self.inner.pdus.find(room, filled.iter().map(|(_, nid)| *nid)).await?;
        let by_name: HashMap<(&str, &str), &Arc<Pdu>> = filled
            .iter()
            .filter_map(|((kind, key), nid)| Some(((&**kind, &**key), pdus.get(nid)?)))
            .collect();
        if !by_name.contains_key(&("m.room.create", "")) {
            return Err(MakeWholeError::Invalid("the state has no create event".to_owned()));
        }
        auth::check_dependent(&join, |kind, key| by_name.get(&(kind, key)).copied().cloned()).map_err(
            |error| MakeWholeError::Invalid(format!("the state does not allow the join: {error}")),
        )?;
        Ok(state)
    }
}
