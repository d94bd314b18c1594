//! What other servers forget unless it is said again.

use std::{collections::BTreeMap, time::Duration};

use hs_model::ids::{RoomNid, UserNid};
use hs_storage::presence::Presence;
use tokio::time::Instant;

use super::edus::EduNews;

/// How often it is said again that somebody is typing: others forget it after half a minute or a minute.
const TYPING_AGAIN: Duration = Duration::from_secs(25);
/// How often it is said again that somebody is there: others forget it after half an hour.
const PRESENCE_AGAIN: Duration = Duration::from_mins(25);
/// How many typists are remembered for that, and how many who are there.
const MAX_TYPISTS: usize = 10_000;
const MAX_PRESENT: usize = 200_000;
/// Of how many users it is said at once that they are there.
const PRESENT_AT_ONCE: usize = 500;

/// Who types and who is there, and when that was last said.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    typists: BTreeMap<(RoomNid, UserNid), Instant>,
    present: BTreeMap<UserNid, Instant>,
}

/// Whom it is time to say something about again, if it holds still.
#[derive(Debug, Default)]
pub(super) struct Due {
    pub(super) typists: Vec<(RoomNid, UserNid)>,
    pub(super) present: Vec<UserNid>,
}

impl Due {
    pub(super) fn is_empty(&self) -> bool {
        self.typists.is_empty() && self.present.is_empty()
    }
}

impl Repeats {
    /// Begins with users who are there, of whom nobody knows when that was last said.
    pub(super) fn new(present: impl Iterator<Item = UserNid>) -> Self {
        let long_ago = Instant::now().checked_sub(PRESENCE_AGAIN).unwrap_or_else(Instant::now);
        Self { present: present.take(MAX_PRESENT).map(|user| (user, long_ago)).collect(), ..Self::default() }
    }

    /// Something is said.
    pub(super) fn note(&mut self, news: &EduNews) {
        match news {
            EduNews::Typing(typing) => {
                let typist = (typing.room, typing.user);
                if !typing.is_typing {
                    self.typists.remove(&typist);
                } else if self.typists.len() < MAX_TYPISTS {
                    self.typists.insert(typist, Instant::now());
                }
            }
            EduNews::Presence(row) => {
                if row.presence == Presence::Offline {
                    self.present.remove(&row.user);
                } else if self.present.len() < MAX_PRESENT {
                    self.present.insert(row.user, Instant::now());
                }
            }
            EduNews::Stored(_) | EduNews::Device(..) | EduNews::Receipt(_) => {}
        }
    }

    /// Whom it is time to say something about again; they are forgotten until it is said.
    pub(super) fn take_due(&mut self) -> Due {
        Due {
            typists: take_older(&mut self.typists, TYPING_AGAIN, MAX_TYPISTS),
            present: take_older(&mut self.present, PRESENCE_AGAIN, PRESENT_AT_ONCE),
        }
    }
}

fn take_older<K: Copy + Ord>(said: &mut BTreeMap<K, Instant>, age: Duration, limit: usize) -> Vec<K> {
    let older = said.iter().filter(|(_, at)| at.elapsed() >= age).map(|(key, _)| *key);
    let due: Vec<K> = older.take(limit).collect();
    for key in &due {
        said.remove(key);
    }
    due
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hs_model::stream::Position;
    use hs_storage::presence::PresenceRow;

    use super::*;

    fn news(user: UserNid, presence: Presence) -> EduNews {
        let user_id = "@alice:here.example".try_into().expect("a valid id");
        EduNews::Presence(Arc::new(PresenceRow {
            user,
            user_id,
            presence,
            status_msg: None,
            last_active_at: 0,
            currently_active: true,
            position: Position(1),
        }))
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_stay_are_named_again_before_others_forget_them() {
        let (alice, bob) = (UserNid(1), UserNid(2));
        let mut repeats = Repeats::default();
        for user in [alice, bob] {
            repeats.note(&news(user, Presence::Online));
        }
        tokio::time::advance(Duration::from_mins(24)).await;
        assert!(repeats.take_due().is_empty());
        repeats.note(&news(bob, Presence::Offline));
        tokio::time::advance(Duration::from_mins(2)).await;

        assert_eq!(repeats.take_due().present, [alice]);
        assert!(repeats.take_due().is_empty(), "until it is said again");
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_start_everybody_is_named_once() {
        let mut repeats = Repeats::new([UserNid(1), UserNid(2)].into_iter());
        assert_eq!(repeats.take_due().present, [UserNid(1), UserNid(2)]);
        assert!(repeats.take_due().is_empty());
    }
}
