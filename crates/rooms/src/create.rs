//! What `createRoom` asks for, as the first events of a room.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3createroom>

mod power_levels;
mod preset;

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use futures_util::{StreamExt as _, stream};
use hs_model::membership::Membership;
use hs_room_rules::{
    canonical_json::{Object, ParseOptions},
    client_content::{self, ContentError},
    room_version::{self, RoomVersionRules},
};
use hs_storage::StorageError;
use ruma::{OwnedRoomAliasId, OwnedRoomId, OwnedUserId, RoomAliasId, RoomVersionId};
use serde_json::{
    json,
    value::{RawValue, to_raw_value},
};

pub(crate) use self::power_levels::{CREATORS_ONLY, default_power_levels};
pub use self::preset::Preset;
use crate::{
    Intent, Room, RoomActions, Sender, WriteError,
    aliases::{AliasError, check_new_alias},
    membership::{MemberContent, MembershipError},
    new_room::NewRoomRequest,
};

/// How many events a room may begin with, invites included.
const MAX_FIRST_EVENTS: usize = 1000;
/// How many servers are told of invites at the same time.
const MAX_INVITES_AT_ONCE: usize = 10;

/// Members of a JSON object, each as it was written.
pub type RawObject = BTreeMap<String, Box<RawValue>>;

/// The parameters of `createRoom`.
#[derive(Clone, Debug, Default)]
pub struct CreateRoom {
    /// The version; `None` for the default.
    pub version: Option<RoomVersionId>,
    /// What kind of room it is to be.
    pub preset: Preset,
    /// Whether it is listed in the directory.
    pub is_published: bool,
    /// The alias, without `#` and server name.
    pub alias_localpart: Option<String>,
    /// The name.
    pub name: Option<String>,
    /// The topic.
    pub topic: Option<String>,
    /// Who is invited.
    pub invite: Vec<OwnedUserId>,
    /// Whether the invites are to a direct chat.
    pub is_direct: bool,
    /// Further keys of the create event.
    pub creation_content: RawObject,
    /// Further state.
    pub initial_state: Vec<InitialState>,
    /// Keys of the power levels that replace the usual ones.
    pub power_levels: RawObject,
}

/// A state event that a room begins with.
#[derive(Clone, Debug)]
pub struct InitialState {
    /// Its type.
    pub event_type: String,
    /// Its state key.
    pub state_key: String,
    /// Its content, as JSON text.
    pub content: String,
}

/// Why a room was not made.
#[derive(Debug, thiserror::Error)]
pub enum CreateRoomError {
    /// This server does not know the room version.
    #[error("this server does not support room version {0}")]
    UnsupportedVersion(RoomVersionId),
    /// The alias can not be one of this server.
    #[error("{0}")]
    InvalidAlias(String),
    /// The alias leads to another room.
    #[error("the alias is taken")]
    AliasTaken,
    /// An initial `m.room.canonical_alias` that does not lead to the room.
    #[error("the alias {0} does not lead to the new room")]
    BadAlias(String),
    /// Somebody of another server is invited, and this one talks to no other.
    #[error("{0} is a user of another server, and this server does not take part in federation")]
    RemoteUser(OwnedUserId),
    /// Somebody is invited who wants no invites.
    #[error("{0} does not accept invites")]
    InvitesBlocked(OwnedUserId),
    /// Too many invites and initial events.
    #[error("a room can not begin with more than {MAX_FIRST_EVENTS} events")]
    TooManyEvents,
    /// The events do not fit each other: the creator lacks the power for one of them, for example.
    #[error("the room would not be valid: {0}")]
    InvalidState(String),
    /// One of the events is malformed, or they could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The database failed.
    #[error("the room could not be made")]
    Storage(#[from] StorageError),
}

impl RoomActions {
    /// Makes a room.
    pub async fn create_room(
        &self,
        creator: Sender,
        mut parameters: CreateRoom,
    ) -> Result<OwnedRoomId, CreateRoomError> {
        let version = parameters.version.take().unwrap_or_else(|| self.rooms.default_version().clone());
        let rules = room_version::rules(&version)
            .ok_or_else(|| CreateRoomError::UnsupportedVersion(version.clone()))?;
        let alias = parameters.alias_localpart.as_deref().map(|name| self.new_alias(name)).transpose()?;
        if parameters.invite.len() + parameters.initial_state.len() > MAX_FIRST_EVENTS {
            return Err(CreateRoomError::TooManyEvents);
        }
        parameters.invite = self.check_invites(&creator, parameters.invite).await?;
        let plan = Plan {
            creator: &creator,
            version: &version,
            rules,
            alias: alias.as_ref(),
            parameters: &parameters,
        };
        let mut intents = vec![plan.create()?];
        let profile = self.profile(&creator.user_id).await?;
        intents.push(
            MemberContent::new(Membership::Join, None).with_profile(profile).into_intent(&creator.user_id),
        );
        plan.push_state(&mut intents)?;
        let mut elsewhere = Vec::new();
        for user_id in &parameters.invite {
            let content =
                MemberContent::new(Membership::Invite, None).with_profile(self.profile(user_id).await?);
            let invite = MemberContent { is_direct: parameters.is_direct, ..content }.into_intent(user_id);
            if self.rooms.is_local(user_id) {
                intents.push(invite);
            } else {
                elsewhere.push((user_id.clone(), invite));
            }
        }
        let is_published = parameters.is_published;
        let inviter = creator.clone();
        let request = NewRoomRequest { creator, version, intents, is_published, alias };
        let room = self.rooms.create(request).await.map_err(|error| match error {
            WriteError::AliasTaken => CreateRoomError::AliasTaken,
            WriteError::Forbidden(why) => CreateRoomError::InvalidState(why),
            error => CreateRoomError::Write(error),
        })?;
        self.invite_elsewhere(&room, &inviter, elsewhere).await;
        Ok(room.room_id.clone())
    }

