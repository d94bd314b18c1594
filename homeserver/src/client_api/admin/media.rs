//! What administrators do to media: withhold, protect, delete, block by content, and look who has stored what. Paths and
//! shapes are Synapse's, since that is what existing tools speak; blocking by content is Kith's own.

use axum::{
    Router,
    extract::State,
    routing::{delete, get, post, put},
};
use hs_http::{ApiError, JsonBody, JsonReply, PathArgs, QueryArgs};
use hs_model::ids::UserNid;
use hs_rooms::Rooms;
use hs_storage::{
    StorageError, Txn,
    media::MediaHash,
    media_admin::{MediaItem, MediaQuery},
};
use media_repo::{Failure, MediaId, MediaUri, Repository, store::hex};
use ruma::{OwnedRoomId, OwnedUserId};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::client_api::{ClientState, MediaServices, auth::Session};

const DEFAULT_LIMIT: i64 = 100;
const MAX_LIMIT: i64 = 1_000;
/// How many events that use a file are shown.
const MAX_USES: i64 = 100;

pub(in crate::client_api) fn routes() -> Router<ClientState> {
    const ADMIN: &str = "/_synapse/admin/v1";
    Router::new()
        .route(&format!("{ADMIN}/media/{{server}}/{{id}}"), delete(delete_one))
        .route(&format!("{ADMIN}/media/delete"), post(delete_old))
        .route(&format!("{ADMIN}/purge_media_cache"), post(purge_cache))
        .route(&format!("{ADMIN}/media/quarantine/{{server}}/{{id}}"), post(quarantine_one))
        .route(&format!("{ADMIN}/media/unquarantine/{{server}}/{{id}}"), post(unquarantine_one))
        .route(&format!("{ADMIN}/media/protect/{{id}}"), post(protect))
        .route(&format!("{ADMIN}/media/unprotect/{{id}}"), post(unprotect))
        .route(&format!("{ADMIN}/user/{{user}}/media/quarantine"), post(quarantine_of_user))
        .route(&format!("{ADMIN}/room/{{room}}/media/quarantine"), post(quarantine_of_room))
        .route(&format!("{ADMIN}/room/{{room}}/media"), get(list_of_room))
        .route(&format!("{ADMIN}/users/{{user}}/media"), get(list_of_user).delete(delete_of_user))
        .route(&format!("{ADMIN}/statistics/users/media"), get(usage))
        .route("/_kith/admin/v1/media/info/{server}/{id}", get(info))
        .route("/_kith/admin/v1/media/blocked", get(list_blocked))
        .route("/_kith/admin/v1/media/blocked/{hash}", put(block).delete(unblock))
}

/// `DELETE /_synapse/admin/v1/media/{server}/{id}`
async fn delete_one(
    session: Session,
    State(media): State<MediaServices>,
    PathArgs((server, id)): PathArgs<(String, String)>,
) -> Result<JsonReply<Value>, ApiError> {
    session.must_be_admin()?;
    let repository = &media.repository;
    let uri = uri(&server, &id)?;
    let item = find(repository, &uri).await?;
    repository.delete(&[item.nid], "admin").await.map_err(failure)?;
    Ok(JsonReply(json!({ "deleted_media": [id], "total": 1 })))
}

#[derive(Debug, Deserialize)]
struct Old {
    before_ts: i64,
    size_gt: Option<i64>,
    keep_profiles: Option<bool>,
}

/// `POST /_synapse/admin/v1/media/delete`
async fn delete_old(
    session: Session,
    State(media): State<MediaServices>,
    QueryArgs(query): QueryArgs<Old>,
) -> Result<JsonReply<Value>, ApiError> {
    session.must_be_admin()?;
    let repository = &media.repository;
    let limits = (past(query.before_ts)?, query.size_gt.unwrap_or(0));
    let keep_profiles = query.keep_profiles.unwrap_or(true);
    repository.note_uses().await.map_err(failure)?;
    let mut reader = repository.store().reader().await.map_err(ApiError::internal)?;
    let nids = reader.list_old_local_media(limits, keep_profiles).await.map_err(ApiError::internal)?;
    drop(reader);
    let ids = ids_of(repository, &nids).await?;
    repository.delete(&nids, "admin").await.map_err(failure)?;
    Ok(JsonReply(json!({ "total": ids.len(), "deleted_media": ids })))
}

