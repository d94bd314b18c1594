//! Changes of membership.

use std::{collections::BTreeMap, sync::Arc};

use hs_model::membership::Membership;
use hs_room_rules::power_levels::PowerLevels;
use hs_storage::StorageError;
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, RoomOrAliasId, UserId};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{MemberContent, RestrictedJoinError};
use crate::{
    Intent, Room, RoomActions, Sender, WriteError, WriteRequest,
    actions::{FindRoomError, UnknownRoom},
    intent::{ExpectedMembership, Mismatch},
};

/// Whom one may kick.
const IN_THE_ROOM: ExpectedMembership = ExpectedMembership {
    among: &[Membership::Join, Membership::Invite, Membership::Knock],
    otherwise: Mismatch::Forbidden("The user is not in the room"),
};
/// Whom one may unban.
const BANNED: ExpectedMembership =
    ExpectedMembership { among: &[Membership::Ban], otherwise: Mismatch::BadState("The user is not banned") };

/// Where a user's wish to get no invites is kept.
const INVITE_PERMISSION: &str = "m.invite_permission_config";

/// Names the member of this server through whom a user joined; only the server itself may say so.
const AUTHORISER: &str = "join_authorised_via_users_server";

/// Why a membership was not changed.
#[derive(Debug, thiserror::Error)]
pub enum MembershipError {
    /// There is no such room here.
    #[error(transparent)]
    UnknownRoom(#[from] UnknownRoom),
    /// The user is of another server, which has to be asked.
    #[error("{0} is a user of another server, and this server can not invite users of other servers yet")]
    RemoteUser(OwnedUserId),
    /// The user wants no invites.
    #[error("{0} does not accept invites")]
    InvitesBlocked(OwnedUserId),
    /// The room lets in members of other rooms, and the user is none.
    #[error("{0}")]
    NotAllowed(String),
    /// The rules of the room forbid it, or it could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The database failed.
    #[error("the membership could not be looked up")]
    Storage(#[from] StorageError),
}

impl From<FindRoomError> for MembershipError {
    fn from(error: FindRoomError) -> Self {
        match error {
            FindRoomError::Unknown(unknown) => Self::UnknownRoom(unknown),
            FindRoomError::Storage(error) => Self::Storage(error),
        }
    }
}

/// Somebody does something to somebody's membership.
#[derive(Clone, Debug)]
pub struct MembershipOptions<'a> {
    /// To whom.
    pub target: &'a UserId,
    /// Why, for people.
    pub reason: Option<&'a str>,
}

impl RoomActions {
    /// Joins a room; who is in it already stays as they are.
    pub async fn join(
        &self,
        room: &RoomOrAliasId,
        sender: &Sender,
        reason: Option<&str>,
    ) -> Result<OwnedRoomId, MembershipError> {
        let room = self.find_room(room).await?;
        if room.read().membership(sender.nid) != Some(Membership::Join) {
            let profile = self.profile(&sender.user_id).await?;
            let content = MemberContent::new(Membership::Join, reason).with_profile(profile);
            self.write_join(&room, sender, |authoriser| {
                let content =
                    MemberContent { join_authorised_via_users_server: authoriser, ..content.clone() };
                content.into_intent(&sender.user_id)
            })
            .await?;
            self.settle_in(&room, sender).await;
        }
        Ok(room.room_id.clone())
    }

    /// Asks to be let into a room.
    pub async fn knock(
        &self,
        room: &RoomOrAliasId,
        sender: &Sender,
        reason: Option<&str>,
    ) -> Result<OwnedRoomId, MembershipError> {
        let room = self.find_room(room).await?;
        let profile = self.profile(&sender.user_id).await?;
        let content = MemberContent::new(Membership::Knock, reason).with_profile(profile);
        self.write_one(&room, sender, content.into_intent(&sender.user_id)).await?;
        Ok(room.room_id.clone())
    }

    /// Leaves a room, rejects the invite to it, or takes back a knock.
    pub async fn leave(
        &self,
        room_id: &RoomId,
        sender: &Sender,
        reason: Option<&str>,
    ) -> Result<(), MembershipError> {
        let room = self.known(room_id).await?;
        let intent = MemberContent::new(Membership::Leave, reason).into_intent(&sender.user_id);
        self.write_one(&room, sender, intent).await.map(drop)
    }

