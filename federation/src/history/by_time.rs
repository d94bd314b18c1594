//! The event nearest to a time, where this server does not have all of a room's past.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1timestamp_to_eventroomid>

use std::{sync::Arc, time::Duration};

use hs_model::records::EventRecord;
use hs_rooms::{Room, client_event::Viewer, receive::Incoming};
use hs_storage::{StorageError, events::Order};
use ruma::{
    EventId, MilliSecondsSinceUnixEpoch, OwnedServerName, ServerName, UInt,
    api::{Direction, federation::event::get_event_by_timestamp::v1 as get_event_by_timestamp},
};

use super::History;
use crate::{Limits, inbound::fetch::FetchError};

/// How many servers are asked, and how long each may take, while somebody waits.
const MAX_SERVERS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(8);

impl History {
    /// The event nearest to a time that a user may see: at or after it forward, at or before it backward. Where something is
    /// missing here that might be nearer, other servers are asked for it.
    pub async fn event_by_time(
        &self,
        room: &Arc<Room>,
        viewer: &Viewer<'_>,
        ts: i64,
        order: Order,
    ) -> Result<Option<Arc<EventRecord>>, StorageError> {
        let own = self.rooms.find_visible_event_by_time(room, viewer, ts, order).await?;
        if room.read().is_partial() {
            // What is fetched of the past needs a state before it, which is on its way.
            return Ok(own);
        }
        let missing = self.rooms.missing_near(room, own.as_deref(), (ts, order)).await?;
        if missing.is_empty() {
            return Ok(own);
        }
        for server in self.servers(room, &missing).into_iter().take(MAX_SERVERS) {
            let asked = self.ask_for_nearer(room, &server, own.as_deref(), (ts, order));
            match tokio::time::timeout(PATIENCE, asked).await {
                Ok(Ok(true)) => return self.rooms.find_visible_event_by_time(room, viewer, ts, order).await,
                Ok(Ok(false)) => {}
                Ok(Err(error)) => {
                    tracing::debug!(%error, %server, room_id = %room.room_id, "no event of a time from a server");
                }
                Err(_) => {
                    tracing::debug!(%server, room_id = %room.room_id, "a server is slow to find an event");
                }
            }
        }
        Ok(own)
    }

    /// Asks a server for the event nearest to a time, and takes it in if it is nearer than the one that is known. Whether it
    /// was.
    async fn ask_for_nearer(
        &self,
        room: &Arc<Room>,
        server: &OwnedServerName,
        own: Option<&EventRecord>,
        (ts, order): (i64, Order),
    ) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
        let direction = match order {
            Order::Forward => Direction::Forward,
            Order::Backward => Direction::Backward,
        };
        let at = MilliSecondsSinceUnixEpoch(UInt::new_saturating(ts.max(0).unsigned_abs()));
        let request = get_event_by_timestamp::Request::new(room.room_id.clone(), at, direction);
        let answer = self.client.send(server, request, Limits::within(PATIENCE)).await?;
        let told = i64::from(answer.origin_server_ts.get());
        if !is_nearer(told, own.map(|event| event.origin_server_ts), ts, order) {
            return Ok(false);
        }
        self.take_in_single(room, server, &answer.event_id).await
    }

    /// Takes in an event of the past of which nothing is known but its id. Whether it is in the room now.
    async fn take_in_single(
        &self,
        room: &Arc<Room>,
        server: &ServerName,
        event_id: &EventId,
    ) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
        let Some(pdu) = self.fetch.event(room, server, event_id).await? else {
            return Err(FetchError::Nonsense("the server does not have the event that it names").into());
        };
        let missing: Vec<_> = pdu.auth_events().to_vec();
        self.fetch.auth_events(room, server, &pdu, &missing).await?;
        let state = self.fetch.state_before(room, server, event_id).await?;
        let incoming = [Incoming { pdu, state_before: Some(state) }];
        let outcomes = self.rooms.receive_past(room, &incoming).await?;
        Ok(outcomes.iter().any(super::is_new))
    }
}

/// Whether a time is in the wanted direction, and nearer than another.
fn is_nearer(told: i64, known: Option<i64>, ts: i64, order: Order) -> bool {
    match order {
        Order::Forward => told >= ts && known.is_none_or(|known| told < known),
        Order::Backward => told <= ts && known.is_none_or(|known| told > known),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_nearer_in_the_direction_counts() {
        assert!(is_nearer(12, Some(20), 10, Order::Forward));
        assert!(is_nearer(12, None, 10, Order::Forward));
        assert!(!is_nearer(9, None, 10, Order::Forward));
        assert!(!is_nearer(20, Some(20), 10, Order::Forward));
        assert!(is_nearer(9, Some(5), 10, Order::Backward));
        assert!(!is_nearer(11, Some(5), 10, Order::Backward));
    }
}
