//! Whether events have the signature of the room's policy server that they need. Nobody is asked here; see
//! [`crate::policy`].
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#policy-servers>

use hs_room_rules::{
    pdu::Pdu,
    policy::{POLICY, PolicyServer},
};
use ruma::OwnedEventId;

use super::{Batch, Purpose};
use crate::{WriteError, policy::Refusals, ports::RemoteError};

/// What the policy server of the room thinks of an event.
pub(super) enum Approval {
    /// It has signed it, or there is none.
    Given,
    /// It has not signed it, for this reason.
    Refused(String),
    /// It has not signed it, and was not asked.
    Unknown,
}

impl Batch<'_> {
    /// Refuses an event of this server that the room's policy server has to sign, or takes note of that.
    pub(super) fn check_approval(&mut self, pdu: &Pdu) -> Result<(), WriteError> {
        // What is only shown is somebody else's to sign, and is looked at when it comes back.
        if self.purpose == Purpose::Show {
            return Ok(());
        }
        let Some(server) = self.policy_server(pdu) else { return Ok(()) };
        if self.purpose == Purpose::Sign {
            self.work.to_sign.push((pdu.event_id().to_owned(), server));
            return Ok(());
        }
        let why = "the policy server of the room has not been asked".to_owned();
        Err(WriteError::Policy(RemoteError::Unreachable(why)))
    }

    /// Who has to sign which of the events.
    pub(crate) fn take_unsigned(&mut self) -> Vec<(OwnedEventId, PolicyServer)> {
        std::mem::take(&mut self.work.to_sign)
    }

    /// Whether the room's policy server lets an event of another server pass.
    pub(super) fn approval_of(&self, pdu: &Pdu, refusals: &Refusals) -> Approval {
        // What has come before is no news to anybody, and was looked at by those who were there.
        if self.is_past {
            return Approval::Given;
        }
        match self.policy_server(pdu) {
            Some(server) if !server.has_signed(pdu) => match refusals.of(pdu.event_id(), &server) {
                Some(why) => Approval::Refused(why.to_owned()),
                None => Approval::Unknown,
            },
            _ => Approval::Given,
        }
    }

    /// The server that has to sign an event.
    fn policy_server(&self, pdu: &Pdu) -> Option<PolicyServer> {
        if self.version == 0 || !PolicyServer::checks(pdu) {
            return None;
        }
        let server = PolicyServer::named_by(self.state(POLICY, "")?)?;
        self.room.has_server(&server.via).then_some(server)
    }
}
