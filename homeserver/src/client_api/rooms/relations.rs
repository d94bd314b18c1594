//! `GET /_matrix/client/v1/rooms/{roomId}/relations/{eventId}` and its two narrower forms
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#relationships-api>

use axum::extract::State;
use hs_http::{ApiError, Args, Reply};
use hs_rooms::{
    Rooms,
    client_event::RoomId,
    event_filter::EventFilter,
    paginate::PageRequest,
    relations::{MAX_RECURSION, RelatedRequest},
};
use ruma::{
    OwnedRoomId, UInt,
    api::{
        Direction,
        client::relations::{
            get_relating_events::v1 as any, get_relating_events_with_rel_type::v1 as of_type,
            get_relating_events_with_rel_type_and_event_type::v1 as of_event_type,
        },
    },
};
use serde_json::value::RawValue;

use super::{
    event::find_visible,
    reading::{self, DEFAULT_LIMIT, open_room, order, raw, token, viewer},
};
use crate::client_api::auth::Session;

/// What the three forms have in common.
struct Query {
    room_id: OwnedRoomId,
    from: Option<String>,
    to: Option<String>,
    dir: Direction,
    limit: Option<UInt>,
}

struct Found {
    chunk: Vec<Box<RawValue>>,
    next_batch: Option<String>,
    prev_batch: Option<String>,
    recursion_depth: Option<UInt>,
}

pub(super) async fn get(
    session: Session,
    State(rooms): State<Rooms>,
    Args(request): Args<any::Request>,
) -> Result<Reply<any::Response>, ApiError> {
    let any::Request { room_id, event_id, from, to, dir, limit, recurse, .. } = request;
    let related = RelatedRequest { parent: &event_id, rel_type: None, event_type: None, recurse };
    let found = find(&session, &rooms, Query { room_id, from, to, dir, limit }, related).await?;
    let mut response = any::Response::new(raw(found.chunk));
    response.next_batch = found.next_batch;
    response.prev_batch = found.prev_batch;
    response.recursion_depth = found.recursion_depth;
    Ok(Reply(response))
}

pub(super) async fn get_of_type(
    session: Session,
    State(rooms): State<Rooms>,
    Args(request): Args<of_type::Request>,
) -> Result<Reply<of_type::Response>, ApiError> {
    let of_type::Request { room_id, event_id, rel_type, from, to, dir, limit, recurse, .. } = request;
    let rel_type = Some(rel_type.as_str());
    let related = RelatedRequest { parent: &event_id, rel_type, event_type: None, recurse };
    let found = find(&session, &rooms, Query { room_id, from, to, dir, limit }, related).await?;
    let mut response = of_type::Response::new(raw(found.chunk));
    response.next_batch = found.next_batch;
    response.prev_batch = found.prev_batch;
    response.recursion_depth = found.recursion_depth;
    Ok(Reply(response))
}

pub(super) async fn get_of_event_type(
    session: Session,
    State(rooms): State<Rooms>,
    Args(request): Args<of_event_type::Request>,
) -> Result<Reply<of_event_type::Response>, ApiError> {
    let of_event_type::Request {
        room_id, event_id, rel_type, event_type, from, to, dir, limit, recurse, ..
    } = request;
    let event_type = event_type.to_string();
    let related = RelatedRequest {
        parent: &event_id,
        rel_type: Some(rel_type.as_str()),
        event_type: Some(&event_type),
        recurse,
    };
    let found = find(&session, &rooms, Query { room_id, from, to, dir, limit }, related).await?;
    let mut response = of_event_type::Response::new(raw(found.chunk));
    response.next_batch = found.next_batch;
    response.prev_batch = found.prev_batch;
    response.recursion_depth = found.recursion_depth;
    Ok(Reply(response))
}

async fn find(
    session: &Session,
    rooms: &Rooms,
    query: Query,
    related: RelatedRequest<'_>,
) -> Result<Found, ApiError> {
    let filter = EventFilter::default();
    let page = PageRequest {
        from: token("from", query.from.as_deref())?,
        to: token("to", query.to.as_deref())?,
        order: order(query.dir),
        limit: query.limit.map_or(DEFAULT_LIMIT, reading::limit),
        filter: &filter,
    };
    let (room, access) = open_room(rooms, session, &query.room_id).await?;
    let viewer = viewer(session);
    let parent = find_visible(rooms, &room, &viewer, related.parent).await?;
    parent.ok_or_else(|| ApiError::not_found("There is no such event, or you may not see it"))?;
    let page = rooms.related(&room, &viewer, &access, related, page).await.map_err(ApiError::internal)?;
    let chunk = rooms.render(&room, &page.events, &viewer, RoomId::Included).await;
    Ok(Found {
        chunk: chunk.map_err(ApiError::internal)?,
        next_batch: page.end.map(|end| end.to_string()),
        prev_batch: query.from,
        recursion_depth: related.recurse.then(|| UInt::from(MAX_RECURSION.unsigned_abs())),
    })
}
