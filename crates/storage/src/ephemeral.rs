//! Writing receipts, typing and presence: many small changes, gathered while the previous batch commits, and written with
//! one statement for each kind. Changes of the same thing in one batch become one.

use std::{collections::HashMap, hash::Hash, sync::Arc};

use hs_model::{
    ids::{RoomNid, UserNid},
    stream::Position,
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    Store, Txn,
    error::{Result, StorageError},
    log::{EphemeralChange, LogEntry, LogKind},
    presence::{PresenceRow, PresenceUpdate},
    receipts::{NewReceipt, ReceiptRow, ReceiptType},
    typing::{TypingUpdate, TypingWritten},
};

/// How many writes may share a transaction.
const MAX_WRITES: usize = 1024;
/// How many writes may wait; beyond it, senders wait to hand theirs in.
const QUEUE_LENGTH: usize = 8192;
/// How often a batch is tried again that the database gave up for a deadlock.
const MAX_ATTEMPTS: usize = 3;

/// Something to be written.
#[derive(Clone, Debug)]
pub enum EphemeralWrite {
    /// A receipt; nothing is written when it is not ahead of the one before.
    Receipt(NewReceipt),
    /// Typing.
    Typing(TypingUpdate),
    /// Presence.
    Presence(PresenceUpdate),
}

/// What became of a write, or of the write that it was merged with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EphemeralWritten {
    /// Where it stands in the log; `None` when it changed nothing that anybody must hear of.
    pub position: Option<Position>,
    /// For typing: until when the user is typing now.
    pub typing_until: Option<i64>,
}

/// The batch could not be written. Whether it was is unknown.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the change could not be written")]
pub struct EphemeralWriteError(#[source] pub Arc<StorageError>);

type Reply = oneshot::Sender<Result<EphemeralWritten, EphemeralWriteError>>;

/// The way to the batching writer.
#[derive(Clone, Debug)]
pub struct EphemeralWriter {
    queue: mpsc::Sender<(EphemeralWrite, Reply)>,
}

/// The batching writer; one for each process.
#[derive(Debug)]
pub struct EphemeralWorker {
    store: Store,
    queue: mpsc::Receiver<(EphemeralWrite, Reply)>,
}

/// A writer for `store` and the way to it.
pub fn ephemeral_writer(store: Store) -> (EphemeralWriter, EphemeralWorker) {
    let (sender, receiver) = mpsc::channel(QUEUE_LENGTH);
    (EphemeralWriter { queue: sender }, EphemeralWorker { store, queue: receiver })
}

impl EphemeralWriter {
    /// Writes a change; returns when it is on disk and this process's caches know of it.
    pub async fn write(&self, write: EphemeralWrite) -> Result<EphemeralWritten, EphemeralWriteError> {
        let closed = || EphemeralWriteError(Arc::new(StorageError::Closed));
        let (reply, outcome) = oneshot::channel();
        self.queue.send((write, reply)).await.map_err(|_| closed())?;
        outcome.await.unwrap_or_else(|_| Err(closed()))
    }
}

impl EphemeralWorker {
    /// Works until `stop` is cancelled or every [`EphemeralWriter`] is gone; finishes what is in the queue.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut waiting = Vec::with_capacity(MAX_WRITES);
        loop {
            let count = tokio::select! {
                count = self.queue.recv_many(&mut waiting, MAX_WRITES) => count,
                () = stop.cancelled(), if !self.queue.is_closed() => {
                    self.queue.close();
                    continue;
                }
            };
            if count == 0 {
                return;
            }
            let mut batch = Batch::default();
            for (write, reply) in waiting.drain(..) {
                batch.add(write, reply);
            }
            self.write(batch).await;
        }
    }

    async fn write(&self, batch: Batch) {
        match self.write_batch(&batch).await {
            Ok(written) => batch.answer(&written),
            Err(error) if batch.len() == 1 || error.is_transient() => batch.fail(error),
            Err(_) => {
                // One change of the batch breaks it: each for itself, so that only that one fails.
                for one in batch.split() {
                    match self.write_batch(&one).await {
                        Ok(written) => one.answer(&written),
                        Err(error) => one.fail(error),
                    }
                }
            }
        }
    }

    async fn write_batch(&self, batch: &Batch) -> Result<BatchWritten> {
        let mut attempt = 1;
        loop {
            match self.try_write_batch(batch).await {
                Err(error) if error.is_deadlock() && attempt < MAX_ATTEMPTS => attempt += 1,
                outcome => return outcome,
            }
        }
    }

    async fn try_write_batch(&self, batch: &Batch) -> Result<BatchWritten> {
        let kinds = usize::from(!batch.receipts.is_empty())
            + usize::from(!batch.typing.is_empty())
            + usize::from(!batch.presence.is_empty());
        let mut txn = if kinds == 1 { self.store.begin_single().await? } else { self.store.begin().await? };
        let mut written = BatchWritten::default();
        if !batch.receipts.is_empty() {
            let receipts = batch.receipts.changes();
            written.receipts = txn.upsert_receipts(&receipts).await?;
            note_receipts(&mut txn, receipts, &written.receipts);
        }
        if !batch.typing.is_empty() {
            let typing = batch.typing.changes();
            written.typing = txn.update_typing(&typing).await?;
            note_typing(&mut txn, typing, &written.typing);
        }
        if !batch.presence.is_empty() {
            written.presence = txn.update_presence(&batch.presence.changes()).await?;
            note_presence(&mut txn, &written.presence);
        }
        // Positions within a kind follow the order of the batch, and kinds follow each other: nothing to sort.
        txn.commit_noted().await?;
        Ok(written)
    }
}

