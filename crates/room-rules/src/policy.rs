//! Policy servers: who checks the events of a room, and whether an event was.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#policy-servers>

use std::collections::BTreeMap;

use ruma::{OwnedServerName, ServerName};
use serde::Deserialize;

use crate::{
    canonical_json::{Object, ParseOptions, Value},
    event_id::signed_text,
    pdu::Pdu,
    sign::is_valid_signature,
};

/// The type of the state event that names a room's policy server.
pub const POLICY: &str = "m.room.policy";
/// The id of the key that policy servers sign with; none else is known.
pub const POLICY_KEY_ID: &str = "ed25519:policy_server";

/// A room's policy server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyServer {
    /// Its name. It counts only while it has a joined member in the room.
    pub via: OwnedServerName,
    /// The public key that its signatures are checked with.
    pub public_key: String,
}

impl PolicyServer {
    /// The one that an `m.room.policy` event names; `None` when what it says is no policy server.
    pub fn named_by(policy: &Pdu) -> Option<Self> {
        #[derive(Deserialize)]
        struct Content {
            via: OwnedServerName,
            public_keys: BTreeMap<String, serde_json::Value>,
        }
        let content: Content = policy.content_as().ok()?;
        let public_key = content.public_keys.get("ed25519")?.as_str()?.to_owned();
        Some(Self { via: content.via, public_key })
    }

    /// Whether it checks an event: all but the one by which a room chooses it, so that a room can get rid of it.
    pub fn checks(pdu: &Pdu) -> bool {
        !pdu.is_state_of(POLICY, "")
    }

    /// Whether an event has its valid signature.
    pub fn has_signed(&self, pdu: &Pdu) -> bool {
        let Some(event) = parse(pdu) else { return false };
        let signature = event
            .get_object("signatures")
            .and_then(|signatures| signatures.get_object(self.via.as_str()))
            .and_then(|signatures| signatures.get(POLICY_KEY_ID))
            .and_then(Value::as_str);
        signature.is_some_and(|signature| {
            is_valid_signature(&signed_text(event.clone(), pdu.rules()), &self.public_key, signature)
        })
    }

    /// The event with the server's signature beside those it has; `None` when that is wrong.
    pub fn add_signature(&self, pdu: &Pdu, signature: &str) -> Option<Pdu> {
        let mut event = parse(pdu)?;
        put(&mut event, &self.via, signature);
        let signed = Pdu::from_object(event, Some(pdu.event_id().to_owned()), pdu.rules()).ok()?;
        self.has_signed(&signed).then_some(signed)
    }
}

fn parse(pdu: &Pdu) -> Option<Object<'_>> {
    Object::parse(pdu.json(), ParseOptions::federation(pdu.rules())).ok()
}

fn put(event: &mut Object<'_>, server: &ServerName, signature: &str) {
    let signatures = event.object_or_insert("signatures");
    if signatures.get_object(server.as_str()).is_none() {
        signatures.insert(server.as_str().to_owned(), Object::new());
    }
    if let Some(Value::Object(of_server)) = signatures.get_mut(server.as_str()) {
        of_server.insert(POLICY_KEY_ID.to_owned(), signature.to_owned());
    }
}
