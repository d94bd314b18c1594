//! What has changed for whom: for every user who syncs at this process, the rooms and data with news, kept up to date by
//! the log. An incremental sync asks here and looks at nothing that has not changed.
//!
//! A feed belongs to a user and knows what changed since it was made. A sync with an older token asks the database once;
//! from then on the feed answers. Feeds of users who have stopped syncing are dropped.

use std::{
    collections::{HashMap, HashSet},
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use hs_model::{
    ids::{EventNid, RoomNid, UserNid},
    membership::Membership,
    records::EventRecord,
    stream::Position,
};
use hs_rooms::Rooms;
use hs_storage::{
    StorageError, Store,
    log::{LogEntry, LogKind},
    tail::LogApplier,
};
use parking_lot::Mutex;
use tokio::sync::watch;

/// How long a feed is kept after its user's last sync.
const KEEP_IDLE: Duration = Duration::from_mins(5);
/// How many feeds exist before idle ones are looked for.
const SWEEP_AT: usize = 64;

/// A user's membership in a room, as of the feed's position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stay {
    /// The membership.
    pub(crate) membership: Membership,
    /// The member event that says so.
    pub(crate) event: EventNid,
    /// Its position.
    pub(crate) since: Position,
    /// Whether the user has forgotten the room.
    pub(crate) is_forgotten: bool,
}

/// What a sync sees of a feed: a consistent picture at one position.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// The picture holds up to here.
    pub(crate) position: Position,
    /// The user's memberships.
    pub(crate) stays: Arc<HashMap<RoomNid, Stay>>,
    /// Rooms with news after the token; `None` when the feed does not reach back that far.
    pub(crate) changed_rooms: Option<Vec<RoomNid>>,
    /// Whether account data may have changed after the token.
    pub(crate) has_account_data: bool,
    /// Whether somebody's presence may have changed after the token.
    pub(crate) has_presence: bool,
    /// Whether subscriptions to threads may have changed after the token.
    pub(crate) has_threads: bool,
    /// Whether the profile of somebody near may have changed after the token.
    pub(crate) has_profiles: bool,
    /// Account data has not changed after this.
    pub(crate) account_data_at: Position,
}

#[derive(Debug)]
struct Feed {
    /// Changes after this position are known.
    since: Position,
    stays: Arc<HashMap<RoomNid, Stay>>,
    /// When each room last changed.
    rooms: HashMap<RoomNid, Position>,
    /// When account data, global or of a room, last changed.
    account_data: Position,
    /// When anything but presence last changed.
    lasting: Position,
    /// When a subscription to a thread last changed.
    threads: Position,
    /// When the profile of somebody near last changed.
    profiles: Position,
    /// When the presence of somebody near last changed.
    presence: Position,
    /// Wakes long polls: the position of the latest change.
    latest: watch::Sender<Position>,
    used_at: Instant,
}

/// A feed that is being made: whether the user's memberships have changed since they were read.
type Making = HashMap<UserNid, bool>;

#[derive(Debug, Default)]
struct State {
    /// Everything up to here has been routed.
    position: Position,
    feeds: HashMap<UserNid, Feed>,
    /// Users with a feed, by the rooms they are joined to.
    by_room: HashMap<RoomNid, HashSet<UserNid>>,
    making: Making,
}

/// The feeds of this process.
#[derive(Clone, Debug)]
pub(crate) struct Feeds {
    store: Store,
    rooms: Rooms,
    state: Arc<Mutex<State>>,
}

impl Feeds {
    pub(crate) fn new(store: Store, rooms: Rooms) -> Self {
        Self { store, rooms, state: Arc::default() }
    }

    /// The picture for a sync from `since`, and the way to hear of later changes.
    pub(crate) async fn open(
        &self,
        user: UserNid,
        since: Position,
    ) -> Result<(Snapshot, watch::Receiver<Position>), StorageError> {
        loop {
            if let Some(opened) = self.state.lock().open(user, since) {
                return Ok(opened);
            }
            self.make(user).await?;
        }
    }

    /// Whether anything but presence has changed for a user after a position that was open before.
    pub(crate) fn has_lasting_news(&self, user: UserNid, after: Position) -> bool {
        let state = self.state.lock();
        let Some(feed) = state.feeds.get(&user) else { return true };
        feed.lasting > after
    }

    /// Begins where the log stands: must be called once, before the log is followed.
    pub(crate) fn start(&self) {
        self.state.lock().position = self.store.applied();
    }

    /// How many users have a feed.
    pub(crate) fn count(&self) -> usize {
        self.state.lock().feeds.len()
    }

