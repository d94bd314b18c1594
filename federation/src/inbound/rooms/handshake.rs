//! Joins, knocks and leaves of users of other servers, in two steps: this server drafts the event, theirs signs it.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#joining-rooms>

use std::sync::Arc;

use hs_model::{
    ids::EventNid,
    membership::Membership,
    records::{EventRecord, Outcome},
};
use hs_room_rules::{
    canonical_json::{Object, ParseOptions},
    hash::content_hash_matches,
    pdu::{FormatError, Pdu},
    room_version::RoomVersionRulesExt as _,
};
use hs_rooms::{
    Room, RoomActions,
    receive::{Incoming, PduOutcome},
};
use ruma::{EventId, OwnedServerName, RoomId, RoomVersionId, ServerName, UserId};
use serde_json::value::RawValue;

use super::{AnswerError, RoomAnswers};

/// Up to this many members are sent to a server that would do with less: what is left out it has to fetch all the same, and a
/// room that comes whole at once is less work for both.
const FEW_MEMBERS: usize = 100;

/// A draft of a member event.
#[derive(Clone, Debug)]
pub struct Template {
    /// The version of the room.
    pub version: RoomVersionId,
    /// The event, without hashes and signatures.
    pub event: Box<RawValue>,
}

/// A member event as another server hands it in, and for what.
#[derive(Clone, Copy, Debug)]
pub struct Handed<'a> {
    /// What the event must set.
    pub membership: Membership,
    /// The room in the path.
    pub room_id: &'a RoomId,
    /// The event id in the path.
    pub event_id: &'a EventId,
    /// The event.
    pub event: &'a RawValue,
}

/// What a server gets whose user has joined.
#[derive(Clone, Debug)]
pub struct JoinReply {
    /// The state before the join.
    pub state: Vec<Box<RawValue>>,
    /// What authorises that and the join.
    pub auth_chain: Vec<Box<RawValue>>,
    /// The join as this server keeps it, with its signature where that was needed.
    pub event: Box<RawValue>,
    /// The servers that were in the room, where most of its members are left out of the state.
    pub servers: Option<Vec<OwnedServerName>>,
}

impl RoomAnswers {
    /// Drafts a member event for a user of `origin`. `versions` are those it speaks, where that matters.
    pub async fn draft(
        &self,
        origin: &ServerName,
        membership: Membership,
        (room_id, user_id): (&RoomId, &UserId),
        versions: Option<&[RoomVersionId]>,
    ) -> Result<Template, AnswerError> {
        if user_id.server_name() != origin {
            return Err(AnswerError::Forbidden("the user is not one of your server".to_owned()));
        }
        let room = self.whole_room(room_id, origin).await?;
        if versions.is_some_and(|versions| !versions.contains(&room.version)) {
            return Err(AnswerError::IncompatibleVersion(room.version.clone()));
        }
        let pdu = self.actions.draft_member_event(&room, user_id, membership).await?;
        Ok(Template { version: room.version.clone(), event: as_template(&pdu)? })
    }

    /// Takes a join into the room.
    pub async fn join(
        &self,
        origin: &ServerName,
        handed: Handed<'_>,
        omits_members: bool,
    ) -> Result<JoinReply, AnswerError> {
        let room = self.whole_room(handed.room_id, origin).await?;
        let is_large = room.read().members().nth(FEW_MEMBERS).is_some();
        let servers = if omits_members && is_large { Some(room.servers()) } else { None };
        let event = self.take(origin, &room, handed).await?;
        self.join_reply(&room, &event, servers).await
    }

    /// Takes a knock into the room; answers with what its user is shown of the room.
    pub async fn knock(
        &self,
        origin: &ServerName,
        handed: Handed<'_>,
    ) -> Result<Vec<Box<RawValue>>, AnswerError> {
        let room = self.whole_room(handed.room_id, origin).await?;
        self.take(origin, &room, handed).await?;
        let shown = self.rooms.list_shown_state(&room, None).await?;
        let shown: Vec<EventNid> = shown.iter().map(|event| event.nid).collect();
        Ok(self.rooms.render_for_judging(&room, &shown).await?)
    }

    /// Takes a leave into the room.
    pub async fn leave(&self, origin: &ServerName, handed: Handed<'_>) -> Result<(), AnswerError> {
        let room = self.whole_room(handed.room_id, origin).await?;
        self.take(origin, &room, handed).await.map(drop)
    }

