//! Building events of this server: canonical JSON, content hash, signature, event id.
//!
//! This runs once for every message, so the text is written directly in its final order instead of through a
//! tree; only the content is parsed, once.

use std::{collections::HashMap, fmt::Write as _};

use ruma::{
    EventId, OwnedEventId, OwnedRoomId, RoomId, ServerName, UserId, room_version_rules::RoomVersionRules,
};
use thiserror::Error;

use crate::{
    canonical_json::{MAX_INTEGER, Object, ParseError, ParseOptions, write_string},
    event_id::{from_reference_hash, signed_text},
    hash::{content_hash, content_hash_of_text, reference_hash_of_text},
    pdu::{MAX_AUTH_EVENTS, MAX_FIELD_BYTES, MAX_PREV_EVENTS, Parts, Pdu, is_storable_name},
    redact::redact_content,
    room_version::{RoomVersionRulesExt as _, room_id_of_create_event},
    sign::SigningKey,
};

/// How large an event of ours may be. One byte less than [`crate::pdu::MAX_PDU_BYTES`], since other servers
/// exist that read the limit that way.
pub const MAX_BUILT_BYTES: usize = 65_535;

/// What an event is made of.
#[derive(Clone, Debug)]
pub struct EventTemplate<'a> {
    /// The room; `None` only for the create event of a room of version 12, whose id this event decides.
    pub room_id: Option<&'a RoomId>,
    /// Who sends it.
    pub sender: &'a UserId,
    /// Its type.
    pub event_type: &'a str,
    /// Its state key, for a state event.
    pub state_key: Option<&'a str>,
    /// The JSON of its content, as the client wrote it.
    pub content: &'a str,
    /// The event that it redacts, for a redaction.
    pub redacts: Option<&'a EventId>,
    /// Now, in milliseconds since 1970.
    pub origin_server_ts: i64,
    /// The room's forward extremities.
    pub prev_events: Vec<OwnedEventId>,
    /// The events that allow it, see [`crate::auth::auth_types`].
    pub auth_events: Vec<OwnedEventId>,
    /// One more than the greatest depth of `prev_events`.
    pub depth: i64,
    /// For how many milliseconds the event is sticky (MSC4354).
    pub sticky_ms: Option<i64>,
    /// What only room versions 1 and 2 need.
    pub legacy: Option<LegacyParts>,
}

/// What events of room versions 1 and 2 need beside the rest.
#[derive(Clone, Debug)]
pub struct LegacyParts {
    /// The new event's id, see [`legacy_event_id`].
    pub event_id: OwnedEventId,
    /// The reference hashes of `prev_events` and `auth_events`, see [`crate::event_id::reference_hash`].
    /// Nobody checks them, so that one which is not at hand may be left out.
    pub reference_hashes: HashMap<OwnedEventId, String>,
}

