//! Guests leave rooms that let them in no longer.
//!
//! What is to be done is read from the rooms themselves, so that nothing is lost when a process dies, and doing it twice, or
//! at two replicas at once, does no harm.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#guest-access>

use std::{future::ready, pin::Pin, sync::Arc, time::Duration};

use hs_rooms::{RoomActions, Sender};
use hs_storage::{
    StorageError, Store,
    log::{LogEntry, LogKind},
    tail::LogApplier,
};
use tokio::sync::Notify;

use crate::{client_api::lets_guests_in, tasks::Tasks};

/// How often to look without a reason.
const POLL_INTERVAL: Duration = Duration::from_mins(5);

/// Starts looking. Must be called before the log is followed.
pub(crate) fn start(tasks: &Tasks, store: &Store, actions: &RoomActions) {
    let wake = Arc::new(Notify::new());
    store.tail().register(Arc::new(Waker(wake.clone())));
    let actions = actions.clone();
    tasks.supervise("guests", move || {
        let (actions, wake) = (actions.clone(), wake.clone());
        async move {
            loop {
                send_away(&actions).await?;
                // Running out of time is what usually happens.
                let _ = tokio::time::timeout(POLL_INTERVAL, wake.notified()).await;
            }
            #[expect(unreachable_code, reason = "tells the type of the loop that never ends")]
            Ok::<(), StorageError>(())
        }
    });
}

/// Wakes the task when a room says something else about guests.
#[derive(Debug)]
struct Waker(Arc<Notify>);

impl LogApplier for Waker {
    fn apply<'a>(&'a self, entries: &'a [LogEntry]) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        let is_news = |entry: &LogEntry| {
            entry.kind == LogKind::Event
                && entry.event.as_ref().is_some_and(|event| &*event.event_type == "m.room.guest_access")
        };
        if entries.iter().any(is_news) {
            self.0.notify_one();
        }
        Box::pin(ready(()))
    }
}

async fn send_away(actions: &RoomActions) -> Result<(), StorageError> {
    let stays = actions.rooms().store().reader().await?.list_guest_stays().await?;
    for stay in stays {
        if stay.guest_access.as_deref().is_some_and(lets_guests_in) {
            continue;
        }
        let Some(room) = actions.rooms().find_by_nid(stay.room).await? else { continue };
        let guest = Sender { nid: stay.user, user_id: stay.user_id };
        if let Err(error) = actions.leave(&room.room_id, &guest, None).await {
            tracing::warn!(%error, room_id = %room.room_id, user_id = %guest.user_id, "a guest could not leave");
        }
    }
    Ok(())
}
