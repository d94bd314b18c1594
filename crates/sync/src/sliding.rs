//! Simplified sliding sync: `POST /_matrix/client/v4/sync` and its unstable dialect.
//!
//! Start with `build`: it finds the rooms that a request is about (`lists.rs`), decides which of them have news for this
//! connection (`connection.rs` knows what was sent), and makes their parts of the response (`room.rs`) and those of the
//! extensions.
//!
//! Invariants:
//! - A response is made of the state that its `pos` names, and nothing else that earlier requests have left behind: a
//!   request that is repeated is answered again, by any replica.
//! - A new state is written only when another room or more of a room was sent, or a room fell behind; news of live rooms
//!   writes nothing.
//!
//! <https://github.com/matrix-org/matrix-spec-proposals/pull/4186>

mod config;
mod connection;
mod extensions;
mod lists;
mod profiles;
mod request;
mod response;
mod room;
mod room_facts;
mod state_view;
mod user_facts;

use std::{
    collections::{HashMap, HashSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use hs_model::{
    ids::RoomNid,
    membership::Membership,
    stream::{ConnectionToken, Position},
};
use hs_push::JoinedRoom;
use hs_rooms::{
    client_event::{Format, Viewer},
    people::IgnoredUsers,
};
use hs_storage::StorageError;

use self::{
    config::Wanted,
    connection::{Connection, SentRoom, Shown, State},
    lists::{Reason, Selection},
    response::ListResult,
    room::{Built, Plan},
    user_facts::{Departure, UserFacts},
};
pub use self::{
    config::{RoomConfig, StatePattern, StateRule},
    request::{Dialect, Extensions, Filters, List, Profiles, Request, RoomScope, ToDevice},
    response::Response,
};
pub(crate) use self::{
    connection::Connections, room::ConnectionKey, room_facts::RoomFactsCache, user_facts::UserFactsCache,
};
use crate::{
    feed::{Snapshot, Stay},
    service::Inner,
};

/// How many rooms of a response are made at the same time, while some of them wait for the database.
const ROOMS_AT_ONCE: usize = 6;

/// What every part of a response needs to know.
struct Context<'a> {
    inner: &'a Inner,
    request: &'a Request,
    connection: &'a Connection,
    connection_key: ConnectionKey,
    /// After this; the start of the log for a new connection.
    since: Position,
    /// Up to and including this.
    until: Position,
    stays: Arc<HashMap<RoomNid, Stay>>,
    /// Rooms with news of any kind since; `None` when that is not known.
    changed_rooms: Option<HashSet<RoomNid>>,
    has_account_data: bool,
    has_threads: bool,
    has_profiles: bool,
    user_facts: Arc<UserFacts>,
    departures: HashMap<RoomNid, Departure>,
    ignored: Arc<IgnoredUsers>,
}

impl Context<'_> {
    /// Whether the user is in a room.
    fn is_joined(&self, room: RoomNid) -> bool {
        self.stays.get(&room).is_some_and(|stay| stay.membership == Membership::Join)
    }

    fn viewer(&self) -> Viewer<'_> {
        Viewer {
            user: self.request.user,
            user_id: &self.request.user_id,
            device: Some(self.request.device),
            format: Format::Client,
        }
    }
}

/// A response, and the state that the connection has after it.
#[derive(Debug)]
pub(crate) struct Answer {
    response: Response,
    position: Position,
    /// `None` when it is as before.
    state: Option<State>,
}

impl Answer {
    /// Whether there is nothing to tell.
    pub(crate) fn is_empty(&self) -> bool {
        self.response.rooms.is_empty() && self.response.extensions.is_empty()
    }

