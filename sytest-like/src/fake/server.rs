//! The fake server itself: its name, key and listener, what it was asked, and who changes its answers.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::event::{Event, now_ms};
use super::graph::Graph;
use super::json::Key;
use super::listener;
use super::received::{Received, Reply};
use super::wire;
use crate::authority::Authority;
use crate::process::free_federation_address;

/// How long a case waits for the fake server to hear of something.
const HEARD_WITHIN: Duration = Duration::from_secs(40);
/// What a key says of its own validity.
const KEY_VALID_FOR_MS: i64 = 24 * 60 * 60 * 1000;

type Answer = Pin<Box<dyn Future<Output = Option<Reply>> + Send>>;
pub(super) type Handler = Arc<dyn Fn(Received) -> Answer + Send + Sync>;

/// A homeserver that does what a case tells it to. Handles are cheap to clone.
#[derive(Clone, Debug)]
pub struct FakeServer {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    name: String,
    address: SocketAddr,
    tls: Arc<rustls::ServerConfig>,
    pub(super) state: Mutex<State>,
    heard: watch::Sender<usize>,
    listening: Mutex<Option<JoinHandle<()>>>,
}

/// What the fake server knows.
pub(super) struct State {
    key: Key,
    graphs: HashMap<String, Graph>,
    handlers: Vec<(String, Handler)>,
    received: Vec<Received>,
    /// What others did wrong in talking to us.
    faults: Vec<String>,
    /// Public keys of others by server and key id.
    pub(super) keys: HashMap<(String, String), String>,
    pub(super) profiles: HashMap<String, Value>,
    pub(super) aliases: HashMap<String, String>,
    pub(super) devices: HashMap<String, Value>,
    pub(super) one_time_keys: HashMap<(String, String), Vec<(String, Value)>>,
    /// Whether members are left out of answers to joins on request.
    pub(super) leaves_out_members: bool,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "FakeServer({})", self.name)
    }
}

impl FakeServer {
    /// Starts a fake server on an address of its own.
    pub async fn start() -> Self {
        let address = free_federation_address();
        let name = address.to_string();
        let state = State {
            key: Key::from_seed("ed25519:fake", &format!("{name} {}", now_ms())),
            graphs: HashMap::new(),
            handlers: Vec::new(),
            received: Vec::new(),
            faults: Vec::new(),
            keys: HashMap::new(),
            profiles: HashMap::new(),
            aliases: HashMap::new(),
            devices: HashMap::new(),
            one_time_keys: HashMap::new(),
            leaves_out_members: false,
        };
        let server = Self {
            inner: Arc::new(Inner {
                name,
                address,
                tls: Authority::get().server(address.ip()),
                state: Mutex::new(state),
                heard: watch::Sender::new(0),
                listening: Mutex::default(),
            }),
        };
        server.come_back().await;
        server
    }

    /// The server name: an address and a port.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The id of one of our users.
    pub fn user(&self, localpart: &str) -> String {
        format!("@{localpart}:{}", self.name())
    }

    /// The signing key.
    pub fn key(&self) -> Key {
        self.lock().key.clone()
    }

    /// Signs with another key from here on, and publishes only that.
    pub fn set_key(&self, key: &Key) {
        self.lock().key = key.clone();
    }

    /// Nobody listens any more; connections that are open are closed.
    pub fn go_down(&self) {
        let task = self.listening().take();
        if let Some(task) = task {
            task.abort();
        }
    }

    /// Listens again.
    pub async fn come_back(&self) {
        let task =
            listener::listen(self.inner.address, self.inner.tls.clone(), Arc::downgrade(&self.inner)).await;
        *self.listening() = Some(task);
    }

    /// Changes the answer of an endpoint (`send`, `state_ids`, `query/profile`, `key/v2/server`); `None` leaves a
    /// request to what was said before. What is said last is asked first.
    pub fn answer(
        &self,
        endpoint: &str,
        handler: impl Fn(&Received) -> Option<Reply> + Send + Sync + 'static,
    ) {
        self.answer_async(endpoint, move |received| {
            let reply = handler(&received);
            async move { reply }
        });
    }

