//! Leaving rooms that this server is not in: rejecting invites, and taking back knocks.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#leaving-rooms-rejecting-invites>

use std::{sync::Arc, time::Duration};

use hs_model::membership::Membership;
use hs_room_rules::{
    pdu::Pdu,
    room_version::{RoomVersionRules, RoomVersionRulesExt as _},
};
use ruma::OwnedServerName;

use super::{MemberContent, MembershipError, through_others::Prepared};
use crate::{
    Room, RoomActions, Sender,
    ports::{MemberWish, RemoteFailure},
};

/// How many servers are told of a leave, until one has taken it, and for how long this is tried: the user leaves all the same.
const MAX_SERVERS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(20);

impl RoomActions {
    /// Rejects an invite to a room that this server is not in, or takes back a knock. Where no server can be told, the user is
    /// out of it all the same.
    pub(super) async fn leave_from_outside(
        &self,
        room: &Arc<Room>,
        sender: &Sender,
        content: &MemberContent<'_>,
    ) -> Result<(), MembershipError> {
        let member = self.rooms.store().reader().await?.find_membership(room.nid, sender.nid).await?;
        let Some(member) = member.filter(|m| m.membership != Membership::Ban) else {
            return Err(MembershipError::NotAllowed("You are not in this room".to_owned()));
        };
        if member.membership == Membership::Leave {
            return Ok(());
        }
        let left = self.rooms.store().list_events(&[member.event]).await?;
        let left = left.first().map(|event| crate::pdus::parse(room, event)).transpose()?;
        let servers = self.servers_for(room, sender, &[]).await?;
        let told = self.tell_of_leave(room, sender, content, &servers).await;
        let prepared = match (told, left) {
            (Some(prepared), _) => prepared,
            (None, Some(left)) => self.lonely_leave(room, sender, content, &left)?,
            (None, None) => return Ok(()),
        };
        self.note_outside(prepared, None).await
    }

    /// Has another server take the leave; returns it when one has.
    async fn tell_of_leave(
        &self,
        room: &Room,
        sender: &Sender,
        content: &MemberContent<'_>,
        servers: &[OwnedServerName],
    ) -> Option<Prepared> {
        let remote = self.remote_rooms.clone()?;
        let mut servers = self.worth_asking(&*remote, servers);
        servers.truncate(MAX_SERVERS);
        // Each has its share of the time, so that one that is silent does not take that of the others.
        let patience = PATIENCE / servers.len().max(1) as u32;
        for server in servers {
            let asked = async {
                let prepared = self.prepare(&*remote, server, &room.room_id, sender, content).await?;
                remote.send_leave(server, &prepared.pdu).await?;
                Ok::<_, RemoteFailure>(prepared)
            };
            match tokio::time::timeout(patience, asked).await {
                Ok(Ok(prepared)) => return Some(prepared),
                Ok(Err(failure)) => {
                    tracing::info!(%failure, room_id = %room.room_id, "could not tell of a leave");
                }
                Err(_) => tracing::info!(%server, room_id = %room.room_id, "no time to tell of a leave"),
            }
        }
        None
    }

    /// A leave of which no other server knows.
    fn lonely_leave(
        &self,
        room: &Room,
        sender: &Sender,
        content: &MemberContent<'_>,
        left: &Pdu,
    ) -> Result<Prepared, MembershipError> {
        let before = [left.event_id().to_owned()];
        let template = serde_json::json!({
            "auth_events": references(&before, room.rules),
            "depth": left.depth() + 1,
            "prev_events": references(&before, room.rules),
            "room_id": room.room_id,
            "sender": sender.user_id,
            "state_key": sender.user_id,
            "type": "m.room.member",
            "content": { "membership": "leave" },
        });
        let wish =
            MemberWish { membership: Membership::Leave, room_id: &room.room_id, user_id: &sender.user_id };
        let pdu = self.sign_template(&template.to_string(), room.rules, wish, content);
        let pdu = pdu.map_err(|why| MembershipError::NotAllowed(why.to_owned()))?;
        Ok(Prepared { version: room.version.clone(), pdu: Arc::new(pdu) })
    }
}

/// References to events in the form of a room version; those with hashes go without, since nobody checks them.
fn references(ids: &[ruma::OwnedEventId], rules: &RoomVersionRules) -> serde_json::Value {
    let reference = |id: &ruma::OwnedEventId| {
        if rules.references_carry_hashes() { serde_json::json!([id, {}]) } else { serde_json::json!(id) }
    };
    ids.iter().map(reference).collect()
}
