//! Reading EDUs. What cannot be understood is left out, down to the single receipt.

use std::collections::BTreeMap;

use hs_e2ee::{DeviceListUpdate, RemoteMessage, SigningKeyUpdate};
use hs_storage::presence::Presence;
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, value::RawValue};

/// How long ids may be that are stored.
const MAX_ID_BYTES: usize = 255;
/// The latest time that JSON of Matrix can tell.
const MAX_TIME: i64 = (1 << 53) - 1;

/// An EDU that is understood here.
#[derive(Debug)]
pub(super) enum Edu {
    Typing(Typing),
    Receipts(Vec<Receipt>),
    Presence(Vec<PresenceTold>),
    ToDevice(RemoteMessage),
    DeviceList(DeviceListUpdate),
    SigningKeys(SigningKeyUpdate),
}

/// `m.typing`
#[derive(Debug, Deserialize)]
pub(super) struct Typing {
    pub(super) room_id: OwnedRoomId,
    pub(super) user_id: OwnedUserId,
    #[serde(rename = "typing")]
    pub(super) is_typing: bool,
}

/// A receipt of `m.receipt`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Receipt {
    pub(super) room_id: OwnedRoomId,
    pub(super) user_id: OwnedUserId,
    pub(super) event_id: OwnedEventId,
    pub(super) thread_id: Option<String>,
    pub(super) ts: i64,
}

/// What `m.presence` tells of a user.
#[derive(Debug)]
pub(super) struct PresenceTold {
    pub(super) user_id: OwnedUserId,
    pub(super) presence: Presence,
    pub(super) status_msg: Option<String>,
    pub(super) last_active_ago: Option<u64>,
    pub(super) currently_active: bool,
}

impl Edu {
    /// Reads an EDU; `None` when it is malformed or not known here.
    pub(super) fn read(edu: &RawValue) -> Option<Self> {
        #[derive(Deserialize)]
        struct Raw<'a> {
            edu_type: String,
            #[serde(borrow)]
            content: &'a RawValue,
        }
        let Raw { edu_type, content } = serde_json::from_str(edu.get()).ok()?;
        match edu_type.as_str() {
            "m.typing" => {
                let typing: Typing = parse(content)?;
                is_id(typing.user_id.as_str()).then_some(Self::Typing(typing))
            }
            "m.receipt" => receipts(content).map(Self::Receipts),
            "m.presence" => presence(content).map(Self::Presence),
            "m.direct_to_device" => to_device(content).map(Self::ToDevice),
            "m.device_list_update" => device_list(content).map(Self::DeviceList),
            "m.signing_key_update" => signing_keys(content).map(Self::SigningKeys),
            _ => None,
        }
    }
}

fn parse<T: DeserializeOwned>(json: &RawValue) -> Option<T> {
    serde_json::from_str(json.get()).ok()
}

/// Whether a text can be stored as an id: Postgres takes no U+0000.
fn is_id(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_ID_BYTES && !text.contains('\0')
}

type Entries = BTreeMap<String, Box<RawValue>>;

fn receipts(content: &RawValue) -> Option<Vec<Receipt>> {
    let mut receipts = Vec::new();
    for (room_id, types) in parse::<Entries>(content)? {
        let Ok(room_id) = OwnedRoomId::try_from(room_id) else { continue };
        // Whatever else there is was never meant for other servers.
        let read = parse::<Entries>(&types).and_then(|mut types| types.remove("m.read"));
        let users = read.and_then(|users| parse::<Entries>(&users)).unwrap_or_default();
        let of_room = users.into_iter().filter_map(|(user_id, read)| receipt(&room_id, user_id, &read));
        receipts.extend(of_room);
    }
    Some(receipts)
}

fn receipt(room_id: &OwnedRoomId, user_id: String, read: &RawValue) -> Option<Receipt> {
    #[derive(Deserialize)]
    struct Read {
        event_ids: Vec<OwnedEventId>,
        data: Data,
    }
    #[derive(Deserialize)]
    struct Data {
        ts: i64,
        #[serde(default)]
        thread_id: Option<String>,
    }
    let Read { event_ids, data: Data { ts, thread_id } } = parse(read)?;
    let event_id = event_ids.into_iter().next_back()?;
    let is_usable = is_id(&user_id) && is_id(event_id.as_str()) && thread_id.as_deref().is_none_or(is_id);
    let user_id = OwnedUserId::try_from(user_id).ok().filter(|_| is_usable)?;
    Some(Receipt { room_id: room_id.clone(), user_id, event_id, thread_id, ts: ts.clamp(0, MAX_TIME) })
}

fn presence(content: &RawValue) -> Option<Vec<PresenceTold>> {
    #[derive(Deserialize)]
    struct Content {
        push: Vec<Box<RawValue>>,
    }
    #[derive(Deserialize)]
    struct Told {
        user_id: OwnedUserId,
        presence: String,
        #[serde(default)]
        status_msg: Option<String>,
        #[serde(default)]
        last_active_ago: Option<i64>,
        #[serde(default)]
        currently_active: bool,
    }
    let told = parse::<Content>(content)?.push.into_iter().filter_map(|told| {
        let told: Told = parse(&told)?;
        Some(PresenceTold {
            presence: Presence::parse(&told.presence)?,
            user_id: told.user_id,
            status_msg: told.status_msg,
            last_active_ago: told.last_active_ago.and_then(|ago| u64::try_from(ago).ok()),
            currently_active: told.currently_active,
        })
    });
    Some(told.filter(|told| is_id(told.user_id.as_str())).collect())
}

