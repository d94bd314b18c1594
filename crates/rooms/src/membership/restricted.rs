//! Joins that are allowed to the members of other rooms.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#restricted-rooms>

use hs_model::{ids::RoomNid, membership::Membership};
use hs_room_rules::power_levels::{PowerLevels, PowerLevelsContent};
use hs_storage::StorageError;
use ruma::{OwnedRoomId, OwnedUserId, UserId};
use serde::Deserialize;

use crate::{Room, RoomActions, Sender};

/// How many members are looked at in search of one who may invite. They are all of this server in a room that was made
/// here, so that the first will do.
const MAX_CANDIDATES: usize = 1000;

/// Why a user may not join by virtue of being elsewhere.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RestrictedJoinError {
    /// The user has joined none of the rooms.
    #[error("you are not in any of the rooms whose members may join this one")]
    NotAMember,
    /// This server is not in all of the rooms, so that it can not tell.
    #[error("this server can not tell whether you are in a room whose members may join this one")]
    CannotTell,
    /// Nobody here may invite.
    #[error("nobody on this server has the power to let you in")]
    NobodyCanAuthorise,
    /// The database failed.
    #[error("the other rooms could not be looked up")]
    Storage(#[from] StorageError),
}

#[derive(Deserialize)]
struct JoinRules {
    join_rule: String,
    #[serde(default)]
    allow: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct AllowCondition {
    #[serde(rename = "type")]
    kind: String,
    room_id: OwnedRoomId,
}

impl RoomActions {
    /// Whom a join has to name as the one who let the user in; `None` when the user needs nobody for that.
    pub(crate) async fn find_authoriser(
        &self,
        room: &Room,
        user: &Sender,
    ) -> Result<Option<OwnedUserId>, RestrictedJoinError> {
        if !room.rules.authorization.restricted_join_rule {
            return Ok(None);
        }
        let slots = {
            let state = room.read();
            if matches!(state.membership(user.nid), Some(Membership::Join | Membership::Invite)) {
                return Ok(None);
            }
            ["m.room.create", "m.room.join_rules", "m.room.power_levels"]
                .map(|event_type| state.state_event(event_type, ""))
        };
        let pdus = self.rooms.inner.pdus.find(room, slots.into_iter().flatten()).await?;
        let [create, join_rules, power_levels] = slots.map(|nid| pdus.get(&nid?));
        let rules = join_rules.and_then(|pdu| pdu.content_as::<JoinRules>().ok());
        let Some(rules) =
            rules.filter(|rules| matches!(&*rules.join_rule, "restricted" | "knock_restricted"))
        else {
            return Ok(None);
        };
        self.check_is_in_allowed_room(rules, user).await?;
        let levels = create.and_then(|create| PowerLevels::new(create, power_levels.map(|pdu| &**pdu)).ok());
        let levels = levels.ok_or(RestrictedJoinError::NobodyCanAuthorise)?;
        // First those who have power by name, since they nearly always can.
        let listed = power_levels
            .and_then(|pdu| pdu.power_levels().ok())
            .into_iter()
            .flat_map(PowerLevelsContent::users);
        let creators = create.and_then(|create| create.create_facts().ok()).into_iter();
        let candidates: Vec<&UserId> = listed
            .filter_map(|(user_id, _)| <&UserId>::try_from(user_id).ok())
            .chain(creators.flat_map(|facts| facts.creators.iter().map(|creator| &**creator)))
            .filter(|candidate| self.rooms.is_local(candidate) && levels.can_invite(candidate))
            .collect();
        let known = self.rooms.store().intern_users(&candidates).await?;
        let named = {
            let state = room.read();
            let is_joined =
                |id: &UserId| known.get(id).and_then(|nid| state.membership(*nid)) == Some(Membership::Join);
            candidates.into_iter().find(|candidate| is_joined(candidate)).map(ToOwned::to_owned)
        };
        if named.is_some() {
            return Ok(named);
        }
        let members: Vec<_> = room.read().users_with(Membership::Join).take(MAX_CANDIDATES).collect();
        let ids = self.rooms.store().user_ids(&members).await?;
        let found = ids.into_values().find(|id| self.rooms.is_local(id) && levels.can_invite(id));
        found.map(Some).ok_or(RestrictedJoinError::NobodyCanAuthorise)
    }

    async fn check_is_in_allowed_room(
        &self,
        rules: JoinRules,
        user: &Sender,
    ) -> Result<(), RestrictedJoinError> {
        let mut rooms: Vec<OwnedRoomId> = rules
            .allow
            .into_iter()
            .filter_map(|condition| serde_json::from_value::<AllowCondition>(condition).ok())
            .filter(|condition| condition.kind == "m.room_membership")
            .map(|condition| condition.room_id)
            .collect();
        rooms.sort_unstable();
        rooms.dedup();
        let mut reader = self.rooms.store().reader().await?;
        if self.rooms.is_local(&user.user_id) {
            // Where this server's own users are is always known.
            return if reader.is_joined_to_any(&rooms, user.nid).await? {
                Ok(())
            } else {
                Err(RestrictedJoinError::NotAMember)
            };
        }
        let nids: Vec<RoomNid> = reader.find_room_nids(&rooms).await?.into_values().collect();
        let watched = self.rooms.list_watched(&mut reader, &nids).await?;
        let memberships = reader.list_memberships_among(user.nid, &watched).await?;
        if memberships.values().any(|membership| *membership == Membership::Join) {
            return Ok(());
        }
        Err(if watched.len() < rooms.len() {
            RestrictedJoinError::CannotTell
        } else {
            RestrictedJoinError::NotAMember
        })
    }
}
