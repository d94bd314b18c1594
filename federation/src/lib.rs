//! The server-server API, in both directions: every other Matrix server is a neighbour.
//!
//! What this server asks of others goes through one client, which finds them, signs, and keeps away from those that do not
//! answer. What others ask is answered under `inbound`, after their signature was checked. Rooms know nothing of HTTP: what
//! they need of other servers are ports, which this crate implements.
//!
//! Start with [`FederationClient`], [`Keyring`] and [`RequestVerifier`].
//!
//! Specification: <https://spec.matrix.org/v1.19/server-server-api/>.

pub mod adapters;
pub mod discovery;
mod graph;
pub mod history;
pub mod inbound;
pub mod keyring;
pub mod outbound;
pub mod request_auth;
mod server_policy;

pub use history::History;
pub use keyring::{Keyring, KeyringError, PduError};
pub use outbound::client::{ClientError, ClientOptions, FederationClient, Limits, RequestError};
pub use request_auth::{RequestAuthError, RequestKey, RequestVerifier, XMatrix};
pub use server_policy::{ServerPattern, ServerPatternError, ServerPolicy};
