//! The public keys of servers: fetched, checked, kept, and used to check what servers sign.
//!
//! Specification: <https://spec.matrix.org/v1.19/server-server-api/#retrieving-server-keys>

mod document;
mod fetch;
mod keep;
mod pdus;
mod source;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use hs_model::clock::Clock;
use hs_room_rules::{
    canonical_json::Object,
    sign::{PublicKeys, SigningKey, verify_json},
};
use hs_storage::Store;
use moka::sync::Cache;
use ruma::{OwnedServerName, ServerName};
use tokio::{sync::Semaphore, time::Instant};

use self::fetch::Fetching;
pub(crate) use self::pdus::run;
pub use self::{
    document::{DocumentError, KeyDocument, ServerKey},
    pdus::PduError,
    source::{KeyQuery, KeySource, SourceFuture},
};

/// Of how many servers the keys are kept in memory.
const CACHED_SERVERS: u64 = 10_000;
/// How many servers are asked for their keys at the same time for one caller, and for how long. Notaries are asked about those
/// whose turn has not come until then.
const MAX_FETCHES: usize = 50;
const PATIENCE: Duration = Duration::from_secs(30);
/// How many servers are asked at the same time because others want to know their keys, whoever these are, and for how long.
const MAX_FETCHES_FOR_OTHERS: usize = 50;
const PATIENCE_FOR_OTHERS: Duration = Duration::from_secs(10);
/// How long the answer to a shared question is kept at most, should the one who asked have left before they took it out.
const FETCH_TTL: Duration = Duration::from_secs(1);
/// How soon notaries are asked about a server again.
const NOTARY_PAUSE: Duration = Duration::from_secs(20);

/// Keys of servers by server name and key id.
pub(crate) type KeysByServer = HashMap<OwnedServerName, Arc<KnownKeys>>;

/// Which keys of servers somebody wants to have.
pub(crate) type WantedKeys = BTreeMap<OwnedServerName, Wanted>;

/// Which keys of one server somebody wants to have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The ids. None means whatever there is.
    pub(crate) key_ids: BTreeSet<String>,
    /// Up to when they must be valid.
    pub(crate) valid_until_ms: i64,
}

/// What is known of a server's keys.
#[derive(Clone, Debug, Default)]
pub(crate) struct KnownKeys {
    pub(crate) keys: BTreeMap<String, ServerKey>,
}

impl KnownKeys {
    /// Whether this is all that is wanted.
    fn satisfies(&self, wanted: &Wanted) -> bool {
        let is_valid = |key: &ServerKey| key.is_valid_at(wanted.valid_until_ms);
        if wanted.key_ids.is_empty() {
            return self.keys.values().any(|key| !key.is_retired && is_valid(key));
        }
        // A retired key does not become valid for longer by asking again.
        wanted.key_ids.iter().all(|id| self.keys.get(id).is_some_and(|key| key.is_retired || is_valid(key)))
    }

    /// Takes over what a document says. Keys that it no longer names stay good for as long as they were.
    ///
    /// What a server says itself is the newest. What others say that it said may be older than what is known, and then adds
    /// to it only.
    fn merge(&mut self, document: &KeyDocument, is_direct: bool) {
        for (key_id, key) in &document.keys {
            match self.keys.get_mut(key_id) {
                Some(known) if known.public_key == key.public_key && known.is_retired == key.is_retired => {
                    known.valid_until_ms = if key.is_retired && is_direct {
                        key.valid_until_ms
                    } else {
                        known.valid_until_ms.max(key.valid_until_ms)
                    };
                }
                Some(_) if !is_direct => {}
                _ => {
                    self.keys.insert(key_id.clone(), key.clone());
                }
            }
        }
    }
}

/// Why a key is not there.
#[derive(Clone, Debug, thiserror::Error)]
pub enum KeyringError {
    /// The server's keys could not be had from anywhere.
    #[error("The keys of {0} cannot be fetched")]
    Unreachable(OwnedServerName),
    /// The server has keys, but not this one, or not any longer.
    #[error("{server} has no valid key {key_id}")]
    Unknown {
        /// The server.
        server: OwnedServerName,
        /// The key.
        key_id: String,
    },
}

