//! The server-server API: one file per path of the specification, registered here.
//!
//! A handler takes [`FederationArgs`], whose server has proved who it is, calls one service, and maps what went wrong by
//! one `match` beside it.

pub(crate) mod auth;
mod backfill;
mod event;
mod event_auth;
mod get_missing_events;
mod hierarchy;
mod invite;
mod key;
mod make_member;
mod media;
mod openid;
mod public_rooms;
mod query;
mod room_error;
mod send;
mod send_member;
mod state;
mod third_party;
mod timestamp_to_event;
mod user;
mod version;

use std::sync::Arc;

use axum::{
    Router,
    extract::{FromRef, Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, put},
};
use federation::{
    FederationClient, Keyring, RequestVerifier, ServerPolicy,
    inbound::{rooms::RoomAnswers, transaction::Transactions},
};
use hs_accounts::Accounts;
use hs_e2ee::E2ee;
use hs_ephemeral::Ephemeral;
use hs_http::{ApiError, RouteOptions, RouterExt};
use hs_rooms::{RoomActions, Rooms};
use hs_storage::Store;
use media_repo::Repository;
use ruma::{OwnedServerName, UInt};

pub(crate) use self::{auth::FederationArgs, key::OwnKeys};

/// What the handlers of this API work with. Each asks for the parts it needs.
#[derive(Clone, Debug, FromRef)]
pub(crate) struct FederationState {
    /// The name of this server.
    pub(crate) server_name: OwnedServerName,
    /// The database.
    pub(crate) store: Store,
    /// Users, sessions, and what they keep with us.
    pub(crate) accounts: Arc<Accounts>,
    /// The rooms.
    pub(crate) rooms: Rooms,
    /// What users do in and to rooms.
    pub(crate) actions: RoomActions,
    /// What other servers ask about rooms.
    pub(crate) room_answers: RoomAnswers,
    /// Typing, receipts, presence.
    pub(crate) ephemeral: Ephemeral,
    /// Keys, messages between devices, backups of keys.
    pub(crate) e2ee: E2ee,
    /// Asks other servers.
    pub(crate) client: FederationClient,
    /// The public keys of other servers.
    pub(crate) keyring: Keyring,
    /// Checks who made a request.
    pub(crate) verifier: RequestVerifier,
    /// The keys of this server.
    pub(crate) own_keys: OwnKeys,
    /// Files.
    pub(crate) repository: Repository,
    /// Takes what other servers send.
    pub(crate) transactions: Transactions,
}

/// What a transaction may have at most: as many events and EDUs of the greatest size as are allowed, with room for their
/// being written less tightly.
const MAX_TRANSACTION_BYTES: usize = 12 * 1024 * 1024;

/// All routes of this API. Whoever serves it adds the fallbacks.
pub(crate) fn router(policy: &ServerPolicy) -> Router<FederationState> {
    let closed = middleware::from_fn_with_state(policy.clone(), closed_layer);
    Router::new()
        .merge(key::routes())
        .merge(people_routes())
        .merge(room_reading_routes())
        .merge(membership_routes())
        .ruma_route(media::get)
        .ruma_route(media::get_thumbnail)
        .route("/_matrix/federation/v1/version", get(version::get))
        .ruma_route_with(
            RouteOptions { max_body_bytes: MAX_TRANSACTION_BYTES, ..RouteOptions::OPAQUE_JSON },
            send::put,
        )
        .layer(closed)
        // Asked by services of this server's own users, whether or not it talks to other servers.
        .route("/_matrix/federation/v1/openid/userinfo", get(openid::get))
}

/// What other servers ask of people here.
fn people_routes() -> Router<FederationState> {
    Router::new()
        .ruma_route(query::directory::get)
        .ruma_route(query::profile::get)
        .ruma_route(user::devices::get)
        .ruma_route_with(user::keys::OPTIONS, user::keys::query)
        .ruma_route_with(user::keys::OPTIONS, user::keys::claim)
}

/// What other servers read of rooms.
fn room_reading_routes() -> Router<FederationState> {
    Router::new()
        .ruma_route(backfill::get)
        .ruma_route(event::get)
        .ruma_route(event_auth::get)
        .ruma_route(get_missing_events::post)
        .ruma_route(hierarchy::get)
        .ruma_route(public_rooms::get)
        .ruma_route(public_rooms::post)
        .ruma_route(state::get)
        .ruma_route(state::get_ids)
        .ruma_route(timestamp_to_event::get)
}

/// How users of other servers come into rooms, and go.
fn membership_routes() -> Router<FederationState> {
    let opaque = RouteOptions::OPAQUE_JSON;
    Router::new()
        .ruma_route(make_member::get_join)
        .ruma_route(make_member::get_knock)
        .ruma_route(make_member::get_leave)
        .ruma_route_with(opaque, send_member::put_join)
        .ruma_route_at(send_member::JOIN_V1, opaque, send_member::put_join_v1)
        .ruma_route_with(opaque, send_member::put_knock)
        .ruma_route_with(opaque, send_member::put_leave)
        .ruma_route_at(send_member::LEAVE_V1, opaque, send_member::put_leave_v1)
        .ruma_route_with(opaque, invite::put)
        .ruma_route_at(invite::V1, opaque, invite::put_v1)
        .ruma_route(third_party::put_exchange)
        .route(third_party::ONBIND, put(third_party::put_onbind))
}

/// A number of things to return.
fn count(limit: UInt) -> usize {
    usize::try_from(u64::from(limit)).unwrap_or(usize::MAX)
}

/// Refuses everything while federation is switched off.
async fn closed_layer(State(policy): State<ServerPolicy>, request: Request, next: Next) -> Response {
    if policy.is_enabled() {
        return next.run(request).await;
    }
    ApiError::forbidden("This server does not federate").into_response()
}
