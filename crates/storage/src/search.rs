//! The index of messages, and how far its follower has come.

use hs_model::{
    ids::{EventNid, RoomNid, UserNid},
    stream::Position,
};

use crate::{Reader, Txn, error::Result};

/// Which text of an event it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
pub enum SearchField {
    /// `content.body` of a message.
    Body = 0,
    /// `content.name` of the name of a room.
    Name = 1,
    /// `content.topic` of the topic of a room.
    Topic = 2,
}

/// An event with its words.
#[derive(Clone, Debug)]
pub struct IndexedEvent {
    /// The event.
    pub event: EventNid,
    /// Its room.
    pub room: RoomNid,
    /// Its sender.
    pub sender: UserNid,
    /// Which text it is.
    pub field: SearchField,
    /// Its position.
    pub position: Position,
    /// The text of a `tsvector`.
    pub words: String,
}

/// How far the follower has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SearchState {
    /// It has read the log up to here.
    pub position: Position,
    /// Events up to this one are indexed anew; `None` when that is done.
    pub rebuild_events: Option<EventNid>,
    /// Users likewise.
    pub rebuild_users: Option<UserNid>,
    /// Rooms likewise.
    pub rebuild_rooms: Option<RoomNid>,
}

impl SearchState {
    /// Whether everything is indexed that the log had told of at `position`.
    pub fn is_rebuilt(&self) -> bool {
        self.rebuild_events.is_none() && self.rebuild_users.is_none() && self.rebuild_rooms.is_none()
    }
}

/// A place among the things found: greatest rank first, newest first among equals.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FoundPlace {
    /// The rank; zero for all when the order is that of time.
    pub rank: f32,
    /// The position.
    pub position: Position,
    /// The event.
    pub event: EventNid,
}

/// Something found.
#[derive(Clone, Copy, Debug)]
pub struct FoundEvent {
    /// Where it stands among what was found.
    pub place: FoundPlace,
    /// Its room.
    pub room: RoomNid,
    /// How well it fits, whatever the order.
    pub rank: f32,
}

/// What is searched for.
#[derive(Clone, Debug)]
pub struct SearchQuery<'a> {
    /// The text of a `tsquery`.
    pub matching: &'a str,
    /// Another one, by which what fits exactly ranks higher.
    pub exact: &'a str,
    /// In these rooms.
    pub rooms: &'a [RoomNid],
    /// In these texts.
    pub fields: &'a [SearchField],
    /// Sent by one of these; `None` for everybody.
    pub senders: Option<&'a [UserNid]>,
    /// Sent by none of these.
    pub not_senders: &'a [UserNid],
    /// Best first, instead of newest first.
    pub by_rank: bool,
    /// What comes after this.
    pub after: Option<FoundPlace>,
    /// At most this many.
    pub limit: i64,
}

/// How many matches, the newest, are counted and ranked. Beyond that nobody reads on, and ranking costs time.
const MAX_MATCHES: i64 = 20_000;

impl Reader {
    /// How far the follower has come.
    pub async fn find_search_state(&mut self) -> Result<SearchState> {
        let row =
            sqlx::query!("SELECT position, rebuild_events, rebuild_users, rebuild_rooms FROM search_state")
                .fetch_one(self.conn())
                .await?;
        Ok(SearchState {
            position: Position(row.position),
            rebuild_events: row.rebuild_events.map(EventNid),
            rebuild_users: row.rebuild_users.map(UserNid),
            rebuild_rooms: row.rebuild_rooms.map(RoomNid),
        })
    }

