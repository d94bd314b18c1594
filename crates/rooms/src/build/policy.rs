//! Asking the room's policy server.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#policy-servers>

use std::sync::Arc;

use hs_room_rules::{
    pdu::Pdu,
    policy::{POLICY, PolicyServer},
};

use super::Batch;
use crate::{WriteError, ports::RemoteError};

impl Batch<'_> {
    /// An event of this server with the signature of the room's policy server, where there is one.
    pub(super) async fn approved(&self, pdu: Pdu) -> Result<Pdu, WriteError> {
        let Some(server) = self.policy_server(&pdu) else { return Ok(pdu) };
        self.sign_by(&server, &pdu).await.map_err(WriteError::Policy)
    }

    /// An event of another server that the room's policy server lets pass, with its signature; otherwise why it does not.
    pub(super) async fn approved_incoming(&self, pdu: &Arc<Pdu>) -> Result<Arc<Pdu>, String> {
        let Some(server) = self.policy_server(pdu) else { return Ok(pdu.clone()) };
        if server.has_signed(pdu) {
            return Ok(pdu.clone());
        }
        // It may have got another key since it signed.
        let signed = self.sign_by(&server, pdu).await;
        signed.map(Arc::new).map_err(|error| format!("not signed by the policy server of the room: {error}"))
    }

    /// The server that has to sign an event.
    fn policy_server(&self, pdu: &Pdu) -> Option<PolicyServer> {
        if self.version == 0 || !PolicyServer::checks(pdu) {
            return None;
        }
        let server = PolicyServer::named_by(self.state(POLICY, "")?)?;
        self.room.has_server(&server.via).then_some(server)
    }

    async fn sign_by(&self, server: &PolicyServer, pdu: &Pdu) -> Result<Pdu, RemoteError> {
        let Some(port) = &self.rooms.inner.options.policy_servers else {
            return Err(RemoteError::Unreachable("this server asks no others".to_owned()));
        };
        let signature = port.sign(&server.via, pdu.json()).await?;
        server
            .add_signature(pdu, &signature)
            .ok_or_else(|| RemoteError::Unreachable("the policy server's signature is wrong".to_owned()))
    }
}
