//! Asking other servers for the keys of their users, while somebody waits for the answer.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use hs_model::ids::UserNid;
use hs_storage::{StorageError, cross_signing::KeyUsage, device_keys::DeviceKeysRow};
use ruma::{OwnedServerName, OwnedUserId, UserId};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    E2ee,
    device_keys::device_information,
    ports::{RemoteClaims, RemoteDeviceList, RemoteKeyAnswer, RemoteKeysError, WantedClaims, WantedDevices},
    remote_keys::{self, CheckedList, Owner},
};

/// For how many users of a server their lists are asked for one by one, which tells how new they are. For more, all keys are
/// asked for at once, and the next change has the list fetched again.
const MAX_LISTS: usize = 4;
/// How many servers are asked at the same time for one user.
const SERVERS_AT_ONCE: usize = 50;

/// What is known of the keys of users of other servers.
#[derive(Debug, Default)]
pub(crate) struct RemoteFound {
    /// Of these users, the database has what is known.
    pub(crate) stored: Vec<String>,
    pub(crate) failures: BTreeMap<OwnedServerName, Value>,
    pub(crate) device_keys: BTreeMap<OwnedUserId, BTreeMap<String, Value>>,
    pub(crate) master_keys: BTreeMap<String, Value>,
    pub(crate) self_signing_keys: BTreeMap<String, Value>,
}

/// One-time keys that other servers have handed out.
#[derive(Debug, Default)]
pub(crate) struct RemoteClaimed {
    pub(crate) failures: BTreeMap<OwnedServerName, Value>,
    pub(crate) one_time_keys: RemoteClaims,
}

/// What one server has said.
#[derive(Debug, Default)]
struct Answer {
    lists: BTreeMap<OwnedUserId, RemoteDeviceList>,
    keys: RemoteKeyAnswer,
    /// Why something is missing.
    failure: Option<RemoteKeysError>,
}

/// What one server is asked.
#[derive(Debug, Default)]
struct Question {
    /// Users whose lists are to be stored.
    lists: Vec<OwnedUserId>,
    /// What is only passed on.
    devices: WantedDevices,
}

fn failure(error: &RemoteKeysError) -> Value {
    let status = match error {
        RemoteKeysError::Unreachable(_) => 503,
        RemoteKeysError::UnknownUser(_) | RemoteKeysError::Refused(_) => 502,
    };
    json!({ "status": status, "message": error.to_string() })
}

impl E2ee {
    /// Finds the keys of users of other servers: those that are stored and still hold, and the others by asking.
    pub(crate) async fn fetch_keys(
        &self,
        viewer: UserNid,
        wanted: WantedDevices,
        timeout: Duration,
    ) -> Result<RemoteFound, StorageError> {
        let mut found = RemoteFound::default();
        if wanted.is_empty() {
            return Ok(found);
        }
        let position = self.inner.store.applied();
        let ids: Vec<String> = wanted.keys().map(ToString::to_string).collect();
        let known = self.inner.store.reader().await?.list_remote_users(viewer, &ids).await?;
        let mut neighbours: HashMap<String, UserNid> = HashMap::new();
        for user in known {
            if user.is_current {
                found.stored.push(user.user_id);
            } else if user.is_neighbour {
                neighbours.insert(user.user_id, user.user);
            }
        }
        let mut questions: BTreeMap<OwnedServerName, Question> = BTreeMap::new();
        for (user_id, devices) in &wanted {
            if found.stored.iter().any(|stored| stored == user_id.as_str()) {
                continue;
            }
            let question = questions.entry(user_id.server_name().to_owned()).or_default();
            if neighbours.contains_key(user_id.as_str()) {
                question.lists.push(user_id.clone());
            } else {
                question.devices.insert(user_id.clone(), devices.clone());
            }
        }
        if questions.is_empty() {
            return Ok(found);
        }
        let opened: Vec<(UserNid, &UserId)> = questions
            .values()
            .flat_map(|question| &question.lists)
            .filter_map(|user_id| Some((*neighbours.get(user_id.as_str())?, &**user_id)))
            .collect();
        let versions = if opened.is_empty() { HashMap::new() } else { self.open_lists(&opened).await? };
        let ask = |server, question, left| self.ask(server, question, left);
        let answers = ask_all(questions, timeout, ask).await;
        let mut lists = Vec::new();
        for (server, answer) in answers {
            let answer = answer.unwrap_or_else(|error| Answer { failure: Some(error), ..Answer::default() });
            if let Some(error) = answer.failure {
                tracing::info!(%error, destination = %server, "could not ask for keys");
                found.failures.insert(server, failure(&error));
            }
            let passed_on = |user_id: &OwnedUserId| !neighbours.contains_key(user_id.as_str());
            pass_on(&mut found, &wanted, &answer.keys, passed_on);
            lists.extend(answer.lists.into_iter().filter_map(|(user_id, list)| {
                let user = *neighbours.get(user_id.as_str())?;
                Some((CheckedList::read(Owner { user, user_id: &user_id }, list), user_id))
            }));
        }
        if !lists.is_empty() {
            let (lists, ids): (Vec<CheckedList>, Vec<OwnedUserId>) = lists.into_iter().unzip();
            self.store_lists(lists, &versions, position).await?;
            // Where something was heard meanwhile, what is stored is as good as the answer, and told to be out of date.
            found.stored.extend(ids.into_iter().map(|user_id| user_id.to_string()));
        }
        Ok(found)
    }

