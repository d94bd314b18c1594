//! Who can be found by name.

use std::collections::HashMap;

use hs_model::{
    ids::{EventNid, RoomNid, UserNid},
    membership::Membership,
};
use ruma::UserId;

use crate::{Reader, Txn, error::Result};

/// Somebody who can be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryUser {
    /// The user.
    pub user: UserNid,
    /// The part of the id before the colon.
    pub localpart: String,
    /// How they are called.
    pub display_name: Option<String>,
    /// Their picture.
    pub avatar_url: Option<String>,
    /// The display name as searches compare it.
    pub name_key: String,
    /// The text of a `tsvector`.
    pub words: String,
}

/// Somebody who was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundUser {
    /// The user's id.
    pub user_id: String,
    /// How they are called.
    pub display_name: Option<String>,
    /// Their picture.
    pub avatar_url: Option<String>,
}

/// Who is looked for.
#[derive(Clone, Copy, Debug)]
pub struct UserQuery<'a> {
    /// The text of a `tsquery`.
    pub matching: &'a str,
    /// What was searched for, folded: whoever is called just that, or so to begin with, comes first.
    pub key: &'a str,
    /// Who asks: never found themself.
    pub asker: UserNid,
    /// Whether to find everybody, instead of those that the asker might meet in a room.
    pub everybody: bool,
    /// At most this many.
    pub limit: i64,
}

/// A user of whom the directory may have to know, as the other tables have it.
#[derive(Clone, Debug)]
pub struct KnownUser {
    /// The user.
    pub user: UserNid,
    /// The user's id.
    pub user_id: String,
    /// Whether the user has an account here.
    pub is_local: bool,
    /// Whether that account is closed.
    pub is_deactivated: bool,
    /// The name in the profile of an account, as JSON.
    pub displayname: Option<String>,
    /// The picture in the profile of an account, as JSON.
    pub avatar_url: Option<String>,
    /// The newest member event that says the user is in some room.
    pub member_event: Option<EventNid>,
}

/// How many matches are looked at to see whether the asker may find them.
const MAX_CANDIDATES: i64 = 10_000;

impl Reader {
    /// Users whose names fit, best first.
    pub async fn search_users(&mut self, query: UserQuery<'_>) -> Result<Vec<FoundUser>> {
        let rows = sqlx::query_as!(
            FoundUser,
            "WITH candidates AS (
                 SELECT user_nid, display_name, avatar_url,
                   name_key = $2 OR localpart = $2 AS is_same,
                   starts_with(name_key, $2) OR starts_with(localpart, $2) AS begins_so,
                   ts_rank(words, $1::text::tsquery) AS rank
                 FROM user_directory
                 WHERE words @@ $1::text::tsquery AND user_nid <> $3
                 ORDER BY is_same DESC, begins_so DESC, rank DESC, user_nid
                 LIMIT $6
             )
             SELECT u.user_id, c.display_name, c.avatar_url
             FROM candidates c JOIN users u USING (user_nid)
             WHERE $4
               OR EXISTS (
                 SELECT FROM memberships m JOIN open_rooms USING (room_nid)
                 WHERE m.user_nid = c.user_nid AND m.membership = $7
               )
               OR EXISTS (
                 SELECT FROM memberships own JOIN memberships other USING (room_nid)
                 WHERE own.user_nid = $3 AND own.membership = $7
                   AND other.user_nid = c.user_nid AND other.membership = $7
               )
             ORDER BY c.is_same DESC, c.begins_so DESC, c.rank DESC, c.display_name IS NULL, u.user_id
             LIMIT $5",
            query.matching,
            query.key,
            query.asker.0,
            query.everybody,
            query.limit,
            MAX_CANDIDATES,
            Membership::Join.code()
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows)
    }

    /// What is known of users, for the directory.
    pub async fn list_known_users(&mut self, users: &[UserNid]) -> Result<Vec<KnownUser>> {
        let nids: Vec<i64> = users.iter().map(|user| user.0).collect();
        let rows = sqlx::query!(
            r#"SELECT u.user_nid, u.user_id, a.user_nid IS NOT NULL AS "is_local!",
                 a.deactivated_at IS NOT NULL AS "is_deactivated!",
                 name.value AS "displayname?", avatar.value AS "avatar_url?",
                 (
                   SELECT m.event_nid FROM memberships m
                   WHERE m.user_nid = u.user_nid AND m.membership = $2
                   ORDER BY m.stream_position DESC
                   LIMIT 1
                 ) AS member_event
             FROM users u
             LEFT JOIN accounts a USING (user_nid)
             LEFT JOIN profile_fields name ON name.user_nid = u.user_nid AND name.field = 'displayname'
             LEFT JOIN profile_fields avatar ON avatar.user_nid = u.user_nid AND avatar.field = 'avatar_url'
             WHERE u.user_nid = ANY($1)
             ORDER BY u.user_nid"#,
            &nids,
            Membership::Join.code()
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| KnownUser {
                user: UserNid(row.user_nid),
                user_id: row.user_id,
                is_local: row.is_local,
                is_deactivated: row.is_deactivated,
                displayname: row.displayname,
                avatar_url: row.avatar_url,
                member_event: row.member_event.map(EventNid),
            })
            .collect())
    }

    /// The numbers of those of the users who have one.
    pub async fn find_user_nids(&mut self, users: &[&UserId]) -> Result<Vec<UserNid>> {
        let ids: Vec<&str> = users.iter().map(|user| user.as_str()).collect();
        let nids = sqlx::query_scalar!("SELECT user_nid FROM users WHERE user_id = ANY($1)", &ids as &[&str])
            .fetch_all(self.conn())
            .await?;
        Ok(nids.into_iter().map(UserNid).collect())
    }

    /// Users with numbers above one, in order.
    pub async fn list_user_nids(&mut self, after: UserNid, limit: i64) -> Result<Vec<UserNid>> {
        let users = sqlx::query_scalar!(
            "SELECT user_nid FROM users WHERE user_nid > $1 ORDER BY user_nid LIMIT $2",
            after.0,
            limit
        )
        .fetch_all(self.conn())
        .await?;
        Ok(users.into_iter().map(UserNid).collect())
    }

    /// The events that say whether rooms are open: join rules and history visibility.
    pub async fn list_openness(&mut self, rooms: &[RoomNid]) -> Result<HashMap<RoomNid, Vec<EventNid>>> {
        let rooms: Vec<i64> = rooms.iter().map(|room| room.0).collect();
        let rows = sqlx::query!(
            "SELECT c.room_nid, c.event_nid
             FROM current_state c JOIN state_slots s USING (slot_nid)
             WHERE c.room_nid = ANY($1) AND s.state_key = ''
               AND s.event_type IN ('m.room.join_rules', 'm.room.history_visibility')",
            &rooms
        )
        .fetch_all(self.conn())
        .await?;
        let mut found: HashMap<RoomNid, Vec<EventNid>> = HashMap::new();
        for row in rows {
            found.entry(RoomNid(row.room_nid)).or_default().push(EventNid(row.event_nid));
        }
        Ok(found)
    }
}

