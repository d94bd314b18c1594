//! Profiles of local users, field by field.

use hs_model::ids::UserNid;

use crate::{Reader, Txn, error::Result, log::LogKind};

/// One field of a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileFieldRow {
    /// Its name.
    pub field: String,
    /// JSON, as the client gave it.
    pub value: String,
}

impl Reader {
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
            self.log(LogKind::Profile, None, Some(user)).await?;
        }
        Ok(was_there)
    }

    /// Deletes a whole profile. Takes a position if there was one: call it last.
    pub async fn delete_profile(&mut self, user: UserNid) -> Result<()> {
        let done = sqlx::query!("DELETE FROM profile_fields WHERE user_nid = $1", user.0)
            .execute(self.conn())
            .await?;
        if done.rows_affected() > 0 {
            self.log(LogKind::Profile, None, Some(user)).await?;
        }
        Ok(())
    }
}