    /// Checks a member event, takes it into the room, and has it sent to the other servers there.
    async fn take(
        &self,
        origin: &ServerName,
        room: &Arc<Room>,
        handed: Handed<'_>,
    ) -> Result<Arc<EventRecord>, AnswerError> {
        let pdu = self.checked(origin, room, handed).await?;
        let event_id = pdu.event_id().to_owned();
        let outcomes = self.rooms.receive(room, vec![Incoming { pdu, state_before: None }]).await?;
        match outcomes.into_iter().next() {
            Some(PduOutcome::Accepted | PduOutcome::Known(Outcome::Accepted)) => {}
            Some(PduOutcome::MissingPrev(_) | PduOutcome::MissingAuth(_)) | None => {
                return Err(AnswerError::Invalid("the event refers to events unknown here".to_owned()));
            }
            Some(PduOutcome::SoftFailed(why) | PduOutcome::Rejected(why) | PduOutcome::Dropped(why)) => {
                return Err(AnswerError::Forbidden(why));
            }
            Some(PduOutcome::Known(_)) => {
                return Err(AnswerError::Forbidden("the event was refused before".to_owned()));
            }
        }
        let event = self.rooms.find_event_in(room, &event_id).await?.ok_or(AnswerError::UnknownEvent)?;
        let mut txn = self.rooms.store().begin().await?;
        txn.forward_event(room.nid, event.nid).await?;
        txn.commit().await?;
        Ok(event)
    }

    /// The event, if it is what the endpoint is for, its sender's server has signed it, and nothing in it was changed since.
    async fn checked(
        &self,
        origin: &ServerName,
        room: &Room,
        handed: Handed<'_>,
    ) -> Result<Arc<Pdu>, AnswerError> {
        let invalid = |why: &str| AnswerError::Invalid(why.to_owned());
        let mut event = Object::parse(handed.event.get(), ParseOptions::federation(room.rules))
            .map_err(FormatError::Json)?;
        event.remove("unsigned");
        let pdu = Pdu::from_object(event.clone(), None, room.rules)?;
        let sender = pdu.sender();
        if pdu.room_id() != handed.room_id {
            return Err(invalid("the event is for another room"));
        }
        if pdu.event_id() != handed.event_id {
            return Err(invalid("the event has another id"));
        }
        let membership = pdu.membership().ok().and_then(|word| Membership::parse(word.as_str()));
        if membership != Some(handed.membership) {
            return Err(invalid("the event does not set the membership that the endpoint is for"));
        }
        if pdu.state_key() != Some(sender.as_str()) {
            return Err(invalid("the event is about another user than its sender"));
        }
        if sender.server_name() != origin {
            return Err(invalid("the event's sender is not a user of your server"));
        }
        if !content_hash_matches(&event) {
            return Err(invalid("the content is not what was hashed"));
        }
        if handed.membership == Membership::Join
            && room.rules.authorization.restricted_join_rule
            && let Some(authoriser) = RoomActions::authoriser_of(&event)
            && self.rooms.is_local(&authoriser)
        {
            self.actions.check_authorised_join(room, sender).await?;
            self.actions.add_own_signature(room.rules, &mut event);
        }
        let checked = self.keyring.verify_pdus(vec![event.to_canonical_string()], room.rules).await;
        let checked = checked.into_iter().next().ok_or_else(|| invalid("the event cannot be checked"))?;
        checked.map_err(|error| AnswerError::Invalid(error.to_string()))
    }

    async fn join_reply(
        &self,
        room: &Room,
        event: &EventRecord,
        servers: Option<Vec<OwnedServerName>>,
    ) -> Result<JoinReply, AnswerError> {
        let found = match servers {
            Some(_) => self.rooms.partial_state_before(room, event).await?,
            None => self.rooms.state_before_with_chain(event).await?,
        };
        let found = found.ok_or(AnswerError::UnknownEvent)?;
        let mut own = self.rooms.render_for_judging(room, &[event.nid]).await?;
        Ok(JoinReply {
            state: self.rooms.render_for_judging(room, &found.state).await?,
            auth_chain: self.rooms.render_for_judging(room, &found.auth_chain).await?,
            event: own.pop().ok_or(AnswerError::UnknownEvent)?,
            servers,
        })
    }
}

/// The event without what only its sender's server can add.
fn as_template(pdu: &Pdu) -> Result<Box<RawValue>, AnswerError> {
    let mut event =
        Object::parse(pdu.json(), ParseOptions::federation(pdu.rules())).map_err(FormatError::Json)?;
    event.remove("hashes");
    event.remove("signatures");
    if !pdu.rules().event_id_is_hash() {
        event.remove("event_id");
    }
    let malformed = |_| AnswerError::Malformed(FormatError::Malformed("content"));
    RawValue::from_string(event.to_canonical_string()).map_err(malformed)
}
