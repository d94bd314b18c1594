//! Telling a server what it has missed.
//!
//! Of rooms where little has happened, it is sent all events of this server in order; of others, only the latest, by which it
//! finds the way to the rest.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use hs_model::{
    clock::Clock,
    ids::{EventNid, RoomNid},
    records::EventRecord,
    stream::Position,
};
use hs_room_rules::{redact::redact_json, room_version};
use hs_rooms::Rooms;
use hs_storage::{
    Reader, StorageError, Store,
    missed::{Missed, MissedEvent, SharedRoom},
};
use ruma::{OwnedServerName, ServerName};
use tokio::sync::Semaphore;

use super::{
    delivery::deliver,
    device_updates::DeviceUpdates,
    edus::{ReceiptNews, receipt_edus, take_stored},
    transaction::{Builder, BuiltEdu, MAX_EDUS, MAX_PDUS, SendFailure, Transport},
};

/// With more rooms than this in which something happened, only the latest events are sent.
const MAX_ROOMS_IN_FULL: usize = 100;
/// With more events than this since then, the same goes for a room.
const MAX_EVENTS_IN_FULL: i64 = 100;
/// And with more than this in all rooms together.
const MAX_PDUS_IN_FULL: usize = 500;
/// How many rooms are looked at in one query.
const ROOMS_AT_ONCE: usize = 100;
/// How many removals of members are told, of rooms that the server is no longer in.
const MAX_REMOVALS: i64 = 500;
/// Of how many such rooms, and how many events of each, is told what the server missed before it was removed.
const MAX_LOST_ROOMS: i64 = 20;
const MAX_EVENTS_OF_LOST_ROOM: i64 = 50;
/// How many receipts.
const MAX_RECEIPTS: i64 = 200;
/// How many servers' arrears are looked up at the same time.
pub(super) const MAX_PLANNING: usize = 4;
/// How long a server that has not been answering may take for the first transaction.
const PROBE_TIMEOUT: Duration = Duration::from_secs(20);

/// Looks up what servers have missed, and sends it.
#[derive(Clone, Debug)]
pub(super) struct CatchUp {
    pub(super) store: Store,
    pub(super) rooms: Rooms,
    pub(super) updates: DeviceUpdates,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) own_name: OwnedServerName,
    pub(super) planning: Arc<Semaphore>,
    pub(super) timeout: Duration,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Report {
    /// The server has everything up to here.
    pub(super) reached: Position,
    /// Whether it has taken anything.
    pub(super) has_answered: bool,
    /// Why it went no further.
    pub(super) failure: Option<SendFailure>,
}

/// What is to be sent.
#[derive(Debug, Default)]
struct Plan {
    events: VecDeque<(Position, EventNid)>,
    /// Whether the events are all there are, in order, so that each is a step forward.
    is_in_order: bool,
    edus: VecDeque<BuiltEdu>,
}

impl CatchUp {
    /// Sends what a server has missed after a position and up to another.
    pub(super) async fn run(
        &self,
        destination: &ServerName,
        after: Position,
        up_to: Position,
    ) -> Result<Report, StorageError> {
        let missed =
            Missed { destination: destination.as_str(), own_name: self.own_name.as_str(), after, up_to };
        let mut plan = {
            // Nobody closes the semaphore.
            let _permit = self.planning.acquire().await;
            self.plan(missed).await?
        };
        let mut report = Report { reached: after, has_answered: false, failure: None };
        let mut has_stored = true;
        loop {
            let mut builder = Builder::new(self.clock.now_ms());
            let count = plan.events.len().min(MAX_PDUS);
            let chunk: Vec<(Position, EventNid)> = plan.events.drain(..count).collect();
            for event in self.events(&chunk).await? {
                builder.pdu(event.0.event_id.as_str(), event.1);
            }
            let mut stored_up_to = None;
            let free = MAX_EDUS - plan.edus.len().min(MAX_EDUS);
            plan.edus.drain(..plan.edus.len().min(MAX_EDUS)).for_each(|edu| builder.edu(edu));
            if has_stored && free > 0 {
                let limit = free as i64;
                let stored =
                    self.store.reader().await?.list_outgoing_edus(missed.destination, up_to, limit).await?;
                stored_up_to = take_stored(&mut builder, &stored);
                has_stored = stored.last().is_some_and(|last| Some(last.place) != stored_up_to)
                    || stored.len() as i64 == limit;
            }
            if builder.is_empty() {
                if plan.events.is_empty() && plan.edus.is_empty() && !has_stored {
                    report.reached = up_to;
                    return Ok(report);
                }
                continue;
            }
            let timeout = if report.has_answered { self.timeout } else { self.timeout.min(PROBE_TIMEOUT) };
            let transaction = builder.finish();
            if let Err(failure) = deliver(&*self.transport, destination, &transaction, timeout).await {
                report.failure = Some(failure);
                return Ok(report);
            }
            report.has_answered = true;
            if let Some(place) = stored_up_to {
                self.store.delete_outgoing_edus(missed.destination, place).await?;
            }
            if let Some((position, _)) = chunk.last().filter(|_| plan.is_in_order && plan.edus.is_empty()) {
                report.reached = *position;
            }
        }
    }

    async fn plan(&self, missed: Missed<'_>) -> Result<Plan, StorageError> {
        let mut before_removals = self.told_before_removals(missed).await?;
        let mut reader = self.store.reader().await?;
        let shared = reader.list_rooms_of_server(missed.destination).await?;
        let busy: Vec<SharedRoom> =
            shared.iter().filter(|shared| shared.last_position > missed.after).copied().collect();
        let mut plan = Plan::default();
        let removals = reader.list_missed_removals(missed, MAX_REMOVALS).await?;
        before_removals.extend(removals.iter().map(|removal| (removal.position, removal.event)));
        before_removals.sort_unstable();
        plan.events.extend(before_removals);
        plan_events(&mut reader, missed, &busy, &mut plan).await?;
        let announcements = reader.list_missed_announcements(missed, &shared).await?;
        plan.edus.extend(missed_receipts(&mut reader, missed, &shared).await?);
        drop(reader);
        plan.edus.extend(self.updates.missed(&announcements, missed.after).await?);
        Ok(plan)
    }

