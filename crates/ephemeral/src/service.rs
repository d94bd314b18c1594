//! The service.

use std::{
    collections::{HashMap, HashSet},
    future::Future,
    pin::Pin,
    sync::Arc,
};

use hs_model::{
    clock::Clock,
    ids::{RoomNid, UserNid},
    stream::Position,
};
use hs_storage::{
    StorageError, Store,
    ephemeral::EphemeralWriter,
    log::{EphemeralChange, LogEntry, LogKind},
    presence::PresenceRow,
    receipts::{ReceiptRow, ReceiptTarget},
    tail::LogApplier,
    typing::{TypingChange, TypingRow, TypingUpdate},
};
use moka::sync::Cache;
use parking_lot::RwLock;
use ruma::{OwnedEventId, UserId};
use serde::Deserialize;
use tokio::sync::Notify;

use crate::{EphemeralOptions, presence::PresenceState, receipts::RecentReceipts, typing::TypingRooms};

/// How many events are remembered that somebody put a receipt on.
const CACHED_TARGETS: u64 = 20_000;

/// Typing, receipts and presence. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Ephemeral {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) writer: EphemeralWriter,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) options: EphemeralOptions,
    pub(crate) receipts: RwLock<RecentReceipts>,
    pub(crate) targets: Cache<OwnedEventId, ReceiptTarget>,
    pub(crate) typing: RwLock<TypingRooms>,
    /// Somebody started typing, so that the next one whose time is up may be another.
    pub(crate) typing_wake: Notify,
    pub(crate) presence: PresenceState,
}

/// What other replicas wrote, read from the database.
#[derive(Default)]
struct Foreign {
    receipts: HashMap<Position, Arc<ReceiptRow>>,
    typing: HashMap<(RoomNid, UserNid), TypingRow>,
    presence: HashMap<UserNid, Arc<PresenceRow>>,
}

impl Ephemeral {
    /// Adds itself to those who follow the log, so it must be made before the log's tail runs.
    pub fn new(
        store: Store,
        writer: EphemeralWriter,
        clock: Arc<dyn Clock>,
        options: EphemeralOptions,
    ) -> Self {
        let ephemeral = Self {
            inner: Arc::new(Inner {
                writer,
                clock,
                options,
                receipts: RwLock::default(),
                targets: Cache::new(CACHED_TARGETS),
                typing: RwLock::default(),
                typing_wake: Notify::new(),
                presence: PresenceState::default(),
                store,
            }),
        };
        ephemeral.inner.store.tail().register(Arc::new(ephemeral.clone()));
        ephemeral
    }

    /// Reads what must be in memory. Must be called after the log's tail has started and before it runs: from there on
    /// memory misses nothing.
    pub async fn start(&self) -> Result<(), StorageError> {
        let head = self.inner.store.applied();
        self.load_typing(head).await?;
        self.inner.receipts.write().start(head);
        self.start_presence(head);
        // What dead replicas have left is settled by `run`: writing waits for the log, which nobody follows yet.
        if self.has_presence() {
            self.renew_presence_lease().await?;
        }
        Ok(())
    }

    /// Does what has to be done at its time, until the future is dropped.
    pub async fn run(&self) {
        tokio::join!(self.run_typing(), self.run_presence());
    }

    async fn load_foreign(&self, entries: &[LogEntry]) -> Result<Foreign, StorageError> {
        let (mut receipts, mut typing, mut presence) = (Vec::new(), HashSet::new(), HashSet::new());
        for entry in entries.iter().filter(|entry| entry.change.is_none()) {
            match (entry.kind, entry.room, entry.user) {
                (LogKind::Receipt, Some(room), _) => receipts.push((room, entry.position)),
                (LogKind::Typing, Some(room), Some(user)) => {
                    typing.insert((room, user));
                }
                (LogKind::Presence, _, Some(user)) => {
                    presence.insert(user);
                }
                _ => {}
            }
        }
        let mut foreign = Foreign::default();
        if receipts.is_empty() && typing.is_empty() && presence.is_empty() {
            return Ok(foreign);
        }
        let mut reader = self.inner.store.reader().await?;
        if !receipts.is_empty() {
            let rows = reader.list_receipts_at(&receipts).await?;
            foreign.receipts = rows.into_iter().map(|row| (row.position, Arc::new(row))).collect();
        }
        if !typing.is_empty() {
            let rows = reader.list_typing_of(&typing.into_iter().collect::<Vec<_>>()).await?;
            foreign.typing = rows.into_iter().map(|row| ((row.room, row.user), row)).collect();
        }
        if !presence.is_empty() {
            let rows = reader.list_presence(&presence.into_iter().collect::<Vec<_>>()).await?;
            foreign.presence = rows.into_iter().map(|row| (row.user, Arc::new(row))).collect();
        }
        Ok(foreign)
    }

