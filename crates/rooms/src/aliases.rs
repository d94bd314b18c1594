//! Names of rooms.

use std::{cmp::Reverse, collections::HashMap, sync::Arc};

use hs_model::{ids::UserNid, membership::Membership};
use hs_room_rules::{power_levels::PowerLevels, visibility::HistoryVisibility};
use hs_storage::StorageError;
use ruma::{OwnedRoomAliasId, OwnedServerName, RoomAliasId, RoomId};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    Intent, Room, RoomActions, Rooms, Sender, WriteError, WriteRequest,
    actions::{FindRoomError, UnknownRoom},
    ports::{RemoteError, ResolvedAlias},
};

/// How many servers are named that are in the room of an alias.
const MAX_SERVERS: usize = 100;
/// How long an alias may be.
///
/// <https://spec.matrix.org/v1.19/appendices/#room-aliases>
const MAX_ALIAS_BYTES: usize = 255;

/// Why an alias was not made, shown or deleted.
#[derive(Debug, thiserror::Error)]
pub enum AliasError {
    /// It is not one of this server.
    #[error("the alias must be of the form #name:{0}")]
    NotOurs(String),
    /// It is too long.
    #[error("the alias is longer than {MAX_ALIAS_BYTES} bytes")]
    TooLong,
    /// It exists.
    #[error("the room alias {0} already exists")]
    Taken(OwnedRoomAliasId),
    /// It does not.
    #[error("there is no room with the alias {0}")]
    NotFound(OwnedRoomAliasId),
    /// The user is not in the room, or lacks the power.
    #[error("{0}")]
    Forbidden(&'static str),
    /// The server that the alias belongs to could not be asked.
    #[error("the server of the alias could not be asked: {0}")]
    Remote(#[from] RemoteError),
    /// The database failed.
    #[error("the alias could not be looked up")]
    Storage(#[from] StorageError),
}

/// Why `m.room.canonical_alias` may not be set.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AliasCheckError {
    #[error("the alias {0} does not lead to the room")]
    Elsewhere(String),
    #[error("the alias could not be looked up")]
    Storage(#[from] StorageError),
}

/// The aliases of `m.room.canonical_alias`. Malformed parts are told by the checks of content.
#[derive(Debug, Default, Deserialize)]
struct CanonicalAlias {
    #[serde(default)]
    alias: Value,
    #[serde(default)]
    alt_aliases: Value,
}

impl CanonicalAlias {
    fn of(content: &str) -> Self {
        serde_json::from_str(content).unwrap_or_default()
    }

    fn aliases(&self) -> impl Iterator<Item = &str> {
        let alternatives = self.alt_aliases.as_array().into_iter().flatten();
        self.alias
            .as_str()
            .into_iter()
            .chain(alternatives.filter_map(Value::as_str))
            .filter(|a| !a.is_empty())
    }
}

/// Who asks about aliases or the directory.
#[derive(Clone, Debug)]
pub struct Asker {
    /// The user.
    pub user: Sender,
    /// Whether the user administrates this server, and so may do without power in the room.
    pub is_admin: bool,
}

impl RoomActions {
    /// Makes an alias for a room the user is in.
    pub async fn create_alias(
        &self,
        alias: &RoomAliasId,
        room_id: &RoomId,
        sender: &Sender,
    ) -> Result<(), AliasError> {
        check_new_alias(&self.rooms, alias)?;
        let room = match self.known(room_id).await {
            Ok(room) => room,
            Err(FindRoomError::Unknown(UnknownRoom::Id(_) | UnknownRoom::Alias(_))) => {
                return Err(AliasError::Forbidden("You are not in this room"));
            }
            Err(FindRoomError::Storage(error)) => return Err(error.into()),
        };
        if self.rooms.membership(&room, sender.nid).await? != Some(Membership::Join) {
            return Err(AliasError::Forbidden("You are not in this room"));
        }
        let mut txn = self.rooms.store().begin().await?;
        if !txn.insert_alias(alias, room.nid, sender.nid, self.rooms.inner.clock.now_ms()).await? {
            return Err(AliasError::Taken(alias.to_owned()));
        }
        Ok(txn.commit().await?)
    }

    /// The room that an alias of this server leads to.
    pub async fn resolve_alias(&self, alias: &RoomAliasId) -> Result<Arc<Room>, AliasError> {
        match self.find_room(alias.into()).await {
            Ok(room) => Ok(room),
            Err(FindRoomError::Unknown(UnknownRoom::Id(_) | UnknownRoom::Alias(_))) => {
                Err(AliasError::NotFound(alias.to_owned()))
            }
            Err(FindRoomError::Storage(error)) => Err(error.into()),
        }
    }

    /// Where an alias of any server leads.
    pub async fn look_up_alias(&self, alias: &RoomAliasId) -> Result<ResolvedAlias, AliasError> {
        if alias.server_name() == self.rooms.server_name() {
            let room = self.resolve_alias(alias).await?;
            let servers = self.rooms.resident_servers(&room).await?;
            return Ok(ResolvedAlias { room_id: room.room_id.clone(), servers });
        }
        let found = match &self.remote_directory {
            Some(directory) => directory.resolve(alias).await?,
            None => None,
        };
        found.ok_or_else(|| AliasError::NotFound(alias.to_owned()))
    }

    /// Deletes an alias: its creator may, and those who have power over the aliases of its room.
    pub async fn delete_alias(&self, alias: &RoomAliasId, asker: &Asker) -> Result<(), AliasError> {
        let not_found = || AliasError::NotFound(alias.to_owned());
        let row = self.rooms.store().reader().await?.find_alias(alias).await?.ok_or_else(not_found)?;
        let room = self.rooms.find_by_nid(row.room).await?;
        let may = asker.is_admin
            || row.creator == asker.user.nid
            || match &room {
                Some(room) => self.has_power_over_aliases(room, &asker.user).await?,
                None => false,
            };
        if !may {
            return Err(AliasError::Forbidden("You do not have the power to delete this alias"));
        }
        let mut txn = self.rooms.store().begin().await?;
        if !txn.delete_alias(alias).await? {
            return Err(not_found());
        }
        txn.commit().await?;
        if let Some(room) = room {
            self.forget_canonical_alias(&room, alias, &asker.user).await?;
        }
        Ok(())
    }

    /// The aliases of a room that this server keeps, for those who may know them.
    pub async fn list_aliases(
        &self,
        room_id: &RoomId,
        user: &Sender,
    ) -> Result<Vec<OwnedRoomAliasId>, AliasError> {
        let forbidden = AliasError::Forbidden("You are not in this room");
        let Some(room) = self.rooms.find(room_id).await? else { return Err(forbidden) };
        if self.rooms.membership(&room, user.nid).await? != Some(Membership::Join) {
            let [visibility] = self.rooms.current_state_pdus(&room, ["m.room.history_visibility"]).await?;
            if HistoryVisibility::from_state(visibility.as_deref()) != HistoryVisibility::WorldReadable {
                return Err(forbidden);
            }
        }
        let aliases = self.rooms.store().reader().await?.list_aliases(room.nid).await?;
        Ok(aliases.into_iter().filter_map(|alias| alias.try_into().ok()).collect())
    }

    /// Whether a user is in a room and may set its canonical alias, which is what decides about aliases and the
    /// directory.
    pub(crate) async fn has_power_over_aliases(
        &self,
        room: &Room,
        user: &Sender,
    ) -> Result<bool, StorageError> {
        self.rooms.catch_up(room).await?;
        if room.read().membership(user.nid) != Some(Membership::Join) {
            return Ok(false);
        }
        let [create, power_levels] =
            self.rooms.current_state_pdus(room, ["m.room.create", "m.room.power_levels"]).await?;
        Ok(create.is_some_and(|create| {
            PowerLevels::new(&create, power_levels.as_deref())
                .is_ok_and(|levels| levels.can_send_state(&user.user_id, "m.room.canonical_alias"))
        }))
    }

    /// Checks that the aliases that a canonical alias event adds lead to the room.
    pub(crate) async fn check_new_aliases(&self, room: &Room, content: &str) -> Result<(), AliasCheckError> {
        let [current] = self.rooms.current_state_pdus(room, ["m.room.canonical_alias"]).await?;
        let current = current.map(|pdu| CanonicalAlias::of(pdu.content_str())).unwrap_or_default();
        let wanted = CanonicalAlias::of(content);
        for alias in wanted.aliases().filter(|alias| !current.aliases().any(|known| known == *alias)) {
            let Ok(alias_id) = <&RoomAliasId>::try_from(alias) else { continue };
            if !self.leads_to(alias_id, room).await? {
                return Err(AliasCheckError::Elsewhere(alias.to_owned()));
            }
        }
        Ok(())
    }

    /// Whether an alias leads to a room. One whose server cannot be asked does not.
    async fn leads_to(&self, alias: &RoomAliasId, room: &Room) -> Result<bool, StorageError> {
        if alias.server_name() == self.rooms.server_name() {
            let row = self.rooms.store().reader().await?.find_alias(alias).await?;
            return Ok(row.is_some_and(|row| row.room == room.nid));
        }
        let Some(directory) = &self.remote_directory else { return Ok(false) };
        Ok(matches!(directory.resolve(alias).await, Ok(Some(found)) if found.room_id == room.room_id))
    }

    /// Takes an alias that is gone out of the room's canonical alias event, if the user may change that.
    async fn forget_canonical_alias(
        &self,
        room: &Arc<Room>,
        alias: &RoomAliasId,
        user: &Sender,
    ) -> Result<(), StorageError> {
        let [current] = self.rooms.current_state_pdus(room, ["m.room.canonical_alias"]).await?;
        let Some(current) = current else { return Ok(()) };
        let Ok(Value::Object(mut content)) = serde_json::from_str(current.content_str()) else {
            return Ok(());
        };
        let before = content.clone();
        if content.get("alias").and_then(Value::as_str) == Some(alias.as_str()) {
            content.remove("alias");
        }
        if let Some(Value::Array(alternatives)) = content.get_mut("alt_aliases") {
            alternatives.retain(|alternative| alternative.as_str() != Some(alias.as_str()));
        }
        if content == before {
            return Ok(());
        }
        let intent = Intent::state("m.room.canonical_alias", "", Value::Object(content).to_string());
        match self.rooms.write_one(room, WriteRequest::one(user.clone(), intent)).await {
            // The alias is gone, whether the user may say so in the room or not.
            Ok(_) | Err(WriteError::Forbidden(_) | WriteError::Policy(_)) => Ok(()),
            Err(error) => {
                tracing::warn!(%error, room_id = %room.room_id, "could not take a deleted alias out of the canonical alias");
                Ok(())
            }
        }
    }
}

/// Checks that a new alias is one that this server can give.
pub(crate) fn check_new_alias(rooms: &Rooms, alias: &RoomAliasId) -> Result<(), AliasError> {
    if alias.server_name() != rooms.server_name() {
        return Err(AliasError::NotOurs(rooms.server_name().to_string()));
    }
    if alias.as_str().len() > MAX_ALIAS_BYTES {
        return Err(AliasError::TooLong);
    }
    Ok(())
}

impl Rooms {
    /// The servers with members in a room, for those who want to get in: this one first, then those with most members.
    async fn resident_servers(&self, room: &Room) -> Result<Vec<OwnedServerName>, StorageError> {
        let users: Vec<UserNid> = room.read().users_with(Membership::Join).collect();
        let mut members: HashMap<OwnedServerName, usize> = HashMap::new();
        for user_id in self.store().user_ids(&users).await?.into_values() {
            *members.entry(user_id.server_name().to_owned()).or_default() += 1;
        }
        members.remove(self.server_name());
        let mut others: Vec<(OwnedServerName, usize)> = members.into_iter().collect();
        others.sort_unstable_by(|(a, x), (b, y)| (Reverse(x), a).cmp(&(Reverse(y), b)));
        let others = others.into_iter().map(|(server, _)| server);
        Ok(std::iter::once(self.server_name().to_owned()).chain(others).take(MAX_SERVERS).collect())
    }
}
