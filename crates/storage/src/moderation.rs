//! Reports, locks and suspensions, and the rooms of server notices.

use hs_model::ids::{EventNid, RoomNid, UserNid};

use crate::{
    Reader, Txn,
    error::{Result, StorageError},
};

/// What is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
pub enum ReportKind {
    /// An event of a room.
    Event = 0,
    /// A room.
    Room = 1,
    /// A user.
    User = 2,
}

impl ReportKind {
    fn from_code(code: i16, report: i64) -> Result<Self> {
        [Self::Event, Self::Room, Self::User].into_iter().find(|kind| *kind as i16 == code).ok_or_else(|| {
            StorageError::Inconsistent { table: "reports", column: "kind", row: report.to_string() }
        })
    }
}

/// A report to be stored.
#[derive(Clone, Debug)]
pub struct NewReport<'a> {
    /// What is reported.
    pub kind: ReportKind,
    /// By whom.
    pub reporter: UserNid,
    /// The room, or that of the event.
    pub room: Option<RoomNid>,
    /// The event.
    pub event: Option<EventNid>,
    /// The user, or the sender of the event.
    pub user: Option<UserNid>,
    /// Why.
    pub reason: &'a str,
    /// How bad it is, from -100 to 0, if the client said.
    pub score: Option<i32>,
    /// Now, in milliseconds.
    pub now_ms: i64,
}

/// A report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Its number.
    pub id: i64,
    /// What is reported.
    pub kind: ReportKind,
    /// By whom.
    pub reporter: String,
    /// The room, or that of the event.
    pub room_id: Option<String>,
    /// The event.
    pub event_id: Option<String>,
    /// The event.
    pub event: Option<EventNid>,
    /// The user, or the sender of the event.
    pub user_id: Option<String>,
    /// Why.
    pub reason: String,
    /// How bad it is, from -100 to 0, if the client said.
    pub score: Option<i32>,
    /// When it came, in milliseconds.
    pub created_at: i64,
}

/// Which reports are wanted.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReportQuery {
    /// Only of this kind.
    pub kind: Option<ReportKind>,
    /// Only this one.
    pub id: Option<i64>,
    /// Only those by this user.
    pub reporter: Option<UserNid>,
    /// Only those about this room.
    pub room: Option<RoomNid>,
    /// Oldest first, instead of newest first.
    pub oldest_first: bool,
    /// How many to leave out.
    pub skip: i64,
    /// The most to return.
    pub limit: i64,
}

struct Row {
    report_id: i64,
    kind: i16,
    reporter: String,
    room_id: Option<String>,
    event_id: Option<String>,
    event_nid: Option<i64>,
    user_id: Option<String>,
    reason: String,
    score: Option<i32>,
    created_at: i64,
}

/// A measure against an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Nothing can be done with the account but log out.
    Lock,
    /// The account can only read, and tidy up.
    Suspension,
}

