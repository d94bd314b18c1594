//! Checking who signed events.

use std::sync::Arc;

use hs_room_rules::{
    canonical_json::{Object, ParseOptions},
    pdu::{FormatError, MAX_PDU_BYTES, Pdu, References},
    policy::POLICY_KEY_ID,
    verify::{VerifyError, required_signers, verify_event},
};
use ruma::{OwnedServerName, room_version_rules::RoomVersionRules};

use super::{Keyring, KeysByServer, ServerKey, WantedKeys, public_keys};

/// How much text is checked on the threads of the runtime; more goes to those for long work.
const MAX_INLINE_BYTES: usize = 16 * 1024;

/// Why an event of another server is dropped.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PduError {
    /// It is not what an event of its room version is.
    #[error("the event is malformed: {0}")]
    Format(FormatError),
    /// It cannot be told who must have signed it, or they did not.
    #[error(transparent)]
    Signature(VerifyError),
    /// The keys of a server that must have signed it cannot be had.
    #[error("the keys of {0} cannot be had")]
    NoKeys(OwnedServerName),
}

/// Who must have signed an event, with the keys that they have used, and when it says that it was sent.
struct Signers {
    servers: Vec<(OwnedServerName, Vec<String>)>,
    time_ms: i64,
}

impl Keyring {
    /// Checks events of other servers in the form in which they came: signatures, and hashes. An event whose hash is wrong
    /// comes back redacted. There is one answer for each event, in their order.
    pub async fn verify_pdus(
        &self,
        events: Vec<String>,
        rules: &'static RoomVersionRules,
    ) -> Vec<Result<Arc<Pdu>, PduError>> {
        self.verify_all(events, References::Few, rules).await
    }

    /// As [`verify_pdus`](Self::verify_pdus), for answers to `/backfill`, which "MUST NOT be validated" on how many events they
    /// refer to.
    ///
    /// <https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1backfillroomid>
    pub async fn verify_past_pdus(
        &self,
        events: Vec<String>,
        rules: &'static RoomVersionRules,
    ) -> Vec<Result<Arc<Pdu>, PduError>> {
        self.verify_all(events, References::Any, rules).await
    }

    async fn verify_all(
        &self,
        events: Vec<String>,
        references: References,
        rules: &'static RoomVersionRules,
    ) -> Vec<Result<Arc<Pdu>, PduError>> {
        let is_heavy = events.iter().map(String::len).sum::<usize>() > MAX_INLINE_BYTES;
        let events: Arc<[String]> = events.into();
        let signers = {
            let events = events.clone();
            let read = move || events.iter().map(|event| signers(event, rules)).collect::<Vec<_>>();
            run(is_heavy, read).await
        };
        let keys = self.find(&self.wanted(signers.iter().flatten(), rules)).await;
        let verify = move || {
            let checked = events.iter().zip(signers);
            let verify_one = |(event, signers): (&String, Result<Signers, PduError>)| {
                verify(event, &signers?, &keys, references, rules)
            };
            checked.map(|pair| verify_one(pair).map(Arc::new)).collect()
        };
        run(is_heavy, verify).await
    }

    /// All keys that are needed to check the signatures. Who has signed with a key that is known is not asked about others.
    fn wanted<'a>(&self, signers: impl Iterator<Item = &'a Signers>, rules: &RoomVersionRules) -> WantedKeys {
        let mut wanted = WantedKeys::new();
        for Signers { servers, time_ms } in signers {
            // Without signatures there is nothing to check.
            for (server, key_ids) in servers.iter().filter(|(_, key_ids)| !key_ids.is_empty()) {
                let known = self.in_memory(server);
                let is_known = |id: &&String| {
                    let key = known.as_ref().and_then(|known| known.keys.get(*id));
                    key.is_some_and(|key| is_good(key, *time_ms, rules))
                };
                let of_server = wanted.entry(server.clone()).or_default();
                match key_ids.iter().find(is_known) {
                    Some(known) => {
                        of_server.key_ids.insert(known.clone());
                    }
                    None => of_server.key_ids.extend(key_ids.iter().cloned()),
                }
                if rules.enforce_key_validity {
                    of_server.valid_until_ms = of_server.valid_until_ms.max(*time_ms);
                }
            }
        }
        wanted
    }
}

/// Whether a key counts for an event that was sent at some time.
fn is_good(key: &ServerKey, time_ms: i64, rules: &RoomVersionRules) -> bool {
    !rules.enforce_key_validity || key.is_valid_at(time_ms)
}

/// Runs heavy work where it holds nobody up.
pub(crate) async fn run<T: Send + 'static>(is_heavy: bool, work: impl FnOnce() -> T + Send + 'static) -> T {
    if !is_heavy {
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

fn parse<'a>(event: &'a str, rules: &RoomVersionRules) -> Result<Object<'a>, PduError> {
    // Whitespace and escapes may make an event longer than its canonical form, but not beyond reason.
    if event.len() > 4 * MAX_PDU_BYTES {
        return Err(PduError::Format(FormatError::TooLarge));
    }
    Object::parse(event, ParseOptions::federation(rules)).map_err(|error| PduError::Format(error.into()))
}

fn signers(event: &str, rules: &RoomVersionRules) -> Result<Signers, PduError> {
    let event = parse(event, rules)?;
    let signatures = event.get_object("signatures");
    let key_ids = |server: &OwnedServerName| -> Vec<String> {
        let of_server = signatures.and_then(|signatures| signatures.get_object(server.as_str()));
        let ids = of_server.iter().flat_map(|of_server| of_server.iter()).map(|(id, _)| id);
        ids.filter(|id| id.starts_with("ed25519:") && *id != POLICY_KEY_ID).map(str::to_owned).collect()
    };
    let servers = required_signers(&event, rules).map_err(PduError::Signature)?;
    let servers = servers.into_iter().map(|server| (server.clone(), key_ids(&server))).collect();
    Ok(Signers { servers, time_ms: event.get_int("origin_server_ts").unwrap_or(0) })
}

fn verify(
    text: &str,
    signers: &Signers,
    keys: &KeysByServer,
    references: References,
    rules: &'static RoomVersionRules,
) -> Result<Pdu, PduError> {
    let event = parse(text, rules)?;
    let unknown = signers.servers.iter().find(|(server, ids)| !ids.is_empty() && !keys.contains_key(server));
    if let Some((server, _)) = unknown {
        return Err(PduError::NoKeys(server.clone()));
    }
    let of_signers = signers.servers.iter().filter_map(|(server, _)| keys.get_key_value(server));
    let of_signers = of_signers.map(|(server, known)| (server.clone(), known.clone())).collect();
    let mut keys = public_keys(&of_signers, |key| is_good(key, signers.time_ms, rules));
    // What policy servers sign with says nothing about who sent an event, published or not.
    for of_server in keys.values_mut() {
        of_server.remove(POLICY_KEY_ID);
    }
    let verified = verify_event(&event, &keys, rules).map_err(PduError::Signature)?;
    Pdu::from_verified(event, verified, references, rules).map_err(PduError::Format)
}
