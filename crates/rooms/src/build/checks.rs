//! What is asked of the events of our own users beyond the rules that every server checks.

use hs_model::{
    ids::{EventNid, UserNid},
    membership::Membership,
};
use hs_room_rules::{
    pdu::{Pdu, is_storable_name},
    power_levels::PowerLevels,
};
use hs_storage::append::Relation;
use ruma::{OwnedEventId, events::room::member::MembershipState};

use super::Batch;
use crate::{Intent, WriteError, intent::Mismatch};

/// Redacting one of these would break the room, or open it to servers that were shut out.
const NEVER_REDACTED: [&str; 2] = ["m.room.create", "m.room.server_acl"];

impl Batch<'_> {
    /// Checks the membership from which the intent may change it.
    pub(super) fn check_expected(&self, intent: &Intent) -> Result<(), WriteError> {
        let (Some(expected), Some(state_key)) = (intent.expects, &intent.state_key) else { return Ok(()) };
        let current = match self.state("m.room.member", state_key).map(|pdu| pdu.membership()) {
            Some(Ok(MembershipState::Join)) => Membership::Join,
            Some(Ok(MembershipState::Invite)) => Membership::Invite,
            Some(Ok(MembershipState::Knock)) => Membership::Knock,
            Some(Ok(MembershipState::Ban)) => Membership::Ban,
            _ => Membership::Leave,
        };
        if expected.among.contains(&current) {
            return Ok(());
        }
        Err(match expected.otherwise {
            Mismatch::Forbidden(why) => WriteError::Forbidden(why.to_owned()),
            Mismatch::BadState(why) => WriteError::BadState(why),
        })
    }

    /// The state event in force that already says what this one would.
    pub(super) async fn find_equal(&self, pdu: &Pdu) -> Result<Option<OwnedEventId>, WriteError> {
        let Some(state_key) = pdu.state_key() else { return Ok(None) };
        let Some((nid, current)) = self.state_entry(pdu.type_str(), state_key) else { return Ok(None) };
        if current.sender() != pdu.sender() || current.content_str() != pdu.content_str() {
            return Ok(None);
        }
        if !self.work.state_changes.values().any(|changed| changed == nid) {
            let events = self.rooms.inner.store.find_events(&[*nid]).await?;
            if events.get(nid).is_some_and(|event| event.redacted_by.is_some()) {
                return Ok(None);
            }
        }
        Ok(Some(current.event_id().to_owned()))
    }

    /// The event that a redaction is about, if its sender may redact it.
    ///
    /// From room version 3 on the auth rules let every redaction pass, and each server decides whether to apply it; a
    /// client of ours is told instead of being left with a redaction without effect.
    pub(super) async fn redaction_target(&self, pdu: &Pdu) -> Result<Option<EventNid>, WriteError> {
        let Some(redacts) = pdu.redacts().filter(|_| pdu.type_str() == "m.room.redaction") else {
            return Ok(None);
        };
        if !is_storable_name(redacts.as_str()) {
            return Err(WriteError::UnknownRedactionTarget);
        }
        let own = self.work.events.iter().find(|event| event.record.event_id == redacts);
        if let Some(own) = own.filter(|own| own.record.sender == pdu.sender()) {
            return Ok(Some(own.record.nid));
        }
        let mut reader = self.rooms.inner.store.reader().await?;
        let target = reader.find_event(redacts).await?.filter(|target| target.room == self.room.nid);
        drop(reader);
        let target = target.ok_or(WriteError::UnknownRedactionTarget)?;
        if NEVER_REDACTED.contains(&&*target.event_type) {
            return Err(WriteError::Forbidden(format!("`{}` events can not be redacted", target.event_type)));
        }
        let power_levels = self.state("m.room.power_levels", "");
        let may_redact_others = self.state("m.room.create", "").is_some_and(|create| {
            PowerLevels::new(create, power_levels.map(|pdu| &**pdu))
                .is_ok_and(|levels| levels.user(pdu.sender()).reaches(levels.redact()))
        });
        if !may_redact_others && target.sender != pdu.sender() {
            return Err(WriteError::Forbidden(
                "You do not have the power level to redact events of others".to_owned(),
            ));
        }
        Ok(Some(target.nid))
    }

    /// Refuses a second equal reaction, and threads on events that belong to something else.
    ///
    /// <https://spec.matrix.org/v1.19/client-server-api/#avoiding-duplicate-annotations>,
    /// <https://spec.matrix.org/v1.19/client-server-api/#server-behaviour-19>
    pub(super) async fn check_relation(
        &self,
        pdu: &Pdu,
        sender: UserNid,
        relation: &Relation,
    ) -> Result<(), WriteError> {
        match (&*relation.rel_type, &relation.key) {
            ("m.annotation", Some(key)) => {
                let is_in_batch = self.work.events.iter().any(|event| {
                    event.relation.as_ref() == Some(relation)
                        && event.record.sender_nid == sender
                        && &*event.record.event_type == pdu.type_str()
                });
                let mut reader = self.rooms.inner.store.reader().await?;
                let type_nid = self.rooms.inner.store.intern_type(pdu.type_str()).await?;
                if is_in_batch
                    || reader.has_annotation(self.room.nid, &relation.parent, key, (sender, type_nid)).await?
                {
                    return Err(WriteError::DuplicateAnnotation);
                }
            }
            ("m.thread", _) => {
                let mut reader = self.rooms.inner.store.reader().await?;
                if reader.has_relation(&relation.parent).await? {
                    return Err(WriteError::NestedThread);
                }
            }
            _ => {}
        }
        Ok(())
    }
}
