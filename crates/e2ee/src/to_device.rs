//! Messages from device to device.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#send-to-device-messaging>

use std::collections::BTreeMap;

use hs_model::{ids::DeviceNid, stream::Position};
use hs_storage::{
    StorageError,
    outgoing_edus::NewOutgoingEdu,
    to_device::{NewToDeviceMessage, ToDeviceOrigin, ToDeviceRow, ToDeviceTransaction},
};
use ruma::{OwnedUserId, UserId};
use serde::Serialize;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use crate::{
    E2ee, LocalDevice,
    to_others::{self, Edu, Sending},
};

/// The largest content of a message: that of an event.
const MAX_CONTENT_BYTES: usize = 65_536;
/// The longest type of a message: that of an event.
const MAX_TYPE_BYTES: usize = 255;
/// The device id that stands for all devices of a user.
pub(crate) const ALL_DEVICES: &str = "*";
/// How many messages wait for a device at most. Of a device that nobody uses, the oldest go.
const MAX_WAITING: i64 = 10_000;
/// After how many messages an inbox is looked at.
const LOOK_EVERY: u32 = 500;
/// How many inboxes are counted before counting begins anew.
const MAX_COUNTED: usize = 100_000;
/// How much a response holds at most, unless a single message is larger.
const MAX_BATCH_BYTES: usize = 1024 * 1024;
/// How long messages wait for a device.
const KEEP_MESSAGES_MS: i64 = 365 * 24 * 60 * 60 * 1000;
/// How long a request is remembered, so that its repetition is recognised, and a key that was handed out, so that it is not
/// taken for a new one.
const KEEP_REQUESTS_MS: i64 = 3 * 24 * 60 * 60 * 1000;

/// How long it is remembered what other servers have delivered. They repeat what they are not sure of, after an outage too.
const KEEP_RECEIVED_MS: i64 = 30 * 24 * 60 * 60 * 1000;

/// A request to send messages.
#[derive(Debug)]
pub struct SendToDevice<'a> {
    /// The device that sends.
    pub device: LocalDevice,
    /// Its user's id.
    pub sender: &'a UserId,
    /// The type of all messages.
    pub event_type: &'a str,
    /// What the client calls the request.
    pub txn_id: &'a str,
    /// Contents by user and device; `*` for all devices.
    pub messages: &'a BTreeMap<OwnedUserId, BTreeMap<String, Box<RawValue>>>,
}

/// Why messages were not sent.
#[derive(Debug, thiserror::Error)]
pub enum SendToDeviceError {
    /// The content of a message is not an object.
    #[error("The content of a message must be an object")]
    Malformed,
    /// A content or the type is too large.
    #[error("The message is too large")]
    TooLarge,
    /// The database failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Messages for a device.
#[derive(Debug, Default)]
pub struct ToDeviceBatch {
    /// The messages as clients get them, in order.
    pub events: Vec<Box<RawValue>>,
    /// There are no further ones up to here: where the next batch goes on.
    pub up_to: Position,
    /// Whether there are more in the range that was asked for.
    pub is_limited: bool,
}

impl E2ee {
    /// Delivers messages, once for each transaction: to devices here at once, and to those of other servers through these.
    /// Devices that do not exist get nothing.
    pub async fn send_to_device(&self, request: SendToDevice<'_>) -> Result<(), SendToDeviceError> {
        check(&request)?;
        let now_ms = self.inner.clock.now_ms();
        let hash = Sha256::new()
            .chain_update(request.event_type)
            .chain_update([0])
            .chain_update(request.txn_id)
            .finalize();
        let mut txn = self.inner.store.begin().await?;
        let transaction = ToDeviceTransaction { device: request.device.device, hash: &hash.into(), now_ms };
        if !txn.insert_to_device_transaction(&transaction).await? {
            return Ok(());
        }
        let local: Vec<String> = request
            .messages
            .keys()
            .filter(|user_id| self.is_local(user_id))
            .map(ToString::to_string)
            .collect();
        let devices = if local.is_empty() { Vec::new() } else { txn.lock_devices_of_users(&local).await? };
        let messages: Vec<NewToDeviceMessage<'_>> = devices
            .iter()
            .filter_map(|device| {
                let user_id = <&UserId>::try_from(device.user_id.as_str()).ok()?;
                let contents = request.messages.get(user_id)?;
                let content = contents.get(&device.device_id).or_else(|| contents.get(ALL_DEVICES))?;
                Some(NewToDeviceMessage { user: device.user, device: device.device, content: content.get() })
            })
            .collect();
        let origin = ToDeviceOrigin { sender: request.device.user, event_type: request.event_type, now_ms };
        txn.insert_to_device(origin, &messages).await?;
        let edus = self.edus_for_others(&request, &hash);
        let edus: Vec<NewOutgoingEdu<'_>> = edus.iter().map(Edu::row).collect();
        txn.insert_outgoing_edus(&edus, now_ms).await?;
        let receivers: Vec<DeviceNid> = messages.iter().map(|message| message.device).collect();
        txn.commit().await?;
        self.trim_inboxes(&receivers).await?;
        Ok(())
    }

