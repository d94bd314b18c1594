//! `/_matrix/client/v4/sync` and `/_matrix/client/unstable/org.matrix.simplified_msc3575/sync`: simplified sliding sync.
//!
//! <https://github.com/matrix-org/matrix-spec-proposals/pull/4186>

mod unstable;
mod v4;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::extract::State;
use hs_ephemeral::Ephemeral;
use hs_http::{ApiError, JsonBody, JsonReply, QueryArgs};
use hs_model::stream::StreamToken;
use hs_storage::presence::Presence;
use hs_sync::{
    SlidingError, Sync,
    sliding::{
        Dialect, Extensions, List, Profiles, Request, Response, RoomConfig, RoomScope, StatePattern, ToDevice,
    },
};
use http::StatusCode;
use ruma::{OwnedRoomId, RoomId};
use serde::Deserialize;

use crate::client_api::auth::Session;

/// The path of the dialect that clients speak while the proposal is not part of the specification.
pub(super) const UNSTABLE_PATH: &str = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync";
/// The path of the proposal.
pub(super) const V4_PATH: &str = "/_matrix/client/v4/sync";

/// The proposal's limit of lists, and of subscriptions.
const MAX_RULES: usize = 100;
/// How long names of lists and connections may be.
const MAX_NAME_BYTES: usize = 255;
/// How many state events all lists and subscriptions may name or exclude together.
const MAX_STATE_PATTERNS: usize = 2000;
/// How many events of a room are sent at most.
const MAX_TIMELINE: u64 = 100;
/// How many ranges a list may have.
const MAX_RANGES: usize = 100;

/// How many things an extension tells of at once, without a wish and at most.
const DEFAULT_EXTENSION_LIMIT: u64 = 100;
const MAX_EXTENSION_LIMIT: u64 = 1000;

/// How many messages to the device a response holds at most, as the specification recommends.
const MAX_MESSAGES: u64 = 100;

/// What stands in the query of the unstable dialect.
#[derive(Debug, Deserialize)]
pub(in crate::client_api) struct Query {
    pos: Option<String>,
    timeout: Option<u64>,
    set_presence: Option<String>,
}

/// `POST /_matrix/client/unstable/org.matrix.simplified_msc3575/sync`
pub(in crate::client_api) async fn post_unstable(
    session: Session,
    State(sync): State<Arc<Sync>>,
    State(ephemeral): State<Ephemeral>,
    QueryArgs(query): QueryArgs<Query>,
    JsonBody(body): JsonBody<unstable::Body>,
) -> Result<JsonReply<Response>, ApiError> {
    let lists = body.lists.into_iter().map(|(name, list)| (name, list.read(&session))).collect();
    let subscriptions =
        body.room_subscriptions.into_iter().map(|(id, room)| (id, room.read(&session))).collect();
    let asked = Asked {
        dialect: Dialect::Unstable,
        conn_id: body.conn_id,
        pos: query.pos,
        txn_id: body.txn_id,
        timeout_ms: query.timeout,
        set_presence: query.set_presence,
        lists,
        subscriptions,
        extensions: body.extensions,
    };
    answer(&session, &sync, &ephemeral, asked).await
}

/// `POST /_matrix/client/v4/sync`
pub(in crate::client_api) async fn post_v4(
    session: Session,
    State(sync): State<Arc<Sync>>,
    State(ephemeral): State<Ephemeral>,
    JsonBody(body): JsonBody<v4::Body>,
) -> Result<JsonReply<Response>, ApiError> {
    let lists: BTreeMap<String, List> =
        body.lists.into_iter().map(|(name, list)| (name, list.read())).collect();
    if lists.keys().any(|name| !is_opaque_id(name)) {
        return Err(ApiError::invalid_param("lists: a name is no opaque identifier"));
    }
    let subscriptions = body.room_subscriptions.into_iter().map(|(id, room)| (id, room.read())).collect();
    let asked = Asked {
        dialect: Dialect::V4,
        conn_id: body.conn_id,
        pos: body.pos,
        txn_id: None,
        timeout_ms: body.timeout,
        set_presence: body.set_presence,
        lists,
        subscriptions,
        extensions: body.extensions,
    };
    answer(&session, &sync, &ephemeral, asked).await
}