    async fn make(&self, user: UserNid) -> Result<(), StorageError> {
        loop {
            self.state.lock().making.entry(user).or_insert(false);
            let rows = self.store.reader().await?.list_memberships_of_user(user).await?;
            let stays: HashMap<_, _> = rows
                .into_iter()
                .map(|row| {
                    let stay = Stay {
                        membership: row.membership,
                        event: row.event,
                        since: row.position,
                        is_forgotten: row.is_forgotten,
                    };
                    (row.room, stay)
                })
                .collect();
            let newest = stays.values().map(|stay| stay.since).max().unwrap_or_default();
            // What was read may be newer than what has been routed; the feed may not know more than its position.
            self.store.tail().wait_applied(newest).await;
            let mut state = self.state.lock();
            if state.feeds.contains_key(&user) || state.making.remove(&user) == Some(false) {
                state.add(user, stays);
                return Ok(());
            }
        }
    }

    /// The rooms that those users are joined to whose devices, presence or profile have changed; nobody has to look when nobody syncs
    /// here. `None` when they could not be looked up.
    async fn rooms_of_changed(&self, entries: &[LogEntry]) -> Option<HashMap<UserNid, Vec<RoomNid>>> {
        let users: HashSet<UserNid> =
            entries.iter().filter(|entry| is_for_neighbours(entry)).filter_map(|entry| entry.user).collect();
        let mut rooms = HashMap::new();
        let mut unknown = Vec::new();
        {
            let state = self.state.lock();
            if state.feeds.is_empty() {
                return Some(rooms);
            }
            for user in users {
                match state.joined_rooms(user) {
                    Some(joined) => {
                        rooms.insert(user, joined);
                    }
                    None => unknown.push(user),
                }
            }
        }
        if unknown.is_empty() {
            return Some(rooms);
        }
        let found = async { self.store.reader().await?.list_joined_room_nids_of(&unknown).await };
        match found.await {
            Ok(found) => {
                for (user, room) in found {
                    rooms.entry(user).or_default().push(room);
                }
                Some(rooms)
            }
            Err(error) => {
                let error: StorageError = error;
                // Then it may concern everybody.
                tracing::warn!(%error, "could not find out whom a change of devices, presence or profiles concerns");
                None
            }
        }
    }

    /// Finds out which users each entry concerns, outside the lock.
    async fn changed_member(&self, event: &EventRecord) -> Option<(UserNid, Membership)> {
        self.rooms.member_change(event).await
    }
}

impl State {
    fn open(&mut self, user: UserNid, since: Position) -> Option<(Snapshot, watch::Receiver<Position>)> {
        let position = self.position;
        let feed = self.feeds.get_mut(&user)?;
        feed.used_at = Instant::now();
        let reaches_back = since >= feed.since;
        let changed_rooms = reaches_back.then(|| {
            feed.rooms.iter().filter(|(_, changed)| **changed > since).map(|(room, _)| *room).collect()
        });
        let snapshot = Snapshot {
            position,
            stays: feed.stays.clone(),
            changed_rooms,
            has_account_data: !reaches_back || feed.account_data > since,
            has_presence: !reaches_back || feed.presence > since,
            has_threads: !reaches_back || feed.threads > since,
            has_profiles: !reaches_back || feed.profiles > since,
            account_data_at: feed.account_data.max(feed.since),
        };
        Some((snapshot, feed.latest.subscribe()))
    }

    fn add(&mut self, user: UserNid, stays: HashMap<RoomNid, Stay>) {
        if self.feeds.contains_key(&user) {
            return;
        }
        if self.feeds.len() >= SWEEP_AT && self.feeds.len().is_power_of_two() {
            self.sweep();
        }
        for (room, stay) in &stays {
            if stay.membership == Membership::Join {
                self.by_room.entry(*room).or_default().insert(user);
            }
        }
        let feed = Feed {
            since: self.position,
            stays: Arc::new(stays),
            rooms: HashMap::new(),
            account_data: Position::START,
            lasting: self.position,
            threads: Position::START,
            profiles: Position::START,
            presence: Position::START,
            latest: watch::Sender::new(self.position),
            used_at: Instant::now(),
        };
        self.feeds.insert(user, feed);
    }

    /// Drops the feeds of users who sync no longer.
    fn sweep(&mut self) {
        let by_room = &mut self.by_room;
        self.feeds.retain(|user, feed| {
            let keep = feed.latest.receiver_count() > 0 || feed.used_at.elapsed() < KEEP_IDLE;
            if !keep {
                for room in feed.stays.keys() {
                    if let Some(users) = by_room.get_mut(room) {
                        users.remove(user);
                    }
                }
            }
            keep
        });
        by_room.retain(|_, users| !users.is_empty());
    }