    fn edus_for_others(&self, request: &SendToDevice<'_>, hash: &[u8]) -> Vec<Edu> {
        // Nobody will send them while this server talks to no other.
        if self.inner.remote.get().is_none() {
            return Vec::new();
        }
        // Two devices may give their requests the same name.
        let request_id = [&request.device.device.0.to_be_bytes(), hash].concat();
        let sending =
            Sending { sender: request.sender, event_type: request.event_type, request: &request_id };
        to_others::edus(sending, request.messages.iter().filter(|(user_id, _)| !self.is_local(user_id)))
    }

    /// The messages for a device after a position and up to another, at most `limit`.
    pub async fn to_device(
        &self,
        device: LocalDevice,
        after: Position,
        up_to: Position,
        limit: usize,
    ) -> Result<ToDeviceBatch, StorageError> {
        let may_have_messages = {
            let mut state = self.inner.state.lock();
            let position = state.position;
            state.inboxes.may_have_messages(device, position, after)
        };
        if !may_have_messages || after >= up_to {
            return Ok(ToDeviceBatch { up_to, ..ToDeviceBatch::default() });
        }
        self.stored_to_device(device.device, after, up_to, limit).await
    }

    /// As [`to_device`](Self::to_device), from the database.
    pub(crate) async fn stored_to_device(
        &self,
        device: DeviceNid,
        after: Position,
        up_to: Position,
        limit: usize,
    ) -> Result<ToDeviceBatch, StorageError> {
        let mut reader = self.inner.store.reader().await?;
        let rows = reader.list_to_device(device, after, up_to, limit as i64 + 1).await?;
        drop(reader);
        let mut batch = ToDeviceBatch { up_to, ..ToDeviceBatch::default() };
        let mut size = 0;
        let mut last = after;
        for row in rows {
            size += row.content.len();
            if batch.events.len() == limit || (size > MAX_BATCH_BYTES && !batch.events.is_empty()) {
                batch.is_limited = true;
                batch.up_to = last;
                break;
            }
            last = row.position;
            batch.events.extend(event(&row));
        }
        Ok(batch)
    }

    /// The device has everything up to a position: what it has got is deleted.
    pub async fn confirm_to_device(&self, device: LocalDevice, up_to: Position) -> Result<(), StorageError> {
        let is_needed = {
            let mut state = self.inner.state.lock();
            let position = state.position;
            state.inboxes.confirm(device, position, up_to)
        };
        if !is_needed {
            return Ok(());
        }
        let deleted = self.inner.store.delete_to_device(device.device, up_to).await;
        if deleted.is_err() {
            let mut state = self.inner.state.lock();
            let position = state.position;
            state.inboxes.unconfirm(device, position);
        }
        deleted
    }

    /// Clears away what is too old. Two replicas doing so at once do no harm.
    pub async fn delete_old_messages(&self) -> Result<(), StorageError> {
        let now_ms = self.inner.clock.now_ms();
        let mut txn = self.inner.store.begin().await?;
        let messages = txn.delete_old_to_device(now_ms - KEEP_MESSAGES_MS).await?;
        let transactions = txn.delete_old_to_device_transactions(now_ms - KEEP_REQUESTS_MS).await?;
        let claimed = txn.delete_old_claimed_keys(now_ms - KEEP_REQUESTS_MS).await?;
        let received = txn.delete_old_received_to_device(now_ms - KEEP_RECEIVED_MS).await?;
        txn.commit().await?;
        tracing::info!(messages, transactions, claimed, received, "cleared inboxes of devices");
        Ok(())
    }

    /// Counts what devices were sent, and looks from time to time whether it is too much.
    pub(crate) async fn trim_inboxes(&self, receivers: &[DeviceNid]) -> Result<(), StorageError> {
        let mut full = Vec::new();
        {
            let mut sent = self.inner.sent.lock();
            if sent.len() > MAX_COUNTED {
                sent.clear();
            }
            for device in receivers {
                let count = sent.entry(*device).or_default();
                *count += 1;
                if *count >= LOOK_EVERY {
                    full.push(*device);
                }
            }
            for device in &full {
                sent.remove(device);
            }
        }
        if full.is_empty() {
            return Ok(());
        }
        let mut txn = self.inner.store.begin().await?;
        let deleted = txn.trim_to_device(&full, MAX_WAITING).await?;
        txn.commit().await?;
        if deleted > 0 {
            tracing::info!(deleted, "dropped the oldest messages of devices that nobody reads");
        }
        Ok(())
    }
}

fn check(request: &SendToDevice<'_>) -> Result<(), SendToDeviceError> {
    if request.event_type.len() > MAX_TYPE_BYTES {
        return Err(SendToDeviceError::TooLarge);
    }
    for content in request.messages.values().flat_map(BTreeMap::values) {
        if !content.get().starts_with('{') {
            return Err(SendToDeviceError::Malformed);
        }
        if !is_acceptable(content) {
            return Err(SendToDeviceError::TooLarge);
        }
    }
    Ok(())
}

/// Whether a content is one that a message may have.
pub(crate) fn is_acceptable(content: &RawValue) -> bool {
    content.get().starts_with('{') && content.get().len() <= MAX_CONTENT_BYTES
}

fn event(row: &ToDeviceRow) -> Option<Box<RawValue>> {
    #[derive(Serialize)]
    struct Event<'a> {
        sender: &'a str,
        #[serde(rename = "type")]
        event_type: &'a str,
        content: &'a RawValue,
    }
    let content = serde_json::from_str(&row.content).ok()?;
    let event = Event { sender: &row.sender, event_type: &row.event_type, content };
    serde_json::value::to_raw_value(&event).ok()
}
