//! `/user/{userId}/…`

pub(super) mod account_data;
pub(super) mod filter;
pub(super) mod tags;