#[derive(Debug, Deserialize)]
struct Cache {
    before_ts: i64,
}

/// `POST /_synapse/admin/v1/purge_media_cache`
async fn purge_cache(
    session: Session,
    State(media): State<MediaServices>,
    QueryArgs(query): QueryArgs<Cache>,
) -> Result<JsonReply<Value>, ApiError> {
    session.must_be_admin()?;
    let before = past(query.before_ts)?;
    media.repository.note_uses().await.map_err(failure)?;
    let deleted = media.repository.delete_copies(before).await.map_err(failure)?;
    Ok(JsonReply(json!({ "deleted": deleted })))
}

/// Times before 1970 or in seconds are mistakes that would look like success.
fn past(ts: i64) -> Result<i64, ApiError> {
    const YEAR_2000_MS: i64 = 946_684_800_000;
    if ts >= YEAR_2000_MS {
        return Ok(ts);
    }
    Err(ApiError::invalid_param("`before_ts` is a time in milliseconds since 1970, after the year 2000"))
}

async fn quarantine_one(
    session: Session,
    State(media): State<MediaServices>,
    PathArgs((server, id)): PathArgs<(String, String)>,
) -> Result<JsonReply<Value>, ApiError> {
    session.must_be_admin()?;
    set_quarantine(&media.repository, &uri(&server, &id)?, Some(session.user_id.as_str())).await
}

async fn unquarantine_one(
    session: Session,
    State(media): State<MediaServices>,
    PathArgs((server, id)): PathArgs<(String, String)>,
) -> Result<JsonReply<Value>, ApiError> {
    session.must_be_admin()?;
    set_quarantine(&media.repository, &uri(&server, &id)?, None).await
}

async fn set_quarantine(
    repository: &Repository,
    uri: &MediaUri,
    by: Option<&str>,
) -> Result<JsonReply<Value>, ApiError> {
    find(repository, uri).await?;
    let key = repository.key(uri);
    let keys = [(key.origin.to_owned(), key.media_id.to_owned())];
    quarantine(repository, &keys, by, false).await?;
    Ok(JsonReply(json!({})))
}

async fn quarantine(
    repository: &Repository,
    keys: &[(String, String)],
    by: Option<&str>,
    spares_protected: bool,
) -> Result<u64, ApiError> {
    let now_ms = repository.now_ms();
    write(repository, async |txn| txn.set_media_quarantine(keys, by, spares_protected, now_ms).await).await
}

async fn protect(
    session: Session,
    State(media): State<MediaServices>,
    PathArgs(id): PathArgs<String>,
) -> Result<JsonReply<Value>, ApiError> {
    session.must_be_admin()?;
    set_protection(&media.repository, &id, true).await
}

async fn unprotect(
    session: Session,
    State(media): State<MediaServices>,
    PathArgs(id): PathArgs<String>,
) -> Result<JsonReply<Value>, ApiError> {
    session.must_be_admin()?;
    set_protection(&media.repository, &id, false).await
}

async fn set_protection(
    repository: &Repository,
    id: &str,
    is_protected: bool,
) -> Result<JsonReply<Value>, ApiError> {
    let id = MediaId::parse(id).ok_or_else(unknown)?;
    let is_known = async |txn: &mut Txn| txn.set_media_protection(id.as_str(), is_protected).await;
    if write(repository, is_known).await? { Ok(JsonReply(json!({}))) } else { Err(unknown()) }
}

