//! The service, and how it follows the log.

use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock},
};

use hs_model::{
    clock::Clock,
    ids::{DeviceNid, EventNid, UserNid},
    membership::Membership,
    records::EventRecord,
    stream::Position,
};
use hs_storage::{
    StorageError, Store,
    log::{LogEntry, LogKind},
    tail::LogApplier,
};
use parking_lot::Mutex;
use ruma::{OwnedServerName, UserId};
use serde::Deserialize;
use tokio::sync::Notify;

use crate::{
    inboxes::Inboxes,
    ports::RemoteKeys,
    recent_changes::{Change, RecentChanges},
};

/// Everything that end-to-end encryption needs of the server. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct E2ee {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) server_name: OwnedServerName,
    pub(crate) state: Mutex<State>,
    /// How many messages each device was sent by this process since its inbox was last looked at.
    pub(crate) sent: Mutex<HashMap<DeviceNid, u32>>,
    /// Asks other servers; without it, nothing can be known of their users.
    pub(crate) remote: OnceLock<Arc<dyn RemoteKeys>>,
    /// There is a device list to be fetched again.
    pub(crate) resync_wake: Notify,
}

/// What memory knows.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Everything up to here has been noted.
    pub(crate) position: Position,
    pub(crate) inboxes: Inboxes,
    pub(crate) changes: RecentChanges,
}

impl E2ee {
    /// A service over this database. Follows its log, which must not be followed yet.
    pub fn new(store: Store, clock: Arc<dyn Clock>, server_name: OwnedServerName) -> Self {
        let inner = Inner {
            store,
            clock,
            server_name,
            state: Mutex::default(),
            sent: Mutex::default(),
            remote: OnceLock::new(),
            resync_wake: Notify::new(),
        };
        let service = Self { inner: Arc::new(inner) };
        service.inner.store.tail().register(Arc::new(service.clone()));
        service
    }

    /// Says how to ask other servers for the keys of their users. Must be called once, before anything is asked.
    pub fn set_remote_keys(&self, remote: Arc<dyn RemoteKeys>) {
        if self.inner.remote.set(remote).is_err() {
            tracing::warn!("there is a way to ask other servers for keys already");
        }
    }

    /// Begins at the present position of the log, which must be started and not yet followed.
    pub fn start(&self) {
        let position = self.inner.store.applied();
        let mut state = self.inner.state.lock();
        state.position = position;
        state.changes.start(position);
    }

    pub(crate) fn is_local(&self, user_id: &UserId) -> bool {
        user_id.server_name() == self.inner.server_name
    }

    /// Who came into rooms and who left, by position.
    async fn moves(&self, entries: &[LogEntry]) -> HashMap<Position, Change> {
        let members: Vec<(&LogEntry, &EventRecord)> = entries
            .iter()
            .filter_map(|entry| Some((entry, &**entry.event.as_ref()?)))
            .filter(|(_, event)| &*event.event_type == "m.room.member")
            .collect();
        if members.is_empty() {
            return HashMap::new();
        }
        let replaced: Vec<EventNid> = members.iter().filter_map(|(_, event)| event.replaces).collect();
        let before = self.inner.store.find_events(&replaced).await.unwrap_or_else(|error| {
            // To be told of a user twice does less harm than not to be told.
            tracing::warn!(%error, "could not read what members were before");
            HashMap::new()
        });
        let mut moves = HashMap::new();
        for (entry, event) in members {
            // What cannot be read counts as a change.
            let was_joined = event.replaces.is_some_and(|nid| match before.get(&nid) {
                Some(before) => is_join(&before.json),
                None => !is_join(&event.json),
            });
            match self.change_of(entry, event, was_joined).await {
                Ok(Some(change)) => {
                    moves.insert(entry.position, change);
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(%error, event_id = %event.event_id, "could not look up a member");
                }
            }
        }
        moves
    }

    async fn change_of(
        &self,
        entry: &LogEntry,
        event: &EventRecord,
        was_joined: bool,
    ) -> Result<Option<Change>, StorageError> {
        let is_joined = is_join(&event.json);
        let user_id = event.state_key.as_deref().and_then(|key| <&UserId>::try_from(key).ok());
        let (Some(room), Some(user_id), true) = (entry.room, user_id, is_joined != was_joined) else {
            return Ok(None);
        };
        let user = self.inner.store.intern_user(user_id).await?;
        Ok(Some(if is_joined { Change::Joined(room, user) } else { Change::Left(room, user) }))
    }
}

/// Whether a member event says that its user is joined.
pub(crate) fn is_join(json: &str) -> bool {
    #[derive(Deserialize)]
    struct Event<'a> {
        #[serde(borrow)]
        content: Content<'a>,
    }
    #[derive(Deserialize)]
    struct Content<'a> {
        membership: &'a str,
    }
    serde_json::from_str::<Event<'_>>(json)
        .is_ok_and(|event| event.content.membership == Membership::Join.as_str())
}

impl State {
    fn note(&mut self, entry: &LogEntry, moves: &HashMap<Position, Change>) {
        let position = entry.position;
        match (entry.kind, entry.user, entry.subject) {
            (LogKind::ToDevice, Some(user), device) => {
                self.inboxes.message(user, device.map(DeviceNid), position);
            }
            (LogKind::OneTimeKeys, Some(user), Some(device)) => {
                self.inboxes.supply_changed(user, DeviceNid(device));
            }
            (LogKind::DeviceList, Some(user), _) => self.changes.push(position, Change::Keys(user)),
            (LogKind::UserSignature, Some(signer), Some(target)) => {
                self.changes.push(position, Change::Signature { signer, target: UserNid(target) });
            }
            (LogKind::RoomReplaced, ..) => {
                if let Some(room) = entry.room {
                    self.changes.push(position, Change::Replaced(room));
                }
            }
            (LogKind::Event | LogKind::StateRestored, ..) => {
                if let Some(change) = moves.get(&position) {
                    self.changes.push(position, *change);
                }
            }
            _ => {}
        }
        self.position = position;
    }
}

impl LogApplier for E2ee {
    fn apply<'a>(&'a self, entries: &'a [LogEntry]) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async move {
            let moves = self.moves(entries).await;
            let mut state = self.inner.state.lock();
            for entry in entries {
                state.note(entry, &moves);
            }
        })
    }
}
