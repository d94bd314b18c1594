//! What other servers have been told of the devices of this server's users.

use hs_model::ids::UserNid;

use crate::{
    Reader, Txn,
    error::Result,
    missed::{AnnouncementRow, DeviceAnnouncement},
};

/// A device that has been announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnouncedDevice {
    /// Whose it is.
    pub user: UserNid,
    /// Which.
    pub device_id: String,
    /// What was said of it.
    pub hash: Vec<u8>,
}

impl Reader {
    /// The latest updates of users.
    pub async fn list_announcements(&mut self, users: &[UserNid]) -> Result<Vec<DeviceAnnouncement>> {
        let users: Vec<i64> = users.iter().map(|user| user.0).collect();
        let rows = sqlx::query_as!(
            AnnouncementRow,
            "SELECT user_nid, stream_id, prev_id, device_id, signing_keys_hash, signing_keys_at
             FROM device_announcements
             WHERE user_nid = ANY($1)
             ORDER BY user_nid",
            &users
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows.into_iter().map(AnnouncementRow::into_record).collect())
    }

    /// The id of the latest update of a user's devices: the version of the list that other servers are to be told. `None`
    /// when there was no update yet.
    pub async fn find_device_stream_id(&mut self, user: UserNid) -> Result<Option<i64>> {
        let id = sqlx::query_scalar!(
            "SELECT stream_id FROM device_announcements WHERE user_nid = $1 AND stream_id > 0",
            user.0
        )
        .fetch_optional(self.conn())
        .await?;
        Ok(id)
    }

    /// The devices of users that have been announced.
    pub async fn list_announced_devices(&mut self, users: &[UserNid]) -> Result<Vec<AnnouncedDevice>> {
        let users: Vec<i64> = users.iter().map(|user| user.0).collect();
        let rows = sqlx::query!(
            "SELECT user_nid, device_id, hash
             FROM announced_devices
             WHERE user_nid = ANY($1)
             ORDER BY user_nid, device_id",
            &users
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| AnnouncedDevice {
                user: UserNid(row.user_nid),
                device_id: row.device_id,
                hash: row.hash,
            })
            .collect())
    }
}

impl Txn {
    /// Notes the latest updates of users, each at most once.
    pub async fn upsert_announcements(&mut self, announcements: &[DeviceAnnouncement]) -> Result<()> {
        let users: Vec<i64> = announcements.iter().map(|a| a.user.0).collect();
        let ids: Vec<i64> = announcements.iter().map(|a| a.stream_id).collect();
        let prev: Vec<Option<i64>> = announcements.iter().map(|a| a.prev_id).collect();
        let devices: Vec<&str> = announcements.iter().map(|a| a.device_id.as_str()).collect();
        let hashes: Vec<Option<&[u8]>> =
            announcements.iter().map(|a| a.signing_keys_hash.as_deref()).collect();
        let keys_at: Vec<Option<i64>> = announcements.iter().map(|a| a.signing_keys_at).collect();
        sqlx::query!(
            "INSERT INTO device_announcements
               (user_nid, stream_id, prev_id, device_id, signing_keys_hash, signing_keys_at)
             SELECT new.* FROM UNNEST($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::bytea[], $6::bigint[])
                 AS new (user_nid, stream_id, prev_id, device_id, signing_keys_hash, signing_keys_at)
             ON CONFLICT (user_nid) DO UPDATE
             SET stream_id = EXCLUDED.stream_id, prev_id = EXCLUDED.prev_id, device_id = EXCLUDED.device_id,
               signing_keys_hash = EXCLUDED.signing_keys_hash, signing_keys_at = EXCLUDED.signing_keys_at",
            &users,
            &ids,
            &prev as &[Option<i64>],
            &devices as &[&str],
            &hashes as &[Option<&[u8]>],
            &keys_at as &[Option<i64>]
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Notes what has been said of devices.
    pub async fn upsert_announced_devices(&mut self, devices: &[AnnouncedDevice]) -> Result<()> {
        let users: Vec<i64> = devices.iter().map(|device| device.user.0).collect();
        let ids: Vec<&str> = devices.iter().map(|device| device.device_id.as_str()).collect();
        let hashes: Vec<&[u8]> = devices.iter().map(|device| device.hash.as_slice()).collect();
        sqlx::query!(
            "INSERT INTO announced_devices (user_nid, device_id, hash)
             SELECT new.* FROM UNNEST($1::bigint[], $2::text[], $3::bytea[]) AS new (user_nid, device_id, hash)
             ON CONFLICT (user_nid, device_id) DO UPDATE SET hash = EXCLUDED.hash",
            &users,
            &ids as &[&str],
            &hashes as &[&[u8]]
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Notes that devices have been withdrawn.
    pub async fn delete_announced_devices(&mut self, devices: &[(UserNid, String)]) -> Result<()> {
        let users: Vec<i64> = devices.iter().map(|(user, _)| user.0).collect();
        let ids: Vec<&str> = devices.iter().map(|(_, device_id)| device_id.as_str()).collect();
        sqlx::query!(
            "DELETE FROM announced_devices d
             USING UNNEST($1::bigint[], $2::text[]) AS gone (user_nid, device_id)
             WHERE d.user_nid = gone.user_nid AND d.device_id = gone.device_id",
            &users,
            &ids as &[&str]
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }
}
