//! Pushers, and what waits to be sent through them.

use hs_model::{
    ids::{DeviceNid, EventNid, RoomNid, UserNid},
    notices::Attention,
    stream::Position,
};

use crate::{Reader, Txn, error::Result};

/// A pusher as a client sets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPusher {
    /// The application.
    pub app_id: String,
    /// Where its gateway finds the device.
    pub pushkey: String,
    /// `http` or `email`.
    pub kind: String,
    /// The application's name for people.
    pub app_display_name: String,
    /// The device's name for people.
    pub device_display_name: String,
    /// Which rules it follows; kept for the client.
    pub profile_tag: Option<String>,
    /// The language of notifications.
    pub lang: String,
    /// JSON object: what the gateway is told, and its URL.
    pub data: String,
}

/// A stored pusher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PusherRow {
    /// Its number.
    pub nid: i64,
    /// Whose.
    pub user: UserNid,
    /// What was set.
    pub pusher: NewPusher,
    /// When it was set, in milliseconds.
    pub created_at: i64,
    /// How often sending has failed in a row.
    pub failures: i32,
    /// The count of unread messages that was sent last.
    pub badge: Option<i64>,
}

/// An event that may have to be sent through a pusher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushCandidate {
    /// The pusher.
    pub pusher: i64,
    /// Whose.
    pub user: UserNid,
    /// The event.
    pub event: EventNid,
    /// Its room.
    pub room: RoomNid,
    /// The room's id.
    pub room_id: String,
    /// Where it stands.
    pub position: Position,
    /// How much attention it asks for.
    pub attention: Attention,
    /// The tweaks, where the attention cannot say them.
    pub tweaks: Option<String>,
    /// Whether this was decided for this user rather than for everybody.
    pub is_individual: bool,
}

/// What waits to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedPush {
    /// The event.
    pub event: EventNid,
    /// Its room.
    pub room: RoomNid,
    /// Where it stands.
    pub position: Position,
    /// How much attention it asks for.
    pub attention: Attention,
    /// The tweaks, where the attention cannot say them.
    pub tweaks: Option<String>,
    /// Since when it waits, in milliseconds.
    pub queued_at: i64,
}

struct Row {
    pusher_nid: i64,
    user_nid: i64,
    app_id: String,
    pushkey: String,
    kind: String,
    app_display_name: String,
    device_display_name: String,
    profile_tag: Option<String>,
    lang: String,
    data: String,
    created_at: i64,
    failures: i32,
    badge: Option<i64>,
}

impl From<Row> for PusherRow {
    fn from(row: Row) -> Self {
        Self {
            nid: row.pusher_nid,
            user: UserNid(row.user_nid),
            pusher: NewPusher {
                app_id: row.app_id,
                pushkey: row.pushkey,
                kind: row.kind,
                app_display_name: row.app_display_name,
                device_display_name: row.device_display_name,
                profile_tag: row.profile_tag,
                lang: row.lang,
                data: row.data,
            },
            created_at: row.created_at,
            failures: row.failures,
            badge: row.badge,
        }
    }
}

impl Reader {
    /// A user's pushers.
    pub async fn list_pushers(&mut self, user: UserNid) -> Result<Vec<PusherRow>> {
        let rows = sqlx::query_as!(
            Row,
            "SELECT pusher_nid, user_nid, app_id, pushkey, kind, app_display_name, device_display_name, profile_tag,
               lang, data, created_at, failures, badge
             FROM pushers
             WHERE user_nid = $1
             ORDER BY pusher_nid",
            user.0
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows.into_iter().map(PusherRow::from).collect())
    }

    /// Pushers with something to send at a time.
    pub async fn list_due_pushers(&mut self, now: i64, limit: i64) -> Result<Vec<PusherRow>> {
        let rows = sqlx::query_as!(
            Row,
            "SELECT pusher_nid, user_nid, app_id, pushkey, kind, app_display_name, device_display_name, profile_tag,
               lang, data, created_at, failures, badge
             FROM pushers p
             WHERE p.retry_at <= $1 AND p.pusher_nid IN (SELECT pusher_nid FROM push_queue)
             ORDER BY p.retry_at, p.pusher_nid
             LIMIT $2",
            now,
            limit
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows.into_iter().map(PusherRow::from).collect())
    }

