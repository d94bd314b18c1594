//! `PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidredacteventidtxnid>

use std::sync::Arc;

use axum::extract::State;
use hs_accounts::Standing;
use hs_http::{ApiError, Args, Reply};
use hs_rooms::{RoomActions, Sender, intent::redaction_transaction, send::Redaction};
use ruma::api::client::redact::redact_event;

use super::{send::may_redact_suspended, send_error};
use crate::client_api::{auth::Session, limits::RoomLimits};

pub(super) async fn put(
    session: Session,
    State(actions): State<RoomActions>,
    State(limits): State<Arc<RoomLimits>>,
    Args(request): Args<redact_event::v3::Request>,
) -> Result<Reply<redact_event::v3::Response>, ApiError> {
    if session.standing != Standing::Free {
        may_redact_suspended(&session, &actions, &request.event_id).await?;
    }
    limits.messages.check(session.user)?;
    let redaction = Redaction { redacts: request.event_id, reason: request.reason };
    let transaction = redaction_transaction(session.device, &request.txn_id);
    let sent = actions.redact(&request.room_id, Sender::from(&session), redaction, Some(transaction)).await;
    let event_id = sent.map_err(send_error)?;
    Ok(Reply(redact_event::v3::Response::new(event_id)))
}
