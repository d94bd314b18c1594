//! What units that other servers have a part in write beside: edges to events that are missing, and corrections of the
//! current state, which take positions of their own after the events of the batch.

use std::collections::HashMap;

use hs_model::{
    ids::{EventNid, RoomNid},
    stream::Position,
};

use super::{super::AppendUnit, all_events};
use crate::{
    error::Result,
    log::{LogEntry, LogKind},
    txn::Txn,
};

/// How many positions a unit takes beside those of its events.
pub(super) fn further_positions(unit: &AppendUnit) -> i64 {
    unit.corrections.len() as i64 + i64::from(unit.replaces_room)
}

/// Which positions the parts of a batch have.
pub(super) struct Layout {
    events: HashMap<EventNid, i64>,
    /// The first of the further positions of each room.
    further: HashMap<RoomNid, i64>,
    first: i64,
}

impl Layout {
    pub(super) fn new(units: &[AppendUnit], first: Position) -> Self {
        let events: HashMap<_, _> =
            all_events(units).enumerate().map(|(i, event)| (event.record.nid, first.0 + i as i64)).collect();
        let mut next = first.0 + events.len() as i64;
        let mut further = HashMap::new();
        for unit in units {
            further.insert(unit.room, next);
            next += further_positions(unit);
        }
        Self { events, further, first: first.0 }
    }

    fn corrections_of(&self, unit: &AppendUnit) -> i64 {
        self.further.get(&unit.room).copied().unwrap_or(self.first) + i64::from(unit.replaces_room)
    }

    /// Where everything about the room of a unit may have changed, if the unit says so.
    pub(super) fn replaced_at(&self, unit: &AppendUnit) -> i64 {
        self.corrections_of(unit) - 1
    }

    /// Where an event took or takes effect in this unit.
    pub(super) fn position_of(&self, unit: &AppendUnit, event: EventNid) -> i64 {
        let brings_back = |correction: &super::super::StateCorrection| {
            correction.event.as_ref().is_some_and(|record| record.nid == event)
        };
        if let Some(i) = unit.corrections.iter().position(brings_back) {
            return self.corrections_of(unit) + i as i64;
        }
        // An event from before the unit that no correction names stands for the state that the room was adopted with.
        let newest = unit.events.last().and_then(|event| self.events.get(&event.record.nid));
        let replaced = || self.further.get(&unit.room).copied().unwrap_or(self.first);
        self.events.get(&event).or(newest).copied().unwrap_or_else(replaced)
    }

    /// The log's entries at the further positions, in order.
    pub(super) fn corrections(&self, units: &[AppendUnit]) -> Vec<LogEntry> {
        let entry = |position, kind, unit: &AppendUnit| LogEntry {
            position: Position(position),
            kind,
            room: Some(unit.room),
            user: None,
            subject: None,
            event: None,
            change: None,
            is_local: true,
        };
        let mut entries = Vec::new();
        for unit in units {
            let first = self.corrections_of(unit);
            if unit.replaces_room {
                entries.push(entry(self.replaced_at(unit), LogKind::RoomReplaced, unit));
            }
            for (i, correction) in unit.corrections.iter().enumerate() {
                let at = first + i as i64;
                entries.push(match &correction.event {
                    Some(event) => LogEntry {
                        subject: Some(event.nid.0),
                        event: Some(event.clone()),
                        ..entry(at, LogKind::StateRestored, unit)
                    },
                    None => LogEntry {
                        subject: Some(correction.slot.0),
                        ..entry(at, LogKind::StateRemoved, unit)
                    },
                });
            }
        }
        entries
    }
}

