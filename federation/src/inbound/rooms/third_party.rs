//! Invites by an address, once it is known whose it is.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#third-party-invites>

use hs_rooms::membership::ProvenInvite;
use ruma::ServerName;

use super::{AnswerError, RoomAnswers};

impl RoomAnswers {
    /// Invites a user of the server that asks, on behalf of a user of this one.
    pub async fn exchange_invite(
        &self,
        origin: &ServerName,
        invite: &ProvenInvite,
    ) -> Result<(), AnswerError> {
        if invite.invited.server_name() != origin {
            return Err(AnswerError::Forbidden("the user is not one of your server".to_owned()));
        }
        let room = self.whole_room(&invite.room_id, origin).await?;
        Ok(self.actions.invite_proven(&room, invite).await?)
    }
}
