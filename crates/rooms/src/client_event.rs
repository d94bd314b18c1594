//! Events as clients see them.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#room-event-format>

mod stored;

use std::{borrow::Cow, collections::HashMap, fmt::Write as _, sync::Arc};

use hs_model::{
    ids::{DeviceNid, EventNid, StateGroupNid, UserNid},
    membership::Membership,
    records::EventRecord,
    stream::Position,
};
use hs_room_rules::room_version::RoomVersionRulesExt as _;
use hs_storage::{StorageError, sticky_events::MAX_STICKY_MS};
use ruma::UserId;
use serde::Deserialize;
use serde_json::value::RawValue;

pub(crate) use self::stored::stored_content;
use self::stored::{Sticky, Stored, shown_json};
pub use self::stored::{visible_content, visible_json};
use crate::{
    Room, Rooms,
    intent::{client_transaction_id, delay_id},
};

/// Who looks at events.
#[derive(Clone, Debug)]
pub struct Viewer<'a> {
    /// The user.
    pub user: UserNid,
    /// The user's id.
    pub user_id: &'a UserId,
    /// The device, which is told the transaction ids of what it sent.
    pub device: Option<DeviceNid>,
    /// The shape they want events in.
    pub format: Format,
}

/// The shape of an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// What clients need of it.
    #[default]
    Client,
    /// As servers exchange it, with hashes, signatures and its place in the graph.
    Federation,
}

/// Whether events name their room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoomId {
    /// As most endpoints want it.
    Included,
    /// As in `/sync`, where it stands outside.
    Omitted,
}

/// What is said about an event beside the event itself.
#[derive(Default)]
struct Unsigned<'a> {
    redacted_because: Option<&'a str>,
    prev_content: Option<&'a RawValue>,
    replaces_state: Option<&'a str>,
    membership: Option<Membership>,
    transaction_id: Option<&'a str>,
    /// The delayed event that it was.
    delay_id: Option<&'a str>,
    /// The text of `m.relations`.
    relations: Option<&'a str>,
}

impl Rooms {
    /// Events of one room as a user sees them, in the order given. Look-ups are made for all of them together.
    ///
    /// Whether the user may see them at all is not asked here.
    pub async fn render(
        &self,
        room: &Room,
        events: &[Arc<EventRecord>],
        viewer: &Viewer<'_>,
        room_id: RoomId,
    ) -> Result<Vec<Box<RawValue>>, StorageError> {
        let relations = self.aggregations(room, events, viewer, room_id).await?;
        self.render_with(room, events, viewer, room_id, &relations).await
    }

    /// State events of one room as a list of what is so, rather than of what happened: without `prev_content` and the
    /// viewer's membership at each, which long lists would be slow to find out.
    pub async fn render_state(
        &self,
        room: &Room,
        events: &[Arc<EventRecord>],
        viewer: &Viewer<'_>,
        room_id: RoomId,
    ) -> Result<Vec<Box<RawValue>>, StorageError> {
        let others = self.referenced(events.iter().filter_map(|event| event.redacted_by)).await?;
        let now_ms = self.inner.clock.now_ms();
        let mut rendered = Vec::with_capacity(events.len());
        for event in events {
            let redacted_because = render_redaction(room, event, &others, room_id, now_ms);
            let unsigned = Unsigned {
                redacted_because: redacted_because.as_deref(),
                transaction_id: transaction_id(event, viewer),
                delay_id: delay_id_for(event, viewer),
                ..Unsigned::default()
            };
            let json = render_one(room, event, &unsigned, room_id, now_ms);
            rendered.push(RawValue::from_string(json).map_err(|_| broken(event))?);
        }
        Ok(rendered)
    }

