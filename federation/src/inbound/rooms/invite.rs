//! Invites of users of this server to rooms of others, and their end.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#inviting-to-a-room>

use std::sync::Arc;

use hs_model::membership::Membership;
use hs_room_rules::{
    canonical_json::{Object, ParseOptions},
    hash::content_hash_matches,
    pdu::{FormatError, Pdu},
    room_version::{self, RoomVersionRules, RoomVersionRulesExt as _},
};
use hs_rooms::{membership::stripped_state, outside::OutsideChange};
use ruma::{EventId, RoomId, RoomVersionId, ServerName, UserId};
use serde_json::value::RawValue;

use super::{AnswerError, RoomAnswers};

/// How many events may come with an invite.
const MAX_SHOWN: usize = 100;

/// An invite as another server sends it.
#[derive(Clone, Debug)]
pub struct ReceivedInvite<'a> {
    /// The room in the path.
    pub room_id: &'a RoomId,
    /// The event id in the path.
    pub event_id: &'a EventId,
    /// The version of the room.
    pub version: &'a RoomVersionId,
    /// The invite.
    pub event: &'a RawValue,
    /// What the user is to be shown of the room: events, or stripped state.
    pub shown: Vec<Box<RawValue>>,
}

impl RoomAnswers {
    /// Takes an invite for a user of this server, and signs it.
    pub async fn invite(
        &self,
        origin: &ServerName,
        invite: ReceivedInvite<'_>,
    ) -> Result<Box<RawValue>, AnswerError> {
        let rules = room_version::rules(invite.version)
            .ok_or_else(|| AnswerError::IncompatibleVersion(invite.version.clone()))?;
        let (mut event, invited) = check_invite(origin, &invite, rules)?;
        if !self.rooms.is_local(&invited) {
            return Err(AnswerError::Invalid("the invited user is not one of this server".to_owned()));
        }
        self.check_may_be_invited(origin, invite.room_id, &invited).await?;
        self.check_signatures(vec![event.to_canonical_string()], rules).await?;
        let shown = self.checked_shown(&invite, rules).await?;
        self.actions.add_own_signature(rules, &mut event);
        let signed = event.to_canonical_string();
        let pdu = Pdu::from_object(event, Some(invite.event_id.to_owned()), rules)?;
        let shown = stripped_state(&shown, vec![origin.to_owned()]);
        let change =
            OutsideChange { version: invite.version.clone(), pdu: Arc::new(pdu), shown: Some(shown) };
        // Where this server is in the room, the invite comes once more, with its place in the graph.
        self.rooms.note_outside(change).await?;
        let malformed = |_| AnswerError::Malformed(FormatError::Malformed("content"));
        RawValue::from_string(signed).map_err(malformed)
    }

    async fn check_may_be_invited(
        &self,
        origin: &ServerName,
        room_id: &RoomId,
        user_id: &UserId,
    ) -> Result<(), AnswerError> {
        let store = self.rooms.store();
        let unknown = || AnswerError::Forbidden("there is no such user".to_owned());
        let user = store.find_user(user_id).await?.ok_or_else(unknown)?;
        let account = store.reader().await?.find_account(user).await?;
        account.filter(|account| account.deactivated_at.is_none()).ok_or_else(unknown)?;
        if let Some(room) = self.rooms.find(room_id).await? {
            if self.rooms.membership(&room, user).await? == Some(Membership::Join) {
                return Err(AnswerError::Forbidden("the user is in the room already".to_owned()));
            }
            if self.rooms.is_resident(&room).await? && !self.rooms.allows_server(&room, origin).await? {
                return Err(AnswerError::ShutOut);
            }
        }
        Ok(self.actions.check_can_be_invited(user_id).await?)
    }

    async fn check_signatures(
        &self,
        events: Vec<String>,
        rules: &'static RoomVersionRules,
    ) -> Result<Vec<Arc<Pdu>>, AnswerError> {
        let checked = self.keyring.verify_pdus(events, rules).await;
        let checked: Result<Vec<_>, _> = checked.into_iter().collect();
        checked.map_err(|error| AnswerError::Invalid(error.to_string()))
    }

    /// What the user is to be shown. Where the id of a room says what its create event is, that and the rest must be right.
    async fn checked_shown(
        &self,
        invite: &ReceivedInvite<'_>,
        rules: &'static RoomVersionRules,
    ) -> Result<Vec<Box<RawValue>>, AnswerError> {
        if invite.shown.len() > MAX_SHOWN {
            return Err(AnswerError::Invalid("too many events come with the invite".to_owned()));
        }
        if !rules.room_id_is_create_hash() {
            return Ok(invite.shown.clone());
        }
        let events = invite.shown.iter().map(|event| event.get().to_owned()).collect();
        let pdus = self.check_signatures(events, rules).await?;
        if pdus.iter().any(|pdu| pdu.room_id() != invite.room_id) {
            return Err(AnswerError::Invalid("an event of another room comes with the invite".to_owned()));
        }
        if !pdus.iter().any(|pdu| pdu.is_state_of("m.room.create", "")) {
            return Err(AnswerError::Invalid("the create event does not come with the invite".to_owned()));
        }
        Ok(pdus.iter().map(|pdu| pdu.to_raw_json()).collect())
    }
}

/// The invite, and whom it invites, if it is one of a user of `origin` for a user of this server.
fn check_invite<'a>(
    origin: &ServerName,
    invite: &ReceivedInvite<'a>,
    rules: &'static RoomVersionRules,
) -> Result<(Object<'a>, ruma::OwnedUserId), AnswerError> {
    let invalid = |why: &str| AnswerError::Invalid(why.to_owned());
    let mut event =
        Object::parse(invite.event.get(), ParseOptions::federation(rules)).map_err(FormatError::Json)?;
    event.remove("unsigned");
    let pdu = Pdu::from_object(event.clone(), None, rules)?;
    if pdu.room_id() != invite.room_id {
        return Err(invalid("the invite is to another room"));
    }
    if pdu.event_id() != invite.event_id {
        return Err(invalid("the invite has another id"));
    }
    let membership = pdu.membership().ok().and_then(|word| Membership::parse(word.as_str()));
    if membership != Some(Membership::Invite) {
        return Err(invalid("the event is no invite"));
    }
    if pdu.sender().server_name() != origin {
        return Err(invalid("the inviter is not a user of your server"));
    }
    if !content_hash_matches(&event) {
        return Err(invalid("the content is not what was hashed"));
    }
    let invited = pdu.state_key().and_then(|key| UserId::parse(key).ok());
    let invited = invited.ok_or_else(|| invalid("the invite is not for a user"))?;
    Ok((event, invited))
}
