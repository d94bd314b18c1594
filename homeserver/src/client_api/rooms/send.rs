//! `PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidsendeventtypetxnid>

use std::sync::Arc;

use axum::extract::State;
use hs_http::{ApiError, Args, Reply};
use hs_rooms::{Intent, RoomActions, Sender, intent::send_transaction};
use ruma::api::client::message::send_message_event;

use super::send_error;
use crate::client_api::{auth::Session, limits::RoomLimits};

pub(super) async fn put(
    session: Session,
    State(actions): State<RoomActions>,
    State(limits): State<Arc<RoomLimits>>,
    Args(request): Args<send_message_event::v3::Request>,
) -> Result<Reply<send_message_event::v3::Response>, ApiError> {
    limits.messages.check(session.user)?;
    let content = Box::<str>::from(request.body.into_json());
    let intent = Intent::message(request.event_type.to_string(), content);
    let transaction = send_transaction(session.device, &request.txn_id);
    let sent =
        actions.send_message(&request.room_id, Sender::from(&session), intent, Some(transaction)).await;
    let event_id = sent.map_err(send_error)?;
    Ok(Reply(send_message_event::v3::Response::new(event_id)))
}
