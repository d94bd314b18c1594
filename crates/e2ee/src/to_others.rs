//! Messages to devices of users of other servers: as EDUs, which wait until the server has taken them.

use std::collections::BTreeMap;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hs_storage::outgoing_edus::NewOutgoingEdu;
use ruma::{OwnedUserId, ServerName, UserId};
use serde::Serialize;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

/// How much goes into one EDU, unless a single message is larger.
const MAX_EDU_BYTES: usize = 48 * 1024;
/// What a message takes beside its content and the ids: quotes, braces, commas.
const OVERHEAD_BYTES: usize = 8;
/// The length of the ids that messages are recognised by: more is not allowed.
const MESSAGE_ID_LENGTH: usize = 32;
const EDU_TYPE: &str = "m.direct_to_device";

/// Contents by user and device.
type Messages<'a> = BTreeMap<&'a UserId, BTreeMap<&'a str, &'a RawValue>>;

/// What all messages of a request have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sending<'a> {
    pub(crate) sender: &'a UserId,
    pub(crate) event_type: &'a str,
    /// What the request is recognised by, with its device.
    pub(crate) request: &'a [u8],
}

/// An EDU, and for whom.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Edu {
    destination: String,
    content: String,
}

impl Edu {
    pub(crate) fn row(&self) -> NewOutgoingEdu<'_> {
        NewOutgoingEdu { destination: &self.destination, edu_type: EDU_TYPE, content: &self.content }
    }
}

/// The EDUs for messages, each of which has the same id whenever the same request is made.
pub(crate) fn edus<'a>(
    sending: Sending<'_>,
    messages: impl Iterator<Item = (&'a OwnedUserId, &'a BTreeMap<String, Box<RawValue>>)>,
) -> Vec<Edu> {
    let mut by_server: BTreeMap<&ServerName, Vec<Part<'a>>> = BTreeMap::new();
    for (user_id, devices) in messages {
        let parts = by_server.entry(user_id.server_name()).or_default();
        for (device_id, content) in devices {
            let size = user_id.as_str().len() + device_id.len() + content.get().len() + OVERHEAD_BYTES;
            if parts.last().is_none_or(|part| part.size + size > MAX_EDU_BYTES) {
                parts.push(Part::default());
            }
            if let Some(part) = parts.last_mut() {
                part.size += size;
                part.messages.entry(user_id).or_default().insert(device_id, content);
            }
        }
    }
    let mut edus = Vec::new();
    for (server, parts) in by_server {
        for (number, part) in parts.into_iter().enumerate() {
            let message_id = message_id(sending.request, server, number);
            edus.push(Edu {
                destination: server.to_string(),
                content: content(sending, &message_id, part.messages),
            });
        }
    }
    edus
}

#[derive(Default)]
struct Part<'a> {
    size: usize,
    messages: Messages<'a>,
}

fn message_id(request: &[u8], server: &ServerName, number: usize) -> String {
    let hash = Sha256::new()
        .chain_update(request)
        .chain_update(server.as_str())
        .chain_update((number as u64).to_be_bytes())
        .finalize();
    let mut id = BASE64_URL_SAFE_NO_PAD.encode(hash);
    id.truncate(MESSAGE_ID_LENGTH);
    id
}

fn content(sending: Sending<'_>, message_id: &str, messages: Messages<'_>) -> String {
    #[derive(Serialize)]
    struct Content<'a> {
        sender: &'a UserId,
        #[serde(rename = "type")]
        event_type: &'a str,
        message_id: &'a str,
        messages: Messages<'a>,
    }
    let content = Content { sender: sending.sender, event_type: sending.event_type, message_id, messages };
    serde_json::to_string(&content).expect("maps with string keys can be written as JSON")
}

#[cfg(test)]
mod tests {
    use ruma::user_id;
    use serde_json::{Value, json};

    use super::*;

    fn made(request: &[u8], messages: &Value) -> Vec<(String, Value)> {
        let messages: BTreeMap<OwnedUserId, BTreeMap<String, Box<RawValue>>> =
            serde_json::from_str(&messages.to_string()).unwrap();
        let sending = Sending { sender: user_id!("@alice:our.example"), event_type: "m.x", request };
        edus(sending, messages.iter())
            .into_iter()
            .map(|edu| (edu.destination, serde_json::from_str(&edu.content).unwrap()))
            .collect()
    }

    #[test]
    fn each_server_gets_the_messages_of_its_users() {
        let edus = made(
            b"1",
            &json!({ "@b:one.example": { "*": { "n": 1 } }, "@c:two.example": { "D": { "n": 2 } } }),
        );

        let expected = [
            ("one.example", json!({ "@b:one.example": { "*": { "n": 1 } } })),
            ("two.example", json!({ "@c:two.example": { "D": { "n": 2 } } })),
        ];
        for ((server, content), (expected_server, messages)) in edus.iter().zip(&expected) {
            assert_eq!((server.as_str(), &content["messages"]), (*expected_server, messages));
            assert_eq!(content["sender"], "@alice:our.example");
            assert_eq!(content["message_id"].as_str().unwrap().len(), MESSAGE_ID_LENGTH);
        }
        assert_eq!(edus.len(), 2);
    }

    #[test]
    fn ids_are_the_same_for_the_same_request_only() {
        let messages = json!({ "@b:one.example": { "D": {} } });
        let id = |request| made(request, &messages)[0].1["message_id"].clone();

        assert_eq!(id(b"1"), id(b"1"));
        assert_ne!(id(b"1"), id(b"2"));
    }

    #[test]
    fn many_messages_go_into_several_edus() {
        let text = "x".repeat(MAX_EDU_BYTES / 3);
        let devices: BTreeMap<String, Value> =
            (0..5).map(|number| (format!("D{number}"), json!({ "t": text }))).collect();

        let edus = made(b"1", &json!({ "@b:one.example": devices }));

        let sizes: Vec<usize> =
            edus.iter().map(|(_, c)| c["messages"]["@b:one.example"].as_object().unwrap().len()).collect();
        assert_eq!(sizes, [2, 2, 1]);
        assert_ne!(edus[0].1["message_id"], edus[1].1["message_id"]);
    }
}