impl Txn {
    /// Lists users in the directory, or changes what it says of them.
    pub async fn upsert_directory_users(&mut self, users: &[DirectoryUser]) -> Result<()> {
        let nids: Vec<i64> = users.iter().map(|user| user.user.0).collect();
        let text = |of: fn(&DirectoryUser) -> &str| users.iter().map(of).collect::<Vec<&str>>();
        let optional =
            |of: fn(&DirectoryUser) -> Option<&str>| users.iter().map(of).collect::<Vec<Option<&str>>>();
        sqlx::query!(
            "INSERT INTO user_directory (user_nid, localpart, name_key, words, display_name, avatar_url)
             SELECT user_nid, localpart, name_key, words::tsvector, display_name, avatar_url
             FROM UNNEST($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
               AS new (user_nid, localpart, name_key, words, display_name, avatar_url)
             ON CONFLICT (user_nid) DO UPDATE
             SET name_key = EXCLUDED.name_key, words = EXCLUDED.words, display_name = EXCLUDED.display_name,
               avatar_url = EXCLUDED.avatar_url",
            &nids,
            &text(|user| &user.localpart) as &[&str],
            &text(|user| &user.name_key) as &[&str],
            &text(|user| &user.words) as &[&str],
            &optional(|user| user.display_name.as_deref()) as &[Option<&str>],
            &optional(|user| user.avatar_url.as_deref()) as &[Option<&str>]
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Takes users out of the directory.
    pub async fn delete_directory_users(&mut self, users: &[UserNid]) -> Result<()> {
        let nids: Vec<i64> = users.iter().map(|user| user.0).collect();
        sqlx::query!("DELETE FROM user_directory WHERE user_nid = ANY($1)", &nids)
            .execute(self.conn())
            .await?;
        Ok(())
    }

    /// Notes which of some rooms are open.
    pub async fn set_open_rooms(&mut self, rooms: &[RoomNid], open: &[RoomNid]) -> Result<()> {
        let (rooms, open): (Vec<i64>, Vec<i64>) =
            (rooms.iter().map(|room| room.0).collect(), open.iter().map(|room| room.0).collect());
        sqlx::query!(
            "DELETE FROM open_rooms WHERE room_nid = ANY($1) AND NOT room_nid = ANY($2)",
            &rooms,
            &open
        )
        .execute(self.conn())
        .await?;
        sqlx::query!(
            "INSERT INTO open_rooms (room_nid) SELECT * FROM UNNEST($1::bigint[]) ON CONFLICT DO NOTHING",
            &open
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }
}
