//! One-time and fallback keys: what devices have left, and claiming it.

use std::collections::HashMap;

use hs_model::ids::{DeviceNid, UserNid};

use crate::{Reader, Txn, error::Result, log::LogKind};

/// A key of a device for one algorithm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneTimeKey {
    /// The algorithm, such as `signed_curve25519`.
    pub algorithm: String,
    /// Its id among the keys of the device for the algorithm.
    pub key_id: String,
    /// JSON: the key itself, or an object with it.
    pub key: String,
}

/// A key handed out.
#[derive(Clone, Debug)]
pub struct ClaimedKey {
    /// Whose.
    pub device: DeviceNid,
    /// The key.
    pub key: OneTimeKey,
}

/// A device to claim a key of.
#[derive(Clone, Debug)]
pub struct WantedKey {
    /// Whose device it is.
    pub user: UserNid,
    /// The device.
    pub device: DeviceNid,
    /// For which algorithm.
    pub algorithm: String,
}

/// A device found by its names.
#[derive(Clone, Debug)]
pub struct NamedDevice {
    /// Whose it is.
    pub user: UserNid,
    /// Their id.
    pub user_id: String,
    /// The device.
    pub device: DeviceNid,
    /// Its id.
    pub device_id: String,
}

impl Reader {
    /// How many one-time keys a device has left, by algorithm.
    pub async fn count_one_time_keys(&mut self, device: DeviceNid) -> Result<Vec<(String, i64)>> {
        let rows = sqlx::query!(
            r#"SELECT algorithm, COUNT(*) AS "count!"
             FROM one_time_keys
             WHERE device_nid = $1
             GROUP BY algorithm
             ORDER BY algorithm"#,
            device.0
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows.into_iter().map(|row| (row.algorithm, row.count)).collect())
    }

    /// The algorithms for which a device has a fallback key that was never handed out.
    pub async fn list_unused_fallback_types(&mut self, device: DeviceNid) -> Result<Vec<String>> {
        let types = sqlx::query_scalar!(
            "SELECT algorithm FROM fallback_keys WHERE device_nid = $1 AND NOT is_used ORDER BY algorithm",
            device.0
        )
        .fetch_all(self.conn())
        .await?;
        Ok(types)
    }

    /// Those of a device's one-time keys that have one of these algorithms and ids, pairwise.
    pub async fn list_one_time_keys(
        &mut self,
        device: DeviceNid,
        keys: &[OneTimeKey],
    ) -> Result<Vec<OneTimeKey>> {
        let algorithms: Vec<String> = keys.iter().map(|key| key.algorithm.clone()).collect();
        let ids: Vec<String> = keys.iter().map(|key| key.key_id.clone()).collect();
        let rows = sqlx::query_as!(
            OneTimeKey,
            "SELECT algorithm, key_id, key
             FROM one_time_keys
             JOIN UNNEST($2::text[], $3::text[]) AS wanted (algorithm, key_id) USING (algorithm, key_id)
             WHERE device_nid = $1",
            device.0,
            &algorithms,
            &ids
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows)
    }

    /// Those of the keys that the device had and that were handed out lately: algorithm and id.
    pub async fn list_claimed_keys(
        &mut self,
        device: DeviceNid,
        keys: &[OneTimeKey],
    ) -> Result<Vec<(String, String)>> {
        let algorithms: Vec<String> = keys.iter().map(|key| key.algorithm.clone()).collect();
        let ids: Vec<String> = keys.iter().map(|key| key.key_id.clone()).collect();
        let texts: Vec<String> = keys.iter().map(|key| key.key.clone()).collect();
        let rows = sqlx::query!(
            "SELECT c.algorithm, c.key_id
             FROM claimed_one_time_keys c
             JOIN UNNEST($2::text[], $3::text[], $4::text[]) AS wanted (algorithm, key_id, key)
               USING (algorithm, key_id)
             WHERE c.device_nid = $1 AND c.key_hash = sha256(convert_to(wanted.key, 'UTF8'))",
            device.0,
            &algorithms,
            &ids,
            &texts
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows.into_iter().map(|row| (row.algorithm, row.key_id)).collect())
    }

