//! The stored device lists of users of other servers: fetching them, and keeping them up to what their servers tell.
//!
//! A list holds as long as a room has been shared with its user since it was fetched: as long as their server tells every change.
//! Each change counts the list's version up, so that an answer that was asked for before does not replace what came after.
//!
//! <https://spec.matrix.org/v1.19/server-server-api/#device-management>

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use hs_model::{ids::UserNid, stream::Position};
use hs_storage::{
    StorageError, Txn,
    cross_signing::{CrossSigningKeyRow, KeyUsage},
    remote_devices::{DueResync, RemoteDevice, RemoteListRow},
};
use ruma::{OwnedServerName, OwnedUserId, UserId};
use serde_json::value::RawValue;

use crate::{
    E2ee,
    ports::{RemoteKeys, RemoteKeysError},
    remote_keys::{self, CheckedList, MAX_DEVICES, Owner},
};

/// How long a server may take to list the devices of a user when nobody waits for it.
const RESYNC_TIMEOUT: Duration = Duration::from_secs(20);
/// How many servers are asked at the same time.
const SERVERS_AT_ONCE: usize = 16;
/// How many lists are fetched again in one go.
const RESYNCS_AT_ONCE: i64 = 200;
/// After how long another replica takes over what one has not done. Where a list has to wait longer for others of its server,
/// it is fetched twice, which does no harm.
const CLAIM_MS: i64 = 25 * 1000;
/// How long to wait after the first failure; then each time twice as long.
const FIRST_RETRY_MS: i64 = 5 * 1000;
const LAST_RETRY_MS: i64 = 6 * 60 * 60 * 1000;
/// After so many failures a list is fetched only when somebody asks for it.
const MAX_FAILURES: i32 = 18;
/// How often to look for lists that another replica was told of.
const POLL_INTERVAL: Duration = Duration::from_secs(30);

/// `m.device_list_update`: something about a device of a user of another server.
#[derive(Clone, Debug)]
pub struct DeviceListUpdate {
    /// Whose device.
    pub user_id: OwnedUserId,
    /// The device.
    pub device_id: String,
    /// What its user calls it.
    pub display_name: Option<String>,
    /// Which change this is.
    pub stream_id: i64,
    /// Which changes came before.
    pub prev_ids: Vec<i64>,
    /// Whether the device is gone.
    pub is_deleted: bool,
    /// Its identity keys.
    pub keys: Option<Box<RawValue>>,
}

/// `m.signing_key_update`: cross-signing keys of a user of another server.
#[derive(Clone, Debug)]
pub struct SigningKeyUpdate {
    /// Whose.
    pub user_id: OwnedUserId,
    /// The master key, if it is new.
    pub master_key: Option<Box<RawValue>>,
    /// The self-signing key, if it is new.
    pub self_signing_key: Option<Box<RawValue>>,
}

/// What another server tells of the devices and keys of its users.
#[derive(Clone, Debug)]
pub enum RemoteUpdate {
    /// Of a device.
    Device(DeviceListUpdate),
    /// Of cross-signing keys.
    SigningKeys(SigningKeyUpdate),
}

impl RemoteUpdate {
    fn user_id(&self) -> &UserId {
        match self {
            Self::Device(update) => &update.user_id,
            Self::SigningKeys(update) => &update.user_id,
        }
    }
}

impl E2ee {
    /// Takes note of what another server tells of its users, in order; that they are its users has been checked. Users who
    /// are in no room with anybody here are passed over.
    pub async fn receive_remote_updates(&self, updates: &[RemoteUpdate]) -> Result<(), StorageError> {
        let ids: BTreeSet<String> = updates.iter().map(|update| update.user_id().to_string()).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let ids: Vec<String> = ids.into_iter().collect();
        let mut txn = self.inner.store.begin().await?;
        let joined: BTreeMap<String, UserNid> = txn.list_joined_somewhere(&ids).await?.into_iter().collect();
        if joined.is_empty() {
            return Ok(());
        }
        let users: Vec<UserNid> = joined.values().copied().collect();
        let mut lists: HashMap<UserNid, RemoteListRow> =
            txn.lock_remote_lists(&users).await?.into_iter().map(|list| (list.user, list)).collect();
        let mut changed = BTreeSet::new();
        let mut outdated = BTreeSet::new();
        for update in updates {
            let Some(user) = joined.get(update.user_id().as_str()).copied() else { continue };
            let owner = Owner { user, user_id: update.user_id() };
            let Some(list) = lists.get_mut(&user) else {
                // Nobody has asked for the list, but clients may know it from earlier.
                changed.insert(user);
                continue;
            };
            let effect = match update {
                RemoteUpdate::Device(update) => apply_device(&mut txn, owner, list, update).await?,
                RemoteUpdate::SigningKeys(update) => apply_keys(&mut txn, owner, list, update).await?,
            };
            match effect {
                Effect::Nothing => {}
                Effect::Changed => {
                    changed.insert(user);
                }
                Effect::Gap => {
                    list.is_fetched = false;
                    changed.insert(user);
                    outdated.insert(user);
                }
            }
        }
        if !outdated.is_empty() {
            let users: Vec<UserNid> = outdated.iter().copied().collect();
            txn.set_remote_lists_outdated(&users, self.inner.clock.now_ms()).await?;
        }
        let changed: Vec<UserNid> = changed.into_iter().collect();
        txn.log_device_lists(&changed).await?;
        txn.commit().await?;
        if !outdated.is_empty() {
            self.inner.resync_wake.notify_one();
        }
        Ok(())
    }

