//! Sending events: messages, state, redactions.

use std::sync::Arc;

use hs_model::{membership::Membership, records::TransactionRef};
use hs_room_rules::{
    build::{BuildError, MAX_BUILT_BYTES, check_field},
    canonical_json::{Object, ParseOptions},
    client_content,
    event_id::parse_event_id,
};
use hs_storage::StorageError;
use ruma::{OwnedEventId, OwnedUserId, RoomId};
use serde::Deserialize;

use crate::{
    Intent, Room, RoomActions, Sender, WriteError, WriteRequest,
    actions::{FindRoomError, UnknownRoom},
    aliases::AliasCheckError,
    membership::MembershipError,
    ports::RemoteFailure,
};

/// Why an event was not sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// There is no such room here.
    #[error(transparent)]
    UnknownRoom(#[from] UnknownRoom),
    /// A redaction that does not say of what.
    #[error("the redaction does not name the event to redact: `redacts` must be an event id")]
    RedactsNothing,
    /// `m.room.canonical_alias` names an alias that does not lead to the room.
    #[error("the alias {0} does not exist, or does not lead to this room")]
    BadAlias(String),
    /// An invite for a user of another server.
    #[error("{0} is a user of another server, and this server does not take part in federation")]
    RemoteUser(OwnedUserId),
    /// Other servers would have to help, and do not.
    #[error(transparent)]
    Remote(#[from] RemoteFailure),
    /// An invite for a user who wants none.
    #[error("{0} does not accept invites")]
    InvitesBlocked(OwnedUserId),
    /// The rules of the room forbid it, or it could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The database failed.
    #[error("the event could not be sent")]
    Storage(#[from] StorageError),
}

impl From<FindRoomError> for SendError {
    fn from(error: FindRoomError) -> Self {
        match error {
            FindRoomError::Unknown(unknown) => Self::UnknownRoom(unknown),
            FindRoomError::Storage(error) => Self::Storage(error),
        }
    }
}

impl From<MembershipError> for SendError {
    fn from(error: MembershipError) -> Self {
        match error {
            MembershipError::UnknownRoom(unknown) => Self::UnknownRoom(unknown),
            MembershipError::RemoteUser(user_id) => Self::RemoteUser(user_id),
            MembershipError::InvitesBlocked(user_id) => Self::InvitesBlocked(user_id),
            MembershipError::Remote(failure) => Self::Remote(failure),
            MembershipError::NotAllowed(why) | MembershipError::NobodyCanAuthorise(why) => {
                Self::Write(WriteError::Forbidden(why))
            }
            MembershipError::AliasServer(error) => Self::Write(WriteError::Forbidden(error.to_string())),
            MembershipError::Write(error) => Self::Write(error),
            MembershipError::Storage(error) => Self::Storage(error),
        }
    }
}

impl From<AliasCheckError> for SendError {
    fn from(error: AliasCheckError) -> Self {
        match error {
            AliasCheckError::Elsewhere(alias) => Self::BadAlias(alias),
            AliasCheckError::Storage(error) => Self::Storage(error),
        }
    }
}

/// A redaction to be.
#[derive(Clone, Debug)]
pub struct Redaction {
    /// The event to redact.
    pub redacts: OwnedEventId,
    /// Why, for people.
    pub reason: Option<String>,
}

impl RoomActions {
    /// Sends a message event.
    pub async fn send_message(
        &self,
        room_id: &RoomId,
        sender: Sender,
        intent: Intent,
        transaction: Option<TransactionRef>,
    ) -> Result<OwnedEventId, SendError> {
        let room = self.known(room_id).await?;
        let intent = if intent.event_type == "m.room.redaction" { with_target(intent)? } else { intent };
        let request = WriteRequest { sender, intents: vec![intent], transaction };
        let written = self.rooms.write_one(&room, request).await?;
        Ok(written.event_id().clone())
    }

    /// Redacts an event.
    pub async fn redact(
        &self,
        room_id: &RoomId,
        sender: Sender,
        redaction: Redaction,
        transaction: Option<TransactionRef>,
    ) -> Result<OwnedEventId, SendError> {
        let room = self.known(room_id).await?;
        let content = match &redaction.reason {
            Some(reason) => serde_json::json!({ "reason": reason }).to_string(),
            None => "{}".to_owned(),
        };
        let intent =
            Intent { redacts: Some(redaction.redacts), ..Intent::message("m.room.redaction", content) };
        let request = WriteRequest { sender, intents: vec![intent], transaction };
        let written = self.rooms.write_one(&room, request).await?;
        Ok(written.event_id().clone())
    }

    /// Sends a state event.
    pub async fn send_state(
        &self,
        room_id: &RoomId,
        sender: Sender,
        intent: Intent,
        transaction: Option<TransactionRef>,
    ) -> Result<OwnedEventId, SendError> {
        let room = self.known(room_id).await?;
        match (&*intent.event_type, &intent.state_key) {
            ("m.room.member", Some(target)) => {
                return Ok(self.send_member_event(&room, &sender, target, intent.content).await?);
            }
            ("m.room.canonical_alias", _) => self.check_new_aliases(&room, &intent.content).await?,
            _ => {}
        }
        let request = WriteRequest { sender, intents: vec![intent], transaction };
        let written = self.rooms.write_one(&room, request).await?;
        Ok(written.event_id().clone())
    }

    /// Whether something could be sent to a room later, as far as that is known now: its sender is in the room, and it is
    /// what an event may hold. Returns the room.
    pub async fn check_draft(
        &self,
        room_id: &RoomId,
        sender: &Sender,
        intent: &Intent,
    ) -> Result<Arc<Room>, SendError> {
        let room = self.known(room_id).await?;
        if self.rooms.membership(&room, sender.nid).await? != Some(Membership::Join) {
            return Err(WriteError::Forbidden("You are not in this room".to_owned()).into());
        }
        let content = Object::parse(&intent.content, ParseOptions::client(room.rules));
        let content = content.map_err(|error| WriteError::Build(BuildError::Content(error)))?;
        client_content::check(&intent.event_type, intent.state_key.as_deref(), &content)
            .map_err(WriteError::Content)?;
        if intent.content.len() > MAX_BUILT_BYTES {
            return Err(WriteError::Build(BuildError::TooLarge).into());
        }
        let fields = [("type", Some(&intent.event_type)), ("state_key", intent.state_key.as_ref())];
        for (name, value) in fields {
            check_field(name, value.map(String::as_str)).map_err(WriteError::Build)?;
        }
        Ok(room)
    }
}

/// A redaction as an ordinary message names its target in the content, whatever the room version.
fn with_target(intent: Intent) -> Result<Intent, SendError> {
    #[derive(Deserialize)]
    struct Content {
        redacts: String,
    }
    let content: Content = serde_json::from_str(&intent.content).map_err(|_| SendError::RedactsNothing)?;
    let redacts = parse_event_id(&content.redacts).ok_or(SendError::RedactsNothing)?;
    Ok(Intent { redacts: Some(redacts), ..intent })
}