    /// The devices with these names, pairwise user id and device id.
    pub async fn list_named_devices(
        &mut self,
        user_ids: &[String],
        device_ids: &[String],
    ) -> Result<Vec<NamedDevice>> {
        let rows = sqlx::query!(
            "SELECT d.user_nid, u.user_id, d.device_nid, d.device_id
             FROM UNNEST($1::text[], $2::text[]) AS wanted (user_id, device_id)
             JOIN users u USING (user_id)
             JOIN devices d ON d.user_nid = u.user_nid AND d.device_id = wanted.device_id
             ORDER BY d.device_nid",
            user_ids,
            device_ids
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| NamedDevice {
                user: UserNid(row.user_nid),
                user_id: row.user_id,
                device: DeviceNid(row.device_nid),
                device_id: row.device_id,
            })
            .collect())
    }
}

impl Txn {
    /// Adds one-time keys, which must be new, in their order.
    pub async fn insert_one_time_keys(&mut self, device: DeviceNid, keys: &[OneTimeKey]) -> Result<()> {
        let algorithms: Vec<String> = keys.iter().map(|key| key.algorithm.clone()).collect();
        let ids: Vec<String> = keys.iter().map(|key| key.key_id.clone()).collect();
        let texts: Vec<String> = keys.iter().map(|key| key.key.clone()).collect();
        sqlx::query!(
            "INSERT INTO one_time_keys (device_nid, algorithm, key_id, key)
             SELECT $1, algorithm, key_id, key
             FROM UNNEST($2::text[], $3::text[], $4::text[]) WITH ORDINALITY AS new (algorithm, key_id, key, place)
             ORDER BY place",
            device.0,
            &algorithms,
            &ids,
            &texts
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Sets the fallback keys of their algorithms. One that is there already stays as used as it is.
    pub async fn upsert_fallback_keys(&mut self, device: DeviceNid, keys: &[OneTimeKey]) -> Result<()> {
        let algorithms: Vec<String> = keys.iter().map(|key| key.algorithm.clone()).collect();
        let ids: Vec<String> = keys.iter().map(|key| key.key_id.clone()).collect();
        let texts: Vec<String> = keys.iter().map(|key| key.key.clone()).collect();
        sqlx::query!(
            "INSERT INTO fallback_keys AS old (device_nid, algorithm, key_id, key)
             SELECT $1, new.*
             FROM UNNEST($2::text[], $3::text[], $4::text[]) AS new (algorithm, key_id, key)
             ON CONFLICT (device_nid, algorithm)
             DO UPDATE SET key_id = EXCLUDED.key_id, key = EXCLUDED.key, is_used = FALSE
             WHERE (old.key_id, old.key) <> (EXCLUDED.key_id, EXCLUDED.key)",
            device.0,
            &algorithms,
            &ids,
            &texts
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Forgets which keys were handed out before a time.
    pub async fn delete_old_claimed_keys(&mut self, before_ms: i64) -> Result<u64> {
        let done = sqlx::query!("DELETE FROM claimed_one_time_keys WHERE claimed_at < $1", before_ms)
            .execute(self.conn())
            .await?;
        Ok(done.rows_affected())
    }

    /// Deletes the one-time and fallback keys of a device.
    pub async fn delete_one_time_keys(&mut self, device: DeviceNid) -> Result<()> {
        sqlx::query!("DELETE FROM one_time_keys WHERE device_nid = $1", device.0)
            .execute(self.conn())
            .await?;
        sqlx::query!("DELETE FROM fallback_keys WHERE device_nid = $1", device.0)
            .execute(self.conn())
            .await?;
        Ok(())
    }

    /// Notes that what a device has left has changed. Takes a position: call it last.
    pub async fn log_one_time_keys(&mut self, user: UserNid, device: DeviceNid) -> Result<()> {
        self.log_all(LogKind::OneTimeKeys, &[(user, Some(device.0))]).await?;
        Ok(())
    }

    /// Hands out a key for each wish: the oldest one-time key, or else the fallback key; nothing where there is neither. No
    /// one-time key is ever handed out twice. Takes positions: call it last.
    pub async fn claim_one_time_keys(
        &mut self,
        wanted: &[WantedKey],
        now_ms: i64,
    ) -> Result<Vec<ClaimedKey>> {
        let mut claimed = self.take_one_time_keys(wanted, now_ms).await?;
        let mut changed: Vec<DeviceNid> = claimed.iter().map(|claim| claim.device).collect();
        let missing: Vec<&WantedKey> = wanted
            .iter()
            .filter(|wish| {
                !claimed
                    .iter()
                    .any(|claim| claim.device == wish.device && claim.key.algorithm == wish.algorithm)
            })
            .collect();
        if !missing.is_empty() {
            let (fallback, newly_used) = self.use_fallback_keys(&missing).await?;
            claimed.extend(fallback);
            changed.extend(newly_used);
        }
        changed.sort_unstable();
        changed.dedup();
        let owners: HashMap<DeviceNid, UserNid> =
            wanted.iter().map(|wish| (wish.device, wish.user)).collect();
        let changed: Vec<(UserNid, Option<i64>)> =
            changed.into_iter().filter_map(|device| Some((*owners.get(&device)?, Some(device.0)))).collect();
        if !changed.is_empty() {
            self.log_all(LogKind::OneTimeKeys, &changed).await?;
        }
        Ok(claimed)
    }

    async fn take_one_time_keys(&mut self, wanted: &[WantedKey], now_ms: i64) -> Result<Vec<ClaimedKey>> {
        let devices: Vec<i64> = wanted.iter().map(|wish| wish.device.0).collect();
        let algorithms: Vec<String> = wanted.iter().map(|wish| wish.algorithm.clone()).collect();
        // A key that another claim has locked is as good as gone: take the next instead of waiting.
        let rows = sqlx::query!(
            "WITH picked AS (
                 SELECT oldest.device_nid, oldest.algorithm, oldest.key_id
                 FROM UNNEST($1::bigint[], $2::text[]) AS wanted (device_nid, algorithm)
                 CROSS JOIN LATERAL (
                     SELECT device_nid, algorithm, key_id
                     FROM one_time_keys k
                     WHERE k.device_nid = wanted.device_nid AND k.algorithm = wanted.algorithm
                     ORDER BY ordinal
                     LIMIT 1
                     FOR UPDATE SKIP LOCKED
                 ) AS oldest
             ), taken AS (
                 DELETE FROM one_time_keys k
                 USING picked p
                 WHERE k.device_nid = p.device_nid AND k.algorithm = p.algorithm AND k.key_id = p.key_id
                 RETURNING k.device_nid, k.algorithm, k.key_id, k.key
             ), remembered AS (
                 INSERT INTO claimed_one_time_keys (device_nid, algorithm, key_id, key_hash, claimed_at)
                 SELECT device_nid, algorithm, key_id, sha256(convert_to(key, 'UTF8')), $3
                 FROM taken
                 ON CONFLICT (device_nid, algorithm, key_id)
                 DO UPDATE SET key_hash = EXCLUDED.key_hash, claimed_at = EXCLUDED.claimed_at
             )
             SELECT device_nid, algorithm, key_id, key FROM taken",
            &devices,
            &algorithms,
            now_ms
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| ClaimedKey {
                device: DeviceNid(row.device_nid),
                key: OneTimeKey { algorithm: row.algorithm, key_id: row.key_id, key: row.key },
            })
            .collect())
    }

    /// The fallback keys, and the devices that had one that was never used before.
    async fn use_fallback_keys(
        &mut self,
        wanted: &[&WantedKey],
    ) -> Result<(Vec<ClaimedKey>, Vec<DeviceNid>)> {
        let devices: Vec<i64> = wanted.iter().map(|wish| wish.device.0).collect();
        let algorithms: Vec<String> = wanted.iter().map(|wish| wish.algorithm.clone()).collect();
        let rows = sqlx::query!(
            r#"WITH found AS (
                 SELECT k.device_nid, k.algorithm, k.key_id, k.key, k.is_used
                 FROM UNNEST($1::bigint[], $2::text[]) AS wanted (device_nid, algorithm)
                 JOIN fallback_keys k USING (device_nid, algorithm)
                 ORDER BY k.device_nid, k.algorithm
                 FOR UPDATE OF k
             ), marked AS (
                 UPDATE fallback_keys k SET is_used = TRUE
                 FROM found
                 WHERE k.device_nid = found.device_nid AND k.algorithm = found.algorithm AND NOT k.is_used
             )
             SELECT device_nid AS "device_nid!", algorithm AS "algorithm!", key_id AS "key_id!", key AS "key!",
               is_used AS "is_used!"
             FROM found"#,
            &devices,
            &algorithms
        )
        .fetch_all(self.conn())
        .await?;
        let newly_used =
            rows.iter().filter(|row| !row.is_used).map(|row| DeviceNid(row.device_nid)).collect();
        let keys = rows
            .into_iter()
            .map(|row| ClaimedKey {
                device: DeviceNid(row.device_nid),
                key: OneTimeKey { algorithm: row.algorithm, key_id: row.key_id, key: row.key },
            })
            .collect();
        Ok((keys, newly_used))
    }
}