/// Why something is not signed as it must be.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SignedError {
    /// A key is not there.
    #[error(transparent)]
    Key(#[from] KeyringError),
    /// A signature is wrong or missing.
    #[error(transparent)]
    Signature(#[from] hs_room_rules::sign::SignatureError),
}

/// What a keyring is made of.
#[derive(Clone, Debug)]
pub struct KeyringOptions {
    /// The name of this server.
    pub server_name: OwnedServerName,
    /// The key that it signs with.
    pub signing_key: Arc<SigningKey>,
    /// Keys that it signed with before: id, public key, and until when.
    pub old_keys: Vec<(String, String, i64)>,
    /// Servers that are asked for the keys of servers that do not answer themselves, in this order.
    pub notaries: Vec<OwnedServerName>,
}

/// The public keys of servers. Cloning is cheap.
#[derive(Clone)]
pub struct Keyring {
    inner: Arc<Inner>,
}

struct Inner {
    server_name: OwnedServerName,
    notaries: Vec<OwnedServerName>,
    source: Arc<dyn KeySource>,
    store: Store,
    clock: Arc<dyn Clock>,
    own: Arc<KnownKeys>,
    known: Cache<OwnedServerName, Arc<KnownKeys>>,
    fetching: Fetching,
    fetches_for_others: Semaphore,
    /// Servers that could not be asked, and how often in a row; and those that just were.
    pauses: Cache<OwnedServerName, Pause>,
    /// Servers about which notaries were asked a moment ago.
    asked_notaries: Cache<OwnedServerName, ()>,
}

/// Until when a server is not asked again.
#[derive(Clone, Copy, Debug)]
struct Pause {
    until_ms: i64,
    /// How often in a row it did not answer.
    failures: u32,
    /// How often it was asked since some time.
    window_since_ms: i64,
    fetches: u32,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring")
            .field("known_servers", &self.inner.known.entry_count())
            .finish_non_exhaustive()
    }
}

impl Keyring {
    /// A keyring that keeps keys in `store`, and asks `source` for others.
    pub fn new(
        source: Arc<dyn KeySource>,
        store: Store,
        clock: Arc<dyn Clock>,
        options: KeyringOptions,
    ) -> Self {
        let own = Arc::new(own_keys(&options));
        let KeyringOptions { server_name, notaries, .. } = options;
        let inner = Inner {
            notaries: notaries.into_iter().filter(|notary| *notary != server_name).collect(),
            server_name,
            source,
            store,
            clock,
            own,
            known: Cache::builder().max_capacity(CACHED_SERVERS).build(),
            // Those who leave while they wait leave nothing behind.
            fetching: Fetching::builder().max_capacity(CACHED_SERVERS).time_to_live(FETCH_TTL).build(),
            fetches_for_others: Semaphore::new(MAX_FETCHES_FOR_OTHERS),
            pauses: Cache::builder()
                .max_capacity(CACHED_SERVERS)
                .time_to_live(Duration::from_hours(24))
                .build(),
            asked_notaries: Cache::builder().max_capacity(CACHED_SERVERS).time_to_live(NOTARY_PAUSE).build(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The key that a request of a server is signed with, which must be one that it uses now.
    pub async fn request_key(&self, server: &ServerName, key_id: &str) -> Result<String, KeyringError> {
        let now_ms = self.inner.clock.now_ms();
        let wanted = Wanted { key_ids: [key_id.to_owned()].into(), valid_until_ms: now_ms };
        let found = self.find(&[(server.to_owned(), wanted)].into()).await;
        let Some(known) = found.get(server) else {
            return Err(KeyringError::Unreachable(server.to_owned()));
        };
        let key = known.keys.get(key_id).filter(|key| !key.is_retired && key.is_valid_at(now_ms));
        let unknown = || KeyringError::Unknown { server: server.to_owned(), key_id: key_id.to_owned() };
        key.map(|key| key.public_key.clone()).ok_or_else(unknown)
    }

    /// Checks that a server signed a JSON object with a key that it uses now: what it answers, outside of rooms.
    pub async fn verify_json(&self, server: &ServerName, object: &Object<'_>) -> Result<(), SignedError> {
        let signatures =
            object.get_object("signatures").and_then(|by_server| by_server.get_object(server.as_str()));
        let key_ids: BTreeSet<String> =
            signatures.iter().flat_map(|signatures| signatures.iter()).map(|(id, _)| id.to_owned()).collect();
        let now_ms = self.inner.clock.now_ms();
        let keys = if key_ids.is_empty() {
            BTreeMap::new()
        } else {
            let wanted = Wanted { key_ids, valid_until_ms: now_ms };
            let found = self.find(&[(server.to_owned(), wanted)].into()).await;
            let known = found.get(server).ok_or_else(|| KeyringError::Unreachable(server.to_owned()))?;
            let valid = known.keys.iter().filter(|(_, key)| !key.is_retired && key.is_valid_at(now_ms));
            valid.map(|(id, key)| (id.clone(), key.public_key.clone())).collect()
        };
        Ok(verify_json(object, server.as_str(), &keys)?)
    }

    /// Tries to have the keys of servers that somebody else asks for, from those servers themselves.
    pub async fn refresh(&self, queries: Vec<KeyQuery>) {
        let wanted = queries.into_iter().map(|query| {
            let key_ids = query.key_ids.into_iter().collect();
            (query.server, Wanted { key_ids, valid_until_ms: query.minimum_valid_until_ms })
        });
        self.find_directly(&wanted.collect(), ForWhom::Others).await;
    }

    /// What is known of the keys of servers, after an attempt to know what is wanted: from memory, from the database, from
    /// the servers themselves, and from notaries, each asked for what those before lack.
    pub(crate) async fn find(&self, wanted: &WantedKeys) -> KeysByServer {
        let mut search = self.find_directly(wanted, ForWhom::Us).await;
        let asked = &self.inner.asked_notaries;
        let missing: Vec<OwnedServerName> =
            search.missing().into_iter().filter(|server| !asked.contains_key(server)).collect();
        if missing.is_empty() || self.inner.notaries.is_empty() {
            return search.found;
        }
        for server in &missing {
            asked.insert(server.clone(), ());
        }
        for notary in &self.inner.notaries {
            let missing = search.missing().into_iter().filter(|server| missing.contains(server));
            let query: WantedKeys =
                missing.filter_map(|server| Some((server.clone(), wanted.get(&server)?.clone()))).collect();
            if query.is_empty() {
                break;
            }
            search.take(self.ask_notary(notary, &query).await);
        }
        search.found
    }

    async fn find_directly<'a>(&self, wanted: &'a WantedKeys, for_whom: ForWhom) -> Search<'a> {
        let mut search = Search { wanted, found: KeysByServer::new() };
        search.take(wanted.keys().filter_map(|server| Some((server.clone(), self.in_memory(server)?))));
        let missing = search.missing();
        if missing.is_empty() {
            return search;
        }
        search.take(self.load(&missing).await);
        // Somebody may have fetched them while the database was asked.
        let missing = search.missing();
        search
            .take(missing.into_iter().filter_map(|server| Some((server.clone(), self.in_memory(&server)?))));
        let fetches = search.missing().into_iter().map(|server| {
            let keyring = self.clone();
            async move {
                let _permit = match for_whom {
                    ForWhom::Us => None,
                    ForWhom::Others => Some(keyring.inner.fetches_for_others.acquire().await.ok()?),
                };
                Some((keyring.fetch(&server).await?, server))
            }
        });
        let patience = match for_whom {
            ForWhom::Us => PATIENCE,
            ForWhom::Others => PATIENCE_FOR_OTHERS,
        };
        let fetched = gather(fetches.collect(), patience).await;
        search.take(fetched.into_iter().flatten().map(|(known, server)| (server, known)));
        search
    }

    fn in_memory(&self, server: &ServerName) -> Option<Arc<KnownKeys>> {
        if *server == *self.inner.server_name {
            return Some(self.inner.own.clone());
        }
        self.inner.known.get(server)
    }
}

/// What was wanted, and what has been found so far.
struct Search<'a> {
    wanted: &'a WantedKeys,
    found: KeysByServer,
}

