//! How media end: what uses them, and what has been kept for long enough.

use hs_model::{
    ids::{EventNid, RoomNid, UserNid},
    stream::Position,
};

use crate::{Reader, Txn, error::Result};

/// An event names media.
#[derive(Clone, Debug)]
pub struct MediaUse {
    /// The event.
    pub event: EventNid,
    /// Its room.
    pub room: RoomNid,
    /// Its sender.
    pub sender: UserNid,
    /// The server of the media; empty for this one.
    pub origin: String,
    /// The id.
    pub media_id: String,
}

impl Reader {
    /// Ids that nothing was uploaded under in time.
    pub async fn list_expired_media(&mut self, now_ms: i64, limit: i64) -> Result<Vec<i64>> {
        let nids = sqlx::query_scalar!(
            "SELECT media_nid FROM media WHERE hash IS NULL AND expires_at <= $1 ORDER BY expires_at LIMIT $2",
            now_ms,
            limit
        )
        .fetch_all(self.conn())
        .await?;
        Ok(nids)
    }

    /// Media of other servers, and pictures of previews, that nobody has asked for since. Withheld ones stay, so that they
    /// are not fetched anew.
    pub async fn list_unused_copies(&mut self, unused_since: i64, limit: i64) -> Result<Vec<i64>> {
        let nids = sqlx::query_scalar!(
            "SELECT media_nid FROM media
             WHERE kind IN (1, 2) AND hash IS NOT NULL AND used_at < $1 AND quarantined_at IS NULL
             ORDER BY used_at
             LIMIT $2",
            unused_since,
            limit
        )
        .fetch_all(self.conn())
        .await?;
        Ok(nids)
    }

    /// Those of the copies that were unused for longest, beyond the newest `max_bytes` of them.
    pub async fn list_excess_copies(&mut self, max_bytes: u64, limit: i64) -> Result<Vec<i64>> {
        let nids = sqlx::query_scalar!(
            r#"SELECT media_nid AS "media_nid!" FROM (
               SELECT m.media_nid, m.used_at,
                 SUM(b.size) OVER (ORDER BY m.used_at DESC, m.media_nid DESC) AS total
               FROM media m
               JOIN media_blobs b USING (hash)
               WHERE m.kind IN (1, 2) AND m.quarantined_at IS NULL
             ) AS copies
             WHERE total > $1::bigint
             ORDER BY used_at
             LIMIT $2"#,
            i64::try_from(max_bytes).unwrap_or(i64::MAX),
            limit
        )
        .fetch_all(self.conn())
        .await?;
        Ok(nids)
    }

    /// What the senders of redacted events had uploaded for them: media of this server that a redacted event of their own
    /// uploader named, and that is neither named by another event nor a picture of the uploader.
    pub async fn list_media_of_redacted(&mut self, redacted: &[i64]) -> Result<Vec<i64>> {
        let nids = sqlx::query_scalar!(
            r#"SELECT DISTINCT m.media_nid
             FROM media_uses u
             JOIN media m ON m.origin = u.origin AND m.media_id = u.media_id
             WHERE u.event_nid = ANY($1) AND m.origin = '' AND m.uploader_nid = u.sender_nid
               AND m.quarantined_at IS NULL
               AND NOT EXISTS (
                 SELECT 1 FROM media_uses other
                 JOIN events e USING (event_nid)
                 WHERE other.origin = m.origin AND other.media_id = m.media_id
                   AND other.event_nid <> ALL($1) AND e.redacted_by IS NULL)
               AND NOT EXISTS (
                 SELECT 1 FROM profile_fields p
                 WHERE p.user_nid = m.uploader_nid AND p.field = 'avatar_url' AND p.value LIKE '%/' || m.media_id || '"')
             ORDER BY m.media_nid"#,
            redacted
        )
        .fetch_all(self.conn())
        .await?;
        Ok(nids)
    }
}

impl Txn {
    /// How far the log has been read; nobody else reads on until the end of the transaction.
    pub async fn lock_media_position(&mut self) -> Result<Position> {
        let position = sqlx::query_scalar!("SELECT position FROM media_follower FOR UPDATE")
            .fetch_one(self.conn())
            .await?;
        Ok(Position(position))
    }

    /// Notes how far the log has been read.
    pub async fn set_media_position(&mut self, position: Position) -> Result<()> {
        sqlx::query!("UPDATE media_follower SET position = $1", position.0).execute(self.conn()).await?;
        Ok(())
    }

    /// Notes which events name which media.
    pub async fn insert_media_uses(&mut self, uses: &[MediaUse]) -> Result<()> {
        let events: Vec<i64> = uses.iter().map(|one| one.event.0).collect();
        let rooms: Vec<i64> = uses.iter().map(|one| one.room.0).collect();
        let senders: Vec<i64> = uses.iter().map(|one| one.sender.0).collect();
        let origins: Vec<&str> = uses.iter().map(|one| one.origin.as_str()).collect();
        let ids: Vec<&str> = uses.iter().map(|one| one.media_id.as_str()).collect();
        sqlx::query!(
            "INSERT INTO media_uses (event_nid, room_nid, sender_nid, origin, media_id)
             SELECT * FROM UNNEST($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::text[])
             ON CONFLICT DO NOTHING",
            &events,
            &rooms,
            &senders,
            &origins as &[&str],
            &ids as &[&str]
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Forgets what redacted events named.
    pub async fn delete_media_uses(&mut self, events: &[i64]) -> Result<()> {
        sqlx::query!("DELETE FROM media_uses WHERE event_nid = ANY($1)", events).execute(self.conn()).await?;
        Ok(())
    }
}
