//! Account data, receipts and typing beside the rooms of a response.

use std::collections::{BTreeMap, HashMap, HashSet};

use hs_e2ee::{DeviceLists, LocalDevice};
use hs_ephemeral::events::{receipt_events, typing_event};
use hs_model::{
    ids::RoomNid,
    stream::{Position, StreamToken},
};
use hs_rooms::client_event::RoomId;
use hs_storage::StorageError;
use ruma::{OwnedEventId, OwnedRoomId};

use super::{
    Context,
    lists::{Reason, Selection},
    profiles,
    request::{Extensions, RoomScope, ToDevice},
    response::{
        AccountData, ByRoom, E2eeResult, ExtensionResults, StickyEvents, StickyEventsOfRoom, Subscribed,
        ThreadSubscriptions, ToDeviceResult, Unsubscribed,
    },
    room::Built,
};
use crate::{sticky::Span, v3::account_data};

const ACCOUNT_DATA: u8 = 1;
const RECEIPTS: u8 = 1 << 1;
const TYPING: u8 = 1 << 2;
const THREADS: u8 = 1 << 3;
const STICKY: u8 = 1 << 4;

/// The extensions of a request: a bit for each.
pub(super) fn served(extensions: &Extensions) -> u8 {
    let bit = |is_wanted: bool, bit: u8| if is_wanted { bit } else { 0 };
    bit(extensions.account_data.is_some(), ACCOUNT_DATA)
        | bit(extensions.receipts.is_some(), RECEIPTS)
        | bit(extensions.typing.is_some(), TYPING)
        | bit(extensions.thread_subscriptions.is_some(), THREADS)
        | bit(extensions.sticky_events, STICKY)
}

/// What the extensions of a request have to tell.
pub(super) async fn build(
    context: &Context<'_>,
    selection: &Selection,
    built: &[Built],
) -> Result<ExtensionResults, StorageError> {
    let extensions = &context.request.extensions;
    let mut results = ExtensionResults::default();
    let new_rooms: HashMap<RoomNid, &Built> = built
        .iter()
        .filter(|built| built.plan.sent.is_none() && built.result.is_some())
        .map(|built| (built.plan.nid, built))
        .collect();
    let rooms = |scope: &RoomScope, bit: u8| Rooms::of(context, selection, &new_rooms, scope, bit);
    if let Some(scope) = &extensions.account_data {
        results.account_data = account_data(context, rooms(scope, ACCOUNT_DATA)).await?;
    }
    if let Some(scope) = &extensions.receipts {
        results.receipts = receipts(context, rooms(scope, RECEIPTS), &new_rooms).await?;
    }
    if let Some(scope) = &extensions.typing {
        results.typing = typing(context, rooms(scope, TYPING)).await?;
    }
    if let Some(wanted) = extensions.to_device {
        results.to_device = Some(to_device(context, wanted).await?);
    }
    if extensions.e2ee {
        results.e2ee = Some(e2ee(context).await?);
    }
    if let Some(limit) = extensions.thread_subscriptions {
        results.thread_subscriptions = thread_subscriptions(context, limit).await?;
    }
    if extensions.sticky_events {
        let rooms = rooms(&RoomScope::default(), STICKY);
        results.sticky_events = sticky_events(context, rooms, built).await?;
    }
    if let Some(wanted) = &extensions.profiles {
        let within = Within::of(context, &wanted.scope);
        let is_within =
            |built: &&Built| selection.rooms.get(&built.plan.nid).is_some_and(|reason| within.has(reason));
        let parted = match &results.e2ee {
            Some(e2ee) => e2ee.device_lists.left.clone(),
            None => device_lists(context).await?.left,
        };
        results.profiles = profiles::build(context, wanted, built.iter().filter(is_within), parted).await?;
    }
    Ok(results)
}

/// The rooms that an extension has to look at.
struct Rooms {
    /// After which position news of a room has not been told. The start of the log: nothing has been told.
    after: HashMap<RoomNid, Position>,
    /// Whether the extension was not asked for before.
    is_new: bool,
}

impl Rooms {
    fn of(
        context: &Context<'_>,
        selection: &Selection,
        new_rooms: &HashMap<RoomNid, &Built>,
        scope: &RoomScope,
        bit: u8,
    ) -> Self {
        let is_new = context.connection.state.extensions & bit == 0;
        let within = Within::of(context, scope);
        let mut after = HashMap::new();
        for (nid, reason) in &selection.rooms {
            if !within.has(reason) {
                continue;
            }
            let sent = context.connection.state.rooms.get(nid);
            let is_changed = context.changed_rooms.as_ref().is_none_or(|changed| changed.contains(nid));
            if is_new || sent.is_none() || new_rooms.contains_key(nid) {
                after.insert(*nid, Position::START);
            } else if let Some(behind) = sent.and_then(|sent| sent.data_behind) {
                after.insert(*nid, behind);
            } else if is_changed {
                after.insert(*nid, context.since);
            }
        }
        Self { after, is_new }
    }
}