    /// Invites a user of this server.
    pub async fn invite(
        &self,
        room_id: &RoomId,
        sender: &Sender,
        options: MembershipOptions<'_>,
    ) -> Result<(), MembershipError> {
        let room = self.known(room_id).await?;
        if let Err(error) = self.check_can_be_invited(options.target).await {
            // Whoever may not invite anybody is told so, and nothing of what this server cannot do.
            self.check_may_invite(&room, sender).await?;
            return Err(error);
        }
        let profile = self.profile(options.target).await?;
        let content = MemberContent::new(Membership::Invite, options.reason).with_profile(profile);
        self.write_one(&room, sender, content.into_intent(options.target)).await.map(drop)
    }

    /// Removes a user from a room, or takes back an invite.
    pub async fn kick(
        &self,
        room_id: &RoomId,
        sender: &Sender,
        options: MembershipOptions<'_>,
    ) -> Result<(), MembershipError> {
        self.set(room_id, sender, &options, (Membership::Leave, Some(IN_THE_ROOM))).await
    }

    /// Bans a user.
    pub async fn ban(
        &self,
        room_id: &RoomId,
        sender: &Sender,
        options: MembershipOptions<'_>,
    ) -> Result<(), MembershipError> {
        self.set(room_id, sender, &options, (Membership::Ban, None)).await
    }

    /// Lifts a ban.
    pub async fn unban(
        &self,
        room_id: &RoomId,
        sender: &Sender,
        options: MembershipOptions<'_>,
    ) -> Result<(), MembershipError> {
        self.set(room_id, sender, &options, (Membership::Leave, Some(BANNED))).await
    }

    /// Sends a member event that a client has written itself.
    pub(crate) async fn send_member_event(
        &self,
        room: &Arc<Room>,
        sender: &Sender,
        target: &str,
        content: String,
    ) -> Result<OwnedEventId, MembershipError> {
        #[derive(Deserialize)]
        struct Content {
            membership: String,
        }
        // What is not even that is refused by the checks of content, in their words.
        let membership = serde_json::from_str::<Content>(&content).map(|content| content.membership);
        let target_id = <&UserId>::try_from(target);
        match (membership.as_deref(), target_id) {
            (Ok("invite"), Ok(target_id)) => {
                self.check_can_be_invited(target_id).await?;
                self.write_one(room, sender, Intent::state("m.room.member", target, content)).await
            }
            (Ok("join"), _) if target == sender.user_id => {
                self.write_join(room, sender, |authoriser| {
                    let content = with_authoriser(&content, authoriser);
                    Intent::state("m.room.member", target, content)
                })
                .await
            }
            _ => self.write_one(room, sender, Intent::state("m.room.member", target, content)).await,
        }
    }

    async fn check_may_invite(&self, room: &Room, sender: &Sender) -> Result<(), MembershipError> {
        let forbidden = || MembershipError::NotAllowed("You may not invite anybody to this room".to_owned());
        let slots = {
            let state = room.read();
            ["m.room.create", "m.room.power_levels"].map(|event_type| state.state_event(event_type, ""))
        };
        if self.rooms.membership(room, sender.nid).await? != Some(Membership::Join) {
            return Err(forbidden());
        }
        let pdus = self.rooms.inner.pdus.find(room, slots.into_iter().flatten()).await?;
        let [create, power_levels] = slots.map(|nid| pdus.get(&nid?));
        let levels = create.and_then(|create| PowerLevels::new(create, power_levels.map(|pdu| &**pdu)).ok());
        if levels.is_some_and(|levels| levels.can_invite(&sender.user_id)) {
            Ok(())
        } else {
            Err(forbidden())
        }
    }

