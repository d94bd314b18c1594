//! Rooms of which not all members are known at first: what is written when such a room is taken over, and when the rest has
//! come.

use hs_model::{
    ids::{EventNid, StateGroupNid},
    records::Outcome,
};
use ruma::OwnedServerName;

use super::AppendUnit;
use crate::{error::Result, txn::Txn};

/// Whether all members of a room are known.
#[derive(Clone, Debug)]
pub enum Completeness {
    /// Most of them are not.
    Partial {
        /// The event by which this server came in: the state before it is incomplete.
        join: EventNid,
        /// The server that let the user in.
        asked: OwnedServerName,
        /// The servers in the room, as that server says.
        servers: Vec<OwnedServerName>,
        /// When the rest may be fetched, in milliseconds.
        retry_at: i64,
    },
    /// They are. With `replaces_room`, clients that were not shown the room are shown it from there on.
    Whole,
}

/// What has become of an event that was judged anew.
#[derive(Clone, Debug)]
pub struct RejudgedEvent {
    /// The event.
    pub nid: EventNid,
    /// The state before it.
    pub state_before: Option<StateGroupNid>,
    /// The state after it, when it changes the state.
    pub state_after: Option<StateGroupNid>,
    /// What the checks say.
    pub outcome: Outcome,
    /// Why it is soft-failed or rejected.
    pub reason: Option<String>,
    /// The state event that it replaces.
    pub replaces: Option<EventNid>,
}

impl Txn {
    /// Writes down what the checks say of events now.
    pub(super) async fn rejudge_events(&mut self, units: &[AppendUnit]) -> Result<()> {
        let events: Vec<&RejudgedEvent> = units.iter().flat_map(|unit| &unit.rejudged).collect();
        if events.is_empty() {
            return Ok(());
        }
        let nids: Vec<i64> = events.iter().map(|event| event.nid.0).collect();
        let before: Vec<Option<i64>> = events.iter().map(|event| event.state_before.map(i64::from)).collect();
        let after: Vec<Option<i64>> = events.iter().map(|event| event.state_after.map(i64::from)).collect();
        let outcomes: Vec<i16> = events.iter().map(|event| event.outcome.code()).collect();
        let reasons: Vec<Option<&str>> = events.iter().map(|event| event.reason.as_deref()).collect();
        let replaces: Vec<Option<i64>> = events.iter().map(|event| event.replaces.map(i64::from)).collect();
        sqlx::query!(
            "UPDATE events SET state_before = new.state_before, state_after = new.state_after, outcome = new.outcome,
               reason = new.reason, replaces = new.replaces
             FROM UNNEST($1::bigint[], $2::bigint[], $3::bigint[], $4::smallint[], $5::text[], $6::bigint[])
               AS new (event_nid, state_before, state_after, outcome, reason, replaces)
             WHERE events.event_nid = new.event_nid",
            &nids,
            &before as &[Option<i64>],
            &after as &[Option<i64>],
            &outcomes,
            &reasons as &[Option<&str>],
            &replaces as &[Option<i64>]
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Writes down which rooms are known in part, and which are whole again. `replaced_at` says where a room changed.
    pub(super) async fn note_completeness(
        &mut self,
        units: &[AppendUnit],
        replaced_at: impl Fn(&AppendUnit) -> i64,
    ) -> Result<()> {
        for unit in units {
            // Rare, and seldom more than one in a batch.
            match &unit.completeness {
                None => {}
                Some(Completeness::Partial { join, asked, servers, retry_at }) => {
                    let servers: Vec<&str> = servers.iter().map(|server| server.as_str()).collect();
                    sqlx::query!(
                        "INSERT INTO partial_rooms (room_nid, join_nid, asked, servers, retry_at)
                         VALUES ($1, $2, $3, $4, $5)
                         ON CONFLICT (room_nid) DO UPDATE
                         SET join_nid = EXCLUDED.join_nid, asked = EXCLUDED.asked, servers = EXCLUDED.servers,
                           retry_at = EXCLUDED.retry_at, attempts = 0, whole_at = NULL",
                        unit.room.0,
                        join.0,
                        asked.as_str(),
                        &servers as &[&str],
                        retry_at
                    )
                    .execute(self.conn())
                    .await?;
                }
                Some(Completeness::Whole) if unit.replaces_room => {
                    let whole_at = replaced_at(unit);
                    sqlx::query!(
                        "UPDATE partial_rooms SET whole_at = $2 WHERE room_nid = $1 AND whole_at IS NULL",
                        unit.room.0,
                        whole_at
                    )
                    .execute(self.conn())
                    .await?;
                    // Members of whom it was not known that they had been there all the time.
                    sqlx::query!(
                        "DELETE FROM state_corrections c
                         USING events e
                         WHERE c.room_nid = $1 AND c.replaces IS NULL AND e.event_nid = c.event_nid
                           AND e.stream_position IS NULL",
                        unit.room.0
                    )
                    .execute(self.conn())
                    .await?;
                }
                Some(Completeness::Whole) => {
                    sqlx::query!("DELETE FROM partial_rooms WHERE room_nid = $1", unit.room.0)
                        .execute(self.conn())
                        .await?;
                }
            }
        }
        Ok(())
    }
}
