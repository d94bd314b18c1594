//! Rooms of other servers that users look for.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use ruma::{
    OwnedRoomId, OwnedServerName, RoomId, api::federation::space::get_hierarchy::v1 as get_hierarchy,
    room::RoomSummary,
};

use crate::{FederationClient, Limits};

/// How long a server may take while somebody waits.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many servers are asked about a room.
const MAX_SERVERS: usize = 5;
/// How many of them at the same time.
const MAX_AT_ONCE: usize = 3;

/// Finds rooms at other servers. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct RemoteFinder {
    client: FederationClient,
}

impl RemoteFinder {
    /// Asks with `client`.
    pub fn new(client: FederationClient) -> Self {
        Self { client }
    }

    /// What the first of the servers that knows a room says of it. Whether a user may know is for the caller to judge.
    pub async fn summary(&self, room_id: &RoomId, via: &[OwnedServerName]) -> Option<RoomSummary> {
        let mut servers: Vec<OwnedServerName> = Vec::new();
        let named = room_id.server_name().map(ToOwned::to_owned);
        for server in via.iter().cloned().chain(named) {
            if server != *self.client.server_name() && !servers.contains(&server) {
                servers.push(server);
            }
        }
        servers.truncate(MAX_SERVERS);
        // Where nobody else could know, those are asked that did not answer lately.
        let is_last_hope = servers.iter().all(|server| self.client.is_away(server));
        let client = if is_last_hope { self.client.insisting() } else { self.client.clone() };
        let asked = servers.into_iter().map(|server| ask(client.clone(), server, room_id.to_owned()));
        let mut answers = stream::iter(asked).buffer_unordered(MAX_AT_ONCE);
        while let Some(answer) = answers.next().await {
            if answer.is_some() {
                return answer;
            }
        }
        None
    }
}

async fn ask(client: FederationClient, server: OwnedServerName, room_id: OwnedRoomId) -> Option<RoomSummary> {
    let request = get_hierarchy::Request::new(room_id.clone());
    let answer = client.send(&server, request, Limits::within(PATIENCE)).await;
    let summary = answer.ok()?.room.summary;
    (summary.room_id == room_id).then_some(summary)
}
