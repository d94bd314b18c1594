//! Interned strings: users, event types and state slots, with caches over their tables.
//!
//! Interning commits by itself, outside of any transaction: an id that a rolled-back transaction made must not stay in the
//! caches, and a row that nobody uses does no harm.

use std::{collections::HashMap, sync::Arc};

use hs_model::ids::{EventNid, RoomNid, SlotNid, StateGroupNid, TypeNid, UserNid};
use moka::sync::Cache;
use parking_lot::Mutex;
use ruma::{OwnedUserId, UserId};

use crate::{
    Store,
    error::{Result, StorageError},
};

/// Numbers per block of a sequence; `INCREMENT` in the migration.
const BLOCK: i64 = 1000;

/// The caches.
#[derive(Debug)]
pub struct Nids {
    users: Cache<OwnedUserId, UserNid>,
    user_ids: Cache<UserNid, OwnedUserId>,
    types: Cache<Arc<str>, TypeNid>,
    slots: Cache<(Arc<str>, Arc<str>), SlotNid>,
    slot_names: Cache<SlotNid, (Arc<str>, Arc<str>)>,
    event_block: Mutex<Block>,
    state_group_block: Mutex<Block>,
}

#[derive(Debug, Default)]
struct Block {
    next: i64,
    end: i64,
}

impl Block {
    fn take(&mut self, count: i64) -> Option<i64> {
        (self.end - self.next >= count).then(|| {
            let first = self.next;
            self.next += count;
            first
        })
    }
}

impl Nids {
    pub(crate) fn new() -> Self {
        Self {
            users: Cache::new(200_000),
            user_ids: Cache::new(200_000),
            types: Cache::new(10_000),
            slots: Cache::new(200_000),
            slot_names: Cache::new(200_000),
            event_block: Mutex::default(),
            state_group_block: Mutex::default(),
        }
    }
}

impl Store {
    /// The number of a user, made when it is new.
    pub async fn intern_user(&self, user_id: &UserId) -> Result<UserNid> {
        if let Some(nid) = self.nids().users.get(user_id) {
            return Ok(nid);
        }
        let nids = self.intern_users(&[user_id]).await?;
        nids.get(user_id).copied().ok_or_else(|| missing("users", user_id.as_str()))
    }

    /// The numbers of users, made where they are new.
    pub async fn intern_users(&self, user_ids: &[&UserId]) -> Result<HashMap<OwnedUserId, UserNid>> {
        let mut found = HashMap::with_capacity(user_ids.len());
        let mut unknown = Vec::new();
        for user_id in user_ids {
            match self.nids().users.get(*user_id) {
                Some(nid) => {
                    found.insert((*user_id).to_owned(), nid);
                }
                None => unknown.push(user_id.as_str().to_owned()),
            }
        }
        if unknown.is_empty() {
            return Ok(found);
        }
        unknown.sort_unstable();
        unknown.dedup();
        // Look first: a plain upsert would use up a number and write a row version for each user already known.
        let mut rows: HashMap<String, i64> = HashMap::new();
        for is_second_look in [false, true] {
            let stored =
                sqlx::query!("SELECT user_nid, user_id FROM users WHERE user_id = ANY($1)", &unknown)
                    .fetch_all(self.pool())
                    .await?;
            rows.extend(stored.into_iter().map(|row| (row.user_id, row.user_nid)));
            unknown.retain(|id| !rows.contains_key(id));
            if unknown.is_empty() || is_second_look {
                break;
            }
            let inserted = sqlx::query!(
                "INSERT INTO users (user_id)
                 SELECT * FROM UNNEST($1::text[])
                 ON CONFLICT (user_id) DO NOTHING
                 RETURNING user_nid, user_id",
                &unknown
            )
            .fetch_all(self.pool())
            .await?;
            rows.extend(inserted.into_iter().map(|row| (row.user_id, row.user_nid)));
            unknown.retain(|id| !rows.contains_key(id));
            // Whatever is still unknown another replica inserted at the same moment: look again.
            if unknown.is_empty() {
                break;
            }
        }
        for (user_id, nid) in rows {
            found.insert(self.remember_user(&user_id, nid)?, UserNid(nid));
        }
        Ok(found)
    }

    /// The number of a user, if any was ever given.
    pub async fn find_user(&self, user_id: &UserId) -> Result<Option<UserNid>> {
        if let Some(nid) = self.nids().users.get(user_id) {
            return Ok(Some(nid));
        }
        let found = sqlx::query_scalar!("SELECT user_nid FROM users WHERE user_id = $1", user_id.as_str())
            .fetch_optional(self.pool())
            .await?;
        if let Some(nid) = found {
            self.remember_user(user_id.as_str(), nid)?;
        }
        Ok(found.map(UserNid))
    }

