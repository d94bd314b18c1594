//! Keeping the tables up to what the log says.

use std::{
    collections::{HashMap, HashSet},
    future::{Future, ready},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use hs_model::{
    ids::{EventNid, RoomNid, UserNid},
    records::{EventRecord, Outcome},
    stream::Position,
};
use hs_storage::{
    StorageError, Store, Txn,
    log::{LogEntry, LogKind},
    search::{IndexedEvent, SearchField, SearchState},
    tail::LogApplier,
    user_directory::{DirectoryUser, KnownUser},
};
use ruma::UserId;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Notify;

use crate::words::{fold, vector};

const LEASE_NAME: &str = "search-index";
/// How long a holder that works no longer keeps others from the index: less than a search waits for it. That two never work at
/// once is the affair of a lock on the row that says how far the index is.
const LEASE: Duration = Duration::from_secs(2);
/// How long to wait while another replica is at it.
const PAUSE: Duration = Duration::from_millis(500);
/// How long to wait for more after something has happened, so that the index is written in batches; a search does not wait for
/// it, except for one at another replica.
const GATHER: Duration = Duration::from_millis(300);
/// How often to look at the log when there was nothing to index, so that the follower does not fall behind it.
const POLL_INTERVAL: Duration = Duration::from_secs(30);
/// How many entries of the log, events, users or rooms are worked on at once.
const BATCH: i64 = 1000;
/// How long a search waits for the index to know what was written before it.
const MAX_WAIT: Duration = Duration::from_secs(4);
/// How often it looks meanwhile.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// The index. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Search {
    pub(crate) store: Store,
    /// This process, as the holder of the lease.
    holder: String,
    news: Arc<News>,
}

/// What the log has told this process.
#[derive(Debug, Default)]
struct News {
    /// Where the last change stands that the index has to know.
    position: AtomicI64,
    /// Up to where this process has brought the index; negative while another replica keeps it.
    indexed: AtomicI64,
    wake: Notify,
    /// Somebody searches.
    hurry: Notify,
}

/// What a step of the work has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Something was done, and there is more.
    More,
    /// Everything is done.
    Done,
    /// Another replica is at it.
    NotOurs,
}

impl Search {
    /// An index in `store`; `holder` names this process.
    pub fn new(store: Store, holder: String) -> Self {
        Self { store, holder, news: Arc::default() }
    }

    /// What must be registered with the log before it is followed.
    pub fn applier(&self) -> Arc<dyn LogApplier> {
        self.news.clone()
    }

    /// Keeps the index up to date until the future is dropped.
    pub async fn run(&self) -> Result<(), StorageError> {
        loop {
            match self.step().await? {
                Progress::More => {}
                // Until it is done, whoever does it: the other one may have died.
                Progress::NotOurs => tokio::time::sleep(PAUSE).await,
                Progress::Done => {
                    // Running out of time is as good as being woken.
                    let _ = tokio::time::timeout(POLL_INTERVAL, self.news.wake.notified()).await;
                    let _ = tokio::time::timeout(GATHER, self.news.hurry.notified()).await;
                }
            }
        }
    }

    /// Returns when the index knows everything that had been written, as far as this process knew, when it was called; or
    /// after a while, since a search that lacks the newest message is better than none.
    pub async fn catch_up(&self) -> Result<(), StorageError> {
        let wanted = Position(self.news.position.load(Ordering::Acquire));
        let deadline = tokio::time::Instant::now() + MAX_WAIT;
        loop {
            let state = self.store.reader().await?.find_search_state().await?;
            if state.position >= wanted || tokio::time::Instant::now() >= deadline {
                return Ok(());
            }
            self.news.hurry.notify_one();
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Empties the index, to be filled anew by whoever holds the lease.
    pub async fn request_rebuild(&self) -> Result<(), StorageError> {
        let mut txn = self.store.begin().await?;
        txn.reset_search().await?;
        txn.commit().await
    }

    /// How many positions of the log this process is known to have left, while it keeps the index; `None` while another
    /// replica does.
    pub fn lag(&self) -> Option<i64> {
        let indexed = self.news.indexed.load(Ordering::Relaxed);
        (indexed >= 0).then(|| (self.store.applied().0 - indexed).max(0))
    }

    /// How far the index has come.
    pub async fn state(&self) -> Result<SearchState, StorageError> {
        self.store.reader().await?.find_search_state().await
    }

    /// Does a piece of the work, in one transaction.
    pub async fn step(&self) -> Result<Progress, StorageError> {
        let mut txn = self.store.begin().await?;
        if !txn.acquire_lease(LEASE_NAME, &self.holder, LEASE).await? {
            txn.rollback().await?;
            self.news.indexed.store(-1, Ordering::Relaxed);
            return Ok(Progress::NotOurs);
        }
        let before = txn.lock_search_state().await?;
        let mut state = before;
        let entries = txn.list_log(before.position, BATCH).await?;
        if entries.first().is_some_and(|first| first.position > Position(before.position.0 + 1)) {
            // The log was pruned further than the follower had come: what it said is in the tables alone.
            tracing::warn!("the search index has fallen behind the log; it is built anew");
            txn.reset_search().await?;
            txn.commit().await?;
            return Ok(Progress::More);
        }
        let changes = Changes::read(&entries);
        changes.write(&mut txn).await?;
        state.position = entries.last().map_or(before.position, |last| last.position);
        self.news.indexed.store(state.position.0, Ordering::Relaxed);
        let is_behind = entries.len() as i64 == BATCH;
        if !is_behind {
            rebuild(&mut txn, &mut state).await?;
        }
        if state == before {
            txn.rollback().await?;
            return Ok(Progress::Done);
        }
        txn.set_search_state(&state).await?;
        txn.commit().await?;
        Ok(if is_behind || !state.is_rebuilt() { Progress::More } else { Progress::Done })
    }
}

impl LogApplier for News {
    fn apply<'a>(&'a self, entries: &'a [LogEntry]) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        if let Some(last) = entries.iter().rev().find(|entry| concerns_index(entry)) {
            self.position.store(last.position.0, Ordering::Release);
            self.wake.notify_one();
        }
        Box::pin(ready(()))
    }
}