    /// Notes that lists are about to be fetched, and says at which version each stands.
    pub(crate) async fn open_lists(
        &self,
        users: &[(UserNid, &UserId)],
    ) -> Result<HashMap<UserNid, i64>, StorageError> {
        let rows: Vec<(UserNid, &str)> =
            users.iter().map(|(user, user_id)| (*user, user_id.server_name().as_str())).collect();
        let mut txn = self.inner.store.begin().await?;
        let lists = txn.open_remote_lists(&rows).await?;
        txn.commit().await?;
        Ok(lists.into_iter().map(|list| (list.user, list.version)).collect())
    }

    /// Stores lists that were asked for when they stood at these versions, and the log at `position`. Returns those that are
    /// stored: of the others, something was heard meanwhile.
    pub(crate) async fn store_lists(
        &self,
        lists: Vec<CheckedList>,
        versions: &HashMap<UserNid, i64>,
        position: Position,
    ) -> Result<HashSet<UserNid>, StorageError> {
        let mut txn = self.inner.store.begin().await?;
        let users: Vec<UserNid> = lists.iter().map(|list| list.user).collect();
        let rows = txn.lock_remote_lists(&users).await?;
        let unchanged: HashSet<UserNid> = rows
            .iter()
            .filter(|row| versions.get(&row.user) == Some(&row.version))
            .map(|row| row.user)
            .collect();
        let lists: Vec<CheckedList> =
            lists.into_iter().filter(|list| unchanged.contains(&list.user)).collect();
        if lists.is_empty() {
            return Ok(unchanged);
        }
        let news = news_of(&mut txn, &lists).await?;
        let fetched: Vec<(UserNid, Option<i64>)> =
            lists.iter().map(|list| (list.user, list.stream_id)).collect();
        let users: Vec<UserNid> = lists.iter().map(|list| list.user).collect();
        let (devices, keys): (Vec<_>, Vec<_>) =
            lists.into_iter().map(|list| (list.devices, list.keys)).unzip();
        txn.replace_remote_devices(&users, &devices.concat()).await?;
        txn.replace_cross_signing_keys(&users, &keys.concat()).await?;
        txn.set_remote_lists_fetched(&fetched, position).await?;
        txn.log_device_lists(&news).await?;
        txn.commit().await?;
        Ok(unchanged)
    }

    /// Fetches lists again that have gaps, until the future is dropped.
    pub async fn run_resyncs(&self) -> Result<(), StorageError> {
        loop {
            while self.resync_due().await? {}
            let next = self.inner.store.reader().await?.find_next_resync().await?;
            let now_ms = self.inner.clock.now_ms();
            let wait =
                next.map_or(POLL_INTERVAL, |next| Duration::from_millis((next - now_ms).max(0) as u64));
            // Running out of time is what usually happens.
            let _ = tokio::time::timeout(wait.min(POLL_INTERVAL), self.inner.resync_wake.notified()).await;
        }
    }

    /// Fetches those lists again for which it is time. Says whether there may be more.
    pub async fn resync_due(&self) -> Result<bool, StorageError> {
        let Some(remote) = self.inner.remote.get() else { return Ok(false) };
        let now_ms = self.inner.clock.now_ms();
        let mut txn = self.inner.store.begin().await?;
        let due = txn.claim_resyncs(now_ms, now_ms + CLAIM_MS, RESYNCS_AT_ONCE).await?;
        txn.commit().await?;
        let is_full = due.len() as i64 == RESYNCS_AT_ONCE;
        let mut by_server: BTreeMap<OwnedServerName, Vec<DueResync>> = BTreeMap::new();
        for list in due {
            by_server.entry(list.user_id.server_name().to_owned()).or_default().push(list);
        }
        // A server is asked for one list at a time; others do not wait for it.
        let outcomes: Vec<Result<(), StorageError>> = stream::iter(by_server)
            .map(|(server, lists)| self.resync_server(remote.as_ref(), server, lists))
            .buffer_unordered(SERVERS_AT_ONCE)
            .collect()
            .await;
        outcomes.into_iter().collect::<Result<(), StorageError>>()?;
        Ok(is_full)
    }

