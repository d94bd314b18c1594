//! Servers that a room keeps out.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#server-access-control-lists-acls>

use hs_http::ApiError;
use hs_rooms::{Room, Rooms};
use ruma::ServerName;

/// Refuses a server that the room's access list keeps out.
pub(crate) async fn require_not_acl_banned(
    rooms: &Rooms,
    room: &Room,
    origin: &ServerName,
) -> Result<(), ApiError> {
    if rooms.allows_server(room, origin).await.map_err(ApiError::internal)? {
        return Ok(());
    }
    Err(ApiError::forbidden("The server access list of this room does not allow your server"))
}
