//! What still has to be done in the rooms of a user whose account has changed.

use hs_model::ids::UserNid;

use crate::{
    Reader, Txn,
    error::{Result, StorageError},
};

/// What has to be done in each room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
pub enum ErrandKind {
    /// Put the user's profile into the member event.
    ShowProfile = 1,
    /// Leave, since the account is closed.
    Leave = 2,
}

/// Something to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errand {
    /// For whom.
    pub user: UserNid,
    /// What.
    pub kind: ErrandKind,
    /// Which request it was.
    pub request: i64,
}

impl Reader {
    /// The errands that were asked for first.
    pub async fn list_room_errands(&mut self, limit: i64) -> Result<Vec<Errand>> {
        let rows =
            sqlx::query!("SELECT user_nid, kind, request FROM room_errands ORDER BY request LIMIT $1", limit)
                .fetch_all(self.conn())
                .await?;
        rows.into_iter()
            .map(|row| {
                let kind = match row.kind {
                    1 => ErrandKind::ShowProfile,
                    2 => ErrandKind::Leave,
                    _ => {
                        return Err(StorageError::Inconsistent {
                            table: "room_errands",
                            column: "kind",
                            row: row.user_nid.to_string(),
                        });
                    }
                };
                Ok(Errand { user: UserNid(row.user_nid), kind, request: row.request })
            })
            .collect()
    }
}

impl Txn {
    /// Asks for an errand.
    pub async fn request_room_errand(&mut self, user: UserNid, kind: ErrandKind) -> Result<()> {
        sqlx::query!(
            "INSERT INTO room_errands (user_nid, kind, request)
             VALUES ($1, $2, nextval('room_errand_requests'))
             ON CONFLICT (user_nid, kind) DO UPDATE SET request = EXCLUDED.request",
            user.0,
            kind as i16
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Strikes an errand off, unless it was asked for again meanwhile.
    pub async fn delete_room_errand(&mut self, errand: &Errand) -> Result<()> {
        sqlx::query!(
            "DELETE FROM room_errands WHERE user_nid = $1 AND kind = $2 AND request = $3",
            errand.user.0,
            errand.kind as i16,
            errand.request
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }
}
