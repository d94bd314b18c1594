//! Keeping the forks of a room few: when its graph has too many ends, somebody of this server sends an event that says
//! nothing and follows all of them. Otherwise every resolution of the state, and every event, would have to deal with more
//! and more of them in rooms where nobody here speaks.

use std::sync::Arc;

use hs_model::membership::Membership;

use crate::{Intent, Room, Rooms, Sender, WriteError, WriteRequest};

/// From how many ends on.
const TOO_MANY_ENDS: usize = 10;
/// How many members of this server are tried: not everybody may send.
const MAX_SENDERS: usize = 5;
/// The type of the event. Other servers know it, and clients show nothing for it.
const EVENT_TYPE: &str = "org.matrix.dummy_event";

impl Rooms {
    pub(crate) fn unite_if_needed(&self, room: &Arc<Room>, ends: usize) {
        if ends < TOO_MANY_ENDS {
            return;
        }
        let (rooms, room) = (self.clone(), room.clone());
        self.inner.tasks.spawn(async move {
            if let Err(error) = rooms.unite(&room).await {
                tracing::debug!(%error, room_id = %room.room_id, "could not unite the forks of a room");
            }
        });
    }

    async fn unite(&self, room: &Arc<Room>) -> Result<(), WriteError> {
        let members: Vec<_> = room.read().users_with(Membership::Join).collect();
        let ids = self.inner.store.user_ids(&members).await?;
        let own = ids.into_iter().filter(|(_, user_id)| self.is_local(user_id));
        let mut refused = Ok(());
        for (nid, user_id) in own.take(MAX_SENDERS) {
            // Somebody else may have done it meanwhile.
            if room.read().head.as_ref().is_some_and(|head| head.extremities.len() < TOO_MANY_ENDS) {
                return Ok(());
            }
            let intents = vec![Intent::message(EVENT_TYPE, "{}".to_owned())];
            let request = WriteRequest { sender: Sender { nid, user_id }, intents, transaction: None };
            refused = match Box::pin(self.write_one(room, request)).await {
                Ok(_) => return Ok(()),
                Err(error) => Err(error),
            };
        }
        refused
    }
}
