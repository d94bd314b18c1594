//! Dehydrated devices.

use hs_model::ids::{DeviceNid, UserNid};

use crate::{Reader, Txn, error::Result};

/// The dehydrated device of a user.
#[derive(Clone, Debug)]
pub struct DehydratedDeviceRow {
    /// The device.
    pub device: DeviceNid,
    /// Its id.
    pub device_id: String,
    /// JSON object: the device itself, encrypted.
    pub device_data: String,
}

impl Reader {
    /// The dehydrated device of a user.
    pub async fn find_dehydrated_device(&mut self, user: UserNid) -> Result<Option<DehydratedDeviceRow>> {
        let row = sqlx::query!(
            "SELECT h.device_nid, d.device_id, h.device_data
             FROM dehydrated_devices h JOIN devices d USING (device_nid)
             WHERE h.user_nid = $1",
            user.0
        )
        .fetch_optional(self.conn())
        .await?;
        Ok(row.map(|row| DehydratedDeviceRow {
            device: DeviceNid(row.device_nid),
            device_id: row.device_id,
            device_data: row.device_data,
        }))
    }
}

impl Txn {
    /// Makes a device of a user their dehydrated one. There must be no other.
    pub async fn insert_dehydrated_device(
        &mut self,
        user: UserNid,
        device: DeviceNid,
        device_data: &str,
    ) -> Result<()> {
        sqlx::query!(
            "INSERT INTO dehydrated_devices (user_nid, device_nid, device_data) VALUES ($1, $2, $3)",
            user.0,
            device.0,
            device_data
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }
}
