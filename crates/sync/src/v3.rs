//! `GET /_matrix/client/v3/sync`: the response and how it is put together.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3sync>

pub(crate) mod account_data;
mod encryption;
mod ephemeral;
mod joined;
pub(crate) mod left;
pub(crate) mod old;
mod presence;
pub(crate) mod state;
pub(crate) mod stripped;
pub(crate) mod summary;
pub(crate) mod timeline;
mod unread;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use hs_model::{
    ids::{DeviceNid, RoomNid, UserNid},
    membership::Membership,
    records::EventRecord,
    stream::{Position, SyncToken},
};
use hs_rooms::{
    Room,
    client_event::{Format, RoomId, Viewer},
    people::IgnoredUsers,
};
use hs_storage::StorageError;
use ruma::{
    OwnedRoomId, OwnedUserId,
    api::client::filter::{EventFormat, FilterDefinition},
};
use serde::Serialize;
use serde_json::value::RawValue;

use self::{ephemeral::Receipts, presence::Met};
use crate::{
    feed::{Snapshot, Stay},
    filter,
    service::Inner,
};

/// What a client asks for.
#[derive(Clone, Debug)]
pub struct Request {
    /// Who.
    pub user: UserNid,
    /// Their id.
    pub user_id: OwnedUserId,
    /// Their device.
    pub device: DeviceNid,
    /// The `next_batch` of an earlier response; `None` for everything.
    pub since: Option<Position>,
    /// Up to where the device has its messages, where that is not `since`.
    pub to_device_since: Option<Position>,
    /// What the response may hold.
    pub filter: Arc<FilterDefinition>,
    /// Whether all state is wanted, `since` or not.
    pub full_state: bool,
    /// Whether state is wanted as of the end of the timeline.
    pub use_state_after: bool,
    /// Whether messages to the device and news of keys are wanted.
    pub with_encryption: bool,
    /// How long to wait for something to happen.
    pub timeout: Duration,
}

/// A list of events or other data.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Batch {
    pub(crate) events: Vec<Box<RawValue>>,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}

/// What has happened.
#[derive(Debug, Serialize)]
pub struct Response {
    next_batch: String,
    #[serde(skip_serializing_if = "Batch::is_empty")]
    account_data: Batch,
    #[serde(skip_serializing_if = "Batch::is_empty")]
    presence: Batch,
    #[serde(skip_serializing_if = "RoomsSection::is_empty")]
    rooms: RoomsSection,
    #[serde(flatten)]
    encryption: encryption::Sections,
}

#[derive(Debug, Default, Serialize)]
struct RoomsSection {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    join: BTreeMap<OwnedRoomId, joined::JoinedRoom>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    invite: BTreeMap<OwnedRoomId, stripped::InvitedRoom>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    knock: BTreeMap<OwnedRoomId, stripped::KnockedRoom>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    leave: BTreeMap<OwnedRoomId, left::LeftRoom>,
}

impl RoomsSection {
    fn is_empty(&self) -> bool {
        self.join.is_empty() && self.invite.is_empty() && self.knock.is_empty() && self.leave.is_empty()
    }
}

impl Response {
    /// Whether there is nothing to tell.
    pub(crate) fn is_empty(&self) -> bool {
        self.account_data.is_empty()
            && self.presence.is_empty()
            && self.rooms.is_empty()
            && self.encryption.is_empty()
    }
}

/// What every section needs to know.
pub(crate) struct Context<'a> {
    pub(crate) inner: &'a Inner,
    pub(crate) request: &'a Request,
    /// After this; the start of the log for an initial sync.
    pub(crate) since: Position,
    /// Up to and including this.
    pub(crate) until: Position,
    pub(crate) stays: Arc<HashMap<RoomNid, Stay>>,
    /// Whom the user wants to hear nothing of.
    pub(crate) ignored: Arc<IgnoredUsers>,
}

impl Context<'_> {
    fn is_initial(&self) -> bool {
        self.request.since.is_none()
    }

    /// Whether the client asks for members when it needs them.
    fn loads_members_lazily(&self) -> bool {
        !self.request.filter.room.state.lazy_load_options.is_disabled()
    }

    /// Whether all members of a room have become known since the token.
    fn has_become_whole(&self, room: &Room) -> bool {
        room.read().whole_since().is_some_and(|position| self.since < position && position <= self.until)
    }

    fn viewer(&self) -> Viewer<'_> {
        let format = match self.request.filter.event_format {
            EventFormat::Federation => Format::Federation,
            _ => Format::Client,
        };
        Viewer {
            user: self.request.user,
            user_id: &self.request.user_id,
            device: Some(self.request.device),
            format,
        }
    }

    /// Events of a room as the client wants them.
    async fn render(&self, room: &Room, events: &[Arc<EventRecord>]) -> Result<Batch, StorageError> {
        if events.is_empty() {
            return Ok(Batch::default());
        }
        let events = self.inner.rooms.render(room, events, &self.viewer(), RoomId::Omitted).await?;
        let Some(fields) = &self.request.filter.event_fields else { return Ok(Batch { events }) };
        Ok(Batch { events: events.into_iter().map(|event| filter::project(event, fields)).collect() })
    }
}

