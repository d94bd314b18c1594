//! One room of the response.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use hs_model::{
    ids::{DeviceNid, EventNid, RoomNid},
    membership::Membership,
    records::EventRecord,
    stream::{Position, RoomStreamToken},
};
use hs_rooms::{
    Room,
    client_event::{RoomId, stripped, visible_content},
};
use hs_storage::StorageError;
use serde::Deserialize;

use super::{
    Context,
    config::{MEMBER, RequiredState},
    connection::{SentRoom, Shown},
    request::Dialect,
    response::{Hero, RoomResult},
    state_view::StateView,
};
use crate::{
    feed::Stay,
    v3::{
        left::membership_before,
        state::changes,
        stripped::shown_state,
        summary::heroes,
        timeline::{Range, before, page},
    },
};

/// How many more events are read when the newest turned out to be hidden from the user, and how often.
const HIDDEN_PAGE_SIZE: usize = 100;
const MAX_PAGES: usize = 5;

/// Who was sent member events: a connection of a device.
pub(crate) type ConnectionKey = (DeviceNid, u64);

/// A room that is to be looked at, and why.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) nid: RoomNid,
    pub(super) stay: Stay,
    pub(super) shown: Shown,
    /// What was sent before; `None` when the room is sent as if it were new.
    pub(super) sent: Option<SentRoom>,
    pub(super) timeline_limit: u16,
    pub(super) required: Arc<RequiredState>,
    /// What was required before, where that was something else.
    pub(super) required_before: Option<Arc<RequiredState>>,
    /// The names of the lists that hold the room.
    pub(super) lists: Vec<String>,
}

impl Plan {
    /// After this, news has not been sent.
    fn after(&self, context: &Context<'_>) -> Position {
        self.sent.map_or(Position::START, |sent| sent.behind.unwrap_or(context.since))
    }

    /// Whether the client wants to see more of the past than it has.
    pub(super) fn is_expanded(&self) -> bool {
        self.shown == Shown::Joined && self.sent.is_some_and(|sent| self.timeline_limit > sent.timeline)
    }
}

/// A room as it is sent, and how much of its timeline the client then has.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) plan: Plan,
    pub(super) room: Arc<Room>,
    /// `None` when there is nothing to tell.
    pub(super) result: Option<RoomResult>,
    pub(super) timeline: u16,
    /// The events of the timeline, for receipts on them.
    pub(super) events: Vec<Arc<EventRecord>>,
    /// Users whose member events are in the response.
    pub(super) members: Vec<Arc<str>>,
}

/// Makes a room's part of the response.
pub(super) async fn build(context: &Context<'_>, plan: Plan) -> Result<Option<Built>, StorageError> {
    let Some(room) = context.inner.rooms.find_by_nid(plan.nid).await? else { return Ok(None) };
    let plan = if is_shown_anew(context, &plan, &room) { Plan { sent: None, ..plan } } else { plan };
    let was_there = match plan.shown {
        Shown::Joined => true,
        Shown::Stripped => false,
        Shown::Left => {
            plan.sent.is_some_and(|sent| sent.shown == Shown::Joined)
                || membership_before(context.inner, &room, &plan.stay).await? == Some(Membership::Join)
        }
    };
    let mut built =
        if was_there { inside(context, plan, room).await? } else { outside(context, plan, room).await? };
    let plan = &built.plan;
    if let Some(result) = &mut built.result
        && context.request.dialect == Dialect::V4
    {
        result.membership = Some(plan.stay.membership.as_str());
        result.lists.clone_from(&plan.lists);
    }
    Ok(Some(built))
}

/// Whether a room's members have become known since it was sent: then it is sent as if it were new.
fn is_shown_anew(context: &Context<'_>, plan: &Plan, room: &Room) -> bool {
    let since = room.read().whole_since();
    plan.sent.is_some() && since.is_some_and(|since| plan.after(context) < since && since <= context.until)
}