/// A request as both dialects have it.
struct Asked {
    dialect: Dialect,
    conn_id: Option<String>,
    pos: Option<String>,
    txn_id: Option<String>,
    timeout_ms: Option<u64>,
    set_presence: Option<String>,
    lists: BTreeMap<String, List>,
    subscriptions: BTreeMap<OwnedRoomId, RoomConfig>,
    extensions: ExtensionsBody,
}

async fn answer(
    session: &Session,
    sync: &Sync,
    ephemeral: &Ephemeral,
    asked: Asked,
) -> Result<JsonReply<Response>, ApiError> {
    let presence = asked.set_presence.as_deref().unwrap_or("online");
    let presence = Presence::parse(presence)
        .ok_or_else(|| ApiError::invalid_param("set_presence: not offline, online or unavailable"))?;
    let conn_id = asked.conn_id.unwrap_or_default();
    check_limits(&conn_id, &asked.lists, &asked.subscriptions)?;
    let pos = match asked.pos {
        Some(pos) => Some(pos.parse().map_err(|_| unknown_pos())?),
        None => None,
    };
    let request = Request {
        user: session.user,
        user_id: session.user_id.clone(),
        device: session.device,
        dialect: asked.dialect,
        conn_id,
        pos,
        txn_id: asked.txn_id,
        timeout: Duration::from_millis(asked.timeout_ms.unwrap_or(0)),
        lists: asked.lists,
        subscriptions: asked.subscriptions,
        extensions: asked.extensions.read()?,
    };
    // The user counts as connected until the answer is ready.
    let _connected = ephemeral.syncing(session.user, &session.user_id, session.device, presence);
    sync.sync_sliding(&request).await.map(JsonReply).map_err(api_error)
}

fn check_limits(
    conn_id: &str,
    lists: &BTreeMap<String, List>,
    subscriptions: &BTreeMap<OwnedRoomId, RoomConfig>,
) -> Result<(), ApiError> {
    if conn_id.len() > MAX_NAME_BYTES {
        return Err(ApiError::invalid_param("conn_id: longer than 255 bytes"));
    }
    if lists.len() > MAX_RULES || subscriptions.len() > MAX_RULES {
        return Err(ApiError::invalid_param("There are more than 100 lists or subscriptions"));
    }
    if lists.keys().any(|name| name.len() > MAX_NAME_BYTES) {
        return Err(ApiError::invalid_param("lists: a name is longer than 255 bytes"));
    }
    if lists.values().any(|list| list.ranges.as_ref().is_some_and(|ranges| ranges.len() > MAX_RANGES)) {
        return Err(ApiError::invalid_param("ranges: more than 100"));
    }
    let configs = lists.values().map(|list| &list.config).chain(subscriptions.values());
    let patterns: usize =
        configs.map(|config| config.required_state.include.len() + config.required_state.exclude.len()).sum();
    if patterns > MAX_STATE_PATTERNS {
        return Err(ApiError::invalid_param("required_state: more than 2000 entries"));
    }
    Ok(())
}

/// The grammar of names that clients choose freely.
///
/// <https://spec.matrix.org/v1.19/appendices/#opaque-identifiers>
fn is_opaque_id(name: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
}

fn timeline_limit(limit: u64) -> u16 {
    limit.min(MAX_TIMELINE) as u16
}

/// No event has a type or state key that is longer, so patterns with one match nothing.
fn can_match(pattern: &StatePattern) -> bool {
    let fits = |text: &Option<String>| text.as_ref().is_none_or(|text| text.len() <= MAX_NAME_BYTES);
    fits(&pattern.event_type) && fits(&pattern.state_key)
}

/// The extensions of a request, by their names in both dialects. Others are none of ours.
#[derive(Debug, Default, Deserialize)]
struct ExtensionsBody {
    #[serde(default)]
    to_device: Option<ToDeviceExtension>,
    #[serde(default)]
    e2ee: Option<Switch>,
    #[serde(default)]
    account_data: Option<ScopedExtension>,
    #[serde(default)]
    receipts: Option<ScopedExtension>,
    #[serde(default)]
    typing: Option<ScopedExtension>,
    #[serde(default, rename = "io.element.msc4308.thread_subscriptions")]
    thread_subscriptions: Option<LimitedExtension>,
    #[serde(default, rename = "org.matrix.msc4354.sticky_events")]
    sticky_events: Option<Switch>,
    #[serde(default, rename = "org.matrix.msc4262.profiles")]
    profiles: Option<ProfilesExtension>,
}

