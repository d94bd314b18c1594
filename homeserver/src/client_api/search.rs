//! `POST /_matrix/client/v3/search`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3search>

mod request;
mod response;
mod token;

use std::{collections::HashMap, sync::Arc};

use axum::extract::State;
use hs_http::{ApiError, JsonBody, JsonReply, QueryArgs};
use hs_model::{
    ids::{RoomNid, UserNid},
    membership::Membership,
    records::EventRecord,
};
use hs_rooms::{Room, Rooms, client_event::Viewer, event_filter::EventFilter, people::IgnoredUsers};
use hs_search::{MessageQuery, Query, Search};
use hs_storage::{
    StorageError,
    search::{FoundEvent, FoundPlace, SearchField},
};
use serde::Deserialize;

use self::{
    request::{Body, Criteria},
    response::{Categories, Response},
    token::{Group, SearchToken},
};
use super::{auth::Session, rooms::reading::viewer};

/// How many batches of candidates are looked at to fill a page.
const MAX_ROUNDS: usize = 10;
/// The least candidates that are looked at together.
const MIN_BATCH: usize = 50;

#[derive(Debug, Deserialize)]
pub(super) struct QueryString {
    next_batch: Option<String>,
}

/// Something found that the user may see.
struct Hit {
    rank: f32,
    place: FoundPlace,
    room: Arc<Room>,
    event: Arc<EventRecord>,
}

/// A page of what was found.
#[derive(Default)]
struct Page {
    hits: Vec<Hit>,
    total: i64,
    has_more: bool,
}

pub(super) async fn post(
    session: Session,
    State(rooms): State<Rooms>,
    State(search): State<Search>,
    QueryArgs(query): QueryArgs<QueryString>,
    JsonBody(body): JsonBody<Body>,
) -> Result<JsonReply<Response>, ApiError> {
    let token = match query.next_batch.as_deref() {
        None => None,
        Some(text) => {
            let token = text.parse().map_err(|_| {
                ApiError::invalid_param("`next_batch` is not a token that this server gave for this search")
            })?;
            Some(token)
        }
    };
    let Some(criteria) = body.search_categories.room_events else {
        return Ok(JsonReply(Response { search_categories: Categories { room_events: None } }));
    };
    let criteria = criteria.read()?;
    let viewer = viewer(&session);
    let found = async {
        let Some(words) = Query::parse(&criteria.term) else { return Ok((Page::default(), Vec::new())) };
        search.catch_up().await?;
        let page = find(&rooms, &search, &viewer, &criteria, &words, token).await?;
        Ok::<_, StorageError>((page, words.highlights))
    };
    let (page, highlights) = found.await.map_err(ApiError::internal)?;
    let answer = response::render(&rooms, &viewer, &criteria, &page, highlights).await;
    let room_events = Some(answer.map_err(ApiError::internal)?);
    Ok(JsonReply(Response { search_categories: Categories { room_events } }))
}

/// Looks for words until a page is full.
async fn find(
    rooms: &Rooms,
    search: &Search,
    viewer: &Viewer<'_>,
    criteria: &Criteria,
    words: &Query,
    token: Option<SearchToken>,
) -> Result<Page, StorageError> {
    let group = token.and_then(|token| token.group);
    let searched = searched_rooms(rooms, viewer, &criteria.filter, group).await?;
    let senders = match group {
        Some(Group::Sender(user)) => Some(vec![user]),
        _ => named_users(rooms, criteria.filter.senders.as_deref()).await?,
    };
    let not_senders = named_users(rooms, criteria.filter.not_senders.as_deref()).await?.unwrap_or_default();
    let ignored = rooms.ignored_by(viewer.user).await?;
    let fields: Vec<SearchField> = criteria
        .fields
        .iter()
        .copied()
        .filter(|field| criteria.filter.wants_type(event_type(*field)))
        .collect();
    let mut page = Page::default();
    let mut after = token.map(|token| token.after);
    for round in 0..MAX_ROUNDS {
        let batch = (criteria.limit + 1).max(MIN_BATCH);
        let query = MessageQuery {
            words,
            rooms: &searched,
            fields: &fields,
            senders: senders.as_deref(),
            not_senders: &not_senders,
            by_rank: criteria.by_rank,
            after,
            limit: batch,
        };
        let found = search.find_messages(&query).await?;
        if round == 0 {
            page.total = found.total;
        }
        let is_last = found.events.len() < batch;
        after = found.events.last().map(|event| event.place);
        for hit in visible(rooms, viewer, &criteria.filter, &ignored, found.events).await? {
            if page.hits.len() == criteria.limit {
                page.has_more = true;
                return Ok(page);
            }
            page.hits.push(hit);
        }
        if is_last {
            return Ok(page);
        }
    }
    page.has_more = !page.hits.is_empty();
    Ok(page)
}

