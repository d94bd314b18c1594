//! Changes of membership.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use hs_model::membership::Membership;
use hs_room_rules::power_levels::PowerLevels;
use hs_storage::StorageError;
use ruma::{OwnedEventId, OwnedRoomId, OwnedServerName, OwnedUserId, RoomId, RoomOrAliasId, UserId};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    MemberContent, MembershipError, RestrictedJoinError,
    error::{NoWayIn, alias_error},
};
use crate::{
    Intent, Room, RoomActions, Sender, WriteError, WriteRequest,
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

/// How long somebody waits who does something to a member of whom nothing is known yet.
const MEMBER_PATIENCE: Duration = Duration::from_secs(30);

/// Where a user's wish to get no invites is kept.
const INVITE_PERMISSION: &str = "m.invite_permission_config";

/// Names the member of this server through whom a user joined; only the server itself may say so.
const AUTHORISER: &str = "join_authorised_via_users_server";

/// Where a room is that a user wants to get into.
struct Place {
    room_id: OwnedRoomId,
    /// The room, when this server is in it.
    resident: Option<Arc<Room>>,
    /// Servers that may be in it.
    servers: Vec<OwnedServerName>,
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
        self.join_via(room, &[], sender, reason).await
    }

    /// Joins a room, through servers that may be in it when this one is not.
    pub async fn join_via(
        &self,
        room: &RoomOrAliasId,
        via: &[OwnedServerName],
        sender: &Sender,
        reason: Option<&str>,
    ) -> Result<OwnedRoomId, MembershipError> {
        let (actions, room, via, sender) = (self.clone(), room.to_owned(), via.to_vec(), sender.clone());
        let reason = reason.map(ToOwned::to_owned);
        self.to_the_end(async move { actions.join_now(&room, &via, &sender, reason.as_deref()).await }).await
    }

    /// Does what other servers take part in, whether or not anybody waits for the outcome: they would go on with it as well.
    pub(super) async fn to_the_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, MembershipError>> + Send + 'static,
    ) -> Result<T, MembershipError> {
        let done = self.rooms.inner.tasks.spawn(work).await;
        // Only a panic keeps it from an outcome.
        done.unwrap_or_else(|_| Err(StorageError::Closed.into()))
    }

    async fn join_now(
        &self,
        room: &RoomOrAliasId,
        via: &[OwnedServerName],
        sender: &Sender,
        reason: Option<&str>,
    ) -> Result<OwnedRoomId, MembershipError> {
        let place = self.find_place(room, via, sender).await?;
        let profile = self.profile(&sender.user_id).await?;
        let content = MemberContent::new(Membership::Join, reason).with_profile(profile);
        let _turn = self.joining.take_turn(&place.room_id).await;
        // Whoever joined meanwhile may have brought the room here.
        let place = self.find_place((&*place.room_id).into(), &place.servers, sender).await?;
        let room = match &place.resident {
            Some(room) if self.rooms.membership(room, sender.nid).await? == Some(Membership::Join) => {
                return Ok(place.room_id);
            }
            Some(room) => {
                self.join_here(room, sender, &content, &place.servers).await?;
                room.clone()
            }
            None => self.join_through(&place.room_id, sender, &content, &place.servers).await?,
        };
        self.settle_in(&room, sender).await;
        Ok(place.room_id)
    }

    /// Joins a room that this server is in. Where nobody here can let the user in, others may.
    async fn join_here(
        &self,
        room: &Arc<Room>,
        sender: &Sender,
        content: &MemberContent<'_>,
        servers: &[OwnedServerName],
    ) -> Result<(), MembershipError> {
        let joined = self
            .write_join(room, sender, |authoriser| {
                let content =
                    MemberContent { join_authorised_via_users_server: authoriser, ..content.clone() };
                content.into_intent(&sender.user_id)
            })
            .await;
        match joined {
            Err(MembershipError::NobodyCanAuthorise(why)) if self.remote_rooms.is_some() => {
                match self.join_through(&room.room_id, sender, content, servers).await {
                    Err(MembershipError::UnknownRoom(_)) => Err(MembershipError::NotAllowed(why)),
                    joined => joined.map(drop),
                }
            }
            joined => joined.map(drop),
        }
    }

    /// Asks to be let into a room.
    pub async fn knock(
        &self,
        room: &RoomOrAliasId,
        sender: &Sender,
        reason: Option<&str>,
    ) -> Result<OwnedRoomId, MembershipError> {
        self.knock_via(room, &[], sender, reason).await
    }

    /// Asks to be let into a room, through servers that may be in it when this one is not.
    pub async fn knock_via(
        &self,
        room: &RoomOrAliasId,
        via: &[OwnedServerName],
        sender: &Sender,
        reason: Option<&str>,
    ) -> Result<OwnedRoomId, MembershipError> {
        let (actions, room, via, sender) = (self.clone(), room.to_owned(), via.to_vec(), sender.clone());
        let reason = reason.map(ToOwned::to_owned);
        self.to_the_end(async move { actions.knock_now(&room, &via, &sender, reason.as_deref()).await }).await
    }

    async fn knock_now(
        &self,
        room: &RoomOrAliasId,
        via: &[OwnedServerName],
        sender: &Sender,
        reason: Option<&str>,
    ) -> Result<OwnedRoomId, MembershipError> {
        let place = self.find_place(room, via, sender).await?;
        let profile = self.profile(&sender.user_id).await?;
        let content = MemberContent::new(Membership::Knock, reason).with_profile(profile);
        match &place.resident {
            Some(room) => {
                self.write_one(room, sender, content.into_intent(&sender.user_id)).await?;
            }
            None => self.knock_through(&place.room_id, sender, &content, &place.servers).await?,
        }
        Ok(place.room_id)
    }

    /// Leaves a room, rejects the invite to it, or takes back a knock.
    pub async fn leave(
        &self,
        room_id: &RoomId,
        sender: &Sender,
        reason: Option<&str>,
    ) -> Result<(), MembershipError> {
        let room = self.known(room_id).await?;
        let content = MemberContent::new(Membership::Leave, reason);
        if self.rooms.is_resident(&room).await? {
            return self.write_one(&room, sender, content.into_intent(&sender.user_id)).await.map(drop);
        }
        let (actions, sender) = (self.clone(), sender.clone());
        let reason = reason.map(ToOwned::to_owned);
        self.to_the_end(async move {
            let content = MemberContent::new(Membership::Leave, reason.as_deref());
            actions.leave_from_outside(&room, &sender, &content).await
        })
        .await
    }

    /// Where a room is that a user wants to get into.
    async fn find_place(
        &self,
        room: &RoomOrAliasId,
        via: &[OwnedServerName],
        sender: &Sender,
    ) -> Result<Place, MembershipError> {
        let (room_id, mut servers) = match <&RoomId>::try_from(room) {
            Ok(room_id) => (room_id.to_owned(), via.to_vec()),
            Err(alias) => {
                let found = self.look_up_alias(alias).await.map_err(|error| alias_error(alias, error))?;
                let mut servers = via.to_vec();
                servers.extend(found.servers);
                (found.room_id, servers)
            }
        };
        let mut resident = None;
        if let Some(room) = self.rooms.find(&room_id).await? {
            servers = self.servers_for(&room, sender, &servers).await?;
            resident = self.rooms.is_resident(&room).await?.then_some(room);
        } else {
            servers.extend(room_id.server_name().map(ToOwned::to_owned));
        }
        Ok(Place { room_id, resident, servers })
    }

    /// Invites a user.
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
        self.write_invite(&room, sender, options.target, content.into_intent(options.target)).await.map(drop)
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
        if !self.rooms.is_resident(room).await? {
            // Others would have to help, which the endpoints for joining and leaving ask them for.
            return Err(MembershipError::NotAllowed("This server is not in the room".to_owned()));
        }
        // What is not even that is refused by the checks of content, in their words.
        let membership = serde_json::from_str::<Content>(&content).map(|content| content.membership);
        let target_id = <&UserId>::try_from(target);
        match (membership.as_deref(), target_id) {
            (Ok("invite"), Ok(target_id)) => {
                self.check_can_be_invited(target_id).await?;
                let intent = Intent::state("m.room.member", target, content);
                self.write_invite(room, sender, target_id, intent).await
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
    pub async fn check_can_be_invited(&self, user_id: &UserId) -> Result<(), MembershipError> {
        #[derive(Deserialize)]
        struct Permission {
            default_action: String,
        }
        if !self.rooms.is_local(user_id) {
            // Whether they want invites is for their own server to say.
            let is_possible = self.remote_rooms.is_some();
            return if is_possible { Ok(()) } else { Err(MembershipError::RemoteUser(user_id.to_owned())) };
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
        self.wait_for_member(room, sender.user_id.as_str()).await;
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
                return Err(known.err().map_or(error.into(), MembershipError::from));
            }
        }
    }

    /// Through whom a user may join; the inner error says why there is nobody.
    async fn find_way_in(
        &self,
        room: &Room,
        sender: &Sender,
    ) -> Result<Result<Option<OwnedUserId>, NoWayIn>, StorageError> {
        match self.find_authoriser(room, sender).await {
            Ok(authoriser) => Ok(Ok(authoriser)),
            Err(RestrictedJoinError::Storage(error)) => Err(error),
            Err(error @ (RestrictedJoinError::NotAMember | RestrictedJoinError::CannotTell)) => {
                Ok(Err(NoWayIn::NotAllowed(error.to_string())))
            }
            Err(error @ RestrictedJoinError::NobodyCanAuthorise) => {
                Ok(Err(NoWayIn::NobodyHere(error.to_string())))
            }
        }
    }

    /// Waits, within reason, until it is known what somebody is in a room that was joined without its members.
    pub(super) async fn wait_for_member(&self, room: &Room, user_id: &str) {
        let is_known = room.read().state_event("m.room.member", user_id).is_some();
        if !is_known {
            self.rooms.wait_whole(room, MEMBER_PATIENCE).await;
        }
    }

    pub(super) async fn write_one(
        &self,
        room: &Arc<Room>,
        sender: &Sender,
        intent: Intent,
    ) -> Result<OwnedEventId, MembershipError> {
        if intent.event_type == "m.room.member" {
            self.wait_for_member(room, intent.state_key.as_deref().unwrap_or_default()).await;
        }
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
