//! Where aliases of other servers lead.

use std::time::Duration;

use hs_rooms::ports::{AliasFuture, RemoteDirectory, RemoteError, ResolvedAlias};
use http::StatusCode;
use ruma::{OwnedServerName, RoomAliasId, api::federation::query::get_room_information};

use crate::{FederationClient, Limits, RequestError};

/// How long a server may take: somebody waits.
const PATIENCE: Duration = Duration::from_secs(15);
/// How many servers are believed to be in a room.
const MAX_SERVERS: usize = 100;

/// Asks the servers of aliases.
#[derive(Clone, Debug)]
pub struct FederatedDirectory(FederationClient);

impl FederatedDirectory {
    /// Asks by this client.
    pub fn new(client: FederationClient) -> Self {
        Self(client)
    }
}

impl RemoteDirectory for FederatedDirectory {
    fn resolve<'a>(&'a self, alias: &'a RoomAliasId) -> AliasFuture<'a> {
        Box::pin(async move {
            let server = alias.server_name();
            let request = get_room_information::v1::Request::new(alias.to_owned());
            match self.0.send(server, request, Limits::within(PATIENCE)).await {
                Ok(answer) => Ok(Some(ResolvedAlias {
                    room_id: answer.room_id,
                    servers: with_the_asked(server, answer.servers),
                })),
                Err(RequestError::Api { status: StatusCode::NOT_FOUND, .. }) => Ok(None),
                Err(RequestError::Api { errcode, message, .. }) => {
                    Err(RemoteError::Refused { errcode, message })
                }
                Err(error) => Err(RemoteError::Unreachable(error.to_string())),
            }
        })
    }
}

/// The server that knows the alias as a rule is in the room, and does answer.
fn with_the_asked(asked: &ruma::ServerName, mut servers: Vec<OwnedServerName>) -> Vec<OwnedServerName> {
    servers.retain(|server| server != asked);
    servers.insert(0, asked.to_owned());
    servers.truncate(MAX_SERVERS);
    servers
}

#[cfg(test)]
mod tests {
    use ruma::{owned_server_name, server_name};

    use super::*;

    #[test]
    fn server_of_the_alias_comes_first_and_once() {
        let told = vec![owned_server_name!("b.example"), owned_server_name!("a.example")];

        assert_eq!(with_the_asked(server_name!("a.example"), told), ["a.example", "b.example"]);
    }
}
