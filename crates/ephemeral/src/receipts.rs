//! Read receipts and the fully-read marker.

mod recent;

use std::{collections::HashMap, sync::Arc};

use futures_util::future::join_all;
use hs_model::{
    ids::{RoomNid, UserNid},
    stream::Position,
};
use hs_storage::{
    StorageError,
    ephemeral::{EphemeralWrite, EphemeralWriteError},
    receipts::{NewReceipt, ReceiptRow, ReceiptTarget, ReceiptType},
};
use ruma::{EventId, OwnedEventId, OwnedUserId, UserId};
use serde::{Deserialize, Serialize};

pub(crate) use recent::RecentReceipts;

use crate::Ephemeral;

/// The thread id for what belongs to no thread.
const MAIN_TIMELINE: &str = "main";

/// The account data type of the fully-read marker.
const FULLY_READ: &str = "m.fully_read";

/// <https://spec.matrix.org/v1.19/client-server-api/#mfully_read>
#[derive(Debug, Serialize, Deserialize)]
struct FullyRead {
    event_id: OwnedEventId,
}

/// A user says how far they have read.
#[derive(Clone, Copy, Debug)]
pub struct ReceiptRequest<'a> {
    /// The room, in which the user is.
    pub room: RoomNid,
    /// The user.
    pub user: UserNid,
    /// The user.
    pub user_id: &'a UserId,
    /// Who may know.
    pub receipt_type: ReceiptType,
    /// The event read up to.
    pub event_id: &'a EventId,
    /// `thread_id` of the request.
    pub thread_id: Option<&'a str>,
}

/// Another server tells how far a user of its own has read.
#[derive(Clone, Debug)]
pub struct RemoteReceipt {
    /// The room, in which the user is.
    pub room: RoomNid,
    /// The user.
    pub user: UserNid,
    /// The user.
    pub user_id: OwnedUserId,
    /// The event read up to.
    pub event_id: OwnedEventId,
    /// The thread; `None` regardless of threads.
    pub thread_id: Option<Box<str>>,
    /// When, in milliseconds.
    pub ts: i64,
}

