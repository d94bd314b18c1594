//! Events that are to be sent later: scheduling them, what their senders do with them meanwhile, and sending them.
//!
//! Every replica looks for what is due. Whoever is about to send an event, or to end it otherwise, holds the lock of its
//! row until that is written down: the lease of a process that dies ends with its connection. The event's transaction id
//! is the id of the delay, so that what was sent and not written down is found again instead of being sent twice.
//!
//! <https://github.com/matrix-org/matrix-spec-proposals/pull/4140>

mod worker;

use std::{sync::Arc, time::Duration};

use hs_http::ApiError;
use hs_model::{
    clock::Clock,
    ids::{DeviceNid, UserNid},
};
use hs_rooms::{Intent, RoomActions, Sender, intent::delayed_transaction, send::SendError};
use hs_storage::{
    StorageError, Store,
    delayed_events::{DelayedEvent, DelayedOutcome, NewDelayedEvent},
};
use http::StatusCode;
use rand::{RngExt as _, distr::Alphanumeric};
use ruma::{OwnedEventId, RoomId};
use serde_json::json;
use tokio::sync::{Notify, Semaphore};

use crate::{
    client_api::{RoomLimits, send_error},
    config,
};

/// How many events are on their way at once. Each holds a connection while the event writer needs another.
const MAX_SENDING: usize = 2;
/// Nobody guesses an id of so many letters.
const DELAY_ID_LENGTH: usize = 32;

/// Delayed events.
#[derive(Clone, Debug)]
pub(crate) struct DelayedEvents {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    actions: RoomActions,
    limits: Arc<RoomLimits>,
    clock: Arc<dyn Clock>,
    options: config::DelayedEvents,
    /// Tells the worker that something was scheduled.
    wake: Notify,
    sending: Semaphore,
}

/// What is to be sent, and when.
#[derive(Debug)]
pub(crate) struct Draft {
    /// The event.
    pub(crate) intent: Intent,
    /// How long to wait.
    pub(crate) delay_ms: u64,
    /// The transaction id of the request.
    pub(crate) txn_id: Option<String>,
}

/// Why nothing was scheduled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScheduleError {
    /// There is no delay without end.
    #[error("The delay is longer than {} ms, the most that this server allows", .0.as_millis())]
    TooLate(Duration),
    /// One does not wait for nothing.
    #[error("The delay must be more than 0")]
    NoDelay,
    /// The server wants none.
    #[error("Delayed events are switched off on this server")]
    SwitchedOff,
    /// The user has scheduled as many as they may.
    #[error("The maximum number of delayed events has been reached")]
    TooMany {
        /// When the next of them goes.
        retry_after: Duration,
    },
    /// It could not be sent now either.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The database failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// What can be done with a delayed event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// It is sent now.
    Send,
    /// It is never sent.
    Cancel,
    /// Its time begins anew.
    Restart,
}

/// Why an action was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ActError {
    /// There is no such event.
    #[error("There is no such delayed event")]
    NotFound,
    /// It has ended in another way.
    #[error("The delayed event has already been {}", if *.was_sent { "sent" } else { "cancelled" })]
    Ended {
        /// How.
        was_sent: bool,
    },
    /// It cannot be sent.
    #[error(transparent)]
    Refused(ApiError),
    /// The database failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Why an event could not be sent.
enum Undelivered {
    /// And never will be: what its sender is told.
    Refused(ApiError),
    /// This time.
    Failed(SendError),
}

impl DelayedEvents {
    pub(crate) fn new(
        store: Store,
        actions: RoomActions,
        limits: Arc<RoomLimits>,
        clock: Arc<dyn Clock>,
        options: config::DelayedEvents,
    ) -> Self {
        let (wake, sending) = (Notify::new(), Semaphore::new(MAX_SENDING));
        Self { inner: Arc::new(Inner { store, actions, limits, clock, options, wake, sending }) }
    }

    /// What may be scheduled.
    pub(crate) fn options(&self) -> &config::DelayedEvents {
        &self.inner.options
    }

