//! A room in memory: current state, memberships, where it stands, and its newest events.

mod missing;
mod servers;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use hs_model::{
    ids::{EventNid, RoomNid, StateGroupNid, UserNid},
    membership::Membership,
    records::{EventRecord, MembershipRecord, Outcome},
    stream::Position,
};
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use ruma::{OwnedEventId, OwnedRoomId, OwnedServerName, RoomVersionId, room_version_rules::RoomVersionRules};

pub(crate) use self::missing::Missing;
use crate::{relation::relation_in, state_line::StateLine, write::Queue};

/// How many of the newest events are kept in memory for each room.
const RECENT_EVENTS: usize = 50;
/// How many parents of relations are remembered for each room.
const MAX_PARENTS: usize = 2000;
/// How long it is believed that a room's history was always open.
const OPENNESS_BELIEVED: Duration = Duration::from_secs(10);

/// A room that this server holds. There is at most one value for a room in a process.
#[derive(Debug)]
pub struct Room {
    /// Its number.
    pub nid: RoomNid,
    /// Its id.
    pub room_id: OwnedRoomId,
    /// Its version.
    pub version: RoomVersionId,
    /// The rules of that version.
    pub rules: &'static RoomVersionRules,
    cached: RwLock<Cached>,
    /// Held while the state is read from the database, so that it is read once.
    pub(crate) loading: tokio::sync::Mutex<()>,
    pub(crate) queue: Mutex<Queue>,
    /// Tells those who wait for the room's members that they have come.
    pub(crate) became_whole: tokio::sync::Notify,
}

#[derive(Debug)]
enum Cached {
    /// Not read yet; news that came meanwhile.
    Unloaded(Vec<(Arc<EventRecord>, MemberChange)>),
    Loaded(Box<RoomState>),
}

/// What an event of the log does to somebody's membership.
pub(crate) type MemberChange = Option<(UserNid, Membership)>;

/// Somebody's present membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The membership.
    pub membership: Membership,
    /// The event that says so. Numbers ascend in the order of arrival.
    pub event: EventNid,
    /// From here on, at the latest, the membership has been the same.
    pub since: Position,
}

impl From<&MembershipRecord> for Member {
    fn from(row: &MembershipRecord) -> Self {
        Self { membership: row.membership, event: row.event, since: row.position }
    }
}

/// A forward extremity: an event that no other event names as its predecessor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extremity {
    /// Its number.
    pub nid: EventNid,
    /// Its id.
    pub event_id: OwnedEventId,
    /// The state after it.
    pub state: StateGroupNid,
}

/// Where a room stands, for those who append to it.
#[derive(Clone, Debug)]
pub struct Head {
    /// The version that an append must name.
    pub version: i64,
    /// The state groups that lead to the current state.
    pub line: StateLine,
    /// Events without successors.
    pub extremities: Vec<Extremity>,
    /// The greatest depth of those.
    pub depth: i64,
}

/// State events by type and state key.
pub type StateIndex = HashMap<Arc<str>, HashMap<Arc<str>, EventNid>>;

/// A change of the current state that state resolution made, and no event of the timeline by itself.
#[derive(Clone, Debug)]
pub struct Correction {
    /// Where in the log.
    pub position: Position,
    /// The event type.
    pub event_type: Arc<str>,
    /// The state key.
    pub state_key: Arc<str>,
    /// What fills the slot from here on; `None` when nothing does.
    pub event: Option<EventNid>,
    /// What filled it before.
    pub replaces: Option<EventNid>,
}

/// What is known of a room.
#[derive(Debug)]
pub struct RoomState {
    /// Where it stands; `None` when another replica has appended and the head must be read again.
    pub(crate) head: Option<Head>,
    /// Applied up to here.
    pub last_position: Position,
    /// The current state.
    pub state: StateIndex,
    /// Every user who has or had a membership.
    members: HashMap<UserNid, Member>,
    joined_count: usize,
    invited_count: usize,
    /// Nobody has left, or changed how they are not in the room, after this position.
    newest_out: Position,
    /// The newest accepted events, oldest first.
    recent: VecDeque<Arc<EventRecord>>,
    /// All accepted events after this position are in `recent`, and all corrections in `corrections`.
    recent_since: Position,
    /// The newest corrections, oldest first.
    corrections: VecDeque<Correction>,
    /// How many joined members each server has, once somebody has asked.
    servers: Option<HashMap<OwnedServerName, usize>>,
    /// Those events after `parents_since` that have children which are aggregated (and others, which does no harm).
    parents: HashSet<OwnedEventId>,
    /// Never after `recent_since`.
    parents_since: Position,
    /// Counts the changes of the history visibility.
    visibility_epoch: u64,
    /// Whether the history has always been open to members, and when that was looked up.
    openness: Option<(bool, Instant)>,
    /// What is missing of the room, or was once.
    pub(crate) missing: Missing,
}