    /// Invites users of other servers, all at the same time. The room stands, whether they can be reached or not: who was not is
    /// missing among its members, and can be invited again.
    async fn invite_elsewhere(
        &self,
        room: &Arc<Room>,
        inviter: &Sender,
        invites: Vec<(OwnedUserId, Intent)>,
    ) {
        let invites = invites.into_iter().map(|(user_id, intent)| async move {
            if let Err(error) = self.write_invite(room, inviter, &user_id, intent).await {
                tracing::warn!(%error, room_id = %room.room_id, %user_id, "could not invite to a new room");
            }
        });
        stream::iter(invites).buffer_unordered(MAX_INVITES_AT_ONCE).collect::<()>().await;
    }

    fn new_alias(&self, name: &str) -> Result<OwnedRoomAliasId, CreateRoomError> {
        let invalid =
            || CreateRoomError::InvalidAlias(format!("`{name}` can not be the name of a room alias"));
        if name.is_empty() || name.contains(':') || name.chars().any(char::is_whitespace) {
            return Err(invalid());
        }
        let alias =
            RoomAliasId::parse(format!("#{name}:{}", self.rooms.server_name())).map_err(|_| invalid())?;
        check_new_alias(&self.rooms, &alias)
            .map_err(|error: AliasError| CreateRoomError::InvalidAlias(error.to_string()))?;
        Ok(alias)
    }

    /// The users to invite, each once, without the creator.
    async fn check_invites(
        &self,
        creator: &Sender,
        invite: Vec<OwnedUserId>,
    ) -> Result<Vec<OwnedUserId>, CreateRoomError> {
        let mut seen = HashSet::from([creator.user_id.clone()]);
        let invite: Vec<_> = invite.into_iter().filter(|user_id| seen.insert(user_id.clone())).collect();
        for user_id in &invite {
            self.check_can_be_invited(user_id).await.map_err(|error| match error {
                MembershipError::RemoteUser(user_id) => CreateRoomError::RemoteUser(user_id),
                MembershipError::InvitesBlocked(user_id) => CreateRoomError::InvitesBlocked(user_id),
                MembershipError::Storage(error) => CreateRoomError::Storage(error),
                MembershipError::Write(error) => CreateRoomError::Write(error),
                error => CreateRoomError::InvalidState(error.to_string()),
            })?;
        }
        Ok(invite)
    }
}

/// All that decides about the state of a new room.
struct Plan<'a> {
    creator: &'a Sender,
    version: &'a RoomVersionId,
    rules: &'static RoomVersionRules,
    alias: Option<&'a OwnedRoomAliasId>,
    parameters: &'a CreateRoom,
}

