//! The identity keys of devices.

use hs_model::ids::{DeviceNid, UserNid};

use crate::{Reader, Txn, error::Result};

/// The keys of a device, for a query.
#[derive(Clone, Debug)]
pub struct DeviceKeysRow {
    /// Whose device it is.
    pub user_id: String,
    /// The device's id.
    pub device_id: String,
    /// What its user calls it.
    pub display_name: Option<String>,
    /// JSON object, as uploaded.
    pub keys: String,
    /// The signatures of the user's own self-signing keys: key id and signature.
    pub signatures: Vec<(String, String)>,
}

impl Reader {
    /// The keys that a device has published, as JSON.
    pub async fn find_device_keys(&mut self, device: DeviceNid) -> Result<Option<String>> {
        let keys = sqlx::query_scalar!("SELECT keys FROM device_keys WHERE device_nid = $1", device.0)
            .fetch_optional(self.conn())
            .await?;
        Ok(keys)
    }

    /// The keys of all devices of users that have published any, by user and device.
    pub async fn list_device_keys(&mut self, user_ids: &[String]) -> Result<Vec<DeviceKeysRow>> {
        let rows = sqlx::query!(
            r#"SELECT u.user_id, d.device_id, d.display_name, k.keys,
                 ARRAY(SELECT s.signing_key_id FROM device_signatures s
                       WHERE s.device_nid = d.device_nid ORDER BY s.signing_key_id) AS "signing_keys!",
                 ARRAY(SELECT s.signature FROM device_signatures s
                       WHERE s.device_nid = d.device_nid ORDER BY s.signing_key_id) AS "signatures!"
             FROM users u
             JOIN devices d USING (user_nid)
             JOIN device_keys k USING (device_nid)
             WHERE u.user_id = ANY($1)
             ORDER BY u.user_id, d.device_id"#,
            user_ids
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| DeviceKeysRow {
                user_id: row.user_id,
                device_id: row.device_id,
                display_name: row.display_name,
                keys: row.keys,
                signatures: row.signing_keys.into_iter().zip(row.signatures).collect(),
            })
            .collect())
    }

    /// Those of the users who have an account here.
    pub async fn list_accounts_among(&mut self, user_ids: &[String]) -> Result<Vec<String>> {
        let found = sqlx::query_scalar!(
            "SELECT u.user_id
             FROM users u JOIN accounts a USING (user_nid)
             WHERE u.user_id = ANY($1) AND a.deactivated_at IS NULL
             ORDER BY u.user_id",
            user_ids
        )
        .fetch_all(self.conn())
        .await?;
        Ok(found)
    }

    /// Whether one of these devices of a user has published keys, so that others know of it.
    pub async fn have_device_keys(&mut self, user: UserNid, device_ids: &[String]) -> Result<bool> {
        let have = sqlx::query_scalar!(
            r#"SELECT EXISTS (
                 SELECT FROM devices JOIN device_keys USING (device_nid)
                 WHERE user_nid = $1 AND device_id = ANY($2)
               ) AS "have!""#,
            user.0,
            device_ids
        )
        .fetch_one(self.conn())
        .await?;
        Ok(have)
    }

    /// The devices of a user that have published keys: number, id and keys.
    pub async fn list_keys_of_devices(&mut self, user: UserNid) -> Result<Vec<(DeviceNid, String, String)>> {
        let rows = sqlx::query!(
            "SELECT device_nid, device_id, keys
             FROM devices JOIN device_keys USING (device_nid)
             WHERE user_nid = $1
             ORDER BY device_nid",
            user.0
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows.into_iter().map(|row| (DeviceNid(row.device_nid), row.device_id, row.keys)).collect())
    }
}

impl Txn {
    /// Keeps a device from changing or going away until the end of the transaction. `false` when it is gone.
    pub async fn lock_device(&mut self, device: DeviceNid) -> Result<bool> {
        let found = sqlx::query_scalar!(
            "SELECT device_nid FROM devices WHERE device_nid = $1 FOR NO KEY UPDATE",
            device.0
        )
        .fetch_optional(self.conn())
        .await?;
        Ok(found.is_some())
    }

    /// Sets the keys of a device.
    pub async fn upsert_device_keys(&mut self, device: DeviceNid, keys: &str) -> Result<()> {
        sqlx::query!(
            "INSERT INTO device_keys (device_nid, keys) VALUES ($1, $2)
             ON CONFLICT (device_nid) DO UPDATE SET keys = EXCLUDED.keys",
            device.0,
            keys
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Deletes the signatures of a device, when what they sign has changed.
    pub async fn delete_device_signatures(&mut self, device: DeviceNid) -> Result<()> {
        sqlx::query!("DELETE FROM device_signatures WHERE device_nid = $1", device.0)
            .execute(self.conn())
            .await?;
        Ok(())
    }
}
