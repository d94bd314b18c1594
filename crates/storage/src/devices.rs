//! Devices of local users.

use hs_model::ids::{DeviceNid, UserNid};

use crate::{Reader, Txn, error::Result};

/// A device.
#[derive(Clone, Debug)]
pub struct DeviceRow {
    /// Its number.
    pub device: DeviceNid,
    /// Its id, unique among the devices of its user.
    pub device_id: String,
    /// What its user calls it.
    pub display_name: Option<String>,
    /// When it was last in use, in milliseconds.
    pub last_seen_at: Option<i64>,
    /// From where.
    pub last_seen_ip: Option<String>,
}

/// A device logging in.
#[derive(Clone, Debug)]
pub struct DeviceLogin<'a> {
    /// Its id.
    pub device_id: &'a str,
    /// Its name, used only when it is new.
    pub display_name: Option<&'a str>,
    /// Where from.
    pub ip: Option<&'a str>,
    /// Now, in milliseconds.
    pub now_ms: i64,
}

/// When and from where a device was seen.
#[derive(Clone, Debug)]
pub struct DeviceSeen {
    /// The device.
    pub device: DeviceNid,
    /// When, in milliseconds.
    pub at: i64,
    /// From where.
    pub ip: Option<String>,
}

/// What became of a device that logged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpsertedDevice {
    /// Its number.
    pub device: DeviceNid,
    /// Whether it is new.
    pub is_new: bool,
}

impl Reader {
    /// The devices of a user, in the order in which they were made.
    pub async fn list_devices(&mut self, user: UserNid) -> Result<Vec<DeviceRow>> {
        let rows = sqlx::query!(
            "SELECT device_nid, device_id, display_name, last_seen_at, last_seen_ip
             FROM devices
             WHERE user_nid = $1
             ORDER BY device_nid",
            user.0
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| DeviceRow {
                device: DeviceNid(row.device_nid),
                device_id: row.device_id,
                display_name: row.display_name,
                last_seen_at: row.last_seen_at,
                last_seen_ip: row.last_seen_ip,
            })
            .collect())
    }

    /// One device of a user.
    pub async fn find_device(&mut self, user: UserNid, device_id: &str) -> Result<Option<DeviceRow>> {
        let row = sqlx::query!(
            "SELECT device_nid, device_id, display_name, last_seen_at, last_seen_ip
             FROM devices
             WHERE user_nid = $1 AND device_id = $2",
            user.0,
            device_id
        )
        .fetch_optional(self.conn())
        .await?;
        Ok(row.map(|row| DeviceRow {
            device: DeviceNid(row.device_nid),
            device_id: row.device_id,
            display_name: row.display_name,
            last_seen_at: row.last_seen_at,
            last_seen_ip: row.last_seen_ip,
        }))
    }
}

impl Txn {
    /// Makes a device, or finds the one with this id; an existing one keeps its name.
    pub async fn upsert_device(&mut self, user: UserNid, login: &DeviceLogin<'_>) -> Result<UpsertedDevice> {
        let row = sqlx::query!(
            r#"INSERT INTO devices (user_nid, device_id, display_name, created_at, last_seen_at, last_seen_ip)
             VALUES ($1, $2, $3, $4, $4, $5)
             ON CONFLICT (user_nid, device_id)
             DO UPDATE SET last_seen_at = EXCLUDED.last_seen_at, last_seen_ip = EXCLUDED.last_seen_ip
             RETURNING device_nid, (xmax = 0) AS "is_new!""#,
            user.0,
            login.device_id,
            login.display_name,
            login.now_ms,
            login.ip
        )
        .fetch_one(self.conn())
        .await?;
        Ok(UpsertedDevice { device: DeviceNid(row.device_nid), is_new: row.is_new })
    }

    /// Renames a device; `false` when there is none with this id.
    pub async fn rename_device(
        &mut self,
        user: UserNid,
        device_id: &str,
        display_name: &str,
    ) -> Result<bool> {
        let done = sqlx::query!(
            "UPDATE devices SET display_name = $3 WHERE user_nid = $1 AND device_id = $2",
            user.0,
            device_id,
            display_name
        )
        .execute(self.conn())
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Deletes devices with their tokens; returns how many there were.
    pub async fn delete_devices(&mut self, user: UserNid, device_ids: &[String]) -> Result<u64> {
        let done = sqlx::query!(
            "DELETE FROM devices WHERE user_nid = $1 AND device_id = ANY($2)",
            user.0,
            device_ids
        )
        .execute(self.conn())
        .await?;
        Ok(done.rows_affected())
    }

    /// Deletes all devices of a user, with their tokens, but for one that may be spared.
    pub async fn delete_all_devices(&mut self, user: UserNid, except: Option<DeviceNid>) -> Result<u64> {
        let done = sqlx::query!(
            "DELETE FROM devices WHERE user_nid = $1 AND device_nid IS DISTINCT FROM $2",
            user.0,
            except.map(i64::from)
        )
        .execute(self.conn())
        .await?;
        Ok(done.rows_affected())
    }

    /// Notes when devices were last in use.
    pub async fn set_devices_seen(&mut self, seen: &[DeviceSeen]) -> Result<()> {
        let devices: Vec<i64> = seen.iter().map(|seen| seen.device.0).collect();
        let times: Vec<i64> = seen.iter().map(|seen| seen.at).collect();
        let addresses: Vec<Option<String>> = seen.iter().map(|seen| seen.ip.clone()).collect();
        sqlx::query!(
            "UPDATE devices
             SET last_seen_at = seen.at, last_seen_ip = COALESCE(seen.ip, last_seen_ip)
             FROM UNNEST($1::bigint[], $2::bigint[], $3::text[]) AS seen (device_nid, at, ip)
             WHERE devices.device_nid = seen.device_nid
                 AND (last_seen_at IS NULL OR last_seen_at < seen.at)",
            &devices,
            &times,
            &addresses as &[Option<String>]
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }
}
