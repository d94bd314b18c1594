//! `/account/…`

pub(super) mod deactivate;
pub(super) mod password;
pub(super) mod whoami;
