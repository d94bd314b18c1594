//! Files that people attach: uploads, downloads, media of other servers, what administrators do to them.

mod administration;
mod downloads;
pub(crate) mod elsewhere;
pub(crate) mod ground;
mod objects;
mod pending;
mod uploads;