/// A room that the user is or was in.
async fn inside(context: &Context<'_>, plan: Plan, room: Arc<Room>) -> Result<Built, StorageError> {
    let until = if plan.shown == Shown::Left { plan.stay.since } else { context.until };
    let is_initial = plan.sent.is_none();
    let after = plan.after(context);
    let is_expanded = plan.is_expanded();
    let range = Range {
        after: if is_expanded { Position::START } else { after },
        until,
        may_be_hidden: is_initial || is_expanded || plan.stay.since > after || plan.shown == Shown::Left,
    };
    let timeline = Timeline::read(context, &room, range, usize::from(plan.timeline_limit)).await?;
    let changed =
        if is_initial { Vec::new() } else { changes(context.inner, &room, &[], after, until).await? };
    let view = StateView::at(context.inner, &room, until).await?;
    let state = required_state(context, &plan, &room, &view, &timeline, &changed).await?;

    let has_changed =
        |event_type: &str| is_initial || changed.iter().any(|event| &*event.event_type == event_type);
    let mut result = RoomResult { initial: is_initial.then_some(true), ..RoomResult::default() };
    add_names(context, &room, &view, &has_changed, is_initial, &mut result).await?;
    let is_direct = context.user_facts.direct.contains(&room.nid);
    if plan.sent.is_none_or(|sent| sent.is_dm != is_direct) && (is_direct || !is_initial) {
        result.is_dm = Some(is_direct);
    }
    let num_live = timeline.events.iter().filter(|event| event.position > Some(context.since)).count();
    let has_news = is_initial
        || !timeline.events.is_empty()
        || timeline.is_limited
        || !state.is_empty()
        || !changed.is_empty()
        || result.is_dm.is_some();
    let bump = bump_stamp(context, &plan);
    if is_initial || bump.is_some_and(|bump| bump > after) {
        result.bump_stamp = bump.map(|position| position.0);
    }
    if is_initial || !timeline.events.is_empty() || timeline.is_limited {
        result.prev_batch = Some(timeline.prev_batch().to_string());
        result.num_live = Some(if context.request.pos.is_some() { num_live } else { 0 });
        result.limited = Some(timeline.is_limited);
    }
    if is_expanded && !timeline.events.is_empty() {
        match context.request.dialect {
            Dialect::Unstable => result.unstable_expanded_timeline = Some(true),
            Dialect::V4 => result.expanded_timeline = Some(true),
        }
    }
    let (rooms, viewer) = (&context.inner.rooms, context.viewer());
    result.required_state = rooms.render(&room, &state, &viewer, RoomId::Omitted).await?;
    result.timeline = rooms.render(&room, &timeline.events, &viewer, RoomId::Omitted).await?;
    let members = state.iter().filter(|event| &*event.event_type == "m.room.member");
    let known = if is_initial || is_expanded { None } else { plan.sent.map(|sent| sent.timeline) };
    Ok(Built {
        timeline: timeline.known_after(plan.timeline_limit, known),
        result: has_news.then_some(result),
        events: timeline.events,
        members: members.filter_map(|event| event.state_key.clone()).collect(),
        plan,
        room,
    })
}

/// A room that the user is invited to, has asked to join, or was not let into.
async fn outside(context: &Context<'_>, plan: Plan, room: Arc<Room>) -> Result<Built, StorageError> {
    let mut result = RoomResult {
        initial: plan.sent.is_none().then_some(true),
        bump_stamp: Some(plan.stay.since.0),
        ..RoomResult::default()
    };
    let is_direct = context.user_facts.direct.contains(&room.nid);
    result.is_dm = (is_direct || plan.sent.is_some_and(|sent| sent.is_dm)).then_some(is_direct);
    let mut events = Vec::new();
    let is_v4 = context.request.dialect == Dialect::V4;
    if plan.shown == Shown::Stripped {
        if !context.ignored.is_empty() {
            let own = context.inner.store.list_events(&[plan.stay.event]).await?;
            if own.iter().any(|event| context.ignored.contains(&event.sender)) {
                return Ok(Built { result: None, timeline: 0, events, members: Vec::new(), plan, room });
            }
        }
        let state = shown_state(context.inner, &room, &plan.stay).await?;
        *if is_v4 { &mut result.stripped_state } else { &mut result.invite_state } = Some(state);
    } else {
        // Whoever was never in the room is told no more than how it ended.
        events = context.inner.store.list_events(&[plan.stay.event]).await?;
        let viewer = context.viewer();
        let rendered = context.inner.rooms.render(&room, &events, &viewer, RoomId::Omitted).await?;
        if is_v4 {
            let own = events.iter().map(|event| stripped(&room, event)).collect::<Result<_, _>>()?;
            result.stripped_state = Some(own);
        }
        result.required_state.clone_from(&rendered);
        result.timeline = rendered;
    }
    Ok(Built { result: Some(result), timeline: 0, events, members: Vec::new(), plan, room })
}