/// `POST /_synapse/admin/v1/user/{user}/media/quarantine`
async fn quarantine_of_user(
    session: Session,
    State(media): State<MediaServices>,
    PathArgs(user_id): PathArgs<OwnedUserId>,
) -> Result<JsonReply<Value>, ApiError> {
    session.must_be_admin()?;
    let repository = &media.repository;
    let user = user(repository, &user_id).await?;
    let (by, now_ms) = (session.user_id.as_str(), repository.now_ms());
    let count = write(repository, async |txn| txn.quarantine_media_of(user, by, now_ms).await).await?;
    Ok(JsonReply(json!({ "num_quarantined": count })))
}

/// `POST /_synapse/admin/v1/room/{room}/media/quarantine`
async fn quarantine_of_room(
    session: Session,
    State(media): State<MediaServices>,
    State(rooms): State<Rooms>,
    PathArgs(room_id): PathArgs<OwnedRoomId>,
) -> Result<JsonReply<Value>, ApiError> {
    session.must_be_admin()?;
    let keys = keys_of_room(&media.repository, &rooms, &room_id).await?;
    let count = quarantine(&media.repository, &keys, Some(session.user_id.as_str()), true).await?;
    Ok(JsonReply(json!({ "num_quarantined": count })))
}

/// `GET /_synapse/admin/v1/room/{room}/media`
async fn list_of_room(
    session: Session,
    State(media): State<MediaServices>,
    State(rooms): State<Rooms>,
    PathArgs(room_id): PathArgs<OwnedRoomId>,
) -> Result<JsonReply<Value>, ApiError> {
    session.must_be_admin()?;
    let repository = &media.repository;
    let (local, remote): (Vec<_>, Vec<_>) = keys_of_room(repository, &rooms, &room_id)
        .await?
        .into_iter()
        .partition(|(origin, _)| origin.is_empty());
    let own = &repository.options().server_name;
    let local: Vec<String> = local.into_iter().map(|(_, id)| format!("mxc://{own}/{id}")).collect();
    let remote: Vec<String> = remote.into_iter().map(|(origin, id)| format!("mxc://{origin}/{id}")).collect();
    Ok(JsonReply(json!({ "local": local, "remote": remote })))
}

async fn keys_of_room(
    repository: &Repository,
    rooms: &Rooms,
    room_id: &OwnedRoomId,
) -> Result<Vec<(String, String)>, ApiError> {
    // What was said a moment ago counts.
    repository.catch_up().await.map_err(failure)?;
    let mut reader = rooms.store().reader().await.map_err(ApiError::internal)?;
    let room = reader.find_room(room_id).await.map_err(ApiError::internal)?;
    let room = room.ok_or_else(|| ApiError::not_found("There is no such room"))?;
    reader.list_room_media(room.nid).await.map_err(ApiError::internal)
}

#[derive(Debug, Deserialize)]
struct Page {
    from: Option<u32>,
    limit: Option<u32>,
    dir: Option<String>,
}

impl Page {
    fn query(&self) -> Result<MediaQuery<'static>, ApiError> {
        let oldest_first = match self.dir.as_deref() {
            None | Some("b") => false,
            Some("f") => true,
            Some(_) => return Err(ApiError::invalid_param("`dir` must be `f` or `b`")),
        };
        Ok(MediaQuery {
            oldest_first,
            skip: self.from.unwrap_or_default().into(),
            limit: self.limit.map_or(DEFAULT_LIMIT, i64::from).min(MAX_LIMIT),
            ..MediaQuery::default()
        })
    }
}

/// `GET /_synapse/admin/v1/users/{user}/media`
async fn list_of_user(
    session: Session,
    State(media): State<MediaServices>,
    PathArgs(user_id): PathArgs<OwnedUserId>,
    QueryArgs(page): QueryArgs<Page>,
) -> Result<JsonReply<Value>, ApiError> {
    session.must_be_admin()?;
    let user = user(&media.repository, &user_id).await?;
    let query = MediaQuery { uploader: Some(user), ..page.query()? };
    let (items, total) = list(&media.repository, query).await?;
    let next = query.skip + items.len() as i64;
    let shown: Vec<Value> = items.iter().map(described).collect();
    let mut answer = json!({ "media": shown, "total": total });
    if next < total {
        answer["next_token"] = next.into();
    }
    Ok(JsonReply(answer))
}

