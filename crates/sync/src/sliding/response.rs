//! The response as it is sent.

use std::collections::{BTreeMap, BTreeSet};

use hs_e2ee::DeviceLists;
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId};
use serde::Serialize;
use serde_json::value::RawValue;

/// What has happened.
#[derive(Debug, Serialize)]
pub struct Response {
    pub(super) pos: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) txn_id: Option<String>,
    pub(super) lists: BTreeMap<String, ListResult>,
    pub(super) rooms: BTreeMap<OwnedRoomId, RoomResult>,
    pub(super) extensions: ExtensionResults,
}

#[derive(Debug, Serialize)]
pub(super) struct ListResult {
    pub(super) count: usize,
}

/// A room, or what of it has changed.
#[derive(Debug, Default, Serialize)]
pub(super) struct RoomResult {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) initial: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bump_stamp: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) membership: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) lists: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) avatar: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) heroes: Option<Vec<Hero>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) is_dm: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) joined_count: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) invited_count: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) notification_count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) highlight_count: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) required_state: Vec<Box<RawValue>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) timeline: Vec<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) prev_batch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) limited: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) num_live: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) unstable_expanded_timeline: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) expanded_timeline: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) invite_state: Option<Vec<Box<RawValue>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stripped_state: Option<Vec<Box<RawValue>>>,
}

/// A text that a room may have or not.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Text {
    Is(String),
    /// There is none, or no longer: `null`.
    Gone,
}

impl From<Option<String>> for Text {
    fn from(text: Option<String>) -> Self {
        text.map_or(Self::Gone, Self::Is)
    }
}

/// Somebody whom a room without a name is named after.
#[derive(Debug, Serialize)]
pub(super) struct Hero {
    pub(super) user_id: OwnedUserId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) displayname: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) avatar_url: Option<String>,
}

/// What the extensions have to tell.
#[derive(Debug, Default, Serialize)]
pub(super) struct ExtensionResults {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) to_device: Option<ToDeviceResult>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) e2ee: Option<E2eeResult>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) account_data: Option<AccountData>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) receipts: Option<ByRoom>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) typing: Option<ByRoom>,
    #[serde(rename = "io.element.msc4308.thread_subscriptions", skip_serializing_if = "Option::is_none")]
    pub(super) thread_subscriptions: Option<ThreadSubscriptions>,
    #[serde(rename = "org.matrix.msc4354.sticky_events", skip_serializing_if = "Option::is_none")]
    pub(super) sticky_events: Option<StickyEvents>,
    #[serde(rename = "org.matrix.msc4262.profiles", skip_serializing_if = "Option::is_none")]
    pub(super) profiles: Option<Profiles>,
}

impl ExtensionResults {
    /// Whether there is nothing to wake a client for.
    pub(super) fn is_empty(&self) -> bool {
        self.to_device.as_ref().is_none_or(|messages| messages.events.is_empty())
            && self.e2ee.as_ref().is_none_or(|e2ee| e2ee.device_lists.is_empty())
            && self.account_data.is_none()
            && self.receipts.is_none()
            && self.typing.is_none()
            && self.thread_subscriptions.is_none()
            && self.sticky_events.is_none()
            && self.profiles.is_none()
    }
}

/// Messages to the device.
#[derive(Debug, Serialize)]
pub(super) struct ToDeviceResult {
    pub(super) next_batch: String,
    pub(super) events: Vec<Box<RawValue>>,
}

/// What end-to-end encryption needs.
#[derive(Debug, Serialize)]
pub(super) struct E2eeResult {
    #[serde(skip_serializing_if = "DeviceLists::is_empty")]
    pub(super) device_lists: DeviceLists,
    pub(super) device_one_time_keys_count: BTreeMap<String, i64>,
    pub(super) device_unused_fallback_key_types: Vec<String>,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct AccountData {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) global: Vec<Box<RawValue>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) rooms: BTreeMap<OwnedRoomId, Vec<Box<RawValue>>>,
}

/// One event for each room.
#[derive(Debug, Default, Serialize)]
pub(super) struct ByRoom {
    pub(super) rooms: BTreeMap<OwnedRoomId, Box<RawValue>>,
}

/// Sticky events beside the timelines.
#[derive(Debug, Default, Serialize)]
pub(super) struct StickyEvents {
    pub(super) rooms: BTreeMap<OwnedRoomId, StickyEventsOfRoom>,
}

#[derive(Debug, Serialize)]
pub(super) struct StickyEventsOfRoom {
    pub(super) events: Vec<Box<RawValue>>,
}

/// What profiles have come to.
#[derive(Debug, Default, Serialize)]
pub(super) struct Profiles {
    /// `None` for somebody who shares no room with the user any more.
    pub(super) users: BTreeMap<OwnedUserId, Option<ProfileChanges>>,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct ProfileChanges {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) updated: BTreeMap<String, Box<RawValue>>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) removed: BTreeSet<String>,
}

/// Threads that the user has subscribed to, or has done with, by room.
#[derive(Debug, Default, Serialize)]
pub(super) struct ThreadSubscriptions {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) subscribed: BTreeMap<OwnedRoomId, BTreeMap<OwnedEventId, Subscribed>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) unsubscribed: BTreeMap<OwnedRoomId, BTreeMap<OwnedEventId, Unsubscribed>>,
    /// Where the list of earlier changes begins that did not fit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) prev_batch: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Subscribed {
    pub(super) automatic: bool,
    pub(super) bump_stamp: i64,
}

#[derive(Debug, Serialize)]
pub(super) struct Unsubscribed {
    pub(super) bump_stamp: i64,
}
