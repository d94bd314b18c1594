//! `GET /_matrix/client/v3/rooms/{roomId}/joined_members`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidjoined_members>

use axum::extract::State;
use hs_http::{ApiError, Args, Reply};
use hs_rooms::{Rooms, access::Access};
use ruma::api::client::membership::joined_members::v3::{Request, Response, RoomMember};

use super::{
    NOT_IN_THE_ROOM,
    reading::{open_room, wait_whole},
};
use crate::client_api::auth::Session;

pub(super) async fn get(
    session: Session,
    State(rooms): State<Rooms>,
    Args(request): Args<Request>,
) -> Result<Reply<Response>, ApiError> {
    let (room, access) = open_room(&rooms, &session, &request.room_id).await?;
    if !matches!(access, Access::Member) {
        return Err(ApiError::forbidden(NOT_IN_THE_ROOM));
    }
    wait_whole(&rooms, &room).await;
    let members = rooms.joined_members(&room).await.map_err(ApiError::internal)?;
    let joined = members.into_iter().map(|member| {
        let mut shown = RoomMember::new();
        shown.display_name = member.display_name;
        shown.avatar_url = member.avatar_url.map(Into::into);
        (member.user_id, shown)
    });
    Ok(Reply(Response::new(joined.collect())))
}
