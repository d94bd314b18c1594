//! Whom events notify: what is asked before an event is written, and what was kept.

use std::{fmt::Debug, future::Future, pin::Pin};

use hs_model::{
    ids::{EventNid, RoomNid, UserNid},
    notices::{Attention, IndividualNotice, Notice},
    stream::Position,
};
use ruma::{OwnedEventId, RoomId, UserId};

use crate::{
    Reader,
    append::NewEvent,
    error::{Result, StorageError},
};

/// Events about to be written, and what deciding about them looks at.
pub struct Occasion<'a> {
    /// The room.
    pub room: RoomNid,
    /// Its id.
    pub room_id: &'a RoomId,
    /// How many users are joined.
    pub joined_count: usize,
    /// Whether a user is in the room.
    pub is_joined: &'a (dyn Fn(UserNid) -> bool + Send + Sync),
    /// Whether a user may notify the whole room.
    pub may_notify_room: &'a (dyn Fn(&UserId) -> bool + Send + Sync),
    /// The events.
    pub events: &'a mut [NewEvent],
}

/// The answer of a [`Notifier`].
pub type Noticed<'a> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

/// Decides whom events notify.
pub trait Notifier: Send + Sync + Debug {
    /// Fills in [`EventRecord::notice`](hs_model::records::EventRecord::notice) of each event.
    fn notice<'a>(&'a self, occasion: Occasion<'a>) -> Noticed<'a>;
}

/// An event with a notice.
#[derive(Clone, Debug)]
pub struct NoticeRow {
    /// The event.
    pub event: EventNid,
    /// Its room.
    pub room: RoomNid,
    /// Its sender.
    pub sender: UserNid,
    /// Where it stands.
    pub position: Position,
    /// Whom it notifies; the individuals stand in rows of their own.
    pub notice: Notice,
}

/// What an event means to one user.
#[derive(Clone, Debug)]
pub struct IndividualRow {
    /// The event.
    pub event: EventNid,
    /// Its room.
    pub room: RoomNid,
    /// Where it stands.
    pub position: Position,
    /// The user, and what it means.
    pub notice: IndividualNotice,
}

struct RawIndividual {
    event_nid: i64,
    room_nid: i64,
    user_nid: i64,
    stream_position: i64,
    attention: i16,
    tweaks: Option<String>,
}

impl From<RawIndividual> for IndividualRow {
    fn from(row: RawIndividual) -> Self {
        Self {
            event: EventNid(row.event_nid),
            room: RoomNid(row.room_nid),
            position: Position(row.stream_position),
            notice: IndividualNotice {
                user: UserNid(row.user_nid),
                attention: Attention::from_code(row.attention),
                tweaks: row.tweaks.map(Into::into),
            },
        }
    }
}

fn columns(places: &[(RoomNid, Position)]) -> (Vec<i64>, Vec<i64>) {
    places.iter().map(|(room, position)| (room.0, position.0)).unzip()
}

impl Reader {
    /// The newest `limit` events with a notice of each room after its position, unless redacted; oldest first.
    pub async fn list_notices(
        &mut self,
        after: &[(RoomNid, Position)],
        limit: i64,
    ) -> Result<Vec<NoticeRow>> {
        let (rooms, positions) = columns(after);
        let rows = sqlx::query!(
            r#"SELECT n.event_nid, n.room_nid, n.sender_nid, n.stream_position AS "stream_position!", n.notice,
                 n.thread_root
               FROM UNNEST($1::bigint[], $2::bigint[]) AS wanted (room_nid, position)
               CROSS JOIN LATERAL (
                 SELECT e.event_nid, e.room_nid, e.sender_nid, e.stream_position, e.notice, e.thread_root
                 FROM events e
                 WHERE e.room_nid = wanted.room_nid AND e.stream_position > wanted.position AND e.notice <> 0
                   AND e.redacted_by IS NULL
                 ORDER BY e.stream_position DESC
                 LIMIT $3
               ) n
               ORDER BY n.stream_position"#,
            &rooms,
            &positions,
            limit
        )
        .fetch_all(self.conn())
        .await?;
        rows.into_iter()
            .map(|row| {
                let wrong = |_| StorageError::Inconsistent {
                    table: "events",
                    column: "thread_root",
                    row: row.event_nid.to_string(),
                };
                let thread_root = row.thread_root.map(OwnedEventId::try_from).transpose().map_err(wrong)?;
                Ok(NoticeRow {
                    event: EventNid(row.event_nid),
                    room: RoomNid(row.room_nid),
                    sender: UserNid(row.sender_nid),
                    position: Position(row.stream_position),
                    notice: Notice::from_code(row.notice, thread_root),
                })
            })
            .collect()
    }

