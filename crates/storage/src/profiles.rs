//! Profiles of local users, field by field.

use hs_model::{ids::UserNid, membership::Membership, stream::Position};
use ruma::{OwnedUserId, UserId};

use crate::{
    Reader, Txn,
    error::{Result, StorageError},
    log::LogKind,
};

/// One field of a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileFieldRow {
    /// Its name.
    pub field: String,
    /// JSON, as the client gave it.
    pub value: String,
}

/// A field of somebody's profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileFieldOf {
    /// Whose.
    pub user_id: OwnedUserId,
    /// Its name.
    pub field: String,
    /// JSON, as the client gave it; `None` when the field was removed.
    pub value: Option<String>,
}

impl ProfileFieldOf {
    fn new(user_id: String, field: String, value: Option<String>) -> Result<Self> {
        let wrong = |row: &String| StorageError::Inconsistent {
            table: "profile_fields",
            column: "user_nid",
            row: row.clone(),
        };
        let user_id = OwnedUserId::try_from(user_id.as_str()).map_err(|_| wrong(&user_id))?;
        Ok(Self { user_id, field, value })
    }
}

impl Reader {
    /// The profiles of several users, those of this server among them.
    pub async fn list_profiles(&mut self, users: &[&UserId]) -> Result<Vec<ProfileFieldOf>> {
        let ids: Vec<&str> = users.iter().map(|user| user.as_str()).collect();
        let rows = sqlx::query!(
            "SELECT u.user_id, p.field, p.value
             FROM users u JOIN profile_fields p USING (user_nid)
             WHERE u.user_id = ANY($1)",
            &ids as &[&str]
        )
        .fetch_all(self.conn())
        .await?;
        rows.into_iter().map(|row| ProfileFieldOf::new(row.user_id, row.field, Some(row.value))).collect()
    }

    /// What changed after a position and up to another in the profiles of a user and of those who share a room with them.
    pub async fn list_profile_changes(
        &mut self,
        user: UserNid,
        after: Position,
        up_to: Position,
    ) -> Result<Vec<ProfileFieldOf>> {
        let rows = sqlx::query!(
            r#"SELECT u.user_id, c.field AS "field!", c.value
             FROM (
                 SELECT user_nid, field, value FROM profile_fields
                 WHERE stream_position > $2 AND stream_position <= $3
                 UNION ALL
                 SELECT user_nid, field, NULL FROM removed_profile_fields
                 WHERE stream_position > $2 AND stream_position <= $3
             ) c
             JOIN users u USING (user_nid)
             WHERE c.user_nid = $1 OR EXISTS (
                 SELECT FROM memberships own JOIN memberships other USING (room_nid)
                 WHERE own.user_nid = $1 AND own.membership = $4
                   AND other.user_nid = c.user_nid AND other.membership = $4
             )"#,
            user.0,
            after.0,
            up_to.0,
            Membership::Join.code()
        )
        .fetch_all(self.conn())
        .await?;
        rows.into_iter().map(|row| ProfileFieldOf::new(row.user_id, row.field, row.value)).collect()
    }

    /// The profile of a user, by field name.
    pub async fn list_profile_fields(&mut self, user: UserNid) -> Result<Vec<ProfileFieldRow>> {
        let rows = sqlx::query_as!(
            ProfileFieldRow,
            "SELECT field, value FROM profile_fields WHERE user_nid = $1 ORDER BY field",
            user.0
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows)
    }
}

impl Txn {
    /// Sets a field. Takes a position: call it last.
    pub async fn upsert_profile_field(&mut self, user: UserNid, field: &str, value: &str) -> Result<()> {
        let position = self.log(LogKind::Profile, None, Some(user)).await?;
        sqlx::query!(
            "INSERT INTO profile_fields (user_nid, field, value, stream_position)
             VALUES ($1, $2, $3, $4)
             ON CONFLICT (user_nid, field)
             DO UPDATE SET value = EXCLUDED.value, stream_position = EXCLUDED.stream_position",
            user.0,
            field,
            value,
            position.0
        )
        .execute(self.conn())
        .await?;
        sqlx::query!("DELETE FROM removed_profile_fields WHERE user_nid = $1 AND field = $2", user.0, field)
            .execute(self.conn())
            .await?;
        Ok(())
    }

    /// Deletes a field; `false` when there was none. Takes a position if so: call it last.
    pub async fn delete_profile_field(&mut self, user: UserNid, field: &str) -> Result<bool> {
        let done =
            sqlx::query!("DELETE FROM profile_fields WHERE user_nid = $1 AND field = $2", user.0, field)
                .execute(self.conn())
                .await?;
        let was_there = done.rows_affected() == 1;
        if was_there {
            self.remember_removed(user, &[field.to_owned()]).await?;
        }
        Ok(was_there)
    }

    /// Deletes a whole profile. Takes a position if there was one: call it last.
    pub async fn delete_profile(&mut self, user: UserNid) -> Result<()> {
        let fields =
            sqlx::query_scalar!("DELETE FROM profile_fields WHERE user_nid = $1 RETURNING field", user.0)
                .fetch_all(self.conn())
                .await?;
        if !fields.is_empty() {
            self.remember_removed(user, &fields).await?;
        }
        Ok(())
    }

    async fn remember_removed(&mut self, user: UserNid, fields: &[String]) -> Result<()> {
        let position = self.log(LogKind::Profile, None, Some(user)).await?;
        sqlx::query!(
            "INSERT INTO removed_profile_fields (user_nid, field, stream_position)
             SELECT $1, field, $3 FROM unnest($2::text[]) AS field
             ON CONFLICT (user_nid, field) DO UPDATE SET stream_position = EXCLUDED.stream_position",
            user.0,
            fields,
            position.0
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }
}