    fn apply_entry(&self, entry: &LogEntry, foreign: &mut Foreign) {
        match (&entry.change, entry.kind, entry.room, entry.user) {
            (Some(EphemeralChange::Receipt(row)), ..) => self.inner.receipts.write().insert(row.clone()),
            (Some(EphemeralChange::Typing(update)), ..) => self.apply_typing(update, entry.position),
            (Some(EphemeralChange::Presence(row)), ..) => self.apply_presence(row.clone(), true),
            // What is missing has changed again, and the entry for that follows.
            (None, LogKind::Receipt, ..) => {
                if let Some(row) = foreign.receipts.remove(&entry.position) {
                    self.inner.receipts.write().insert(row);
                }
            }
            (None, LogKind::Typing, Some(room), Some(user)) => {
                let mut typing = self.inner.typing.write();
                match foreign.typing.get(&(room, user)) {
                    Some(row) => typing.started(row.clone(), entry.position, false),
                    None => typing.stopped(room, user, entry.position),
                }
                drop(typing);
                self.inner.typing_wake.notify_one();
            }
            (None, LogKind::Presence, _, Some(user)) => {
                if let Some(row) = foreign.presence.get(&user) {
                    self.apply_presence(row.clone(), false);
                }
            }
            (None, LogKind::Event, Some(room), Some(sender)) => {
                // What has a transaction id, a client has sent by itself.
                if entry.event.as_ref().is_some_and(|event| event.transaction.is_some()) {
                    self.note_active(sender);
                }
                self.stop_typing_of_leaver(room, entry);
            }
            _ => {}
        }
    }

    fn apply_typing(&self, update: &TypingUpdate, position: Position) {
        let mut typing = self.inner.typing.write();
        match update.change {
            TypingChange::Until(expires_at) => {
                let row = TypingRow {
                    room: update.room,
                    user: update.user,
                    user_id: update.user_id.clone(),
                    expires_at,
                };
                typing.started(row, position, true);
            }
            TypingChange::Stop | TypingChange::Expire(_) => {
                typing.stopped(update.room, update.user, position);
            }
        }
    }

    /// Who is no longer in a room no longer types there.
    fn stop_typing_of_leaver(&self, room: RoomNid, entry: &LogEntry) {
        #[derive(Deserialize)]
        struct Event<'a> {
            #[serde(borrow)]
            content: Content<'a>,
        }
        #[derive(Deserialize)]
        struct Content<'a> {
            membership: &'a str,
        }
        let Some(event) = entry.event.as_ref().filter(|event| &*event.event_type == "m.room.member") else {
            return;
        };
        let Some(user_id) = event.state_key.as_deref().and_then(|key| <&UserId>::try_from(key).ok()) else {
            return;
        };
        let Some(user) = self.inner.typing.read().find(room, user_id) else { return };
        let is_joined = serde_json::from_str::<Event<'_>>(&event.json)
            .is_ok_and(|event| event.content.membership == "join");
        if !is_joined {
            self.inner.typing.write().left(room, user);
            self.inner.typing_wake.notify_one();
        }
    }

    /// Memory has missed something: it begins anew.
    fn forget_until(&self, position: Position) {
        self.inner.receipts.write().start(position);
        self.start_presence(position);
    }
}

impl LogApplier for Ephemeral {
    fn apply<'a>(&'a self, entries: &'a [LogEntry]) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async move {
            let loaded = self.load_foreign(entries).await;
            let has_failed = loaded.is_err();
            let mut foreign = loaded.unwrap_or_else(|error| {
                tracing::warn!(%error, "could not read what another replica wrote");
                Foreign::default()
            });
            for entry in entries {
                self.apply_entry(entry, &mut foreign);
            }
            if has_failed && let Some(last) = entries.last() {
                self.forget_until(last.position);
            }
        })
    }
}
