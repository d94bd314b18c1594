//! Kith begins, and Synapse follows. Taking back a knock is left out: Synapse tells nobody of it.

use crate::federation::scenes::{self, World};
use crate::federation::signals;
use sytest_like::Pair;

async fn two() -> World {
    World::on(Pair::kith_and_synapse().await).await
}

/// Messages of both sides reach the other, in the order in which they were said.
/// spec: server-server-api/#transactions
/// covers: PUT /_matrix/federation/v1/send/{txnId}
/// not on synapse: it is the other server
#[tokio::test]
async fn messages_both_ways() {
    scenes::messages_both_ways(&two().await).await;
}

/// An invite reaches the other server, is accepted, and both talk.
/// spec: server-server-api/#inviting-to-a-room
/// covers: PUT /_matrix/federation/v2/invite/{roomId}/{eventId}
/// covers: GET /_matrix/federation/v1/make_join/{roomId}/{userId}
/// covers: PUT /_matrix/federation/v2/send_join/{roomId}/{eventId}
/// not on synapse: it is the other server
#[tokio::test]
async fn invite_is_accepted() {
    scenes::invite_is_accepted(&two().await).await;
}

/// An invite is turned down, and the other side hears of it.
/// spec: server-server-api/#leaving-rooms-rejecting-invites
/// covers: PUT /_matrix/federation/v2/invite/{roomId}/{eventId}
/// covers: GET /_matrix/federation/v1/make_leave/{roomId}/{userId}
/// covers: PUT /_matrix/federation/v2/send_leave/{roomId}/{eventId}
/// not on synapse: it is the other server
#[tokio::test]
async fn invite_is_declined() {
    scenes::invite_is_declined(&two().await).await;
}

/// An invite that is taken back is gone on the other side.
/// spec: server-server-api/#inviting-to-a-room
/// covers: PUT /_matrix/federation/v2/invite/{roomId}/{eventId}
/// covers: PUT /_matrix/federation/v1/send/{txnId}
/// not on synapse: it is the other server
#[tokio::test]
async fn invite_is_taken_back() {
    scenes::invite_is_taken_back(&two().await).await;
}

/// Who leaves is gone on the other side, and hears nothing more.
/// spec: server-server-api/#transactions
/// covers: PUT /_matrix/federation/v1/send/{txnId}
/// not on synapse: it is the other server
#[tokio::test]
async fn leaving() {
    scenes::leaving(&two().await).await;
}

/// Who comes back finds what was said and changed meanwhile.
/// spec: server-server-api/#joining-rooms
/// covers: PUT /_matrix/federation/v2/send_join/{roomId}/{eventId}
/// covers: GET /_matrix/federation/v1/backfill/{roomId}
/// not on synapse: it is the other server
#[tokio::test]
async fn coming_back() {
    scenes::coming_back(&two().await).await;
}

/// What was said before a join is read by going back.
/// spec: server-server-api/#backfilling-and-retrieving-missing-events
/// covers: GET /_matrix/federation/v1/backfill/{roomId}
/// covers: GET /_matrix/client/v3/rooms/{roomId}/messages
/// not on synapse: it is the other server
#[tokio::test]
async fn history_is_read_back() {
    scenes::history_is_read_back(&two().await).await;
}

/// Who was kicked may come back, who was banned may not, until the ban is lifted.
/// spec: server-server-api/#joining-rooms
/// covers: GET /_matrix/federation/v1/make_join/{roomId}/{userId}
/// covers: POST /_matrix/client/v3/rooms/{roomId}/ban
/// covers: POST /_matrix/client/v3/rooms/{roomId}/kick
/// not on synapse: it is the other server
#[tokio::test]
async fn kick_and_ban() {
    scenes::kick_and_ban(&two().await).await;
}

/// Somebody knocks from the other server, and is let in.
/// spec: server-server-api/#knocking-upon-a-room
/// covers: GET /_matrix/federation/v1/make_knock/{roomId}/{userId}
/// covers: PUT /_matrix/federation/v1/send_knock/{roomId}/{eventId}
/// covers: POST /_matrix/client/v3/knock/{roomIdOrAlias}
/// not on synapse: it is the other server
#[tokio::test]
async fn knock_is_answered() {
    scenes::knock_is_answered(&two().await).await;
}

