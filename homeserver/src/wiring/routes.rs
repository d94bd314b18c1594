//! Which router answers on which listener.

use std::sync::Arc;

use axum::{Router, middleware, response::IntoResponse, routing::get};
use federation::{adapters::finding::RemoteFinder, inbound::rooms::RoomAnswers};
use hs_http::{
    body,
    client_ip::{self, TrustedProxies},
    cors, fallback, request_id,
};
use hs_model::clock::SystemClock;
use hs_search::Reach;
use http::header;
use ipnet::IpNet;

use super::{Foundation, services::Services};
use crate::{
    client_api::{self, CallFacts, ClientState, FilterCache, ServerFacts},
    config::Resource,
    federation_api::{self, FederationState, OwnKeys},
    health::Health,
    server_notices::ServerNotices,
    telemetry::{Metrics, measure},
};

/// The routers of all resources.
#[derive(Clone, Debug)]
pub struct Apis {
    client: Router,
    federation: Router,
    health: Router,
    metrics: Router,
}

impl Apis {
    /// The routers above the services.
    pub(super) fn build(foundation: &Foundation, services: &Services, health: Health) -> Self {
        let facts = ServerFacts {
            public_base_url: foundation.config.server.public_base_url.clone(),
            default_room_version: foundation.config.rooms.default_version.clone(),
            directory_reach: if foundation.config.user_directory.search_all_users {
                Reach::Everybody
            } else {
                Reach::Neighbours
            },
            well_known: foundation.config.well_known.clone(),
        };
        let calls = CallFacts { turn: foundation.config.turn.clone(), rtc: foundation.config.rtc.clone() };
        let client = ClientState {
            accounts: services.accounts.clone(),
            rooms: services.rooms.clone(),
            actions: services.actions.clone(),
            finder: RemoteFinder::new(services.federation.client.clone()),
            delayed: services.delayed.clone(),
            room_limits: services.room_limits.clone(),
            push: services.push.clone(),
            ephemeral: services.ephemeral.clone(),
            e2ee: services.e2ee.clone(),
            sync: services.sync.clone(),
            filters: FilterCache::default(),
            search: services.search.clone(),
            history: services.federation.history.clone(),
            server_notices: ServerNotices::new(
                services.accounts.clone(),
                services.actions.clone(),
                foundation.config.server_notices.clone(),
            ),
            remote_profiles: services.federation.profiles.clone(),
            remote_public_rooms: services.federation.public_rooms.clone(),
            media: services.media.clone(),
            facts: Arc::new(facts),
            calls: Arc::new(calls),
        };
        let store = services.accounts.store().clone();
        let catch_up = middleware::from_fn_with_state(store, client_api::catch_up_layer);
        Self {
            client: client_api::router().with_state(client).layer(catch_up),
            federation: federation(foundation, services),
            health: health.router(),
            metrics: metrics_router(foundation.metrics.clone()),
        }
    }

    /// The router of a listener that serves these resources.
    pub fn router(&self, resources: &[Resource], trusted_proxies: Vec<IpNet>) -> Router {
        let mut router = Router::new();
        for resource in resources {
            router = router.merge(match resource {
                Resource::Client => self.client.clone(),
                Resource::Federation => self.federation.clone(),
                Resource::Health => self.health.clone(),
                Resource::Metrics => self.metrics.clone(),
            });
        }
        // The last layer is the outermost. Inside the span of the request, panics and durations are seen per route.
        router
            .fallback(fallback::unknown_route)
            .method_not_allowed_fallback(fallback::wrong_method)
            .layer(middleware::from_fn(body::drain_layer))
            .layer(middleware::from_fn(fallback::catch_panic))
            .layer(middleware::from_fn(measure))
            .layer(middleware::from_fn(cors::layer))
            .layer(middleware::from_fn_with_state(TrustedProxies::new(trusted_proxies), client_ip::layer))
            .layer(middleware::from_fn(request_id::layer))
    }
}

fn federation(foundation: &Foundation, services: &Services) -> Router {
    let Services { federation, .. } = services;
    let server_name = foundation.config.server.name.clone();
    let old_keys = foundation.config.signing.old_keys.clone();
    let state = FederationState {
        store: services.accounts.store().clone(),
        accounts: services.accounts.clone(),
        rooms: services.rooms.clone(),
        actions: services.actions.clone(),
        room_answers: RoomAnswers::new(services.actions.clone(), federation.keyring.clone()),
        ephemeral: services.ephemeral.clone(),
        e2ee: services.e2ee.clone(),
        client: federation.client.clone(),
        keyring: federation.keyring.clone(),
        verifier: federation.verifier.clone(),
        transactions: federation.transactions.clone(),
        repository: services.media.repository.clone(),
        own_keys: OwnKeys::new(
            server_name.clone(),
            foundation.signing_key.clone(),
            old_keys,
            Arc::new(SystemClock),
        ),
        server_name,
    };
    let catch_up = middleware::from_fn_with_state(state.store.clone(), client_api::catch_up_layer);
    federation_api::router(federation.verifier.policy()).with_state(state).layer(catch_up)
}

fn metrics_router(metrics: Metrics) -> Router {
    const CONTENT_TYPE: (header::HeaderName, &str) =
        (header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8");
    let answer = async move || ([CONTENT_TYPE], metrics.render()).into_response();
    Router::new().route("/metrics", get(answer))
}