    /// Schedules an event, and returns its id.
    pub(crate) async fn schedule(
        &self,
        room_id: &RoomId,
        sender: &Sender,
        device: DeviceNid,
        draft: Draft,
    ) -> Result<String, ScheduleError> {
        let Inner { store, actions, clock, options, wake, .. } = &*self.inner;
        if options.max_per_user == 0 {
            return Err(ScheduleError::SwitchedOff);
        }
        let longest = Duration::from_secs(options.max_delay_seconds);
        let delay_ms = i64::try_from(draft.delay_ms).unwrap_or(i64::MAX);
        if Duration::from_millis(draft.delay_ms) > longest {
            return Err(ScheduleError::TooLate(longest));
        }
        if delay_ms == 0 {
            return Err(ScheduleError::NoDelay);
        }
        let Draft { intent, txn_id, .. } = draft;
        let room = actions.check_draft(room_id, sender, &intent).await?;
        let state = match &intent.state_key {
            Some(key) => Some((key.as_str(), store.intern_slot(&intent.event_type, key).await?)),
            None => None,
        };
        let delay_id: String =
            rand::rng().sample_iter(Alphanumeric).take(DELAY_ID_LENGTH).map(char::from).collect();
        let scheduled_at = clock.now_ms();
        let new = NewDelayedEvent {
            delay_id: &delay_id,
            user: sender.nid,
            device,
            txn_id: txn_id.as_deref(),
            room: room.nid,
            event_type: &intent.event_type,
            state,
            content: &intent.content,
            sticky_ms: intent.sticky_ms,
            delay_ms,
            scheduled_at,
        };
        let mut txn = store.begin().await?;
        if let Some(txn_id) = &txn_id
            && let Some(known) = txn.find_delayed_by_transaction(room.nid, device, txn_id).await?
        {
            return Ok(known);
        }
        let scheduled = txn.lock_scheduled(sender.nid).await?;
        if scheduled.count >= i64::from(options.max_per_user) {
            let wait_ms = scheduled.next_at.map_or(0, |at| at - scheduled_at).max(0);
            return Err(ScheduleError::TooMany { retry_after: Duration::from_millis(wait_ms as u64) });
        }
        if !txn.insert_delayed_event(&new).await? {
            // The same request came twice at once, and the other one was faster.
            let known =
                txn.find_delayed_by_transaction(room.nid, device, txn_id.as_deref().unwrap_or("")).await?;
            return Ok(known.unwrap_or(delay_id));
        }
        txn.commit().await?;
        wake.notify_one();
        Ok(delay_id)
    }

    /// Whose a delayed event is.
    pub(crate) async fn find_owner(&self, delay_id: &str) -> Result<Option<UserNid>, StorageError> {
        let found = self.inner.store.reader().await?.find_delayed_nid(delay_id).await?;
        Ok(found.map(|(_, user)| user))
    }

    /// A delayed event of a user.
    pub(crate) async fn find(
        &self,
        user: UserNid,
        delay_id: &str,
    ) -> Result<Option<DelayedEvent>, StorageError> {
        let mut txn = self.inner.store.begin().await?;
        let Some((nid, owner)) = txn.find_delayed_nid(delay_id).await? else { return Ok(None) };
        if owner != user {
            return Ok(None);
        }
        txn.take_delayed(nid).await?;
        txn.end_overwritten_delayed((None, Some(nid)), &overwritten(), self.now()).await?;
        let event = txn.find_delayed_event(nid).await?;
        txn.commit().await?;
        Ok(event)
    }

    /// What a user has scheduled, in the order of the times.
    pub(crate) async fn list_scheduled(&self, user: UserNid) -> Result<Vec<DelayedEvent>, StorageError> {
        let mut txn = self.inner.store.begin().await?;
        txn.end_overwritten_delayed((Some(user), None), &overwritten(), self.now()).await?;
        let nids = txn.list_scheduled_nids(user).await?;
        let events = txn.list_delayed_events(&nids).await?;
        txn.commit().await?;
        Ok(events)
    }

    /// What has become of a user's delayed events.
    pub(crate) async fn list_finalised(
        &self,
        user: UserNid,
        limit: i64,
    ) -> Result<Vec<DelayedEvent>, StorageError> {
        let mut reader = self.inner.store.reader().await?;
        let nids = reader.list_finalised_nids(user, limit).await?;
        reader.list_delayed_events(&nids).await
    }

