//! Making rooms from their first events.

use std::sync::Arc;

use hs_model::stream::Position;
use hs_room_rules::room_version;
use hs_storage::append::{AppendError, NewRoom};
use rand::RngExt as _;
use ruma::{OwnedRoomAliasId, OwnedRoomId, RoomId, RoomVersionId};

use crate::{
    Intent, Room, Rooms, WriteError, WriteRequest,
    build::Batch,
    intent::Sender,
    room::{Head, RoomState, StateIndex},
    state_line::StateLine,
    write::move_head,
};

/// How long the name of a room is in versions where it has one.
const NAME_LENGTH: usize = 18;
/// How often the making of a room is tried when its name is taken.
const MAX_ATTEMPTS: i64 = 20;

/// A room to be made.
#[derive(Clone, Debug)]
pub struct NewRoomRequest {
    /// Who makes it.
    pub creator: Sender,
    /// Its version.
    pub version: RoomVersionId,
    /// Its first events: `m.room.create`, the creator's membership, and so on.
    pub intents: Vec<Intent>,
    /// Whether it is listed in the directory.
    pub is_published: bool,
    /// An alias that must be free.
    pub alias: Option<OwnedRoomAliasId>,
}

/// A room that has no events yet.
#[derive(Debug)]
pub(crate) struct Draft(Room);

impl Draft {
    /// The id that the room will have, in versions whose rooms are not named by their create event.
    pub(crate) fn room_id(&self) -> &RoomId {
        &self.0.room_id
    }
}

impl Rooms {
    /// Makes a room with its first events, all at once.
    ///
    /// A room that is named by its create event has the name of another one when the same user asks for the same in the
    /// same millisecond: then it is made a millisecond later.
    pub async fn create(&self, mut request: NewRoomRequest) -> Result<Arc<Room>, WriteError> {
        for attempt in 1..MAX_ATTEMPTS {
            let draft = self.draft(&request.version).await?;
            match self.create_drafted(draft, request.clone()).await {
                Err(WriteError::Busy) => {}
                outcome => return outcome,
            }
            if let Some(create) = request.intents.first_mut() {
                create.origin_server_ts = Some(self.inner.clock.now_ms() + attempt);
            }
        }
        Err(WriteError::Busy)
    }

    /// A room to be made.
    pub(crate) async fn draft(&self, version: &RoomVersionId) -> Result<Draft, WriteError> {
        let rules = room_version::rules(version)
            .ok_or_else(|| WriteError::Forbidden("This room version is not supported".to_owned()))?;
        let nid = self.inner.store.allocate_room_nid().await?;
        // In versions whose rooms are named by their create event, this name is replaced by the first event built.
        Ok(Draft(Room::new(nid, self.random_room_id(), version.clone(), rules)))
    }

    /// Whether a room could begin with these events.
    pub(crate) async fn try_draft(&self, draft: &Draft, request: &NewRoomRequest) -> Result<(), WriteError> {
        let (sender, intents) = (request.creator.clone(), request.intents.clone());
        let mut batch = Batch::for_new_room(self, &draft.0);
        batch.add(&WriteRequest { sender, intents, transaction: None }).await.map(drop)
    }

    /// Makes a room of a draft.
    pub(crate) async fn create_drafted(
        &self,
        Draft(draft): Draft,
        request: NewRoomRequest,
    ) -> Result<Arc<Room>, WriteError> {
        let (nid, rules) = (draft.nid, draft.rules);
        let write = WriteRequest { sender: request.creator, intents: request.intents, transaction: None };
        let mut batch = Batch::for_new_room(self, &draft);
        batch.add(&write).await?;
        batch.notice().await?;

        // The room is in memory, empty, before it is written: so it learns of its first events from the log, and they
        // need not be read back.
        let room = Arc::new(Room::new(nid, batch.room_id().to_owned(), request.version.clone(), rules));
        room.fill(empty_state());
        self.add_live(&room);
        let extremities = batch.extremities().to_vec();
        let unit = batch.into_new_room(|room_id| NewRoom {
            room_id,
            version: request.version,
            is_published: request.is_published,
            alias: request.alias.map(|alias| (alias, write.sender.nid)),
            created_at: self.inner.clock.now_ms(),
        });
        let appended = self.inner.appender.append(unit.clone()).await.map_err(|error| match error {
            AppendError::AliasTaken => WriteError::AliasTaken,
            AppendError::Storage(error) => WriteError::Storage(error),
            AppendError::Conflict | AppendError::Duplicate | AppendError::DuplicateTransaction => {
                WriteError::Busy
            }
        })?;
        if room.read().newest().is_none() {
            // Nobody follows the log here (a command that only writes): read the room like any other.
            drop(room);
            return self.find_by_nid(nid).await?.ok_or(WriteError::Busy);
        }
        move_head(&room, &unit, &appended, extremities);
        self.keep(&room);
        Ok(room)
    }

    fn random_room_id(&self) -> OwnedRoomId {
        let name: String =
            rand::rng().sample_iter(rand::distr::Alphabetic).take(NAME_LENGTH).map(char::from).collect();
        let id = format!("!{name}:{}", self.inner.options.server_name);
        RoomId::parse(id).expect("letters and a valid server name make a valid room id")
    }
}

/// What is known of a room that has no events.
fn empty_state() -> RoomState {
    let head = Head { version: 0, line: StateLine::default(), extremities: Vec::new(), depth: 0 };
    RoomState::new(head, Position::START, StateIndex::new(), &[])
}