/// When somebody last did something in a room.
fn bump_stamp(context: &Context<'_>, plan: &Plan) -> Option<Position> {
    if plan.shown != Shown::Joined {
        return Some(plan.stay.since);
    }
    context.inner.room_facts.with(|facts| facts.get(&plan.nid).and_then(|facts| facts.bump))
}

/// The state that goes with a timeline.
async fn required_state(
    context: &Context<'_>,
    plan: &Plan,
    room: &Room,
    view: &StateView<'_>,
    timeline: &Timeline,
    changed: &[Arc<EventRecord>],
) -> Result<Vec<Arc<EventRecord>>, StorageError> {
    let is_initial = plan.sent.is_none();
    let wanted = &plan.required;
    let is_wanted = |event: &&Arc<EventRecord>| {
        event.state_key.as_deref().is_some_and(|key| wanted.matches(&event.event_type, key))
    };
    let mut nids: BTreeSet<EventNid> = changed.iter().filter(is_wanted).map(|event| event.nid).collect();
    if is_initial {
        nids.extend(view.select(wanted, None));
    } else if let Some(before) = &plan.required_before {
        nids.extend(view.select(wanted, Some(before)));
    }
    let reader = context.connection_key;
    let lazy = &context.inner.sliding_members;
    if is_initial {
        lazy.forget(reader, plan.nid);
    }
    if wanted.is_lazy() {
        let mut members = lazy_members(view, timeline, changed);
        members.retain(|nid| !nids.contains(nid));
        // What a client was sent before it asked for more, or started anew, need not be what it has kept.
        let is_plain = !is_initial && !plan.is_expanded() && plan.required_before.is_none();
        if is_plain {
            let after = plan.after(context);
            members.retain(|nid| !lazy.is_known(reader, plan.nid, *nid, after));
        }
        // The members of whom the client hears by these are known from this response on.
        lazy.note(reader, plan.nid, members.iter().copied(), context.until);
        nids.extend(members);
    }
    let nids: Vec<EventNid> = nids.into_iter().collect();
    let mut events = context.inner.store.list_events(&nids).await?;
    events.retain(|event| event.room == room.nid);
    Ok(events)
}

/// The members that a timeline needs to be shown, and, where it has no gap, all whose membership has changed.
fn lazy_members(
    view: &StateView<'_>,
    timeline: &Timeline,
    changed: &[Arc<EventRecord>],
) -> HashSet<EventNid> {
    let is_member = |event: &&Arc<EventRecord>| &*event.event_type == MEMBER;
    let mut users: HashSet<&str> = timeline.events.iter().map(|event| event.sender.as_str()).collect();
    users.extend(timeline.events.iter().filter(is_member).filter_map(|event| event.state_key.as_deref()));
    let mut members: HashSet<EventNid> =
        users.into_iter().filter_map(|user| view.get(MEMBER, user)).collect();
    if !timeline.is_limited {
        members.extend(changed.iter().filter(is_member).map(|event| event.nid));
    }
    members
}

/// Name, avatar, heroes and counts, as far as they may have changed.
async fn add_names(
    context: &Context<'_>,
    room: &Arc<Room>,
    view: &StateView<'_>,
    has_changed: &(impl Fn(&str) -> bool + Sync),
    is_initial: bool,
    result: &mut RoomResult,
) -> Result<(), StorageError> {
    #[derive(Deserialize)]
    struct Named {
        name: Option<String>,
    }
    #[derive(Deserialize)]
    struct Pictured {
        url: Option<String>,
    }
    let store = &context.inner.store;
    let slot = |event_type: &str| view.get(event_type, "");
    let mut name = None;
    if let Some(nid) = slot("m.room.name")
        && let Some(event) = store.list_events(&[nid]).await?.pop()
    {
        let content = visible_content(room, &event);
        name = serde_json::from_str::<Named>(content.get()).ok().and_then(|content| content.name);
        name = name.filter(|name| !name.is_empty());
    }
    let has_members_changed = has_changed(MEMBER);
    let has_name_changed = has_changed("m.room.name");
    if has_name_changed && (name.is_some() || !is_initial) {
        result.name = Some(name.clone().into());
    }
    if has_changed("m.room.avatar") {
        let nid = slot("m.room.avatar");
        let mut url = None;
        if let Some(event) = store.list_events(nid.as_slice()).await?.pop() {
            let content = visible_content(room, &event);
            url = serde_json::from_str::<Pictured>(content.get()).ok().and_then(|content| content.url);
        }
        if url.is_some() || !is_initial {
            result.avatar = Some(url.into());
        }
    }
    if has_members_changed {
        let state = room.read();
        result.joined_count = Some(state.joined_count());
        result.invited_count = Some(state.invited_count());
    }
    if name.is_none() && (has_members_changed || has_name_changed) {
        result.heroes = Some(heroes_of(context, room, view).await?);
    }
    Ok(())
}

