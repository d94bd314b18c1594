//! What memory knows of the devices that sync here, so that a sync without news asks the database nothing.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use hs_model::{
    ids::{DeviceNid, UserNid},
    stream::Position,
};

use crate::one_time_keys::KeySupply;

/// How long a device is remembered after its last sync.
const KEEP_IDLE: Duration = Duration::from_mins(10);
/// How many users are remembered before idle ones are looked for.
const SWEEP_AT: usize = 64;

/// A device of a user of this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LocalDevice {
    /// Whose.
    pub user: UserNid,
    /// The device.
    pub device: DeviceNid,
}

#[derive(Debug)]
struct Inbox {
    /// No message stands after this.
    newest: Position,
    /// Everything up to here has been deleted.
    confirmed: Position,
    supply: Option<Arc<KeySupply>>,
    used_at: Instant,
}

/// The devices, by user.
#[derive(Debug, Default)]
pub(crate) struct Inboxes {
    users: HashMap<UserNid, HashMap<DeviceNid, Inbox>>,
    /// Counts changes of supplies, so that what was read before one is not remembered after it.
    epoch: u64,
}

impl Inboxes {
    /// The inbox of a device that syncs here, where `position` is how far the log is applied to this.
    fn open(&mut self, device: LocalDevice, position: Position) -> &mut Inbox {
        if self.users.len() >= SWEEP_AT
            && self.users.len().is_power_of_two()
            && !self.users.contains_key(&device.user)
        {
            self.sweep();
        }
        let inbox =
            self.users.entry(device.user).or_default().entry(device.device).or_insert_with(|| Inbox {
                // What came before nobody has watched.
                newest: position,
                confirmed: Position::START,
                supply: None,
                used_at: Instant::now(),
            });
        inbox.used_at = Instant::now();
        inbox
    }

    /// Whether there may be messages after a position.
    pub(crate) fn may_have_messages(
        &mut self,
        device: LocalDevice,
        position: Position,
        after: Position,
    ) -> bool {
        self.open(device, position).newest > after
    }

    /// Whether there may be messages to delete up to a position; notes that they are.
    pub(crate) fn confirm(&mut self, device: LocalDevice, position: Position, up_to: Position) -> bool {
        let inbox = self.open(device, position);
        if up_to <= inbox.confirmed || inbox.newest <= inbox.confirmed {
            return false;
        }
        inbox.confirmed = up_to;
        true
    }

    /// Deleting has failed: try again next time.
    pub(crate) fn unconfirm(&mut self, device: LocalDevice, position: Position) {
        self.open(device, position).confirmed = Position::START;
    }

    /// What is known of a device's keys, and what to hand to [`remember_supply`](Self::remember_supply).
    pub(crate) fn supply(
        &mut self,
        device: LocalDevice,
        position: Position,
    ) -> (Option<Arc<KeySupply>>, u64) {
        let epoch = self.epoch;
        (self.open(device, position).supply.clone(), epoch)
    }

    pub(crate) fn remember_supply(
        &mut self,
        device: LocalDevice,
        position: Position,
        epoch: u64,
        supply: Arc<KeySupply>,
    ) {
        if self.epoch == epoch {
            self.open(device, position).supply = Some(supply);
        }
    }

    /// A message came at a position, for one device or several.
    pub(crate) fn message(&mut self, user: UserNid, device: Option<DeviceNid>, position: Position) {
        let Some(inboxes) = self.users.get_mut(&user) else { return };
        match device {
            Some(device) => {
                if let Some(inbox) = inboxes.get_mut(&device) {
                    inbox.newest = position;
                }
            }
            None => inboxes.values_mut().for_each(|inbox| inbox.newest = position),
        }
    }

    /// The keys of a device have become more or fewer.
    pub(crate) fn supply_changed(&mut self, user: UserNid, device: DeviceNid) {
        self.epoch += 1;
        if let Some(inbox) = self.users.get_mut(&user).and_then(|inboxes| inboxes.get_mut(&device)) {
            inbox.supply = None;
        }
    }

    fn sweep(&mut self) {
        self.users.retain(|_, inboxes| {
            inboxes.retain(|_, inbox| inbox.used_at.elapsed() < KEEP_IDLE);
            !inboxes.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICE: LocalDevice = LocalDevice { user: UserNid(1), device: DeviceNid(2) };

    #[test]
    fn quiet_device_costs_nothing_after_its_first_sync() {
        let mut inboxes = Inboxes::default();
        assert!(inboxes.may_have_messages(DEVICE, Position(10), Position(5)));
        assert!(inboxes.confirm(DEVICE, Position(10), Position(5)));

        assert!(!inboxes.may_have_messages(DEVICE, Position(20), Position(12)));
        assert!(inboxes.confirm(DEVICE, Position(20), Position(12)), "what came between was not deleted yet");
        assert!(!inboxes.confirm(DEVICE, Position(20), Position(15)));
    }

    #[test]
    fn message_is_looked_for_and_deleted_once() {
        let mut inboxes = Inboxes::default();
        inboxes.confirm(DEVICE, Position(10), Position(10));
        inboxes.message(DEVICE.user, None, Position(11));

        assert!(inboxes.may_have_messages(DEVICE, Position(11), Position(10)));
        assert!(!inboxes.may_have_messages(DEVICE, Position(11), Position(11)));
        assert!(inboxes.confirm(DEVICE, Position(11), Position(11)));
        assert!(!inboxes.confirm(DEVICE, Position(12), Position(12)));
    }

    #[test]
    fn supply_read_before_a_change_is_not_remembered() {
        let mut inboxes = Inboxes::default();
        let (known, epoch) = inboxes.supply(DEVICE, Position(1));
        assert!(known.is_none());
        inboxes.supply_changed(DEVICE.user, DEVICE.device);

        inboxes.remember_supply(DEVICE, Position(1), epoch, Arc::default());

        assert!(inboxes.supply(DEVICE, Position(1)).0.is_none());
    }
}
