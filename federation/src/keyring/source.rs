//! Where keys come from.

use std::{collections::BTreeMap, fmt::Debug, pin::Pin, time::Duration};

use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedServerName, OwnedServerSigningKeyId, ServerName, UInt,
    api::federation::discovery::{
        get_remote_server_keys_batch::v2::{self as query_keys, QueryCriteria},
        get_server_keys::v2 as get_server_keys,
    },
};

use crate::{FederationClient, Limits, RequestError};

/// How long a server may take to tell its keys, and how much it may say.
const FETCH_LIMITS: Limits = Limits { timeout: Duration::from_secs(12), max_response_bytes: 256 * 1024 };
/// A notary may have to ask others first.
const QUERY_LIMITS: Limits = Limits { timeout: Duration::from_secs(20), max_response_bytes: 8 * 1024 * 1024 };

/// An answer that takes a while.
pub type SourceFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, RequestError>> + Send + 'a>>;

/// What is asked of a notary about one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyQuery {
    /// The server.
    pub server: OwnedServerName,
    /// The ids of keys; all, if there are none.
    pub key_ids: Vec<String>,
    /// Up to when they are to be valid.
    pub minimum_valid_until_ms: i64,
}

/// Tells what servers publish of their keys. Nothing of it has been checked.
pub trait KeySource: Debug + Send + Sync {
    /// Asks a server for its own keys.
    fn fetch<'a>(&'a self, server: &'a ServerName) -> SourceFuture<'a, String>;

    /// Asks a notary for those of others.
    fn query<'a>(&'a self, notary: &'a ServerName, query: Vec<KeyQuery>) -> SourceFuture<'a, Vec<String>>;
}

impl KeySource for FederationClient {
    fn fetch<'a>(&'a self, server: &'a ServerName) -> SourceFuture<'a, String> {
        Box::pin(async move {
            let answer = self.send(server, get_server_keys::Request::new(), FETCH_LIMITS).await?;
            Ok(answer.server_key.json().get().to_owned())
        })
    }

    fn query<'a>(&'a self, notary: &'a ServerName, query: Vec<KeyQuery>) -> SourceFuture<'a, Vec<String>> {
        Box::pin(async move {
            let by_server = query.into_iter().map(|query| {
                let mut criteria = QueryCriteria::new();
                let until = UInt::new_saturating(query.minimum_valid_until_ms.max(0) as u64);
                criteria.minimum_valid_until_ts = Some(MilliSecondsSinceUnixEpoch(until));
                let key_ids = query.key_ids.into_iter().filter_map(|id| id.try_into().ok());
                let keys: BTreeMap<OwnedServerSigningKeyId, QueryCriteria> =
                    key_ids.map(|id| (id, criteria.clone())).collect();
                (query.server, keys)
            });
            let answer =
                self.send(notary, query_keys::Request::new(by_server.collect()), QUERY_LIMITS).await?;
            Ok(answer.server_keys.into_iter().map(|keys| keys.json().get().to_owned()).collect())
        })
    }
}
