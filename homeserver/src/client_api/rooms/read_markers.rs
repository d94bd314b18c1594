//! `POST /_matrix/client/v3/rooms/{roomId}/read_markers`
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidread_markers>

use std::sync::Arc;

use axum::extract::State;
use hs_ephemeral::{Ephemeral, ReceiptRequest};
use hs_http::{ApiError, Args, Reply};
use hs_rooms::Rooms;
use hs_storage::receipts::ReceiptType;
use ruma::api::client::read_marker::set_read_marker;

use super::{joined_room, receipt::api_error};
use crate::client_api::{auth::Session, limits::RoomLimits};

pub(super) async fn post(
    session: Session,
    State(rooms): State<Rooms>,
    State(ephemeral): State<Ephemeral>,
    State(limits): State<Arc<RoomLimits>>,
    Args(request): Args<set_read_marker::v3::Request>,
) -> Result<Reply<set_read_marker::v3::Response>, ApiError> {
    limits.writes.check(session.user)?;
    let room = joined_room(&rooms, &session, &request.room_id).await?;
    let receipts = [
        (ReceiptType::Read, &request.read_receipt),
        (ReceiptType::ReadPrivate, &request.private_read_receipt),
    ];
    for (receipt_type, event_id) in receipts {
        let Some(event_id) = event_id else { continue };
        let receipt = ReceiptRequest {
            room: room.nid,
            user: session.user,
            user_id: &session.user_id,
            receipt_type,
            event_id,
            thread_id: None,
        };
        ephemeral.set_receipt(receipt).await.map_err(api_error)?;
    }
    if let Some(event_id) = &request.fully_read {
        ephemeral.set_fully_read(room.nid, session.user, event_id).await.map_err(api_error)?;
    }
    Ok(Reply(set_read_marker::v3::Response::new()))
}