async fn heroes_of(
    context: &Context<'_>,
    room: &Room,
    view: &StateView<'_>,
) -> Result<Vec<Hero>, StorageError> {
    #[derive(Default, Deserialize)]
    struct Content {
        displayname: Option<String>,
        avatar_url: Option<String>,
    }
    let users = heroes(context.inner, context.request.user, room).await?;
    let nids: Vec<EventNid> = users.iter().filter_map(|user| view.get(MEMBER, user.as_str())).collect();
    let events = context.inner.store.list_events(&nids).await?;
    let heroes = users.into_iter().map(|user_id| {
        let event = events.iter().find(|event| event.state_key.as_deref() == Some(user_id.as_str()));
        let content = match event {
            Some(event) => serde_json::from_str(visible_content(room, event).get()).unwrap_or_default(),
            None => Content::default(),
        };
        Hero { user_id, displayname: content.displayname, avatar_url: content.avatar_url }
    });
    Ok(heroes.collect())
}

/// The newest events of a room within a range.
#[derive(Debug)]
struct Timeline {
    /// Oldest first.
    events: Vec<Arc<EventRecord>>,
    /// Whether there is more after the beginning of the range.
    is_limited: bool,
    begins_after: Position,
    /// Whether the range holds the whole of the room.
    is_whole: bool,
}

impl Timeline {
    async fn read(
        context: &Context<'_>,
        room: &Arc<Room>,
        range: Range,
        limit: usize,
    ) -> Result<Self, StorageError> {
        let mut timeline = Self {
            events: Vec::new(),
            is_limited: false,
            begins_after: range.until,
            is_whole: range.after == Position::START,
        };
        if range.until <= range.after {
            timeline.begins_after = range.after;
            return Ok(timeline);
        }
        let mut until = range.until;
        for round in 0..MAX_PAGES {
            // One more than needed tells whether there is more.
            let size = if round == 0 { limit + 1 } else { (limit + 1).max(HIDDEN_PAGE_SIZE) };
            let (found, is_last) = page(context.inner, room, Range { until, ..range }, size).await?;
            let Some(first) = found.first().map(|event| before(event)) else { break };
            let visible = if range.may_be_hidden {
                context.inner.rooms.filter_visible(room, found, &context.viewer()).await?
            } else {
                found
            };
            for event in visible.into_iter().rev().filter(|event| !context.ignored.hides(event)) {
                if timeline.events.len() == limit {
                    timeline.is_limited = true;
                    break;
                }
                timeline.begins_after = before(&event);
                timeline.events.push(event);
            }
            if timeline.is_limited || is_last {
                break;
            }
            until = first;
            timeline.begins_after = until;
            // The events that follow may all be hidden; whoever wants to know asks for them.
            timeline.is_limited = round + 1 == MAX_PAGES;
        }
        if !timeline.is_limited {
            timeline.begins_after = range.after;
        }
        timeline.events.reverse();
        Ok(timeline)
    }

    fn prev_batch(&self) -> RoomStreamToken {
        match self.events.first() {
            Some(first) => RoomStreamToken::Topological { depth: first.depth, position: before(first) },
            None => RoomStreamToken::Stream(self.begins_after),
        }
    }

    /// How many of the newest events the client has without a gap once it has this, when it had `known` before.
    fn known_after(&self, limit: u16, known: Option<u16>) -> u16 {
        match known {
            _ if self.is_limited => limit,
            Some(known) => known.max(limit),
            None if self.is_whole => SentRoom::WHOLE_TIMELINE,
            None => limit,
        }
    }
}
