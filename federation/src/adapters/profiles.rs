//! The profiles of users of other servers.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use moka::sync::Cache;
use ruma::{OwnedUserId, UserId, api::federation::query::get_profile_information};
use serde_json::{Map, Value};

use crate::{FederationClient, Limits, RequestError};

/// How long a server may take: somebody waits.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a profile is believed.
const KEEP: Duration = Duration::from_mins(1);
/// How many profiles are remembered.
const MAX_PROFILES: u64 = 2_000;
/// The largest answer: a profile has 64 KiB at most.
const MAX_ANSWER_BYTES: usize = 128 * 1024;

/// A profile, as its server tells it.
pub type RemoteProfile = Map<String, Value>;

/// Why a profile was not found.
#[derive(Debug, thiserror::Error)]
pub enum RemoteProfileError {
    /// The server does not want to tell.
    #[error("the server of this user does not tell their profile")]
    Forbidden,
    /// The server could not be asked, or answered nonsense.
    #[error("the server of this user could not be asked: {0}")]
    Failed(String),
}

/// Asks the servers of users. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct RemoteProfiles {
    client: FederationClient,
    known: Cache<OwnedUserId, Option<Arc<RemoteProfile>>>,
}

impl RemoteProfiles {
    /// Asks by this client.
    pub fn new(client: FederationClient) -> Self {
        let known = Cache::builder().max_capacity(MAX_PROFILES).time_to_live(KEEP).build();
        Self { client, known }
    }

    /// The profile of a user of another server; `None` when that server says that there is no such user. What it said is
    /// believed for a short while.
    pub async fn find(&self, user_id: &UserId) -> Result<Option<Arc<RemoteProfile>>, RemoteProfileError> {
        if let Some(known) = self.known.get(user_id) {
            return Ok(known);
        }
        let request = get_profile_information::v1::Request::new(user_id.to_owned());
        let limits = Limits { timeout: PATIENCE, max_response_bytes: MAX_ANSWER_BYTES };
        let profile = match self.client.send(user_id.server_name(), request, limits).await {
            Ok(answer) => Some(Arc::new(known_fields(answer))),
            Err(RequestError::Api { status: StatusCode::NOT_FOUND, .. }) => None,
            Err(RequestError::Api { status: StatusCode::FORBIDDEN, .. } | RequestError::Denied) => {
                return Err(RemoteProfileError::Forbidden);
            }
            Err(error) => return Err(RemoteProfileError::Failed(error.to_string())),
        };
        self.known.insert(user_id.to_owned(), profile.clone());
        Ok(profile)
    }
}

/// The fields, without those that are there only to say that they are not.
fn known_fields(answer: get_profile_information::v1::Response) -> RemoteProfile {
    answer.into_iter().filter(|(_, value)| !value.is_null()).collect()
}
