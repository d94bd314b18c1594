//! `PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidsendeventtypetxnid>

use std::sync::Arc;

use axum::extract::State;
use hs_accounts::Standing;
use hs_http::{ApiError, Args, JsonReply, QueryArgs};
use hs_rooms::{Intent, RoomActions, Sender, intent::send_transaction};
use ruma::{EventId, OwnedEventId, api::client::message::send_message_event, events::MessageLikeEventType};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{later::SendOptions, send_error};
use crate::{
    client_api::{auth::Session, limits::RoomLimits},
    delayed_events::DelayedEvents,
    server_notices::ServerNotices,
};

pub(super) async fn put(
    session: Session,
    State(actions): State<RoomActions>,
    State(limits): State<Arc<RoomLimits>>,
    State(notices): State<ServerNotices>,
    State(delayed): State<DelayedEvents>,
    QueryArgs(options): QueryArgs<SendOptions>,
    Args(request): Args<send_message_event::v3::Request>,
) -> Result<JsonReply<Value>, ApiError> {
    if session.standing != Standing::Free {
        may_send_suspended(&session, &actions, &notices, &request).await?;
    }
    let content = Box::<str>::from(request.body.into_json());
    let intent = Intent {
        sticky_ms: options.sticky_ms()?,
        ..Intent::message(request.event_type.to_string(), content)
    };
    let draft = (&intent, Some(request.txn_id.to_string()));
    if let Some(reply) = options.schedule(&session, (&delayed, &limits), &request.room_id, draft).await? {
        return Ok(reply);
    }
    limits.messages.check(session.user)?;
    let transaction = send_transaction(session.device, &request.txn_id);
    let sent =
        actions.send_message(&request.room_id, Sender::from(&session), intent, Some(transaction)).await;
    let event_id = sent.map_err(send_error)?;
    Ok(JsonReply(json!({ "event_id": event_id })))
}

/// Suspended users may answer where the server speaks to them, and take back what they wrote themselves.
async fn may_send_suspended(
    session: &Session,
    actions: &RoomActions,
    notices: &ServerNotices,
    request: &send_message_event::v3::Request,
) -> Result<(), ApiError> {
    #[derive(Deserialize)]
    struct Redaction {
        redacts: OwnedEventId,
    }
    if request.event_type == MessageLikeEventType::RoomRedaction
        && let Ok(redaction) = request.body.deserialize_as_unchecked::<Redaction>()
    {
        return may_redact_suspended(session, actions, &redaction.redacts).await;
    }
    let room = actions.rooms().find(&request.room_id).await.map_err(ApiError::internal)?;
    if let Some(room) = room
        && notices.is_notice_room(session.user, &room).await.map_err(ApiError::internal)?
    {
        return Ok(());
    }
    session.must_not_be_suspended()
}

/// Suspended users may take back what they wrote themselves.
pub(super) async fn may_redact_suspended(
    session: &Session,
    actions: &RoomActions,
    event_id: &EventId,
) -> Result<(), ApiError> {
    let mut reader = actions.rooms().store().reader().await.map_err(ApiError::internal)?;
    let event = reader.find_event(event_id).await.map_err(ApiError::internal)?;
    if event.is_some_and(|event| event.sender_nid == session.user) {
        return Ok(());
    }
    session.must_not_be_suspended()
}