    async fn ask(
        &self,
        server: OwnedServerName,
        question: Question,
        timeout: Duration,
    ) -> Result<Answer, RemoteKeysError> {
        let remote = self.inner.remote.get().ok_or_else(no_federation)?;
        let mut answer = Answer::default();
        let Question { mut lists, mut devices } = question;
        if lists.len() > MAX_LISTS {
            devices.extend(lists.drain(..).map(|user_id| (user_id, Vec::new())));
        }
        let one_by_one = lists.iter().map(|user_id| remote.devices(user_id, timeout));
        let one_by_one = futures_util::future::join_all(one_by_one);
        let at_once = async {
            if devices.is_empty() {
                return Ok(RemoteKeyAnswer::default());
            }
            remote.query(&server, devices.clone(), timeout).await
        };
        let (listed, keys) = tokio::join!(one_by_one, at_once);
        for (user_id, list) in lists.iter().zip(listed) {
            match list {
                Ok(list) => {
                    answer.lists.insert(user_id.clone(), list);
                }
                // Its server does not know the user: then there are no devices.
                Err(RemoteKeysError::UnknownUser(_)) => {}
                Err(error) => answer.failure = Some(error),
            }
        }
        match keys {
            Ok(keys) => {
                let listed = devices.keys().map(|user_id| (user_id.clone(), keys.list_of(user_id)));
                answer.lists.extend(listed);
                answer.keys = keys;
            }
            Err(error) => answer.failure = Some(error),
        }
        Ok(answer)
    }

    /// Has other servers hand out one-time keys.
    pub(crate) async fn fetch_claims(&self, wanted: WantedClaims, timeout: Duration) -> RemoteClaimed {
        let mut claimed = RemoteClaimed::default();
        let mut by_server: BTreeMap<OwnedServerName, WantedClaims> = BTreeMap::new();
        for (user_id, devices) in &wanted {
            let of_server = by_server.entry(user_id.server_name().to_owned()).or_default();
            of_server.insert(user_id.clone(), devices.clone());
        }
        let answers = ask_all(by_server, timeout, |server, wanted, left| async move {
            let remote = self.inner.remote.get().ok_or_else(no_federation)?;
            remote.claim(&server, wanted, left).await
        })
        .await;
        for (server, answer) in answers {
            match answer {
                Ok(keys) => claimed.one_time_keys.extend(only_wanted(keys, &wanted)),
                Err(error) => {
                    tracing::info!(%error, destination = %server, "could not claim keys");
                    claimed.failures.insert(server, failure(&error));
                }
            }
        }
        claimed
    }
}

/// Asks many servers, not too many at the same time; what each says is told with its name. `ask` learns how much of the time is
/// left; those whose turn does not come before it is up are not asked.
async fn ask_all<W, A, F>(
    wanted: BTreeMap<OwnedServerName, W>,
    timeout: Duration,
    ask: impl Fn(OwnedServerName, W, Duration) -> F,
) -> Vec<(OwnedServerName, Result<A, RemoteKeysError>)>
where
    F: Future<Output = Result<A, RemoteKeysError>>,
{
    let deadline = Instant::now() + timeout;
    let ask = &ask;
    let asked = wanted.into_iter().map(|(server, wanted)| async move {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let error = RemoteKeysError::Unreachable("There was no time left to ask this server".to_owned());
            return (server, Err(error));
        }
        let answer = ask(server.clone(), wanted, left).await;
        (server, answer)
    });
    stream::iter(asked).buffer_unordered(SERVERS_AT_ONCE).collect().await
}

fn no_federation() -> RemoteKeysError {
    RemoteKeysError::Unreachable("This server does not talk to others".to_owned())
}