    /// The response, once what it says is noted; `None` when the device is gone.
    pub(crate) async fn finish(
        self,
        inner: &Inner,
        request: &Request,
        connection: &OpenConnection,
    ) -> Result<Option<Response>, StorageError> {
        let mut response = self.response;
        if let Some(pos) = request.pos
            && response.rooms.is_empty()
            && response.extensions.is_empty()
        {
            // Nothing was told: the client asks the same question again.
            response.pos = pos.to_string();
            return Ok(Some(response));
        }
        let base = connection.0.serial;
        let serial = match (self.state, base) {
            (None, Some(serial)) => Some(serial),
            (state, _) => {
                let state = state.unwrap_or_default();
                inner.connections.insert(&inner.store, request, base, self.position, state).await?
            }
        };
        let Some(serial) = serial else { return Ok(None) };
        response.pos = ConnectionToken { serial, position: self.position }.to_string();
        Ok(Some(response))
    }
}

/// The connection that a request belongs to.
#[derive(Debug)]
pub(crate) struct OpenConnection(Connection);

/// Finds the state that the request's `pos` names; `None` when there is none for this client.
pub(crate) async fn open(inner: &Inner, request: &Request) -> Result<Option<OpenConnection>, StorageError> {
    Ok(inner.connections.find(&inner.store, request).await?.map(OpenConnection))
}

/// Makes the response for one moment.
pub(crate) async fn build(
    inner: &Inner,
    request: &Request,
    connection: &OpenConnection,
    snapshot: Snapshot,
) -> Result<Answer, StorageError> {
    let connection = &connection.0;
    let user_facts = inner.user_facts.get(&inner.store, request.user, &snapshot).await?;
    let ignored = inner.rooms.ignored_by(request.user).await?;
    let stays = without_hidden_invites(inner, snapshot.stays, &ignored).await?;
    let departures = inner.user_facts.departures(&inner.store, request.user, &stays).await?;
    let context = Context {
        inner,
        request,
        connection,
        connection_key: connection_key(request),
        since: connection.since.unwrap_or(Position::START),
        until: snapshot.position,
        stays,
        changed_rooms: snapshot.changed_rooms.map(|rooms| rooms.into_iter().collect()),
        has_account_data: snapshot.has_account_data,
        has_threads: snapshot.has_threads,
        has_profiles: snapshot.has_profiles,
        user_facts,
        departures,
        ignored,
    };
    let listed = context.stays.iter().filter(|(nid, stay)| {
        connection.state.rooms.contains_key(nid) || lists::is_listed(&context, **nid, stay)
    });
    inner.room_facts.load(&inner.store, listed.map(|(nid, _)| *nid)).await?;
    let selection = lists::select(&context).await?;
    let plans = plan(&context, &selection);
    load_bumps(&context, &plans).await?;
    let mut built: Vec<Built> = stream::iter(plans)
        .map(|plan| room::build(&context, plan))
        .buffered(ROOMS_AT_ONCE)
        .try_filter_map(|built| std::future::ready(Ok(built)))
        .try_collect()
        .await?;
    if request.dialect == Dialect::Unstable {
        add_unread(&context, &mut built).await?;
    }
    let extensions = extensions::build(&context, &selection, &built).await?;
    let state = next_state(&context, &selection, &built);
    let mut rooms = std::collections::BTreeMap::new();
    for built in built {
        if let Some(result) = built.result {
            rooms.insert(built.room.room_id.clone(), result);
        }
    }
    let lists = selection.counts.into_iter().map(|(name, count)| (name, ListResult { count })).collect();
    let response = Response { pos: String::new(), txn_id: request.txn_id.clone(), lists, rooms, extensions };
    let mut answer = Answer { response, position: context.until, state };
    if answer.is_empty() && request.pos.is_some() {
        // Nothing will be kept of it, and whoever waits for more should not hold much.
        answer.state = None;
    }
    Ok(answer)
}

/// Invites from people whom the user ignores are as good as none, and are not counted either.
async fn without_hidden_invites(
    inner: &Inner,
    mut stays: Arc<HashMap<RoomNid, Stay>>,
    ignored: &IgnoredUsers,
) -> Result<Arc<HashMap<RoomNid, Stay>>, StorageError> {
    if ignored.is_empty() {
        return Ok(stays);
    }
    let invites = stays.values().filter(|stay| stay.membership == Membership::Invite);
    let invites: Vec<_> = invites.map(|stay| stay.event).collect();
    let events = inner.store.list_events(&invites).await?;
    let hidden: Vec<RoomNid> =
        events.iter().filter(|event| ignored.contains(&event.sender)).map(|event| event.room).collect();
    if !hidden.is_empty() {
        let visible = Arc::make_mut(&mut stays);
        for room in hidden {
            visible.remove(&room);
        }
    }
    Ok(stays)
}