fn concerns_index(entry: &LogEntry) -> bool {
    match entry.kind {
        LogKind::Event => entry.event.as_ref().is_some_and(|event| {
            event.redacts.is_some() || event.state_key.is_some() || field_of(&event.event_type).is_some()
        }),
        LogKind::Profile | LogKind::Session => true,
        _ => false,
    }
}

fn field_of(event_type: &str) -> Option<SearchField> {
    match event_type {
        "m.room.message" => Some(SearchField::Body),
        "m.room.name" => Some(SearchField::Name),
        "m.room.topic" => Some(SearchField::Topic),
        _ => None,
    }
}

/// What a piece of the log changes.
#[derive(Default)]
struct Changes {
    events: Vec<IndexedEvent>,
    redacted: Vec<EventNid>,
    /// Members who came or changed, by their ids.
    members: HashSet<String>,
    users: HashSet<UserNid>,
    rooms: HashSet<RoomNid>,
}

impl Changes {
    fn read(entries: &[LogEntry]) -> Self {
        let mut changes = Self::default();
        for entry in entries {
            match (entry.kind, &entry.event, entry.user) {
                (LogKind::Event, Some(event), _) => changes.note_event(event),
                (LogKind::Profile | LogKind::Session, _, Some(user)) => {
                    changes.users.insert(user);
                }
                _ => {}
            }
        }
        changes
    }

    fn note_event(&mut self, event: &EventRecord) {
        self.redacted.extend(event.redacts);
        if event.outcome != Outcome::Accepted {
            return;
        }
        match (&*event.event_type, &event.state_key) {
            ("m.room.member", Some(user_id)) => {
                self.members.insert(user_id.to_string());
            }
            ("m.room.join_rules" | "m.room.history_visibility", Some(_)) => {
                self.rooms.insert(event.room);
            }
            _ => self.events.extend(indexed(event)),
        }
    }

    async fn write(self, txn: &mut Txn) -> Result<(), StorageError> {
        if !self.events.is_empty() {
            txn.upsert_indexed_events(&self.events).await?;
        }
        if !self.redacted.is_empty() {
            txn.delete_indexed_events(&self.redacted).await?;
        }
        let mut users = self.users;
        let ids: Vec<&UserId> =
            self.members.iter().filter_map(|id| <&UserId>::try_from(&**id).ok()).collect();
        if !ids.is_empty() {
            users.extend(txn.find_user_nids(&ids).await?);
        }
        let users: Vec<UserNid> = users.into_iter().collect();
        refresh_users(txn, &users).await?;
        let rooms: Vec<RoomNid> = self.rooms.into_iter().collect();
        refresh_rooms(txn, &rooms).await
    }
}

/// Goes on with building everything anew, if that is under way.
async fn rebuild(txn: &mut Txn, state: &mut SearchState) -> Result<(), StorageError> {
    if let Some(after) = state.rebuild_rooms {
        let rooms = txn.list_room_nids(after, BATCH).await?;
        refresh_rooms(txn, &rooms).await?;
        state.rebuild_rooms = rooms.last().copied();
    } else if let Some(after) = state.rebuild_users {
        let users = txn.list_user_nids(after, BATCH).await?;
        refresh_users(txn, &users).await?;
        state.rebuild_users = users.last().copied();
    } else if let Some(after) = state.rebuild_events {
        let nids = txn.list_searchable_events(after, BATCH).await?;
        let events = txn.list_events(&nids).await?;
        let indexed: Vec<IndexedEvent> = events.iter().filter_map(|event| indexed(event)).collect();
        if !indexed.is_empty() {
            txn.upsert_indexed_events(&indexed).await?;
        }
        state.rebuild_events = nids.last().copied();
    }
    Ok(())
}

