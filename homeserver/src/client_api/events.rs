//! The endpoints of before `/sync`, which old clients and bots still call: `GET /_matrix/client/v3/events`,
//! `GET /_matrix/client/v3/events/{eventId}`, `GET /_matrix/client/v3/initialSync`.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3events>

use std::{collections::HashSet, sync::Arc, time::Duration};

use axum::{Router, extract::State, routing::get};
use hs_ephemeral::Ephemeral;
use hs_http::{ApiError, JsonReply, PathArgs, QueryArgs, RawJson};
use hs_model::stream::SyncToken;
use hs_rooms::{Rooms, client_event::RoomId};
use hs_storage::presence::Presence;
use hs_sync::{EventStream, InitialState, Request, Sync};
use ruma::{OwnedEventId, OwnedRoomId, UInt, api::client::filter::FilterDefinition};
use serde::Deserialize;

use super::{
    ClientState,
    auth::Session,
    rooms::{
        find_visible,
        reading::{open_room, viewer},
    },
    sync::api_error,
};

/// How many events a list holds for each room, and how many a room begins with when the client does not say.
const MAX_EVENTS: u32 = 1_000;
const DEFAULT_LIMIT: u32 = 10;

pub(super) fn routes() -> Router<ClientState> {
    let mut router = Router::new();
    for version in ["r0", "v3"] {
        router = router
            .route(&format!("/_matrix/client/{version}/events"), get(get_stream))
            .route(&format!("/_matrix/client/{version}/events/{{event_id}}"), get(get_one))
            .route(&format!("/_matrix/client/{version}/initialSync"), get(get_initial));
    }
    router
}

#[derive(Debug, Deserialize)]
struct StreamQuery {
    from: Option<String>,
    timeout: Option<u64>,
    room_id: Option<OwnedRoomId>,
}

/// `GET /_matrix/client/v3/events`: of all rooms, or of one that the user may read without being in it.
async fn get_stream(
    session: Session,
    State(sync): State<Arc<Sync>>,
    State(rooms): State<Rooms>,
    State(ephemeral): State<Ephemeral>,
    QueryArgs(query): QueryArgs<StreamQuery>,
) -> Result<JsonReply<EventStream>, ApiError> {
    // Some clients send an empty one when they have none.
    let from = query.from.as_deref().filter(|from| !from.is_empty()).map(str::parse::<SyncToken>).transpose();
    let from = from.map_err(|error| ApiError::invalid_param(format!("from: {error}")))?;
    let since = from.map_or_else(|| rooms.store().applied(), |token| token.position);
    let start = SyncToken { position: since, to_device: since }.to_string();
    let timeout = query.timeout.map_or(Duration::ZERO, Duration::from_millis);
    if let Some(room_id) = query.room_id {
        let (room, _) = open_room(&rooms, &session, &room_id).await?;
        let viewer = viewer(&session);
        let peeked = Box::pin(sync.peek(&room, &viewer, (since, timeout))).await.map_err(api_error)?;
        let chunk = rooms.render(&room, &peeked.events, &viewer, RoomId::Included).await;
        let end = SyncToken { position: peeked.until, to_device: peeked.until }.to_string();
        return Ok(JsonReply(EventStream::new(start, end, chunk.map_err(ApiError::internal)?)));
    }
    let mut filter = FilterDefinition::default();
    filter.room.timeline.limit = Some(MAX_EVENTS.into());
    let request = Request { since: Some(since), timeout, ..request(&session, filter) };
    let _connected = ephemeral.syncing(session.user, &session.user_id, session.device, Presence::Online);
    let response = Box::pin(sync.sync_v3(&request)).await.map_err(api_error)?;
    Ok(JsonReply(response.into_event_stream(start)))
}

/// `GET /_matrix/client/v3/events/{eventId}`
async fn get_one(
    session: Session,
    State(rooms): State<Rooms>,
    PathArgs(event_id): PathArgs<OwnedEventId>,
) -> Result<RawJson, ApiError> {
    let unknown = || ApiError::not_found("There is no such event, or you may not see it");
    let mut reader = rooms.store().reader().await.map_err(ApiError::internal)?;
    let event = reader.find_event(&event_id).await.map_err(ApiError::internal)?.ok_or_else(unknown)?;
    drop(reader);
    let room = rooms.find_by_nid(event.room).await.map_err(ApiError::internal)?.ok_or_else(unknown)?;
    let viewer = viewer(&session);
    let event = find_visible(&rooms, &room, &viewer, &event_id).await?.ok_or_else(unknown)?;
    let rendered = rooms.render(&room, &[event], &viewer, RoomId::Included).await;
    let event = rendered.map_err(ApiError::internal)?.pop().ok_or_else(unknown)?;
    Ok(RawJson(Box::<str>::from(event).into()))
}

#[derive(Debug, Deserialize)]
struct InitialQuery {
    limit: Option<u32>,
    #[serde(default)]
    archived: bool,
}

/// `GET /_matrix/client/v3/initialSync`
async fn get_initial(
    session: Session,
    State(sync): State<Arc<Sync>>,
    State(rooms): State<Rooms>,
    State(ephemeral): State<Ephemeral>,
    QueryArgs(query): QueryArgs<InitialQuery>,
) -> Result<JsonReply<InitialState>, ApiError> {
    let mut filter = FilterDefinition::default();
    filter.room.timeline.limit = Some(UInt::from(query.limit.unwrap_or(DEFAULT_LIMIT).min(MAX_EVENTS)));
    filter.room.include_leave = query.archived;
    let request = Request { use_state_after: true, ..request(&session, filter) };
    let _connected = ephemeral.syncing(session.user, &session.user_id, session.device, Presence::Online);
    let response = Box::pin(sync.sync_v3(&request)).await.map_err(api_error)?;
    let published = published(&rooms, &response.room_ids()).await.map_err(ApiError::internal)?;
    Ok(JsonReply(response.into_initial_state(&published)))
}

/// Those of some rooms that stand in the directory.
async fn published(
    rooms: &Rooms,
    ids: &[OwnedRoomId],
) -> Result<HashSet<OwnedRoomId>, hs_storage::StorageError> {
    let mut nids = Vec::with_capacity(ids.len());
    for id in ids {
        // In memory, since something was just told of them.
        nids.extend(rooms.find(id).await?.map(|room| room.nid));
    }
    let rows = rooms.store().reader().await?.list_rooms(&nids).await?;
    Ok(rows.into_iter().filter(|row| row.is_published).map(|row| row.room_id).collect())
}

/// All of what concerns people, without what is for devices: these endpoints tell nothing of that.
fn request(session: &Session, filter: FilterDefinition) -> Request {
    Request {
        user: session.user,
        user_id: session.user_id.clone(),
        device: session.device,
        since: None,
        to_device_since: None,
        filter: Arc::new(filter),
        full_state: false,
        use_state_after: false,
        with_encryption: false,
        timeout: Duration::ZERO,
    }
}
