//! What a push gateway is told.
//!
//! <https://spec.matrix.org/v1.19/push-gateway-api/#post_matrixpushv1notify>

use hs_model::records::EventRecord;
use hs_rooms::{Room, Rooms};
use hs_storage::{
    StorageError,
    pushers::{PusherRow, QueuedPush},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// What a pusher's owner wants the gateway to know.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) url: String,
    is_id_only: bool,
    device: Map<String, Value>,
}

impl Target {
    /// `None` for what is stored but makes no sense.
    pub(super) fn of(row: &PusherRow) -> Option<Self> {
        let mut data: Map<String, Value> = serde_json::from_str(&row.pusher.data).ok()?;
        let url = data.remove("url")?.as_str()?.to_owned();
        let is_id_only = data.get("format").is_some_and(|format| format == "event_id_only");
        let mut device = Map::new();
        device.insert("app_id".to_owned(), row.pusher.app_id.clone().into());
        device.insert("pushkey".to_owned(), row.pusher.pushkey.clone().into());
        device.insert("pushkey_ts".to_owned(), (row.created_at / 1000).into());
        device.insert("data".to_owned(), data.into());
        Some(Self { url, is_id_only, device })
    }

    /// Tells the count of unread messages alone.
    pub(super) fn badge(&self, unread: u64) -> Value {
        // A count of zero is left out in other notifications; here it is the news.
        json!({ "notification": { "counts": { "unread": unread }, "devices": [self.device] } })
    }

    /// Tells of an event.
    pub(super) async fn event(
        &self,
        rooms: &Rooms,
        room: &Room,
        event: &EventRecord,
        push: &QueuedPush,
        (user_id, unread): (&ruma::UserId, u64),
    ) -> Result<Value, StorageError> {
        let tweaks = hs_push::tweaks(push.attention, push.tweaks.as_deref());
        let is_urgent = &*event.event_type == "m.room.encrypted"
            || tweaks.contains_key("sound")
            || tweaks.contains_key("highlight");
        let mut notification = Map::new();
        let mut set = |key: &str, value: Value| notification.insert(key.to_owned(), value);
        set("event_id", event.event_id.as_str().into());
        set("room_id", room.room_id.as_str().into());
        set("counts", if unread > 0 { json!({ "unread": unread }) } else { json!({}) });
        set("prio", if is_urgent { "high" } else { "low" }.into());
        let mut device = self.device.clone();
        if !self.is_id_only {
            device.insert("tweaks".to_owned(), tweaks.into());
            set("type", (*event.event_type).into());
            set("sender", event.sender.as_str().into());
            set("content", content_of(event));
            if event.event_type.as_ref() == "m.room.member" {
                set("user_is_target", (event.state_key.as_deref() == Some(user_id.as_str())).into());
            }
            let facts = [
                ("sender_display_name", "m.room.member", event.sender.as_str(), "displayname"),
                ("room_name", "m.room.name", "", "name"),
                ("room_alias", "m.room.canonical_alias", "", "alias"),
            ];
            for (key, event_type, state_key, field) in facts {
                if let Some(text) = state_text(rooms, room, (event_type, state_key), field).await? {
                    set(key, text.into());
                }
            }
        }
        set("devices", json!([device]));
        Ok(json!({ "notification": notification }))
    }
}

#[derive(Deserialize)]
struct Event {
    content: Value,
}

pub(super) fn content_of(event: &EventRecord) -> Value {
    serde_json::from_str::<Event>(&event.json).map_or_else(|_| json!({}), |event| event.content)
}

/// A text of a state event of the room.
pub(super) async fn state_text(
    rooms: &Rooms,
    room: &Room,
    (event_type, state_key): (&str, &str),
    field: &str,
) -> Result<Option<String>, StorageError> {
    let nid = room.read().state_event(event_type, state_key);
    let Some(nid) = nid else { return Ok(None) };
    let events = rooms.store().find_events(&[nid]).await?;
    let event = events.get(&nid).filter(|event| event.redacted_by.is_none());
    let text = event.and_then(|event| content_of(event).get(field)?.as_str().map(str::to_owned));
    Ok(text.filter(|text| !text.is_empty()))
}