/// Why an event cannot be built.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum BuildError {
    /// The content is not JSON that the room version allows (`M_BAD_JSON`).
    #[error("the content is not valid: {0}")]
    Content(#[from] ParseError),
    /// The whole event is too large (`M_TOO_LARGE`).
    #[error("the event is larger than {MAX_BUILT_BYTES} bytes")]
    TooLarge,
    /// A field is too long (`M_TOO_LARGE`).
    #[error("`{0}` is longer than {MAX_FIELD_BYTES} bytes")]
    FieldTooLong(&'static str),
    /// A field holds U+0000, which other servers may take, and no database does (`M_INVALID_PARAM`).
    #[error("`{0}` holds the character U+0000")]
    NulInField(&'static str),
    /// The caller asked for something that its room version cannot express. Not the client's fault.
    #[error("`{0}` does not fit the room version")]
    Misuse(&'static str),
}

/// The id of a new event of room version 1 or 2, from a random name that the caller makes.
pub fn legacy_event_id(name: &str, server_name: &ServerName) -> Option<OwnedEventId> {
    EventId::parse(format!("${name}:{server_name}")).ok()
}

/// Makes a complete, signed event.
pub fn build(
    template: EventTemplate<'_>,
    rules: &'static RoomVersionRules,
    server_name: &ServerName,
    key: &SigningKey,
) -> Result<Pdu, BuildError> {
    let content = Object::parse(template.content, ParseOptions::client(rules))?;
    build_parsed(template, content, rules, server_name, key)
}

/// Like [`build`], for content that is parsed already; `template.content` is not looked at.
pub fn build_parsed(
    template: EventTemplate<'_>,
    mut content: Object<'_>,
    rules: &'static RoomVersionRules,
    server_name: &ServerName,
    key: &SigningKey,
) -> Result<Pdu, BuildError> {
    check_template(&template, rules)?;
    if let Some(redacts) = template.redacts
        && rules.redacts_is_in_content()
    {
        content.insert("redacts", redacts.as_str().to_owned());
    }
    let full_content = content.to_canonical_string();
    if full_content.len() > MAX_BUILT_BYTES {
        return Err(BuildError::TooLarge);
    }
    redact_content(&mut content, template.event_type, &rules.redaction);
    let writer = Writer::new(&template, rules);

    let mut text = String::with_capacity(full_content.len() + 1024);
    writer.write(&mut text, &full_content, Form::Full, None, None);
    let content_hash = content_hash_of_text(&text);

    // The redacted event is both what the signature covers and what the event id is the hash of.
    text.clear();
    writer.write(&mut text, &content.to_canonical_string(), Form::Redacted, Some(&content_hash), None);
    let signature = Signature { server_name, key, base64: key.sign_text(&text) };
    let event_id = match &template.legacy {
        Some(legacy) => legacy.event_id.clone(),
        None => from_reference_hash(&reference_hash_of_text(&text, rules)),
    };

    text.clear();
    let content_start =
        writer.write(&mut text, &full_content, Form::Full, Some(&content_hash), Some(&signature));
    if text.len() > MAX_BUILT_BYTES {
        return Err(BuildError::TooLarge);
    }
    let room_id = room_id(&template, &event_id)?;
    let parts = Parts {
        event_id,
        room_id,
        sender: template.sender.to_owned(),
        type_text: Box::from(template.event_type),
        state_key: template.state_key.map(Box::from),
        origin_server_ts: template.origin_server_ts,
        depth: template.depth.min(MAX_INTEGER),
        redacts: template.redacts.map(ToOwned::to_owned),
        prev_events: template.prev_events.into_boxed_slice(),
        auth_events: template.auth_events.into_boxed_slice(),
        content: content_start..content_start + full_content.len(),
        json: text.into_boxed_str(),
    };
    Ok(Pdu::from_parts(parts, rules))
}

/// Puts the content hash and our signature on an event that another server has prepared (the answer to
/// `make_join` and the like). The caller must have checked what is in it; `unsigned` goes away.
pub fn hash_and_sign(
    event: &mut Object<'_>,
    rules: &RoomVersionRules,
    server_name: &ServerName,
    key: &SigningKey,
) {
    event.remove("unsigned");
    let mut hashes = Object::new();
    hashes.insert("sha256", content_hash(event));
    event.insert("hashes", hashes);
    event.remove("signatures");
    add_signature(event, rules, server_name, key);
}

/// Adds our signature to a complete event, beside those it has: to an invitation for one of our users, or to
/// a join that one of our users vouches for.
pub fn add_signature(
    event: &mut Object<'_>,
    rules: &RoomVersionRules,
    server_name: &ServerName,
    key: &SigningKey,
) {
    let signature = key.sign_text(&signed_text(event.clone(), rules));
    key.put_signature(server_name, event, signature);
}

fn room_id(template: &EventTemplate<'_>, event_id: &EventId) -> Result<OwnedRoomId, BuildError> {
    match template.room_id {
        Some(room_id) => Ok(room_id.to_owned()),
        None => room_id_of_create_event(event_id).ok_or(BuildError::Misuse("room_id")),
    }
}

fn check_template(template: &EventTemplate<'_>, rules: &RoomVersionRules) -> Result<(), BuildError> {
    let names_its_room = rules.room_id_is_create_hash() && template.event_type == "m.room.create";
    let fields = [
        ("type", Some(template.event_type)),
        ("state_key", template.state_key),
        ("sender", Some(template.sender.as_str())),
        ("room_id", template.room_id.map(RoomId::as_str)),
        ("event_id", template.legacy.as_ref().map(|legacy| legacy.event_id.as_str())),
    ];
    for (name, value) in fields {
        check_field(name, value)?;
    }
    let misused = [
        ("room_id", template.room_id.is_none() != names_its_room),
        ("event_id", template.legacy.is_none() != rules.event_id_is_hash()),
        ("prev_events", template.prev_events.len() > MAX_PREV_EVENTS),
        ("auth_events", template.auth_events.len() > MAX_AUTH_EVENTS),
        ("redacts", template.redacts.is_some() && template.event_type != "m.room.redaction"),
        ("depth", template.depth < 0),
        ("origin_server_ts", template.origin_server_ts.unsigned_abs() > MAX_INTEGER.unsigned_abs()),
    ];
    match misused.iter().find(|(_, is_misused)| *is_misused) {
        Some((name, _)) => Err(BuildError::Misuse(name)),
        None => Ok(()),
    }
}

/// Whether a value can stand in one of the fields that name something.
pub fn check_field(name: &'static str, value: Option<&str>) -> Result<(), BuildError> {
    match value {
        Some(value) if value.len() > MAX_FIELD_BYTES => Err(BuildError::FieldTooLong(name)),
        Some(value) if !is_storable_name(value) => Err(BuildError::NulInField(name)),
        _ => Ok(()),
    }
}

struct Signature<'a> {
    server_name: &'a ServerName,
    key: &'a SigningKey,
    base64: String,
}

/// Writes an event's keys in canonical order. What does not change between its three forms is written once.
struct Writer<'a> {
    template: &'a EventTemplate<'a>,
    auth_events: String,
    /// From `origin_server_ts` to `prev_events`.
    middle: String,
    writes_redacts: bool,
}

/// Which form of an event is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Full,
    /// As after a redaction.
    Redacted,
}