    /// The pushers of users who were told another count last than none.
    pub async fn list_pushers_with_badge(&mut self, users: &[UserNid]) -> Result<Vec<PusherRow>> {
        let users: Vec<i64> = users.iter().map(|user| user.0).collect();
        let rows = sqlx::query_as!(
            Row,
            "SELECT pusher_nid, user_nid, app_id, pushkey, kind, app_display_name, device_display_name, profile_tag,
               lang, data, created_at, failures, badge
             FROM pushers
             WHERE user_nid = ANY($1) AND kind = 'http' AND badge > 0 AND failures = 0
             ORDER BY pusher_nid",
            &users
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows.into_iter().map(PusherRow::from).collect())
    }

    /// What waits to be sent through a pusher, oldest first.
    pub async fn list_queued_pushes(&mut self, pusher: i64, limit: i64) -> Result<Vec<QueuedPush>> {
        let rows = sqlx::query!(
            "SELECT event_nid, room_nid, stream_position, attention, tweaks, queued_at
             FROM push_queue
             WHERE pusher_nid = $1
             ORDER BY stream_position
             LIMIT $2",
            pusher,
            limit
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| QueuedPush {
                event: EventNid(row.event_nid),
                room: RoomNid(row.room_nid),
                position: Position(row.stream_position),
                attention: Attention::from_code(row.attention),
                tweaks: row.tweaks,
                queued_at: row.queued_at,
            })
            .collect())
    }

    /// Up to where events have been put into the queue.
    pub async fn find_push_progress(&mut self) -> Result<Position> {
        let position =
            sqlx::query_scalar!("SELECT position FROM push_progress").fetch_one(self.conn()).await?;
        Ok(Position(position))
    }

    /// Whether anybody has a pusher.
    pub async fn has_pushers(&mut self) -> Result<bool> {
        let found = sqlx::query_scalar!(r#"SELECT EXISTS (SELECT FROM pushers) AS "found!""#)
            .fetch_one(self.conn())
            .await?;
        Ok(found)
    }

    /// The events after one position and up to another that notify users with pushers.
    pub async fn list_push_candidates(
        &mut self,
        after: Position,
        up_to: Position,
    ) -> Result<Vec<PushCandidate>> {
        let rows = sqlx::query!(
            r#"WITH news AS (
                 SELECT e.event_nid, e.room_nid, e.sender_nid, e.stream_position, e.notice
                 FROM log l
                 JOIN events e ON e.event_nid = l.subject
                 WHERE l.position > $1 AND l.position <= $2 AND l.kind = 1 AND e.notice <> 0
                   AND e.redacted_by IS NULL
               )
               SELECT p.pusher_nid AS "pusher_nid!", p.user_nid AS "user_nid!", news.event_nid AS "event_nid!",
                 news.room_nid AS "room_nid!", r.room_id AS "room_id!",
                 news.stream_position AS "stream_position!",
                 COALESCE(n.attention, news.notice) AS "attention!", n.tweaks AS "tweaks?",
                 n.attention IS NOT NULL AS "is_individual!"
               FROM news
               JOIN rooms r ON r.room_nid = news.room_nid
               JOIN memberships m ON m.room_nid = news.room_nid
               JOIN pushers p ON p.user_nid = m.user_nid AND p.since_position < news.stream_position
               LEFT JOIN notices n ON n.user_nid = p.user_nid AND n.stream_position = news.stream_position
               WHERE p.user_nid <> news.sender_nid
                 AND COALESCE(n.attention, news.notice) & 1 = 1
                 AND (m.membership = 2 AND COALESCE(m.since_position, m.stream_position) < news.stream_position
                   OR m.membership = 1 AND n.attention IS NOT NULL)
               ORDER BY news.stream_position"#,
            after.0,
            up_to.0
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| PushCandidate {
                pusher: row.pusher_nid,
                user: UserNid(row.user_nid),
                event: EventNid(row.event_nid),
                room: RoomNid(row.room_nid),
                room_id: row.room_id,
                position: Position(row.stream_position),
                attention: Attention::from_code(row.attention),
                tweaks: row.tweaks,
                is_individual: row.is_individual,
            })
            .collect())
    }

    /// The users whose receipts changed after one position and up to another.
    pub async fn list_users_who_read(&mut self, after: Position, up_to: Position) -> Result<Vec<UserNid>> {
        let users = sqlx::query_scalar!(
            r#"SELECT DISTINCT user_nid AS "user_nid!"
               FROM log
               WHERE position > $1 AND position <= $2 AND kind = 2 AND user_nid IS NOT NULL"#,
            after.0,
            up_to.0
        )
        .fetch_all(self.conn())
        .await?;
        Ok(users.into_iter().map(UserNid).collect())
    }
}

