//! Events that are to be sent later.

use hs_model::ids::{DeviceNid, RoomNid, SlotNid, UserNid};
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId};

use crate::{
    Reader, Txn,
    error::{Result, StorageError},
};

/// A delayed event to be.
#[derive(Clone, Copy, Debug)]
pub struct NewDelayedEvent<'a> {
    /// Its id, which nobody can guess.
    pub delay_id: &'a str,
    /// Who sends it.
    pub user: UserNid,
    /// The device that schedules it.
    pub device: DeviceNid,
    /// The transaction id of the request.
    pub txn_id: Option<&'a str>,
    /// Where it is sent.
    pub room: RoomNid,
    /// Its type.
    pub event_type: &'a str,
    /// Its state key, and the slot that it would fill.
    pub state: Option<(&'a str, SlotNid)>,
    /// Its content.
    pub content: &'a str,
    /// For how long it is to be sticky.
    pub sticky_ms: Option<i64>,
    /// How long to wait, from `scheduled_at` on.
    pub delay_ms: i64,
    /// Now.
    pub scheduled_at: i64,
}

/// A delayed event.
#[derive(Clone, Debug)]
pub struct DelayedEvent {
    /// Its number.
    pub nid: i64,
    /// Its id.
    pub delay_id: String,
    /// Who sends it.
    pub user: UserNid,
    /// Their id.
    pub user_id: OwnedUserId,
    /// The device that scheduled it.
    pub device: DeviceNid,
    /// Where it is sent.
    pub room_id: OwnedRoomId,
    /// Its type.
    pub event_type: String,
    /// Its state key.
    pub state_key: Option<String>,
    /// Its content.
    pub content: String,
    /// For how long it is to be sticky.
    pub sticky_ms: Option<i64>,
    /// How long it waits, from `scheduled_at` on.
    pub delay_ms: i64,
    /// When it was scheduled or restarted.
    pub scheduled_at: i64,
    /// When it was sent, failed, or was cancelled.
    pub finalised_at: Option<i64>,
    /// The event it has become.
    pub event_id: Option<OwnedEventId>,
    /// Why it failed: the body of an error response.
    pub error: Option<String>,
}

