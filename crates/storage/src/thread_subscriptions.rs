//! Which threads a user wants to hear of.

use std::collections::HashSet;

use hs_model::{
    ids::{RoomNid, UserNid},
    stream::Position,
};
use ruma::{EventId, OwnedEventId, OwnedRoomId};

use crate::{
    Reader, Txn,
    error::{Result, StorageError},
    log::LogKind,
};

/// Where a user stands towards a thread that they have subscribed to at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadSubscription {
    /// Whether they are subscribed now.
    pub is_subscribed: bool,
    /// Whether a client did that by itself.
    pub is_automatic: bool,
    /// When this last changed.
    pub position: Position,
}

/// A subscription with the thread it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadSubscriptionRow {
    /// The room.
    pub room_id: OwnedRoomId,
    /// The root of the thread.
    pub root: OwnedEventId,
    /// Where the user stands.
    pub subscription: ThreadSubscription,
}

impl Reader {
    /// Where a user stands towards a thread; `None` when they never subscribed to it.
    pub async fn find_thread_subscription(
        &mut self,
        user: UserNid,
        room: RoomNid,
        root: &EventId,
    ) -> Result<Option<ThreadSubscription>> {
        let row = sqlx::query!(
            "SELECT is_subscribed, is_automatic, stream_position
             FROM thread_subscriptions
             WHERE user_nid = $1 AND room_nid = $2 AND root_id = $3",
            user.0,
            room.0,
            root.as_str()
        )
        .fetch_optional(self.conn())
        .await?;
        Ok(row.map(|row| ThreadSubscription {
            is_subscribed: row.is_subscribed,
            is_automatic: row.is_automatic,
            position: Position(row.stream_position),
        }))
    }

    /// Who is subscribed to a thread.
    pub async fn list_thread_subscribers(
        &mut self,
        room: RoomNid,
        root: &EventId,
    ) -> Result<HashSet<UserNid>> {
        let users = sqlx::query_scalar!(
            "SELECT user_nid FROM thread_subscriptions
             WHERE room_nid = $1 AND root_id = $2 AND is_subscribed",
            room.0,
            root.as_str()
        )
        .fetch_all(self.conn())
        .await?;
        Ok(users.into_iter().map(UserNid).collect())
    }

    /// What changed after one position and up to another, the newest first.
    pub async fn list_thread_subscriptions(
        &mut self,
        user: UserNid,
        after: Position,
        up_to: Position,
        limit: i64,
    ) -> Result<Vec<ThreadSubscriptionRow>> {
        let rows = sqlx::query!(
            "SELECT r.room_id, s.root_id, s.is_subscribed, s.is_automatic, s.stream_position
             FROM thread_subscriptions s
             JOIN rooms r USING (room_nid)
             WHERE s.user_nid = $1 AND s.stream_position > $2 AND s.stream_position <= $3
             ORDER BY s.stream_position DESC
             LIMIT $4",
            user.0,
            after.0,
            up_to.0,
            limit
        )
        .fetch_all(self.conn())
        .await?;
        rows.into_iter()
            .map(|row| {
                let wrong = |column| StorageError::Inconsistent {
                    table: "thread_subscriptions",
                    column,
                    row: row.stream_position.to_string(),
                };
                Ok(ThreadSubscriptionRow {
                    room_id: row.room_id.try_into().map_err(|_| wrong("room_nid"))?,
                    root: row.root_id.try_into().map_err(|_| wrong("root_id"))?,
                    subscription: ThreadSubscription {
                        is_subscribed: row.is_subscribed,
                        is_automatic: row.is_automatic,
                        position: Position(row.stream_position),
                    },
                })
            })
            .collect()
    }
}

impl Txn {
    /// Subscribes a user to a thread, or ends that. Takes a position: call it last.
    pub async fn upsert_thread_subscription(
        &mut self,
        user: UserNid,
        room: RoomNid,
        root: &EventId,
        wanted: SubscriptionChange,
    ) -> Result<()> {
        let position = self.log(LogKind::ThreadSubscription, Some(room), Some(user)).await?;
        sqlx::query!(
            "INSERT INTO thread_subscriptions
               (user_nid, room_nid, root_id, is_subscribed, is_automatic, stream_position)
             VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (user_nid, room_nid, root_id) DO UPDATE SET
               is_subscribed = EXCLUDED.is_subscribed,
               is_automatic = EXCLUDED.is_automatic,
               stream_position = EXCLUDED.stream_position",
            user.0,
            room.0,
            root.as_str(),
            wanted != SubscriptionChange::End,
            wanted == SubscriptionChange::Automatic,
            position.0
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }
}

/// What becomes of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscriptionChange {
    /// The user subscribes.
    Manual,
    /// A client subscribes by itself.
    Automatic,
    /// The user does not want to hear of the thread any more.
    End,
}
