//! What every HTTP API of Kith has in common: errors, reading requests, writing responses, CORS, request ids,
//! client addresses and rate limits.
//!
//! Start with [`Args`] and [`Reply`], which carry ruma's types in and out of an axum handler, [`RouterExt`], which
//! registers such a handler under all of its paths, and [`ApiError`], which is what a handler fails with.
//!
//! Invariants: nothing here knows an endpoint, a user or the database; whatever a client sends ends as a value or as
//! a 4xx answer, never as a panic or a 500.

pub mod body;
pub mod client_ip;
pub mod cors;
pub mod error;
mod extract;
pub mod fallback;
pub mod rate_limit;
pub mod request;
pub mod request_id;
pub mod response;
pub mod router;
mod token;

pub use client_ip::ClientIp;
pub use error::ApiError;
pub use extract::{JsonBody, PathArgs, QueryArgs};
pub use request::{Args, RawArgs, RequestArgs, RouteOptions};
pub use request_id::RequestId;
pub use response::{JsonReply, RawJson, Reply};
pub use router::RouterExt;
pub use token::access_token;