fn to_device(content: &RawValue) -> Option<RemoteMessage> {
    #[derive(Deserialize)]
    struct Content {
        sender: OwnedUserId,
        #[serde(rename = "type")]
        event_type: String,
        message_id: String,
        messages: BTreeMap<OwnedUserId, BTreeMap<String, Box<RawValue>>>,
    }
    let Content { sender, event_type, message_id, messages } = parse(content)?;
    is_id(sender.as_str()).then_some(RemoteMessage { sender, event_type, message_id, messages })
}

fn device_list(content: &RawValue) -> Option<DeviceListUpdate> {
    #[derive(Deserialize)]
    struct Content {
        user_id: OwnedUserId,
        device_id: String,
        #[serde(default)]
        device_display_name: Value,
        stream_id: i64,
        #[serde(default)]
        prev_id: Option<Vec<i64>>,
        #[serde(default)]
        deleted: Option<bool>,
        #[serde(default)]
        keys: Option<Box<RawValue>>,
    }
    let content: Content = parse(content)?;
    let is_usable = is_id(content.user_id.as_str()) && is_id(&content.device_id);
    is_usable.then(|| DeviceListUpdate {
        user_id: content.user_id,
        device_id: content.device_id,
        display_name: content.device_display_name.as_str().map(ToOwned::to_owned),
        stream_id: content.stream_id,
        prev_ids: content.prev_id.unwrap_or_default(),
        is_deleted: content.deleted.unwrap_or_default(),
        keys: content.keys,
    })
}

fn signing_keys(content: &RawValue) -> Option<SigningKeyUpdate> {
    #[derive(Deserialize)]
    struct Content {
        user_id: OwnedUserId,
        #[serde(default)]
        master_key: Option<Box<RawValue>>,
        #[serde(default)]
        self_signing_key: Option<Box<RawValue>>,
    }
    let Content { user_id, master_key, self_signing_key } = parse(content)?;
    is_id(user_id.as_str()).then_some(SigningKeyUpdate { user_id, master_key, self_signing_key })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(edu_type: &str, content: &Value) -> Option<Edu> {
        let edu = json!({ "edu_type": edu_type, "content": content }).to_string();
        Edu::read(&RawValue::from_string(edu).unwrap())
    }

    #[test]
    fn unknown_and_malformed_edus_are_none() {
        assert!(read("org.example.unknown", &json!({})).is_none());
        for edu_type in
            ["m.typing", "m.presence", "m.direct_to_device", "m.device_list_update", "m.signing_key_update"]
        {
            for content in [json!(null), json!([]), json!("x"), json!({}), json!({ "user_id": 1 })] {
                assert!(read(edu_type, &content).is_none(), "{edu_type} {content}");
            }
        }
        assert!(Edu::read(&RawValue::from_string("7".to_owned()).unwrap()).is_none());
    }

    #[test]
    fn one_bad_receipt_does_not_hurt_the_others() {
        let good = json!({ "event_ids": ["$a"], "data": { "ts": 5, "thread_id": "main" } });
        let content = json!({
            "!room:x.example": {
                "m.read": {
                    "@b:x.example": good, "@c:x.example": { "event_ids": [] }, "d": good,
                    "@e:x.example": { "event_ids": ["$a"], "data": { "ts": 5, "thread_id": "" } },
                },
                "m.read.private": { "@b:x.example": good },
            },
            "not a room": { "m.read": { "@b:x.example": good } },
        });

        let Some(Edu::Receipts(receipts)) = read("m.receipt", &content) else { panic!("receipts expected") };

        assert_eq!(
            receipts,
            [Receipt {
                room_id: "!room:x.example".try_into().unwrap(),
                user_id: "@b:x.example".try_into().unwrap(),
                event_id: "$a".try_into().unwrap(),
                thread_id: Some("main".to_owned()),
                ts: 5,
            }]
        );
    }

    #[test]
    fn presence_without_sense_is_left_out() {
        let content = json!({ "push": [
            { "user_id": "@b:x.example", "presence": "online", "last_active_ago": 5, "currently_active": true },
            { "user_id": "@c:x.example", "presence": "dancing", "last_active_ago": 5 },
            { "presence": "online" },
            { "user_id": "@d:x.example", "presence": "offline", "last_active_ago": -7 },
        ] });

        let Some(Edu::Presence(told)) = read("m.presence", &content) else { panic!("presence expected") };

        let told: Vec<_> = told.iter().map(|told| (told.presence, told.last_active_ago)).collect();
        assert_eq!(told, [(Presence::Online, Some(5)), (Presence::Offline, None)]);
    }

    #[test]
    fn device_list_update_may_leave_things_out() {
        let content = json!({ "user_id": "@b:x.example", "device_id": "D", "stream_id": 6, "prev_id": null });

        let Some(Edu::DeviceList(update)) = read("m.device_list_update", &content) else {
            panic!("an update expected");
        };

        assert_eq!((update.stream_id, update.prev_ids.len(), update.is_deleted), (6, 0, false));
        assert!(update.keys.is_none());
    }
}