    /// Like [`FakeServer::answer`], for answers that wait for something.
    pub fn answer_async<F>(&self, endpoint: &str, handler: impl Fn(Received) -> F + Send + Sync + 'static)
    where
        F: Future<Output = Option<Reply>> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |received| Box::pin(handler(received)));
        self.lock().handlers.push((endpoint.to_owned(), handler));
    }

    /// Always answers an endpoint like this.
    pub fn always(&self, endpoint: &str, reply: Reply) {
        self.answer(endpoint, move |_| Some(reply.clone()));
    }

    /// Never answers this endpoint.
    pub fn hang(&self, endpoint: &str) {
        self.answer_async(endpoint, |_| std::future::pending());
    }

    /// From here on leaves members out of the answers to joins, for those who ask for it.
    pub fn leave_out_members(&self) {
        self.lock().leaves_out_members = true;
    }

    /// Goes back to the honest answers of an endpoint.
    pub fn be_honest(&self, endpoint: &str) {
        self.lock().handlers.retain(|(name, _)| name != endpoint);
    }

    pub(super) fn handlers_for(&self, received: &Received) -> Vec<Handler> {
        let state = self.lock();
        let matching = state.handlers.iter().rev().filter(|(endpoint, _)| received.is(endpoint));
        matching.map(|(_, handler)| handler.clone()).collect()
    }

    pub(super) fn record(&self, received: Received) {
        self.lock().received.push(received);
        self.inner.heard.send_modify(|count| *count += 1);
    }

    pub(super) fn complain(&self, fault: String) {
        self.lock().faults.push(fault);
    }

    /// What other servers did wrong in talking to us: bad signatures and hashes.
    pub fn faults(&self) -> Vec<String> {
        self.lock().faults.clone()
    }

    /// What was asked at this endpoint so far.
    pub fn received(&self, endpoint: &str) -> Vec<Received> {
        self.lock().received.iter().filter(|received| received.is(endpoint)).cloned().collect()
    }

    /// Forgets what was received, so that the next wait is for something new.
    pub fn forget(&self) {
        self.lock().received.clear();
    }

    /// Waits until some request has what the case looks for.
    pub async fn wait_for<T>(&self, what: &str, mut look: impl FnMut(&Received) -> Option<T>) -> T {
        let mut heard = self.inner.heard.subscribe();
        let search = async {
            loop {
                heard.borrow_and_update();
                if let Some(found) = self.lock().received.iter().find_map(&mut look) {
                    return found;
                }
                heard.changed().await.expect("the server lives as long as its handle");
            }
        };
        tokio::time::timeout(HEARD_WITHIN, search).await.unwrap_or_else(|_| {
            panic!(
                "{}: {what}: not heard within {HEARD_WITHIN:?}; heard: {:#?}; faults: {:#?}",
                self.name(),
                self.lock().received.iter().map(|one| (&one.path, &one.body)).collect::<Vec<_>>(),
                self.faults()
            )
        })
    }

    /// Waits for a request to this endpoint that satisfies the condition.
    pub async fn wait_for_request(&self, endpoint: &str, condition: impl Fn(&Received) -> bool) -> Received {
        let look = |one: &Received| (one.is(endpoint) && condition(one)).then(|| one.clone());
        self.wait_for(endpoint, look).await
    }

    /// Waits for a PDU in a transaction.
    pub async fn wait_for_pdu(&self, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        self.wait_for(what, |one| one.pdus().into_iter().find(&condition)).await
    }

    /// Waits for the event with this id in a transaction.
    pub async fn wait_for_event(&self, room_id: &str, event_id: &str) -> Event {
        let version = self.room(room_id).version();
        let look = |one: &Received| {
            let mut events = one.pdus().into_iter().map(|pdu| Event::new(pdu, version));
            events.find(|event| event.id == event_id)
        };
        self.wait_for(event_id, look).await
    }

    /// Waits for an EDU of this type whose content satisfies the condition, and returns the content.
    pub async fn wait_for_edu(&self, edu_type: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let fits = |edu: &Value| edu["edu_type"] == edu_type && condition(&edu["content"]);
        let look = |one: &Received| one.edus().into_iter().find(fits).map(|edu| edu["content"].clone());
        self.wait_for(edu_type, look).await
    }

    /// All PDUs of all transactions so far, in order.
    pub fn pdus_received(&self) -> Vec<Value> {
        self.lock().received.iter().flat_map(Received::pdus).collect()
    }

    /// All EDUs of this type so far: their contents, in order.
    pub fn edus_received(&self, edu_type: &str) -> Vec<Value> {
        let state = self.lock();
        let edus = state.received.iter().flat_map(Received::edus);
        edus.filter(|edu| edu["edu_type"] == edu_type).map(|edu| edu["content"].clone()).collect()
    }

    /// The signed keys, as `/_matrix/key/v2/server` has them.
    pub fn signed_keys(&self) -> Value {
        let key = self.key();
        let mut keys = json!({
            "server_name": self.name(),
            "verify_keys": {&key.id: {"key": key.public()}},
            "old_verify_keys": {},
            "valid_until_ts": now_ms() + KEY_VALID_FOR_MS,
        });
        key.add_signature(&mut keys, self.name());
        keys
    }

    /// A public key of another server, asked of it and remembered.
    pub async fn public_key(&self, server: &str, key_id: &str) -> Option<String> {
        let slot = (server.to_owned(), key_id.to_owned());
        if let Some(key) = self.lock().keys.get(&slot) {
            return Some(key.clone());
        }
        let answer = wire::get(server, "/_matrix/key/v2/server").await.ok()?;
        let found = answer.json["verify_keys"][key_id]["key"].as_str()?.to_owned();
        self.lock().keys.insert(slot, found.clone());
        Some(found)
    }

    /// What `query/profile` answers about one of our users.
    pub fn set_profile(&self, user_id: &str, profile: Value) {
        self.lock().profiles.insert(user_id.to_owned(), profile);
    }

    /// An alias of ours.
    pub fn set_alias(&self, alias: &str, room_id: &str) {
        self.lock().aliases.insert(alias.to_owned(), room_id.to_owned());
    }

    /// What `user/devices` answers about one of our users; `user/keys/query` answers from it too.
    pub fn set_devices(&self, user_id: &str, devices: Value) {
        self.lock().devices.insert(user_id.to_owned(), devices);
    }

    /// A one-time key (`signed_curve25519:AAAA`) that somebody may claim once.
    pub fn add_one_time_key(&self, user_id: &str, device_id: &str, key_id: &str, key: Value) {
        let slot = (user_id.to_owned(), device_id.to_owned());
        self.lock().one_time_keys.entry(slot).or_default().push((key_id.to_owned(), key));
    }

    pub(super) fn with_graph<T>(&self, room_id: &str, read: impl FnOnce(&mut Graph) -> T) -> Option<T> {
        self.lock().graphs.get_mut(room_id).map(read)
    }

    pub(super) fn put_graph(&self, room_id: &str, graph: Graph) {
        self.lock().graphs.insert(room_id.to_owned(), graph);
    }

    pub(super) fn rename_graph(&self, from: &str, to: &str) {
        let mut state = self.lock();
        if let Some(graph) = state.graphs.remove(from) {
            state.graphs.insert(to.to_owned(), graph);
        }
    }

    /// The rooms that we know.
    pub fn room_ids(&self) -> Vec<String> {
        self.lock().graphs.keys().cloned().collect()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listening(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.inner.listening.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(task) = self.listening.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            task.abort();
        }
        let faults = std::mem::take(&mut self.state.get_mut().unwrap_or_else(PoisonError::into_inner).faults);
        assert!(
            std::thread::panicking() || faults.is_empty(),
            "{}: others talked to the fake server wrongly: {faults:#?}",
            self.name
        );
    }
}