impl Reader {
    /// Reports, and how many there are in all.
    pub async fn list_reports(&mut self, query: ReportQuery) -> Result<(Vec<Report>, i64)> {
        let kind = query.kind.map(|kind| kind as i16);
        let reporter = query.reporter.map(i64::from);
        let room = query.room.map(i64::from);
        let total = sqlx::query_scalar!(
            r#"SELECT COUNT(*) AS "count!"
             FROM reports
             WHERE ($1::smallint IS NULL OR kind = $1) AND ($2::bigint IS NULL OR report_id = $2)
               AND ($3::bigint IS NULL OR reporter_nid = $3) AND ($4::bigint IS NULL OR room_nid = $4)"#,
            kind,
            query.id,
            reporter,
            room
        )
        .fetch_one(self.conn())
        .await?;
        let rows = sqlx::query_as!(
            Row,
            r#"SELECT r.report_id, r.kind, reporter.user_id AS reporter, rooms.room_id AS "room_id?",
                 events.event_id AS "event_id?", r.event_nid, subject.user_id AS "user_id?", r.reason, r.score,
                 r.created_at
             FROM reports r
             JOIN users reporter ON reporter.user_nid = r.reporter_nid
             LEFT JOIN rooms USING (room_nid)
             LEFT JOIN events ON events.event_nid = r.event_nid
             LEFT JOIN users subject ON subject.user_nid = r.user_nid
             WHERE ($1::smallint IS NULL OR r.kind = $1) AND ($2::bigint IS NULL OR r.report_id = $2)
               AND ($3::bigint IS NULL OR r.reporter_nid = $3) AND ($4::bigint IS NULL OR r.room_nid = $4)
             ORDER BY CASE WHEN $5 THEN r.report_id ELSE -r.report_id END
             OFFSET $6 LIMIT $7"#,
            kind,
            query.id,
            reporter,
            room,
            query.oldest_first,
            query.skip,
            query.limit
        )
        .fetch_all(self.conn())
        .await?;
        let reports = rows.into_iter().map(|row| {
            Ok(Report {
                id: row.report_id,
                kind: ReportKind::from_code(row.kind, row.report_id)?,
                reporter: row.reporter,
                room_id: row.room_id,
                event_id: row.event_id,
                event: row.event_nid.map(EventNid),
                user_id: row.user_id,
                reason: row.reason,
                score: row.score,
                created_at: row.created_at,
            })
        });
        Ok((reports.collect::<Result<_>>()?, total))
    }

    /// The room in which the server speaks to a user.
    pub async fn find_server_notice_room(&mut self, user: UserNid) -> Result<Option<RoomNid>> {
        let room =
            sqlx::query_scalar!("SELECT room_nid FROM server_notice_rooms WHERE user_nid = $1", user.0)
                .fetch_optional(self.conn())
                .await?;
        Ok(room.map(RoomNid))
    }
}

impl Txn {
    /// Stores a report and returns its number.
    pub async fn insert_report(&mut self, report: &NewReport<'_>) -> Result<i64> {
        let id = sqlx::query_scalar!(
            "INSERT INTO reports (kind, reporter_nid, room_nid, event_nid, user_nid, reason, score, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
             RETURNING report_id",
            report.kind as i16,
            report.reporter.0,
            report.room.map(i64::from),
            report.event.map(|event| event.0),
            report.user.map(i64::from),
            report.reason,
            report.score,
            report.now_ms
        )
        .fetch_one(self.conn())
        .await?;
        Ok(id)
    }

    /// Deletes a report that was dealt with; `false` when there is none.
    pub async fn delete_report(&mut self, id: i64) -> Result<bool> {
        let done = sqlx::query!("DELETE FROM reports WHERE report_id = $1", id).execute(self.conn()).await?;
        Ok(done.rows_affected() == 1)
    }

    /// Takes a measure against an account, or lifts it. One that is in force stays as old as it is.
    pub async fn set_measure(&mut self, user: UserNid, measure: Measure, since: Option<i64>) -> Result<()> {
        match measure {
            Measure::Lock => {
                sqlx::query!(
                    "UPDATE accounts
                     SET locked_at = CASE WHEN $2::bigint IS NULL THEN NULL ELSE COALESCE(locked_at, $2) END
                     WHERE user_nid = $1",
                    user.0,
                    since
                )
                .execute(self.conn())
                .await?
            }
            Measure::Suspension => {
                sqlx::query!(
                    "UPDATE accounts
                     SET suspended_at = CASE WHEN $2::bigint IS NULL THEN NULL ELSE COALESCE(suspended_at, $2) END
                     WHERE user_nid = $1",
                    user.0,
                    since
                )
                .execute(self.conn())
                .await?
            }
        };
        Ok(())
    }

    /// Notes the room in which the server speaks to a user; `false` when there is one already.
    pub async fn insert_server_notice_room(&mut self, user: UserNid, room: RoomNid) -> Result<bool> {
        let done = sqlx::query!(
            "INSERT INTO server_notice_rooms (user_nid, room_nid) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            user.0,
            room.0
        )
        .execute(self.conn())
        .await?;
        Ok(done.rows_affected() == 1)
    }
}