/// Tells what is unread in the rooms of a response; the merged dialect leaves that to the clients.
async fn add_unread(context: &Context<'_>, built: &mut [Built]) -> Result<(), StorageError> {
    let told = built.iter().filter(|built| built.result.is_some() && built.plan.shown == Shown::Joined);
    let rooms: Vec<_> =
        told.map(|built| JoinedRoom { room: built.room.nid, room_id: &built.room.room_id }).collect();
    if rooms.is_empty() {
        return Ok(());
    }
    let unread = context.inner.push.unread(context.request.user, &rooms, context.until).await?;
    for built in built {
        if let (Some(result), Some(unread)) = (&mut built.result, unread.get(&built.room.nid)) {
            let total = unread.total();
            result.notification_count = Some(total.notification_count);
            result.highlight_count = Some(total.highlight_count);
        }
    }
    Ok(())
}

/// The same name of a connection always gives the same number.
fn connection_key(request: &Request) -> ConnectionKey {
    let mut hasher = DefaultHasher::new();
    request.conn_id.hash(&mut hasher);
    (request.device, hasher.finish())
}

/// How a user is shown a room.
fn shown(stay: &Stay) -> Shown {
    match stay.membership {
        Membership::Join => Shown::Joined,
        Membership::Invite | Membership::Knock => Shown::Stripped,
        Membership::Leave | Membership::Ban => Shown::Left,
    }
}

/// The rooms of a request that may have news.
fn plan(context: &Context<'_>, selection: &Selection) -> Vec<Plan> {
    let state = &context.connection.state;
    let lists: Vec<(&String, &List)> = context.request.lists.iter().collect();
    let subscriptions: Vec<&RoomConfig> = context.request.subscriptions.values().collect();
    let mut wanted: HashMap<Reason, (Wanted, Option<usize>)> = HashMap::new();
    let mut plans = Vec::new();
    let changed = context.inner.room_facts.with(|facts| {
        let is_changed = |nid: &RoomNid, after: Position| {
            let stay = context.stays.get(nid);
            stay.is_some_and(|stay| stay.since > after)
                || (stay.is_some_and(|stay| stay.membership == Membership::Join)
                    && facts.get(nid).is_none_or(|facts| facts.last > after))
        };
        let after = |nid: &RoomNid| {
            state.rooms.get(nid).map_or(Position::START, |sent| sent.behind.unwrap_or(context.since))
        };
        selection.rooms.keys().filter(|nid| is_changed(nid, after(nid))).copied().collect::<HashSet<_>>()
    });
    for (nid, reason) in &selection.rooms {
        let Some(stay) = context.stays.get(nid) else { continue };
        let (wanted, config) = wanted.entry(*reason).or_insert_with(|| {
            let of_lists = lists.iter().enumerate().filter(|(bit, _)| reason.lists & (1_u128 << bit) != 0);
            let configs = of_lists.map(|(_, (_, list))| &list.config);
            let subscribed = reason.subscription.and_then(|number| subscriptions.get(number).copied());
            let wanted = Wanted::union(configs.chain(subscribed));
            let config = state.find_config(&wanted.required_state);
            (wanted, config)
        });
        let shown = shown(stay);
        // Who was shown a room from outside, or as gone, is shown all of it when they come in, and the other way round.
        let sent = state
            .rooms
            .get(nid)
            .copied()
            .filter(|sent| sent.shown == shown || (sent.shown == Shown::Joined && shown == Shown::Left));
        let has_other_config =
            shown == Shown::Joined && sent.is_some_and(|sent| Some(sent.config as usize) != *config);
        let required_before = sent
            .filter(|_| has_other_config)
            .map(|sent| state.configs.get(sent.config as usize).cloned().unwrap_or_default());
        let plan = Plan {
            nid: *nid,
            stay: *stay,
            shown,
            sent,
            timeline_limit: wanted.timeline_limit,
            required: wanted.required_state.clone(),
            required_before,
            lists: Vec::new(),
        };
        let has_dm_changed = sent.is_some_and(|sent| sent.is_dm != context.user_facts.direct.contains(nid));
        let has_news = sent.is_none()
            || changed.contains(nid)
            || sent.is_some_and(|sent| sent.shown != shown)
            || has_other_config
            || (has_dm_changed && shown == Shown::Joined)
            || plan.is_expanded();
        if has_news {
            let names = lists.iter().enumerate().filter(|(bit, _)| reason.lists & (1_u128 << bit) != 0);
            plans.push(Plan { lists: names.map(|(_, (name, _))| (*name).clone()).collect(), ..plan });
        }
    }
    plans
}

