//! Asking servers for their keys: one question at a time for each server, and not again too soon.

use std::{collections::BTreeMap, sync::Arc};

use hs_room_rules::{
    canonical_json::{Object, ParseOptions},
    sign::verify_json,
};
use moka::future::Cache;
use ruma::{OwnedServerName, ServerName};

use super::{
    KeyDocument, KeyQuery, Keyring, KeyringError, KeysByServer, KnownKeys, Pause, SignedError, WantedKeys,
};

/// How many documents of one server a notary's answer may hold: one for each key, in the worst case.
const MAX_DOCUMENTS_PER_SERVER: usize = 20;
/// How often a server that answers is asked within a window of time: requests with made-up key ids do not make us ask without
/// end, and one that has just changed its key is asked at once.
const MAX_FETCHES_IN_WINDOW: u32 = 5;
const WINDOW_MS: i64 = 30_000;
/// How soon one that did not answer is asked again: at first, and at last.
const FIRST_BACKOFF_MS: i64 = 5_000;
const LAST_BACKOFF_MS: i64 = 10 * 60 * 1_000;

/// Questions that are under way: what comes of them is forgotten at once, so that all who share one came before its answer.
pub(super) type Fetching = Cache<OwnedServerName, Option<Arc<KnownKeys>>>;

impl Keyring {
    /// Asks a server for its keys, unless that was done a moment ago; returns what is known afterwards.
    pub(super) async fn fetch(&self, server: &ServerName) -> Option<Arc<KnownKeys>> {
        if self.is_paused(server) {
            return self.in_memory(server);
        }
        let fetching = &self.inner.fetching;
        let fetched = fetching.entry_by_ref(server).or_insert_with(self.fetch_now(server)).await;
        if fetched.is_fresh() {
            fetching.invalidate(server).await;
        }
        fetched.into_value()
    }

    fn is_paused(&self, server: &ServerName) -> bool {
        let now_ms = self.inner.clock.now_ms();
        self.inner.pauses.get(server).is_some_and(|pause| now_ms < pause.until_ms)
    }

    async fn fetch_now(&self, server: &ServerName) -> Option<Arc<KnownKeys>> {
        let document = self.ask(server).await;
        self.note_pause(server, document.is_some());
        match document {
            Some(document) => Some(self.learn(server, &document, true).await),
            None => self.in_memory(server),
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
        let current = |known: &KnownKeys| -> BTreeMap<String, String> {
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
        let now_ms = self.inner.clock.now_ms();
        let before = self.inner.pauses.get(server);
        let pause =
            if is_known { pause_after_answer(before, now_ms) } else { pause_after_failure(before, now_ms) };
        self.inner.pauses.insert(server.to_owned(), pause);
    }
}

fn pause_after_answer(before: Option<Pause>, now_ms: i64) -> Pause {
    let window = before.filter(|pause| now_ms < pause.window_since_ms + WINDOW_MS);
    let (window_since_ms, fetches) =
        window.map_or((now_ms, 0), |pause| (pause.window_since_ms, pause.fetches));
    let fetches = fetches + 1;
    let until_ms = if fetches < MAX_FETCHES_IN_WINDOW { now_ms } else { window_since_ms + WINDOW_MS };
    Pause { until_ms, failures: 0, window_since_ms, fetches }
}

fn pause_after_failure(before: Option<Pause>, now_ms: i64) -> Pause {
    let failures = before.map_or(0, |pause| pause.failures);
    let pause_ms = (FIRST_BACKOFF_MS << failures.min(10)).min(LAST_BACKOFF_MS);
    let until_ms = now_ms + pause_ms;
    Pause { until_ms, failures: failures.saturating_add(1), window_since_ms: now_ms, fetches: 0 }
}

/// Why the word of a notary does not count.
#[derive(Debug, thiserror::Error)]
enum NotaryError {
    #[error(transparent)]
    Document(super::DocumentError),
    #[error(transparent)]
    Signed(#[from] SignedError),
}
