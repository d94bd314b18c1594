//! What a change of an account brings about in all rooms of its user.

use std::sync::Arc;

use futures_util::{TryStreamExt as _, stream};
use hs_model::{ids::RoomNid, membership::Membership};

use super::{MemberContent, MembershipError};
use crate::{Intent, Room, RoomActions, Sender, WriteError, WriteRequest};

/// How many rooms are written to at once: enough to share the flush to disk, few enough to leave room for others.
const CONCURRENT_ROOMS: usize = 8;

impl RoomActions {
    /// Puts a user's profile into the member event of every room they are in.
    ///
    /// # Errors
    /// When some rooms could not be written to: asking again does what is left.
    pub async fn show_profile_everywhere(&self, user: &Sender) -> Result<(), WriteError> {
        let profile = self.profile(&user.user_id).await?;
        let intent =
            MemberContent::new(Membership::Join, None).with_profile(profile).into_intent(&user.user_id);
        self.write_everywhere(user, &[Membership::Join], &intent).await
    }

    /// Makes a user leave every room, reject every invite and take back every knock.
    ///
    /// # Errors
    /// As for [`show_profile_everywhere`](Self::show_profile_everywhere).
    pub async fn leave_everywhere(&self, user: &Sender) -> Result<(), WriteError> {
        let intent = MemberContent::new(Membership::Leave, None).into_intent(&user.user_id);
        self.write_everywhere(user, &[Membership::Join, Membership::Invite, Membership::Knock], &intent)
            .await?;
        self.leave_outside(user).await
    }

    /// Leaves the rooms that this server is not in.
    async fn leave_outside(&self, user: &Sender) -> Result<(), WriteError> {
        let memberships = self.rooms.store().reader().await?.list_memberships_of_user(user.nid).await?;
        let content = MemberContent::new(Membership::Leave, None);
        let outside =
            memberships.iter().filter(|row| matches!(row.membership, Membership::Invite | Membership::Knock));
        for row in outside {
            let Some(room) = self.rooms.find_by_nid(row.room).await? else { continue };
            if self.rooms.is_resident(&room).await? {
                continue;
            }
            match self.leave_from_outside(&room, user, &content).await {
                Err(MembershipError::Storage(error)) => return Err(error.into()),
                Err(MembershipError::Write(error)) => return Err(error),
                // Whoever else is asked has a say in it only as long as they answer.
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    async fn write_everywhere(
        &self,
        user: &Sender,
        where_they_are: &[Membership],
        intent: &Intent,
    ) -> Result<(), WriteError> {
        let memberships = self.rooms.store().reader().await?.list_memberships_of_user(user.nid).await?;
        let rooms = memberships.into_iter().filter(|row| where_they_are.contains(&row.membership));
        stream::iter(rooms.map(|row| Ok(row.room)))
            .try_for_each_concurrent(CONCURRENT_ROOMS, |room| self.write_in(room, user, intent))
            .await
    }

    async fn write_in(&self, room: RoomNid, user: &Sender, intent: &Intent) -> Result<(), WriteError> {
        let Some(room): Option<Arc<Room>> = self.rooms.find_by_nid(room).await? else { return Ok(()) };
        if !self.rooms.is_resident(&room).await? {
            return Ok(());
        }
        match self.rooms.write_one(&room, WriteRequest::one(user.clone(), intent.clone())).await {
            // Who is refused was removed meanwhile.
            Ok(_) | Err(WriteError::Forbidden(_) | WriteError::Policy(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