/// Looks up when somebody last did something in the rooms to be sent: in memory, or for all others in one query.
async fn load_bumps(context: &Context<'_>, plans: &[Plan]) -> Result<(), StorageError> {
    let facts = &context.inner.room_facts;
    let joined = plans.iter().filter(|plan| plan.shown == Shown::Joined).map(|plan| plan.nid);
    let missing: Vec<RoomNid> = facts.without_bump(joined).into_iter().collect();
    if missing.is_empty() {
        return Ok(());
    }
    let rooms: Vec<_> = stream::iter(missing.clone())
        .map(|nid| context.inner.rooms.find_by_nid(nid))
        .buffered(ROOMS_AT_ONCE)
        .try_collect()
        .await?;
    let found: Vec<(RoomNid, Position)> = rooms
        .into_iter()
        .flatten()
        .filter_map(|room| {
            let state = room.read();
            let newest = state.recent().find(|event| room_facts::is_bumping(&event.event_type))?;
            Some((room.nid, newest.position?))
        })
        .collect();
    facts.note_bumps(&found);
    facts.load_bumps(&context.inner.store, &missing).await
}

/// What the connection has been told once this response has arrived; `None` when that is what it was told before.
fn next_state(context: &Context<'_>, selection: &Selection, built: &[Built]) -> Option<State> {
    let before = &context.connection.state;
    let mut state = State::clone(before);
    state.extensions = extensions::served(&context.request.extensions);
    for built in built {
        let plan = &built.plan;
        if built.result.is_none() && plan.sent.is_none() {
            continue;
        }
        let config = match plan.shown {
            Shown::Joined => state.config_index(&plan.required),
            Shown::Stripped | Shown::Left => state.config_index(&Arc::default()),
        };
        let sent = SentRoom {
            shown: plan.shown,
            is_dm: context.user_facts.direct.contains(&plan.nid),
            behind: None,
            data_behind: None,
            timeline: built.timeline,
            config,
        };
        state.rooms.insert(plan.nid, sent);
    }
    fall_behind(context, selection, built, &mut state);
    if state == **before {
        return None;
    }
    state.drop_unused_configs();
    Some(state)
}

/// Notes which rooms have news that this response does not hold.
fn fall_behind(context: &Context<'_>, selection: &Selection, built: &[Built], state: &mut State) {
    let told: HashSet<RoomNid> = built.iter().map(|built| built.plan.nid).collect();
    context.inner.room_facts.with(|facts| {
        for (nid, sent) in &mut state.rooms {
            if selection.rooms.contains_key(nid) {
                // Whatever there was has been told; the extensions have caught up as well.
                sent.data_behind = None;
                continue;
            }
            let Some(stay) = context.stays.get(nid) else { continue };
            let is_joined = stay.membership == Membership::Join;
            let has_news = stay.since > context.since
                || (is_joined && facts.get(nid).is_none_or(|facts| facts.last > context.since));
            if has_news && sent.behind.is_none() && !told.contains(nid) {
                sent.behind = Some(context.since);
            }
            let has_data = context.changed_rooms.as_ref().is_none_or(|changed| changed.contains(nid));
            if has_data && sent.data_behind.is_none() {
                sent.data_behind = Some(context.since);
            }
        }
    });
}
