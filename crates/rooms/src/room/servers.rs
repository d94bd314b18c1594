//! The servers in a room, in memory.

use std::collections::{HashMap, HashSet};

use hs_model::{ids::EventNid, membership::Membership};
use ruma::{OwnedServerName, ServerName, UserId};

use super::{Cached, Missing, Room, RoomState};

impl Room {
    /// The servers that have joined members; counted once, and then kept.
    pub fn servers(&self) -> Vec<OwnedServerName> {
        if let Cached::Loaded(state) = &mut *self.cached.write()
            && state.servers.is_none()
        {
            state.servers = Some(state.count_servers());
        }
        self.read().servers.iter().flatten().map(|(server, _)| server.clone()).collect()
    }

    /// Whether a server has joined members.
    pub fn has_server(&self, server: &ServerName) -> bool {
        if let Some(servers) = &self.read().servers {
            return servers.contains_key(server);
        }
        self.servers().iter().any(|known| known == server)
    }
}

impl RoomState {
    fn count_servers(&self) -> HashMap<OwnedServerName, usize> {
        let joined: HashSet<EventNid> = self
            .members
            .values()
            .filter(|member| member.membership == Membership::Join)
            .map(|member| member.event)
            .collect();
        let mut servers = HashMap::new();
        for (user_id, event) in self.state.get("m.room.member").into_iter().flatten() {
            if joined.contains(event)
                && let Ok(user_id) = <&UserId>::try_from(&**user_id)
            {
                *servers.entry(user_id.server_name().to_owned()).or_default() += 1;
            }
        }
        if let Missing::Members { servers: told, .. } = &self.missing {
            // Each has a member whom nobody here knows, and who does not leave before that one is known.
            for server in told {
                *servers.entry(server.clone()).or_default() += 1;
            }
        }
        servers
    }

    pub(super) fn note_server(&mut self, user_id: &str, before: Option<Membership>, after: Membership) {
        let Some(servers) = &mut self.servers else { return };
        let Ok(user_id) = <&UserId>::try_from(user_id) else { return };
        let (was, is) = (before == Some(Membership::Join), after == Membership::Join);
        if is && !was {
            *servers.entry(user_id.server_name().to_owned()).or_default() += 1;
        } else if was && !is {
            let count = servers.get_mut(user_id.server_name());
            if count.is_some_and(|count| {
                *count = count.saturating_sub(1);
                *count == 0
            }) {
                servers.remove(user_id.server_name());
            }
        }
    }
}