/// An extension that is on or off.
#[derive(Debug, Deserialize)]
struct Switch {
    enabled: Option<bool>,
}

/// Messages to the device.
#[derive(Debug, Deserialize)]
struct ToDeviceExtension {
    enabled: Option<bool>,
    limit: Option<u64>,
    since: Option<String>,
}

impl ToDeviceExtension {
    /// What is wanted, when the extension is.
    fn read(self) -> Result<Option<ToDevice>, ApiError> {
        if self.enabled != Some(true) {
            return Ok(None);
        }
        let since = self.since.as_deref().map(str::parse::<StreamToken>).transpose();
        let since = since.map_err(|error| ApiError::invalid_param(format!("to_device.since: {error}")))?;
        let limit = self.limit.unwrap_or(MAX_MESSAGES).clamp(1, MAX_MESSAGES) as usize;
        Ok(Some(ToDevice { since: since.map(|token| token.0), limit }))
    }
}

/// An extension that tells of a number of things at most.
#[derive(Debug, Deserialize)]
struct LimitedExtension {
    enabled: Option<bool>,
    limit: Option<u64>,
}

impl LimitedExtension {
    /// The limit, when the extension is wanted.
    fn read(self) -> Option<usize> {
        let limit = self.limit.unwrap_or(DEFAULT_EXTENSION_LIMIT).clamp(1, MAX_EXTENSION_LIMIT);
        (self.enabled == Some(true)).then_some(limit as usize)
    }
}

/// An extension that applies to rooms.
#[derive(Debug, Deserialize)]
struct ScopedExtension {
    enabled: Option<bool>,
    lists: Option<Vec<String>>,
    rooms: Option<Vec<String>>,
}

/// Profiles: all fields, or those that are named.
#[derive(Debug, Deserialize)]
struct ProfilesExtension {
    #[serde(flatten)]
    scope: ScopedExtension,
    fields: Option<Vec<String>>,
}

impl ProfilesExtension {
    fn read(self) -> Option<Profiles> {
        Some(Profiles { scope: self.scope.read()?, fields: self.fields })
    }
}

impl ExtensionsBody {
    fn read(self) -> Result<Extensions, ApiError> {
        Ok(Extensions {
            to_device: self.to_device.map(ToDeviceExtension::read).transpose()?.flatten(),
            e2ee: self.e2ee.is_some_and(|switch| switch.enabled == Some(true)),
            account_data: self.account_data.and_then(ScopedExtension::read),
            receipts: self.receipts.and_then(ScopedExtension::read),
            typing: self.typing.and_then(ScopedExtension::read),
            sticky_events: self.sticky_events.is_some_and(|switch| switch.enabled == Some(true)),
            thread_subscriptions: self.thread_subscriptions.and_then(LimitedExtension::read),
            profiles: self.profiles.and_then(ProfilesExtension::read),
        })
    }
}

impl ScopedExtension {
    fn read(self) -> Option<RoomScope> {
        let is_all = |names: &Vec<String>| names.iter().any(|name| name == "*");
        let rooms = self.rooms.filter(|rooms| !is_all(rooms));
        (self.enabled == Some(true)).then(|| RoomScope {
            lists: self.lists.filter(|lists| !is_all(lists)),
            rooms: rooms.map(|rooms| rooms.iter().filter_map(|id| RoomId::parse(id).ok()).collect()),
        })
    }
}

fn unknown_pos() -> ApiError {
    ApiError::new(
        StatusCode::BAD_REQUEST,
        "M_UNKNOWN_POS",
        "This position is not known, or no longer: begin without one",
    )
}

fn api_error(error: SlidingError) -> ApiError {
    match error {
        SlidingError::UnknownPos => unknown_pos(),
        SlidingError::Storage(error) => ApiError::internal(error),
    }
}
