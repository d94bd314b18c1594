//! The statements of a batch. Whatever the batch holds, their number does not grow with it.

mod further;
mod messages;

use std::{collections::HashSet, sync::Arc};

use hs_model::{ids::RoomNid, notices::Notice, records::EventRecord, stream::Position};

use self::further::{Layout, further_positions};
use super::{AppendUnit, Appended, NewEvent, array_literal};
use crate::{
    Store,
    error::{Result, StorageError},
    log::{LogEntry, LogKind},
    txn::Txn,
};

/// How a batch ended.
pub(super) enum Written {
    /// Everything is on disk; one answer for each unit.
    All(Vec<Appended>),
    /// Nothing was written, since these rooms have moved on.
    Lost(HashSet<RoomNid>),
}

pub(super) async fn write_batch(store: &Store, units: &[AppendUnit]) -> Result<Written> {
    if units.iter().all(messages::is_messages_only)
        && let Some(appended) = messages::write(store, units).await?
    {
        return Ok(Written::All(appended));
    }
    let mut txn = store.begin().await?;
    txn.lock_edges(units).await?;
    txn.insert_rooms(units).await?;
    txn.insert_state_groups(units).await?;
    txn.change_current_state(units).await?;
    txn.insert_relations(units).await?;
    txn.insert_redactions(units).await?;
    txn.delete_outliers(units).await?;
    // From here on the log is locked.
    let head = txn.insert_events(units, false).await?;
    if head.won.len() < units.len() {
        txn.rollback().await?;
        let lost = units.iter().map(|unit| unit.room).filter(|room| !head.won.contains(room)).collect();
        return Ok(Written::Lost(lost));
    }
    let layout = Layout::new(units, head.first);
    txn.upsert_memberships(units, head.first).await?;
    txn.insert_notices(units, head.first).await?;
    txn.insert_edges(units).await?;
    txn.insert_corrections(units, &layout).await?;
    txn.rejudge_events(units).await?;
    txn.note_completeness(units, |unit| layout.replaced_at(unit)).await?;

    let appended = txn.note_events(units, head.first);
    let sticky: Vec<_> = appended
        .iter()
        .flat_map(|unit| unit.events.iter().filter_map(|event| super::sticky(event)))
        .collect();
    for entry in layout.corrections(units) {
        txn.note(entry);
    }
    txn.insert_sticky_events(&sticky).await?;
    txn.commit_noted().await?;
    Ok(Written::All(appended))
}

/// What the main statement found.
struct Head {
    first: Position,
    won: HashSet<RoomNid>,
}

fn all_events(units: &[AppendUnit]) -> impl Iterator<Item = &NewEvent> {
    units.iter().flat_map(|unit| &unit.events)
}

