//! Telling other servers of the devices and signing keys of this server's users.
//!
//! What has been told is kept, so that an update says which device has changed, whoever changed it. The updates of a user
//! form a chain: each names the one before.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#device-management>

use std::collections::{BTreeMap, HashMap};

use hs_e2ee::E2ee;
use hs_model::{ids::UserNid, stream::Position};
use hs_storage::{StorageError, Store, announcements::AnnouncedDevice, missed::DeviceAnnouncement};
use ruma::{OwnedServerName, OwnedUserId, UserId};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::transaction::BuiltEdu;

/// How many users are looked up at once.
const USERS_AT_ONCE: usize = 100;

/// Makes the EDUs.
#[derive(Clone, Debug)]
pub(super) struct DeviceUpdates {
    store: Store,
    e2ee: E2ee,
    own_name: OwnedServerName,
}

/// The keys of a user that everybody sees.
#[derive(Debug, Default)]
struct PublicKeys {
    devices: BTreeMap<String, Value>,
    master: Option<Value>,
    self_signing: Option<Value>,
}

impl PublicKeys {
    fn signing_hash(&self) -> Option<Vec<u8>> {
        let has_any = self.master.is_some() || self.self_signing.is_some();
        has_any.then(|| hash(&json!([self.master, self.self_signing])))
    }
}

/// What is to be said of a user, and to be noted.
#[derive(Debug, Default)]
struct Changes {
    edus: Vec<BuiltEdu>,
    announcement: Option<DeviceAnnouncement>,
    announced: Vec<AnnouncedDevice>,
    withdrawn: Vec<(UserNid, String)>,
}

impl DeviceUpdates {
    pub(super) fn new(store: Store, e2ee: E2ee, own_name: OwnedServerName) -> Self {
        Self { store, e2ee, own_name }
    }

    /// The EDUs for users whose devices or keys have changed, with the position of each one's last change. Saying the same
    /// twice says the same.
    pub(super) async fn announce(
        &self,
        changed: &BTreeMap<UserNid, Position>,
    ) -> Result<BTreeMap<UserNid, Vec<BuiltEdu>>, StorageError> {
        let nids: Vec<UserNid> = changed.keys().copied().collect();
        let mut ids = self.store.user_ids(&nids).await?;
        ids.retain(|_, user_id| user_id.server_name() == self.own_name);
        let nids: Vec<UserNid> = nids.into_iter().filter(|nid| ids.contains_key(nid)).collect();
        let mut edus = BTreeMap::new();
        for users in nids.chunks(USERS_AT_ONCE) {
            let mut keys = self.public_keys(users, &ids).await?;
            let mut txn = self.store.begin().await?;
            let mut known = HashMap::new();
            for row in txn.list_announcements(users).await? {
                known.insert(row.user, row);
            }
            let mut told: HashMap<UserNid, BTreeMap<String, Vec<u8>>> = HashMap::new();
            for device in txn.list_announced_devices(users).await? {
                told.entry(device.user).or_default().insert(device.device_id, device.hash);
            }
            let (mut rows, mut announced, mut withdrawn) = (Vec::new(), Vec::new(), Vec::new());
            for user in users {
                let (Some(user_id), Some(position)) = (ids.get(user), changed.get(user)) else { continue };
                let keys = keys.remove(user).unwrap_or_default();
                let row = known.remove(user);
                if let Some(row) = &row
                    && row.stream_id.max(row.signing_keys_at.unwrap_or_default()) >= position.0
                {
                    edus.insert(*user, edus_again(row, user_id, &keys, Position(0)));
                    continue;
                }
                let changes = changes_of(
                    (*user, user_id),
                    *position,
                    row,
                    &told.remove(user).unwrap_or_default(),
                    &keys,
                );
                rows.extend(changes.announcement);
                announced.extend(changes.announced);
                withdrawn.extend(changes.withdrawn);
                edus.insert(*user, changes.edus);
            }
            txn.upsert_announcements(&rows).await?;
            txn.upsert_announced_devices(&announced).await?;
            txn.delete_announced_devices(&withdrawn).await?;
            txn.commit().await?;
        }
        Ok(edus)
    }

    /// The EDUs for a server that has missed announcements since a position: of each user the latest. Who has missed more of
    /// a user sees the gap, and asks for the whole list.
    pub(super) async fn missed(
        &self,
        announcements: &[DeviceAnnouncement],
        after: Position,
    ) -> Result<Vec<BuiltEdu>, StorageError> {
        let mut edus = Vec::new();
        for rows in announcements.chunks(USERS_AT_ONCE) {
            let users: Vec<UserNid> = rows.iter().map(|row| row.user).collect();
            let ids = self.store.user_ids(&users).await?;
            let mut keys = self.public_keys(&users, &ids).await?;
            for row in rows {
                let Some(user_id) = ids.get(&row.user) else { continue };
                edus.extend(edus_again(row, user_id, &keys.remove(&row.user).unwrap_or_default(), after));
            }
        }
        Ok(edus)
    }

