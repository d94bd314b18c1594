//! `GET /_matrix/client/v1/rooms/{roomId}/threads`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidthreads>

use axum::extract::State;
use hs_http::{ApiError, Args, Reply};
use hs_rooms::{Rooms, client_event::RoomId, relations::ThreadsRequest};
use ruma::api::client::threads::get_threads::v1::{IncludeThreads, Request, Response};

use super::reading::{self, DEFAULT_LIMIT, open_room, raw, token, viewer};
use crate::client_api::auth::Session;

pub(super) async fn get(
    session: Session,
    State(rooms): State<Rooms>,
    Args(request): Args<Request>,
) -> Result<Reply<Response>, ApiError> {
    let only_participated = match request.include {
        IncludeThreads::All => false,
        IncludeThreads::Participated => true,
        _ => return Err(ApiError::invalid_param("include: neither all nor participated")),
    };
    let limit = request.limit.map_or(DEFAULT_LIMIT, reading::limit);
    if limit == 0 {
        return Err(ApiError::invalid_param("limit: must be greater than zero"));
    }
    let threads = ThreadsRequest { only_participated, from: token("from", request.from.as_deref())?, limit };
    let (room, access) = open_room(&rooms, &session, &request.room_id).await?;
    let viewer = viewer(&session);
    let page = rooms.threads(&room, &viewer, &access, threads).await.map_err(ApiError::internal)?;
    let chunk = rooms.render(&room, &page.roots, &viewer, RoomId::Included).await;
    let mut response = Response::new(raw(chunk.map_err(ApiError::internal)?));
    response.next_batch = page.next.map(|next| next.to_string());
    Ok(Reply(response))
}
