//! Everything that touches the database. No other crate names `sqlx`.
//!
//! Start with [`Store`]: it hands out a [`Reader`] (cannot write) and a [`Txn`] (can). Functions for one family of tables
//! stand in one file as methods of those two. Events go in through [`append`], which batches.
//!
//! Invariants:
//! - Whatever clients or followers must hear of takes a position in the [`log`], at the very end of its transaction.
//! - News goes out only after commit, and by itself: whoever writes cannot forget to notify.
//! - The caller opens and commits, so that one action is one transaction; no function here takes a second connection.

pub mod account_data;
pub mod accounts;
mod annotations;
pub mod announcements;
pub mod append;
pub mod cross_signing;
pub mod dehydrated_devices;
pub mod delayed_events;
pub mod destinations;
pub mod device_keys;
pub mod device_lists;
pub mod devices;
pub mod ephemeral;
pub mod errands;
pub mod error;
mod event_cache;
pub mod events;
pub mod filters;
pub mod graph;
pub mod guests;
pub mod history;
pub mod key_backup;
pub mod leases;
pub mod log;
pub mod mail_pushers;
pub mod media;
pub mod media_admin;
pub mod media_blobs;
pub mod media_lifecycle;
pub mod membership;
pub mod missed;
pub mod moderation;
pub mod nids;
pub mod notices;
pub mod notifications;
pub mod one_time_keys;
pub mod openid;
pub mod outgoing_edus;
pub mod outside;
pub mod partial_rooms;
pub mod presence;
pub mod profiles;
pub mod public_rooms;
pub mod pushers;
pub mod receipts;
pub mod registration_tokens;
pub mod relations;
pub mod remote_devices;
pub mod replicas;
pub mod rooms;
pub mod search;
pub mod server_keys;
pub mod servers;
pub mod sliding;
pub mod spaces;
pub mod staged_pdus;
pub mod state_groups;
pub mod sticky_events;
pub mod store;
pub mod tail;
pub mod thread_subscriptions;
pub mod to_device;
pub mod tokens;
pub mod txn;
pub mod typing;
pub mod uia;
pub mod url_previews;
pub mod user_directory;
pub mod walks;

pub use error::StorageError;
pub use store::{Store, StoreOptions};
pub use txn::{Reader, Txn};
