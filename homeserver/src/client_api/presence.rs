//! `/_matrix/client/v3/presence/{userId}/status`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#presence>

use std::sync::Arc;

use axum::extract::State;
use hs_ephemeral::{
    Ephemeral,
    presence::{FindPresenceError, PresenceError, PresenceRequest},
};
use hs_http::{ApiError, Args, Reply};
use hs_storage::presence::Presence;
use ruma::api::client::presence::{get_presence, set_presence};

use super::{auth::Session, limits::RoomLimits};

/// `GET /_matrix/client/v3/presence/{userId}/status`
pub(super) async fn get(
    session: Session,
    State(ephemeral): State<Ephemeral>,
    Args(request): Args<get_presence::v3::Request>,
) -> Result<Reply<get_presence::v3::Response>, ApiError> {
    let row =
        ephemeral.find_presence_for(session.user, &request.user_id).await.map_err(|error| match error {
            FindPresenceError::NotAllowed => ApiError::forbidden("You may not see the presence of this user"),
            FindPresenceError::Storage(error) => ApiError::internal(error),
        })?;
    let mut response = get_presence::v3::Response::new(Presence::Offline.as_str().into());
    if let Some(row) = row {
        response.presence = row.presence.as_str().into();
        response.last_active_ago = ephemeral.last_active_ago(&row);
        response.currently_active = (row.presence == Presence::Online).then_some(row.currently_active);
        response.status_msg = row.status_msg;
    }
    Ok(Reply(response))
}

/// `PUT /_matrix/client/v3/presence/{userId}/status`
pub(super) async fn put(
    session: Session,
    State(ephemeral): State<Ephemeral>,
    State(limits): State<Arc<RoomLimits>>,
    Args(request): Args<set_presence::v3::Request>,
) -> Result<Reply<set_presence::v3::Response>, ApiError> {
    limits.writes.check(session.user)?;
    session.must_be(&request.user_id)?;
    let presence = Presence::parse(request.presence.as_str())
        .ok_or_else(|| ApiError::invalid_param("presence: not offline, online or unavailable"))?;
    let change = PresenceRequest {
        user: session.user,
        user_id: &session.user_id,
        device: session.device,
        presence,
        status_msg: request.status_msg.as_deref(),
    };
    ephemeral.set_presence(change).await.map_err(|error| {
        let message = error.to_string();
        match error {
            PresenceError::StatusMsgTooLong => ApiError::invalid_param(message),
            PresenceError::Storage(error) => ApiError::internal(error),
        }
    })?;
    Ok(Reply(set_presence::v3::Response::new()))
}