impl Search<'_> {
    fn take(&mut self, found: impl IntoIterator<Item = (OwnedServerName, Arc<KnownKeys>)>) {
        self.found.extend(found);
    }

    fn missing(&self) -> Vec<OwnedServerName> {
        let is_missing = |(server, wanted): &(&OwnedServerName, &Wanted)| {
            !self.found.get(*server).is_some_and(|known| known.satisfies(wanted))
        };
        self.wanted.iter().filter(is_missing).map(|(server, _)| server.clone()).collect()
    }
}

/// Who wants to know keys: how much is done for it depends on that.
#[derive(Clone, Copy, Debug)]
enum ForWhom {
    Us,
    Others,
}

/// What comes of questions until the time is up. A slow one holds up nothing but itself.
async fn gather<T>(questions: Vec<impl Future<Output = T>>, patience: Duration) -> Vec<T> {
    let deadline = Instant::now() + patience;
    let mut answers = stream::iter(questions).buffer_unordered(MAX_FETCHES);
    let mut gathered = Vec::new();
    while let Ok(Some(answer)) = tokio::time::timeout_at(deadline, answers.next()).await {
        gathered.push(answer);
    }
    gathered
}

/// The keys of this server itself, which nobody needs to be asked for.
fn own_keys(options: &KeyringOptions) -> KnownKeys {
    let mut keys: BTreeMap<String, ServerKey> = options
        .old_keys
        .iter()
        .map(|(id, public_key, expired_ms)| {
            let key =
                ServerKey { public_key: public_key.clone(), valid_until_ms: *expired_ms, is_retired: true };
            (id.clone(), key)
        })
        .collect();
    let key = &options.signing_key;
    let current = ServerKey { public_key: key.public_key(), valid_until_ms: i64::MAX, is_retired: false };
    keys.insert(key.key_id().to_string(), current);
    KnownKeys { keys }
}

/// Keys as the rules of rooms take them.
fn public_keys(found: &KeysByServer, is_good: impl Fn(&ServerKey) -> bool) -> PublicKeys {
    let of_server = |known: &KnownKeys| {
        let good = known.keys.iter().filter(|(_, key)| is_good(key));
        good.map(|(id, key)| (id.clone(), key.public_key.clone())).collect()
    };
    found.iter().map(|(server, known)| (server.to_string(), of_server(known))).collect()
}

#[cfg(test)]
mod tests;