/// Why a receipt or marker was refused.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReceiptError {
    /// The thread is none, or the event does not belong to it.
    #[error("{0}")]
    InvalidThread(&'static str),
    /// The event is not in the room.
    #[error("the event is not in this room")]
    UnknownEvent,
    /// The database failed.
    #[error("the receipt could not be written")]
    Storage(#[source] Arc<StorageError>),
}

impl From<StorageError> for ReceiptError {
    fn from(error: StorageError) -> Self {
        Self::Storage(Arc::new(error))
    }
}

impl From<EphemeralWriteError> for ReceiptError {
    fn from(error: EphemeralWriteError) -> Self {
        Self::Storage(error.0)
    }
}

impl Ephemeral {
    /// Sets a receipt, unless there is one further ahead.
    ///
    /// An unthreaded receipt on an event that is not in the room is taken, as other servers do, since the event may be on
    /// its way; it never replaces one on an event that is.
    pub async fn set_receipt(&self, request: ReceiptRequest<'_>) -> Result<(), ReceiptError> {
        let target = self.find_target(request.room, request.event_id).await?;
        if let Some(thread_id) = request.thread_id {
            self.check_thread(&request, thread_id, target.as_ref()).await?;
        }
        let receipt = NewReceipt {
            room: request.room,
            user: request.user,
            user_id: request.user_id.to_owned(),
            receipt_type: request.receipt_type,
            thread_id: request.thread_id.map(Into::into),
            event_id: request.event_id.to_owned(),
            event_position: target.and_then(|target| target.position),
            ts: self.inner.clock.now_ms(),
        };
        self.inner.writer.write(EphemeralWrite::Receipt(receipt)).await?;
        self.note_active(request.user);
        Ok(())
    }

    /// Takes note of how far users of other servers have read. That an event belongs to a thread is not checked: it may be on
    /// its way.
    pub async fn receive_receipts(&self, told: Vec<RemoteReceipt>) -> Result<(), ReceiptError> {
        let mut writes = Vec::with_capacity(told.len());
        for receipt in told {
            let target = self.find_target(receipt.room, &receipt.event_id).await?;
            writes.push(self.inner.writer.write(EphemeralWrite::Receipt(NewReceipt {
                room: receipt.room,
                user: receipt.user,
                user_id: receipt.user_id,
                receipt_type: ReceiptType::Read,
                thread_id: receipt.thread_id,
                event_id: receipt.event_id,
                event_position: target.and_then(|target| target.position),
                ts: receipt.ts,
            })));
        }
        for written in join_all(writes).await {
            written?;
        }
        Ok(())
    }

    /// Moves a user's fully-read marker to an event of the room, unless it stands further ahead.
    pub async fn set_fully_read(
        &self,
        room: RoomNid,
        user: UserNid,
        event_id: &EventId,
    ) -> Result<(), ReceiptError> {
        let target = self.find_target(room, event_id).await?.ok_or(ReceiptError::UnknownEvent)?;
        let mut txn = self.inner.store.begin().await?;
        let marker = txn.find_account_data(user, Some(room), FULLY_READ).await?;
        let marker = marker.and_then(|content| serde_json::from_str::<FullyRead>(&content).ok());
        if let Some(marker) = marker {
            let known = txn.find_receipt_target(&marker.event_id).await?;
            if known.is_some_and(|known| known.position >= target.position) {
                return Ok(());
            }
        }
        let content = serde_json::to_string(&FullyRead { event_id: event_id.to_owned() });
        let content = content.expect("a string can be written as JSON");
        txn.upsert_account_data(user, Some(room), FULLY_READ, &content).await?;
        txn.commit().await?;
        Ok(())
    }

    /// The receipts that a user may know of and that changed after one position and up to another, by room and in order.
    /// Rooms without any are missing.
    pub async fn receipts_between(
        &self,
        rooms: &[RoomNid],
        viewer: UserNid,
        after: Position,
        up_to: Position,
    ) -> Result<HashMap<RoomNid, Vec<Arc<ReceiptRow>>>, StorageError> {
        let mut found = HashMap::new();
        let mut older = Vec::new();
        {
            let recent = self.inner.receipts.read();
            for room in rooms {
                match recent.between(*room, viewer, after, up_to) {
                    Some(rows) if rows.is_empty() => {}
                    Some(rows) => {
                        found.insert(*room, rows);
                    }
                    None => older.push(*room),
                }
            }
        }
        if !older.is_empty() {
            let rows = self.inner.store.reader().await?.list_receipts(&older, viewer, after, up_to).await?;
            for row in rows {
                found.entry(row.receipt.room).or_default().push(Arc::new(row));
            }
        }
        Ok(found)
    }

    /// What is known of an event of a room.
    async fn find_target(
        &self,
        room: RoomNid,
        event_id: &EventId,
    ) -> Result<Option<ReceiptTarget>, StorageError> {
        if let Some(target) = self.inner.targets.get(event_id) {
            return Ok((target.room == room).then_some(target));
        }
        let target = self.inner.store.reader().await?.find_receipt_target(event_id).await?;
        if let Some(target) = &target
            // An outlier has no place yet and may get one.
            && target.position.is_some()
        {
            self.inner.targets.insert(event_id.to_owned(), target.clone());
        }
        Ok(target.filter(|target| target.room == room))
    }

    /// Checks that an event belongs to the thread that a receipt is for.
    ///
    /// <https://spec.matrix.org/v1.19/client-server-api/#threaded-read-receipts>
    async fn check_thread(
        &self,
        request: &ReceiptRequest<'_>,
        thread_id: &str,
        target: Option<&ReceiptTarget>,
    ) -> Result<(), ReceiptError> {
        const UNRELATED: ReceiptError =
            ReceiptError::InvalidThread("The event does not belong to the thread that thread_id names");
        if thread_id.is_empty() {
            return Err(ReceiptError::InvalidThread("thread_id must be a string that is not empty"));
        }
        let thread_root = target.and_then(|target| target.thread_root.as_deref());
        if thread_id == MAIN_TIMELINE {
            return if thread_root.is_none() { Ok(()) } else { Err(UNRELATED) };
        }
        let root = <&EventId>::try_from(thread_id)
            .map_err(|_| ReceiptError::InvalidThread("thread_id must be \"main\" or the id of an event"))?;
        if thread_root == Some(root) {
            return Ok(());
        }
        // Strictly, the root of a thread belongs to the main timeline. Clients mark it as read with the thread all the
        // same when they show only the root.
        if target.is_some()
            && thread_root.is_none()
            && self
                .inner
                .store
                .reader()
                .await?
                .is_at_thread_root(request.room, request.event_id, root)
                .await?
        {
            return Ok(());
        }
        Err(UNRELATED)
    }
}