/// Takes over what was said of users whose lists are not stored, without anything that was not asked for.
fn pass_on(
    found: &mut RemoteFound,
    wanted: &WantedDevices,
    answer: &RemoteKeyAnswer,
    is_passed_on: impl Fn(&OwnedUserId) -> bool,
) {
    for (user_id, devices) in &answer.device_keys {
        let Some(ids) = wanted.get(user_id).filter(|_| is_passed_on(user_id)) else { continue };
        let owner = Owner { user: UserNid(0), user_id };
        let devices = devices
            .iter()
            .filter(|(device_id, _)| ids.is_empty() || ids.contains(device_id))
            .filter_map(|(device_id, json)| remote_keys::device(owner, device_id.as_str(), None, json))
            .map(|device| {
                let row = DeviceKeysRow {
                    user_id: user_id.to_string(),
                    device_id: device.device_id.clone(),
                    display_name: device.display_name,
                    keys: device.keys,
                    signatures: Vec::new(),
                };
                (device.device_id, device_information(&row))
            });
        found.device_keys.insert(user_id.clone(), devices.collect());
    }
    let keys = [
        (&answer.master_keys, KeyUsage::Master, &mut found.master_keys),
        (&answer.self_signing_keys, KeyUsage::SelfSigning, &mut found.self_signing_keys),
    ];
    for (told, usage, taken) in keys {
        for (user_id, json) in told {
            let owner = Owner { user: UserNid(0), user_id };
            if wanted.contains_key(user_id)
                && is_passed_on(user_id)
                && let Some(key) = remote_keys::cross_signing_key(owner, usage, json)
            {
                taken.insert(user_id.to_string(), serde_json::from_str(&key.key).unwrap_or_default());
            }
        }
    }
}

/// The keys that were asked for.
fn only_wanted(keys: RemoteClaims, wanted: &WantedClaims) -> RemoteClaims {
    keys.into_iter()
        .filter_map(|(user_id, devices)| {
            let of_user = wanted.get(&user_id)?;
            let devices = devices
                .into_iter()
                .filter_map(|(device_id, mut keys)| {
                    let algorithm = of_user.get(&device_id)?;
                    keys.retain(|name, _| name.split_once(':').is_some_and(|(named, _)| named == algorithm));
                    Some((device_id, keys))
                })
                .collect();
            Some((user_id, devices))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::value::RawValue;

    use super::*;

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).unwrap()
    }

    fn claims(json: Value) -> RemoteClaims {
        serde_json::from_value(json).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn some_servers_are_asked_at_once_until_the_time_is_up() {
        let servers: BTreeMap<OwnedServerName, usize> =
            (0..180).map(|number| (format!("s{number}.example").try_into().unwrap(), number)).collect();
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));

        let answers = ask_all(servers, Duration::from_secs(5), async |_, _, left: Duration| {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(left.min(Duration::from_secs(2))).await;
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(left)
        })
        .await;

        // Two rounds take two seconds each, and a third what is left.
        assert_eq!(most.into_inner(), SERVERS_AT_ONCE);
        let given = |seconds| {
            let given = answers.iter().filter_map(|(_, answer)| answer.as_ref().ok());
            given.filter(|left| **left == Duration::from_secs(seconds)).count()
        };
        assert_eq!((given(5), given(3), given(1), answers.len()), (50, 50, 50, 180));
        assert_eq!(answers.iter().filter(|(_, answer)| answer.is_err()).count(), 30);
    }

    #[test]
    fn keys_that_nobody_claimed_are_not_passed_on() {
        let wanted: WantedClaims =
            serde_json::from_value(json!({ "@bob:other.example": { "D": "signed_curve25519" } })).unwrap();
        let told = claims(json!({
            "@bob:other.example": { "D": { "signed_curve25519:A": {}, "curve25519:B": "x" }, "E": { "a:b": {} } },
            "@alice:our.example": { "D": { "signed_curve25519:A": {} } },
        }));

        let taken = only_wanted(told, &wanted);

        assert_eq!(
            serde_json::to_value(&taken).unwrap(),
            json!({ "@bob:other.example": { "D": { "signed_curve25519:A": {} } } })
        );
    }

    #[test]
    fn only_devices_that_were_asked_for_are_passed_on() {
        let wanted: WantedDevices = serde_json::from_value(json!({ "@bob:other.example": ["D"] })).unwrap();
        let keys =
            |id: &str| raw(&format!(r#"{{"user_id":"@bob:other.example","device_id":"{id}","keys":{{}}}}"#));
        let answer = RemoteKeyAnswer {
            device_keys: [(
                "@bob:other.example".try_into().unwrap(),
                [("D".into(), keys("D")), ("E".into(), keys("E"))].into(),
            )]
            .into(),
            ..RemoteKeyAnswer::default()
        };
        let mut found = RemoteFound::default();

        pass_on(&mut found, &wanted, &answer, |_| true);

        let devices: Vec<&String> = found.device_keys.values().flat_map(BTreeMap::keys).collect();
        assert_eq!(devices, ["D"]);
    }
}
