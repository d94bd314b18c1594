//! The devices of users of other servers: what was heard of them, and whether it still holds.

use hs_model::{ids::UserNid, membership::Membership, stream::Position};
use ruma::OwnedUserId;

use crate::{
    Reader, Txn,
    device_keys::DeviceKeysRow,
    error::{Result, StorageError},
    log::LogKind,
};

/// What is known of a user of another server.
#[derive(Clone, Debug)]
pub struct RemoteUserRow {
    /// The user.
    pub user: UserNid,
    /// Their id.
    pub user_id: String,
    /// Whether they share a room with the one who asks.
    pub is_neighbour: bool,
    /// Whether the stored list is what their server has.
    pub is_current: bool,
}

/// Where a stored list stands.
#[derive(Clone, Copy, Debug)]
pub struct RemoteListRow {
    /// Whose it is.
    pub user: UserNid,
    /// The newest change that it holds.
    pub stream_id: Option<i64>,
    /// Whether it was fetched and nothing has been missed since.
    pub is_fetched: bool,
    /// Counts what was heard of it.
    pub version: i64,
}

/// A device of a user of another server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteDevice {
    /// Whose.
    pub user: UserNid,
    /// Its id.
    pub device_id: String,
    /// What its user calls it.
    pub display_name: Option<String>,
    /// Canonical JSON.
    pub keys: String,
}

/// A list to be fetched again.
#[derive(Clone, Debug)]
pub struct DueResync {
    /// Whose.
    pub user: UserNid,
    /// Their id.
    pub user_id: OwnedUserId,
    /// How often it has failed.
    pub failures: i32,
}