impl Txn {
    async fn insert_rooms(&mut self, units: &[AppendUnit]) -> Result<()> {
        for unit in units {
            // A new room is a rare unit, seldom more than one in a batch.
            let Some(room) = &unit.create else { continue };
            sqlx::query!(
                "WITH made AS (
                   INSERT INTO rooms (room_nid, room_id, room_version, is_published, created_at)
                   VALUES ($1, $2, $3, $4, $5)
                   RETURNING room_nid
                 )
                 INSERT INTO room_heads (room_nid, version, state_group, forward_extremities, depth, last_position)
                 SELECT room_nid, 0, 0, '{}', 0, 0 FROM made",
                unit.room.0,
                room.room_id.as_str(),
                room.version.as_str(),
                room.is_published,
                room.created_at
            )
            .execute(self.conn())
            .await?;
            if let Some((alias, creator)) = &room.alias {
                sqlx::query!(
                    "INSERT INTO room_aliases (alias, room_nid, creator_nid, created_at) VALUES ($1, $2, $3, $4)",
                    alias.as_str(),
                    unit.room.0,
                    creator.0,
                    room.created_at
                )
                .execute(self.conn())
                .await?;
            }
        }
        Ok(())
    }

    pub(super) async fn insert_state_groups(&mut self, units: &[AppendUnit]) -> Result<()> {
        let groups: Vec<_> =
            units.iter().flat_map(|unit| unit.state_groups.iter().map(|group| (unit.room, group))).collect();
        if groups.is_empty() {
            return Ok(());
        }
        let nids: Vec<i64> = groups.iter().map(|(_, g)| g.nid.0).collect();
        let rooms: Vec<i64> = groups.iter().map(|(room, _)| room.0).collect();
        let parents: Vec<Option<i64>> = groups.iter().map(|(_, g)| g.parent.map(i64::from)).collect();
        let heights: Vec<i64> = groups.iter().map(|(_, g)| g.height).collect();
        let slots: Vec<String> =
            groups.iter().map(|(_, g)| array_literal(g.delta.iter().map(|(slot, _)| slot.0))).collect();
        let events: Vec<String> =
            groups.iter().map(|(_, g)| array_literal(g.delta.iter().map(|(_, event)| event.0))).collect();
        sqlx::query!(
            "INSERT INTO state_groups (state_group, room_nid, parent, height, slots, events)
             SELECT state_group, room_nid, parent, height, slots::bigint[], events::bigint[]
             FROM UNNEST($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::text[])
               AS new (state_group, room_nid, parent, height, slots, events)",
            &nids,
            &rooms,
            &parents as &[Option<i64>],
            &heights,
            &slots,
            &events
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    async fn change_current_state(&mut self, units: &[AppendUnit]) -> Result<()> {
        let changes: Vec<_> = units
            .iter()
            .flat_map(|unit| unit.state_changes.iter().map(|(slot, event)| (unit.room.0, slot.0, *event)))
            .collect();
        let filled: Vec<_> =
            changes.iter().filter_map(|(room, slot, event)| Some((*room, *slot, (*event)?.0))).collect();
        if !filled.is_empty() {
            let rooms: Vec<i64> = filled.iter().map(|(room, ..)| *room).collect();
            let slots: Vec<i64> = filled.iter().map(|(_, slot, _)| *slot).collect();
            let events: Vec<i64> = filled.iter().map(|(.., event)| *event).collect();
            sqlx::query!(
                "INSERT INTO current_state (room_nid, slot_nid, event_nid)
                 SELECT * FROM UNNEST($1::bigint[], $2::bigint[], $3::bigint[])
                 ON CONFLICT (room_nid, slot_nid) DO UPDATE SET event_nid = EXCLUDED.event_nid",
                &rooms,
                &slots,
                &events
            )
            .execute(self.conn())
            .await?;
        }
        let emptied: Vec<_> = changes.iter().filter(|(.., event)| event.is_none()).collect();
        if !emptied.is_empty() {
            let rooms: Vec<i64> = emptied.iter().map(|(room, ..)| *room).collect();
            let slots: Vec<i64> = emptied.iter().map(|(_, slot, _)| *slot).collect();
            sqlx::query!(
                "DELETE FROM current_state
                 USING UNNEST($1::bigint[], $2::bigint[]) AS gone (room_nid, slot_nid)
                 WHERE current_state.room_nid = gone.room_nid AND current_state.slot_nid = gone.slot_nid",
                &rooms,
                &slots
            )
            .execute(self.conn())
            .await?;
        }
        Ok(())
    }

    pub(super) async fn insert_relations(&mut self, units: &[AppendUnit]) -> Result<()> {
        let relations: Vec<_> =
            all_events(units).filter_map(|event| Some((&event.record, event.relation.as_ref()?))).collect();
        if relations.is_empty() {
            return Ok(());
        }
        let events: Vec<i64> = relations.iter().map(|(record, _)| record.nid.0).collect();
        let rooms: Vec<i64> = relations.iter().map(|(record, _)| record.room.0).collect();
        let parents: Vec<&str> = relations.iter().map(|(_, r)| r.parent.as_str()).collect();
        let types: Vec<&str> = relations.iter().map(|(_, r)| r.rel_type.as_str()).collect();
        let keys: Vec<Option<&str>> = relations.iter().map(|(_, r)| r.key.as_deref()).collect();
        sqlx::query!(
            "INSERT INTO event_relations (event_nid, room_nid, parent_id, rel_type, aggregation_key)
             SELECT * FROM UNNEST($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[])",
            &events,
            &rooms,
            &parents as &[&str],
            &types as &[&str],
            &keys as &[Option<&str>]
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Notes redactions and puts those into force whose target the unit's builder found them allowed to redact.
    pub(super) async fn insert_redactions(&mut self, units: &[AppendUnit]) -> Result<()> {
        let redactions: Vec<_> =
            all_events(units).filter_map(|event| Some((&event.record, event.redacts_id.as_ref()?))).collect();
        if redactions.is_empty() {
            return Ok(());
        }
        let events: Vec<i64> = redactions.iter().map(|(record, _)| record.nid.0).collect();
        let rooms: Vec<i64> = redactions.iter().map(|(record, _)| record.room.0).collect();
        let targets: Vec<&str> = redactions.iter().map(|(_, target)| target.as_str()).collect();
        sqlx::query!(
            "INSERT INTO redactions (redaction_nid, room_nid, redacts_id)
             SELECT * FROM UNNEST($1::bigint[], $2::bigint[], $3::text[])",
            &events,
            &rooms,
            &targets as &[&str]
        )
        .execute(self.conn())
        .await?;
        let (redactions, targets): (Vec<i64>, Vec<i64>) =
            redactions.iter().filter_map(|(record, _)| Some((record.nid.0, record.redacts?.0))).unzip();
        sqlx::query!(
            "UPDATE events SET redacted_by = new.redaction_nid
             FROM UNNEST($1::bigint[], $2::bigint[]) AS new (redaction_nid, event_nid)
             WHERE events.event_nid = new.event_nid AND events.redacted_by IS NULL",
            &redactions,
            &targets
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Notes the log's entries for the units' events, which have positions from `first` on.
    fn note_events(&mut self, units: &[AppendUnit], first: Position) -> Vec<Appended> {
        let mut positions = first.0..;
        let mut appended = Vec::with_capacity(units.len());
        for unit in units {
            let mut events = Vec::with_capacity(unit.events.len());
            for (event, position) in unit.events.iter().zip(&mut positions) {
                let position = Position(position);
                let record = Arc::new(EventRecord { position: Some(position), ..event.record.clone() });
                self.note(LogEntry {
                    position,
                    kind: LogKind::Event,
                    room: Some(unit.room),
                    user: Some(record.sender_nid),
                    subject: Some(record.nid.0),
                    event: Some(record.clone()),
                    change: None,
                    is_local: true,
                });
                events.push(record);
            }
            appended.push(Appended { events, version: unit.expected_version + 1 });
        }
        appended
    }

    /// The main statement: takes the positions, moves the heads, and writes events, JSON, log and news. As a transaction of
    /// its own it `fails_if_lost`, with a division by zero: only an error undoes it when a room has moved on.
    async fn insert_events(&mut self, units: &[AppendUnit], fails_if_lost: bool) -> Result<Head> {
        let heads = HeadColumns::new(units);
        let rows = EventColumns::new(units);
        let count = rows.nids.len() as i64 + units.iter().map(further_positions).sum::<i64>();
        let row = sqlx::query!(
            r#"WITH head AS (
                 UPDATE log_head SET position = position + $1 RETURNING position - $1 AS base
               ), won AS (
                 UPDATE room_heads h
                 SET version = h.version + 1, state_group = n.state_group,
                   forward_extremities = n.extremities::bigint[], depth = n.depth, last_position = head.base + n.last
                 FROM head, UNNEST($2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::bigint[], $7::bigint[])
                   AS n (room_nid, version, state_group, extremities, depth, last)
                 WHERE h.room_nid = n.room_nid AND h.version = n.version
                 RETURNING h.room_nid
               ), new AS (
                 SELECT * FROM UNNEST($8::bigint[], $9::text[], $10::bigint[], $11::bigint[], $12::bigint[],
                   $13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[], $17::bigint[], $18::smallint[],
                   $19::text[], $20::bigint[], $21::text[], $22::text[], $23::text[], $24::text[], $25::bigint[],
                   $26::smallint[], $27::text[]) WITH ORDINALITY
                   AS e (event_nid, event_id, room_nid, sender_nid, type_nid, slot_nid, depth, origin_server_ts,
                     state_before, state_after, outcome, reason, txn_device_nid, txn_id, prev_nids, auth_nids, json, replaces,
                     notice, thread_root, n)
               ), stored_json AS (
                 INSERT INTO event_json (event_nid, json) SELECT event_nid, json FROM new
               ), logged AS (
                 INSERT INTO log (position, kind, room_nid, user_nid, subject)
                 SELECT head.base + n, 1, room_nid, sender_nid, event_nid FROM new, head
               ), stored AS (
                 INSERT INTO events (event_nid, event_id, room_nid, sender_nid, type_nid, slot_nid, stream_position, depth,
                   origin_server_ts, state_before, state_after, outcome, reason, txn_device_nid, txn_id, prev_nids,
                   auth_nids, replaces, notice, thread_root)
                 SELECT event_nid, event_id, room_nid, sender_nid, type_nid, slot_nid, head.base + n, depth,
                   origin_server_ts, state_before, state_after, outcome, reason, txn_device_nid, txn_id,
                   prev_nids::bigint[], auth_nids::bigint[], replaces, notice, thread_root
                 FROM new, head
               )
               SELECT head.base AS "base!", ARRAY(SELECT room_nid FROM won) AS "won!",
                 pg_notify('kith_log', (head.base + $1) || ' ' || current_setting('application_name'))::text AS news,
                 1 / (CASE WHEN $28 AND (SELECT count(*) FROM won) < cardinality($2::bigint[]) THEN 0 ELSE 1 END) AS undo
               FROM head"#,
            count,
            &heads.rooms,
            &heads.versions,
            &heads.state_groups,
            &heads.extremities,
            &heads.depths,
            &heads.last,
            &rows.nids,
            &rows.event_ids as &[&str],
            &rows.rooms,
            &rows.senders,
            &rows.types,
            &rows.slots as &[Option<i64>],
            &rows.depths,
            &rows.times,
            &rows.states_before as &[Option<i64>],
            &rows.states_after as &[Option<i64>],
            &rows.outcomes,
            &rows.reasons as &[Option<&str>],
            &rows.txn_devices as &[Option<i64>],
            &rows.txn_ids as &[Option<&str>],
            &rows.prev,
            &rows.auth,
            &rows.json as &[&str],
            &rows.replaces as &[Option<i64>],
            &rows.notices,
            &rows.thread_roots as &[Option<&str>],
            fails_if_lost,
        )
        // To the end: a statement that is a transaction of its own commits after its last row.
        .fetch_all(self.conn())
        .await?
        .pop()
        .ok_or(StorageError::Inconsistent { table: "log_head", column: "position", row: "the only one".to_owned() })?;
        Ok(Head { first: Position(row.base + 1), won: row.won.into_iter().map(RoomNid).collect() })
    }

    /// What the events mean to single users.
    pub(crate) async fn insert_notices(&mut self, units: &[AppendUnit], first: Position) -> Result<()> {
        let (mut rooms, mut users, mut events) = (Vec::new(), Vec::new(), Vec::new());
        let (mut at, mut attentions, mut tweaks) = (Vec::new(), Vec::new(), Vec::new());
        for (i, event) in all_events(units).enumerate() {
            let record = &event.record;
            let notice = record.notice.as_deref();
            for individual in notice.and_then(|notice| notice.individuals.as_deref()).unwrap_or_default() {
                rooms.push(record.room.0);
                users.push(individual.user.0);
                events.push(record.nid.0);
                at.push(first.0 + i as i64);
                attentions.push(individual.attention.code());
                tweaks.push(individual.tweaks.as_deref());
            }
        }
        if rooms.is_empty() {
            return Ok(());
        }
        sqlx::query!(
            "INSERT INTO notices (room_nid, user_nid, event_nid, stream_position, attention, tweaks)
             SELECT * FROM UNNEST($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::smallint[], $6::text[])",
            &rooms,
            &users,
            &events,
            &at,
            &attentions,
            &tweaks as &[Option<&str>]
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }

    pub(crate) async fn upsert_memberships(&mut self, units: &[AppendUnit], first: Position) -> Result<()> {
        if units.iter().all(|unit| unit.memberships.is_empty()) {
            return Ok(());
        }
        let layout = Layout::new(units, first);
        let (mut rooms, mut users, mut memberships) = (Vec::new(), Vec::new(), Vec::new());
        let (mut events, mut at) = (Vec::new(), Vec::new());
        for unit in units {
            for change in &unit.memberships {
                rooms.push(unit.room.0);
                users.push(change.user.0);
                memberships.push(change.membership.code());
                events.push(change.event.0);
                at.push(layout.position_of(unit, change.event));
            }
        }
        sqlx::query!(
            "INSERT INTO memberships (room_nid, user_nid, membership, event_nid, stream_position, since_position)
             SELECT room_nid, user_nid, membership, event_nid, stream_position, stream_position
             FROM UNNEST($1::bigint[], $2::bigint[], $3::smallint[], $4::bigint[], $5::bigint[])
               AS new (room_nid, user_nid, membership, event_nid, stream_position)
             ON CONFLICT (room_nid, user_nid) DO UPDATE
             SET since_position = CASE
                 WHEN memberships.membership = EXCLUDED.membership
                 THEN COALESCE(memberships.since_position, memberships.stream_position)
                 ELSE EXCLUDED.stream_position
               END,
               membership = EXCLUDED.membership, event_nid = EXCLUDED.event_nid,
               stream_position = EXCLUDED.stream_position, is_forgotten = FALSE",
            &rooms,
            &users,
            &memberships,
            &events,
            &at
        )
        .execute(self.conn())
        .await?;
        Ok(())
    }
}

/// The units' heads, column by column.
#[derive(Default)]
struct HeadColumns {
    rooms: Vec<i64>,
    versions: Vec<i64>,
    state_groups: Vec<i64>,
    extremities: Vec<String>,
    depths: Vec<i64>,
    last: Vec<i64>,
}

impl HeadColumns {
    fn new(units: &[AppendUnit]) -> Self {
        let mut columns = Self::default();
        let mut last_event = 0;
        let mut last_further = all_events(units).count() as i64;
        for unit in units {
            last_event += unit.events.len() as i64;
            let further = further_positions(unit);
            last_further += further;
            let last = if further > 0 { last_further } else { last_event };
            columns.rooms.push(unit.room.0);
            columns.versions.push(unit.expected_version);
            columns.state_groups.push(unit.head.state_group.0);
            columns.extremities.push(array_literal(unit.head.forward_extremities.iter().map(|nid| nid.0)));
            columns.depths.push(unit.head.depth);
            columns.last.push(last);
        }
        columns
    }
}

/// The units' events, column by column.
#[derive(Default)]
struct EventColumns<'a> {
    nids: Vec<i64>,
    event_ids: Vec<&'a str>,
    rooms: Vec<i64>,
    senders: Vec<i64>,
    types: Vec<i64>,
    slots: Vec<Option<i64>>,
    depths: Vec<i64>,
    times: Vec<i64>,
    states_before: Vec<Option<i64>>,
    states_after: Vec<Option<i64>>,
    outcomes: Vec<i16>,
    reasons: Vec<Option<&'a str>>,
    txn_devices: Vec<Option<i64>>,
    txn_ids: Vec<Option<&'a str>>,
    prev: Vec<String>,
    auth: Vec<String>,
    json: Vec<&'a str>,
    replaces: Vec<Option<i64>>,
    notices: Vec<i16>,
    thread_roots: Vec<Option<&'a str>>,
}

impl<'a> EventColumns<'a> {
    fn new(units: &'a [AppendUnit]) -> Self {
        let mut columns = Self::default();
        for event in all_events(units) {
            let record = &event.record;
            let transaction = record.transaction.as_ref();
            columns.nids.push(record.nid.0);
            columns.event_ids.push(record.event_id.as_str());
            columns.rooms.push(record.room.0);
            columns.senders.push(record.sender_nid.0);
            columns.types.push(event.type_nid.0);
            columns.slots.push(record.slot.map(i64::from));
            columns.depths.push(record.depth);
            columns.times.push(record.origin_server_ts);
            columns.states_before.push(record.state_before.map(i64::from));
            columns.states_after.push(event.state_after.map(i64::from));
            columns.outcomes.push(record.outcome.code());
            columns.reasons.push(event.reason.as_deref());
            columns.txn_devices.push(transaction.map(|t| t.device.0));
            columns.txn_ids.push(transaction.map(|t| &*t.txn_id));
            columns.prev.push(array_literal(event.prev.iter().map(|nid| nid.0)));
            columns.auth.push(array_literal(event.auth.iter().map(|nid| nid.0)));
            columns.json.push(&record.json);
            columns.replaces.push(record.replaces.map(i64::from));
            let notice = record.notice.as_deref();
            columns.notices.push(notice.map_or(0, Notice::code));
            columns.thread_roots.push(notice.and_then(|notice| notice.thread_root.as_ref()?.as_str().into()));
        }
        columns
    }
}