    /// The id of a user.
    pub async fn user_id(&self, user: UserNid) -> Result<OwnedUserId> {
        let mut ids = self.user_ids(&[user]).await?;
        ids.remove(&user).ok_or_else(|| missing("users", &user.0.to_string()))
    }

    /// The ids of users.
    pub async fn user_ids(&self, users: &[UserNid]) -> Result<HashMap<UserNid, OwnedUserId>> {
        let mut found = HashMap::with_capacity(users.len());
        let mut unknown = Vec::new();
        for user in users {
            match self.nids().user_ids.get(user) {
                Some(id) => {
                    found.insert(*user, id);
                }
                None => unknown.push(user.0),
            }
        }
        if !unknown.is_empty() {
            let rows = sqlx::query!("SELECT user_nid, user_id FROM users WHERE user_nid = ANY($1)", &unknown)
                .fetch_all(self.pool())
                .await?;
            for row in rows {
                found.insert(UserNid(row.user_nid), self.remember_user(&row.user_id, row.user_nid)?);
            }
        }
        Ok(found)
    }

    fn remember_user(&self, user_id: &str, nid: i64) -> Result<OwnedUserId> {
        let id: OwnedUserId = user_id.try_into().map_err(|_| StorageError::Inconsistent {
            table: "users",
            column: "user_id",
            row: nid.to_string(),
        })?;
        self.nids().users.insert(id.clone(), UserNid(nid));
        self.nids().user_ids.insert(UserNid(nid), id.clone());
        Ok(id)
    }