    /// Whether this server can and may invite somebody.
    ///
    /// <https://spec.matrix.org/v1.19/client-server-api/#invite-permission>
    pub(crate) async fn check_can_be_invited(&self, user_id: &UserId) -> Result<(), MembershipError> {
        #[derive(Deserialize)]
        struct Permission {
            default_action: String,
        }
        if !self.rooms.is_local(user_id) {
            return Err(MembershipError::RemoteUser(user_id.to_owned()));
        }
        let store = self.rooms.store();
        let user = store.intern_user(user_id).await?;
        let permission = store.reader().await?.find_account_data(user, None, INVITE_PERMISSION).await?;
        let permission = permission.and_then(|content| serde_json::from_str::<Permission>(&content).ok());
        if permission.is_some_and(|permission| permission.default_action == "block") {
            return Err(MembershipError::InvitesBlocked(user_id.to_owned()));
        }
        Ok(())
    }

    async fn set(
        &self,
        room_id: &RoomId,
        sender: &Sender,
        options: &MembershipOptions<'_>,
        (membership, expects): (Membership, Option<ExpectedMembership>),
    ) -> Result<(), MembershipError> {
        let room = self.known(room_id).await?;
        let intent = MemberContent::new(membership, options.reason).into_intent(options.target);
        self.write_one(&room, sender, Intent { expects, ..intent }).await.map(drop)
    }

    /// Writes a join, with the name of who lets the user in where one is needed.
    async fn write_join(
        &self,
        room: &Arc<Room>,
        sender: &Sender,
        intent: impl Fn(Option<&UserId>) -> Intent,
    ) -> Result<OwnedEventId, MembershipError> {
        let mut way = self.find_way_in(room, sender).await?;
        loop {
            let intent = intent(way.as_ref().ok().and_then(Option::as_deref));
            let error = match self.write_one(room, sender, intent).await {
                Err(MembershipError::Write(error @ WriteError::Forbidden(_))) => error,
                answer => return answer,
            };
            // A refusal brings what memory knows of the room up to date; perhaps there is another way in.
            let known = std::mem::replace(&mut way, self.find_way_in(room, sender).await?);
            if way == known {
                return Err(known.err().map_or(error.into(), MembershipError::NotAllowed));
            }
        }
    }

    /// Through whom a user may join; the inner error says why there is nobody.
    async fn find_way_in(
        &self,
        room: &Room,
        sender: &Sender,
    ) -> Result<Result<Option<OwnedUserId>, String>, StorageError> {
        match self.find_authoriser(room, sender).await {
            Ok(authoriser) => Ok(Ok(authoriser)),
            Err(RestrictedJoinError::Storage(error)) => Err(error),
            Err(error @ (RestrictedJoinError::NotAMember | RestrictedJoinError::NobodyCanAuthorise)) => {
                Ok(Err(error.to_string()))
            }
        }
    }

    async fn write_one(
        &self,
        room: &Arc<Room>,
        sender: &Sender,
        intent: Intent,
    ) -> Result<OwnedEventId, MembershipError> {
        let written = self.rooms.write_one(room, WriteRequest::one(sender.clone(), intent)).await?;
        Ok(written.event_id().clone())
    }
}

/// The content with the name that the server puts into it, whatever the client wrote there.
fn with_authoriser(content: &str, authoriser: Option<&UserId>) -> String {
    let Ok(mut fields) = serde_json::from_str::<BTreeMap<String, Box<RawValue>>>(content) else {
        // Refused when it is built.
        return content.to_owned();
    };
    if fields.remove(AUTHORISER).is_none() && authoriser.is_none() {
        return content.to_owned();
    }
    if let Some(value) = authoriser.and_then(|user_id| serde_json::value::to_raw_value(user_id).ok()) {
        fields.insert(AUTHORISER.to_owned(), value);
    }
    serde_json::to_string(&fields).unwrap_or_else(|_| content.to_owned())
}

#[cfg(test)]
mod tests {
    use ruma::user_id;

    use super::*;

    #[test]
    fn nobody_authorises_their_own_join() {
        let written = r#"{"membership":"join","join_authorised_via_users_server":"@admin:s"}"#;

        assert_eq!(with_authoriser(written, None), r#"{"membership":"join"}"#);
        assert_eq!(
            with_authoriser(written, Some(user_id!("@other:s"))),
            r#"{"join_authorised_via_users_server":"@other:s","membership":"join"}"#
        );
    }
}