    /// What a server has missed of rooms that it is no longer in, from while it was: without the events before its removal it
    /// cannot place that.
    async fn told_before_removals(
        &self,
        missed: Missed<'_>,
    ) -> Result<Vec<(Position, EventNid)>, StorageError> {
        let Ok(server) = <&ServerName>::try_from(missed.destination) else { return Ok(Vec::new()) };
        let mut reader = self.store.reader().await?;
        let lost = reader.list_lost_rooms(missed, MAX_LOST_ROOMS).await?;
        let events = reader.list_events_of_lost_rooms(missed, &lost, MAX_EVENTS_OF_LOST_ROOM).await?;
        drop(reader);
        let mut told = Vec::new();
        for room in lost {
            let here = || events.iter().filter(|event| event.room == room.room);
            let nids: Vec<EventNid> = here().map(|event| event.event).collect();
            if nids.is_empty() {
                continue;
            }
            let Some(room) = self.rooms.find_by_nid(room.room).await? else { continue };
            let records = self.store.list_events(&nids).await?;
            let with_server = self.rooms.list_events_with_server(&room, &records, server).await?;
            let is_told = |event: &&MissedEvent| with_server.contains(&event.event);
            told.extend(here().filter(is_told).map(|event| (event.position, event.event)));
        }
        Ok(told)
    }

    /// The events with their JSON, in the same order. What was redacted meanwhile is told without its content.
    async fn events(
        &self,
        chunk: &[(Position, EventNid)],
    ) -> Result<Vec<(Arc<EventRecord>, Arc<str>)>, StorageError> {
        let nids: Vec<EventNid> = chunk.iter().map(|(_, nid)| *nid).collect();
        let found = self.store.list_events(&nids).await?;
        let redacted: Vec<RoomNid> =
            found.iter().filter(|event| event.redacted_by.is_some()).map(|event| event.room).collect();
        let mut versions = HashMap::new();
        if !redacted.is_empty() {
            for row in self.store.reader().await?.list_rooms(&redacted).await? {
                versions.insert(row.nid, row.version);
            }
        }
        let json_of = |event: &EventRecord| {
            if event.redacted_by.is_none() {
                return Some(event.json.clone());
            }
            let rules = room_version::rules(versions.get(&event.room)?)?;
            redact_json(&event.json, rules).ok().map(Into::into)
        };
        Ok(found.into_iter().filter_map(|event| json_of(&event).map(|json| (event, json))).collect())
    }
}

/// Chooses between all events and the latest, room by room.
async fn plan_events(
    reader: &mut Reader,
    missed: Missed<'_>,
    busy: &[SharedRoom],
    plan: &mut Plan,
) -> Result<(), StorageError> {
    let mut full: HashSet<RoomNid> = HashSet::new();
    let mut events = Vec::new();
    if busy.len() <= MAX_ROOMS_IN_FULL {
        events = reader.list_missed_events(missed, busy, MAX_EVENTS_IN_FULL + 1).await?;
        let mut counts: HashMap<RoomNid, i64> = HashMap::new();
        for event in &events {
            *counts.entry(event.room).or_default() += 1;
        }
        let is_short =
            |room: &SharedRoom| counts.get(&room.room).is_none_or(|count| *count <= MAX_EVENTS_IN_FULL);
        full.extend(busy.iter().filter(|room| is_short(room)).map(|room| room.room));
        events.retain(|event| event.is_ours && full.contains(&event.room));
        if events.len() > MAX_PDUS_IN_FULL {
            events.clear();
            full.clear();
        }
    }
    let long: Vec<SharedRoom> = busy.iter().filter(|room| !full.contains(&room.room)).copied().collect();
    plan.is_in_order = long.is_empty();
    for rooms in long.chunks(ROOMS_AT_ONCE) {
        let latest = reader.list_latest_events(missed, rooms).await?;
        plan.events.extend(latest.into_iter().map(|event| (missed.up_to, event)));
    }
    plan.events.extend(events.iter().map(|event| (event.position, event.event)));
    let mut seen = HashSet::new();
    plan.events.retain(|(_, event)| seen.insert(*event));
    if plan.is_in_order {
        plan.events.make_contiguous().sort_unstable();
    }
    Ok(())
}

async fn missed_receipts(
    reader: &mut Reader,
    missed: Missed<'_>,
    shared: &[SharedRoom],
) -> Result<Vec<BuiltEdu>, StorageError> {
    let changes = reader.list_missed_receipts(missed, shared, MAX_RECEIPTS).await?;
    if changes.is_empty() {
        return Ok(Vec::new());
    }
    let rooms: HashSet<RoomNid> = changes.iter().map(|(room, _)| *room).collect();
    let rooms: Vec<RoomNid> = rooms.into_iter().collect();
    let ids: HashMap<RoomNid, _> =
        reader.list_rooms(&rooms).await?.into_iter().map(|row| (row.nid, row.room_id)).collect();
    let rows = reader.list_receipts_at(&changes).await?;
    let news: Vec<ReceiptNews> = rows
        .into_iter()
        .filter_map(|row| Some(ReceiptNews { room_id: ids.get(&row.receipt.room)?.clone(), row }))
        .collect();
    Ok(receipt_edus(&news))
}
