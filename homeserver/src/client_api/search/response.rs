//! What clients are told.

use std::{collections::HashMap, sync::Arc};

use hs_model::{
    ids::{EventNid, RoomNid},
    records::EventRecord,
};
use hs_rooms::{
    Room, Rooms,
    client_event::{RoomId, Viewer, visible_content},
    context::Surroundings,
    event_filter::EventFilter,
};
use hs_storage::StorageError;
use serde::Serialize;
use serde_json::{Map, Value, json, value::RawValue};

use super::{
    Hit, Page,
    request::{ContextWanted, Criteria},
    token::{Group, SearchToken},
};

/// The answer to a search.
#[derive(Debug, Serialize)]
pub(in crate::client_api) struct Response {
    pub(super) search_categories: Categories,
}

#[derive(Debug, Serialize)]
pub(super) struct Categories {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) room_events: Option<Results>,
}

#[derive(Debug, Serialize)]
pub(super) struct Results {
    count: i64,
    highlights: Vec<String>,
    results: Vec<FoundResult>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<HashMap<String, Vec<Box<RawValue>>>>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    groups: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_batch: Option<String>,
}

#[derive(Debug, Serialize)]
struct FoundResult {
    rank: f32,
    result: Box<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<Context>,
}

#[derive(Debug, Serialize)]
struct Context {
    start: String,
    end: String,
    events_before: Vec<Box<RawValue>>,
    events_after: Vec<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile_info: Option<Map<String, Value>>,
}

/// The answer, as it stands in `room_events`.
pub(super) async fn render(
    rooms: &Rooms,
    viewer: &Viewer<'_>,
    criteria: &Criteria,
    page: &Page,
    highlights: Vec<String>,
) -> Result<Results, StorageError> {
    let mut rendered = render_hits(rooms, viewer, &page.hits).await?;
    let mut results = Vec::with_capacity(page.hits.len());
    for hit in &page.hits {
        let context = match criteria.context {
            Some(wanted) => context(rooms, viewer, hit, wanted).await?,
            None => None,
        };
        if let Some(result) = rendered.remove(&hit.event.nid) {
            results.push(FoundResult { rank: hit.rank, result, context });
        }
    }
    let state = if criteria.include_state { Some(states(rooms, viewer, &page.hits).await?) } else { None };
    let next = page.hits.last().filter(|_| page.has_more);
    Ok(Results {
        count: page.total.max(page.hits.len() as i64),
        highlights,
        results,
        state,
        groups: groups(criteria, page),
        next_batch: next.map(|hit| SearchToken { group: None, after: hit.place }.to_string()),
    })
}

/// The rooms of some hits, each once, in order.
fn rooms_of(hits: &[Hit]) -> Vec<Arc<Room>> {
    let mut seen: Vec<Arc<Room>> = Vec::new();
    for hit in hits {
        if !seen.iter().any(|room| room.nid == hit.room.nid) {
            seen.push(hit.room.clone());
        }
    }
    seen
}

async fn render_hits(
    rooms: &Rooms,
    viewer: &Viewer<'_>,
    hits: &[Hit],
) -> Result<HashMap<EventNid, Box<RawValue>>, StorageError> {
    let mut by_room: HashMap<RoomNid, Vec<Arc<EventRecord>>> = HashMap::new();
    for hit in hits {
        by_room.entry(hit.room.nid).or_default().push(hit.event.clone());
    }
    let mut rendered = HashMap::new();
    for room in rooms_of(hits) {
        let events = by_room.remove(&room.nid).unwrap_or_default();
        let json = rooms.render(&room, &events, viewer, RoomId::Included).await?;
        rendered.extend(events.iter().map(|event| event.nid).zip(json));
    }
    Ok(rendered)
}

