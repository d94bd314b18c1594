//! What this process has seen of its users' devices, and what that makes of their presence. Pure: the time is passed in.

use std::collections::{HashMap, HashSet};

use hs_model::ids::{DeviceNid, UserNid};
use hs_storage::presence::Presence;
use ruma::{OwnedUserId, UserId};

/// How long a device counts as connected after its last request.
pub(super) const CONNECTED_MS: i64 = 30_000;
/// How long after their last activity a connected user counts as idle.
const IDLE_MS: i64 = 5 * 60_000;
/// How long after their last activity a user counts as currently active. Longer than most clients' long polls.
const CURRENTLY_ACTIVE_MS: i64 = 90_000;
/// How often it is written down at most that somebody is still active.
const ACTIVE_WRITE_INTERVAL_MS: i64 = 60_000;

/// A device of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DeviceRef {
    pub user: UserNid,
    pub device: DeviceNid,
}

/// What is to be written about a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub user: UserNid,
    pub user_id: OwnedUserId,
    pub state: State,
}

/// What a user's devices amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    pub hold: Presence,
    pub currently_active: bool,
    pub last_active_at: i64,
}

#[derive(Debug, Default)]
pub(super) struct Seen {
    users: HashMap<UserNid, SeenUser>,
    /// Users with something to be written at once.
    dirty: HashSet<UserNid>,
}

#[derive(Debug)]
struct SeenUser {
    user_id: OwnedUserId,
    devices: Vec<SeenDevice>,
    last_active_at: i64,
    written: Option<State>,
}

#[derive(Debug)]
struct SeenDevice {
    device: DeviceNid,
    presence: Presence,
    last_seen_at: i64,
    /// Requests of the device that wait for news at the moment.
    waiting: u32,
}

impl SeenUser {
    fn state(&self, now: i64) -> State {
        let most_present = self.devices.iter().map(|device| device.presence).max().unwrap_or_default();
        let since_active = now - self.last_active_at;
        let hold = match most_present {
            Presence::Online if since_active >= IDLE_MS => Presence::Unavailable,
            presence => presence,
        };
        State {
            hold,
            currently_active: hold == Presence::Online && since_active < CURRENTLY_ACTIVE_MS,
            last_active_at: self.last_active_at,
        }
    }

    fn must_be_written(&self, state: State) -> bool {
        let Some(written) = self.written else { return true };
        (state.hold, state.currently_active) != (written.hold, written.currently_active)
            || state.last_active_at - written.last_active_at >= ACTIVE_WRITE_INTERVAL_MS
    }

    fn device(&mut self, device: DeviceNid) -> &mut SeenDevice {
        if let Some(at) = self.devices.iter().position(|seen| seen.device == device) {
            return &mut self.devices[at];
        }
        self.devices.push(SeenDevice { device, presence: Presence::Offline, last_seen_at: 0, waiting: 0 });
        let last = self.devices.len() - 1;
        &mut self.devices[last]
    }
}

impl Seen {
    /// A device says how present its user is. Says whether that is to be written.
    pub(super) fn heard(&mut self, at: DeviceRef, user_id: &UserId, presence: Presence, now: i64) -> bool {
        let user = self.users.entry(at.user).or_insert_with(|| SeenUser {
            user_id: user_id.to_owned(),
            devices: Vec::new(),
            last_active_at: 0,
            written: None,
        });
        let device = user.device(at.device);
        device.presence = presence;
        device.last_seen_at = now;
        if presence == Presence::Online {
            user.last_active_at = now;
        }
        let is_due = user.must_be_written(user.state(now));
        if is_due {
            self.dirty.insert(at.user);
        }
        is_due
    }

    /// A device waits for news from now on.
    pub(super) fn began_waiting(&mut self, at: DeviceRef) {
        if let Some(user) = self.users.get_mut(&at.user) {
            user.device(at.device).waiting += 1;
        }
    }

    /// A device has its news or has hung up.
    pub(super) fn stopped_waiting(&mut self, at: DeviceRef, now: i64) {
        let user = self.users.get_mut(&at.user);
        let device = user.and_then(|user| user.devices.iter_mut().find(|seen| seen.device == at.device));
        if let Some(device) = device {
            device.waiting = device.waiting.saturating_sub(1);
            device.last_seen_at = now;
        }
    }

    /// A connected user has done something. Says whether that is to be written.
    pub(super) fn active(&mut self, user_nid: UserNid, now: i64) -> bool {
        let Some(user) = self.users.get_mut(&user_nid) else { return false };
        user.last_active_at = now;
        for device in user.devices.iter_mut().filter(|device| device.presence == Presence::Unavailable) {
            device.presence = Presence::Online;
        }
        let is_due = user.must_be_written(user.state(now));
        if is_due {
            self.dirty.insert(user_nid);
        }
        is_due
    }

    /// What a user's devices amount to; offline when none was seen.
    pub(super) fn state(&self, user: UserNid, now: i64) -> State {
        self.users
            .get(&user)
            .map_or(State { hold: Presence::Offline, currently_active: false, last_active_at: 0 }, |user| {
                user.state(now)
            })
    }

    /// Takes out what is to be written at once.
    pub(super) fn take_dirty(&mut self, now: i64) -> Vec<Due> {
        let dirty = std::mem::take(&mut self.dirty);
        dirty.into_iter().filter_map(|user| self.due(user, now)).collect()
    }

    /// Lets devices go that have not been heard of for a while, and finds everything that is to be written.
    pub(super) fn sweep(&mut self, now: i64) -> Vec<Due> {
        self.dirty.clear();
        for user in self.users.values_mut() {
            user.devices.retain(|device| device.waiting > 0 || now - device.last_seen_at < CONNECTED_MS);
        }
        let users: Vec<UserNid> = self.users.keys().copied().collect();
        users.into_iter().filter_map(|user| self.due(user, now)).collect()
    }

