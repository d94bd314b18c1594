//! `/user/{userId}/…`

pub(super) mod account_data;
pub(super) mod filter;
pub(super) mod openid;
pub(super) mod tags;