/// The words of an event; `None` when it has none.
fn indexed(event: &EventRecord) -> Option<IndexedEvent> {
    #[derive(Deserialize)]
    struct Event {
        content: Content,
    }
    #[derive(Deserialize)]
    struct Content {
        #[serde(default)]
        body: Value,
        #[serde(default)]
        name: Value,
        #[serde(default)]
        topic: Value,
        #[serde(default, rename = "m.topic")]
        rich_topic: Value,
    }
    let field = field_of(&event.event_type)?;
    let position = event.position.filter(|_| event.redacted_by.is_none())?;
    // Whether it is state must fit its type, or anybody could put words into a room's name.
    if event.state_key.is_some() != (field != SearchField::Body) {
        return None;
    }
    let content = serde_json::from_str::<Event>(&event.json).ok()?.content;
    let words = match field {
        SearchField::Body => vector(&[(content.body.as_str()?, 'D')]),
        SearchField::Name => vector(&[(content.name.as_str()?, 'D')]),
        SearchField::Topic => {
            let topic = content.topic.as_str().unwrap_or_default();
            vector(&[(topic, 'D'), (plain_topic(&content.rich_topic), 'D')])
        }
    };
    (!words.is_empty()).then_some(IndexedEvent {
        event: event.nid,
        room: event.room,
        sender: event.sender_nid,
        field,
        position,
        words,
    })
}

/// The plain text of `m.topic`.
fn plain_topic(topic: &Value) -> &str {
    let representations = topic["m.text"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_plain = |text: &&Value| text["mimetype"].as_str().is_none_or(|kind| kind == "text/plain");
    representations.iter().find(is_plain).and_then(|text| text["body"].as_str()).unwrap_or_default()
}

/// Brings what the directory says of users up to what the other tables say.
async fn refresh_users(txn: &mut Txn, users: &[UserNid]) -> Result<(), StorageError> {
    if users.is_empty() {
        return Ok(());
    }
    let known = txn.list_known_users(users).await?;
    // What remote users are called, only their member events say.
    let wanted: Vec<EventNid> =
        known.iter().filter(|user| !user.is_local).filter_map(|user| user.member_event).collect();
    let events = txn.find_events(&wanted).await?;
    let (mut listed, mut gone) = (Vec::new(), Vec::new());
    for user in known {
        let member_event = user.member_event.and_then(|nid| events.get(&nid)).map(|event| &**event);
        if user.is_deactivated || (!user.is_local && member_event.is_none()) {
            gone.push(user.user);
        } else {
            listed.push(directory_user(user, member_event));
        }
    }
    if !listed.is_empty() {
        txn.upsert_directory_users(&listed).await?;
    }
    if !gone.is_empty() {
        txn.delete_directory_users(&gone).await?;
    }
    Ok(())
}

fn directory_user(user: KnownUser, member_event: Option<&EventRecord>) -> DirectoryUser {
    #[derive(Deserialize)]
    struct Event {
        content: HashMap<String, Value>,
    }
    let text = |value: Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let (display_name, avatar_url) = if user.is_local {
        let parsed = |json: Option<String>| json.and_then(|json| text(serde_json::from_str(&json).ok()?));
        (parsed(user.displayname), parsed(user.avatar_url))
    } else {
        let member = member_event.filter(|event| event.redacted_by.is_none());
        let content = member.and_then(|event| serde_json::from_str::<Event>(&event.json).ok());
        let mut content = content.map(|event| event.content).unwrap_or_default();
        (content.remove("displayname").and_then(text), content.remove("avatar_url").and_then(text))
    };
    // Postgres takes no U+0000 in texts.
    let display_name = display_name.map(|name| name.replace('\0', ""));
    let avatar_url = avatar_url.map(|url| url.replace('\0', ""));
    let (localpart, server) =
        user.user_id.trim_start_matches('@').split_once(':').unwrap_or((&user.user_id, ""));
    let name = display_name.as_deref().unwrap_or_default();
    DirectoryUser {
        user: user.user,
        words: vector(&[(name, 'A'), (localpart, 'A'), (server, 'D')]),
        name_key: fold(name.trim()),
        localpart: localpart.to_owned(),
        display_name,
        avatar_url,
    }
}

/// Finds out which rooms are open to everybody.
async fn refresh_rooms(txn: &mut Txn, rooms: &[RoomNid]) -> Result<(), StorageError> {
    #[derive(Deserialize)]
    struct Event {
        content: HashMap<String, Value>,
    }
    if rooms.is_empty() {
        return Ok(());
    }
    let openness = txn.list_openness(rooms).await?;
    let nids: Vec<EventNid> = openness.values().flatten().copied().collect();
    let events = txn.find_events(&nids).await?;
    let is_open = |nid: &EventNid| {
        let event = events.get(nid).filter(|event| event.redacted_by.is_none())?;
        let content = serde_json::from_str::<Event>(&event.json).ok()?.content;
        let says = |key: &str, value: &str| content.get(key).is_some_and(|said| said == value);
        Some(says("join_rule", "public") || says("history_visibility", "world_readable"))
    };
    let open: Vec<RoomNid> = openness
        .iter()
        .filter(|(_, events)| events.iter().any(|nid| is_open(nid) == Some(true)))
        .map(|(room, _)| *room)
        .collect();
    txn.set_open_rooms(rooms, &open).await
}
