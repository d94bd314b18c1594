//! Presence: what users tell of whether they are there.
//!
//! Each replica holds what it has seen of a user lately ("holds"), and the most present of the holds is the user's
//! presence. A replica keeps its holds by a lease: when it dies, another one clears them away.

use hs_model::{
    ids::{RoomNid, UserNid},
    membership::Membership,
    stream::Position,
};
use ruma::OwnedUserId;

use crate::{
    Reader, Txn,
    error::{Result, StorageError},
};

/// Whether somebody is there. The greater, the more present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i16)]
pub enum Presence {
    /// Not connected, or wants to look so.
    #[default]
    Offline = 0,
    /// Connected, but idle.
    Unavailable = 1,
    /// There.
    Online = 2,
}

impl Presence {
    /// The name in the specification.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Unavailable => "unavailable",
            Self::Online => "online",
        }
    }

    /// The inverse of [`as_str`](Self::as_str).
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Offline, Self::Unavailable, Self::Online]
            .into_iter()
            .find(|presence| presence.as_str() == name)
    }

    fn from_code(code: i16) -> Option<Self> {
        [Self::Offline, Self::Unavailable, Self::Online].into_iter().find(|presence| *presence as i16 == code)
    }
}

/// What happens to a user's status message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StatusMsgChange {
    /// It stays as it is.
    #[default]
    Keep,
    /// There is none any more.
    Clear,
    /// This is the new one.
    Set(String),
}

/// What a replica has to say about a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresenceUpdate {
    /// The user.
    pub user: UserNid,
    /// The user.
    pub user_id: OwnedUserId,
    /// The replica.
    pub replica: Box<str>,
    /// What it has seen; offline when it has seen nothing lately.
    pub hold: Presence,
    /// The status message.
    pub status_msg: StatusMsgChange,
    /// When the user was last active as far as this replica knows, in milliseconds.
    pub last_active_at: i64,
    /// Whether that is so short a time ago that nobody needs to be told of more activity.
    pub currently_active: bool,
    /// For users of other servers: until when this counts, in milliseconds.
    pub expires_at: Option<i64>,
}

impl PresenceUpdate {
    /// Puts a later update of the same user and replica on top of this one.
    pub(crate) fn merge(&mut self, later: Self) {
        let status_msg = match later.status_msg {
            StatusMsgChange::Keep => std::mem::take(&mut self.status_msg),
            change => change,
        };
        let last_active_at = later.last_active_at.max(self.last_active_at);
        *self = Self { status_msg, last_active_at, ..later };
    }
}

/// A user's presence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresenceRow {
    /// The user.
    pub user: UserNid,
    /// The user.
    pub user_id: OwnedUserId,
    /// Whether they are there.
    pub presence: Presence,
    /// What they say about it.
    pub status_msg: Option<String>,
    /// When they were last active, in milliseconds; 0 when never.
    pub last_active_at: i64,
    /// Whether they are active at present.
    pub currently_active: bool,
    /// When anything but the time of the last activity changed.
    pub position: Position,
}

struct Row {
    user_nid: i64,
    user_id: String,
    presence: i16,
    status_msg: Option<String>,
    last_active_at: i64,
    currently_active: bool,
    stream_position: i64,
}

impl Row {
    fn into_record(self) -> Result<PresenceRow> {
        let wrong =
            |column| StorageError::Inconsistent { table: "presence", column, row: self.user_nid.to_string() };
        Ok(PresenceRow {
            user: UserNid(self.user_nid),
            presence: Presence::from_code(self.presence).ok_or_else(|| wrong("presence"))?,
            user_id: self.user_id.as_str().try_into().map_err(|_| wrong("user_nid"))?,
            status_msg: self.status_msg,
            last_active_at: self.last_active_at,
            currently_active: self.currently_active,
            position: Position(self.stream_position),
        })
    }
}

impl Reader {
    /// The presence of users. Those who never had any are missing.
    pub async fn list_presence(&mut self, users: &[UserNid]) -> Result<Vec<PresenceRow>> {
        let users: Vec<i64> = users.iter().map(|user| user.0).collect();
        let rows = sqlx::query_as!(
            Row,
            "SELECT user_nid, user_id, presence, status_msg, last_active_at, currently_active, stream_position
             FROM presence
             JOIN users USING (user_nid)
             WHERE user_nid = ANY($1)
             ORDER BY stream_position",
            &users
        )
        .fetch_all(self.conn())
        .await?;
        rows.into_iter().map(Row::into_record).collect()
    }