/// `DELETE /_synapse/admin/v1/users/{user}/media`
async fn delete_of_user(
    session: Session,
    State(media): State<MediaServices>,
    PathArgs(user_id): PathArgs<OwnedUserId>,
    QueryArgs(page): QueryArgs<Page>,
) -> Result<JsonReply<Value>, ApiError> {
    session.must_be_admin()?;
    let user = user(&media.repository, &user_id).await?;
    let query = MediaQuery { uploader: Some(user), ..page.query()? };
    let (items, _) = list(&media.repository, query).await?;
    let nids: Vec<i64> = items.iter().map(|item| item.nid).collect();
    media.repository.delete(&nids, "admin").await.map_err(failure)?;
    let ids: Vec<&str> = items.iter().map(|item| item.media_id.as_str()).collect();
    Ok(JsonReply(json!({ "deleted_media": ids, "total": ids.len() })))
}

/// `GET /_synapse/admin/v1/statistics/users/media`
async fn usage(
    session: Session,
    State(media): State<MediaServices>,
    QueryArgs(page): QueryArgs<Page>,
) -> Result<JsonReply<Value>, ApiError> {
    session.must_be_admin()?;
    let MediaQuery { skip, limit, .. } = page.query()?;
    let mut reader = media.repository.store().reader().await.map_err(ApiError::internal)?;
    let (users, total) = reader.list_media_usage(skip, limit).await.map_err(ApiError::internal)?;
    let next = skip + users.len() as i64;
    let users: Vec<Value> = users
        .into_iter()
        .map(|user| {
            let name: Option<Value> = user.display_name.and_then(|json| serde_json::from_str(&json).ok());
            json!({
                "user_id": user.user_id,
                "displayname": name,
                "media_count": user.files,
                "media_length": user.bytes,
            })
        })
        .collect();
    let mut answer = json!({ "users": users, "total": total });
    if next < total {
        answer["next_token"] = next.into();
    }
    Ok(JsonReply(answer))
}

/// `GET /_kith/admin/v1/media/info/{server}/{id}`: everything that is known of media, and where they are used.
async fn info(
    session: Session,
    State(media): State<MediaServices>,
    PathArgs((server, id)): PathArgs<(String, String)>,
) -> Result<JsonReply<Value>, ApiError> {
    session.must_be_admin()?;
    let uri = uri(&server, &id)?;
    media.repository.catch_up().await.map_err(failure)?;
    let item = find(&media.repository, &uri).await?;
    let mut reader = media.repository.store().reader().await.map_err(ApiError::internal)?;
    let uses = reader.list_media_uses(media.repository.key(&uri), MAX_USES).await;
    let uses = uses.map_err(ApiError::internal)?.into_iter();
    let uses: Vec<Value> =
        uses.map(|(room_id, event_id)| json!({ "room_id": room_id, "event_id": event_id })).collect();
    let mut answer = described(&item);
    answer["sha256"] = item.hash.as_deref().map(hex).into();
    answer["uploader"] = item.uploader.as_ref().map(|user| user.as_str()).into();
    answer["used_by"] = uses.into();
    Ok(JsonReply(answer))
}

/// `GET /_kith/admin/v1/media/blocked`
async fn list_blocked(
    session: Session,
    State(media): State<MediaServices>,
) -> Result<JsonReply<Value>, ApiError> {
    session.must_be_admin()?;
    let mut reader = media.repository.store().reader().await.map_err(ApiError::internal)?;
    let blocked = reader.list_blocked_hashes().await.map_err(ApiError::internal)?;
    let blocked: Vec<Value> = blocked
        .into_iter()
        .map(|one| {
            json!({
                "sha256": hex(&one.hash),
                "reason": one.reason,
                "blocked_by": one.blocked_by,
                "created_ts": one.created_at,
            })
        })
        .collect();
    Ok(JsonReply(json!({ "blocked": blocked })))
}

#[derive(Debug, Deserialize)]
struct Reason {
    reason: Option<String>,
}

