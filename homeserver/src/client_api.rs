//! The client-server API: one file per path of the specification, registered here.
//!
//! A handler extracts, calls one service, and maps what went wrong by one `match` beside it. It decides nothing about
//! Matrix itself.

mod account;
mod admin;
mod admin_register;
mod admin_registration_tokens;
pub(crate) mod auth;
mod capabilities;
mod create_room;
mod dehydrated_device;
mod delayed_events;
mod devices;
mod directory;
mod events;
mod guests;
mod join;
mod joined_rooms;
mod keys;
mod knock;
mod limits;
mod login;
mod logout;
pub(crate) mod media;
mod mutual_rooms;
mod notifications;
mod presence;
mod profile;
pub(crate) mod public_rooms;
mod pushers;
mod pushrules;
mod refresh;
mod register;
mod reports;
mod room_keys;
mod room_summary;
mod rooms;
mod rtc_transports;
mod search;
mod send_to_device;
mod sliding_sync;
mod sync;
mod thirdparty;
mod turn_server;
mod uia;
mod unsubscribe;
mod user;
mod user_directory;
mod versions;
mod well_known;

use std::sync::Arc;

use axum::{
    Router,
    extract::{FromRef, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use federation::{
    History,
    adapters::{RemoteProfiles, RemotePublicRooms, finding::RemoteFinder},
};
use hs_accounts::Accounts;
use hs_e2ee::E2ee;
use hs_ephemeral::Ephemeral;
use hs_http::{ApiError, RouteOptions, RouterExt};
use hs_push::Push;
use hs_rooms::{RoomActions, Rooms};
use hs_search::{Reach, Search};
use hs_storage::Store;
use hs_sync::Sync;
use ruma::{RoomVersionId, api::client as spec};

use crate::{
    config::{Rtc, Turn, WellKnown},
    delayed_events::DelayedEvents,
    server_notices::ServerNotices,
};

pub(crate) use self::{
    guests::lets_guests_in,
    limits::RoomLimits,
    media::{MediaLimits, MediaServices},
    room_summary::Summary,
    rooms::send_error,
    sync::FilterCache,
    unsubscribe::PATH as UNSUBSCRIBE_PATH,
};

/// What the handlers of this API work with. Each asks for the parts it needs.
#[derive(Clone, Debug, FromRef)]
pub(crate) struct ClientState {
    /// Users, sessions, and what they keep with us.
    pub(crate) accounts: Arc<Accounts>,
    /// The rooms.
    pub(crate) rooms: Rooms,
    /// What users do in and to rooms.
    pub(crate) actions: RoomActions,
    /// Rooms of other servers.
    pub(crate) finder: RemoteFinder,
    /// What they want to be done later.
    pub(crate) delayed: DelayedEvents,
    /// How much of it they may do.
    pub(crate) room_limits: Arc<RoomLimits>,
    /// Push rules.
    pub(crate) push: Push,
    /// Typing, receipts, presence.
    pub(crate) ephemeral: Ephemeral,
    /// Keys, messages between devices, backups of keys.
    pub(crate) e2ee: E2ee,
    /// The long poll.
    pub(crate) sync: Arc<Sync>,
    /// Stored filters.
    pub(crate) filters: FilterCache,
    /// Words and people.
    pub(crate) search: Search,
    /// Pages of rooms, with what other servers have of them.
    pub(crate) history: History,
    /// What the server says to people.
    pub(crate) server_notices: ServerNotices,
    /// The profiles of users of other servers.
    pub(crate) remote_profiles: RemoteProfiles,
    /// The directories of other servers.
    pub(crate) remote_public_rooms: RemotePublicRooms,
    /// Files, and previews of links.
    pub(crate) media: MediaServices,
    /// What this server tells of itself.
    pub(crate) facts: Arc<ServerFacts>,
    /// What it tells of calls.
    pub(crate) calls: Arc<CallFacts>,
}

/// What this server tells of calls.
#[derive(Clone, Debug)]
pub(crate) struct CallFacts {
    /// The TURN server.
    pub(crate) turn: Turn,
    /// Where calls of many can be held.
    pub(crate) rtc: Rtc,
}

/// What this server tells of itself.
#[derive(Clone, Debug)]
pub(crate) struct ServerFacts {
    /// Where clients reach this server.
    pub(crate) public_base_url: String,
    /// The version of rooms that are made without a wish.
    pub(crate) default_room_version: RoomVersionId,
    /// Whom a search for people may find.
    pub(crate) directory_reach: Reach,
    /// What it announces under `/.well-known`.
    pub(crate) well_known: WellKnown,
}

/// All routes of this API. Whoever serves it adds the fallbacks.
pub(crate) fn router() -> Router<ClientState> {
    Router::new()
        .merge(discovery_routes())
        .merge(session_routes())
        .merge(account_routes())
        .merge(user_routes())
        .merge(pushrules::routes())
        .merge(push_routes())
        .ruma_route(sync::get)
        .route(sliding_sync::UNSTABLE_PATH, post(sliding_sync::post_unstable))
        .route(sliding_sync::V4_PATH, post(sliding_sync::post_v4))
        .merge(rooms::routes())
        .merge(delayed_events::routes())
        .merge(events::routes())
        .merge(directory::routes())
        .merge(room_routes())
        .merge(call_routes())
        .merge(media::routes())
        .merge(finding_routes())
        .merge(reports::routes())
        .merge(admin::routes())
        .merge(encryption_routes())
}

/// What end-to-end encryption needs.
fn encryption_routes() -> Router<ClientState> {
    Router::new()
        .merge(keys::routes())
        .merge(room_keys::routes())
        .merge(dehydrated_device::routes())
        .route_like::<spec::to_device::send_event_to_device::v3::Request, _, _>(
        send_to_device::OPTIONS,
        send_to_device::put,
    )
}

fn push_routes() -> Router<ClientState> {
    let options = RouteOptions::default();
    Router::new()
        .route(unsubscribe::PATH, get(unsubscribe::get).post(unsubscribe::post))
        .route_like::<spec::push::get_notifications::v3::Request, _, _>(options, notifications::get)
        .route_like::<spec::push::get_pushers::v3::Request, _, _>(options, pushers::get)
        .route_like::<spec::push::set_pusher::v3::Request, _, _>(options, pushers::post_set)
}

/// Lets a request wait until this process knows what other replicas had acknowledged when it came: a logout above all.
pub(crate) async fn catch_up_layer(State(store): State<Store>, request: Request, next: Next) -> Response {
    // On the heap, since nearly always there is nothing to wait for, and a long poll would carry the room for it.
    match Box::pin(store.catch_up()).await {
        Ok(()) => next.run(request).await,
        Err(error) => ApiError::internal(error).into_response(),
    }
}

/// What leads into rooms, and stands outside of `/rooms`.
fn room_routes() -> Router<ClientState> {
    let options = RouteOptions::default();
    Router::new()
        .route_like::<spec::room::create_room::v3::Request, _, _>(options, create_room::post)
        .ruma_route(join::post)
        .ruma_route(joined_rooms::get)
        .ruma_route(knock::post)
        .ruma_route(public_rooms::get)
        .ruma_route(public_rooms::post)
}

/// What finds rooms, people and words.
fn finding_routes() -> Router<ClientState> {
    let options = RouteOptions::default();
    let routes = Router::new()
        .route_like::<spec::search::search_events::v3::Request, _, _>(options, search::post)
        .route_like::<spec::user_directory::search_users::v3::Request, _, _>(options, user_directory::post)
        .merge(thirdparty::routes());
    let routes = mutual_rooms::PATHS
        .into_iter()
        .fold(routes, |routes, path| routes.route(path, get(mutual_rooms::get)));
    routes.ruma_route_at(room_summary::PATHS, options, room_summary::get)
}

fn discovery_routes() -> Router<ClientState> {
    Router::new()
        .route("/.well-known/matrix/client", get(well_known::get))
        .route("/.well-known/matrix/server", get(well_known::get_server))
        .route("/.well-known/matrix/support", get(well_known::get_support))
        .route("/.well-known/matrix/policy_server", get(well_known::get_policy_server))
        .ruma_route(versions::get)
        .ruma_route(capabilities::get)
}

fn session_routes() -> Router<ClientState> {
    let options = RouteOptions::default();
    Router::new()
        .ruma_route(login::get)
        .route_like::<spec::session::login::v3::Request, _, _>(options, login::post)
        .route_like::<spec::session::get_login_token::v1::Request, _, _>(options, login::post_get_token)
        .ruma_route(logout::post)
        .ruma_route(logout::post_all)
        .ruma_route(refresh::post)
        .ruma_route(devices::get_all)
        .ruma_route(devices::get)
        .ruma_route(devices::put)
        .route_like::<spec::device::delete_device::v3::Request, _, _>(options, devices::delete)
        .route_like::<spec::device::delete_devices::v3::Request, _, _>(options, devices::delete_many)
}

fn account_routes() -> Router<ClientState> {
    let options = RouteOptions::default();
    Router::new()
        .route_like::<spec::account::register::v3::Request, _, _>(options, register::post)
        .ruma_route(register::get_available)
        .ruma_route(register::get_token_validity)
        .route("/_synapse/admin/v1/register", get(admin_register::get).post(admin_register::post))
        .route("/_synapse/admin/v1/registration_tokens", get(admin_registration_tokens::list))
        .route("/_synapse/admin/v1/registration_tokens/new", post(admin_registration_tokens::create))
        .route(
            "/_synapse/admin/v1/registration_tokens/{token}",
            get(admin_registration_tokens::get).delete(admin_registration_tokens::delete),
        )
        .ruma_route(account::whoami::get)
        .route_like::<spec::account::change_password::v3::Request, _, _>(options, account::password::post)
        .route_like::<spec::account::deactivate::v3::Request, _, _>(options, account::deactivate::post)
}

fn user_routes() -> Router<ClientState> {
    let options = RouteOptions::default();
    let opaque = RouteOptions::OPAQUE_JSON;
    Router::new()
        .ruma_route(presence::get)
        .ruma_route(presence::put)
        .ruma_route(profile::get)
        .route_like::<spec::profile::get_profile_field::v3::Request, _, _>(options, profile::get_field)
        .route_like::<spec::profile::set_profile_field::v3::Request, _, _>(options, profile::put_field)
        .route_like::<spec::profile::delete_profile_field::v3::Request, _, _>(options, profile::delete_field)
        .ruma_route(user::account_data::get)
        .ruma_route_with(opaque, user::account_data::put)
        .ruma_route(user::account_data::get_of_room)
        .ruma_route_with(opaque, user::account_data::put_of_room)
        .ruma_route(user::tags::get)
        .route_like::<spec::tag::create_tag::v3::Request, _, _>(options, user::tags::put)
        .ruma_route(user::tags::delete)
        .route_like::<spec::filter::create_filter::v3::Request, _, _>(options, user::filter::post)
        .ruma_route(user::filter::get)
        .ruma_route(user::openid::post)
}

fn call_routes() -> Router<ClientState> {
    let router = Router::new().ruma_route(turn_server::get);
    rtc_transports::PATHS
        .into_iter()
        .fold(router, |router, path| router.route(path, get(rtc_transports::get)))
}