impl Reader {
    /// What is known of users of other servers, for a user who asks. Those of whom nothing is known are missing.
    pub async fn list_remote_users(
        &mut self,
        asker: UserNid,
        user_ids: &[String],
    ) -> Result<Vec<RemoteUserRow>> {
        // The list holds when a room has been shared since it was fetched: with the asker, or else with anybody here.
        let rows = sqlx::query!(
            r#"SELECT u.user_nid, u.user_id,
                 EXISTS (
                   SELECT FROM memberships own JOIN memberships other USING (room_nid)
                   WHERE own.user_nid = $1 AND own.membership = $3
                     AND other.user_nid = u.user_nid AND other.membership = $3
                 ) AS "is_neighbour!",
                 CASE
                   WHEN r.fetched_at IS NULL THEN FALSE
                   WHEN EXISTS (
                     SELECT FROM memberships own JOIN memberships other USING (room_nid)
                     WHERE own.user_nid = $1 AND own.membership = $3
                       AND COALESCE(own.since_position, own.stream_position) <= r.fetched_at
                       AND other.user_nid = u.user_nid AND other.membership = $3
                       AND COALESCE(other.since_position, other.stream_position) <= r.fetched_at
                   ) THEN TRUE
                   ELSE EXISTS (
                     SELECT
                     FROM memberships own
                     JOIN memberships other USING (room_nid)
                     JOIN memberships local USING (room_nid)
                     JOIN accounts a ON a.user_nid = local.user_nid
                     WHERE own.user_nid = $1 AND own.membership = $3
                       AND other.user_nid = u.user_nid AND other.membership = $3
                       AND COALESCE(other.since_position, other.stream_position) <= r.fetched_at
                       AND local.membership = $3
                       AND COALESCE(local.since_position, local.stream_position) <= r.fetched_at
                   )
                 END AS "is_current!"
               FROM users u
               LEFT JOIN remote_device_lists r USING (user_nid)
               WHERE u.user_id = ANY($2)
               ORDER BY u.user_nid"#,
            asker.0,
            user_ids,
            Membership::Join.code()
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| RemoteUserRow {
                user: UserNid(row.user_nid),
                user_id: row.user_id,
                is_neighbour: row.is_neighbour,
                is_current: row.is_current,
            })
            .collect())
    }

    /// The devices of users of other servers, as far as they are stored.
    pub async fn list_remote_device_keys(&mut self, user_ids: &[String]) -> Result<Vec<DeviceKeysRow>> {
        let rows = sqlx::query!(
            "SELECT u.user_id, d.device_id, d.display_name, d.keys
             FROM users u JOIN remote_devices d USING (user_nid)
             WHERE u.user_id = ANY($1)
             ORDER BY u.user_id, d.device_id",
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
                signatures: Vec::new(),
            })
            .collect())
    }

    /// The stored devices of users of other servers.
    pub async fn list_remote_devices(&mut self, users: &[UserNid]) -> Result<Vec<RemoteDevice>> {
        let users: Vec<i64> = users.iter().map(|user| user.0).collect();
        let rows = sqlx::query!(
            "SELECT user_nid, device_id, display_name, keys FROM remote_devices
             WHERE user_nid = ANY($1)
             ORDER BY user_nid, device_id",
            &users
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| RemoteDevice {
                user: UserNid(row.user_nid),
                device_id: row.device_id,
                display_name: row.display_name,
                keys: row.keys,
            })
            .collect())
    }

    /// Those of the users who are in some room that this server knows.
    pub async fn list_joined_somewhere(&mut self, user_ids: &[String]) -> Result<Vec<(String, UserNid)>> {
        let rows = sqlx::query!(
            "SELECT u.user_id, u.user_nid
             FROM users u
             WHERE u.user_id = ANY($1)
               AND EXISTS (SELECT FROM memberships m WHERE m.user_nid = u.user_nid AND m.membership = $2)
             ORDER BY u.user_nid",
            user_ids,
            Membership::Join.code()
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows.into_iter().map(|row| (row.user_id, UserNid(row.user_nid))).collect())
    }

    /// When the devices or keys of a user last changed; the start of the log when they never did.
    pub async fn find_device_list_change(&mut self, user: UserNid) -> Result<Position> {
        let position =
            sqlx::query_scalar!("SELECT position FROM device_list_changes WHERE user_nid = $1", user.0)
                .fetch_optional(self.conn())
                .await?;
        Ok(position.map(Position).unwrap_or_default())
    }

    /// When the next list is to be fetched again, in milliseconds.
    pub async fn find_next_resync(&mut self) -> Result<Option<i64>> {
        let next = sqlx::query_scalar!(
            "SELECT resync_at FROM remote_device_lists WHERE resync_at IS NOT NULL ORDER BY resync_at LIMIT 1"
        )
        .fetch_optional(self.conn())
        .await?;
        Ok(next.flatten())
    }
}

impl Txn {
    /// Makes the rows of lists that are about to be fetched, and says where each stands.
    pub async fn open_remote_lists(&mut self, users: &[(UserNid, &str)]) -> Result<Vec<RemoteListRow>> {
        let nids: Vec<i64> = users.iter().map(|(user, _)| user.0).collect();
        let servers: Vec<&str> = users.iter().map(|(_, server)| *server).collect();
        sqlx::query!(
            "INSERT INTO remote_device_lists (user_nid, server_name)
             SELECT * FROM UNNEST($1::bigint[], $2::text[]) AS new (user_nid, server_name)
             ORDER BY 1
             ON CONFLICT (user_nid) DO NOTHING",
            &nids,
            &servers as &[&str]
        )
        .execute(self.conn())
        .await?;
        let users: Vec<UserNid> = users.iter().map(|(user, _)| *user).collect();
        self.lock_remote_lists(&users).await
    }