    async fn resync_server(
        &self,
        remote: &dyn RemoteKeys,
        server: OwnedServerName,
        lists: Vec<DueResync>,
    ) -> Result<(), StorageError> {
        for list in lists {
            match self.resync_list(remote, &list).await? {
                Ok(()) => {}
                Err(error) => {
                    tracing::info!(%error, user_id = %list.user_id, "could not fetch the devices of a user");
                    let delay = FIRST_RETRY_MS.saturating_mul(1 << list.failures.clamp(0, 20));
                    let until_ms = self.inner.clock.now_ms() + delay.min(LAST_RETRY_MS);
                    let is_hopeless = list.failures >= MAX_FAILURES;
                    let mut txn = self.inner.store.begin().await?;
                    txn.defer_resync(list.user, (!is_hopeless).then_some(until_ms)).await?;
                    if matches!(error, RemoteKeysError::Unreachable(_)) {
                        txn.defer_resyncs_of_server(server.as_str(), until_ms).await?;
                        txn.commit().await?;
                        return Ok(());
                    }
                    txn.commit().await?;
                }
            }
        }
        Ok(())
    }

    async fn resync_list(
        &self,
        remote: &dyn RemoteKeys,
        list: &DueResync,
    ) -> Result<Result<(), RemoteKeysError>, StorageError> {
        let owner = Owner { user: list.user, user_id: &list.user_id };
        let position = self.inner.store.applied();
        let versions = self.open_lists(&[(list.user, &list.user_id)]).await?;
        let answer = match remote.devices(&list.user_id, RESYNC_TIMEOUT).await {
            Ok(answer) => answer,
            Err(error) => return Ok(Err(error)),
        };
        // When something was heard meanwhile, the list is due again by that.
        self.store_lists(vec![CheckedList::read(owner, answer)], &versions, position).await?;
        Ok(Ok(()))
    }

    /// Forgets the lists of users who are in no room that this server knows. Two replicas doing so at once do no harm.
    pub async fn delete_unused_lists(&self) -> Result<(), StorageError> {
        let mut txn = self.inner.store.begin().await?;
        let deleted = txn.delete_remote_lists_of_strangers().await?;
        txn.commit().await?;
        tracing::info!(deleted, "forgot the devices of users who are in no room");
        Ok(())
    }
}

/// What came of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// It was known already.
    Nothing,
    /// The list holds it now.
    Changed,
    /// The list misses something before it, or what it says cannot be used.
    Gap,
}

async fn apply_device(
    txn: &mut Txn,
    owner: Owner<'_>,
    list: &mut RemoteListRow,
    update: &DeviceListUpdate,
) -> Result<Effect, StorageError> {
    match place(list, update) {
        Effect::Changed => {}
        other => return Ok(other),
    }
    match &update.keys {
        Some(json) if !update.is_deleted => {
            let device = remote_keys::device(owner, &update.device_id, update.display_name.clone(), json);
            let Some(device) = device else { return Ok(Effect::Gap) };
            txn.upsert_remote_devices(&[device]).await?;
            if txn.count_remote_devices(owner.user).await? > MAX_DEVICES as i64 {
                txn.delete_remote_device(owner.user, &update.device_id).await?;
            }
        }
        // A device without keys is none that anybody could encrypt for.
        _ => txn.delete_remote_device(owner.user, &update.device_id).await?,
    }
    list.stream_id = Some(update.stream_id);
    txn.set_remote_list_stream(owner.user, list.stream_id).await?;
    Ok(Effect::Changed)
}

/// Where an update stands to a list.
fn place(list: &RemoteListRow, update: &DeviceListUpdate) -> Effect {
    let Some(known) = list.stream_id.filter(|_| list.is_fetched) else { return Effect::Gap };
    // Servers that name no predecessor mean that the list should be fetched.
    let follows = !update.prev_ids.is_empty() && update.prev_ids.iter().all(|prev| *prev <= known);
    match (follows, update.stream_id > known) {
        (true, true) => Effect::Changed,
        (true, false) => Effect::Nothing,
        (false, _) => Effect::Gap,
    }
}

