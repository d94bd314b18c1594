//! How much each scenario does.

use std::time::Duration;

use crate::server::Kind;

/// Counts are upper bounds: a measured window also ends after `window`.
#[derive(Debug, Clone)]
pub(crate) struct Sizes {
    pub(crate) window: Duration,
    pub(crate) registrations: usize,
    pub(crate) rooms: usize,
    /// Rooms written to at once in the many-rooms case, and senders in the one-room case.
    pub(crate) senders: usize,
    pub(crate) messages: usize,
    /// Room sizes that a message should cost the same in.
    pub(crate) members: Vec<usize>,
    pub(crate) messages_per_size: usize,
    pub(crate) watchers: usize,
    pub(crate) fanout_rooms: usize,
    /// Messages per second into the one watched room, and into all of several.
    pub(crate) one_room_rate: f64,
    pub(crate) many_rooms_rate: f64,
    /// For each: how many rooms a user is in, and how many users sync.
    pub(crate) synced_rooms: Vec<(usize, usize)>,
    /// How many rooms an account has whose rooms are listed by sliding sync.
    pub(crate) sliding_rooms: Vec<usize>,
    pub(crate) syncs: usize,
    /// How many devices upload keys, and how often keys are asked for.
    pub(crate) key_devices: usize,
    pub(crate) key_queries: usize,
    /// How many devices a message goes to, and how many messages.
    pub(crate) to_device_receivers: usize,
    pub(crate) to_device_sends: usize,
    /// How many messages are sent to be searched, and how many there are to be in the end.
    pub(crate) search_messages: usize,
    pub(crate) search_total: usize,
    pub(crate) searches: usize,
    pub(crate) page_messages: usize,
    pub(crate) pages: usize,
    pub(crate) joins: usize,
    pub(crate) mixed_users: usize,
    pub(crate) mixed_operations: usize,
    pub(crate) polls: usize,
    pub(crate) state_changes: usize,
    /// Messages per second from one server to another, each measured by itself.
    pub(crate) federated_rates: Vec<f64>,
    /// How many members the rooms have that somebody of another server joins.
    pub(crate) federated_joins: Vec<usize>,
    /// How many messages a server misses that was away.
    pub(crate) missed: usize,
    /// How many small files are uploaded, and how many pictures of each kind.
    pub(crate) files: usize,
    pub(crate) pictures: usize,
    pub(crate) huge_file_mb: u64,
    pub(crate) downloads_at_once: usize,
}

impl Sizes {
    /// A full run takes some minutes for Kith, and about as long for Synapse with smaller counts.
    pub(crate) fn full(kind: Kind) -> Self {
        match kind {
            Kind::Kith => Self {
                window: Duration::from_secs(20),
                registrations: 200,
                rooms: 1000,
                senders: 64,
                messages: 30_000,
                members: vec![1, 100, 1000, 5000],
                messages_per_size: 5000,
                watchers: 100,
                fanout_rooms: 50,
                one_room_rate: 20.0,
                many_rooms_rate: 400.0,
                synced_rooms: vec![(20, 10), (200, 5)],
                sliding_rooms: vec![100, 2000],
                syncs: 500,
                key_devices: 1000,
                key_queries: 500,
                to_device_receivers: 200,
                to_device_sends: 500,
                search_messages: 2000,
                search_total: 1_000_000,
                searches: 1000,
                page_messages: 2000,
                pages: 2000,
                joins: 5000,
                mixed_users: 64,
                mixed_operations: 30_000,
                polls: 5000,
                state_changes: 2000,
                federated_rates: vec![20.0, 100.0, 500.0],
                federated_joins: vec![30, 100, 1000, 10_000],
                missed: 10_000,
                files: 2000,
                pictures: 100,
                huge_file_mb: 1024,
                downloads_at_once: 500,
            },
            Kind::Synapse => Self {
                window: Duration::from_secs(20),
                registrations: 40,
                rooms: 100,
                messages: 2000,
                members: vec![1, 100, 1000],
                messages_per_size: 300,
                one_room_rate: 0.5,
                many_rooms_rate: 10.0,
                sliding_rooms: vec![100],
                syncs: 100,
                key_devices: 100,
                key_queries: 100,
                to_device_sends: 50,
                searches: 200,
                page_messages: 500,
                pages: 300,
                joins: 1000,
                mixed_operations: 3000,
                polls: 500,
                state_changes: 300,
                ..Self::full(Kind::Kith)
            },
        }
    }

    /// Small enough to see within a minute or two that everything works.
    pub(crate) fn quick() -> Self {
        Self {
            window: Duration::from_secs(5),
            registrations: 8,
            rooms: 20,
            senders: 8,
            messages: 300,
            members: vec![1, 50],
            messages_per_size: 100,
            watchers: 20,
            fanout_rooms: 5,
            one_room_rate: 2.0,
            many_rooms_rate: 10.0,
            synced_rooms: vec![(5, 3)],
            sliding_rooms: vec![30],
            syncs: 20,
            key_devices: 20,
            key_queries: 20,
            to_device_receivers: 20,
            to_device_sends: 20,
            search_messages: 100,
            search_total: 2000,
            searches: 20,
            page_messages: 100,
            pages: 20,
            joins: 50,
            mixed_users: 8,
            mixed_operations: 300,
            polls: 60,
            state_changes: 50,
            federated_rates: vec![20.0],
            federated_joins: vec![30, 100],
            missed: 200,
            files: 40,
            pictures: 4,
            huge_file_mb: 64,
            downloads_at_once: 50,
        }
    }
}