    /// Notes what was written. Users of whom nothing is left to tell are forgotten.
    pub(super) fn written(&mut self, user_nid: UserNid, state: State) {
        let Some(user) = self.users.get_mut(&user_nid) else { return };
        user.written = Some(state);
        if user.devices.is_empty() && state.hold == Presence::Offline {
            self.users.remove(&user_nid);
        }
    }

    /// Another replica has written that a user is less present than what was seen here. Says whether that is to be
    /// contradicted.
    pub(super) fn doubted(&mut self, user_nid: UserNid, told: Presence, now: i64) -> bool {
        let Some(user) = self.users.get_mut(&user_nid) else { return false };
        let is_wrong = told < user.state(now).hold;
        if is_wrong {
            user.written = None;
            self.dirty.insert(user_nid);
        }
        is_wrong
    }

    fn due(&self, user_nid: UserNid, now: i64) -> Option<Due> {
        let user = self.users.get(&user_nid)?;
        let state = user.state(now);
        user.must_be_written(state).then(|| Due { user: user_nid, user_id: user.user_id.clone(), state })
    }
}

#[cfg(test)]
mod tests {
    use ruma::user_id;

    use super::*;

    const ALICE: UserNid = UserNid(1);
    const PHONE: DeviceRef = DeviceRef { user: ALICE, device: DeviceNid(1) };
    const LAPTOP: DeviceRef = DeviceRef { user: ALICE, device: DeviceNid(2) };

    fn heard(seen: &mut Seen, at: DeviceRef, presence: Presence, now: i64) -> bool {
        seen.heard(at, user_id!("@alice:example.org"), presence, now)
    }

    /// Writes all that is due, and returns what that was for Alice.
    fn write_due(seen: &mut Seen, now: i64) -> Option<(Presence, bool)> {
        let due = seen.sweep(now);
        for due in &due {
            seen.written(due.user, due.state);
        }
        due.first().map(|due| (due.state.hold, due.state.currently_active))
    }

    #[test]
    fn user_is_online_while_a_device_waits_and_offline_some_time_after() {
        let mut seen = Seen::default();
        assert!(heard(&mut seen, PHONE, Presence::Online, 1_000));
        seen.began_waiting(PHONE);
        assert_eq!(write_due(&mut seen, 1_000), Some((Presence::Online, true)));

        assert_eq!(write_due(&mut seen, 1_000 + CONNECTED_MS), None);
        seen.stopped_waiting(PHONE, 40_000);
        assert_eq!(write_due(&mut seen, 40_000 + CONNECTED_MS - 1), None);

        assert_eq!(write_due(&mut seen, 40_000 + CONNECTED_MS), Some((Presence::Offline, false)));
        assert!(seen.users.is_empty());
    }

    #[test]
    fn most_present_device_wins() {
        let mut seen = Seen::default();
        heard(&mut seen, PHONE, Presence::Online, 0);
        heard(&mut seen, LAPTOP, Presence::Unavailable, 20_000);
        assert_eq!(write_due(&mut seen, 20_000), Some((Presence::Online, true)));

        assert_eq!(write_due(&mut seen, CONNECTED_MS), Some((Presence::Unavailable, false)));
    }

    #[test]
    fn device_that_says_offline_is_not_there() {
        let mut seen = Seen::default();
        heard(&mut seen, PHONE, Presence::Online, 0);
        write_due(&mut seen, 0);

        assert!(heard(&mut seen, PHONE, Presence::Offline, 1_000));

        assert_eq!(write_due(&mut seen, 1_000), Some((Presence::Offline, false)));
    }

    #[test]
    fn repeated_requests_are_written_once_a_minute() {
        let mut seen = Seen::default();
        heard(&mut seen, PHONE, Presence::Online, 0);
        write_due(&mut seen, 0);

        for now in (10_000..ACTIVE_WRITE_INTERVAL_MS).step_by(10_000) {
            assert!(!heard(&mut seen, PHONE, Presence::Online, now), "written at {now}");
        }

        assert!(heard(&mut seen, PHONE, Presence::Online, ACTIVE_WRITE_INTERVAL_MS));
    }

    #[test]
    fn user_who_does_nothing_becomes_idle_and_comes_back_by_doing_something() {
        let mut seen = Seen::default();
        heard(&mut seen, PHONE, Presence::Online, 0);
        seen.began_waiting(PHONE);
        write_due(&mut seen, 0);

        assert_eq!(write_due(&mut seen, CURRENTLY_ACTIVE_MS), Some((Presence::Online, false)));
        assert_eq!(write_due(&mut seen, IDLE_MS), Some((Presence::Unavailable, false)));

        assert!(seen.active(ALICE, IDLE_MS + 1));
        assert_eq!(write_due(&mut seen, IDLE_MS + 1), Some((Presence::Online, true)));
    }

    #[test]
    fn activity_of_somebody_not_connected_is_nothing() {
        let mut seen = Seen::default();

        assert!(!seen.active(ALICE, 5));

        assert_eq!(write_due(&mut seen, 5), None);
    }

    #[test]
    fn word_of_another_replica_is_contradicted_when_more_was_seen_here() {
        let mut seen = Seen::default();
        heard(&mut seen, PHONE, Presence::Unavailable, 0);
        write_due(&mut seen, 0);

        assert!(!seen.doubted(ALICE, Presence::Online, 1));
        assert!(seen.doubted(ALICE, Presence::Offline, 1));

        assert_eq!(seen.take_dirty(1).len(), 1);
    }
}