impl Txn {
    /// Makes room for events that were stored without a place.
    pub(in crate::append) async fn delete_outliers(&mut self, units: &[AppendUnit]) -> Result<()> {
        let outliers: Vec<i64> =
            units.iter().flat_map(|unit| unit.former_outliers.iter().map(|nid| nid.0)).collect();
        if outliers.is_empty() {
            return Ok(());
        }
        sqlx::query!(
            "WITH gone AS (
               DELETE FROM events WHERE event_nid = ANY($1) AND stream_position IS NULL RETURNING event_nid
             )
             DELETE FROM event_json USING gone WHERE event_json.event_nid = gone.event_nid",
            &outliers
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Notes predecessors that are missing, links those that were and have come, and notes redactions that came earlier
    /// than what they redact.
    pub(in crate::append) async fn insert_edges(&mut self, units: &[AppendUnit]) -> Result<()> {
        let (mut rooms, mut ids, mut events) = (Vec::new(), Vec::new(), Vec::new());
        for event in all_events(units) {
            for id in &event.missing_prev {
                rooms.push(event.record.room.0);
                ids.push(id.as_str());
                events.push(event.record.nid.0);
            }
        }
        let found: Vec<&str> =
            units.iter().flat_map(|unit| unit.found.iter().map(|id| id.as_str())).collect();
        if !ids.is_empty() {
            sqlx::query!(
                "INSERT INTO missing_prev_events (room_nid, prev_event_id, event_nid)
                 SELECT * FROM UNNEST($1::bigint[], $2::text[], $3::bigint[])
                 ON CONFLICT DO NOTHING",
                &rooms,
                &ids as &[&str],
                &events
            )
            .execute(self.conn())
            .await?;
        }
        // What is noted as missing may have come just before, with the room's past.
        ids.extend(found);
        self.link_found(&ids).await?;
        let redacted =
            all_events(units).filter_map(|event| Some((event.record.nid.0, event.record.redacted_by?.0)));
        let (targets, redactions): (Vec<i64>, Vec<i64>) = redacted.unzip();
        if !targets.is_empty() {
            sqlx::query!(
                "UPDATE events SET redacted_by = new.redaction_nid
                 FROM UNNEST($1::bigint[], $2::bigint[]) AS new (event_nid, redaction_nid)
                 WHERE events.event_nid = new.event_nid",
                &targets,
                &redactions
            )
            .execute(self.conn())
            .await?;
        }
        Ok(())
    }

    /// Until the commit, nobody else notes what is missing in these rooms, or has come: of an event and one that names it, the
    /// second to be written sees the first. Before anything else is locked, so that who has it holds up nobody who has more.
    pub(in crate::append) async fn lock_edges(&mut self, units: &[AppendUnit]) -> Result<()> {
        const NAMESPACE: i32 = 0x6b69_6564;
        let is_concerned = |unit: &AppendUnit| {
            !unit.found.is_empty() || unit.events.iter().any(|event| !event.missing_prev.is_empty())
        };
        let mut rooms: Vec<i32> =
            units.iter().filter(|unit| is_concerned(unit)).map(|unit| unit.room.0 as i32).collect();
        if rooms.is_empty() {
            return Ok(());
        }
        rooms.sort_unstable();
        sqlx::query!(
            "SELECT pg_advisory_xact_lock($1, room) FROM UNNEST($2::int[]) AS room",
            NAMESPACE,
            &rooms
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Those of the events that were missing, and are here now, become predecessors of those that name them: whoever walks
    /// back through the room, here or on another server, finds them.
    async fn link_found(&mut self, ids: &[&str]) -> Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        sqlx::query!(
            "WITH found AS (
               DELETE FROM missing_prev_events m
               USING events prev
               WHERE m.prev_event_id = ANY($1) AND prev.event_id = m.prev_event_id AND prev.room_nid = m.room_nid
                 AND prev.state_before IS NOT NULL
               RETURNING m.event_nid, prev.event_nid AS prev_nid
             ), links AS (
               SELECT event_nid, ARRAY_AGG(prev_nid) AS prev_nids FROM found GROUP BY event_nid
             )
             UPDATE events
             SET prev_nids = ARRAY(SELECT UNNEST(events.prev_nids) UNION SELECT UNNEST(links.prev_nids))
             FROM links
             WHERE events.event_nid = links.event_nid",
            ids as &[&str]
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Writes down the corrections and their entries of the log.
    pub(super) async fn insert_corrections(&mut self, units: &[AppendUnit], layout: &Layout) -> Result<()> {
        let entries = layout.corrections(units);
        if entries.is_empty() {
            return Ok(());
        }
        let positions: Vec<i64> = entries.iter().map(|entry| entry.position.0).collect();
        let kinds: Vec<i16> = entries.iter().map(|entry| entry.kind.code()).collect();
        let rooms: Vec<Option<i64>> = entries.iter().map(|entry| entry.room.map(|room| room.0)).collect();
        let subjects: Vec<Option<i64>> = entries.iter().map(|entry| entry.subject).collect();
        sqlx::query!(
            "INSERT INTO log (position, kind, room_nid, user_nid, subject)
             SELECT position, kind, room_nid, NULL, subject
             FROM UNNEST($1::bigint[], $2::smallint[], $3::bigint[], $4::bigint[])
               AS new (position, kind, room_nid, subject)",
            &positions,
            &kinds,
            &rooms as &[Option<i64>],
            &subjects as &[Option<i64>]
        )
        .execute(self.conn())
        .await?;
        let (mut rooms, mut at, mut slots) = (Vec::new(), Vec::new(), Vec::new());
        let (mut events, mut replaced) = (Vec::new(), Vec::new());
        for unit in units {
            for (i, correction) in unit.corrections.iter().enumerate() {
                rooms.push(unit.room.0);
                at.push(layout.corrections_of(unit) + i as i64);
                slots.push(correction.slot.0);
                events.push(correction.event.as_ref().map(|event| event.nid.0));
                replaced.push(correction.replaces.map(|event| event.0));
            }
        }
        sqlx::query!(
            "INSERT INTO state_corrections (room_nid, stream_position, slot_nid, event_nid, replaces)
             SELECT * FROM UNNEST($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[])",
            &rooms,
            &at,
            &slots,
            &events as &[Option<i64>],
            &replaced as &[Option<i64>]
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }
}
