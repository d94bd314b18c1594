//! Events, state and history.

use std::sync::Arc;

use hs_model::records::{EventRecord, Outcome};
use hs_rooms::{Room, for_servers::EventsBefore, hierarchy::ServerHierarchy};
use hs_storage::events::Order;
use ruma::{EventId, OwnedEventId, RoomId, ServerName};
use serde_json::value::RawValue;

use super::{AnswerError, RoomAnswers};

/// How many events a server gets of a room's past at once.
const MAX_BACKFILL: usize = 100;
/// How many events a server gets that it has missed.
const MAX_MISSING: usize = 50;
/// How many events a server may begin with.
const MAX_BEGINNINGS: usize = 50;

/// The state before an event, with what authorises it.
#[derive(Clone, Debug)]
pub struct RoomStateReply<T> {
    /// The state.
    pub state: Vec<T>,
    /// What authorises it.
    pub auth_chain: Vec<T>,
}

/// Which events a server has missed.
#[derive(Clone, Copy, Debug)]
pub struct MissingEvents<'a> {
    /// What it has: it knows everything before these.
    pub earliest: &'a [OwnedEventId],
    /// What it has seen of what came after.
    pub latest: &'a [OwnedEventId],
    /// How deep an event must be at least.
    pub min_depth: i64,
    /// How many it wants.
    pub limit: usize,
}

impl RoomAnswers {
    /// One event.
    pub async fn event(&self, origin: &ServerName, event_id: &EventId) -> Result<Box<RawValue>, AnswerError> {
        let event = self.rooms.store().reader().await?.find_event(event_id).await?;
        let event =
            event.filter(|event| event.outcome != Outcome::Rejected).ok_or(AnswerError::UnknownEvent)?;
        let room = self.rooms.find_by_nid(event.room).await?.ok_or(AnswerError::UnknownEvent)?;
        let room = match self.shared_room_at(&room.room_id, origin, &[event_id.to_owned()]).await {
            Err(AnswerError::UnknownRoom(_)) => return Err(AnswerError::UnknownEvent),
            room => room?,
        };
        let mut rendered = self.rooms.render_for_server(&room, &[event], origin).await?;
        rendered.pop().ok_or(AnswerError::UnknownEvent)
    }

    /// The state before an event.
    pub async fn state(
        &self,
        origin: &ServerName,
        room_id: &RoomId,
        event_id: &EventId,
    ) -> Result<RoomStateReply<Box<RawValue>>, AnswerError> {
        let room = self.whole_shared_room_at(room_id, origin, event_id).await?;
        let event = self.known_event(&room, event_id).await?;
        let found = self.rooms.state_before_with_chain(&event).await?.ok_or(AnswerError::UnknownEvent)?;
        Ok(RoomStateReply {
            state: self.rooms.render_for_judging(&room, &found.state).await?,
            auth_chain: self.rooms.render_for_judging(&room, &found.auth_chain).await?,
        })
    }

    /// The ids of the state before an event.
    pub async fn state_ids(
        &self,
        origin: &ServerName,
        room_id: &RoomId,
        event_id: &EventId,
    ) -> Result<RoomStateReply<OwnedEventId>, AnswerError> {
        let room = self.whole_shared_room_at(room_id, origin, event_id).await?;
        let event = self.known_event(&room, event_id).await?;
        let found = self.rooms.state_before_with_chain(&event).await?.ok_or(AnswerError::UnknownEvent)?;
        let mut reader = self.rooms.store().reader().await?;
        Ok(RoomStateReply {
            state: reader.list_event_ids(&found.state).await?.into_values().collect(),
            auth_chain: reader.list_event_ids(&found.auth_chain).await?.into_values().collect(),
        })
    }

    /// What authorises an event.
    pub async fn auth_chain(
        &self,
        origin: &ServerName,
        room_id: &RoomId,
        event_id: &EventId,
    ) -> Result<Vec<Box<RawValue>>, AnswerError> {
        let room = self.shared_room_at(room_id, origin, &[event_id.to_owned()]).await?;
        let event = self.known_event(&room, event_id).await?;
        let chain = self.rooms.auth_chain_of(&event).await?;
        Ok(self.rooms.render_for_judging(&room, &chain).await?)
    }

    /// Events and those before them, the newest first.
    pub async fn backfill(
        &self,
        origin: &ServerName,
        room_id: &RoomId,
        from: &[OwnedEventId],
        limit: usize,
    ) -> Result<Vec<Box<RawValue>>, AnswerError> {
        let room = self.shared_room_at(room_id, origin, bounded(from)).await?;
        let wanted = EventsBefore {
            from: bounded(from),
            except: &[],
            with_from: true,
            min_depth: 0,
            limit: limit.min(MAX_BACKFILL),
        };
        let mut events = self.rooms.list_before(&room, wanted).await?;
        events.reverse();
        Ok(self.rooms.render_for_server(&room, &events, origin).await?)
    }

    /// Events that a server has missed, the oldest first.
    pub async fn missing_events(
        &self,
        origin: &ServerName,
        room_id: &RoomId,
        missing: MissingEvents<'_>,
    ) -> Result<Vec<Box<RawValue>>, AnswerError> {
        let room = self.shared_room_at(room_id, origin, bounded(missing.latest)).await?;
        let wanted = EventsBefore {
            from: bounded(missing.latest),
            except: bounded(missing.earliest),
            with_from: false,
            min_depth: missing.min_depth,
            limit: missing.limit.min(MAX_MISSING),
        };
        let events = self.rooms.list_before(&room, wanted).await?;
        Ok(self.rooms.render_for_server(&room, &events, origin).await?)
    }

    /// The event nearest to a time.
    pub async fn event_by_time(
        &self,
        origin: &ServerName,
        room_id: &RoomId,
        ts: i64,
        order: Order,
    ) -> Result<Arc<EventRecord>, AnswerError> {
        let room = self.shared_room(room_id, origin).await?;
        let found = self.rooms.find_event_by_time_for_server(&room, origin, ts, order).await?;
        found.ok_or(AnswerError::UnknownEvent)
    }

    /// A space and its children.
    pub async fn hierarchy(
        &self,
        origin: &ServerName,
        room_id: &RoomId,
        suggested_only: bool,
    ) -> Result<ServerHierarchy, AnswerError> {
        let unknown = || AnswerError::UnknownRoom(room_id.to_owned());
        let room = match self.open_room(room_id, origin).await {
            // Who is shut out learns no more than that there is nothing for them.
            Err(AnswerError::ShutOut) => return Err(unknown()),
            room => room?,
        };
        let found = self.rooms.hierarchy_for_server(&room, origin, suggested_only).await?;
        found.ok_or_else(unknown)
    }

    /// As [`shared_room_at`](Self::shared_room_at), if all of its state is known.
    async fn whole_shared_room_at(
        &self,
        room_id: &RoomId,
        origin: &ServerName,
        event_id: &EventId,
    ) -> Result<Arc<Room>, AnswerError> {
        let room = self.shared_room_at(room_id, origin, &[event_id.to_owned()]).await?;
        if room.read().is_partial() { Err(AnswerError::NotWhole) } else { Ok(room) }
    }

    async fn known_event(&self, room: &Room, event_id: &EventId) -> Result<Arc<EventRecord>, AnswerError> {
        let event = self.rooms.find_event_in(room, event_id).await?;
        event.filter(|event| event.outcome != Outcome::Rejected).ok_or(AnswerError::UnknownEvent)
    }
}

fn bounded(ids: &[OwnedEventId]) -> &[OwnedEventId] {
    &ids[..ids.len().min(MAX_BEGINNINGS)]
}