async fn apply_keys(
    txn: &mut Txn,
    owner: Owner<'_>,
    list: &mut RemoteListRow,
    update: &SigningKeyUpdate,
) -> Result<Effect, StorageError> {
    if !list.is_fetched {
        return Ok(Effect::Gap);
    }
    let told = [(&update.master_key, KeyUsage::Master), (&update.self_signing_key, KeyUsage::SelfSigning)];
    let mut keys = Vec::new();
    for (json, usage) in told {
        let Some(json) = json else { continue };
        match remote_keys::cross_signing_key(owner, usage, json) {
            Some(key) => keys.push(key),
            None => return Ok(Effect::Gap),
        }
    }
    let stored = txn.list_own_cross_signing_keys(owner.user).await?;
    if keys.iter().all(|key| stored.contains(key)) {
        return Ok(Effect::Nothing);
    }
    let master = |keys: &[CrossSigningKeyRow]| {
        keys.iter().find(|key| key.usage == KeyUsage::Master).map(|key| key.public_key.clone())
    };
    if let (Some(new), Some(old)) = (master(&keys), master(&stored))
        && new != old
    {
        txn.delete_subordinate_keys(owner.user).await?;
    }
    for key in &keys {
        txn.upsert_cross_signing_key(key).await?;
    }
    // Counts the version up, so that an answer on its way does not bring the old keys back.
    txn.set_remote_list_stream(owner.user, list.stream_id).await?;
    Ok(Effect::Changed)
}

/// Those of the users of whom something else was stored before: clients may have seen that.
async fn news_of(txn: &mut Txn, lists: &[CheckedList]) -> Result<Vec<UserNid>, StorageError> {
    let users: Vec<UserNid> = lists.iter().map(|list| list.user).collect();
    let mut devices: HashMap<UserNid, Vec<RemoteDevice>> = HashMap::new();
    for device in txn.list_remote_devices(&users).await? {
        devices.entry(device.user).or_default().push(device);
    }
    let mut keys: HashMap<UserNid, Vec<CrossSigningKeyRow>> = HashMap::new();
    for key in txn.list_cross_signing_keys_of(&users).await? {
        keys.entry(key.user).or_default().push(key);
    }
    let is_news = |list: &&CheckedList| {
        let devices = devices.get(&list.user).map(Vec::as_slice).unwrap_or_default();
        let keys = keys.get(&list.user).map(Vec::as_slice).unwrap_or_default();
        let was_known = !devices.is_empty() || !keys.is_empty();
        // The database may sort ids otherwise.
        let is_same = devices.len() == list.devices.len()
            && devices.iter().all(|device| list.devices.contains(device))
            && keys.len() == list.keys.len()
            && keys.iter().all(|key| list.keys.contains(key));
        was_known && !is_same
    };
    Ok(lists.iter().filter(is_news).map(|list| list.user).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(stream_id: Option<i64>, is_fetched: bool) -> RemoteListRow {
        RemoteListRow { user: UserNid(1), stream_id, is_fetched, version: 0 }
    }

    fn update(stream_id: i64, prev_ids: &[i64]) -> DeviceListUpdate {
        DeviceListUpdate {
            user_id: "@bob:other.example".try_into().unwrap(),
            device_id: "D".to_owned(),
            display_name: None,
            stream_id,
            prev_ids: prev_ids.to_vec(),
            is_deleted: false,
            keys: None,
        }
    }

    #[test]
    fn update_after_those_that_are_known_is_taken() {
        let known = list(Some(5), true);

        assert_eq!(place(&known, &update(6, &[5])), Effect::Changed);
        assert_eq!(place(&known, &update(9, &[3, 5])), Effect::Changed);
    }

    #[test]
    fn update_after_an_unknown_one_tells_of_a_gap() {
        let known = list(Some(5), true);

        assert_eq!(place(&known, &update(7, &[6])), Effect::Gap);
        assert_eq!(place(&known, &update(8, &[5, 7])), Effect::Gap);
        assert_eq!(place(&known, &update(6, &[])), Effect::Gap);
    }

    #[test]
    fn repeated_update_changes_nothing() {
        let known = list(Some(5), true);

        assert_eq!(place(&known, &update(5, &[4])), Effect::Nothing);
        assert_eq!(place(&known, &update(3, &[2])), Effect::Nothing);
    }

    #[test]
    fn list_of_which_it_is_not_known_how_new_it_is_is_fetched_again() {
        assert_eq!(place(&list(None, true), &update(6, &[5])), Effect::Gap);
        assert_eq!(place(&list(Some(5), false), &update(6, &[5])), Effect::Gap);
    }
}