impl RoomState {
    pub(crate) fn new(
        head: Head,
        last_position: Position,
        state: StateIndex,
        memberships: &[MembershipRecord],
    ) -> Self {
        let count = |wanted| memberships.iter().filter(|row| row.membership == wanted).count();
        let out = memberships.iter().filter(|row| row.membership != Membership::Join);
        Self {
            head: Some(head),
            last_position,
            state,
            joined_count: count(Membership::Join),
            invited_count: count(Membership::Invite),
            newest_out: out.map(|row| row.position).max().unwrap_or(Position::START),
            members: memberships.iter().map(|row| (row.user, Member::from(row))).collect(),
            recent: VecDeque::new(),
            recent_since: last_position,
            corrections: VecDeque::new(),
            servers: None,
            parents: HashSet::new(),
            parents_since: last_position,
            visibility_epoch: 0,
            openness: None,
            missing: Missing::Nothing,
        }
    }

    /// The event that fills a state slot.
    pub fn state_event(&self, event_type: &str, state_key: &str) -> Option<EventNid> {
        self.state.get(event_type)?.get(state_key).copied()
    }

    /// A user's membership.
    pub fn membership(&self, user: UserNid) -> Option<Membership> {
        self.members.get(&user).map(|member| member.membership)
    }

    /// How many users are joined.
    pub fn joined_count(&self) -> usize {
        self.joined_count
    }

    /// How many users are invited.
    pub fn invited_count(&self) -> usize {
        self.invited_count
    }

    /// Every user who has or had a membership.
    pub fn members(&self) -> impl Iterator<Item = (UserNid, Member)> {
        self.members.iter().map(|(user, member)| (*user, *member))
    }

    fn set_membership(&mut self, user: UserNid, membership: Membership, event: EventNid, at: Position) {
        let before = self.members.get(&user).copied();
        let since = before.filter(|before| before.membership == membership).map_or(at, |before| before.since);
        self.members.insert(user, Member { membership, event, since });
        if membership != Membership::Join {
            self.newest_out = self.newest_out.max(at);
        }
        let before = before.map(|before| before.membership);
        let change = |wanted| i32::from(membership == wanted) - i32::from(before == Some(wanted));
        self.joined_count = self.joined_count.saturating_add_signed(change(Membership::Join) as isize);
        self.invited_count = self.invited_count.saturating_add_signed(change(Membership::Invite) as isize);
    }

    /// A position from which on a user has been in the room all the time; `None` when they are not in it.
    pub fn joined_since(&self, user: UserNid) -> Option<Position> {
        self.members
            .get(&user)
            .filter(|member| member.membership == Membership::Join)
            .map(|member| member.since)
    }

    /// The users who are not in the room and of whom it is not known that this was so at a position already. Costs next to
    /// nothing where nothing of that kind has happened since.
    pub(crate) fn out_since(&self, position: Position) -> Vec<UserNid> {
        if self.newest_out <= position {
            return Vec::new();
        }
        let is_news = |member: &Member| member.membership != Membership::Join && member.since > position;
        self.members().filter(|(_, member)| is_news(member)).map(|(user, _)| user).collect()
    }

    /// Whether memory knows that an event has no children which would have to be aggregated.
    ///
    /// A child that reaches this server before its parent, and before the room was read into memory, goes unnoticed: its
    /// parent is then shown without it until it is read from the database.
    pub(crate) fn is_known_childless(&self, event: &EventRecord) -> bool {
        event.position > Some(self.parents_since) && !self.parents.contains(&event.event_id)
    }

    /// Counts the changes of the history visibility that memory has seen.
    pub(crate) fn visibility_epoch(&self) -> u64 {
        self.visibility_epoch
    }

