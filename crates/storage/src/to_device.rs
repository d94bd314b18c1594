//! Messages from device to device.

use std::collections::{BTreeMap, BTreeSet};

use hs_model::{
    ids::{DeviceNid, UserNid},
    stream::Position,
};

use crate::{Reader, Txn, error::Result, log::LogKind};

/// A message waiting for a device.
#[derive(Clone, Debug)]
pub struct ToDeviceRow {
    /// Where it stands in the log.
    pub position: Position,
    /// Who sent it.
    pub sender: String,
    /// Its type.
    pub event_type: String,
    /// JSON object, as sent.
    pub content: String,
}

/// A message to be delivered.
#[derive(Clone, Debug)]
pub struct NewToDeviceMessage<'a> {
    /// Whose device it is for.
    pub user: UserNid,
    /// The device.
    pub device: DeviceNid,
    /// JSON object.
    pub content: &'a str,
}

/// What all messages of a request have in common.
#[derive(Clone, Copy, Debug)]
pub struct ToDeviceOrigin<'a> {
    /// Who sends them.
    pub sender: UserNid,
    /// Their type.
    pub event_type: &'a str,
    /// Now, in milliseconds.
    pub now_ms: i64,
}

/// A request to send messages.
#[derive(Clone, Copy, Debug)]
pub struct ToDeviceTransaction<'a> {
    /// The device that sends.
    pub device: DeviceNid,
    /// What the request is recognised by.
    pub hash: &'a [u8; 32],
    /// Now, in milliseconds.
    pub now_ms: i64,
}

impl Reader {
    /// The messages for a device after a position and up to another, in order, at most `limit`.
    pub async fn list_to_device(
        &mut self,
        device: DeviceNid,
        after: Position,
        up_to: Position,
        limit: i64,
    ) -> Result<Vec<ToDeviceRow>> {
        let rows = sqlx::query!(
            "SELECT m.position, u.user_id AS sender, m.event_type, m.content
             FROM to_device_messages m JOIN users u ON u.user_nid = m.sender_nid
             WHERE m.device_nid = $1 AND m.position > $2 AND m.position <= $3
             ORDER BY m.position
             LIMIT $4",
            device.0,
            after.0,
            up_to.0,
            limit
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| ToDeviceRow {
                position: Position(row.position),
                sender: row.sender,
                event_type: row.event_type,
                content: row.content,
            })
            .collect())
    }
}

