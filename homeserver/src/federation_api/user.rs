//! `/_matrix/federation/v1/user`: the devices and keys of users here.

pub(super) mod devices;
pub(super) mod keys;