/// Makes the response for one moment.
pub(crate) async fn build(
    inner: &Inner,
    request: &Request,
    snapshot: Snapshot,
) -> Result<Response, StorageError> {
    let context = Context {
        inner,
        request,
        since: request.since.unwrap_or(Position::START),
        until: snapshot.position,
        stays: snapshot.stays,
        ignored: inner.rooms.ignored_by(request.user).await?,
    };
    let mut data = if snapshot.has_account_data {
        account_data::Sections::read(&context).await?
    } else {
        account_data::Sections::default()
    };
    let rooms: Vec<RoomNid> = match snapshot.changed_rooms {
        _ if context.is_initial() || request.full_state => context.stays.keys().copied().collect(),
        Some(rooms) => rooms,
        None => changed_rooms(&context, &data).await?.into_iter().collect(),
    };
    let receipts =
        inner.ephemeral.receipts_between(&rooms, request.user, context.since, context.until).await?;
    let mut section = RoomsSection::default();
    let mut met = Met::default();
    let rooms = wanted_rooms(&context, rooms).await?;
    let mut unread = unread::Counts::read(&context, &rooms).await?;
    for (room, stay) in rooms {
        let told = (&receipts, &mut unread);
        if let Some(came) = add_room(&context, &mut section, &room, &stay, &mut data, told).await? {
            met.rooms.extend(came.rooms);
            met.users.extend(came.users);
        }
    }
    let presence = presence::section(&context, &met, snapshot.has_presence).await?;
    let (encryption, to_device) = if request.with_encryption {
        encryption::Sections::read(&context).await?
    } else {
        (encryption::Sections::default(), context.until)
    };
    Ok(Response {
        next_batch: SyncToken { position: context.until, to_device }.to_string(),
        account_data: data.take_global(&context),
        presence,
        rooms: section,
        encryption,
    })
}

/// The rooms that may be in the response.
async fn wanted_rooms(
    context: &Context<'_>,
    rooms: Vec<RoomNid>,
) -> Result<Vec<(Arc<Room>, Stay)>, StorageError> {
    let mut wanted = Vec::with_capacity(rooms.len());
    for nid in rooms {
        let Some(stay) = context.stays.get(&nid).copied() else { continue };
        if !concerns(context, &stay) {
            continue;
        }
        let Some(room) = context.inner.rooms.find_by_nid(nid).await? else { continue };
        if stay.membership == Membership::Join && room.read().is_partial() && !context.loads_members_lazily()
        {
            // A client that wants all members gets the room when they are known.
            continue;
        }
        if filter::allows_room(&context.request.filter.room, &room.room_id) {
            wanted.push((room, stay));
        }
    }
    Ok(wanted)
}

/// Whether a room can be in the response at all, so that others are not even loaded.
fn concerns(context: &Context<'_>, stay: &Stay) -> bool {
    let is_news = stay.since > context.since;
    match stay.membership {
        Membership::Join => true,
        Membership::Invite | Membership::Knock => is_news || context.request.full_state,
        Membership::Leave | Membership::Ban => {
            let is_wanted = context.request.filter.room.include_leave;
            !stay.is_forgotten
                && if context.is_initial() {
                    is_wanted
                } else {
                    is_news || (context.request.full_state && is_wanted)
                }
        }
    }
}

/// Adds a room to its section, and tells whom the user has met there.
async fn add_room(
    context: &Context<'_>,
    section: &mut RoomsSection,
    room: &Arc<Room>,
    stay: &Stay,
    data: &mut account_data::Sections,
    (receipts, unread): (&Receipts, &mut unread::Counts),
) -> Result<Option<Met>, StorageError> {
    let room_id = room.room_id.clone();
    match stay.membership {
        Membership::Join => {
            let data = data.take_room(context, room);
            if let Some((mut joined, met)) = joined::section(context, room, stay, data, receipts).await? {
                unread.add_to(context, room, &mut joined);
                section.join.insert(room_id, joined);
                return Ok(Some(met));
            }
        }
        Membership::Invite => {
            if let Some(invited) = stripped::invited(context, room, stay).await? {
                section.invite.insert(room_id, invited);
            }
        }
        Membership::Knock => {
            section.knock.insert(room_id, stripped::knocked(context, room, stay).await?);
        }
        Membership::Leave | Membership::Ban => {
            let data = data.take_room(context, room);
            section.leave.insert(room_id, left::section(context, room, stay, data).await?);
        }
    }
    Ok(None)
}

/// The rooms with news, for a token that is older than the feed.
async fn changed_rooms(
    context: &Context<'_>,
    data: &account_data::Sections,
) -> Result<HashSet<RoomNid>, StorageError> {
    let mut changed: HashSet<RoomNid> =
        context.stays.iter().filter(|(_, stay)| stay.since > context.since).map(|(room, _)| *room).collect();
    let joined: Vec<RoomNid> = context
        .stays
        .iter()
        .filter(|(_, stay)| stay.membership == Membership::Join)
        .map(|(room, _)| *room)
        .collect();
    let mut reader = context.inner.store.reader().await?;
    changed.extend(reader.list_rooms_changed_since(&joined, context.since).await?);
    changed.extend(data.rooms());
    drop(reader);
    let ephemeral = &context.inner.ephemeral;
    let receipts =
        ephemeral.receipts_between(&joined, context.request.user, context.since, context.until).await?;
    changed.extend(receipts.into_keys());
    let is_typing_news =
        |room: &RoomNid| ephemeral.typing(*room).is_some_and(|now| now.changed > context.since);
    changed.extend(joined.iter().copied().filter(is_typing_news));
    Ok(changed)
}