/// Which reasons for a room count for an extension.
struct Within {
    lists: u128,
    /// `None` for all.
    subscriptions: Option<HashSet<usize>>,
}

impl Within {
    fn of(context: &Context<'_>, scope: &RoomScope) -> Self {
        let request = context.request;
        let lists = match &scope.lists {
            None => u128::MAX,
            Some(names) => request
                .lists
                .keys()
                .enumerate()
                .filter(|(_, name)| names.contains(name))
                .fold(0, |bits, (bit, _)| bits | (1_u128 << bit)),
        };
        let subscriptions = scope.rooms.as_ref().map(|rooms| {
            let all = request.subscriptions.keys().enumerate();
            all.filter(|(_, id)| rooms.contains(id)).map(|(number, _)| number).collect()
        });
        Self { lists, subscriptions }
    }

    fn has(&self, reason: &Reason) -> bool {
        reason.lists & self.lists != 0
            || reason.subscription.is_some_and(|number| {
                self.subscriptions.as_ref().is_none_or(|numbers| numbers.contains(&number))
            })
    }
}

/// The ids of rooms; those that are in memory cost nothing.
async fn room_id(context: &Context<'_>, nid: RoomNid) -> Result<Option<OwnedRoomId>, StorageError> {
    Ok(context.inner.rooms.find_by_nid(nid).await?.map(|room| room.room_id.clone()))
}

async fn account_data(context: &Context<'_>, rooms: Rooms) -> Result<Option<AccountData>, StorageError> {
    let global_after = if rooms.is_new { Position::START } else { context.since };
    let oldest = rooms.after.values().copied().min();
    if !context.has_account_data && oldest.is_none_or(|oldest| oldest >= context.since) && !rooms.is_new {
        return Ok(None);
    }
    let first = oldest.map_or(global_after, |oldest| oldest.min(global_after));
    let mut reader = context.inner.store.reader().await?;
    let rows = reader.list_account_data(context.request.user, first, context.until).await?;
    drop(reader);
    let mut data = AccountData::default();
    let mut global = Vec::new();
    let mut of_rooms: BTreeMap<RoomNid, Vec<_>> = BTreeMap::new();
    for row in rows {
        match row.room {
            None if row.position > global_after => global.push(row),
            Some(room) if rooms.after.get(&room).is_some_and(|after| row.position > *after) => {
                of_rooms.entry(room).or_default().extend(account_data::event(&row));
            }
            _ => {}
        }
    }
    account_data::complete_push_rules(&mut global, &context.request.user_id, rooms.is_new);
    data.global.extend(global.iter().filter_map(account_data::event));
    for (room, events) in of_rooms {
        if let Some(id) = room_id(context, room).await? {
            data.rooms.insert(id, events);
        }
    }
    Ok((!data.global.is_empty() || !data.rooms.is_empty()).then_some(data))
}

async fn receipts(
    context: &Context<'_>,
    rooms: Rooms,
    new_rooms: &HashMap<RoomNid, &Built>,
) -> Result<Option<ByRoom>, StorageError> {
    let mut by_start: BTreeMap<Position, Vec<RoomNid>> = BTreeMap::new();
    for (room, after) in &rooms.after {
        by_start.entry(*after).or_default().push(*room);
    }
    let mut result = ByRoom::default();
    for (after, rooms) in by_start {
        let found = context
            .inner
            .ephemeral
            .receipts_between(&rooms, context.request.user, after, context.until)
            .await?;
        for (room, mut rows) in found {
            rows.retain(|row| !context.ignored.contains(&row.receipt.user_id));
            if let Some(built) = new_rooms.get(&room) {
                // A large room has more receipts than a client could show: those on the timeline, and the user's own.
                let shown: HashSet<&OwnedEventId> =
                    built.events.iter().map(|event| &event.event_id).collect();
                rows.retain(|row| {
                    row.receipt.user == context.request.user || shown.contains(&row.receipt.event_id)
                });
            }
            let event = receipt_events(rows.iter().map(|row| &**row)).into_iter().next();
            if let Some(event) = event
                && let Some(id) = room_id(context, room).await?
            {
                result.rooms.insert(id, event);
            }
        }
    }
    Ok((!result.rooms.is_empty()).then_some(result))
}

