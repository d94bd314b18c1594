//! Whose devices a client has to look at again, and whose not any longer.
//!
//! <https://spec.matrix.org/v1.19/client-server-api/#tracking-the-device-list-for-a-user>

use std::collections::HashSet;

use hs_model::{
    ids::{RoomNid, UserNid},
    membership::Membership,
    stream::Position,
};
use hs_storage::{Reader, StorageError};
use ruma::OwnedUserId;
use serde::Serialize;

use crate::{E2ee, recent_changes::Change, service::is_join};

/// What has changed of the device lists that concern a user.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct DeviceLists {
    /// Users with new or fewer devices or keys, or with whom the user shares a room since.
    pub changed: Vec<OwnedUserId>,
    /// Users with whom the user shares no room any longer.
    pub left: Vec<OwnedUserId>,
}

impl DeviceLists {
    /// Whether nothing has changed.
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.left.is_empty()
    }
}

/// Who may have to be told of.
#[derive(Debug, Default)]
struct Candidates {
    /// Told of if they share a room.
    changed: HashSet<UserNid>,
    /// Told of whether they share a room or not.
    changed_surely: HashSet<UserNid>,
    /// Told of if they share no room.
    left: HashSet<UserNid>,
    /// The rooms that the user came into.
    joined: HashSet<RoomNid>,
    /// The rooms that the user left.
    parted: HashSet<RoomNid>,
}

impl E2ee {
    /// As [`device_lists`](Self::device_lists), for who does not know which rooms the user is in.
    pub async fn device_list_changes(
        &self,
        user: UserNid,
        after: Position,
        up_to: Position,
    ) -> Result<DeviceLists, StorageError> {
        let joined = self.inner.store.reader().await?.list_joined_room_nids(user).await?;
        let joined: HashSet<RoomNid> = joined.into_iter().collect();
        self.device_lists(user, |room| joined.contains(&room), after, up_to).await
    }

    /// What has changed for a user after a position and up to another. `is_joined` says which rooms the user is in: of
    /// others they hear nothing.
    pub async fn device_lists(
        &self,
        user: UserNid,
        is_joined: impl Fn(RoomNid) -> bool + Send + Sync,
        after: Position,
        up_to: Position,
    ) -> Result<DeviceLists, StorageError> {
        if after >= up_to {
            return Ok(DeviceLists::default());
        }
        let recent = {
            let state = self.inner.state.lock();
            state.changes.between(after, up_to).map(|changes| recent_candidates(user, changes, is_joined))
        };
        let mut candidates = match recent {
            Some(candidates) => candidates,
            None => self.stored_candidates(user, after, up_to).await?,
        };
        if candidates.is_empty() {
            return Ok(DeviceLists::default());
        }
        let mut reader = self.inner.store.reader().await?;
        add_members(&mut reader, user, &mut candidates).await?;
        let lists = settle(&mut reader, user, candidates).await?;
        drop(reader);
        self.named(lists).await
    }

    async fn stored_candidates(
        &self,
        user: UserNid,
        after: Position,
        up_to: Position,
    ) -> Result<Candidates, StorageError> {
        let mut reader = self.inner.store.reader().await?;
        let mut candidates = Candidates::default();
        candidates.changed_surely.extend(reader.list_device_list_changes(user, after, up_to).await?);
        candidates.changed_surely.extend(reader.list_user_signature_changes(user, after, up_to).await?);
        for (member, membership) in reader.list_members_moved(user, after).await? {
            if membership == Membership::Join {
                candidates.changed.insert(member);
            } else {
                candidates.left.insert(member);
            }
        }
        for own in reader.list_own_moves(user, after).await? {
            let was_joined = own.before.as_deref().is_some_and(is_join);
            match (was_joined, own.membership == Membership::Join) {
                (false, true) => {
                    candidates.joined.insert(own.room);
                }
                (true, false) => {
                    candidates.parted.insert(own.room);
                }
                _ => {}
            }
        }
        // Rooms whose members were not known till then; those that the user is not in do no harm.
        candidates.joined.extend(reader.list_rooms_made_whole(after, up_to).await?);
        Ok(candidates)
    }