    async fn public_keys(
        &self,
        users: &[UserNid],
        ids: &HashMap<UserNid, OwnedUserId>,
    ) -> Result<HashMap<UserNid, PublicKeys>, StorageError> {
        let by_id: HashMap<&str, UserNid> =
            users.iter().filter_map(|user| Some((ids.get(user)?.as_str(), *user))).collect();
        let wanted = users.iter().filter_map(|user| Some((ids.get(user)?.clone(), Vec::new()))).collect();
        let found = self.e2ee.query_keys_for_server(&wanted).await?;
        let mut keys: HashMap<UserNid, PublicKeys> = HashMap::new();
        for (user_id, devices) in found.device_keys {
            if let Some(user) = by_id.get(&*user_id) {
                keys.entry(*user).or_default().devices.extend(devices);
            }
        }
        for (user_id, key) in found.master_keys {
            if let Some(user) = by_id.get(&*user_id) {
                keys.entry(*user).or_default().master = Some(key);
            }
        }
        for (user_id, key) in found.self_signing_keys {
            if let Some(user) = by_id.get(&*user_id) {
                keys.entry(*user).or_default().self_signing = Some(key);
            }
        }
        Ok(keys)
    }
}

/// What has changed of a user since it was last told.
fn changes_of(
    (user, user_id): (UserNid, &UserId),
    position: Position,
    before: Option<DeviceAnnouncement>,
    told: &BTreeMap<String, Vec<u8>>,
    keys: &PublicKeys,
) -> Changes {
    let mut changes = Changes::default();
    let mut devices: Vec<(&str, Option<&Value>)> = Vec::new();
    for (device_id, device) in &keys.devices {
        let hash = hash(device);
        if told.get(device_id) != Some(&hash) {
            devices.push((device_id, Some(device)));
            changes.announced.push(AnnouncedDevice { user, device_id: device_id.clone(), hash });
        }
    }
    for device_id in told.keys().filter(|device_id| !keys.devices.contains_key(*device_id)) {
        devices.push((device_id, None));
        changes.withdrawn.push((user, device_id.clone()));
    }
    let signing_hash = keys.signing_hash();
    let mut row = before.unwrap_or_else(|| DeviceAnnouncement {
        user,
        stream_id: 0,
        prev_id: None,
        device_id: String::new(),
        signing_keys_hash: None,
        signing_keys_at: None,
    });
    let are_keys_new = signing_hash.is_some() && signing_hash != row.signing_keys_hash;
    if devices.is_empty() && !are_keys_new {
        return changes;
    }
    // Each update has an id of its own: those of the positions before that nobody else uses for this user.
    let first_id = position.0 - devices.len() as i64 + 1;
    let are_ids_free = first_id > row.stream_id;
    for (id, (device_id, device)) in (first_id..).zip(devices) {
        row.prev_id = (row.stream_id > 0 && are_ids_free).then_some(row.stream_id);
        row.stream_id = if are_ids_free { id } else { position.0 };
        device_id.clone_into(&mut row.device_id);
        changes.edus.push(device_edu(&row, user_id, device));
    }
    if are_keys_new {
        row.signing_keys_hash = signing_hash;
        row.signing_keys_at = Some(position.0);
        changes.edus.push(signing_keys_edu(position.0, user_id, keys));
    }
    changes.announcement = Some(row);
    changes
}

/// What was last said of a user, if that was after a position.
fn edus_again(
    row: &DeviceAnnouncement,
    user_id: &UserId,
    keys: &PublicKeys,
    after: Position,
) -> Vec<BuiltEdu> {
    let mut edus = Vec::new();
    if row.stream_id > after.0 {
        edus.push(device_edu(row, user_id, keys.devices.get(&row.device_id)));
    }
    if let Some(at) = row.signing_keys_at.filter(|at| *at > after.0) {
        edus.push(signing_keys_edu(at, user_id, keys));
    }
    edus
}

fn hash(value: &Value) -> Vec<u8> {
    Sha256::digest(value.to_string()).to_vec()
}

fn device_edu(row: &DeviceAnnouncement, user_id: &UserId, device: Option<&Value>) -> BuiltEdu {
    let mut content = json!({
        "user_id": user_id,
        "device_id": row.device_id,
        "stream_id": row.stream_id,
        "prev_id": row.prev_id.iter().collect::<Vec<_>>(),
    });
    match device {
        Some(device) => {
            let mut keys = device.clone();
            let unsigned = keys.as_object_mut().and_then(|keys| keys.remove("unsigned"));
            if let Some(name) = unsigned.as_ref().and_then(|unsigned| unsigned.get("device_display_name")) {
                content["device_display_name"] = name.clone();
            }
            content["keys"] = keys;
        }
        None => content["deleted"] = true.into(),
    }
    BuiltEdu::new(row.stream_id, "m.device_list_update", &content.to_string())
}

fn signing_keys_edu(position: i64, user_id: &UserId, keys: &PublicKeys) -> BuiltEdu {
    let mut content = json!({ "user_id": user_id });
    if let Some(key) = &keys.master {
        content["master_key"] = key.clone();
    }
    if let Some(key) = &keys.self_signing {
        content["self_signing_key"] = key.clone();
    }
    BuiltEdu::new(position, "m.signing_key_update", &content.to_string())
}

#[cfg(test)]
mod tests;
