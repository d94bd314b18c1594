//! `/_matrix/key/v2/query`: the keys of other servers, with this server's word that it got them from them.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#querying-keys-through-another-server>

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::State;
use federation::{Keyring, keyring::KeyQuery};
use hs_http::{ApiError, ClientIp, JsonBody, PathArgs, QueryArgs, RawJson, rate_limit::ip_key};
use hs_storage::{Store, server_keys::ServerKeyDocument};
use ruma::OwnedServerName;
use serde::Deserialize;

use super::OwnKeys;

/// How many servers may be asked about at once.
const MAX_SERVERS: usize = 100;
/// How many documents of one server are told: one for each key, if each was in another.
const MAX_DOCUMENTS_PER_SERVER: usize = 20;

#[derive(Debug, Deserialize)]
pub(in crate::federation_api) struct Query {
    minimum_valid_until_ts: Option<i64>,
}

#[derive(Debug, Deserialize)]
pub(in crate::federation_api) struct Body {
    server_keys: BTreeMap<OwnedServerName, BTreeMap<String, Criteria>>,
}

#[derive(Debug, Deserialize)]
struct Criteria {
    minimum_valid_until_ts: Option<i64>,
}

/// `GET /_matrix/key/v2/query/{serverName}`
pub(in crate::federation_api) async fn get(
    State(own): State<OwnKeys>,
    State(keyring): State<Keyring>,
    State(store): State<Store>,
    ip: ClientIp,
    PathArgs(server): PathArgs<OwnedServerName>,
    QueryArgs(query): QueryArgs<Query>,
) -> Result<RawJson, ApiError> {
    own.0.query_limit.check(ip_key(ip.0))?;
    let query = own.query(server, Vec::new(), query.minimum_valid_until_ts);
    answer(&own, &keyring, &store, vec![query]).await
}

/// `GET /_matrix/key/v2/query/{serverName}/{keyId}`, as older servers ask.
pub(in crate::federation_api) async fn get_with_key_id(
    State(own): State<OwnKeys>,
    State(keyring): State<Keyring>,
    State(store): State<Store>,
    ip: ClientIp,
    PathArgs((server, key_id)): PathArgs<(OwnedServerName, String)>,
    QueryArgs(query): QueryArgs<Query>,
) -> Result<RawJson, ApiError> {
    own.0.query_limit.check(ip_key(ip.0))?;
    let query = own.query(server, vec![key_id], query.minimum_valid_until_ts);
    answer(&own, &keyring, &store, vec![query]).await
}

/// `POST /_matrix/key/v2/query`
pub(in crate::federation_api) async fn post(
    State(own): State<OwnKeys>,
    State(keyring): State<Keyring>,
    State(store): State<Store>,
    ip: ClientIp,
    JsonBody(body): JsonBody<Body>,
) -> Result<RawJson, ApiError> {
    if body.server_keys.len() > MAX_SERVERS {
        return Err(ApiError::invalid_param(format!(
            "At most {MAX_SERVERS} servers can be asked about at once"
        )));
    }
    // Each may make us ask another server.
    let count = u32::try_from(body.server_keys.len()).unwrap_or(u32::MAX).max(1);
    own.0.query_limit.check_many(ip_key(ip.0), count)?;
    let queries = body.server_keys.into_iter().map(|(server, keys)| {
        let until_ms = keys.values().filter_map(|criteria| criteria.minimum_valid_until_ts).max();
        own.query(server, keys.into_keys().collect(), until_ms)
    });
    answer(&own, &keyring, &store, queries.collect()).await
}

impl OwnKeys {
    fn query(&self, server: OwnedServerName, key_ids: Vec<String>, until_ms: Option<i64>) -> KeyQuery {
        let minimum_valid_until_ms = until_ms.unwrap_or_else(|| self.0.clock.now_ms());
        KeyQuery { server, key_ids, minimum_valid_until_ms }
    }
}

async fn answer(
    own: &OwnKeys,
    keyring: &Keyring,
    store: &Store,
    queries: Vec<KeyQuery>,
) -> Result<RawJson, ApiError> {
    let (ours, others): (Vec<_>, Vec<_>) =
        queries.into_iter().partition(|query| query.server == own.0.server_name);
    let mut answers: Vec<String> = ours.iter().map(|_| own.document()).collect();
    if !others.is_empty() {
        let names: Vec<String> = others.iter().map(|query| query.server.to_string()).collect();
        keyring.refresh(others.clone()).await;
        let mut reader = store.reader().await.map_err(ApiError::internal)?;
        let known = reader.list_server_key_documents(&names).await.map_err(ApiError::internal)?;
        for query in &others {
            answers.extend(documents(query, &known).into_iter().filter_map(|json| own.countersign(json)));
        }
    }
    Ok(RawJson(format!("{{\"server_keys\":[{}]}}", answers.join(","))))
}

/// The documents that answer a question about a server: the newest, and those that the keys asked for were last told in.
fn documents<'a>(query: &KeyQuery, known: &'a [ServerKeyDocument]) -> Vec<&'a str> {
    let of_server = known.iter().filter(|row| row.server_name == query.server.as_str());
    let mut seen = BTreeSet::new();
    of_server
        .enumerate()
        .filter(|(index, row)| *index == 0 || query.key_ids.is_empty() || query.key_ids.contains(&row.key_id))
        .map(|(_, row)| &*row.document)
        .filter(|document| seen.insert(*document))
        .take(MAX_DOCUMENTS_PER_SERVER)
        .collect()
}