/// A room for the members of another room takes them from elsewhere, and nobody else.
/// spec: server-server-api/#restricted-rooms
/// covers: GET /_matrix/federation/v1/make_join/{roomId}/{userId}
/// covers: PUT /_matrix/federation/v2/send_join/{roomId}/{eventId}
/// not on synapse: it is the other server
#[tokio::test]
async fn restricted_join() {
    scenes::restricted_join(&two().await).await;
}

/// Power that is given away here is used over there.
/// spec: server-server-api/#transactions
/// covers: PUT /_matrix/federation/v1/send/{txnId}
/// not on synapse: it is the other server
#[tokio::test]
async fn power_is_given_away() {
    scenes::power_is_given_away(&two().await).await;
}

/// A redaction takes the content away on both sides.
/// spec: server-server-api/#transactions
/// covers: PUT /_matrix/federation/v1/send/{txnId}
/// not on synapse: it is the other server
#[tokio::test]
async fn redaction() {
    scenes::redaction(&two().await).await;
}

/// A thread that is begun here and continued there is one thread on both sides.
/// spec: server-server-api/#transactions
/// covers: PUT /_matrix/federation/v1/send/{txnId}
/// not on synapse: it is the other server
#[tokio::test]
async fn threads() {
    scenes::threads(&two().await).await;
}

/// An upgraded room is followed to its successor.
/// spec: client-server-api/#room-upgrades
/// covers: POST /_matrix/client/v3/rooms/{roomId}/upgrade
/// not on synapse: it is the other server
#[tokio::test]
async fn upgrade() {
    scenes::upgrade(&two().await).await;
}

/// A room is found by its alias and joined through the server that has it.
/// spec: server-server-api/#querying-for-information
/// covers: GET /_matrix/federation/v1/query/directory
/// not on synapse: it is the other server
#[tokio::test]
async fn aliases() {
    scenes::aliases(&two().await).await;
}

/// The directory of the other server is read and searched.
/// spec: server-server-api/#public-room-directory
/// covers: GET /_matrix/federation/v1/publicRooms
/// covers: POST /_matrix/federation/v1/publicRooms
/// not on synapse: it is the other server
#[tokio::test]
async fn public_rooms() {
    scenes::public_rooms(&two().await).await;
}

/// Names are asked for on the other server.
/// spec: server-server-api/#querying-for-information
/// covers: GET /_matrix/federation/v1/query/profile
/// not on synapse: it is the other server
#[tokio::test]
async fn profiles() {
    scenes::profiles(&two().await).await;
}

/// A space shows its rooms on the other side.
/// spec: server-server-api/#spaces
/// covers: GET /_matrix/federation/v1/hierarchy/{roomId}
/// not on synapse: it is the other server
#[tokio::test]
async fn spaces() {
    scenes::spaces(&two().await).await;
}

/// Typing and its end are seen on the other side.
/// spec: server-server-api/#typing-notifications
/// covers: PUT /_matrix/federation/v1/send/{txnId}
/// not on synapse: it is the other server
#[tokio::test]
async fn typing() {
    signals::typing(&two().await).await;
}

/// A receipt is seen on the other side.
/// spec: server-server-api/#receipts
/// covers: PUT /_matrix/federation/v1/send/{txnId}
/// not on synapse: it is the other server
#[tokio::test]
async fn receipts() {
    signals::receipts(&two().await).await;
}

/// Presence is seen on the other side.
/// spec: server-server-api/#presence
/// covers: PUT /_matrix/federation/v1/send/{txnId}
/// not on synapse: it is the other server
#[tokio::test]
async fn presence() {
    signals::presence(&two().await).await;
}

/// A message to a device arrives on the other side, once.
/// spec: server-server-api/#send-to-device-messaging
/// covers: PUT /_matrix/federation/v1/send/{txnId}
/// not on synapse: it is the other server
#[tokio::test]
async fn to_device() {
    signals::to_device(&two().await).await;
}

/// Keys are found and claimed from the other side, and new ones told of.
/// spec: server-server-api/#end-to-end-encryption
/// covers: POST /_matrix/federation/v1/user/keys/query
/// covers: POST /_matrix/federation/v1/user/keys/claim
/// not on synapse: it is the other server
#[tokio::test]
async fn keys() {
    signals::keys(&two().await).await;
}