    /// Whether the history has always been open to members, if that is known. What closed it for a while may turn up later, in
    /// a past that is fetched by whatever process, so that openness is believed for a short time only.
    pub(crate) fn known_openness(&self) -> Option<bool> {
        let (is_open, since) = self.openness?;
        (!is_open || since.elapsed() < OPENNESS_BELIEVED).then_some(is_open)
    }

    pub(crate) fn set_openness(&mut self, is_always_open: bool) {
        self.openness = Some((is_always_open, Instant::now()));
    }

    /// Something was stored that may have closed the history.
    pub(crate) fn forget_openness(&mut self) {
        self.visibility_epoch += 1;
        self.openness = None;
    }

    /// The users with a membership.
    pub fn users_with(&self, membership: Membership) -> impl Iterator<Item = UserNid> {
        self.members().filter(move |(_, member)| member.membership == membership).map(|(user, _)| user)
    }

    /// The accepted events after a position, oldest first; `None` when memory does not reach back that far.
    pub fn recent_after(
        &self,
        position: Position,
    ) -> Option<impl DoubleEndedIterator<Item = &Arc<EventRecord>>> {
        (position >= self.recent_since).then(|| {
            let start = self.recent.partition_point(|event| event.position <= Some(position));
            self.recent.range(start..)
        })
    }

    /// How many events are in memory.
    pub(crate) fn recent_len(&self) -> usize {
        self.recent.len()
    }

    /// Whether every event of the room is in memory.
    pub fn has_all_events(&self) -> bool {
        self.recent_since == Position::START
    }

    /// The position of the oldest event in memory, or that up to which the room is known.
    pub(crate) fn oldest_recent(&self) -> Position {
        self.recent.front().and_then(|event| event.position).unwrap_or(self.last_position)
    }

    /// The newest accepted events in memory, newest first.
    pub fn recent(&self) -> impl Iterator<Item = &Arc<EventRecord>> {
        self.recent.iter().rev()
    }

    /// The newest accepted event in memory.
    pub fn newest(&self) -> Option<&Arc<EventRecord>> {
        self.recent.back()
    }

    /// Puts older events, read from the database, before those in memory: all accepted events after `since`. `parents` are
    /// those of them that have children.
    pub(crate) fn prepend_recent(
        &mut self,
        older: Vec<Arc<EventRecord>>,
        parents: Vec<OwnedEventId>,
        since: Position,
    ) {
        self.parents.extend(parents);
        self.parents_since = self.parents_since.min(since);
        let known = self.recent.front().and_then(|event| event.position);
        for event in older.into_iter().rev() {
            if known.is_none_or(|known| event.position < Some(known)) {
                self.recent.push_front(event);
            }
        }
        self.recent_since = self.recent_since.min(since);
    }

    /// Takes note of an event of the log.
    pub(crate) fn apply(&mut self, event: &Arc<EventRecord>, member: MemberChange) {
        let Some(position) = event.position else { return };
        if position <= self.last_position {
            return;
        }
        self.last_position = position;
        if event.outcome != Outcome::Accepted {
            return;
        }
        if let Some(state_key) = &event.state_key {
            self.state.entry(event.event_type.clone()).or_default().insert(state_key.clone(), event.nid);
            if let Some((user, membership)) = member {
                let before = self.membership(user);
                self.set_membership(user, membership, event.nid, position);
                self.note_server(state_key, before, membership);
            }
            if &*event.event_type == "m.room.history_visibility" {
                self.forget_openness();
            }
        }
        if let Some(relation) =
            relation_in(&event.json).filter(|relation| relation.rel_type != "m.annotation")
        {
            self.note_parent(relation.parent);
        }
        if let Some(target) = event.redacts
            && let Some(at) = self.recent.iter().position(|known| known.nid == target)
        {
            let mut redacted = EventRecord::clone(&self.recent[at]);
            redacted.redacted_by = Some(event.nid);
            self.recent[at] = Arc::new(redacted);
        }
        self.recent.push_back(event.clone());
        if self.recent.len() > RECENT_EVENTS
            && let Some(gone) = self.recent.pop_front()
        {
            self.recent_since = gone.position.unwrap_or(self.recent_since);
        }
    }