impl Plan<'_> {
    /// The create event.
    fn create(&self) -> Result<Intent, CreateRoomError> {
        let mut content = self.parameters.creation_content.clone();
        content.insert("room_version".to_owned(), raw(&self.version.as_str()));
        content.remove("creator");
        if !self.rules.authorization.use_room_create_sender {
            content.insert("creator".to_owned(), raw(&self.creator.user_id));
        }
        let creators = self.trusted_invitees();
        if self.rules.authorization.additional_room_creators && !creators.is_empty() {
            let mut all: Vec<OwnedUserId> = match content.get("additional_creators") {
                Some(given) => serde_json::from_str(given.get()).map_err(|_| {
                    malformed("`additional_creators` of `creation_content` must be a list of user ids")
                })?,
                None => Vec::new(),
            };
            for creator in creators {
                if !all.contains(creator) {
                    all.push(creator.clone());
                }
            }
            content.insert("additional_creators".to_owned(), raw(&all));
        }
        Ok(Intent::state("m.room.create", "", to_text(&content)))
    }

    /// The users who get the same power as the creator.
    fn trusted_invitees(&self) -> &[OwnedUserId] {
        if self.parameters.preset == Preset::TrustedPrivate { &self.parameters.invite } else { &[] }
    }

    /// Everything between the creator's join and the invites, in the order that the specification prescribes.
    fn push_state(&self, intents: &mut Vec<Intent>) -> Result<(), CreateRoomError> {
        let parameters = self.parameters;
        let mut levels = default_power_levels(
            self.rules,
            &self.creator.user_id,
            self.trusted_invitees(),
            parameters.preset.invite_level(),
        );
        levels.extend(parameters.power_levels.clone());
        intents.push(Intent::state("m.room.power_levels", "", to_text(&levels)));
        if let Some(alias) = self.alias {
            intents.push(Intent::state("m.room.canonical_alias", "", json!({ "alias": alias }).to_string()));
        }
        for (event_type, content) in parameters.preset.state() {
            if !self.is_initial(event_type) {
                intents.push(Intent::state(event_type, "", content));
            }
        }
        for state in &parameters.initial_state {
            let is_overridden = state.state_key.is_empty()
                && match &*state.event_type {
                    "m.room.name" => parameters.name.is_some(),
                    "m.room.topic" => parameters.topic.is_some(),
                    _ => false,
                };
            if is_overridden {
                continue;
            }
            self.check_initial(state)?;
            intents.push(Intent::state(&state.event_type, &state.state_key, &state.content));
        }
        if let Some(name) = &parameters.name {
            intents.push(Intent::state("m.room.name", "", json!({ "name": name }).to_string()));
        }
        if let Some(topic) = &parameters.topic {
            let content = json!({ "topic": topic, "m.topic": { "m.text": [{ "body": topic }] } });
            intents.push(Intent::state("m.room.topic", "", content.to_string()));
        }
        Ok(())
    }

    fn is_initial(&self, event_type: &str) -> bool {
        let mut initial = self.parameters.initial_state.iter();
        initial.any(|state| state.event_type == event_type && state.state_key.is_empty())
    }

    fn check_initial(&self, state: &InitialState) -> Result<(), CreateRoomError> {
        if matches!(&*state.event_type, "m.room.create" | "m.room.member") {
            return Err(malformed(&format!("`initial_state` can not hold `{}` events", state.event_type)));
        }
        if state.event_type != "m.room.canonical_alias" {
            return Ok(());
        }
        let object = Object::parse(&state.content, ParseOptions::client(self.rules))
            .map_err(|error| malformed(&format!("`initial_state` is not valid: {error}")))?;
        client_content::check(&state.event_type, Some(&state.state_key), &object)
            .map_err(WriteError::from)?;
        let alternatives = object.get("alt_aliases").and_then(|value| value.as_array()).unwrap_or_default();
        let aliases = alternatives.iter().filter_map(|value| value.as_str()).chain(object.get_str("alias"));
        for alias in aliases.filter(|alias| !alias.is_empty()) {
            if self.alias.is_none_or(|new| new.as_str() != alias) {
                return Err(CreateRoomError::BadAlias(alias.to_owned()));
            }
        }
        Ok(())
    }
}

fn malformed(message: &str) -> CreateRoomError {
    WriteError::Content(ContentError::Malformed(message.to_owned())).into()
}

/// A value as JSON text.
pub(crate) fn raw(value: &impl serde::Serialize) -> Box<RawValue> {
    to_raw_value(value).expect("strings, numbers and lists of them serialise")
}

/// An object as JSON text.
pub(crate) fn to_text(object: &RawObject) -> String {
    serde_json::to_string(object).expect("raw JSON with string keys serialises")
}