    /// Does something with a delayed event.
    pub(crate) async fn act(&self, delay_id: &str, action: Action) -> Result<(), ActError> {
        let store = &self.inner.store;
        let found = store.reader().await?.find_delayed_nid(delay_id).await?;
        let (nid, _) = found.ok_or(ActError::NotFound)?;
        let _permit = self.permit().await;
        let mut txn = store.begin().await?;
        txn.take_delayed(nid).await?;
        txn.end_overwritten_delayed((None, Some(nid)), &overwritten(), self.now()).await?;
        let event = txn.find_delayed_event(nid).await?.ok_or(ActError::NotFound)?;
        if event.finalised_at.is_some() {
            txn.commit().await?;
            let was_sent = event.event_id.is_some();
            let is_done = action == if was_sent { Action::Send } else { Action::Cancel };
            return if is_done { Ok(()) } else { Err(ActError::Ended { was_sent }) };
        }
        match action {
            Action::Cancel => txn.finalise_delayed(nid, DelayedOutcome::Cancelled, self.now()).await?,
            Action::Restart => txn.restart_delayed(nid, self.now()).await?,
            Action::Send => match self.deliver(&event).await {
                Ok(event_id) => {
                    let outcome = DelayedOutcome::Sent(event_id.as_str());
                    txn.finalise_delayed(nid, outcome, self.now()).await?;
                }
                // It stays scheduled: until its time comes, what is in its way may be gone.
                Err(Undelivered::Refused(error)) => return Err(ActError::Refused(error)),
                Err(Undelivered::Failed(error)) => return Err(ActError::Refused(send_error(error))),
            },
        }
        txn.commit().await?;
        self.inner.wake.notify_one();
        Ok(())
    }

    /// Sends an event that is taken.
    async fn deliver(&self, event: &DelayedEvent) -> Result<OwnedEventId, Undelivered> {
        let Inner { store, actions, limits, .. } = &*self.inner;
        let account = async { store.reader().await?.find_account(event.user).await };
        let account = account.await.map_err(|error| Undelivered::Failed(error.into()))?;
        if account.is_none_or(|account| {
            account.deactivated_at.or(account.locked_at).or(account.suspended_at).is_some()
        }) {
            return Err(Undelivered::Refused(ApiError::new(
                StatusCode::FORBIDDEN,
                "M_USER_SUSPENDED",
                "You cannot perform this action while suspended",
            )));
        }
        limits.messages.check(event.user).map_err(|error| Undelivered::Refused(error.into()))?;
        let sender = Sender { nid: event.user, user_id: event.user_id.clone() };
        let intent = Intent {
            state_key: event.state_key.clone(),
            sticky_ms: event.sticky_ms,
            ..Intent::message(event.event_type.clone(), event.content.clone())
        };
        let transaction = Some(delayed_transaction(event.device, &event.delay_id));
        let sent = if intent.state_key.is_some() {
            actions.send_state(&event.room_id, sender, intent, transaction).await
        } else {
            actions.send_message(&event.room_id, sender, intent, transaction).await
        };
        sent.map_err(|error| {
            if is_passing(&error) {
                Undelivered::Failed(error)
            } else {
                Undelivered::Refused(send_error(error))
            }
        })
    }

    async fn permit(&self) -> Option<tokio::sync::SemaphorePermit<'_>> {
        // It is never closed.
        self.inner.sending.acquire().await.ok()
    }

    fn now(&self) -> i64 {
        self.inner.clock.now_ms()
    }
}

/// Whether sending the same again may succeed, since the fault is ours.
fn is_passing(error: &SendError) -> bool {
    use hs_rooms::WriteError;
    matches!(error, SendError::Storage(_) | SendError::Write(WriteError::Storage(_) | WriteError::Busy))
}

/// What is written down with a state event that somebody else has made void.
fn overwritten() -> String {
    json!({ "errcode": "M_UNKNOWN", "error": "Somebody else has set this state meanwhile" }).to_string()
}