/// Changes of one kind, each key once, with those who wait for them.
#[derive(Debug)]
struct Changes<K, C> {
    changes: Vec<(C, Vec<Reply>)>,
    by_key: HashMap<K, usize>,
}

impl<K, C> Default for Changes<K, C> {
    fn default() -> Self {
        Self { changes: Vec::new(), by_key: HashMap::new() }
    }
}

impl<K: Eq + Hash, C: Clone> Changes<K, C> {
    fn add(&mut self, key: K, change: C, reply: Reply, merge: impl FnOnce(&mut C, C)) {
        if let Some((known, replies)) = self.by_key.get(&key).and_then(|at| self.changes.get_mut(*at)) {
            merge(known, change);
            replies.push(reply);
        } else {
            self.by_key.insert(key, self.changes.len());
            self.changes.push((change, vec![reply]));
        }
    }

    fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    fn changes(&self) -> Vec<C> {
        self.changes.iter().map(|(change, _)| change.clone()).collect()
    }

    /// One value for each change.
    fn split(self) -> impl Iterator<Item = Self> {
        self.changes.into_iter().map(|change| Self { changes: vec![change], by_key: HashMap::new() })
    }

    fn answer(self, written: impl Iterator<Item = EphemeralWritten>) {
        for ((_, replies), written) in self.changes.into_iter().zip(written) {
            for reply in replies {
                // The receiver is gone when the client hung up; the change stands all the same.
                let _ = reply.send(Ok(written.clone()));
            }
        }
    }

    fn fail(self, error: &EphemeralWriteError) {
        for reply in self.changes.into_iter().flat_map(|(_, replies)| replies) {
            let _ = reply.send(Err(error.clone()));
        }
    }
}

/// Room, user, type and thread.
type ReceiptKey = (RoomNid, UserNid, ReceiptType, Option<Box<str>>);

/// The writes of one transaction.
#[derive(Debug, Default)]
struct Batch {
    receipts: Changes<ReceiptKey, NewReceipt>,
    typing: Changes<(RoomNid, UserNid), TypingUpdate>,
    presence: Changes<(UserNid, Box<str>), PresenceUpdate>,
}

#[derive(Debug, Default)]
struct BatchWritten {
    receipts: Vec<Option<Position>>,
    typing: Vec<TypingWritten>,
    presence: Vec<Option<PresenceRow>>,
}

impl Batch {
    fn add(&mut self, write: EphemeralWrite, reply: Reply) {
        match write {
            EphemeralWrite::Receipt(receipt) => {
                let key = (receipt.room, receipt.user, receipt.receipt_type, receipt.thread_id.clone());
                self.receipts.add(key, receipt, reply, |known, new| {
                    if new.is_ahead_of(known) {
                        *known = new;
                    }
                });
            }
            EphemeralWrite::Typing(update) => {
                self.typing.add((update.room, update.user), update, reply, |known, new| known.merge(&new));
            }
            EphemeralWrite::Presence(update) => {
                self.presence.add(
                    (update.user, update.replica.clone()),
                    update,
                    reply,
                    PresenceUpdate::merge,
                );
            }
        }
    }

    fn len(&self) -> usize {
        self.receipts.changes.len() + self.typing.changes.len() + self.presence.changes.len()
    }

    fn split(self) -> impl Iterator<Item = Self> {
        let receipts = self.receipts.split().map(|receipts| Self { receipts, ..Self::default() });
        let typing = self.typing.split().map(|typing| Self { typing, ..Self::default() });
        let presence = self.presence.split().map(|presence| Self { presence, ..Self::default() });
        receipts.chain(typing).chain(presence)
    }

    fn answer(self, written: &BatchWritten) {
        let at = |position| EphemeralWritten { position, typing_until: None };
        self.receipts.answer(written.receipts.iter().map(|position| at(*position)));
        self.typing.answer(
            written
                .typing
                .iter()
                .map(|w| EphemeralWritten { position: w.position, typing_until: w.expires_at }),
        );
        self.presence.answer(written.presence.iter().map(|row| at(row.as_ref().map(|row| row.position))));
    }

    fn fail(self, error: StorageError) {
        let error = EphemeralWriteError(Arc::new(error));
        self.receipts.fail(&error);
        self.typing.fail(&error);
        self.presence.fail(&error);
    }
}

fn entry(
    position: Position,
    kind: LogKind,
    room: Option<RoomNid>,
    user: UserNid,
    change: EphemeralChange,
) -> LogEntry {
    LogEntry {
        position,
        kind,
        room,
        user: Some(user),
        subject: None,
        event: None,
        change: Some(change),
        is_local: true,
    }
}

fn note_receipts(txn: &mut Txn, receipts: Vec<NewReceipt>, positions: &[Option<Position>]) {
    for (receipt, position) in receipts.into_iter().zip(positions) {
        let Some(position) = *position else { continue };
        let (room, user) = (receipt.room, receipt.user);
        let change = EphemeralChange::Receipt(Arc::new(ReceiptRow { receipt, position }));
        txn.note(entry(position, LogKind::Receipt, Some(room), user, change));
    }
}

fn note_typing(txn: &mut Txn, updates: Vec<TypingUpdate>, written: &[TypingWritten]) {
    for (update, written) in updates.into_iter().zip(written) {
        let Some(position) = written.position else { continue };
        let (room, user) = (update.room, update.user);
        txn.note(entry(
            position,
            LogKind::Typing,
            Some(room),
            user,
            EphemeralChange::Typing(Arc::new(update)),
        ));
    }
}

fn note_presence(txn: &mut Txn, rows: &[Option<PresenceRow>]) {
    for row in rows.iter().flatten() {
        let change = EphemeralChange::Presence(Arc::new(row.clone()));
        txn.note(entry(row.position, LogKind::Presence, None, row.user, change));
    }
}
