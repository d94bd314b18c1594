//! Servers in rooms.

use std::collections::HashMap;

use hs_model::{
    ids::{RoomNid, UserNid},
    membership::Membership,
};
use ruma::{OwnedServerName, OwnedUserId, ServerName};

use crate::{
    Reader,
    error::{Result, StorageError},
};

impl Reader {
    /// Whether a user of the server is joined to the room.
    pub async fn is_server_joined(&mut self, room: RoomNid, server: &ServerName) -> Result<bool> {
        let is_joined = sqlx::query_scalar!(
            r#"SELECT EXISTS (
                 SELECT FROM memberships m JOIN users u USING (user_nid)
                 WHERE m.room_nid = $1 AND m.membership = $3 AND u.server_name = $2
               ) AS "is_joined!""#,
            room.0,
            server.as_str(),
            Membership::Join.code()
        )
        .fetch_one(self.conn())
        .await?;
        Ok(is_joined)
    }

    /// The servers with users who are joined to a room, those with the most users first; at most `limit`.
    pub async fn list_joined_servers(&mut self, room: RoomNid, limit: i64) -> Result<Vec<OwnedServerName>> {
        let names = sqlx::query_scalar!(
            r#"SELECT u.server_name AS "server_name!"
             FROM memberships m JOIN users u USING (user_nid)
             WHERE m.room_nid = $1 AND m.membership = $2
             GROUP BY u.server_name
             ORDER BY COUNT(*) DESC, u.server_name
             LIMIT $3"#,
            room.0,
            Membership::Join.code(),
            limit
        )
        .fetch_all(self.conn())
        .await?;
        Ok(names.into_iter().filter_map(|name| name.try_into().ok()).collect())
    }

    /// The users of a server who have, or ever had, a membership in a room.
    pub async fn list_users_of_server(
        &mut self,
        room: RoomNid,
        server: &ServerName,
    ) -> Result<Vec<(UserNid, OwnedUserId)>> {
        let rows = sqlx::query!(
            "SELECT u.user_nid, u.user_id
             FROM memberships m JOIN users u USING (user_nid)
             WHERE m.room_nid = $1 AND u.server_name = $2",
            room.0,
            server.as_str()
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

    /// What the users of a server are in each of the rooms: the rooms where one is joined are mapped to `Join`, those where
    /// none is and one is invited to `Invite`.
    pub async fn list_stays_of_server(
        &mut self,
        rooms: &[RoomNid],
        server: &ServerName,
    ) -> Result<HashMap<RoomNid, Membership>> {
        let nids: Vec<i64> = rooms.iter().map(|room| room.0).collect();
        let rows = sqlx::query!(
            r#"SELECT m.room_nid, BOOL_OR(m.membership = $3) AS "is_joined!"
             FROM memberships m JOIN users u USING (user_nid)
             WHERE m.room_nid = ANY($1) AND u.server_name = $2 AND m.membership IN ($3, $4)
             GROUP BY m.room_nid"#,
            &nids,
            server.as_str(),
            Membership::Join.code(),
            Membership::Invite.code()
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| {
                let membership = if row.is_joined { Membership::Join } else { Membership::Invite };
                (RoomNid(row.room_nid), membership)
            })
            .collect())
    }
}