/// Those of the candidates that the user may see and wants to, in order.
async fn visible(
    rooms: &Rooms,
    viewer: &Viewer<'_>,
    filter: &EventFilter,
    ignored: &IgnoredUsers,
    found: Vec<FoundEvent>,
) -> Result<Vec<Hit>, StorageError> {
    let nids: Vec<_> = found.iter().map(|found| found.place.event).collect();
    let events = rooms.store().find_events(&nids).await?;
    let mut by_room: HashMap<RoomNid, Vec<Arc<EventRecord>>> = HashMap::new();
    for event in events.into_values() {
        // The index may not have heard of a redaction yet.
        if event.redacted_by.is_none() && filter.wants(&event) && !ignored.hides(&event) {
            by_room.entry(event.room).or_default().push(event);
        }
    }
    let mut allowed = HashMap::new();
    for (nid, events) in by_room {
        let Some(room) = rooms.find_by_nid(nid).await? else { continue };
        let events = rooms.filter_visible(&room, events, viewer).await?;
        for event in rooms.without_erased(&room, events, viewer).await? {
            allowed.insert(event.nid, (room.clone(), event));
        }
    }
    let shown = found.into_iter().filter_map(|found| {
        let (room, event) = allowed.remove(&found.place.event)?;
        Some(Hit { rank: found.rank, place: found.place, room, event })
    });
    Ok(shown.collect())
}

/// The rooms that the user is or was in, as far as the filter wants them.
async fn searched_rooms(
    rooms: &Rooms,
    viewer: &Viewer<'_>,
    filter: &EventFilter,
    group: Option<Group>,
) -> Result<Vec<RoomNid>, StorageError> {
    let mut reader = rooms.store().reader().await?;
    let stays = reader.list_memberships_of_user(viewer.user).await?;
    let mut searched: Vec<RoomNid> = stays
        .into_iter()
        .filter(|stay| match stay.membership {
            Membership::Join => true,
            Membership::Leave | Membership::Ban => !stay.is_forgotten,
            Membership::Invite | Membership::Knock => false,
        })
        .map(|stay| stay.room)
        .collect();
    if let Some(Group::Room(room)) = group {
        searched.retain(|searched| *searched == room);
    }
    for (list, is_wanted) in [(&filter.rooms, true), (&filter.not_rooms, false)] {
        if let Some(list) = list {
            let ids: Vec<_> = list.iter().filter_map(|id| id.as_str().try_into().ok()).collect();
            let named = reader.find_room_nids(&ids).await?;
            searched.retain(|room| named.values().any(|named| named == room) == is_wanted);
        }
    }
    Ok(searched)
}

/// The numbers of users named in a filter; unknown ones have written nothing.
async fn named_users(rooms: &Rooms, list: Option<&[String]>) -> Result<Option<Vec<UserNid>>, StorageError> {
    let Some(list) = list else { return Ok(None) };
    let ids: Vec<&ruma::UserId> = list.iter().filter_map(|id| id.as_str().try_into().ok()).collect();
    Ok(Some(rooms.store().reader().await?.find_user_nids(&ids).await?))
}

fn event_type(field: SearchField) -> &'static str {
    match field {
        SearchField::Body => "m.room.message",
        SearchField::Name => "m.room.name",
        SearchField::Topic => "m.room.topic",
    }
}