    /// As [`render`](Self::render), with aggregations that are known already.
    pub(crate) async fn render_with(
        &self,
        room: &Room,
        events: &[Arc<EventRecord>],
        viewer: &Viewer<'_>,
        room_id: RoomId,
        relations: &HashMap<EventNid, String>,
    ) -> Result<Vec<Box<RawValue>>, StorageError> {
        let referenced: Vec<EventNid> =
            events.iter().flat_map(|event| [event.redacted_by, event.replaces]).flatten().collect();
        let others = self.referenced(referenced.into_iter()).await?;
        let memberships = self.memberships_at(room, events, viewer).await?;
        let erased = self.erased_for(room, events, viewer, &memberships).await?;
        let now_ms = self.inner.clock.now_ms();
        let mut rendered = Vec::with_capacity(events.len());
        for event in events {
            let is_erased = erased.contains(&event.nid);
            let redacted_because = render_redaction(room, event, &others, room_id, now_ms);
            let previous = event.replaces.and_then(|nid| others.get(&nid));
            let previous_json = previous.map(|previous| (previous, shown_json(room, previous, is_erased)));
            let prev_content =
                previous_json.as_ref().map(|(previous, json)| Stored::read(previous, json).content);
            let unsigned = Unsigned {
                redacted_because: redacted_because.as_deref(),
                prev_content,
                replaces_state: previous.map(|previous| previous.event_id.as_str()),
                membership: memberships.get(&event.nid).copied(),
                transaction_id: transaction_id(event, viewer),
                delay_id: delay_id_for(event, viewer),
                relations: relations.get(&event.nid).map(String::as_str),
            };
            let shown = shown_json(room, event, is_erased);
            let json = match viewer.format {
                Format::Client => render_json(room, event, &shown, &unsigned, room_id, now_ms),
                Format::Federation => render_pdu(room, event, shown.into_owned(), &unsigned, now_ms)?,
            };
            rendered.push(RawValue::from_string(json).map_err(|_| broken(event))?);
        }
        Ok(rendered)
    }

    /// The redactions in force and the state events replaced.
    async fn referenced(
        &self,
        wanted: impl Iterator<Item = EventNid>,
    ) -> Result<HashMap<EventNid, Arc<EventRecord>>, StorageError> {
        let wanted: Vec<EventNid> = wanted.collect();
        self.inner.store.find_events(&wanted).await
    }

    /// The viewer's membership at each event, changes by the event included.
    pub(crate) async fn memberships_at(
        &self,
        room: &Room,
        events: &[Arc<EventRecord>],
        viewer: &Viewer<'_>,
    ) -> Result<HashMap<EventNid, Membership>, StorageError> {
        let mut memberships = HashMap::with_capacity(events.len());
        // Who has been in the room all the time was so at each of these events.
        let joined_since = room.read().joined_since(viewer.user).filter(|since| since.0 > 0);
        let mut elsewhere = Vec::new();
        for event in events {
            if joined_since.is_some_and(|since| event.position >= Some(since)) {
                memberships.insert(event.nid, Membership::Join);
            } else {
                elsewhere.push(event);
            }
        }
        // Whose present member event took nobody's place had no membership before it, and without one they never had any.
        if !elsewhere.is_empty() {
            let member_event = room.read().state_event("m.room.member", viewer.user_id.as_str());
            let member_event = self.inner.store.list_events(member_event.as_slice()).await?.pop();
            let began = match member_event {
                Some(event) if event.replaces.is_some() => None,
                Some(event) => event.position,
                None => Some(Position(i64::MAX)),
            };
            elsewhere.retain(|event| {
                let is_before = event.position.is_some() && event.position < began;
                if is_before {
                    memberships.insert(event.nid, Membership::Leave);
                }
                !is_before
            });
        }
        if elsewhere.is_empty() {
            return Ok(memberships);
        }
        let store = &self.inner.store;
        let key = ("m.room.member", viewer.user_id.as_str());
        let slots = store.find_slots(&[key]).await?;
        let slot = slots.values().next().copied();
        let groups: Vec<StateGroupNid> = elsewhere.iter().filter_map(|event| event.state_before).collect();
        let mut reader = store.reader().await?;
        let state = match slot {
            Some(slot) => reader.find_state_slots(&groups, &[slot]).await?,
            None => HashMap::new(),
        };
        let member_events: Vec<EventNid> = state.values().flat_map(|slots| slots.values().copied()).collect();
        let member_events = reader.find_events(&member_events).await?;
        for event in elsewhere {
            let is_own_member_event = slot.is_some() && event.slot == slot;
            let member_event = if is_own_member_event {
                Some(event)
            } else {
                let slots = event.state_before.and_then(|group| state.get(&group));
                slots.and_then(|slots| member_events.get(slots.values().next()?))
            };
            let membership = member_event.and_then(|event| membership_of(event)).unwrap_or(Membership::Leave);
            memberships.insert(event.nid, membership);
        }
        Ok(memberships)
    }
}

