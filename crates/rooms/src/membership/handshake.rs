//! What servers outside ask for when their users want to come in or go: the draft of a member event, and whether it may be.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#joining-rooms>

use std::sync::Arc;

use hs_model::membership::Membership;
use hs_room_rules::{build::add_signature, canonical_json::Object, pdu::Pdu, room_version::RoomVersionRules};
use hs_storage::StorageError;
use ruma::{OwnedUserId, UserId};

use super::{MemberContent, RestrictedJoinError};
use crate::{Room, RoomActions, Sender, WriteError, WriteRequest};

/// Why a user of another server does not get what they ask for.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The room lets in members of rooms that this server is not in.
    #[error("this server can not tell whether the user is in a room whose members may join this one")]
    CannotTell,
    /// The room lets the user in, and nobody of this server has the power to say so.
    #[error("nobody on this server has the power to let the user in")]
    NobodyCanAuthorise,
    /// The user is in none of the rooms whose members the room lets in.
    #[error("the user is not in any of the rooms whose members may join this one")]
    NotAMember,
    /// The rules of the room forbid it.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The database failed.
    #[error("the room could not be looked up")]
    Storage(#[from] StorageError),
}

impl From<RestrictedJoinError> for HandshakeError {
    fn from(error: RestrictedJoinError) -> Self {
        match error {
            RestrictedJoinError::NotAMember => Self::NotAMember,
            RestrictedJoinError::CannotTell => Self::CannotTell,
            RestrictedJoinError::NobodyCanAuthorise => Self::NobodyCanAuthorise,
            RestrictedJoinError::Storage(error) => Self::Storage(error),
        }
    }
}

impl RoomActions {
    /// The draft of a member event by which a user of another server joins, knocks or leaves. Signed by this server, which means
    /// nothing: whoever hands it out must take hashes and signatures away.
    pub async fn draft_member_event(
        &self,
        room: &Arc<Room>,
        user_id: &UserId,
        membership: Membership,
    ) -> Result<Pdu, HandshakeError> {
        let user = self.rooms.store().intern_user(user_id).await?;
        let sender = Sender { nid: user, user_id: user_id.to_owned() };
        let authoriser = match membership {
            Membership::Join => self.find_authoriser(room, &sender).await?,
            _ => None,
        };
        let content = MemberContent {
            join_authorised_via_users_server: authoriser.as_deref(),
            ..MemberContent::new(membership, None)
        };
        let request = WriteRequest::one(sender, content.into_intent(user_id));
        Ok(self.rooms.build_only(room, &request).await?)
    }

    /// Whether a join that names one of our users as the one who lets its sender in may do so. Whether that user has the power is
    /// for the rules of the room to say.
    pub async fn check_authorised_join(&self, room: &Room, user_id: &UserId) -> Result<(), HandshakeError> {
        let user = self.rooms.store().intern_user(user_id).await?;
        let sender = Sender { nid: user, user_id: user_id.to_owned() };
        self.find_authoriser(room, &sender).await?;
        Ok(())
    }

    /// The user whom a join names as the one who lets its sender in.
    pub fn authoriser_of(event: &Object<'_>) -> Option<OwnedUserId> {
        let content = event.get_object("content")?;
        content.get_str("join_authorised_via_users_server")?.try_into().ok()
    }

    /// Puts the signature of this server beside those that an event has.
    pub fn add_own_signature(&self, rules: &RoomVersionRules, event: &mut Object<'_>) {
        add_signature(event, rules, self.rooms.server_name(), &self.rooms.inner.key);
    }
}
