//! The directories of other servers.

use std::time::Duration;

use ruma::{
    ServerName,
    api::federation::directory::{get_public_rooms, get_public_rooms_filtered},
};

use crate::{FederationClient, Limits, RequestError};

/// How long a server may take: somebody waits.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why a directory could not be read.
#[derive(Debug, thiserror::Error)]
pub enum PublicRoomsError {
    /// The server does not want to show it.
    #[error("the server does not show its directory: {0}")]
    Refused(String),
    /// The server could not be asked, or answered nonsense.
    #[error("the server could not be asked: {0}")]
    Failed(String),
}

impl From<RequestError> for PublicRoomsError {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Api { status, message, .. } if status.is_client_error() => Self::Refused(message),
            RequestError::Denied => Self::Refused(error.to_string()),
            error => Self::Failed(error.to_string()),
        }
    }
}

/// Asks servers for their directories. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct RemotePublicRooms(FederationClient);

impl RemotePublicRooms {
    /// Asks by this client.
    pub fn new(client: FederationClient) -> Self {
        Self(client)
    }

    /// A page of the directory of a server.
    pub async fn list(
        &self,
        server: &ServerName,
        request: get_public_rooms::v1::Request,
    ) -> Result<get_public_rooms::v1::Response, PublicRoomsError> {
        Ok(self.0.send(server, request, Limits::within(PATIENCE)).await?)
    }

    /// A page of what fits of the directory of a server.
    pub async fn search(
        &self,
        server: &ServerName,
        request: get_public_rooms_filtered::v1::Request,
    ) -> Result<get_public_rooms_filtered::v1::Response, PublicRoomsError> {
        Ok(self.0.send(server, request, Limits::within(PATIENCE)).await?)
    }
}
