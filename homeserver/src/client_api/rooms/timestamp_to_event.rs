//! `GET /_matrix/client/v1/rooms/{roomId}/timestamp_to_event`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidtimestamp_to_event>

use axum::extract::State;
use federation::History;
use hs_http::{ApiError, Args, Reply};
use hs_rooms::Rooms;
use ruma::{
    MilliSecondsSinceUnixEpoch, UInt,
    api::client::room::get_event_by_timestamp::v1::{Request, Response},
};

use super::reading::{open_room, order, viewer};
use crate::client_api::auth::Session;

pub(super) async fn get(
    session: Session,
    State(rooms): State<Rooms>,
    State(history): State<History>,
    Args(request): Args<Request>,
) -> Result<Reply<Response>, ApiError> {
    let (room, _) = open_room(&rooms, &session, &request.room_id).await?;
    let found = history
        .event_by_time(&room, &viewer(&session), request.ts.get().into(), order(request.dir))
        .await
        .map_err(ApiError::internal)?;
    let event = found.ok_or_else(|| ApiError::not_found("There is no event in this direction"))?;
    // Other servers may claim any time.
    let ts = UInt::new_saturating(event.origin_server_ts.max(0).unsigned_abs());
    Ok(Reply(Response::new(event.event_id.clone(), MilliSecondsSinceUnixEpoch(ts))))
}
