//! Asking whom the events of a batch notify.

use hs_model::{ids::UserNid, membership::Membership};
use hs_room_rules::power_levels::PowerLevels;
use hs_storage::notices::Occasion;
use ruma::UserId;

use super::Batch;
use crate::WriteError;

impl Batch<'_> {
    /// Notes with each event whom it notifies. To be called once, when all events are in the batch.
    pub(crate) async fn notice(&mut self) -> Result<(), WriteError> {
        let Some(notifier) = self.rooms.inner.options.notifier.clone() else { return Ok(()) };
        let mut events = std::mem::take(&mut self.work.events);
        let batch = &*self;
        let is_joined = |user| batch.is_joined(user);
        let may_notify_room = |user_id: &UserId| batch.may_notify_room(user_id);
        let occasion = Occasion {
            room: batch.room.nid,
            room_id: &batch.room_id,
            joined_count: batch.joined_count(),
            is_joined: &is_joined,
            may_notify_room: &may_notify_room,
            events: &mut events,
        };
        let outcome = notifier.notice(occasion).await;
        self.work.events = events;
        Ok(outcome?)
    }

    /// Whether a room exists beside the batch.
    fn has_past(&self) -> bool {
        self.version > 0
    }

    fn was_joined(&self, user: UserNid) -> bool {
        self.has_past() && self.room.read().membership(user) == Some(Membership::Join)
    }

    fn is_joined(&self, user: UserNid) -> bool {
        match self.work.memberships.get(&user) {
            Some(change) => change.membership == Membership::Join,
            None => self.was_joined(user),
        }
    }

    fn joined_count(&self) -> usize {
        if self.is_partial {
            // How many there are is not known; that they are two only, as rules ask, is not likely.
            return usize::MAX;
        }
        let before = if self.has_past() { self.room.read().joined_count() } else { 0 };
        self.work.memberships.values().fold(before, |count, change| {
            let is_joined = change.membership == Membership::Join;
            count.saturating_add_signed(isize::from(is_joined) - isize::from(self.was_joined(change.user)))
        })
    }

    fn may_notify_room(&self, user_id: &UserId) -> bool {
        let Some(create) = self.state("m.room.create", "") else { return false };
        let power_levels = self.state("m.room.power_levels", "").map(|pdu| &**pdu);
        PowerLevels::new(create, power_levels)
            .is_ok_and(|levels| levels.user(user_id).reaches(levels.notification("room")))
    }
}
