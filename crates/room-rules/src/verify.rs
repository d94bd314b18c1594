//! Checking an event of another server: who must have signed it, whether they did, and whether its content is
//! still the one that was signed.
//!
//! Specification: <https://spec.matrix.org/v1.19/server-server-api/#validating-hashes-and-signatures-on-received-events>

use std::collections::BTreeMap;

use ruma::{EventId, OwnedServerName, UserId, room_version_rules::RoomVersionRules};
use thiserror::Error;

use crate::{
    canonical_json::Object,
    event_id::signed_text,
    hash::content_hash_matches,
    redact::redact_event,
    sign::{PublicKeys, SignatureError, verify_text},
};

/// How far an event of another server can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verified {
    /// Signatures and content hash are right.
    All,
    /// The signatures are right, but the content is not what was hashed: only the redacted event counts.
    Signatures,
}

/// Why an event of another server is dropped.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum VerifyError {
    /// A field that names a signer cannot be read.
    #[error("`{0}` is malformed")]
    Malformed(&'static str),
    /// A signature is missing or wrong.
    #[error(transparent)]
    Signature(#[from] SignatureError),
}

/// The servers that must have signed an event.
pub fn required_signers(
    event: &Object<'_>,
    rules: &RoomVersionRules,
) -> Result<Vec<OwnedServerName>, VerifyError> {
    let mut signers: Vec<OwnedServerName> = Vec::with_capacity(1);
    let mut add = |server: &ruma::ServerName| {
        if !signers.iter().any(|signer| signer == server) {
            signers.push(server.to_owned());
        }
    };
    let is_member = is_member(event);
    let content = event.get_object("content");
    if !needs_no_sender(event, rules) {
        let sender = event.get_str("sender").and_then(|sender| <&UserId>::try_from(sender).ok());
        add(sender.ok_or(VerifyError::Malformed("sender"))?.server_name());
    }
    if rules.signatures.check_event_id_server {
        let event_id = event.get_str("event_id").and_then(|event_id| <&EventId>::try_from(event_id).ok());
        add(event_id.and_then(EventId::server_name).ok_or(VerifyError::Malformed("event_id"))?);
    }
    if rules.signatures.check_join_authorised_via_users_server
        && is_member
        && let Some(user_id) = content.and_then(|content| content.get("join_authorised_via_users_server"))
    {
        let user_id = user_id.as_str().and_then(|user_id| <&UserId>::try_from(user_id).ok());
        add(user_id.ok_or(VerifyError::Malformed("join_authorised_via_users_server"))?.server_name());
    }
    Ok(signers)
}

/// Whether the sender's server need not have signed. The server of somebody who was invited by e-mail may send the
/// invitation on behalf of the inviter; the auth rules then ask for the signature of the identity server.
///
/// What counts is what the auth rules will see: an event whose content hash is wrong they see redacted.
fn needs_no_sender(event: &Object<'_>, rules: &RoomVersionRules) -> bool {
    if !is_third_party_invite(event) {
        return false;
    }
    content_hash_matches(event) || {
        let mut redacted = event.clone();
        redact_event(&mut redacted, &rules.redaction);
        is_third_party_invite(&redacted)
    }
}

/// Whether the auth rules judge an event as a third-party invite, and neither as an ordinary one nor as nonsense.
fn is_third_party_invite(event: &Object<'_>) -> bool {
    let content = event.get_object("content").filter(|_| is_member(event));
    let content = content.filter(|content| content.get_str("membership") == Some("invite"));
    let invite = content.and_then(|content| content.get_object("third_party_invite"));
    let signed = invite.and_then(|invite| invite.get_object("signed"));
    signed.is_some_and(|signed| signed.get_str("mxid").is_some() && signed.get_str("token").is_some())
}

fn is_member(event: &Object<'_>) -> bool {
    event.get_str("type") == Some("m.room.member")
}

/// Checks the signatures and the content hash of an event.
///
/// `keys` must hold the keys of [`required_signers`] that were valid when the event was sent; keys that are
/// not in it are treated as unknown, and signatures by unknown keys do not count.
pub fn verify_event(
    event: &Object<'_>,
    keys: &PublicKeys,
    rules: &RoomVersionRules,
) -> Result<Verified, VerifyError> {
    let signers = required_signers(event, rules)?;
    let text = signed_text(event.clone(), rules);
    let no_keys = BTreeMap::new();
    for signer in signers {
        verify_text(&text, event, signer.as_str(), keys.get(signer.as_str()).unwrap_or(&no_keys))?;
    }
    Ok(if content_hash_matches(event) { Verified::All } else { Verified::Signatures })
}
