//! What a client asks for, whichever dialect it speaks.

use std::{collections::BTreeMap, time::Duration};

use hs_model::{
    ids::{DeviceNid, UserNid},
    stream::{ConnectionToken, Position},
};
use ruma::{OwnedRoomId, OwnedUserId};

use super::config::RoomConfig;

/// The dialect that a client speaks: the names of some keys differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `/unstable/org.matrix.simplified_msc3575/sync`
    Unstable,
    /// `/v4/sync`
    V4,
}

/// A request of sliding sync.
#[derive(Clone, Debug)]
pub struct Request {
    /// Who.
    pub user: UserNid,
    /// Their id.
    pub user_id: OwnedUserId,
    /// Their device.
    pub device: DeviceNid,
    /// The dialect of the answer.
    pub dialect: Dialect,
    /// The client's name for the connection; empty when it has only one.
    pub conn_id: String,
    /// The `pos` of the last response; `None` for a new connection.
    pub pos: Option<ConnectionToken>,
    /// Comes back in the answer.
    pub txn_id: Option<String>,
    /// How long to wait for something to happen.
    pub timeout: Duration,
    /// Lists by name.
    pub lists: BTreeMap<String, List>,
    /// Rooms that are wanted whatever the lists say.
    pub subscriptions: BTreeMap<OwnedRoomId, RoomConfig>,
    /// What is wanted beside rooms.
    pub extensions: Extensions,
}

/// A list of rooms.
#[derive(Clone, Debug, Default)]
pub struct List {
    /// Which of the rooms that pass the filters, the most recently active first; both ends count. `None` for all.
    pub ranges: Option<Vec<(u64, u64)>>,
    /// Which rooms belong to the list.
    pub filters: Filters,
    /// What is wanted of each.
    pub config: RoomConfig,
}

/// Conditions that all must hold.
#[derive(Clone, Debug, Default)]
pub struct Filters {
    /// Whether the room is a direct chat, as the account data says.
    pub is_dm: Option<bool>,
    /// Rooms that one of these spaces has as a child.
    pub spaces: Option<Vec<OwnedRoomId>>,
    /// Whether the room is encrypted.
    pub is_encrypted: Option<bool>,
    /// Whether the user is invited and has not joined yet.
    pub is_invited: Option<bool>,
    /// Rooms of one of these types; `None` stands for rooms without a type.
    pub room_types: Option<Vec<Option<String>>>,
    /// Not rooms of one of these types.
    pub not_room_types: Option<Vec<Option<String>>>,
    /// Rooms with one of these tags.
    pub tags: Option<Vec<String>>,
    /// Not rooms with one of these tags.
    pub not_tags: Option<Vec<String>>,
}

/// Which extensions are wanted.
#[derive(Clone, Debug, Default)]
pub struct Extensions {
    /// Account data, global and of rooms.
    pub account_data: Option<RoomScope>,
    /// Receipts.
    pub receipts: Option<RoomScope>,
    /// Typing.
    pub typing: Option<RoomScope>,
    /// Messages to the device.
    pub to_device: Option<ToDevice>,
    /// Device lists and what is left of the device's keys.
    pub e2ee: bool,
    /// Subscriptions to threads, and how many at most.
    pub thread_subscriptions: Option<usize>,
    /// Sticky events of the rooms that are told of.
    pub sticky_events: bool,
    /// Profiles of those whom the client sees.
    pub profiles: Option<Profiles>,
}

/// To which of the rooms of a request an extension applies.
#[derive(Clone, Debug, Default)]
pub struct RoomScope {
    /// The rooms of these lists; `None` for all lists.
    pub lists: Option<Vec<String>>,
    /// These subscriptions; `None` for all of them.
    pub rooms: Option<Vec<OwnedRoomId>>,
}

/// Which messages to the device are wanted.
#[derive(Clone, Copy, Debug)]
pub struct ToDevice {
    /// Those up to here have arrived; `None` for all.
    pub since: Option<Position>,
    /// How many at most.
    pub limit: usize,
}

/// Which profiles are wanted.
#[derive(Clone, Debug, Default)]
pub struct Profiles {
    /// Of the members of which rooms.
    pub scope: RoomScope,
    /// These fields; `None` for all.
    pub fields: Option<Vec<String>>,
}