    async fn named(
        &self,
        (changed, left): (Vec<UserNid>, Vec<UserNid>),
    ) -> Result<DeviceLists, StorageError> {
        let all: Vec<UserNid> = changed.iter().chain(&left).copied().collect();
        let ids = self.inner.store.user_ids(&all).await?;
        let name = |users: Vec<UserNid>| {
            let mut names: Vec<OwnedUserId> =
                users.into_iter().filter_map(|user| ids.get(&user).cloned()).collect();
            names.sort_unstable();
            names
        };
        Ok(DeviceLists { changed: name(changed), left: name(left) })
    }
}

impl Candidates {
    fn is_empty(&self) -> bool {
        self.changed.is_empty()
            && self.changed_surely.is_empty()
            && self.left.is_empty()
            && self.joined.is_empty()
            && self.parted.is_empty()
    }
}

fn recent_candidates(
    user: UserNid,
    changes: impl Iterator<Item = Change> + Clone,
    is_joined: impl Fn(RoomNid) -> bool,
) -> Candidates {
    let mut candidates = Candidates::default();
    for change in changes.clone() {
        match change {
            Change::Joined(room, who) if who == user => {
                candidates.joined.insert(room);
            }
            Change::Left(room, who) if who == user => {
                candidates.parted.insert(room);
            }
            Change::Replaced(room) if is_joined(room) => {
                candidates.joined.insert(room);
            }
            _ => {}
        }
    }
    for change in changes {
        match change {
            Change::Keys(who) if who == user => {
                candidates.changed_surely.insert(who);
            }
            Change::Keys(who) => {
                candidates.changed.insert(who);
            }
            Change::Signature { signer, target } if signer == user => {
                candidates.changed_surely.insert(target);
            }
            Change::Joined(room, who) if who != user && is_joined(room) => {
                candidates.changed.insert(who);
            }
            Change::Left(room, who)
                if who != user && (is_joined(room) || candidates.parted.contains(&room)) =>
            {
                candidates.left.insert(who);
            }
            _ => {}
        }
    }
    candidates
}

/// Everybody in the rooms that the user came into or left.
async fn add_members(
    reader: &mut Reader,
    user: UserNid,
    candidates: &mut Candidates,
) -> Result<(), StorageError> {
    if !candidates.joined.is_empty() {
        // Whoever has left again meanwhile, or was left, is not told of as new.
        let own: HashSet<RoomNid> = reader.list_joined_room_nids(user).await?.into_iter().collect();
        let rooms: Vec<RoomNid> = candidates.joined.intersection(&own).copied().collect();
        candidates.changed_surely.extend(reader.list_joined_users(&rooms, user).await?);
    }
    if !candidates.parted.is_empty() {
        let rooms: Vec<RoomNid> = candidates.parted.iter().copied().collect();
        candidates.left.extend(reader.list_joined_users(&rooms, user).await?);
    }
    Ok(())
}

/// Who of the candidates shares a room with the user, and who does not.
async fn settle(
    reader: &mut Reader,
    user: UserNid,
    candidates: Candidates,
) -> Result<(Vec<UserNid>, Vec<UserNid>), StorageError> {
    let Candidates { changed, changed_surely, left, .. } = candidates;
    let open: Vec<UserNid> =
        changed.union(&left).filter(|who| !changed_surely.contains(who)).copied().collect();
    let sharing: HashSet<UserNid> = if open.is_empty() {
        HashSet::new()
    } else {
        reader.list_users_sharing_room(user, &open).await?.into_iter().collect()
    };
    let left = left
        .into_iter()
        .filter(|who| !sharing.contains(who) && !changed_surely.contains(who) && *who != user)
        .collect();
    let changed = changed.into_iter().filter(|who| sharing.contains(who) && !changed_surely.contains(who));
    Ok((changed.chain(changed_surely.iter().copied()).collect(), left))
}
