//! `GET /_matrix/federation/v1/timestamp_to_event/{roomId}`
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1timestamp_to_eventroomid>

use axum::extract::State;
use federation::inbound::rooms::RoomAnswers;
use hs_http::{ApiError, Reply};
use hs_storage::events::Order;
use ruma::{
    MilliSecondsSinceUnixEpoch, UInt,
    api::{
        Direction,
        federation::event::get_event_by_timestamp::v1::{Request, Response},
    },
};

use super::{FederationArgs, room_error::answer_error};

pub(super) async fn get(
    State(answers): State<RoomAnswers>,
    FederationArgs(origin, request): FederationArgs<Request>,
) -> Result<Reply<Response>, ApiError> {
    let order = match request.dir {
        Direction::Forward => Order::Forward,
        Direction::Backward => Order::Backward,
    };
    let event = answers.event_by_time(&origin, &request.room_id, request.ts.get().into(), order).await;
    let event = event.map_err(answer_error)?;
    let ts = UInt::new_saturating(u64::try_from(event.origin_server_ts).unwrap_or(0));
    Ok(Reply(Response::new(event.event_id.clone(), MilliSecondsSinceUnixEpoch(ts))))
}