impl Txn {
    /// The devices that users (by id) have. None of them can be deleted before the end of the transaction.
    ///
    /// To be called before positions are taken: who deletes a device takes a position after locking it.
    pub async fn lock_devices_of_users(
        &mut self,
        user_ids: &[String],
    ) -> Result<Vec<crate::one_time_keys::NamedDevice>> {
        let rows = sqlx::query!(
            "SELECT d.user_nid, u.user_id, d.device_nid, d.device_id
             FROM users u JOIN devices d USING (user_nid)
             WHERE u.user_id = ANY($1)
             ORDER BY d.device_nid
             FOR KEY SHARE OF d",
            user_ids
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| crate::one_time_keys::NamedDevice {
                user: UserNid(row.user_nid),
                user_id: row.user_id,
                device: DeviceNid(row.device_nid),
                device_id: row.device_id,
            })
            .collect())
    }

    /// Notes that a request is carried out with this transaction. `false` when it was before.
    pub async fn insert_to_device_transaction(
        &mut self,
        transaction: &ToDeviceTransaction<'_>,
    ) -> Result<bool> {
        let done = sqlx::query!(
            "INSERT INTO to_device_transactions (device_nid, transaction_hash, received_at)
             SELECT device_nid, $2, $3 FROM devices WHERE device_nid = $1
             ON CONFLICT DO NOTHING",
            transaction.device.0,
            transaction.hash.as_slice(),
            transaction.now_ms
        )
        .execute(self.conn())
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Puts messages into the inboxes of devices, at most one for each, which must be locked. Takes positions: call it last.
    pub async fn insert_to_device(
        &mut self,
        origin: ToDeviceOrigin<'_>,
        messages: &[NewToDeviceMessage<'_>],
    ) -> Result<()> {
        let mut by_user: BTreeMap<UserNid, BTreeSet<DeviceNid>> = BTreeMap::new();
        for message in messages {
            by_user.entry(message.user).or_default().insert(message.device);
        }
        if by_user.is_empty() {
            return Ok(());
        }
        let entries: Vec<(UserNid, Option<i64>)> = by_user
            .iter()
            .map(|(user, devices)| {
                let only = if devices.len() == 1 { devices.first().map(|device| device.0) } else { None };
                (*user, only)
            })
            .collect();
        let first = self.log_all(LogKind::ToDevice, &entries).await?;
        let positions: BTreeMap<UserNid, i64> =
            by_user.keys().zip(first.0..).map(|(user, position)| (*user, position)).collect();
        let devices: Vec<i64> = messages.iter().map(|message| message.device.0).collect();
        let places: Vec<i64> =
            messages.iter().filter_map(|message| positions.get(&message.user).copied()).collect();
        let contents: Vec<&str> = messages.iter().map(|message| message.content).collect();
        sqlx::query!(
            "INSERT INTO to_device_messages (device_nid, position, sender_nid, event_type, content, received_at)
             SELECT d.device_nid, new.position, $4, $5, new.content, $6
             FROM UNNEST($1::bigint[], $2::bigint[], $3::text[]) AS new (device_nid, position, content)
             JOIN devices d USING (device_nid)
             ORDER BY d.device_nid
             ON CONFLICT DO NOTHING",
            &devices,
            &places,
            &contents as &[&str],
            origin.sender.0,
            origin.event_type,
            origin.now_ms
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Deletes the oldest messages of devices, so that each keeps at most `keep`. Returns how many went.
    pub async fn trim_to_device(&mut self, devices: &[DeviceNid], keep: i64) -> Result<u64> {
        let devices: Vec<i64> = devices.iter().map(|device| device.0).collect();
        let done = sqlx::query!(
            "DELETE FROM to_device_messages m
             USING (
                 SELECT full_box.device_nid, last_kept.position
                 FROM UNNEST($1::bigint[]) AS full_box (device_nid)
                 CROSS JOIN LATERAL (
                     SELECT position FROM to_device_messages inner_m
                     WHERE inner_m.device_nid = full_box.device_nid
                     ORDER BY position DESC
                     OFFSET $2
                     LIMIT 1
                 ) AS last_kept
             ) AS surplus
             WHERE m.device_nid = surplus.device_nid AND m.position <= surplus.position",
            &devices,
            keep
        )
        .execute(self.conn())
        .await?;
        Ok(done.rows_affected())
    }

    /// Deletes messages that have waited since before a time, except those for dehydrated devices, which wait for their user.
    /// Returns how many went.
    pub async fn delete_old_to_device(&mut self, before_ms: i64) -> Result<u64> {
        let done = sqlx::query!(
            "DELETE FROM to_device_messages m
             WHERE m.received_at < $1
               AND NOT EXISTS (SELECT FROM dehydrated_devices d WHERE d.device_nid = m.device_nid)",
            before_ms
        )
        .execute(self.conn())
        .await?;
        Ok(done.rows_affected())
    }

    /// Forgets requests of before a time.
    pub async fn delete_old_to_device_transactions(&mut self, before_ms: i64) -> Result<u64> {
        let done = sqlx::query!("DELETE FROM to_device_transactions WHERE received_at < $1", before_ms)
            .execute(self.conn())
            .await?;
        Ok(done.rows_affected())
    }
}

impl crate::Store {
    /// Deletes the messages for a device up to a position, which it has confirmed.
    pub async fn delete_to_device(&self, device: DeviceNid, up_to: Position) -> Result<()> {
        sqlx::query!(
            "DELETE FROM to_device_messages WHERE device_nid = $1 AND position <= $2",
            device.0,
            up_to.0
        )
        .execute(self.pool())
        .await?;
        Ok(())
    }
}