    /// The presence of those joined to any of the rooms who are not offline.
    pub async fn list_presence_in_rooms(&mut self, rooms: &[RoomNid]) -> Result<Vec<PresenceRow>> {
        let rooms: Vec<i64> = rooms.iter().map(|room| room.0).collect();
        let rows = sqlx::query_as!(
            Row,
            "SELECT user_nid, user_id, presence, status_msg, last_active_at, currently_active, stream_position
             FROM presence
             JOIN users USING (user_nid)
             WHERE presence <> 0
               AND EXISTS (
                   SELECT FROM memberships m
                   WHERE m.room_nid = ANY($1) AND m.user_nid = presence.user_nid AND m.membership = $2
               )
             ORDER BY stream_position",
            &rooms,
            Membership::Join.code()
        )
        .fetch_all(self.conn())
        .await?;
        rows.into_iter().map(Row::into_record).collect()
    }

    /// The presence of everybody that changed after one position and up to another, in order. Who asks from the start takes
    /// everybody for offline anyway, and is told only of the others.
    pub async fn list_presence_changes(
        &mut self,
        after: Position,
        up_to: Position,
    ) -> Result<Vec<PresenceRow>> {
        let rows = sqlx::query_as!(
            Row,
            "SELECT user_nid, user_id, presence, status_msg, last_active_at, currently_active, stream_position
             FROM presence
             JOIN users USING (user_nid)
             WHERE stream_position > $1 AND stream_position <= $2 AND (presence <> 0 OR $1 > 0)
             ORDER BY stream_position",
            after.0,
            up_to.0
        )
        .fetch_all(self.conn())
        .await?;
        rows.into_iter().map(Row::into_record).collect()
    }

    /// Those whose stored presence is not what the holds say: what a replica that died, or two replicas that wrote at the
    /// same moment, have left behind.
    pub async fn list_unsettled_presence(&mut self) -> Result<Vec<(UserNid, OwnedUserId)>> {
        let rows = sqlx::query!(
            "SELECT user_nid, user_id
             FROM presence
             JOIN users USING (user_nid)
             WHERE presence <> 0
               AND presence <> COALESCE((SELECT max(presence) FROM presence_holds h WHERE h.user_nid = presence.user_nid), 0)
             ORDER BY user_nid"
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
                Ok((UserNid(row.user_nid), user_id))
            })
            .collect()
    }
}

