//! `GET /_matrix/client/v3/rooms/{roomId}/members`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidmembers>

use axum::extract::State;
use hs_http::{ApiError, Args, Reply};
use hs_model::membership::Membership;
use hs_rooms::{Rooms, client_event::RoomId, members::MembersFilter};
use ruma::{
    api::client::membership::get_member_events::v3::{Request, Response},
    events::room::member::MembershipState,
};

use super::reading::{open_room, raw, token, viewer, wait_whole};
use crate::client_api::auth::Session;

pub(super) async fn get(
    session: Session,
    State(rooms): State<Rooms>,
    Args(request): Args<Request>,
) -> Result<Reply<Response>, ApiError> {
    let filter = MembersFilter {
        membership: membership("membership", request.membership.as_ref())?,
        not_membership: membership("not_membership", request.not_membership.as_ref())?,
    };
    let at = token("at", request.at.as_deref())?;
    let (room, access) = open_room(&rooms, &session, &request.room_id).await?;
    wait_whole(&rooms, &room).await;
    let viewer = viewer(&session);
    let members = rooms.members(&room, &viewer, &access, at, filter).await.map_err(ApiError::internal)?;
    let members = members.ok_or_else(|| ApiError::forbidden("You may not see the room at that point"))?;
    let rendered = rooms.render_state(&room, &members, &viewer, RoomId::Included).await;
    Ok(Reply(Response::new(raw(rendered.map_err(ApiError::internal)?))))
}

fn membership(parameter: &str, word: Option<&MembershipState>) -> Result<Option<Membership>, ApiError> {
    let Some(word) = word else { return Ok(None) };
    let membership = Membership::parse(word.as_str());
    membership.map(Some).ok_or_else(|| ApiError::invalid_param(format!("{parameter}: no such membership")))
}