    /// The number of an event type, made when it is new.
    pub async fn intern_type(&self, event_type: &str) -> Result<TypeNid> {
        if let Some(nid) = self.nids().types.get(event_type) {
            return Ok(nid);
        }
        let nid = sqlx::query_scalar!(
            r#"WITH made AS (
                 INSERT INTO event_types (event_type)
                 SELECT $1 WHERE NOT EXISTS (SELECT FROM event_types WHERE event_type = $1)
                 ON CONFLICT (event_type) DO UPDATE SET event_type = EXCLUDED.event_type
                 RETURNING type_nid
             )
             SELECT type_nid AS "type_nid!" FROM made
             UNION ALL
             SELECT type_nid FROM event_types WHERE event_type = $1
             LIMIT 1"#,
            event_type
        )
        .fetch_one(self.pool())
        .await?;
        self.nids().types.insert(event_type.into(), TypeNid(nid));
        Ok(TypeNid(nid))
    }

    /// The number of a state slot, made when it is new.
    pub async fn intern_slot(&self, event_type: &str, state_key: &str) -> Result<SlotNid> {
        let key = (Arc::from(event_type), Arc::from(state_key));
        if let Some(nid) = self.nids().slots.get(&key) {
            return Ok(nid);
        }
        let nid = sqlx::query_scalar!(
            r#"WITH made AS (
                 INSERT INTO state_slots (event_type, state_key)
                 SELECT $1, $2
                 WHERE NOT EXISTS (SELECT FROM state_slots WHERE event_type = $1 AND state_key = $2)
                 ON CONFLICT (event_type, state_key) DO UPDATE SET state_key = EXCLUDED.state_key
                 RETURNING slot_nid
             )
             SELECT slot_nid AS "slot_nid!" FROM made
             UNION ALL
             SELECT slot_nid FROM state_slots WHERE event_type = $1 AND state_key = $2
             LIMIT 1"#,
            event_type,
            state_key
        )
        .fetch_one(self.pool())
        .await?;
        self.remember_slot(key.0, key.1, SlotNid(nid));
        Ok(SlotNid(nid))
    }

    /// The numbers of state slots, made where they are new.
    pub async fn intern_slots(
        &self,
        slots: &[(&str, &str)],
    ) -> Result<HashMap<(Arc<str>, Arc<str>), SlotNid>> {
        let mut found = self.find_slots(slots).await?;
        let is_new = |slot: &&(&str, &str)| !found.contains_key(&(Arc::from(slot.0), Arc::from(slot.1)));
        let new: Vec<&(&str, &str)> = slots.iter().filter(is_new).collect();
        if new.is_empty() {
            return Ok(found);
        }
        let types: Vec<&str> = new.iter().map(|(event_type, _)| *event_type).collect();
        let keys: Vec<&str> = new.iter().map(|(_, state_key)| *state_key).collect();
        sqlx::query!(
            "INSERT INTO state_slots (event_type, state_key)
             SELECT DISTINCT * FROM UNNEST($1::text[], $2::text[])
             ON CONFLICT (event_type, state_key) DO NOTHING",
            &types as &[&str],
            &keys as &[&str]
        )
        .execute(self.pool())
        .await?;
        let new: Vec<(&str, &str)> = new.into_iter().copied().collect();
        found.extend(self.find_slots(&new).await?);
        Ok(found)
    }

    /// The numbers of those of the slots that exist.
    pub async fn find_slots(&self, slots: &[(&str, &str)]) -> Result<HashMap<(Arc<str>, Arc<str>), SlotNid>> {
        let mut found = HashMap::with_capacity(slots.len());
        let (mut types, mut keys) = (Vec::new(), Vec::new());
        for (event_type, state_key) in slots {
            // What no column holds names no slot; the database must not be asked.
            if event_type.contains('\0') || state_key.contains('\0') {
                continue;
            }
            let key = (Arc::from(*event_type), Arc::from(*state_key));
            if let Some(nid) = self.nids().slots.get(&key) {
                found.insert(key, nid);
            } else {
                types.push((*event_type).to_owned());
                keys.push((*state_key).to_owned());
            }
        }
        if types.is_empty() {
            return Ok(found);
        }
        let rows = sqlx::query!(
            "SELECT slot_nid, event_type, state_key
             FROM state_slots
             JOIN UNNEST($1::text[], $2::text[]) AS wanted (event_type, state_key) USING (event_type, state_key)",
            &types,
            &keys
        )
        .fetch_all(self.pool())
        .await?;
        for row in rows {
            let key: (Arc<str>, Arc<str>) = (row.event_type.into(), row.state_key.into());
            self.remember_slot(key.0.clone(), key.1.clone(), SlotNid(row.slot_nid));
            found.insert(key, SlotNid(row.slot_nid));
        }
        Ok(found)
    }

    /// Type and state key of slots.
    pub async fn slot_names(&self, slots: &[SlotNid]) -> Result<HashMap<SlotNid, (Arc<str>, Arc<str>)>> {
        let mut found = HashMap::with_capacity(slots.len());
        let mut unknown = Vec::new();
        for slot in slots {
            match self.nids().slot_names.get(slot) {
                Some(name) => {
                    found.insert(*slot, name);
                }
                None => unknown.push(slot.0),
            }
        }
        if !unknown.is_empty() {
            let rows = sqlx::query!(
                "SELECT slot_nid, event_type, state_key FROM state_slots WHERE slot_nid = ANY($1)",
                &unknown
            )
            .fetch_all(self.pool())
            .await?;
            for row in rows {
                let key: (Arc<str>, Arc<str>) = (row.event_type.into(), row.state_key.into());
                self.remember_slot(key.0.clone(), key.1.clone(), SlotNid(row.slot_nid));
                found.insert(SlotNid(row.slot_nid), key);
            }
        }
        Ok(found)
    }

    fn remember_slot(&self, event_type: Arc<str>, state_key: Arc<str>, nid: SlotNid) {
        self.nids().slot_names.insert(nid, (event_type.clone(), state_key.clone()));
        self.nids().slots.insert((event_type, state_key), nid);
    }

    /// Numbers for `count` new events (at most a block of 1,000), in ascending order.
    pub async fn allocate_event_nids(&self, count: usize) -> Result<impl Iterator<Item = EventNid> + use<>> {
        debug_assert!(count as i64 <= BLOCK, "a unit of more events than a block of numbers");
        let first = loop {
            if let Some(first) = self.nids().event_block.lock().take(count as i64) {
                break first;
            }
            let base = sqlx::query_scalar!(r#"SELECT nextval('event_nids') AS "base!""#)
                .fetch_one(self.pool())
                .await?;
            *self.nids().event_block.lock() = Block { next: base, end: base + BLOCK };
        };
        Ok((first..first + count as i64).map(EventNid))
    }

    /// A number for a new state group.
    pub async fn allocate_state_group_nid(&self) -> Result<StateGroupNid> {
        loop {
            if let Some(first) = self.nids().state_group_block.lock().take(1) {
                return Ok(StateGroupNid(first));
            }
            let base = sqlx::query_scalar!(r#"SELECT nextval('state_group_nids') AS "base!""#)
                .fetch_one(self.pool())
                .await?;
            *self.nids().state_group_block.lock() = Block { next: base, end: base + BLOCK };
        }
    }

    /// A number for a new room.
    pub async fn allocate_room_nid(&self) -> Result<RoomNid> {
        let nid =
            sqlx::query_scalar!(r#"SELECT nextval('room_nids') AS "nid!""#).fetch_one(self.pool()).await?;
        Ok(RoomNid(nid))
    }
}

fn missing(table: &'static str, row: &str) -> StorageError {
    StorageError::Inconsistent { table, column: "nid", row: row.to_owned() }
}
