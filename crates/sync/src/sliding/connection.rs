//! What a connection has been told: which rooms, how much of them, and up to where.
//!
//! A state belongs to a response and never changes; a `pos` names one and the position up to which it holds. Rooms
//! that are *live* have been told of in full up to the position of the `pos`; others lag behind, and the state says since
//! when. So a response about live rooms alone needs no new state, only a new position.

use std::{collections::HashMap, sync::Arc};

use hs_model::{ids::RoomNid, stream::Position};
use hs_storage::{StorageError, Store, sliding::ConnectionRow};
use moka::sync::Cache;

use super::{config::RequiredState, request::Request};

/// Upper bound of the states kept in memory, in bytes.
const CACHE_BYTES: u64 = 64 * 1024 * 1024;
/// What a room of a state costs in memory, and a state beside its rooms.
const ROOM_BYTES: usize = 64;
const STATE_BYTES: usize = 1024;
/// The first byte of an encoded state.
const FORMAT: u8 = 1;

/// How a room was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// As to a member.
    Joined,
    /// As to somebody invited or knocking.
    Stripped,
    /// As to somebody who is no longer in it.
    Left,
}

/// What was sent of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SentRoom {
    pub(super) shown: Shown,
    pub(super) is_dm: bool,
    /// Since when events have not been sent; `None` when the room is live.
    pub(super) behind: Option<Position>,
    /// Since when account data and receipts have not been sent.
    pub(super) data_behind: Option<Position>,
    /// The newest so many events are known to have been sent without a gap.
    pub(super) timeline: u16,
    /// The state that was asked for: an index into the state's list.
    pub(super) config: u32,
}

impl SentRoom {
    /// The client has the room's whole timeline.
    pub(super) const WHOLE_TIMELINE: u16 = u16::MAX;
}

/// The state of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// The extensions that were served: a bit for each.
    pub(super) extensions: u8,
    /// The state that was asked for, of rooms.
    pub(super) configs: Vec<Arc<RequiredState>>,
    pub(super) rooms: HashMap<RoomNid, SentRoom>,
}

/// The state that a request names.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    /// Its number; `None` for a connection that begins.
    pub(super) serial: Option<i64>,
    /// Up to where the client was told everything.
    pub(super) since: Option<Position>,
    pub(super) state: Arc<State>,
}

/// The states of this process.
#[derive(Debug)]
pub(crate) struct Connections {
    cache: Cache<i64, Arc<Kept>>,
}

#[derive(Debug)]
struct Kept {
    row: ConnectionRow,
    state: Arc<State>,
}

impl Connections {
    pub(crate) fn new() -> Self {
        let cache = Cache::builder()
            .max_capacity(CACHE_BYTES)
            .weigher(|_, kept: &Arc<Kept>| (STATE_BYTES + kept.state.rooms.len() * ROOM_BYTES) as u32)
            .build();
        Self { cache }
    }

    /// What the request's `pos` names; `None` when there is no such state, or it is not this client's.
    pub(super) async fn find(
        &self,
        store: &Store,
        request: &Request,
    ) -> Result<Option<Connection>, StorageError> {
        let Some(pos) = request.pos else {
            return Ok(Some(Connection { serial: None, since: None, state: Arc::default() }));
        };
        let kept = if let Some(kept) = self.cache.get(&pos.serial) {
            kept
        } else {
            let row = store.reader().await?.find_sliding_connection(pos.serial).await?;
            let Some(mut row) = row else { return Ok(None) };
            let Some(state) = State::decode(&row.state) else { return Ok(None) };
            row.state = Vec::new();
            let kept = Arc::new(Kept { row, state: Arc::new(state) });
            self.cache.insert(pos.serial, kept.clone());
            kept
        };
        let is_own = kept.row.device == request.device && kept.row.conn_id == request.conn_id;
        if !is_own || pos.position < kept.row.position {
            return Ok(None);
        }
        Ok(Some(Connection {
            serial: Some(pos.serial),
            since: Some(pos.position),
            state: kept.state.clone(),
        }))
    }

    /// Keeps the state after a response and returns its number; `None` when the device is gone.
    pub(super) async fn insert(
        &self,
        store: &Store,
        request: &Request,
        base: Option<i64>,
        position: Position,
        state: State,
    ) -> Result<Option<i64>, StorageError> {
        let mut row = ConnectionRow {
            device: request.device,
            conn_id: request.conn_id.clone(),
            position,
            state: state.encode(),
        };
        let mut txn = store.begin().await?;
        let serial = txn.insert_sliding_connection(&row, base).await?;
        txn.commit().await?;
        let Some(serial) = serial else { return Ok(None) };
        row.state = Vec::new();
        if base.is_none() {
            // The connection began anew: what was before is forgotten here too.
            let (device, conn_id) = (row.device, row.conn_id.clone());
            let is_older = move |kept: &Arc<Kept>| kept.row.device == device && kept.row.conn_id == conn_id;
            let older: Vec<i64> =
                self.cache.iter().filter(|(_, kept)| is_older(kept)).map(|(serial, _)| *serial).collect();
            for serial in &older {
                self.cache.invalidate(serial);
            }
        }
        self.cache.insert(serial, Arc::new(Kept { row, state: Arc::new(state) }));
        Ok(Some(serial))
    }
}

impl State {
    /// The index of a set of required state; adds it when it is new.
    pub(super) fn config_index(&mut self, config: &Arc<RequiredState>) -> u32 {
        let at = self.find_config(config).unwrap_or_else(|| {
            self.configs.push(config.clone());
            self.configs.len() - 1
        });
        at as u32
    }