    /// Where lists stand that are stored at all. They do not change until the end of the transaction.
    pub async fn lock_remote_lists(&mut self, users: &[UserNid]) -> Result<Vec<RemoteListRow>> {
        let users: Vec<i64> = users.iter().map(|user| user.0).collect();
        let rows = sqlx::query!(
            r#"SELECT user_nid, stream_id, fetched_at IS NOT NULL AS "is_fetched!", version
               FROM remote_device_lists
               WHERE user_nid = ANY($1)
               ORDER BY user_nid
               FOR UPDATE"#,
            &users
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| RemoteListRow {
                user: UserNid(row.user_nid),
                stream_id: row.stream_id,
                is_fetched: row.is_fetched,
                version: row.version,
            })
            .collect())
    }

    /// Notes that lists, which must be locked, were fetched when the log stood at a position: up to which change of their
    /// server, where that is known.
    pub async fn set_remote_lists_fetched(
        &mut self,
        lists: &[(UserNid, Option<i64>)],
        position: Position,
    ) -> Result<()> {
        let (users, streams): (Vec<i64>, Vec<Option<i64>>) =
            lists.iter().map(|(user, stream_id)| (user.0, *stream_id)).unzip();
        sqlx::query!(
            "UPDATE remote_device_lists r
             SET stream_id = new.stream_id, fetched_at = $3, version = r.version + 1, resync_at = NULL, failures = 0
             FROM UNNEST($1::bigint[], $2::bigint[]) AS new (user_nid, stream_id)
             WHERE r.user_nid = new.user_nid",
            &users,
            &streams as &[Option<i64>],
            position.0
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Notes that a list, which must be locked, holds a further change of its server.
    pub async fn set_remote_list_stream(&mut self, user: UserNid, stream_id: Option<i64>) -> Result<()> {
        sqlx::query!(
            "UPDATE remote_device_lists SET stream_id = $2, version = version + 1 WHERE user_nid = $1",
            user.0,
            stream_id
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Notes that lists, which must be locked, do not hold any longer and are to be fetched again at once.
    pub async fn set_remote_lists_outdated(&mut self, users: &[UserNid], now_ms: i64) -> Result<()> {
        let users: Vec<i64> = users.iter().map(|user| user.0).collect();
        sqlx::query!(
            "UPDATE remote_device_lists
             SET fetched_at = NULL, version = version + 1, resync_at = $2, failures = 0
             WHERE user_nid = ANY($1)",
            &users,
            now_ms
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Replaces the devices of users, whose lists must be locked.
    pub async fn replace_remote_devices(
        &mut self,
        users: &[UserNid],
        devices: &[RemoteDevice],
    ) -> Result<()> {
        let users: Vec<i64> = users.iter().map(|user| user.0).collect();
        sqlx::query!("DELETE FROM remote_devices WHERE user_nid = ANY($1)", &users)
            .execute(self.conn())
            .await?;
        self.upsert_remote_devices(devices).await
    }

    /// Adds devices of users, whose lists must be locked, or changes them.
    pub async fn upsert_remote_devices(&mut self, devices: &[RemoteDevice]) -> Result<()> {
        let users: Vec<i64> = devices.iter().map(|device| device.user.0).collect();
        let ids: Vec<&str> = devices.iter().map(|device| device.device_id.as_str()).collect();
        let names: Vec<Option<&str>> = devices.iter().map(|device| device.display_name.as_deref()).collect();
        let keys: Vec<&str> = devices.iter().map(|device| device.keys.as_str()).collect();
        sqlx::query!(
            "INSERT INTO remote_devices (user_nid, device_id, display_name, keys)
             SELECT * FROM UNNEST($1::bigint[], $2::text[], $3::text[], $4::text[])
             ON CONFLICT (user_nid, device_id)
             DO UPDATE SET display_name = EXCLUDED.display_name, keys = EXCLUDED.keys",
            &users,
            &ids as &[&str],
            &names as &[Option<&str>],
            &keys as &[&str]
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Deletes a device of a user, whose list must be locked.
    pub async fn delete_remote_device(&mut self, user: UserNid, device_id: &str) -> Result<()> {
        sqlx::query!("DELETE FROM remote_devices WHERE user_nid = $1 AND device_id = $2", user.0, device_id)
            .execute(self.conn())
            .await?;
        Ok(())
    }

    /// How many devices of a user are stored.
    pub async fn count_remote_devices(&mut self, user: UserNid) -> Result<i64> {
        let count = sqlx::query_scalar!(
            r#"SELECT COUNT(*) AS "count!" FROM remote_devices WHERE user_nid = $1"#,
            user.0
        )
        .fetch_one(self.conn())
        .await?;
        Ok(count)
    }

    /// Takes lists that are to be fetched again by now, at most `limit`. Nobody else gets them before `until`.
    pub async fn claim_resyncs(&mut self, now_ms: i64, until_ms: i64, limit: i64) -> Result<Vec<DueResync>> {
        let rows = sqlx::query!(
            "WITH due AS (
                 SELECT user_nid FROM remote_device_lists
                 WHERE resync_at <= $1
                 ORDER BY resync_at
                 LIMIT $3
                 FOR UPDATE SKIP LOCKED
             )
             UPDATE remote_device_lists r
             SET resync_at = $2
             FROM due JOIN users u USING (user_nid)
             WHERE r.user_nid = due.user_nid
             RETURNING r.user_nid, u.user_id, r.failures",
            now_ms,
            until_ms,
            limit
        )
        .fetch_all(self.conn())
        .await?;
        rows.into_iter()
            .map(|row| {
                let user_id = row.user_id.try_into().map_err(|_| StorageError::Inconsistent {
                    table: "users",
                    column: "user_id",
                    row: row.user_nid.to_string(),
                })?;
                Ok(DueResync { user: UserNid(row.user_nid), user_id, failures: row.failures })
            })
            .collect()
    }

    /// Notes that a list could not be fetched: when to try again, or never.
    pub async fn defer_resync(&mut self, user: UserNid, until_ms: Option<i64>) -> Result<()> {
        sqlx::query!(
            "UPDATE remote_device_lists SET resync_at = $2, failures = failures + 1
             WHERE user_nid = $1 AND resync_at IS NOT NULL",
            user.0,
            until_ms
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Puts off fetching all lists of a server, which does not answer.
    pub async fn defer_resyncs_of_server(&mut self, server_name: &str, until_ms: i64) -> Result<()> {
        sqlx::query!(
            "UPDATE remote_device_lists SET resync_at = $2
             WHERE server_name = $1 AND resync_at < $2",
            server_name,
            until_ms
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Deletes the lists of users who are in no room that this server knows. Returns how many went.
    pub async fn delete_remote_lists_of_strangers(&mut self) -> Result<u64> {
        let done = sqlx::query!(
            "WITH gone AS (
                 DELETE FROM remote_device_lists r
                 WHERE NOT EXISTS (
                     SELECT FROM memberships m WHERE m.user_nid = r.user_nid AND m.membership = $1
                 )
                 RETURNING r.user_nid
             )
             DELETE FROM cross_signing_keys k USING gone WHERE k.user_nid = gone.user_nid",
            Membership::Join.code()
        )
        .execute(self.conn())
        .await?;
        Ok(done.rows_affected())
    }

    /// Notes that the devices or keys of users have changed. Takes positions: call it last.
    pub async fn log_device_lists(&mut self, users: &[UserNid]) -> Result<()> {
        if users.is_empty() {
            return Ok(());
        }
        let entries: Vec<(UserNid, Option<i64>)> = users.iter().map(|user| (*user, None)).collect();
        self.log_all(LogKind::DeviceList, &entries).await?;
        Ok(())
    }

    /// Notes messages that another server delivers. Returns those that it had not delivered before.
    pub async fn insert_received_to_device(
        &mut self,
        origin: &str,
        message_ids: &[&str],
        now_ms: i64,
    ) -> Result<Vec<String>> {
        let new = sqlx::query_scalar!(
            "INSERT INTO received_to_device (origin, message_id, received_at)
             SELECT $1, message_id, $3 FROM UNNEST($2::text[]) AS new (message_id)
             ORDER BY message_id
             ON CONFLICT DO NOTHING
             RETURNING message_id",
            origin,
            message_ids as &[&str],
            now_ms
        )
        .fetch_all(self.conn())
        .await?;
        Ok(new)
    }

    /// Forgets messages that were delivered before a time.
    pub async fn delete_old_received_to_device(&mut self, before_ms: i64) -> Result<u64> {
        let done = sqlx::query!("DELETE FROM received_to_device WHERE received_at < $1", before_ms)
            .execute(self.conn())
            .await?;
        Ok(done.rows_affected())
    }
}
