//! Who in a room has rules of their own, grouped by what the rules come to there.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use hs_model::ids::{RoomNid, UserNid};
use hs_storage::{StorageError, Store, notices::Occasion};
use moka::sync::Cache;
use parking_lot::Mutex;
use ruma::{RoomId, push::Ruleset};

use crate::{
    RULES_TYPE,
    personal::{PersonalRules, RulesCache, is_quiet},
};

/// How many rooms' audiences are kept in memory.
const MAX_ROOMS: u64 = 4_096;

/// Users whose rules come to the same in a room.
#[derive(Debug)]
pub(crate) struct Class {
    pub(crate) rules: Ruleset,
    /// The display name that the rules may look for; such a class has one user.
    pub(crate) display_name: String,
    pub(crate) is_quiet: bool,
    pub(crate) users: Vec<UserNid>,
}

/// Those in a room with rules of their own.
#[derive(Debug, Default)]
pub(crate) struct Audience {
    /// Held while the candidates are read, so that they are read once.
    loading: tokio::sync::Mutex<bool>,
    /// Users who may be in the room and may have rules of their own: never too few, sometimes too many.
    candidates: Mutex<BTreeSet<UserNid>>,
    classes: Mutex<Option<Arc<Vec<Class>>>>,
}

impl Audience {
    fn add(&self, user: UserNid) {
        self.candidates.lock().insert(user);
        *self.classes.lock() = None;
    }

    async fn load(&self, store: &Store, room: RoomNid) -> Result<(), StorageError> {
        let mut is_loaded = self.loading.lock().await;
        if !*is_loaded {
            let members = store.reader().await?.list_members_with_rules(room, RULES_TYPE).await?;
            self.candidates.lock().extend(members);
            *is_loaded = true;
        }
        Ok(())
    }
}

/// The audiences in memory.
#[derive(Debug)]
pub(crate) struct Audiences {
    rooms: Cache<RoomNid, Arc<Audience>>,
}

impl Audiences {
    pub(crate) fn new() -> Self {
        Self { rooms: Cache::new(MAX_ROOMS) }
    }

    /// A user has changed their rules: perhaps a member of any of the rooms.
    pub(crate) fn add_everywhere(&self, user: UserNid) {
        for (_, audience) in &self.rooms {
            audience.add(user);
        }
    }

    /// A user came into a room.
    pub(crate) fn add(&self, room: RoomNid, user: UserNid) {
        if let Some(audience) = self.rooms.get(&room) {
            audience.add(user);
        }
    }

    /// The classes of a room's members with rules of their own.
    pub(crate) async fn classes(
        &self,
        store: &Store,
        rules: &RulesCache,
        occasion: &Occasion<'_>,
    ) -> Result<Arc<Vec<Class>>, StorageError> {
        let audience = self.rooms.get_with(occasion.room, Arc::default);
        if let Some(classes) = audience.classes.lock().clone() {
            return Ok(classes);
        }
        // Read before anything else: whoever is added from now on must not be dropped again below.
        let epoch = rules.epoch();
        audience.load(store, occasion.room).await?;
        let candidates: Vec<UserNid> = audience.candidates.lock().iter().copied().collect();
        let members: Vec<UserNid> =
            candidates.into_iter().filter(|user| (occasion.is_joined)(*user)).collect();
        let mut personal = rules.find(store, &members).await?;
        personal.retain(|_, rules| !rules.is_default);
        let classes = Arc::new(classes(&personal, occasion.room_id));
        let mut candidates = audience.candidates.lock();
        if rules.epoch() == epoch {
            candidates.retain(|user| personal.contains_key(user));
            *audience.classes.lock() = Some(classes.clone());
        }
        Ok(classes)
    }
}

fn classes(personal: &HashMap<UserNid, Arc<PersonalRules>>, room_id: &RoomId) -> Vec<Class> {
    let mut by_key: HashMap<String, Class> = HashMap::new();
    for (user, rules) in personal {
        let shared = rules.shared_in(room_id);
        let class = by_key.entry(rules.sharing_key(*user, &shared)).or_insert_with(|| Class {
            is_quiet: is_quiet(&shared, room_id),
            rules: shared,
            display_name: rules.display_name.clone(),
            users: Vec::new(),
        });
        class.users.push(*user);
    }
    by_key.into_values().collect()
}