/// The id by which the viewer's own device sent an event.
fn transaction_id<'a>(event: &'a EventRecord, viewer: &Viewer<'_>) -> Option<&'a str> {
    let transaction = event.transaction.as_ref()?;
    (Some(transaction.device) == viewer.device).then(|| client_transaction_id(transaction)).flatten()
}

/// Which of their delayed events an event was, for its sender.
fn delay_id_for<'a>(event: &'a EventRecord, viewer: &Viewer<'_>) -> Option<&'a str> {
    (event.sender_nid == viewer.user).then(|| event.transaction.as_ref().and_then(delay_id)).flatten()
}

fn render_redaction(
    room: &Room,
    event: &EventRecord,
    others: &HashMap<EventNid, Arc<EventRecord>>,
    room_id: RoomId,
    now_ms: i64,
) -> Option<String> {
    let redaction = others.get(&event.redacted_by?)?;
    Some(render_one(room, redaction, &Unsigned::default(), room_id, now_ms))
}

/// What a member event says.
pub fn membership_of(event: &EventRecord) -> Option<Membership> {
    #[derive(Deserialize)]
    struct Event<'a> {
        #[serde(borrow)]
        content: Content<'a>,
    }
    #[derive(Deserialize)]
    struct Content<'a> {
        #[serde(borrow)]
        membership: Cow<'a, str>,
    }
    Membership::parse(&serde_json::from_str::<Event<'_>>(&event.json).ok()?.content.membership)
}

/// An event as servers exchange it; without what a redaction takes away when it is hidden.
pub(crate) fn pdu_json(
    room: &Room,
    event: &EventRecord,
    is_hidden: bool,
) -> Result<Box<RawValue>, StorageError> {
    let json = shown_json(room, event, is_hidden);
    RawValue::from_string(json.into_owned()).map_err(|_| broken(event))
}

/// A state event as it is shown to those who are not in the room: invited, knocking, or searching.
///
/// <https://spec.matrix.org/v1.19/client-server-api/#stripped-state>
pub fn stripped(room: &Room, event: &EventRecord) -> Result<Box<RawValue>, StorageError> {
    let content = visible_content(room, event);
    let mut text = String::with_capacity(content.get().len() + 160);
    text.push_str("{\"content\":");
    text.push_str(content.get());
    push_string(&mut text, ",\"sender\":", event.sender.as_str());
    push_string(&mut text, ",\"state_key\":", event.state_key.as_deref().unwrap_or_default());
    push_string(&mut text, ",\"type\":", &event.event_type);
    text.push('}');
    RawValue::from_string(text).map_err(|_| broken(event))
}

/// A state event as the tree of a space shows it: stripped, and with its time. Not for redacted events.
pub(crate) fn stripped_with_time(event: &EventRecord) -> Result<Box<RawValue>, StorageError> {
    let content = stored_content(event);
    let mut text = String::with_capacity(content.get().len() + 160);
    text.push_str("{\"content\":");
    text.push_str(content.get());
    let _ = write!(text, ",\"origin_server_ts\":{}", event.origin_server_ts);
    push_string(&mut text, ",\"sender\":", event.sender.as_str());
    push_string(&mut text, ",\"state_key\":", event.state_key.as_deref().unwrap_or_default());
    push_string(&mut text, ",\"type\":", &event.event_type);
    text.push('}');
    RawValue::from_string(text).map_err(|_| broken(event))
}

/// Names the redacted event in both places, so that clients of either age find it: it stands at the top level up to
/// room version 10, in the content from 11 on. The text ends with the content.
fn push_redacts(text: &mut String, stored: &Stored<'_>) {
    let in_content = stored.redacts_in_content();
    if let (Some(redacts), None) = (&stored.redacts, &in_content) {
        let is_empty = stored.content.get().len() == 2;
        if text.pop() == Some('}') {
            push_string(text, if is_empty { "\"redacts\":" } else { ",\"redacts\":" }, redacts);
            text.push('}');
        }
    }
    if let Some(redacts) = stored.redacts.as_ref().or(in_content.as_ref()) {
        push_string(text, ",\"redacts\":", redacts);
    }
}

