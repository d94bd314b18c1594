//! `/_matrix/federation/v1/query`: what other servers want to know of people and names here.

pub(super) mod directory;
pub(super) mod profile;
