//! `/_matrix/key/v2`
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#retrieving-server-keys>

mod query;
mod server;

use std::{net::IpAddr, sync::Arc};

use axum::{
    Router,
    routing::{get, post},
};
use hs_http::rate_limit::{Rate, RateLimiter};
use hs_model::clock::Clock;
use hs_room_rules::{
    canonical_json::{Number, Object, ParseOptions, Value},
    sign::SigningKey,
};
use ruma::OwnedServerName;

use super::FederationState;
use crate::config::OldKey;

/// For how long others may keep our keys before they ask again.
const VALIDITY_MS: i64 = 24 * 60 * 60 * 1_000;
/// About how many servers one address may ask for keys, which makes us ask them in turn.
const QUERY_RATE: Rate = Rate { per_second: 10.0, burst: 200 };

pub(super) fn routes() -> Router<FederationState> {
    Router::new()
        .route("/_matrix/key/v2/server", get(server::get))
        // As servers asked before the id of the key was taken out of the path.
        .route("/_matrix/key/v2/server/{key_id}", get(server::get))
        .route("/_matrix/key/v2/query", post(query::post))
        .route("/_matrix/key/v2/query/{server_name}", get(query::get))
        .route("/_matrix/key/v2/query/{server_name}/{key_id}", get(query::get_with_key_id))
}

/// What this server publishes of its keys, and signs with them. Cloning is cheap.
#[derive(Clone, Debug)]
pub(crate) struct OwnKeys(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    server_name: OwnedServerName,
    signing_key: Arc<SigningKey>,
    old_keys: Vec<OldKey>,
    clock: Arc<dyn Clock>,
    query_limit: RateLimiter<IpAddr>,
}

impl OwnKeys {
    /// The keys of `server_name`: the one in use, and those that were.
    pub(crate) fn new(
        server_name: OwnedServerName,
        signing_key: Arc<SigningKey>,
        old_keys: Vec<OldKey>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let query_limit = RateLimiter::new(QUERY_RATE);
        Self(Arc::new(Inner { server_name, signing_key, old_keys, clock, query_limit }))
    }

    /// The document that others check our signatures with.
    fn document(&self) -> String {
        let Inner { server_name, signing_key, old_keys, clock, .. } = &*self.0;
        let mut verify_keys = Object::new();
        verify_keys.insert(signing_key.key_id().to_string(), key_object(signing_key.public_key()));
        let mut old_verify_keys = Object::new();
        for old in old_keys {
            let mut key = key_object(old.public_key.trim_end_matches('=').to_owned());
            key.insert("expired_ts", integer(i64::try_from(old.expired_ts).unwrap_or(i64::MAX)));
            old_verify_keys.insert(old.id.to_string(), key);
        }
        let mut document = Object::new();
        document.insert("server_name", server_name.to_string());
        document.insert("verify_keys", verify_keys);
        document.insert("old_verify_keys", old_verify_keys);
        document.insert("valid_until_ts", integer(clock.now_ms() + VALIDITY_MS));
        signing_key.sign_json(server_name, &mut document);
        document.to_canonical_string()
    }
}

impl OwnKeys {
    /// Signs what another server published of its keys, as its notary. `None` if it is no JSON that can be signed.
    fn countersign(&self, document: &str) -> Option<String> {
        let mut document = Object::parse(document, ParseOptions::STRICT).ok()?;
        self.0.signing_key.sign_json(&self.0.server_name, &mut document);
        Some(document.to_canonical_string())
    }
}

fn key_object(public_key: String) -> Object<'static> {
    let mut key = Object::new();
    key.insert("key", public_key);
    key
}

fn integer(value: i64) -> Value<'static> {
    Value::Number(Number::Int(value))
}
