//! The events that clients get, as JSON.

use std::collections::{BTreeMap, btree_map::Entry};

use hs_storage::{
    presence::{Presence, PresenceRow},
    receipts::ReceiptRow,
};
use ruma::{OwnedUserId, UserId};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

/// An event that has a type and a content and nothing else.
#[derive(Serialize)]
struct Event<'a, C> {
    content: C,
    #[serde(skip_serializing_if = "Option::is_none")]
    sender: Option<&'a UserId>,
    r#type: &'static str,
}

#[derive(Serialize)]
struct Receipt<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    thread_id: Option<&'a str>,
    ts: i64,
}

/// Receipts by event, type and user.
type ReceiptContent<'a> = BTreeMap<&'a str, BTreeMap<&'static str, BTreeMap<&'a str, Receipt<'a>>>>;

fn raw(value: &impl Serialize) -> Box<RawValue> {
    to_raw_value(value).expect("maps with string keys can be written as JSON")
}

/// The `m.receipt` events for receipts of one room: one, unless somebody has several receipts of a type on one event
/// (for the room and for a thread), for which an event has room only once.
///
/// <https://spec.matrix.org/v1.19/client-server-api/#mreceipt>
pub fn receipt_events<'a>(rows: impl IntoIterator<Item = &'a ReceiptRow>) -> Vec<Box<RawValue>> {
    let mut contents: Vec<ReceiptContent<'a>> = Vec::new();
    for row in rows {
        let receipt = &row.receipt;
        let mut value = Some(Receipt { thread_id: receipt.thread_id.as_deref(), ts: receipt.ts });
        for at in 0.. {
            if at == contents.len() {
                contents.push(BTreeMap::new());
            }
            let users = contents[at]
                .entry(receipt.event_id.as_str())
                .or_default()
                .entry(receipt.receipt_type.as_str())
                .or_default();
            if let Entry::Vacant(place) = users.entry(receipt.user_id.as_str())
                && let Some(value) = value.take()
            {
                place.insert(value);
                break;
            }
        }
    }
    contents.into_iter().map(|content| raw(&Event { content, sender: None, r#type: "m.receipt" })).collect()
}

/// The `m.typing` event of a room.
///
/// <https://spec.matrix.org/v1.19/client-server-api/#mtyping>
pub fn typing_event(user_ids: &[OwnedUserId]) -> Box<RawValue> {
    #[derive(Serialize)]
    struct Content<'a> {
        user_ids: &'a [OwnedUserId],
    }
    raw(&Event { content: Content { user_ids }, sender: None, r#type: "m.typing" })
}

/// The `m.presence` event of a user. `now` is in milliseconds.
///
/// <https://spec.matrix.org/v1.19/client-server-api/#mpresence>
pub fn presence_event(row: &PresenceRow, now: i64) -> Box<RawValue> {
    #[derive(Serialize)]
    struct Content<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        currently_active: Option<bool>,
        #[serde(skip_serializing_if = "Option::is_none")]
        last_active_ago: Option<i64>,
        presence: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        status_msg: Option<&'a str>,
    }
    let content = Content {
        currently_active: (row.presence == Presence::Online).then_some(row.currently_active),
        last_active_ago: last_active_ago(row, now),
        presence: row.presence.as_str(),
        status_msg: row.status_msg.as_deref(),
    };
    raw(&Event { content, sender: Some(&row.user_id), r#type: "m.presence" })
}

/// How long ago somebody was active, in milliseconds; `None` when they never were.
pub fn last_active_ago(row: &PresenceRow, now: i64) -> Option<i64> {
    // Clocks of replicas may differ a little; nobody was active in the future.
    (row.last_active_at > 0).then(|| (now - row.last_active_at).max(0))
}

#[cfg(test)]
mod tests {
    use hs_model::{
        ids::{RoomNid, UserNid},
        stream::Position,
    };
    use hs_storage::receipts::{NewReceipt, ReceiptType};
    use ruma::user_id;
    use serde_json::json;

    use super::*;

    fn row(event_id: &str, receipt_type: ReceiptType, thread_id: Option<&str>) -> ReceiptRow {
        ReceiptRow {
            receipt: NewReceipt {
                room: RoomNid(1),
                user: UserNid(1),
                user_id: user_id!("@alice:example.org").to_owned(),
                receipt_type,
                thread_id: thread_id.map(Into::into),
                event_id: event_id.try_into().unwrap(),
                event_position: Some(Position(1)),
                ts: 17,
            },
            position: Position(2),
        }
    }

    fn values(events: &[Box<RawValue>]) -> serde_json::Value {
        events.iter().map(|event| serde_json::from_str::<serde_json::Value>(event.get()).unwrap()).collect()
    }

    #[test]
    fn receipts_of_different_events_and_types_share_an_event() {
        let rows = [
            row("$a", ReceiptType::Read, None),
            row("$a", ReceiptType::ReadPrivate, None),
            row("$b", ReceiptType::Read, Some("main")),
        ];

        assert_eq!(
            values(&receipt_events(&rows)),
            json!([{
                "type": "m.receipt",
                "content": {
                    "$a": {
                        "m.read": { "@alice:example.org": { "ts": 17 } },
                        "m.read.private": { "@alice:example.org": { "ts": 17 } },
                    },
                    "$b": { "m.read": { "@alice:example.org": { "ts": 17, "thread_id": "main" } } },
                },
            }])
        );
    }

    #[test]
    fn receipt_for_the_room_and_for_a_thread_on_one_event_are_both_told() {
        let rows = [row("$a", ReceiptType::Read, None), row("$a", ReceiptType::Read, Some("main"))];

        assert_eq!(
            values(&receipt_events(&rows)),
            json!([
                {
                    "type": "m.receipt",
                    "content": { "$a": { "m.read": { "@alice:example.org": { "ts": 17 } } } },
                },
                {
                    "type": "m.receipt",
                    "content": { "$a": { "m.read": { "@alice:example.org": { "ts": 17, "thread_id": "main" } } } },
                },
            ])
        );
    }

    #[test]
    fn no_receipts_make_no_event() {
        assert!(receipt_events(&[]).is_empty());
    }

    #[test]
    fn typing_event_lists_users() {
        let event = typing_event(&[user_id!("@alice:example.org").to_owned()]);

        assert_eq!(
            serde_json::from_str::<serde_json::Value>(event.get()).unwrap(),
            json!({ "type": "m.typing", "content": { "user_ids": ["@alice:example.org"] } })
        );
    }

    #[test]
    fn presence_event_tells_how_long_ago_the_user_was_active() {
        let mut row = PresenceRow {
            user: UserNid(1),
            user_id: user_id!("@alice:example.org").to_owned(),
            presence: Presence::Online,
            status_msg: Some("Here".to_owned()),
            last_active_at: 1_000,
            currently_active: true,
            position: Position(1),
        };
        let value = |row: &PresenceRow| -> serde_json::Value {
            serde_json::from_str(presence_event(row, 1_500).get()).unwrap()
        };
        assert_eq!(
            value(&row),
            json!({
                "type": "m.presence",
                "sender": "@alice:example.org",
                "content": {
                    "presence": "online", "currently_active": true, "last_active_ago": 500, "status_msg": "Here",
                },
            })
        );

        row.presence = Presence::Offline;
        row.status_msg = None;
        row.last_active_at = 0;
        assert_eq!(
            value(&row),
            json!({ "type": "m.presence", "sender": "@alice:example.org", "content": { "presence": "offline" } })
        );
    }
}