    /// Events with words, and about how many there are.
    pub async fn search_events(&mut self, query: &SearchQuery<'_>) -> Result<(Vec<FoundEvent>, i64)> {
        let rooms: Vec<i64> = query.rooms.iter().map(|room| room.0).collect();
        let fields: Vec<i16> = query.fields.iter().map(|field| *field as i16).collect();
        let senders: Option<Vec<i64>> =
            query.senders.map(|senders| senders.iter().map(|user| user.0).collect());
        let not_senders: Vec<i64> = query.not_senders.iter().map(|user| user.0).collect();
        let after = query.after.unwrap_or(FoundPlace {
            rank: f32::INFINITY,
            position: Position(i64::MAX),
            event: EventNid(i64::MAX),
        });
        let rows = sqlx::query!(
            r#"WITH matches AS (
                 SELECT event_nid, room_nid, stream_position, words
                 FROM search_index
                 WHERE words @@ $1::text::tsquery AND room_nid = ANY($3) AND field = ANY($4)
                   AND ($5::bigint[] IS NULL OR sender_nid = ANY($5))
                   AND NOT sender_nid = ANY($6)
                   AND ($7 OR stream_position <= $9)
                 ORDER BY stream_position DESC
                 LIMIT $12
             ), ranked AS (
                 SELECT event_nid, room_nid, stream_position, words,
                   CASE WHEN $7
                     THEN ts_rank(words, $1::text::tsquery) + ts_rank(words, $2::text::tsquery)
                     ELSE 0::real
                   END AS place_rank
                 FROM matches
             ), page AS (
                 SELECT event_nid, room_nid, stream_position, place_rank, words
                 FROM ranked
                 WHERE (place_rank, stream_position, event_nid) < ($8::real, $9, $10)
                 ORDER BY place_rank DESC, stream_position DESC, event_nid DESC
                 LIMIT $11
             )
             SELECT event_nid, room_nid, stream_position, place_rank AS "place_rank!",
               ts_rank(words, $1::text::tsquery) + ts_rank(words, $2::text::tsquery) AS "rank!",
               (SELECT COUNT(*) FROM matches) AS "total!"
             FROM page
             ORDER BY place_rank DESC, stream_position DESC, event_nid DESC"#,
            query.matching,
            query.exact,
            &rooms,
            &fields,
            senders.as_deref(),
            &not_senders,
            query.by_rank,
            after.rank,
            after.position.0,
            after.event.0,
            query.limit,
            MAX_MATCHES
        )
        .fetch_all(self.conn())
        .await?;
        let total = rows.first().map_or(0, |row| row.total);
        let found = rows.into_iter().map(|row| FoundEvent {
            place: FoundPlace {
                rank: row.place_rank,
                position: Position(row.stream_position),
                event: EventNid(row.event_nid),
            },
            room: RoomNid(row.room_nid),
            rank: row.rank,
        });
        Ok((found.collect(), total))
    }

    /// Events of the types that are indexed, with numbers above one, in order; redacted ones are left out.
    pub async fn list_searchable_events(&mut self, after: EventNid, limit: i64) -> Result<Vec<EventNid>> {
        let nids = sqlx::query_scalar!(
            "SELECT event_nid
             FROM events
             WHERE event_nid > $1 AND outcome = 0 AND stream_position IS NOT NULL AND redacted_by IS NULL
               AND type_nid IN (
                 SELECT type_nid FROM event_types
                 WHERE event_type IN ('m.room.message', 'm.room.name', 'm.room.topic')
               )
             ORDER BY event_nid
             LIMIT $2",
            after.0,
            limit
        )
        .fetch_all(self.conn())
        .await?;
        Ok(nids.into_iter().map(EventNid).collect())
    }
}

impl Txn {
    /// Indexes events, those that are indexed already anew.
    pub async fn upsert_indexed_events(&mut self, events: &[IndexedEvent]) -> Result<()> {
        let column = |of: fn(&IndexedEvent) -> i64| events.iter().map(of).collect::<Vec<i64>>();
        let fields: Vec<i16> = events.iter().map(|event| event.field as i16).collect();
        let words: Vec<&str> = events.iter().map(|event| &*event.words).collect();
        sqlx::query!(
            "INSERT INTO search_index (event_nid, room_nid, sender_nid, stream_position, field, words)
             SELECT DISTINCT ON (event_nid) event_nid, room_nid, sender_nid, stream_position, field, words::tsvector
             FROM UNNEST($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::smallint[], $6::text[])
               AS new (event_nid, room_nid, sender_nid, stream_position, field, words)
             ON CONFLICT (event_nid) DO UPDATE SET words = EXCLUDED.words",
            &column(|event| event.event.0),
            &column(|event| event.room.0),
            &column(|event| event.sender.0),
            &column(|event| event.position.0),
            &fields,
            &words as &[&str]
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Takes events out of the index.
    pub async fn delete_indexed_events(&mut self, events: &[EventNid]) -> Result<()> {
        let nids: Vec<i64> = events.iter().map(|event| event.0).collect();
        sqlx::query!("DELETE FROM search_index WHERE event_nid = ANY($1)", &nids)
            .execute(self.conn())
            .await?;
        Ok(())
    }

    /// Notes how far the follower has come. Whatever is lost of it in a crash is done again, so that the commit need not wait
    /// for the disk.
    pub async fn set_search_state(&mut self, state: &SearchState) -> Result<()> {
        sqlx::query!("SET LOCAL synchronous_commit TO off").execute(self.conn()).await?;
        sqlx::query!(
            "UPDATE search_state
             SET position = $1, rebuild_events = $2, rebuild_users = $3, rebuild_rooms = $4",
            state.position.0,
            state.rebuild_events.map(|event| event.0),
            state.rebuild_users.map(|user| user.0),
            state.rebuild_rooms.map(|room| room.0)
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Empties everything that can be searched, to be filled anew.
    pub async fn reset_search(&mut self) -> Result<()> {
        // The row first: whoever works on the index holds it locked, and is let finish.
        sqlx::query!(
            "UPDATE search_state
             SET rebuild_events = 0, rebuild_users = 0, rebuild_rooms = 0,
               position = (SELECT position FROM log_head)"
        )
        .execute(self.conn())
        .await?;
        sqlx::query!("TRUNCATE search_index, user_directory, open_rooms").execute(self.conn()).await?;
        Ok(())
    }

    /// Keeps others from changing how far the follower has come until commit, and returns it.
    pub async fn lock_search_state(&mut self) -> Result<SearchState> {
        sqlx::query!("SELECT position FROM search_state FOR UPDATE").fetch_one(self.conn()).await?;
        self.find_search_state().await
    }
}
