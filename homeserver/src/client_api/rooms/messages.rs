//! `GET /_matrix/client/v3/rooms/{roomId}/messages`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidmessages>

use axum::extract::{RawQuery, State};
use federation::History;
use hs_http::{ApiError, Args, Reply};
use hs_rooms::{Rooms, client_event::RoomId, paginate::PageRequest};
use ruma::api::client::message::get_message_events::v3::{Request, Response};

use super::reading::{event_filter, limit, open_room, order, raw, token, viewer};
use crate::client_api::auth::Session;

pub(super) async fn get(
    session: Session,
    State(rooms): State<Rooms>,
    State(history): State<History>,
    RawQuery(query): RawQuery,
    Args(request): Args<Request>,
) -> Result<Reply<Response>, ApiError> {
    let filter = event_filter(query.as_deref())?;
    let page = PageRequest {
        from: token("from", request.from.as_deref())?,
        to: token("to", request.to.as_deref())?,
        order: order(request.dir),
        limit: limit(request.limit).min(filter.limit.map_or(usize::MAX, |limit| limit as usize)),
        filter: &filter,
    };
    let (room, access) = open_room(&rooms, &session, &request.room_id).await?;
    let viewer = viewer(&session);
    let page = history.page(&room, &viewer, &access, page).await.map_err(ApiError::internal)?;
    let members = if filter.is_lazy() {
        rooms.lazy_members(&page.events).await.map_err(ApiError::internal)?
    } else {
        Vec::new()
    };
    let chunk = rooms.render(&room, &page.events, &viewer, RoomId::Included).await;
    let state = rooms.render_state(&room, &members, &viewer, RoomId::Included).await;
    let mut response = Response::new();
    response.start = page.start.to_string();
    response.end = page.end.map(|end| end.to_string());
    response.chunk = raw(chunk.map_err(ApiError::internal)?);
    response.state = raw(state.map_err(ApiError::internal)?);
    Ok(Reply(response))
}
