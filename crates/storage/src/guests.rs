//! Guests: accounts without a password, for a look around.

use hs_model::ids::{RoomNid, UserNid};
use ruma::OwnedUserId;

use crate::{
    Reader, Txn,
    error::{Result, StorageError},
};

/// A guest who is in a room.
#[derive(Clone, Debug)]
pub struct GuestStay {
    /// The room.
    pub room: RoomNid,
    /// The guest.
    pub user: UserNid,
    /// The guest's id.
    pub user_id: OwnedUserId,
    /// The event that says whether guests may be there.
    pub guest_access: Option<String>,
}

impl Reader {
    /// The rooms that guests are in, with what those say about guests.
    pub async fn list_guest_stays(&mut self) -> Result<Vec<GuestStay>> {
        let rows = sqlx::query!(
            r#"SELECT m.room_nid, m.user_nid, u.user_id, access.json AS "guest_access?"
               FROM accounts a
               JOIN memberships m USING (user_nid)
               JOIN users u USING (user_nid)
               LEFT JOIN LATERAL (
                 SELECT j.json
                 FROM state_slots s
                 JOIN current_state c USING (slot_nid)
                 JOIN event_json j USING (event_nid)
                 WHERE s.event_type = 'm.room.guest_access' AND s.state_key = '' AND c.room_nid = m.room_nid
               ) AS access ON TRUE
               WHERE a.is_guest AND m.membership = 2
               ORDER BY m.room_nid, m.user_nid"#
        )
        .fetch_all(self.conn())
        .await?;
        rows.into_iter()
            .map(|row| {
                let wrong = || StorageError::Inconsistent {
                    table: "users",
                    column: "user_id",
                    row: row.user_nid.to_string(),
                };
                Ok(GuestStay {
                    room: RoomNid(row.room_nid),
                    user: UserNid(row.user_nid),
                    user_id: row.user_id.as_str().try_into().map_err(|_| wrong())?,
                    guest_access: row.guest_access,
                })
            })
            .collect()
    }
}

impl Txn {
    /// Makes an account of a user that has none: a guest's. `false` when there is one.
    pub async fn insert_guest(&mut self, user: UserNid, now_ms: i64) -> Result<bool> {
        let done = sqlx::query!(
            "INSERT INTO accounts (user_nid, created_at, is_guest)
             VALUES ($1, $2, TRUE)
             ON CONFLICT (user_nid) DO NOTHING",
            user.0,
            now_ms
        )
        .execute(self.conn())
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Makes a full account of a guest's. `false` when it is none (any more).
    pub async fn promote_guest(
        &mut self,
        user: UserNid,
        password_hash: &str,
        (is_admin, accepted_terms): (bool, Option<&str>),
    ) -> Result<bool> {
        let done = sqlx::query!(
            "UPDATE accounts
             SET is_guest = FALSE, password_hash = $2, is_admin = $3, accepted_terms = $4
             WHERE user_nid = $1 AND is_guest AND deactivated_at IS NULL",
            user.0,
            password_hash,
            is_admin,
            accepted_terms
        )
        .execute(self.conn())
        .await?;
        Ok(done.rows_affected() == 1)
    }
}