    /// What events of rooms after positions mean to single users, or to one of them; oldest first.
    pub async fn list_individual_notices(
        &mut self,
        after: &[(RoomNid, Position)],
        user: Option<UserNid>,
    ) -> Result<Vec<IndividualRow>> {
        let (rooms, positions) = columns(after);
        let rows = sqlx::query_as!(
            RawIndividual,
            "SELECT n.event_nid, n.room_nid, n.user_nid, n.stream_position, n.attention, n.tweaks
             FROM UNNEST($1::bigint[], $2::bigint[]) AS wanted (room_nid, position)
             JOIN notices n ON n.room_nid = wanted.room_nid AND n.stream_position > wanted.position
             WHERE $3::bigint IS NULL OR n.user_nid = $3
             ORDER BY n.stream_position",
            &rooms,
            &positions,
            user.map(|user| user.0)
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows.into_iter().map(IndividualRow::from).collect())
    }

    /// Since when a user has been in rooms; those that they are not in are missing.
    pub async fn list_joined_since(
        &mut self,
        user: UserNid,
        rooms: &[RoomNid],
    ) -> Result<Vec<(RoomNid, Position)>> {
        let rooms: Vec<i64> = rooms.iter().map(|room| room.0).collect();
        let rows = sqlx::query!(
            r#"SELECT room_nid, COALESCE(since_position, stream_position) AS "since!"
               FROM memberships
               WHERE user_nid = $1 AND room_nid = ANY($2) AND membership = 2"#,
            user.0,
            &rooms
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows.into_iter().map(|row| (RoomNid(row.room_nid), Position(row.since))).collect())
    }

    /// The local members of a room who have changed their push rules.
    pub async fn list_members_with_rules(&mut self, room: RoomNid, rules_type: &str) -> Result<Vec<UserNid>> {
        let users = sqlx::query_scalar!(
            "SELECT m.user_nid
             FROM memberships m
             JOIN account_data a ON a.user_nid = m.user_nid AND a.room_nid = 0 AND a.data_type = $2
             WHERE m.room_nid = $1 AND m.membership = 2",
            room.0,
            rules_type
        )
        .fetch_all(self.conn())
        .await?;
        Ok(users.into_iter().map(UserNid).collect())
    }

    /// The push rules of those users who have changed them, with their ids and display names.
    pub async fn list_push_rules(&mut self, users: &[UserNid], rules_type: &str) -> Result<Vec<StoredRules>> {
        let users: Vec<i64> = users.iter().map(|user| user.0).collect();
        let rows = sqlx::query!(
            r#"SELECT a.user_nid, a.content, p.value AS "display_name?"
               FROM account_data a
               LEFT JOIN profile_fields p ON p.user_nid = a.user_nid AND p.field = 'displayname'
               WHERE a.user_nid = ANY($1) AND a.room_nid = 0 AND a.data_type = $2"#,
            &users,
            rules_type
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| StoredRules {
                user: UserNid(row.user_nid),
                content: row.content,
                display_name: row.display_name,
            })
            .collect())
    }
}

/// Push rules as they are stored.
#[derive(Clone, Debug)]
pub struct StoredRules {
    /// Whose.
    pub user: UserNid,
    /// The content of the account data.
    pub content: String,
    /// JSON: the display name of the user's profile.
    pub display_name: Option<String>,
}