    pub(super) fn find_config(&self, config: &Arc<RequiredState>) -> Option<usize> {
        self.configs.iter().position(|known| known == config)
    }

    /// Forgets configurations that no room has any more.
    pub(super) fn drop_unused_configs(&mut self) {
        let mut renamed: Vec<Option<u32>> = vec![None; self.configs.len()];
        let mut kept = Vec::new();
        for room in self.rooms.values_mut() {
            let Some(slot) = renamed.get_mut(room.config as usize) else { continue };
            room.config = *slot.get_or_insert_with(|| {
                kept.push(self.configs[room.config as usize].clone());
                (kept.len() - 1) as u32
            });
        }
        self.configs = kept;
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORMAT, self.extensions];
        put(&mut out, self.configs.len() as u64);
        for config in &self.configs {
            // Strings and flags always serialise.
            let json = serde_json::to_vec(config).unwrap_or_default();
            put(&mut out, json.len() as u64);
            out.extend_from_slice(&json);
        }
        put(&mut out, self.rooms.len() as u64);
        let mut rooms: Vec<_> = self.rooms.iter().collect();
        rooms.sort_unstable_by_key(|(nid, _)| **nid);
        let mut before = 0;
        for (nid, room) in rooms {
            put(&mut out, (nid.0 - before) as u64);
            before = nid.0;
            let shown = match room.shown {
                Shown::Joined => 0,
                Shown::Stripped => 1,
                Shown::Left => 2,
            };
            out.push(
                shown
                    | u8::from(room.is_dm) << 2
                    | u8::from(room.behind.is_some()) << 3
                    | u8::from(room.data_behind.is_some()) << 4,
            );
            put(&mut out, u64::from(room.timeline));
            put(&mut out, u64::from(room.config));
            for position in [room.behind, room.data_behind].into_iter().flatten() {
                put(&mut out, position.0 as u64);
            }
        }
        out
    }

    /// `None` when the bytes are of another format: the client starts anew.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        if take_byte(&mut rest)? != FORMAT {
            return None;
        }
        let extensions = take_byte(&mut rest)?;
        let mut configs = Vec::new();
        for _ in 0..take(&mut rest)? {
            let length = usize::try_from(take(&mut rest)?).ok()?;
            let (json, after) = rest.split_at_checked(length)?;
            rest = after;
            configs.push(Arc::new(serde_json::from_slice(json).ok()?));
        }
        let count = usize::try_from(take(&mut rest)?).ok()?;
        let mut rooms = HashMap::with_capacity(count.min(bytes.len()));
        let mut nid = 0;
        for _ in 0..count {
            nid += i64::try_from(take(&mut rest)?).ok()?;
            let flags = take_byte(&mut rest)?;
            let shown = match flags & 3 {
                0 => Shown::Joined,
                1 => Shown::Stripped,
                2 => Shown::Left,
                _ => return None,
            };
            let timeline = u16::try_from(take(&mut rest)?).ok()?;
            let config = u32::try_from(take(&mut rest)?).ok()?;
            if config as usize >= configs.len() {
                return None;
            }
            let mut position = |flag: u8| -> Option<Option<Position>> {
                if flags & flag == 0 {
                    return Some(None);
                }
                Some(Some(Position(i64::try_from(take(&mut rest)?).ok()?)))
            };
            let (behind, data_behind) = (position(1 << 3)?, position(1 << 4)?);
            let is_dm = flags & (1 << 2) != 0;
            rooms.insert(RoomNid(nid), SentRoom { shown, is_dm, behind, data_behind, timeline, config });
        }
        rest.is_empty().then_some(Self { extensions, configs, rooms })
    }
}

/// Appends a number, seven bits to the byte, the lowest first.
fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = take_byte(rest)?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn take_byte(rest: &mut &[u8]) -> Option<u8> {
    let (first, after) = rest.split_first()?;
    *rest = after;
    Some(*first)
}

#[cfg(test)]
mod tests {
    use super::{
        super::config::{StatePattern, StateRule},
        *,
    };

    fn state() -> State {
        let rule = StateRule {
            include: [StatePattern { event_type: Some("m.room.name".to_owned()), state_key: None }].into(),
            ..StateRule::default()
        };
        let configs = vec![Arc::default(), Arc::new(RequiredState::union([rule]))];
        let live = SentRoom {
            shown: Shown::Joined,
            is_dm: true,
            behind: None,
            data_behind: None,
            timeline: SentRoom::WHOLE_TIMELINE,
            config: 1,
        };
        let behind = SentRoom { shown: Shown::Left, behind: Some(Position(1 << 40)), config: 0, ..live };
        let data = SentRoom { data_behind: Some(Position(7)), shown: Shown::Stripped, ..behind };
        let rooms = [(RoomNid(3), live), (RoomNid(1 << 33), behind), (RoomNid(700), data)].into();
        State { extensions: 5, configs, rooms }
    }

    #[test]
    fn state_survives_a_round_trip() {
        assert_eq!(State::decode(&state().encode()), Some(state()));
        assert_eq!(State::decode(&State::default().encode()), Some(State::default()));
    }

    #[test]
    fn damaged_state_is_refused() {
        let bytes = state().encode();
        for length in 0..bytes.len() {
            assert_eq!(State::decode(&bytes[..length]), None, "{length}");
        }
        assert_eq!(State::decode(&[&bytes[..], &[0]].concat()), None);
    }

    #[test]
    fn unused_configurations_go() {
        let mut state = state();
        state.rooms.retain(|nid, _| *nid == RoomNid(3));
        state.drop_unused_configs();

        assert_eq!(state.configs.len(), 1);
        assert_eq!(state.rooms[&RoomNid(3)].config, 0);
    }
}
