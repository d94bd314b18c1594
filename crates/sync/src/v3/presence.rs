//! Presence of those who share a room with the user.

use std::collections::{HashMap, HashSet};

use hs_model::{
    ids::{RoomNid, UserNid},
    membership::Membership,
};
use hs_storage::{StorageError, presence::PresenceRow};

use super::{Batch, Context};
use crate::filter;

/// With whom the user has begun to share a room, so that their presence is news whenever it changed.
#[derive(Debug, Default)]
pub(super) struct Met {
    /// Those in rooms that the user has come to.
    pub(super) rooms: Vec<RoomNid>,
    /// Those who came to rooms of the user.
    pub(super) users: Vec<UserNid>,
}

/// Whose presence has changed, or is news to the user. `has_changes` says whether any has changed at all.
pub(super) async fn section(
    context: &Context<'_>,
    met: &Met,
    has_changes: bool,
) -> Result<Batch, StorageError> {
    let ephemeral = &context.inner.ephemeral;
    let wanted = &context.request.filter.presence;
    if !ephemeral.has_presence() || !filter::allows(wanted, "m.presence", None) {
        return Ok(Batch::default());
    }
    let mut rows: HashMap<UserNid, PresenceRow> = HashMap::new();
    if context.is_initial() {
        let joined = context.stays.iter().filter(|(_, stay)| stay.membership == Membership::Join);
        let rooms: Vec<RoomNid> = joined.map(|(room, _)| *room).collect();
        rows.extend(by_user(ephemeral.presence_in_rooms(&rooms).await?));
        rows.extend(ephemeral.list_presence(&[context.request.user]).await?);
    } else {
        if has_changes {
            rows.extend(by_user(changes(context).await?));
        }
        rows.extend(by_user(ephemeral.presence_in_rooms(&met.rooms).await?));
        rows.extend(ephemeral.list_presence(&met.users).await?);
    }
    let is_told = |row: &PresenceRow| {
        !context.ignored.contains(&row.user_id) && filter::allows(wanted, "m.presence", Some(&row.user_id))
    };
    let mut rows: Vec<PresenceRow> = rows.into_values().filter(is_told).collect();
    rows.sort_unstable_by_key(|row| row.position);
    Ok(Batch { events: rows.iter().map(|row| ephemeral.presence_event(row)).collect() })
}

fn by_user(rows: Vec<PresenceRow>) -> impl Iterator<Item = (UserNid, PresenceRow)> {
    rows.into_iter().map(|row| (row.user, row))
}

/// The changes since the token that the user may see.
async fn changes(context: &Context<'_>) -> Result<Vec<PresenceRow>, StorageError> {
    let user = context.request.user;
    let rows = context.inner.ephemeral.presence_between(context.since, context.until, |_| true).await?;
    let others: Vec<UserNid> = rows.iter().map(|row| row.user).filter(|other| *other != user).collect();
    let seen: HashSet<UserNid> = if others.is_empty() {
        HashSet::new()
    } else {
        let mut reader = context.inner.store.reader().await?;
        reader.list_users_sharing_room(user, &others).await?.into_iter().collect()
    };
    let seen = rows.iter().filter(|row| row.user == user || seen.contains(&row.user));
    Ok(seen.map(|row| PresenceRow::clone(row)).collect())
}
