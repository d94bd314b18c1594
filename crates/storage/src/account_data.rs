//! What clients keep with us: account data, global or of one room.

use hs_model::{
    ids::{RoomNid, UserNid},
    stream::Position,
};

use crate::{Reader, Txn, error::Result, log::LogKind};

/// The subject of log entries about push rules.
pub const PUSH_RULES: i64 = 1;

/// The room number of global account data.
const GLOBAL: i64 = 0;

/// One piece of account data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountDataRow {
    /// The room it belongs to; `None` when it is global.
    pub room: Option<RoomNid>,
    /// Its type.
    pub data_type: String,
    /// JSON object, as the client gave it.
    pub content: String,
    /// When it was last set.
    pub position: Position,
}

struct Row {
    room_nid: i64,
    data_type: String,
    content: String,
    stream_position: i64,
}

impl From<Row> for AccountDataRow {
    fn from(row: Row) -> Self {
        Self {
            room: (row.room_nid != GLOBAL).then_some(RoomNid(row.room_nid)),
            data_type: row.data_type,
            content: row.content,
            position: Position(row.stream_position),
        }
    }
}

fn room_key(room: Option<RoomNid>) -> i64 {
    room.map_or(GLOBAL, i64::from)
}

impl Reader {
    /// The content of one piece of account data, as JSON text.
    pub async fn find_account_data(
        &mut self,
        user: UserNid,
        room: Option<RoomNid>,
        data_type: &str,
    ) -> Result<Option<String>> {
        let content = sqlx::query_scalar!(
            "SELECT content FROM account_data WHERE user_nid = $1 AND room_nid = $2 AND data_type = $3",
            user.0,
            room_key(room),
            data_type
        )
        .fetch_optional(self.conn())
        .await?;
        Ok(content)
    }

    /// All account data of a user that was set after a position and up to another, in the order in which it was set.
    pub async fn list_account_data(
        &mut self,
        user: UserNid,
        after: Position,
        up_to: Position,
    ) -> Result<Vec<AccountDataRow>> {
        let rows = sqlx::query_as!(
            Row,
            "SELECT room_nid, data_type, content, stream_position
             FROM account_data
             WHERE user_nid = $1 AND stream_position > $2 AND stream_position <= $3
             ORDER BY stream_position",
            user.0,
            after.0,
            up_to.0
        )
        .fetch_all(self.conn())
        .await?;
        Ok(rows.into_iter().map(AccountDataRow::from).collect())
    }
}

impl Txn {
    /// Sets one piece of account data. Takes a position: call it last.
    pub async fn upsert_account_data(
        &mut self,
        user: UserNid,
        room: Option<RoomNid>,
        data_type: &str,
        content: &str,
    ) -> Result<()> {
        let position = self.log(LogKind::AccountData, room, Some(user)).await?;
        self.write_account_data(user, room, data_type, content, position).await
    }

    /// Sets a user's push rules, of the type `data_type`. Takes a position: call it last. The entry in the log has
    /// [`PUSH_RULES`] as its subject, so that caches of rules need not look at all account data.
    pub async fn upsert_push_rules(&mut self, user: UserNid, data_type: &str, content: &str) -> Result<()> {
        let position = self.log_about(LogKind::AccountData, None, Some(user), Some(PUSH_RULES)).await?;
        self.write_account_data(user, None, data_type, content, position).await
    }

    async fn write_account_data(
        &mut self,
        user: UserNid,
        room: Option<RoomNid>,
        data_type: &str,
        content: &str,
        position: Position,
    ) -> Result<()> {
        sqlx::query!(
            "INSERT INTO account_data (user_nid, room_nid, data_type, content, stream_position)
             VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (user_nid, room_nid, data_type)
             DO UPDATE SET content = EXCLUDED.content, stream_position = EXCLUDED.stream_position",
            user.0,
            room_key(room),
            data_type,
            content,
            position.0
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Deletes all account data of a user, when the account is erased.
    pub async fn delete_account_data(&mut self, user: UserNid) -> Result<()> {
        sqlx::query!("DELETE FROM account_data WHERE user_nid = $1", user.0).execute(self.conn()).await?;
        Ok(())
    }
}