impl Txn {
    /// Deletes the holds of replicas whose lease has ended, and those leases, and what other servers said too long ago.
    /// Returns how many holds that were.
    pub async fn delete_stale_presence_holds(&mut self, now_ms: i64) -> Result<u64> {
        let done = sqlx::query!(
            "WITH live AS (
               SELECT substr(name, length('presence:') + 1) AS replica
               FROM leases
               WHERE starts_with(name, 'presence:')
                 AND expires_at >= (EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::bigint
             ), ended AS (
               DELETE FROM leases
               WHERE starts_with(name, 'presence:')
                 AND expires_at < (EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::bigint
             )
             DELETE FROM presence_holds
             WHERE CASE WHEN expires_at IS NULL
               THEN NOT EXISTS (SELECT FROM live WHERE live.replica = presence_holds.replica)
               ELSE expires_at <= $1 END",
            now_ms
        )
        .execute(self.conn())
        .await?;
        Ok(done.rows_affected())
    }

    /// Writes what a replica has to say about users, each user at most once. Returns the rows that changed visibly, in the
    /// order of the updates; an update that only tells of more activity takes no position.
    pub(crate) async fn update_presence(
        &mut self,
        updates: &[PresenceUpdate],
    ) -> Result<Vec<Option<PresenceRow>>> {
        let users: Vec<i64> = updates.iter().map(|u| u.user.0).collect();
        let replicas: Vec<&str> = updates.iter().map(|u| &*u.replica).collect();
        let holds: Vec<i16> = updates.iter().map(|u| u.hold as i16).collect();
        let sets_status: Vec<bool> = updates.iter().map(|u| u.status_msg != StatusMsgChange::Keep).collect();
        let status: Vec<Option<&str>> = updates
            .iter()
            .map(|u| match &u.status_msg {
                StatusMsgChange::Set(status_msg) => Some(&**status_msg),
                StatusMsgChange::Keep | StatusMsgChange::Clear => None,
            })
            .collect();
        let active_at: Vec<i64> = updates.iter().map(|u| u.last_active_at).collect();
        let is_active: Vec<bool> = updates.iter().map(|u| u.currently_active).collect();
        let expiries: Vec<Option<i64>> = updates.iter().map(|u| u.expires_at).collect();
        let rows = sqlx::query!(
            r#"WITH given AS (
                 SELECT given.n, given.user_nid, given.replica, given.hold, given.expires_at, old.user_nid IS NOT NULL AS is_known,
                   GREATEST(given.hold, others.hold) AS presence,
                   CASE WHEN given.sets_status THEN given.status_msg ELSE old.status_msg END AS status_msg,
                   GREATEST(given.last_active_at, old.last_active_at) AS last_active_at,
                   given.is_active OR (others.hold = 2 AND old.currently_active) AS is_active,
                   old.presence AS old_presence, old.status_msg AS old_status_msg,
                   old.last_active_at AS old_last_active_at, old.currently_active AS old_currently_active
                 FROM UNNEST($1::bigint[], $2::text[], $3::smallint[], $4::boolean[], $5::text[], $6::bigint[], $7::boolean[],
                   $8::bigint[])
                   WITH ORDINALITY
                   AS given (user_nid, replica, hold, sets_status, status_msg, last_active_at, is_active, expires_at, n)
                 LEFT JOIN presence old USING (user_nid)
                 LEFT JOIN LATERAL (
                   SELECT max(presence) AS hold FROM presence_holds h
                   WHERE h.user_nid = given.user_nid AND h.replica <> given.replica
                 ) others ON TRUE
               ), new AS (
                 SELECT *, presence = 2 AND COALESCE(is_active, FALSE) AS currently_active FROM given
               ), changed AS (
                 SELECT *, row_number() OVER (ORDER BY n) AS k
                 FROM new
                 WHERE CASE WHEN is_known
                   THEN (presence, status_msg, currently_active)
                     IS DISTINCT FROM (old_presence, old_status_msg, old_currently_active)
                   ELSE presence <> 0 OR status_msg IS NOT NULL END
               ), head AS (
                 UPDATE log_head SET position = position + (SELECT count(*) FROM changed)
                 WHERE EXISTS (SELECT FROM changed)
                 RETURNING position - (SELECT count(*) FROM changed) AS base, position AS last
               ), locked AS (
                 SELECT count(*) FROM head
               ), stored AS (
                 INSERT INTO presence (user_nid, presence, status_msg, last_active_at, currently_active, stream_position)
                 SELECT user_nid, presence, status_msg, last_active_at, currently_active, head.base + k FROM changed, head
                 ON CONFLICT (user_nid) DO UPDATE
                 SET presence = EXCLUDED.presence, status_msg = EXCLUDED.status_msg,
                   last_active_at = EXCLUDED.last_active_at, currently_active = EXCLUDED.currently_active,
                   stream_position = EXCLUDED.stream_position
               ), active AS (
                 UPDATE presence SET last_active_at = new.last_active_at
                 FROM new, locked
                 WHERE presence.user_nid = new.user_nid AND new.last_active_at > new.old_last_active_at
                   AND NOT EXISTS (SELECT FROM changed WHERE changed.n = new.n)
               ), held AS (
                 INSERT INTO presence_holds (user_nid, replica, presence, expires_at)
                 SELECT user_nid, replica, hold, expires_at FROM new, locked WHERE hold <> 0
                 ON CONFLICT (user_nid, replica)
                 DO UPDATE SET presence = EXCLUDED.presence, expires_at = EXCLUDED.expires_at
                 WHERE (presence_holds.presence, presence_holds.expires_at)
                   IS DISTINCT FROM (EXCLUDED.presence, EXCLUDED.expires_at)
               ), released AS (
                 DELETE FROM presence_holds
                 USING new, locked
                 WHERE presence_holds.user_nid = new.user_nid AND presence_holds.replica = new.replica AND new.hold = 0
               ), logged AS (
                 INSERT INTO log (position, kind, user_nid)
                 SELECT head.base + k, 4, user_nid FROM changed, head
               ), news AS (
                 SELECT pg_notify('kith_log', last || ' ' || current_setting('application_name')) FROM head
               )
               SELECT n AS "n!", presence AS "presence!", status_msg, last_active_at AS "last_active_at!",
                 currently_active AS "currently_active!", head.base + k AS "position!"
               FROM changed, head, news"#,
            &users,
            &replicas as &[&str],
            &holds,
            &sets_status,
            &status as &[Option<&str>],
            &active_at,
            &is_active,
            &expiries as &[Option<i64>]
        )
        .fetch_all(self.conn())
        .await?;
        let mut changed = vec![None; updates.len()];
        for row in rows {
            let at = row.n as usize - 1;
            let update = &updates[at];
            changed[at] = Some(PresenceRow {
                user: update.user,
                user_id: update.user_id.clone(),
                presence: Presence::from_code(row.presence).unwrap_or_default(),
                status_msg: row.status_msg,
                last_active_at: row.last_active_at,
                currently_active: row.currently_active,
                position: Position(row.position),
            });
        }
        Ok(changed)
    }
}