/// How a delayed event ends.
#[derive(Clone, Copy, Debug)]
pub enum DelayedOutcome<'a> {
    /// It has become this event.
    Sent(&'a str),
    /// It could not be sent: the body of an error response.
    Failed(&'a str),
    /// Its sender does not want it any more.
    Cancelled,
}

/// How much a user has scheduled.
#[derive(Clone, Copy, Debug)]
pub struct Scheduled {
    /// How many events.
    pub count: i64,
    /// When the next of them is to be sent.
    pub next_at: Option<i64>,
}

impl Reader {
    /// Delayed events by number, in the order in which they are or were to be sent.
    pub async fn list_delayed_events(&mut self, nids: &[i64]) -> Result<Vec<DelayedEvent>> {
        let rows = sqlx::query!(
            "SELECT d.delayed_nid, d.delay_id, d.user_nid, u.user_id, d.device_nid, r.room_id, d.event_type, d.state_key,
               d.content, d.sticky_ms, d.delay_ms, d.scheduled_at, d.finalised_at, d.event_id, d.error
             FROM delayed_events d
             JOIN users u USING (user_nid)
             JOIN rooms r USING (room_nid)
             WHERE d.delayed_nid = ANY($1)
             ORDER BY d.send_at, d.delayed_nid",
            nids
        )
        .fetch_all(self.conn())
        .await?;
        rows.into_iter()
            .map(|row| {
                let wrong = |column| StorageError::Inconsistent {
                    table: "delayed_events",
                    column,
                    row: row.delayed_nid.to_string(),
                };
                Ok(DelayedEvent {
                    nid: row.delayed_nid,
                    user: UserNid(row.user_nid),
                    user_id: row.user_id.try_into().map_err(|_| wrong("user_nid"))?,
                    device: DeviceNid(row.device_nid),
                    room_id: row.room_id.try_into().map_err(|_| wrong("room_nid"))?,
                    event_type: row.event_type,
                    state_key: row.state_key,
                    content: row.content,
                    sticky_ms: row.sticky_ms,
                    delay_ms: row.delay_ms,
                    scheduled_at: row.scheduled_at,
                    finalised_at: row.finalised_at,
                    event_id: row
                        .event_id
                        .map(OwnedEventId::try_from)
                        .transpose()
                        .map_err(|_| wrong("event_id"))?,
                    error: row.error,
                    delay_id: row.delay_id,
                })
            })
            .collect()
    }

    /// A delayed event by number.
    pub async fn find_delayed_event(&mut self, nid: i64) -> Result<Option<DelayedEvent>> {
        Ok(self.list_delayed_events(&[nid]).await?.pop())
    }

    /// The number of a delayed event, and whose it is.
    pub async fn find_delayed_nid(&mut self, delay_id: &str) -> Result<Option<(i64, UserNid)>> {
        let row =
            sqlx::query!("SELECT delayed_nid, user_nid FROM delayed_events WHERE delay_id = $1", delay_id)
                .fetch_optional(self.conn())
                .await?;
        Ok(row.map(|row| (row.delayed_nid, UserNid(row.user_nid))))
    }

    /// What the same request has scheduled before.
    pub async fn find_delayed_by_transaction(
        &mut self,
        room: RoomNid,
        device: DeviceNid,
        txn_id: &str,
    ) -> Result<Option<String>> {
        let delay_id = sqlx::query_scalar!(
            "SELECT delay_id FROM delayed_events WHERE device_nid = $1 AND room_nid = $2 AND txn_id = $3",
            device.0,
            room.0,
            txn_id
        )
        .fetch_optional(self.conn())
        .await?;
        Ok(delay_id)
    }

    /// The numbers of a user's finalised events, the newest first.
    pub async fn list_finalised_nids(&mut self, user: UserNid, limit: i64) -> Result<Vec<i64>> {
        let nids = sqlx::query_scalar!(
            "SELECT delayed_nid FROM delayed_events
             WHERE user_nid = $1 AND finalised_at IS NOT NULL
             ORDER BY finalised_at DESC, delayed_nid DESC
             LIMIT $2",
            user.0,
            limit
        )
        .fetch_all(self.conn())
        .await?;
        Ok(nids)
    }

    /// What is to be sent by now, with the rooms, in the order of the times.
    pub async fn list_due_delayed(&mut self, now_ms: i64, limit: i64) -> Result<Vec<(i64, RoomNid)>> {
        let rows = sqlx::query!(
            "SELECT delayed_nid, room_nid FROM delayed_events
             WHERE finalised_at IS NULL AND send_at <= $1
             ORDER BY send_at, delayed_nid
             LIMIT $2",
            now_ms,
            limit
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows.into_iter().map(|row| (row.delayed_nid, RoomNid(row.room_nid))).collect())
    }

    /// When the next event is to be sent.
    pub async fn find_next_delayed(&mut self) -> Result<Option<i64>> {
        let at = sqlx::query_scalar!(
            "SELECT send_at FROM delayed_events WHERE finalised_at IS NULL ORDER BY send_at LIMIT 1"
        )
        .fetch_optional(self.conn())
        .await?;
        Ok(at)
    }
}

impl Txn {
    /// How much a user has scheduled. Nobody schedules for them until the end of the transaction.
    pub async fn lock_scheduled(&mut self, user: UserNid) -> Result<Scheduled> {
        sqlx::query!("SELECT user_nid FROM accounts WHERE user_nid = $1 FOR NO KEY UPDATE", user.0)
            .fetch_optional(self.conn())
            .await?;
        let row = sqlx::query!(
            r#"SELECT COUNT(*) AS "count!", MIN(send_at) AS next_at
               FROM delayed_events
               WHERE user_nid = $1 AND finalised_at IS NULL"#,
            user.0
        )
        .fetch_one(self.conn())
        .await?;
        Ok(Scheduled { count: row.count, next_at: row.next_at })
    }

    /// Schedules an event; `false` when its transaction has done so already.
    pub async fn insert_delayed_event(&mut self, new: &NewDelayedEvent<'_>) -> Result<bool> {
        let done = sqlx::query!(
            "INSERT INTO delayed_events (delay_id, user_nid, device_nid, room_nid, event_type, state_key, slot_nid, content,
               sticky_ms, txn_id, since_position, delay_ms, scheduled_at, send_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, (SELECT position FROM log_head), $11, $12,
               $11::bigint + $12::bigint)
             ON CONFLICT (device_nid, room_nid, txn_id) WHERE txn_id IS NOT NULL DO NOTHING",
            new.delay_id,
            new.user.0,
            new.device.0,
            new.room.0,
            new.event_type,
            new.state.map(|(key, _)| key),
            new.state.map(|(_, slot)| slot.0),
            new.content,
            new.sticky_ms,
            new.txn_id,
            new.delay_ms,
            new.scheduled_at
        )
        .execute(self.conn())
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Takes an event that is due, until the end of the transaction. `false` when somebody else has it, or it is not due
    /// any more.
    pub async fn take_due_delayed(&mut self, nid: i64, now_ms: i64) -> Result<bool> {
        let taken = sqlx::query_scalar!(
            "SELECT delayed_nid FROM delayed_events
             WHERE delayed_nid = $1 AND finalised_at IS NULL AND send_at <= $2
             FOR UPDATE SKIP LOCKED",
            nid,
            now_ms
        )
        .fetch_optional(self.conn())
        .await?;
        Ok(taken.is_some())
    }

    /// Takes an event, until the end of the transaction; waits for whoever is about to send it.
    pub async fn take_delayed(&mut self, nid: i64) -> Result<()> {
        sqlx::query!("SELECT delayed_nid FROM delayed_events WHERE delayed_nid = $1 FOR UPDATE", nid)
            .fetch_optional(self.conn())
            .await?;
        Ok(())
    }

    /// The numbers of a user's scheduled events; waits for those that are about to be sent.
    pub async fn list_scheduled_nids(&mut self, user: UserNid) -> Result<Vec<i64>> {
        let nids = sqlx::query_scalar!(
            "SELECT delayed_nid FROM delayed_events
             WHERE user_nid = $1 AND finalised_at IS NULL
             ORDER BY send_at, delayed_nid
             FOR SHARE",
            user.0
        )
        .fetch_all(self.conn())
        .await?;
        Ok(nids)
    }

    /// Ends scheduled state events, those of a user or a single one, whose state was set by somebody else meanwhile.
    pub async fn end_overwritten_delayed(
        &mut self,
        (user, nid): (Option<UserNid>, Option<i64>),
        error: &str,
        now_ms: i64,
    ) -> Result<()> {
        sqlx::query!(
            "UPDATE delayed_events d
             SET finalised_at = $3, error = $4
             FROM current_state c
             JOIN events e USING (event_nid)
             WHERE d.finalised_at IS NULL AND (d.user_nid = $1 OR d.delayed_nid = $2)
               AND c.room_nid = d.room_nid AND c.slot_nid = d.slot_nid
               AND e.sender_nid <> d.user_nid AND e.stream_position > d.since_position",
            user.map(i64::from),
            nid,
            now_ms,
            error
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Writes down how an event that was taken has ended.
    pub async fn finalise_delayed(
        &mut self,
        nid: i64,
        outcome: DelayedOutcome<'_>,
        now_ms: i64,
    ) -> Result<()> {
        let (event_id, error) = match outcome {
            DelayedOutcome::Sent(event_id) => (Some(event_id), None),
            DelayedOutcome::Failed(error) => (None, Some(error)),
            DelayedOutcome::Cancelled => (None, None),
        };
        sqlx::query!(
            "UPDATE delayed_events SET finalised_at = $2, event_id = $3, error = $4 WHERE delayed_nid = $1",
            nid,
            now_ms,
            event_id,
            error
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Lets the time of an event that was taken begin anew.
    pub async fn restart_delayed(&mut self, nid: i64, now_ms: i64) -> Result<()> {
        sqlx::query!(
            "UPDATE delayed_events SET scheduled_at = $2, send_at = $2 + delay_ms WHERE delayed_nid = $1",
            nid,
            now_ms
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Forgets finalised events that are older than `before`, and of each user those beyond the newest `kept`.
    pub async fn delete_finalised_delayed(&mut self, before: i64, kept: i64) -> Result<u64> {
        let done = sqlx::query!(
            "DELETE FROM delayed_events
             WHERE delayed_nid IN (
               SELECT delayed_nid FROM (
                 SELECT delayed_nid, finalised_at,
                   ROW_NUMBER() OVER (PARTITION BY user_nid ORDER BY finalised_at DESC, delayed_nid DESC) AS place
                 FROM delayed_events
                 WHERE finalised_at IS NOT NULL
               ) AS finalised
               WHERE finalised_at < $1 OR place > $2
             )",
            before,
            kept
        )
        .execute(self.conn())
        .await?;
        Ok(done.rows_affected())
    }
}