    fn route(&mut self, entry: &LogEntry, member: Option<(UserNid, Membership)>) {
        match (entry.kind, entry.room, entry.user) {
            (LogKind::Event | LogKind::StateRestored, Some(room), _) => self.route_event(room, entry, member),
            (LogKind::StateRemoved | LogKind::RoomReplaced, Some(room), _) => {
                self.touch_room(room, entry.position);
            }
            (LogKind::Receipt | LogKind::Typing, Some(room), _) => self.touch_room(room, entry.position),
            (LogKind::AccountData, room, Some(user)) => {
                if let Some(feed) = self.feeds.get_mut(&user) {
                    feed.account_data = entry.position;
                    feed.note(room, entry.position);
                }
            }
            (LogKind::ThreadSubscription, _, Some(user)) => {
                if let Some(feed) = self.feeds.get_mut(&user) {
                    feed.threads = entry.position;
                    feed.note(None, entry.position);
                }
            }
            (LogKind::ToDevice | LogKind::UserSignature, _, Some(user)) => self.wake(user, entry.position),
            (LogKind::RoomRecord, Some(room), Some(user)) => {
                if let Some(feed) = self.feeds.get_mut(&user)
                    && let Some(stay) = Arc::make_mut(&mut feed.stays).get_mut(&room)
                {
                    // The only such entry with a user is the forgetting of a room.
                    stay.is_forgotten = true;
                }
            }
            _ => {}
        }
    }

    fn route_event(&mut self, room: RoomNid, entry: &LogEntry, member: Option<(UserNid, Membership)>) {
        if let (Some((user, membership)), Some(event)) = (member, &entry.event) {
            if let Some(changed) = self.making.get_mut(&user) {
                *changed = true;
            }
            if let Some(feed) = self.feeds.get_mut(&user) {
                let stay = Stay { membership, event: event.nid, since: entry.position, is_forgotten: false };
                Arc::make_mut(&mut feed.stays).insert(room, stay);
                feed.note(Some(room), entry.position);
                let users = self.by_room.entry(room).or_default();
                if membership == Membership::Join {
                    users.insert(user);
                } else {
                    users.remove(&user);
                }
            }
        }
        self.touch_room(room, entry.position);
    }

    fn touch_room(&mut self, room: RoomNid, position: Position) {
        if let Some(users) = self.by_room.get(&room) {
            for user in users {
                if let Some(feed) = self.feeds.get_mut(user) {
                    feed.note(Some(room), position);
                }
            }
        }
    }

    /// Something came for a user that is kept elsewhere.
    fn wake(&mut self, user: UserNid, position: Position) {
        if let Some(feed) = self.feeds.get_mut(&user) {
            feed.note(None, position);
        }
    }

    /// Whom it concerns that something about a user has changed: the user, and those in the rooms given; everybody, when it is
    /// not known in which rooms the user is.
    fn concerned(&self, user: UserNid, rooms: Option<&[RoomNid]>) -> HashSet<UserNid> {
        let mut concerned = HashSet::from([user]);
        match rooms {
            Some(rooms) => {
                concerned.extend(rooms.iter().filter_map(|room| self.by_room.get(room)).flatten());
            }
            None => concerned.extend(self.feeds.keys()),
        }
        concerned
    }

    /// Routes what concerns those who share a room with a user.
    fn route_to_neighbours(&mut self, entry: &LogEntry, rooms: Option<&[RoomNid]>) {
        let (Some(user), position) = (entry.user, entry.position) else { return };
        if !is_for_neighbours(entry) {
            return;
        }
        for user in self.concerned(user, rooms) {
            let Some(feed) = self.feeds.get_mut(&user) else { continue };
            match entry.kind {
                LogKind::Presence => {
                    feed.presence = position;
                    feed.latest.send_replace(position);
                    continue;
                }
                LogKind::Profile => feed.profiles = position,
                _ => {}
            }
            feed.note(None, position);
        }
    }

    /// The rooms that a user who has a feed is joined to.
    fn joined_rooms(&self, user: UserNid) -> Option<Vec<RoomNid>> {
        let stays = &self.feeds.get(&user)?.stays;
        let joined = stays.iter().filter(|(_, stay)| stay.membership == Membership::Join);
        Some(joined.map(|(room, _)| *room).collect())
    }
}

/// Whether an entry concerns those who share a room with its user.
fn is_for_neighbours(entry: &LogEntry) -> bool {
    matches!(entry.kind, LogKind::DeviceList | LogKind::Presence | LogKind::Profile)
}

impl Feed {
    fn note(&mut self, room: Option<RoomNid>, position: Position) {
        if let Some(room) = room {
            self.rooms.insert(room, position);
        }
        self.lasting = position;
        self.latest.send_replace(position);
    }
}

impl LogApplier for Feeds {
    fn apply<'a>(&'a self, entries: &'a [LogEntry]) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async move {
            let rooms = self.rooms_of_changed(entries).await;
            for entry in entries {
                let member = match &entry.event {
                    Some(event) => self.changed_member(event).await,
                    None => None,
                };
                let mut state = self.state.lock();
                state.route(entry, member);
                let rooms = rooms.as_ref().map(|rooms| {
                    let of_user = entry.user.and_then(|user| rooms.get(&user));
                    of_user.map_or(&[][..], Vec::as_slice)
                });
                state.route_to_neighbours(entry, rooms);
                state.position = entry.position;
            }
        })
    }
}
