//! Filters that clients store, to name them in requests.

use hs_model::ids::UserNid;
use ruma::api::client::filter::FilterDefinition;
use serde_json::value::RawValue;

use crate::{Accounts, Failure, error::fails_with_storage, secret};

/// The most bytes of a filter.
const MAX_FILTER_BYTES: usize = 64 * 1024;
/// How many filters of a user are kept. Clients use a few, and store them again when they start.
const MAX_FILTERS: i64 = 200;

/// Why a filter was not stored.
#[derive(Debug, thiserror::Error)]
pub enum StoreFilterError {
    /// It is not a filter.
    #[error("{0}")]
    Malformed(String),
    /// It is too large.
    #[error("The filter is larger than 64 KiB")]
    TooLarge,
    /// Our own fault.
    #[error(transparent)]
    Failure(#[from] Failure),
}
fails_with_storage!(StoreFilterError);

impl Accounts {
    /// Stores a filter and returns its id; the same filter keeps the same id.
    pub async fn store_filter(
        &self,
        user: UserNid,
        definition: &RawValue,
    ) -> Result<String, StoreFilterError> {
        let definition = definition.get();
        if definition.len() > MAX_FILTER_BYTES {
            return Err(StoreFilterError::TooLarge);
        }
        serde_json::from_str::<FilterDefinition>(definition)
            .map_err(|error| StoreFilterError::Malformed(error.to_string()))?;
        let hash = secret::hash(definition);
        let mut reader = self.store.reader().await?;
        let known = reader.find_filter_id(user, &hash).await?;
        drop(reader);
        if let Some(filter_id) = known {
            return Ok(filter_id.to_string());
        }
        let mut txn = self.store.begin().await?;
        let filter_id = txn.insert_filter(user, definition, &hash, MAX_FILTERS).await?;
        txn.commit().await?;
        Ok(filter_id.to_string())
    }

    /// A filter of a user by its id, as JSON text.
    pub async fn find_filter(&self, user: UserNid, filter_id: &str) -> Result<Option<String>, Failure> {
        // Anything else was not issued here.
        let Ok(filter_id) = filter_id.parse() else { return Ok(None) };
        Ok(self.store.reader().await?.find_filter(user, filter_id).await?)
    }
}