    /// Takes note of what state resolution has made of a slot. `member` is whose membership it is.
    pub(crate) fn apply_correction(&mut self, correction: Correction, member: Option<(UserNid, Membership)>) {
        if correction.position <= self.last_position {
            return;
        }
        self.last_position = correction.position;
        let slots = self.state.entry(correction.event_type.clone()).or_default();
        match correction.event {
            Some(event) => slots.insert(correction.state_key.clone(), event),
            None => slots.remove(&correction.state_key),
        };
        if let Some((user, membership)) = member
            && let Some(event) = correction.event.or(correction.replaces)
        {
            self.set_membership(user, membership, event, correction.position);
        }
        if &*correction.event_type == "m.room.member" {
            self.servers = None;
        }
        if &*correction.event_type == "m.room.history_visibility" {
            self.forget_openness();
        }
        self.corrections.push_back(correction);
        if self.corrections.len() > RECENT_EVENTS
            && let Some(gone) = self.corrections.pop_front()
        {
            self.recent_since = self.recent_since.max(gone.position);
            let since = self.recent_since;
            self.recent.retain(|event| event.position > Some(since));
        }
    }

    /// The corrections after a position, oldest first; complete where [`recent_after`](Self::recent_after) is.
    pub fn corrections_after(&self, position: Position) -> impl Iterator<Item = &Correction> {
        self.corrections.iter().filter(move |correction| correction.position > position)
    }

    fn note_parent(&mut self, parent: OwnedEventId) {
        if self.parents.len() >= MAX_PARENTS {
            let recent: HashSet<_> = self.recent.iter().map(|event| &event.event_id).collect();
            self.parents.retain(|parent| recent.contains(parent));
            self.parents_since = self.recent_since;
        }
        self.parents.insert(parent);
    }
}

impl Room {
    pub(crate) fn new(
        nid: RoomNid,
        room_id: OwnedRoomId,
        version: RoomVersionId,
        rules: &'static RoomVersionRules,
    ) -> Self {
        Self {
            nid,
            room_id,
            version,
            rules,
            cached: RwLock::new(Cached::Unloaded(Vec::new())),
            loading: tokio::sync::Mutex::new(()),
            queue: Mutex::default(),
            became_whole: tokio::sync::Notify::new(),
        }
    }

    /// Looks at the state. Must not be held across an `await`.
    ///
    /// # Panics
    /// When the room is not loaded: `Rooms` hands out loaded rooms only.
    pub fn read(&self) -> RoomReadGuard<'_> {
        RoomReadGuard(self.cached.read())
    }

    pub(crate) fn is_loaded(&self) -> bool {
        matches!(*self.cached.read(), Cached::Loaded(_))
    }

    /// Keeps what was read, and catches up with the news that came meanwhile.
    pub(crate) fn fill(&self, mut state: RoomState) {
        let mut cached = self.cached.write();
        if let Cached::Unloaded(news) = &*cached {
            for (event, member) in news {
                if event.position > Some(state.last_position) {
                    state.apply(event, *member);
                    state.head = None;
                }
            }
            *cached = Cached::Loaded(Box::new(state));
        }
    }

    /// Takes note of an event of the log.
    pub(crate) fn apply(&self, event: &Arc<EventRecord>, member: MemberChange) {
        match &mut *self.cached.write() {
            Cached::Unloaded(news) => news.push((event.clone(), member)),
            Cached::Loaded(state) => state.apply(event, member),
        }
    }

    /// Replaces what memory holds of the room.
    pub(crate) fn replace(&self, state: RoomState) {
        let mut cached = self.cached.write();
        if let Cached::Loaded(known) = &*cached
            && known.last_position > state.last_position
        {
            return;
        }
        *cached = Cached::Loaded(Box::new(state));
        drop(cached);
        self.became_whole.notify_waiters();
    }

    /// Changes the state under the lock. Does nothing while the room is not loaded.
    pub(crate) fn update(&self, change: impl FnOnce(&mut RoomState)) {
        if let Cached::Loaded(state) = &mut *self.cached.write() {
            change(state);
        }
    }
}

/// Access to the state of a loaded room.
pub struct RoomReadGuard<'a>(RwLockReadGuard<'a, Cached>);

impl std::ops::Deref for RoomReadGuard<'_> {
    type Target = RoomState;

    fn deref(&self) -> &RoomState {
        match &*self.0 {
            Cached::Loaded(state) => state,
            Cached::Unloaded(_) => unreachable!("rooms are loaded before they are handed out"),
        }
    }
}
