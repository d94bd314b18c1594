//! What the server does for end-to-end encryption: it keeps public keys and hands them out, carries messages from device to
//! device, tells who has new devices, and keeps backups that it cannot read.
//!
//! What other servers know of their users is asked through [`ports::RemoteKeys`] and kept for those who share a room with
//! somebody here (`remote_lists.rs`).
//!
//! Start with [`E2ee`] (`service.rs`); its methods stand in one file per subject. What a sync needs is
//! [`E2ee::to_device`], [`E2ee::confirm_to_device`], [`E2ee::key_supply`] and [`E2ee::device_lists`].
//!
//! Invariants:
//! - A one-time key is handed out once, whatever the number of claims and replicas: the row is deleted by who gets it.
//! - A message to a device is deleted only when the device confirms it with a later token, by its age, or when more wait
//!   than anybody will read.
//! - A change of a user's devices costs one row. Who has to hear of it follows from who shares a room when they ask.
//! - Nothing is decrypted here, and no key or message content is ever logged.
//! - Memory is a bounded cache of the log; the database holds the truth.

mod cross_signing;
mod dehydrated;
mod device_keys;
mod device_lists;
mod from_others;
mod inboxes;
mod key_backup;
mod one_time_keys;
pub mod ports;
mod recent_changes;
mod remote_keys;
mod remote_lists;
mod remote_queries;
mod service;
mod signed;
mod to_device;
mod to_others;

pub use cross_signing::{CrossSigningError, CrossSigningUpload, SignatureFailure, SignatureFailures};
pub use dehydrated::{DehydratedDeviceError, DehydratedEvents, NewDehydratedDevice};
pub use device_keys::{KeyOwner, KeyQuery, KeysUpload, UploadKeysError};
pub use device_lists::DeviceLists;
pub use from_others::{OwnDeviceList, OwnListedDevice, RemoteMessage};
pub use inboxes::LocalDevice;
pub use key_backup::{BackupError, BackupState};
pub use one_time_keys::{ClaimedKeys, KeySupply};
pub use remote_lists::{DeviceListUpdate, RemoteUpdate, SigningKeyUpdate};
pub use service::E2ee;
pub use to_device::{SendToDevice, SendToDeviceError, ToDeviceBatch};
