//! The service.

use std::{pin::Pin, sync::Arc};

use hs_model::{clock::Clock, ids::UserNid, membership::Membership, records::EventRecord};
use hs_storage::{
    Store,
    account_data::PUSH_RULES,
    log::{LogEntry, LogKind},
    tail::LogApplier,
};
use ruma::{OwnedServerName, UserId, push::Ruleset};
use serde::Deserialize;
use tokio::sync::Notify;

use crate::{
    addresses::AddressPatterns,
    audience::Audiences,
    ignored::IgnoredCache,
    personal::{RulesCache, anybody},
    ruleset::predefined,
    tally::Tallies,
    unread::ReceiptCache,
};

/// What [`Push`] needs to know.
#[derive(Clone, Debug)]
pub struct PushOptions {
    /// This server's name.
    pub server_name: OwnedServerName,
    /// Whom notifications may be mailed to; nobody when no mail is sent.
    pub mail_addresses: AddressPatterns,
}

/// Push rules, and what is unread. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Push {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) server_name: OwnedServerName,
    /// Whom notifications may be mailed to.
    pub(crate) mail_addresses: AddressPatterns,
    /// The rules of those who have not changed them, and whom the event does not name.
    pub(crate) predefined: Ruleset,
    pub(crate) rules: RulesCache,
    pub(crate) audiences: Audiences,
    pub(crate) tallies: Tallies,
    pub(crate) receipts: ReceiptCache,
    pub(crate) ignored: IgnoredCache,
    /// Tells whoever sends that a pusher was set here.
    pub(crate) pushers_changed: Notify,
}

impl Push {
    /// The service over a database. It must be registered with the log before that is followed, after the rooms.
    pub fn new(store: Store, clock: Arc<dyn Clock>, options: PushOptions) -> Self {
        Self {
            inner: Arc::new(Inner {
                store,
                clock,
                server_name: options.server_name,
                mail_addresses: options.mail_addresses,
                predefined: predefined(&anybody()),
                rules: RulesCache::new(),
                audiences: Audiences::new(),
                tallies: Tallies::new(),
                receipts: ReceiptCache::new(),
                ignored: IgnoredCache::new(),
                pushers_changed: Notify::new(),
            }),
        }
    }

    /// The database.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// A user's rules may have changed, or what they look at.
    fn rules_changed(&self, user: UserNid) {
        self.inner.rules.forget(user);
        self.inner.audiences.add_everywhere(user);
    }

    /// A local user who comes into a room may have rules of their own.
    async fn note_member(&self, event: &EventRecord) {
        let Some(user_id) = event.state_key.as_deref().and_then(|key| <&UserId>::try_from(key).ok()) else {
            return;
        };
        if user_id.server_name() != self.inner.server_name {
            return;
        }
        match self.inner.store.intern_user(user_id).await {
            Ok(user) => {
                self.inner.receipts.forget(user, event.room);
                if membership_of(event) != Some(Membership::Join) {
                    return;
                }
                self.inner.rules.bump();
                self.inner.audiences.add(event.room, user);
            }
            Err(error) => tracing::error!(%error, event_id = %event.event_id, "could not look up a member"),
        }
    }

    async fn apply_entry(&self, entry: &LogEntry) {
        let inner = &self.inner;
        match (entry.kind, entry.user) {
            (LogKind::Event, _) => {
                let Some(event) = &entry.event else { return };
                inner.tallies.apply(&inner.store, event).await;
                if &*event.event_type == "m.room.member" {
                    self.note_member(event).await;
                }
            }
            (LogKind::Receipt, Some(user)) => {
                if let Some(room) = entry.room {
                    inner.receipts.forget(user, room);
                }
            }
            (LogKind::AccountData, Some(user)) if entry.subject == Some(PUSH_RULES) => {
                self.rules_changed(user);
            }
            (LogKind::AccountData, Some(user)) if entry.room.is_none() => inner.ignored.forget(user),
            (LogKind::Profile, Some(user)) if inner.rules.looks_for_name(user) => self.rules_changed(user),
            _ => {}
        }
    }
}

impl LogApplier for Push {
    fn apply<'a>(&'a self, entries: &'a [LogEntry]) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async move {
            for entry in entries {
                self.apply_entry(entry).await;
            }
        })
    }
}

fn membership_of(event: &EventRecord) -> Option<Membership> {
    #[derive(Deserialize)]
    struct Event {
        content: Content,
    }
    #[derive(Deserialize)]
    struct Content {
        membership: Membership,
    }
    serde_json::from_str::<Event>(&event.json).ok().map(|event| event.content.membership)
}
