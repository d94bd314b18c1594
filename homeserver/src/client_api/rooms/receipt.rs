//! `POST /_matrix/client/v3/rooms/{roomId}/receipt/{receiptType}/{eventId}`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidreceiptreceipttypeeventid>

use std::sync::Arc;

use axum::extract::State;
use hs_ephemeral::{Ephemeral, ReceiptError, ReceiptRequest};
use hs_http::{ApiError, JsonBody, JsonReply, PathArgs};
use hs_rooms::Rooms;
use hs_storage::receipts::ReceiptType;
use ruma::{OwnedEventId, OwnedRoomId};
use serde_json::{Map, Value, json};

use super::joined_room;
use crate::client_api::{auth::Session, limits::RoomLimits};

/// The type that stands for the marker in account data.
const FULLY_READ: &str = "m.fully_read";

pub(super) async fn post(
    session: Session,
    State(rooms): State<Rooms>,
    State(ephemeral): State<Ephemeral>,
    State(limits): State<Arc<RoomLimits>>,
    PathArgs((room_id, receipt_type, event_id)): PathArgs<(OwnedRoomId, String, OwnedEventId)>,
    JsonBody(body): JsonBody<Map<String, Value>>,
) -> Result<JsonReply<Value>, ApiError> {
    limits.writes.check(session.user)?;
    let thread_id = body
        .get("thread_id")
        .map(|id| id.as_str().ok_or_else(|| ApiError::invalid_param("thread_id must be a string")))
        .transpose()?;
    let receipt_type = match receipt_type.as_str() {
        FULLY_READ if thread_id.is_some() => {
            return Err(ApiError::invalid_param("m.fully_read is for the whole room: it takes no thread_id"));
        }
        FULLY_READ => None,
        name => Some(
            ReceiptType::parse(name)
                .ok_or_else(|| ApiError::invalid_param("There is no such receipt type"))?,
        ),
    };
    let room = joined_room(&rooms, &session, &room_id).await?;
    let outcome = match receipt_type {
        None => ephemeral.set_fully_read(room.nid, session.user, &event_id).await,
        Some(receipt_type) => {
            let request = ReceiptRequest {
                room: room.nid,
                user: session.user,
                user_id: &session.user_id,
                receipt_type,
                event_id: &event_id,
                thread_id,
            };
            ephemeral.set_receipt(request).await
        }
    };
    outcome.map_err(api_error)?;
    Ok(JsonReply(json!({})))
}

/// Why a receipt or marker was not set, for clients.
pub(super) fn api_error(error: ReceiptError) -> ApiError {
    let message = error.to_string();
    match error {
        ReceiptError::InvalidThread(_) => ApiError::invalid_param(message),
        ReceiptError::UnknownEvent => ApiError::not_found(message),
        ReceiptError::Storage(error) => ApiError::internal(error),
    }
}
