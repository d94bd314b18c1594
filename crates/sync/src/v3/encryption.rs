//! What end-to-end encryption adds: messages to the device, changed device lists, and what is left of its keys.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#e2e-extensions-to-sync>

use std::collections::BTreeMap;

use hs_e2ee::{DeviceLists, LocalDevice};
use hs_model::{membership::Membership, stream::Position};
use hs_storage::StorageError;
use serde::Serialize;

use super::{Batch, Context};

/// How many messages a response holds at most, as the specification recommends.
const MAX_MESSAGES: usize = 100;

/// The parts of the response.
#[derive(Debug, Default, Serialize)]
pub(super) struct Sections {
    #[serde(skip_serializing_if = "Batch::is_empty")]
    to_device: Batch,
    #[serde(skip_serializing_if = "DeviceLists::is_empty")]
    device_lists: DeviceLists,
    device_one_time_keys_count: BTreeMap<String, i64>,
    device_unused_fallback_key_types: Vec<String>,
}

impl Sections {
    /// The parts, and up to where the messages go.
    pub(super) async fn read(context: &Context<'_>) -> Result<(Self, Position), StorageError> {
        let e2ee = &context.inner.e2ee;
        let request = context.request;
        let device = LocalDevice { user: request.user, device: request.device };
        let known = request.to_device_since.unwrap_or(context.since);
        let messages = e2ee.to_device(device, known, context.until, MAX_MESSAGES).await?;
        let device_lists = if context.is_initial() {
            DeviceLists::default()
        } else {
            let is_joined =
                |room| context.stays.get(&room).is_some_and(|stay| stay.membership == Membership::Join);
            e2ee.device_lists(request.user, is_joined, context.since, context.until).await?
        };
        let supply = e2ee.key_supply(device).await?;
        let mut device_one_time_keys_count = supply.one_time_keys.clone();
        // Clients that see the algorithm missing do not all take it for zero.
        device_one_time_keys_count.entry("signed_curve25519".to_owned()).or_default();
        let sections = Self {
            to_device: Batch { events: messages.events },
            device_lists,
            device_one_time_keys_count,
            device_unused_fallback_key_types: supply.unused_fallback_types.clone(),
        };
        Ok((sections, messages.up_to))
    }

    /// Whether there is nothing to wake a client for.
    pub(super) fn is_empty(&self) -> bool {
        self.to_device.is_empty() && self.device_lists.is_empty()
    }
}