impl<'a> Writer<'a> {
    fn new(template: &'a EventTemplate<'a>, rules: &RoomVersionRules) -> Self {
        let mut auth_events = String::with_capacity(256);
        write_references(&template.auth_events, template.legacy.as_ref(), &mut auth_events);
        let mut middle = String::with_capacity(128);
        let _ = write!(middle, ",\"origin_server_ts\":{},\"prev_events\":", template.origin_server_ts);
        write_references(&template.prev_events, template.legacy.as_ref(), &mut middle);
        Self { template, auth_events, middle, writes_redacts: !rules.redacts_is_in_content() }
    }

    /// Writes one form of the event, and says where the content begins in it.
    fn write(
        &self,
        out: &mut String,
        content: &str,
        form: Form,
        content_hash: Option<&str>,
        signature: Option<&Signature<'_>>,
    ) -> usize {
        let template = self.template;
        out.push_str("{\"auth_events\":");
        out.push_str(&self.auth_events);
        out.push_str(",\"content\":");
        let content_start = out.len();
        out.push_str(content);
        let _ = write!(out, ",\"depth\":{}", template.depth.min(MAX_INTEGER));
        if let Some(legacy) = &template.legacy {
            write_field("event_id", legacy.event_id.as_str(), out);
        }
        if let Some(hash) = content_hash {
            out.push_str(",\"hashes\":{\"sha256\":\"");
            out.push_str(hash);
            out.push_str("\"}");
        }
        if let Some(duration_ms) = template.sticky_ms
            && form == Form::Full
        {
            let _ = write!(out, ",\"msc4354_sticky\":{{\"duration_ms\":{duration_ms}}}");
        }
        out.push_str(&self.middle);
        if let Some(redacts) = template.redacts
            && self.writes_redacts
            && form == Form::Full
        {
            write_field("redacts", redacts.as_str(), out);
        }
        if let Some(room_id) = template.room_id {
            write_field("room_id", room_id.as_str(), out);
        }
        write_field("sender", template.sender.as_str(), out);
        if let Some(signature) = signature {
            out.push_str(",\"signatures\":{");
            write_string(signature.server_name.as_str(), out);
            out.push_str(":{");
            write_string(signature.key.key_id().as_str(), out);
            out.push_str(":\"");
            out.push_str(&signature.base64);
            out.push_str("\"}}");
        }
        if let Some(state_key) = template.state_key {
            write_field("state_key", state_key, out);
        }
        write_field("type", template.event_type, out);
        out.push('}');
        content_start
    }
}

fn write_field(key: &str, value: &str, out: &mut String) {
    out.push_str(",\"");
    out.push_str(key);
    out.push_str("\":");
    write_string(value, out);
}

fn write_references(ids: &[OwnedEventId], legacy: Option<&LegacyParts>, out: &mut String) {
    out.push('[');
    for (index, id) in ids.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        let Some(legacy) = legacy else {
            write_string(id.as_str(), out);
            continue;
        };
        out.push('[');
        write_string(id.as_str(), out);
        out.push_str(",{");
        if let Some(hash) = legacy.reference_hashes.get(id) {
            out.push_str("\"sha256\":");
            write_string(hash, out);
        }
        out.push_str("}]");
    }
    out.push(']');
}