async fn typing(context: &Context<'_>, rooms: Rooms) -> Result<Option<ByRoom>, StorageError> {
    let mut result = ByRoom::default();
    for (room, after) in rooms.after {
        let Some(typing) = context.inner.ephemeral.typing(room) else { continue };
        // A client that knows the room is also told when the last one has stopped.
        let is_news =
            if after == Position::START { !typing.user_ids.is_empty() } else { typing.changed > after };
        if is_news
            && typing.changed <= context.until
            && let Some(id) = room_id(context, room).await?
        {
            result.rooms.insert(id, typing_event(&context.ignored.others(&typing.user_ids)));
        }
    }
    Ok((!result.rooms.is_empty()).then_some(result))
}

async fn thread_subscriptions(
    context: &Context<'_>,
    limit: usize,
) -> Result<Option<ThreadSubscriptions>, StorageError> {
    let is_new = context.connection.state.extensions & THREADS == 0;
    if !is_new && !context.has_threads {
        return Ok(None);
    }
    let after = if is_new { Position::START } else { context.since };
    let mut reader = context.inner.store.reader().await?;
    // One more tells whether there are more.
    let user = context.request.user;
    let mut rows = reader.list_thread_subscriptions(user, after, context.until, limit as i64 + 1).await?;
    drop(reader);
    let mut result = ThreadSubscriptions::default();
    if rows.len() > limit {
        rows.truncate(limit);
        let oldest = rows.last().map(|row| row.subscription.position);
        result.prev_batch = oldest.map(|oldest| StreamToken(Position(oldest.0 - 1)).to_string());
    }
    if rows.is_empty() {
        return Ok(None);
    }
    for row in rows {
        let (automatic, bump_stamp) = (row.subscription.is_automatic, row.subscription.position.0);
        if row.subscription.is_subscribed {
            let of_room = result.subscribed.entry(row.room_id).or_default();
            of_room.insert(row.root, Subscribed { automatic, bump_stamp });
        } else {
            let of_room = result.unsubscribed.entry(row.room_id).or_default();
            of_room.insert(row.root, Unsubscribed { bump_stamp });
        }
    }
    Ok(Some(result))
}

/// Sticky events that are not in the timelines of the response.
async fn sticky_events(
    context: &Context<'_>,
    rooms: Rooms,
    built: &[Built],
) -> Result<Option<StickyEvents>, StorageError> {
    let mut result = StickyEvents::default();
    let timelines: HashMap<RoomNid, &Built> = built.iter().map(|built| (built.plan.nid, built)).collect();
    for (nid, after) in rooms.after {
        if !context.is_joined(nid) {
            continue;
        }
        let timeline = timelines.get(&nid).into_iter().flat_map(|built| &built.events);
        let span = Span { after, until: context.until };
        let events = context.inner.sticky.beside(nid, span, timeline, &context.ignored).await?;
        if !events.is_empty()
            && let Some(room) = context.inner.rooms.find_by_nid(nid).await?
        {
            let events =
                context.inner.rooms.render(&room, &events, &context.viewer(), RoomId::Omitted).await?;
            result.rooms.insert(room.room_id.clone(), StickyEventsOfRoom { events });
        }
    }
    Ok((!result.rooms.is_empty()).then_some(result))
}

/// Messages that the device has not confirmed: the token beside them does so at the next request.
async fn to_device(context: &Context<'_>, wanted: ToDevice) -> Result<ToDeviceResult, StorageError> {
    // A token from the future tells of a database that was set back: everything there is may be new.
    let after = wanted.since.filter(|since| *since <= context.until).unwrap_or_default();
    let device = LocalDevice { user: context.request.user, device: context.request.device };
    let batch = context.inner.e2ee.to_device(device, after, context.until, wanted.limit).await?;
    Ok(ToDeviceResult { next_batch: StreamToken(batch.up_to).to_string(), events: batch.events })
}

/// Whose devices have changed, and who has left the last room shared with the user, since the last response.
async fn device_lists(context: &Context<'_>) -> Result<DeviceLists, StorageError> {
    if context.request.pos.is_none() {
        return Ok(DeviceLists::default());
    }
    let is_joined = |room| context.is_joined(room);
    context.inner.e2ee.device_lists(context.request.user, is_joined, context.since, context.until).await
}

/// Whose devices have changed, and which keys the device has left.
async fn e2ee(context: &Context<'_>) -> Result<E2eeResult, StorageError> {
    let e2ee = &context.inner.e2ee;
    let request = context.request;
    let device = LocalDevice { user: request.user, device: request.device };
    let device_lists = device_lists(context).await?;
    let supply = e2ee.key_supply(device).await?;
    let mut device_one_time_keys_count = supply.one_time_keys.clone();
    // Clients that see the algorithm missing do not all take it for zero.
    device_one_time_keys_count.entry("signed_curve25519".to_owned()).or_default();
    Ok(E2eeResult {
        device_lists,
        device_one_time_keys_count,
        device_unused_fallback_key_types: supply.unused_fallback_types.clone(),
    })
}
