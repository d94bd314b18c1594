//! Asking servers for their keys: one question at a time for each server, and not again too soon.

use std::{collections::HashMap, sync::Arc};

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use hs_room_rules::{
    canonical_json::{Object, ParseOptions},
    sign::verify_json,
};
use ruma::{OwnedServerName, ServerName};

use super::{
    KeyDocument, KeyQuery, Keyring, KeyringError, KeysByServer, KnownKeys, Pause, SignedError, WantedKeys,
};

/// How many documents of one server a notary's answer may hold: one for each key, in the worst case.
const MAX_DOCUMENTS_PER_SERVER: usize = 20;
/// How soon a server that answered is asked again: long enough that requests with made-up key ids do not make us ask
/// without end, and short enough for one that has just changed its key.
const PAUSE_MS: i64 = 5_000;
/// How soon one that did not answer is asked again: at first, and at last.
const FIRST_BACKOFF_MS: i64 = 5_000;
const LAST_BACKOFF_MS: i64 = 10 * 60 * 1_000;

/// Questions that are under way.
pub(super) type Fetching = HashMap<OwnedServerName, Shared<BoxFuture<'static, Option<Arc<KnownKeys>>>>>;

impl Keyring {
    /// Asks a server for its keys, unless that was done a moment ago; returns what is known afterwards.
    pub(super) async fn fetch(&self, server: &ServerName) -> Option<Arc<KnownKeys>> {
        let fetch = {
            let mut fetching = self.inner.fetching.lock();
            match fetching.get(server) {
                Some(fetch) => fetch.clone(),
                None => {
                    if self.is_paused(server) {
                        return self.in_memory(server);
                    }
                    let fetch = self.clone().fetch_now(server.to_owned()).boxed().shared();
                    fetching.insert(server.to_owned(), fetch.clone());
                    fetch
                }
            }
        };
        let known = fetch.clone().await;
        let mut fetching = self.inner.fetching.lock();
        if fetching.get(server).is_some_and(|current| current.ptr_eq(&fetch)) {
            fetching.remove(server);
        }
        known
    }

    fn is_paused(&self, server: &ServerName) -> bool {
        let now_ms = self.inner.clock.now_ms();
        self.inner.pauses.get(server).is_some_and(|pause| now_ms < pause.until_ms)
    }

    async fn fetch_now(self, server: OwnedServerName) -> Option<Arc<KnownKeys>> {
        let document = self.ask(&server).await;
        self.note_pause(&server, document.is_some());
        match document {
            Some(document) => Some(self.learn(&server, &document, true).await),
            None => self.in_memory(&server),
        }
    }

    /// Asks the server itself.
    async fn ask(&self, server: &ServerName) -> Option<KeyDocument> {
        let json = match self.inner.source.fetch(server).await {
            Ok(json) => json,
            Err(error) => {
                tracing::debug!(%server, %error, "cannot fetch the keys of a server");
                return None;
            }
        };
        match KeyDocument::read(&json, server, self.inner.clock.now_ms()) {
            Ok(document) => Some(document),
            Err(error) => {
                tracing::info!(%server, %error, "the keys of a server are not believed");
                None
            }
        }
    }

    /// Asks a notary for the keys of others; returns what is known afterwards of those that it told of.
    pub(super) async fn ask_notary(&self, notary: &ServerName, wanted: &WantedKeys) -> KeysByServer {
        let now_ms = self.inner.clock.now_ms();
        let query = wanted.iter().map(|(server, wanted)| KeyQuery {
            server: server.clone(),
            key_ids: wanted.key_ids.iter().cloned().collect(),
            minimum_valid_until_ms: if wanted.valid_until_ms > 0 { wanted.valid_until_ms } else { now_ms },
        });
        let documents = match self.inner.source.query(notary, query.collect()).await {
            Ok(documents) => documents,
            Err(error) => {
                tracing::debug!(%notary, %error, "a notary does not answer");
                return KeysByServer::new();
            }
        };
        let mut found = KeysByServer::new();
        for json in documents.iter().take(wanted.len() * MAX_DOCUMENTS_PER_SERVER) {
            match self.learn_from_notary(notary, json, wanted).await {
                Ok(Some((server, known))) => {
                    found.insert(server, known);
                }
                Ok(None) => {}
                Err(error) => tracing::info!(%notary, %error, "what a notary says is not believed"),
            }
        }
        found
    }

    async fn learn_from_notary(
        &self,
        notary: &ServerName,
        json: &str,
        wanted: &WantedKeys,
    ) -> Result<Option<(OwnedServerName, Arc<KnownKeys>)>, NotaryError> {
        let object =
            Object::parse(json, ParseOptions::STRICT).map_err(|error| NotaryError::Document(error.into()))?;
        let server = object.get_str("server_name").and_then(|name| name.try_into().ok());
        let Some(server) = server.filter(|name: &OwnedServerName| wanted.contains_key(name)) else {
            return Ok(None);
        };
        self.verify_notary(notary, &object).await?;
        let document =
            KeyDocument::read(json, &server, self.inner.clock.now_ms()).map_err(NotaryError::Document)?;
        let known = self.learn(&server, &document, false).await;
        Ok(Some((server, known)))
    }

    /// Checks the notary's own signature. Its keys come from itself only: notaries do not vouch for each other.
    async fn verify_notary(&self, notary: &ServerName, object: &Object<'_>) -> Result<(), SignedError> {
        let now_ms = self.inner.clock.now_ms();
        let current = |known: &KnownKeys| -> std::collections::BTreeMap<String, String> {
            let keys = known.keys.iter().filter(|(_, key)| !key.is_retired && key.is_valid_at(now_ms));
            keys.map(|(id, key)| (id.clone(), key.public_key.clone())).collect()
        };
        let known = self.in_memory(notary).map(|known| current(&known));
        if known.is_some_and(|keys| verify_json(object, notary.as_str(), &keys).is_ok()) {
            return Ok(());
        }
        let known = self.fetch(notary).await.ok_or_else(|| KeyringError::Unreachable(notary.to_owned()))?;
        Ok(verify_json(object, notary.as_str(), &current(&known))?)
    }

    fn note_pause(&self, server: &ServerName, is_known: bool) {
        let failures = match self.inner.pauses.get(server) {
            _ if is_known => 0,
            Some(pause) => pause.failures.saturating_add(1),
            None => 1,
        };
        let pause_ms = match failures {
            0 => PAUSE_MS,
            failures => (FIRST_BACKOFF_MS << (failures - 1).min(10)).min(LAST_BACKOFF_MS),
        };
        let until_ms = self.inner.clock.now_ms() + pause_ms;
        self.inner.pauses.insert(server.to_owned(), Pause { until_ms, failures });
    }
}

/// Why the word of a notary does not count.
#[derive(Debug, thiserror::Error)]
enum NotaryError {
    #[error(transparent)]
    Document(super::DocumentError),
    #[error(transparent)]
    Signed(#[from] SignedError),
}
