//! What other servers deliver to devices here, and what they are told of them.

use std::collections::{BTreeMap, BTreeSet};

use hs_model::{ids::DeviceNid, stream::Position};
use hs_storage::{
    StorageError,
    to_device::{NewToDeviceMessage, ToDeviceOrigin},
};
use ruma::{OwnedUserId, ServerName, UserId};
use serde_json::{Value, value::RawValue};

use crate::{
    E2ee,
    to_device::{ALL_DEVICES, is_acceptable},
};

/// The longest id of a message that can be recognised again.
const MAX_MESSAGE_ID_BYTES: usize = 255;

/// `m.direct_to_device`: messages from a user of another server. That it is theirs has been checked.
#[derive(Clone, Debug)]
pub struct RemoteMessage {
    /// Who sends it.
    pub sender: OwnedUserId,
    /// The type of all messages.
    pub event_type: String,
    /// What its server recognises it by.
    pub message_id: String,
    /// Contents by user and device; `*` for all devices.
    pub messages: BTreeMap<OwnedUserId, BTreeMap<String, Box<RawValue>>>,
}

impl RemoteMessage {
    fn is_acceptable(&self) -> bool {
        is_name(&self.message_id)
            && !self.message_id.is_empty()
            && is_name(&self.event_type)
            && self.messages.values().flat_map(BTreeMap::values).all(|content| is_acceptable(content))
    }
}

fn is_name(text: &str) -> bool {
    text.len() <= MAX_MESSAGE_ID_BYTES && !text.contains('\0')
}

/// What other servers are told of the devices of a user of this one.
#[derive(Debug)]
pub struct OwnDeviceList {
    /// The newest change that was told.
    pub stream_id: Position,
    /// The devices that have keys: id, name, and keys with all signatures.
    pub devices: Vec<OwnListedDevice>,
    /// The master key.
    pub master_key: Option<Value>,
    /// The self-signing key.
    pub self_signing_key: Option<Value>,
}

/// A device of a user of this server.
#[derive(Debug)]
pub struct OwnListedDevice {
    /// Its id.
    pub device_id: String,
    /// What its user calls it.
    pub display_name: Option<String>,
    /// Its keys.
    pub keys: Value,
}

impl E2ee {
    /// Puts messages from another server into the inboxes of devices here, once for each id that the server gave them.
    pub async fn receive_to_device(
        &self,
        origin: &ServerName,
        messages: &[RemoteMessage],
    ) -> Result<(), StorageError> {
        let messages: Vec<&RemoteMessage> =
            messages.iter().filter(|message| message.is_acceptable()).collect();
        if messages.is_empty() {
            return Ok(());
        }
        let mut senders = BTreeMap::new();
        for message in &messages {
            senders.insert(&message.sender, self.inner.store.intern_user(&message.sender).await?);
        }
        let receivers: BTreeSet<String> = messages
            .iter()
            .flat_map(|message| message.messages.keys())
            .filter(|user_id| self.is_local(user_id))
            .map(ToString::to_string)
            .collect();
        let receivers: Vec<String> = receivers.into_iter().collect();
        let now_ms = self.inner.clock.now_ms();
        let ids: Vec<&str> = messages.iter().map(|message| message.message_id.as_str()).collect();
        let mut txn = self.inner.store.begin().await?;
        let mut new: BTreeSet<String> =
            txn.insert_received_to_device(origin.as_str(), &ids, now_ms).await?.into_iter().collect();
        let devices =
            if receivers.is_empty() { Vec::new() } else { txn.lock_devices_of_users(&receivers).await? };
        let mut delivered: Vec<DeviceNid> = Vec::new();
        for message in &messages {
            if !new.remove(&message.message_id) {
                continue;
            }
            let contents: Vec<NewToDeviceMessage<'_>> = devices
                .iter()
                .filter_map(|device| {
                    let user_id = <&UserId>::try_from(device.user_id.as_str()).ok()?;
                    let contents = message.messages.get(user_id)?;
                    let content = contents.get(&device.device_id).or_else(|| contents.get(ALL_DEVICES))?;
                    let content = content.get();
                    Some(NewToDeviceMessage { user: device.user, device: device.device, content })
                })
                .collect();
            let Some(sender) = senders.get(&message.sender).copied() else { continue };
            let origin = ToDeviceOrigin { sender, event_type: &message.event_type, now_ms };
            txn.insert_to_device(origin, &contents).await?;
            delivered.extend(contents.iter().map(|message| message.device));
        }
        txn.commit().await?;
        self.trim_inboxes(&delivered).await
    }

    /// The devices of a user of this server, for others; `None` when there is no such user.
    pub async fn own_device_list(&self, user_id: &UserId) -> Result<Option<OwnDeviceList>, StorageError> {
        if !self.is_local(user_id) {
            return Ok(None);
        }
        let Some(user) = self.inner.store.find_user(user_id).await? else { return Ok(None) };
        // Before the keys: what changes between the two is told again by an update that comes after it. Where updates were
        // sent, their numbers count, so that the next one follows.
        let mut reader = self.inner.store.reader().await?;
        let announced = reader.list_announcements(&[user]).await?;
        let announced = announced.iter().find(|row| row.stream_id > 0).map(|row| Position(row.stream_id));
        let stream_id = match announced {
            Some(announced) => announced,
            None => reader.find_device_list_change(user).await?,
        };
        drop(reader);
        let wanted = [(user_id.to_owned(), Vec::new())].into();
        let mut keys = self.query_keys_for_server(&wanted).await?;
        let Some(devices) = keys.device_keys.remove(user_id.as_str()) else { return Ok(None) };
        let devices = devices.into_iter().map(|(device_id, keys)| {
            let name = keys["unsigned"]["device_display_name"].as_str().map(ToOwned::to_owned);
            OwnListedDevice { device_id, display_name: name, keys }
        });
        Ok(Some(OwnDeviceList {
            stream_id,
            devices: devices.collect(),
            master_key: keys.master_keys.remove(user_id.as_str()),
            self_signing_key: keys.self_signing_keys.remove(user_id.as_str()),
        }))
    }
}
