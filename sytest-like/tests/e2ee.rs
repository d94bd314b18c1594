//! End-to-end encryption: keys of devices and users, messages between devices, device lists, backups, dehydrated devices.

mod cross_signing;
mod dehydrated;
mod device_keys;
mod device_lists;
mod ground;
mod key_backup;
mod one_time_keys;
mod replicas;
mod restart;
mod to_device;

pub(crate) use ground::Device;
