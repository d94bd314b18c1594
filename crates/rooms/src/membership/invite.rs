//! Inviting users of other servers: their server signs the invite before it goes into the room.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#inviting-to-a-room>

use std::sync::Arc;

use hs_room_rules::{
    canonical_json::{Object, ParseOptions},
    pdu::Pdu,
};
use ruma::{OwnedEventId, ServerName, UserId};

use super::{MembershipError, through_others::accepted};
use crate::{
    Intent, Room, RoomActions, Sender, WriteRequest,
    client_event::pdu_json,
    ports::{Invitation, RemoteFailure, RemoteRooms},
    receive::Incoming,
};

impl RoomActions {
    /// Writes an invite; that of a user of another server once that server has agreed.
    pub(crate) async fn write_invite(
        &self,
        room: &Arc<Room>,
        sender: &Sender,
        target: &UserId,
        intent: Intent,
    ) -> Result<OwnedEventId, MembershipError> {
        let remote = self.remote_rooms.clone().filter(|_| !self.rooms.is_local(target));
        let Some(remote) = remote else { return self.write_one(room, sender, intent).await };
        let (actions, room, sender) = (self.clone(), room.clone(), sender.clone());
        let target = target.to_owned();
        self.to_the_end(
            async move { actions.invite_through(&*remote, &room, &sender, &target, intent).await },
        )
        .await
    }

    async fn invite_through(
        &self,
        remote: &dyn RemoteRooms,
        room: &Arc<Room>,
        sender: &Sender,
        target: &UserId,
        intent: Intent,
    ) -> Result<OwnedEventId, MembershipError> {
        self.wait_for_member(room, target.as_str()).await;
        let pdu = self.rooms.build_only(room, &WriteRequest::one(sender.clone(), intent)).await?;
        let pdu = self.rooms.approved(room, pdu).await?;
        let server = target.server_name();
        let shown = self.rooms.list_shown_state(room, Some(&sender.user_id)).await?;
        let shown = shown.iter().map(|event| pdu_json(room, event, false)).collect::<Result<Vec<_>, _>>()?;
        let invitation = Invitation { pdu: &pdu, version: &room.version, shown };
        let signed = remote.invite(server, invitation).await?;
        let signed =
            with_signatures_of(&pdu, signed.get(), server).ok_or_else(|| RemoteFailure::Nonsense {
                server: server.to_owned(),
                reason: "it did not sign the invite".to_owned(),
            })?;
        let event_id = signed.event_id().to_owned();
        let incoming = Incoming { pdu: Arc::new(signed), state_before: None };
        let outcomes = self.rooms.receive(room, vec![incoming]).await?;
        accepted(outcomes).map_err(MembershipError::NotAllowed)?;
        Ok(event_id)
    }
}

/// Our event, with what another server has signed of it. Nothing else is taken over.
fn with_signatures_of(pdu: &Pdu, signed: &str, server: &ServerName) -> Option<Pdu> {
    let options = ParseOptions::federation(pdu.rules());
    let signed = Object::parse(signed, options).ok()?;
    let signatures = signed.get_object("signatures")?.get_object(server.as_str())?.clone();
    let mut event = Object::parse(pdu.json(), options).ok()?;
    event.object_or_insert("signatures").insert(server.as_str().to_owned(), signatures);
    Pdu::from_object(event, Some(pdu.event_id().to_owned()), pdu.rules()).ok()
}
