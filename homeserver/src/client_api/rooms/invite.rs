//! `POST /_matrix/client/v3/rooms/{roomId}/invite`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidinvite>

use std::sync::Arc;

use axum::extract::State;
use hs_http::{ApiError, Args, Reply};
use hs_rooms::{RoomActions, Sender, membership::MembershipOptions};
use ruma::api::client::membership::invite_user::v3::{InvitationRecipient, Request, Response};

use super::{membership_error, not_in_the_room};
use crate::client_api::{auth::Session, create_room::third_party_invites_refused, limits::RoomLimits};

pub(super) async fn post(
    session: Session,
    State(actions): State<RoomActions>,
    State(limits): State<Arc<RoomLimits>>,
    Args(request): Args<Request>,
) -> Result<Reply<Response>, ApiError> {
    session.must_not_be_suspended()?;
    limits.invites.check(session.user)?;
    let InvitationRecipient::UserId(invite) = request.recipient else {
        return Err(third_party_invites_refused());
    };
    let options = MembershipOptions { target: &invite.user_id, reason: invite.reason.as_deref() };
    let done = actions.invite(&request.room_id, &Sender::from(&session), options).await;
    done.map_err(|error| membership_error(error, not_in_the_room))?;
    Ok(Reply(Response::new()))
}