impl Txn {
    /// Sets a pusher of a user, in place of the one with the same application and key.
    pub async fn upsert_pusher(
        &mut self,
        user: UserNid,
        device: DeviceNid,
        pusher: &NewPusher,
        now: i64,
    ) -> Result<()> {
        sqlx::query!(
            "INSERT INTO pushers (user_nid, app_id, pushkey, kind, app_display_name, device_display_name, profile_tag,
               lang, data, device_nid, created_at, since_position)
             SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, position FROM log_head
             ON CONFLICT (user_nid, app_id, pushkey) DO UPDATE
             SET kind = EXCLUDED.kind, app_display_name = EXCLUDED.app_display_name,
               device_display_name = EXCLUDED.device_display_name, profile_tag = EXCLUDED.profile_tag,
               lang = EXCLUDED.lang, data = EXCLUDED.data, device_nid = EXCLUDED.device_nid,
               created_at = EXCLUDED.created_at, failures = 0, retry_at = 0",
            user.0,
            pusher.app_id,
            pusher.pushkey,
            pusher.kind,
            pusher.app_display_name,
            pusher.device_display_name,
            pusher.profile_tag,
            pusher.lang,
            pusher.data,
            device.0,
            now
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Deletes a user's pusher.
    pub async fn delete_pusher(&mut self, user: UserNid, app_id: &str, pushkey: &str) -> Result<()> {
        sqlx::query!(
            "DELETE FROM pushers WHERE user_nid = $1 AND app_id = $2 AND pushkey = $3",
            user.0,
            app_id,
            pushkey
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Deletes the pushers of all other users with an application and key.
    pub async fn delete_pushers_of_others(
        &mut self,
        user: UserNid,
        app_id: &str,
        pushkey: &str,
    ) -> Result<()> {
        sqlx::query!(
            "DELETE FROM pushers WHERE user_nid <> $1 AND app_id = $2 AND pushkey = $3",
            user.0,
            app_id,
            pushkey
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Puts events into the queue.
    pub async fn insert_queued_pushes(&mut self, pushes: &[PushCandidate], now: i64) -> Result<()> {
        if pushes.is_empty() {
            return Ok(());
        }
        let pushers: Vec<i64> = pushes.iter().map(|push| push.pusher).collect();
        let positions: Vec<i64> = pushes.iter().map(|push| push.position.0).collect();
        let events: Vec<i64> = pushes.iter().map(|push| push.event.0).collect();
        let rooms: Vec<i64> = pushes.iter().map(|push| push.room.0).collect();
        let attentions: Vec<i16> = pushes.iter().map(|push| push.attention.code()).collect();
        let tweaks: Vec<Option<&str>> = pushes.iter().map(|push| push.tweaks.as_deref()).collect();
        // A pusher may have been deleted meanwhile.
        sqlx::query!(
            "INSERT INTO push_queue (pusher_nid, stream_position, event_nid, room_nid, attention, tweaks, queued_at)
             SELECT new.*, $7
             FROM UNNEST($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::smallint[], $6::text[])
               AS new (pusher_nid, stream_position, event_nid, room_nid, attention, tweaks)
             WHERE new.pusher_nid IN (SELECT pusher_nid FROM pushers FOR KEY SHARE)
             ON CONFLICT DO NOTHING",
            &pushers,
            &positions,
            &events,
            &rooms,
            &attentions,
            &tweaks as &[Option<&str>],
            now
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Notes up to where events have been put into the queue; `false` when another replica has done so meanwhile.
    pub async fn move_push_progress(&mut self, from: Position, to: Position) -> Result<bool> {
        let done = sqlx::query!("UPDATE push_progress SET position = $2 WHERE position = $1", from.0, to.0)
            .execute(self.conn())
            .await?;
        Ok(done.rows_affected() == 1)
    }

    /// What waited was sent, or need not be sent any more.
    pub async fn delete_queued_pushes(&mut self, pusher: i64, up_to: Position) -> Result<()> {
        sqlx::query!(
            "DELETE FROM push_queue WHERE pusher_nid = $1 AND stream_position <= $2",
            pusher,
            up_to.0
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Sending worked; `badge` is the count that was told.
    pub async fn note_pusher_success(&mut self, pusher: i64, badge: Option<i64>) -> Result<()> {
        sqlx::query!(
            "UPDATE pushers SET failures = 0, retry_at = 0, badge = COALESCE($2, badge) WHERE pusher_nid = $1",
            pusher,
            badge
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Nothing is to be sent before a time.
    pub async fn set_pusher_retry(&mut self, pusher: i64, failures: i32, retry_at: i64) -> Result<()> {
        sqlx::query!(
            "UPDATE pushers SET failures = $2, retry_at = $3 WHERE pusher_nid = $1",
            pusher,
            failures,
            retry_at
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }
}