/// `PUT /_kith/admin/v1/media/blocked/{hash}`
async fn block(
    session: Session,
    State(media): State<MediaServices>,
    PathArgs(hash): PathArgs<String>,
    JsonBody(body): JsonBody<Reason>,
) -> Result<JsonReply<Value>, ApiError> {
    session.must_be_admin()?;
    let hash = parse_hash(&hash)?;
    let repository = &media.repository;
    let (reason, by, now_ms) = (body.reason.as_deref(), session.user_id.as_str(), repository.now_ms());
    write(repository, async |txn| txn.block_media_hash(&hash, reason, by, now_ms).await).await?;
    Ok(JsonReply(json!({})))
}

/// `DELETE /_kith/admin/v1/media/blocked/{hash}`
async fn unblock(
    session: Session,
    State(media): State<MediaServices>,
    PathArgs(hash): PathArgs<String>,
) -> Result<JsonReply<Value>, ApiError> {
    session.must_be_admin()?;
    let hash = parse_hash(&hash)?;
    if write(&media.repository, async |txn| txn.unblock_media_hash(&hash).await).await? {
        Ok(JsonReply(json!({})))
    } else {
        Err(ApiError::not_found("This content is not blocked"))
    }
}

fn parse_hash(text: &str) -> Result<MediaHash, ApiError> {
    let digits = text.as_bytes();
    let mut hash = [0; 32];
    let is_hash = digits.len() == 64
        && hash.iter_mut().zip(digits.chunks_exact(2)).all(|(byte, pair)| {
            let parsed = std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok());
            parsed.map(|parsed| *byte = parsed).is_some()
        });
    is_hash
        .then_some(hash)
        .ok_or_else(|| ApiError::invalid_param("A content is named by the 64 digits of its SHA-256"))
}

fn uri(server: &str, id: &str) -> Result<MediaUri, ApiError> {
    MediaUri::from_parts(server, id).ok_or_else(unknown)
}

fn unknown() -> ApiError {
    ApiError::not_found("There is no such file")
}

/// Writes in a transaction of its own.
async fn write<T>(
    repository: &Repository,
    change: impl AsyncFnOnce(&mut Txn) -> Result<T, StorageError>,
) -> Result<T, ApiError> {
    let written = async {
        let mut txn = repository.store().begin().await?;
        let outcome = change(&mut txn).await?;
        txn.commit().await?;
        Ok::<_, StorageError>(outcome)
    };
    written.await.map_err(ApiError::internal)
}

async fn user(repository: &Repository, user_id: &OwnedUserId) -> Result<UserNid, ApiError> {
    let user = repository.store().find_user(user_id).await.map_err(ApiError::internal)?;
    user.ok_or_else(|| ApiError::not_found("There is no such user"))
}

async fn list(repository: &Repository, query: MediaQuery<'_>) -> Result<(Vec<MediaItem>, i64), ApiError> {
    let mut reader = repository.store().reader().await.map_err(ApiError::internal)?;
    reader.list_media(query).await.map_err(ApiError::internal)
}

async fn find(repository: &Repository, uri: &MediaUri) -> Result<MediaItem, ApiError> {
    let query = MediaQuery { key: Some(repository.key(uri)), limit: 1, ..MediaQuery::default() };
    list(repository, query).await?.0.pop().ok_or_else(unknown)
}

async fn ids_of(repository: &Repository, nids: &[i64]) -> Result<Vec<String>, ApiError> {
    let query = MediaQuery { nids: Some(nids), limit: i64::MAX, ..MediaQuery::default() };
    Ok(list(repository, query).await?.0.into_iter().map(|item| item.media_id).collect())
}

fn described(item: &MediaItem) -> Value {
    json!({
        "media_id": item.media_id,
        "media_type": item.content_type,
        "upload_name": item.file_name,
        "media_length": item.size,
        "created_ts": item.created_at,
        "last_access_ts": item.used_at,
        "quarantined_by": item.quarantined_by,
        "safe_from_quarantine": item.is_protected,
    })
}

fn failure(failure: Failure) -> ApiError {
    ApiError::internal(failure)
}