fn render_one(
    room: &Room,
    event: &EventRecord,
    unsigned: &Unsigned<'_>,
    room_id: RoomId,
    now_ms: i64,
) -> String {
    render_json(room, event, &visible_json(room, event), unsigned, room_id, now_ms)
}

/// `json` is what may be seen of the event.
fn render_json(
    room: &Room,
    event: &EventRecord,
    json: &str,
    unsigned: &Unsigned<'_>,
    room_id: RoomId,
    now_ms: i64,
) -> String {
    let stored = Stored::read(event, json);
    let mut text = String::with_capacity(stored.content.get().len() + 512);
    text.push_str("{\"content\":");
    text.push_str(stored.content.get());
    if &*event.event_type == "m.room.redaction" {
        push_redacts(&mut text, &stored);
    }
    push_string(&mut text, ",\"event_id\":", event.event_id.as_str());
    let _ = write!(text, ",\"origin_server_ts\":{}", event.origin_server_ts);
    if room_id == RoomId::Included {
        push_string(&mut text, ",\"room_id\":", room.room_id.as_str());
    }
    push_string(&mut text, ",\"sender\":", event.sender.as_str());
    if let Some(state_key) = &event.state_key {
        push_string(&mut text, ",\"state_key\":", state_key);
    }
    push_string(&mut text, ",\"type\":", &event.event_type);
    let sticky = stored.sticky.filter(|sticky| sticky.duration_ms >= 0);
    if let Some(sticky) = sticky {
        let _ = write!(text, ",\"msc4354_sticky\":{{\"duration_ms\":{}}}", sticky.duration_ms);
    }
    push_unsigned(&mut text, event, unsigned, sticky, now_ms);
    text.push('}');
    text
}

/// The event as servers exchange it, whose JSON is `text`, with what is said about it here.
fn render_pdu(
    room: &Room,
    event: &EventRecord,
    mut text: String,
    unsigned: &Unsigned<'_>,
    now_ms: i64,
) -> Result<String, StorageError> {
    if text.pop() != Some('}') {
        return Err(broken(event));
    }
    if room.rules.event_id_is_hash() {
        push_string(&mut text, ",\"event_id\":", event.event_id.as_str());
    }
    push_unsigned(&mut text, event, unsigned, None, now_ms);
    text.push('}');
    Ok(text)
}

/// Appends what is said about an event beside the event itself.
fn push_unsigned(
    text: &mut String,
    event: &EventRecord,
    unsigned: &Unsigned<'_>,
    sticky: Option<Sticky>,
    now_ms: i64,
) {
    let _ = write!(text, ",\"unsigned\":{{\"age\":{}", (now_ms - event.origin_server_ts).max(0));
    if let Some(membership) = unsigned.membership {
        push_string(text, ",\"membership\":", membership.as_str());
    }
    if let Some(content) = unsigned.prev_content {
        text.push_str(",\"prev_content\":");
        text.push_str(content.get());
    }
    if let Some(event_id) = unsigned.replaces_state {
        push_string(text, ",\"replaces_state\":", event_id);
    }
    if let Some(redaction) = unsigned.redacted_because {
        text.push_str(",\"redacted_because\":");
        text.push_str(redaction);
    }
    if let Some(relations) = unsigned.relations {
        text.push_str(",\"m.relations\":");
        text.push_str(relations);
    }
    if let Some(transaction_id) = unsigned.transaction_id {
        push_string(text, ",\"transaction_id\":", transaction_id);
    }
    if let Some(delay_id) = unsigned.delay_id {
        push_string(text, ",\"delay_id\":", delay_id);
        push_string(text, ",\"org.matrix.msc4140.delay_id\":", delay_id);
    }
    if let Some(sticky) = sticky {
        let until = event.origin_server_ts.min(now_ms) + sticky.duration_ms.min(MAX_STICKY_MS);
        let _ = write!(text, ",\"msc4354_sticky_duration_ttl_ms\":{}", (until - now_ms).max(0));
    }
    text.push('}');
}

/// Appends a key, as it stands, and a string as JSON.
fn push_string(text: &mut String, key: &str, value: &str) {
    text.push_str(key);
    // A string always serialises.
    text.push_str(&serde_json::to_string(value).unwrap_or_default());
}

fn broken(event: &EventRecord) -> StorageError {
    StorageError::Inconsistent { table: "event_json", column: "json", row: event.nid.0.to_string() }
}
