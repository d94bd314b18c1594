//! Asking servers for their keys: one question at a time for each server, and not again too soon.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use ruma::{OwnedServerName, ServerName, api::federation::discovery::get_server_keys::v2 as get_server_keys};

use super::{KeyDocument, Keyring, KnownKeys, Pause};
use crate::Limits;

/// How long a server may take to tell its keys, and how many bytes.
const LIMITS: Limits = Limits { timeout: Duration::from_secs(12), max_response_bytes: 256 * 1024 };
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
        let known = self.in_memory(&server);
        let Some(document) = document else { return known };
        let mut merged = known.map(|known| (*known).clone()).unwrap_or_default();
        merged.merge(&document);
        let merged = Arc::new(merged);
        self.inner.known.insert(server, merged.clone());
        Some(merged)
    }

    /// Asks the server itself.
    async fn ask(&self, server: &ServerName) -> Option<KeyDocument> {
        let answer = self.inner.client.send(server, get_server_keys::Request::new(), LIMITS).await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                tracing::debug!(%server, %error, "cannot fetch the keys of a server");
                return None;
            }
        };
        match KeyDocument::read(answer.server_key.json().get(), server, self.inner.clock.now_ms()) {
            Ok(document) => Some(document),
            Err(error) => {
                tracing::info!(%server, %error, "the keys of a server are not believed");
                None
            }
        }
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