/// What stands around a hit.
async fn context(
    rooms: &Rooms,
    viewer: &Viewer<'_>,
    hit: &Hit,
    wanted: ContextWanted,
) -> Result<Option<Context>, StorageError> {
    let Some(access) = rooms.access(&hit.room, viewer).await? else { return Ok(None) };
    let filter = EventFilter::default();
    let around = rooms.surroundings(&hit.room, viewer, &access, &hit.event, wanted.limits, &filter).await?;
    let Some(Surroundings { before, after, start, end }) = around else { return Ok(None) };
    let before_count = before.len();
    let mut events: Vec<Arc<EventRecord>> = before.into_iter().chain(after).collect();
    let mut events_before = rooms.render(&hit.room, &events, viewer, RoomId::Included).await?;
    let events_after = events_before.split_off(before_count);
    let profile_info = if wanted.include_profile {
        events.push(hit.event.clone());
        Some(profiles(rooms, &hit.room, &events).await?)
    } else {
        None
    };
    Ok(Some(Context {
        start: start.to_string(),
        end: end.to_string(),
        events_before,
        events_after,
        profile_info,
    }))
}

/// How the senders of some events were called at the time.
async fn profiles(
    rooms: &Rooms,
    room: &Room,
    events: &[Arc<EventRecord>],
) -> Result<Map<String, Value>, StorageError> {
    let mut profiles = Map::new();
    for member in rooms.lazy_members(events).await? {
        let content = visible_content(room, &member);
        let content: Value = serde_json::from_str(content.get()).unwrap_or_default();
        let mut profile = Map::new();
        for key in ["displayname", "avatar_url"] {
            if let Some(value) = content[key].as_str() {
                profile.insert(key.to_owned(), value.into());
            }
        }
        profiles.insert(member.state_key.as_deref().unwrap_or_default().to_owned(), profile.into());
    }
    Ok(profiles)
}

/// The state of each room that something was found in, as the user may read it.
async fn states(
    rooms: &Rooms,
    viewer: &Viewer<'_>,
    hits: &[Hit],
) -> Result<HashMap<String, Vec<Box<RawValue>>>, StorageError> {
    let mut states = HashMap::new();
    for room in rooms_of(hits) {
        if let Some(state) = rooms.list_seen_state(&room, viewer).await? {
            let rendered = rooms.render_state(&room, &state, viewer, RoomId::Included).await?;
            states.insert(room.room_id.to_string(), rendered);
        }
    }
    Ok(states)
}

/// The results of the page by room and by sender, as far as that is wanted.
fn groups(criteria: &Criteria, page: &Page) -> Map<String, Value> {
    let mut groups = Map::new();
    if criteria.groups.by_room {
        let key = |hit: &Hit| (hit.room.room_id.to_string(), Group::Room(hit.room.nid));
        groups.insert("room_id".to_owned(), grouped(page, key).into());
    }
    if criteria.groups.by_sender {
        let key = |hit: &Hit| (hit.event.sender.to_string(), Group::Sender(hit.event.sender_nid));
        groups.insert("sender".to_owned(), grouped(page, key).into());
    }
    groups
}

fn grouped(page: &Page, key: impl Fn(&Hit) -> (String, Group)) -> Map<String, Value> {
    let mut order: Vec<String> = Vec::new();
    let mut members: HashMap<String, (Group, Vec<&Hit>)> = HashMap::new();
    for hit in &page.hits {
        let (name, group) = key(hit);
        if !order.contains(&name) {
            order.push(name.clone());
        }
        members.entry(name).or_insert_with(|| (group, Vec::new())).1.push(hit);
    }
    let entries = order.into_iter().enumerate().filter_map(|(place, name)| {
        let (group, hits) = members.remove(&name)?;
        let ids: Vec<&str> = hits.iter().map(|hit| hit.event.event_id.as_str()).collect();
        let mut entry = json!({ "order": place + 1, "results": ids });
        if let Some(last) = hits.last().filter(|_| page.has_more) {
            let token = SearchToken { group: Some(group), after: last.place };
            entry["next_batch"] = token.to_string().into();
        }
        Some((name, entry))
    });
    entries.collect()
}
