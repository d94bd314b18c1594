//! Subscriptions to threads.
//!
//! <https://github.com/matrix-org/matrix-spec-proposals/pull/4306>

use hs_storage::{
    StorageError,
    thread_subscriptions::{SubscriptionChange, ThreadSubscription},
};
use ruma::EventId;

use crate::{Room, Rooms, client_event::Viewer};

/// Why a subscription was not made, ended or found.
#[derive(Debug, thiserror::Error)]
pub enum ThreadSubscriptionError {
    /// There is no such thread, or the user may not see it.
    #[error("There is no such thread, or you may not see it")]
    UnknownThread,
    /// The event that a client names as its reason is not part of the thread.
    #[error("The event is not part of the thread")]
    NotInThread,
    /// The user has ended the subscription after the event that a client names as its reason.
    #[error("The subscription was ended after that event")]
    EndedSince,
    /// The database failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Rooms {
    /// A user's subscription to a thread; `None` when there is none.
    pub async fn find_thread_subscription(
        &self,
        room: &Room,
        viewer: &Viewer<'_>,
        root: &EventId,
    ) -> Result<Option<ThreadSubscription>, ThreadSubscriptionError> {
        self.check_thread_is_visible(room, viewer, root).await?;
        let mut reader = self.store().reader().await?;
        let found = reader.find_thread_subscription(viewer.user, room.nid, root).await?;
        Ok(found.filter(|subscription| subscription.is_subscribed))
    }

    /// Subscribes a user to a thread. `cause` is the event that made a client do so by itself.
    pub async fn subscribe_to_thread(
        &self,
        room: &Room,
        viewer: &Viewer<'_>,
        root: &EventId,
        cause: Option<&EventId>,
    ) -> Result<(), ThreadSubscriptionError> {
        self.check_thread_is_visible(room, viewer, root).await?;
        let mut cause_position = None;
        if let Some(cause) = cause {
            let target = self.store().reader().await?.find_receipt_target(cause).await?;
            let target = target
                .filter(|target| target.room == room.nid && target.thread_root.as_deref() == Some(root))
                .ok_or(ThreadSubscriptionError::NotInThread)?;
            cause_position = target.position;
        }
        let mut txn = self.store().begin().await?;
        // Several of the user's clients may do this at the same time.
        txn.lock_account(viewer.user).await?;
        let before = txn.find_thread_subscription(viewer.user, room.nid, root).await?;
        let change = match (before, cause) {
            (_, None) => SubscriptionChange::Manual,
            // What is there already stays as it is.
            (Some(before), Some(_)) if before.is_subscribed => return Ok(()),
            (Some(before), Some(_)) if cause_position.is_none_or(|cause| cause < before.position) => {
                return Err(ThreadSubscriptionError::EndedSince);
            }
            (_, Some(_)) => SubscriptionChange::Automatic,
        };
        let is_as_before =
            before.is_some_and(|before| before.is_subscribed && !before.is_automatic) && cause.is_none();
        if !is_as_before {
            txn.upsert_thread_subscription(viewer.user, room.nid, root, change).await?;
            txn.commit().await?;
        }
        Ok(())
    }

    /// Ends a user's subscription to a thread, if there is one.
    pub async fn unsubscribe_from_thread(
        &self,
        room: &Room,
        viewer: &Viewer<'_>,
        root: &EventId,
    ) -> Result<(), ThreadSubscriptionError> {
        self.check_thread_is_visible(room, viewer, root).await?;
        let mut txn = self.store().begin().await?;
        txn.lock_account(viewer.user).await?;
        let before = txn.find_thread_subscription(viewer.user, room.nid, root).await?;
        if before.is_some_and(|before| before.is_subscribed) {
            let change = SubscriptionChange::End;
            txn.upsert_thread_subscription(viewer.user, room.nid, root, change).await?;
            txn.commit().await?;
        }
        Ok(())
    }

    async fn check_thread_is_visible(
        &self,
        room: &Room,
        viewer: &Viewer<'_>,
        root: &EventId,
    ) -> Result<(), ThreadSubscriptionError> {
        let event = self.store().reader().await?.find_event(root).await?;
        let event =
            event.filter(|event| event.room == room.nid).ok_or(ThreadSubscriptionError::UnknownThread)?;
        if self.access(room, viewer).await?.is_none() || !self.is_visible(room, &event, viewer).await? {
            return Err(ThreadSubscriptionError::UnknownThread);
        }
        Ok(())
    }
}
