//! Users who were invited by an address, such as that of their mailbox, and have proved that it is theirs.
//!
//! Somebody puts an `m.room.third_party_invite` into a room, with the keys of an identity server. Once a user has proved to
//! that server that the address is theirs, it signs who they are; with that the invite can be written on behalf of whoever
//! asked for it. The rules of rooms check the signature.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#third-party-invites>

use std::sync::Arc;

use hs_storage::StorageError;
use ruma::{OwnedRoomId, OwnedUserId, RoomId, ServerName, UserId};
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::MembershipError;
use crate::{Intent, Room, RoomActions, Sender, ports::RemoteFailure};

/// An invite by an address, and the proof of who has it.
#[derive(Clone, Debug)]
pub struct ProvenInvite {
    /// The room.
    pub room_id: OwnedRoomId,
    /// Who asked for the invite.
    pub inviter: OwnedUserId,
    /// Whose address it is.
    pub invited: OwnedUserId,
    /// What the identity server has signed: `mxid`, `token` and `signatures`.
    pub signed: Box<RawValue>,
}

/// What is read of the proof; what counts is that the rules read it too.
#[derive(Deserialize)]
struct Signed {
    mxid: OwnedUserId,
    token: String,
}

impl RoomActions {
    /// Writes an invite on behalf of who asked for it, into a room that this server is in.
    pub async fn invite_proven(
        &self,
        room: &Arc<Room>,
        invite: &ProvenInvite,
    ) -> Result<(), MembershipError> {
        let malformed = |why: &str| MembershipError::NotAllowed(why.to_owned());
        let signed: Signed = serde_json::from_str(invite.signed.get())
            .map_err(|_| malformed("What the identity server has signed cannot be read"))?;
        if signed.mxid != invite.invited {
            return Err(malformed("The identity server has not signed for this user"));
        }
        let name = self.shown_name(room, &signed.token).await?;
        self.check_can_be_invited(&invite.invited).await?;
        let content = json!({
            "membership": "invite",
            "third_party_invite": { "display_name": name.unwrap_or_default(), "signed": invite.signed },
        });
        let nid = self.rooms.store().intern_user(&invite.inviter).await?;
        let sender = Sender { nid, user_id: invite.inviter.clone() };
        let intent = Intent::state("m.room.member", invite.invited.as_str(), content.to_string());
        let event_id = self.write_invite(room, &sender, &invite.invited, intent).await?;
        if !self.rooms.is_local(&invite.inviter) {
            // Other servers hear of it from this one, since the inviter's does not know of it.
            let event = self.rooms.find_event_in(room, &event_id).await?;
            let mut txn = self.rooms.store().begin().await?;
            if let Some(event) = event {
                txn.forward_event(room.nid, event.nid).await?;
            }
            txn.commit().await?;
        }
        Ok(())
    }

    /// Has a user of this server invited whose address an identity server has confirmed: here, if this server is in the room,
    /// and else by the server of who asked for it.
    pub async fn accept_proof(&self, invite: &ProvenInvite) -> Result<(), MembershipError> {
        if !self.rooms.is_local(&invite.invited) {
            return Err(MembershipError::NotAllowed("The user is not one of this server".to_owned()));
        }
        let room = self.rooms.find(&invite.room_id).await?;
        if let Some(room) = room
            && self.rooms.is_resident(&room).await?
        {
            return self.invite_proven(&room, invite).await;
        }
        self.check_can_be_invited(&invite.invited).await?;
        let unknown = || crate::actions::UnknownRoom::Id(invite.room_id.clone());
        let remote = self.remote_rooms.clone().ok_or_else(unknown)?;
        let mut failure: Option<RemoteFailure> = None;
        for server in asked_servers(invite, self.rooms.server_name()) {
            match remote.exchange_invite(server, invite).await {
                Ok(()) => return Ok(()),
                Err(error) => failure = Some(failure.unwrap_or(error)),
            }
        }
        Err(failure.map_or_else(|| unknown().into(), MembershipError::Remote))
    }

    /// The name under which the invited address is shown in the room.
    async fn shown_name(&self, room: &Room, token: &str) -> Result<Option<String>, StorageError> {
        #[derive(Deserialize)]
        struct Content {
            display_name: String,
        }
        let found = room.read().state_event("m.room.third_party_invite", token);
        let Some(nid) = found else { return Ok(None) };
        let pdus = self.rooms.inner.pdus.find(room, [nid]).await?;
        let content = pdus.get(&nid).and_then(|pdu| serde_json::from_str::<Content>(pdu.content_str()).ok());
        Ok(content.map(|content| content.display_name))
    }
}

/// Who can write the invite: the inviter's server, or that by which the room is called.
fn asked_servers<'a>(invite: &'a ProvenInvite, own: &ServerName) -> Vec<&'a ServerName> {
    let mut servers = vec![UserId::server_name(&invite.inviter)];
    servers.extend(RoomId::server_name(&invite.room_id));
    servers.retain(|server| *server != own);
    servers.dedup();
    servers
}
