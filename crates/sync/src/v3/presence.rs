//! Presence of those who share a room with the user.

use std::collections::HashSet;

use hs_model::ids::UserNid;
use hs_storage::StorageError;

use super::{Batch, Context};
use crate::filter;

/// Whose presence has changed.
pub(super) async fn section(context: &Context<'_>) -> Result<Batch, StorageError> {
    let ephemeral = &context.inner.ephemeral;
    let wanted = &context.request.filter.presence;
    if !ephemeral.has_presence() || !filter::allows(wanted, "m.presence", None) {
        return Ok(Batch::default());
    }
    let rows = ephemeral.presence_between(context.since, context.until, |_| true).await?;
    let others: Vec<UserNid> =
        rows.iter().map(|row| row.user).filter(|user| *user != context.request.user).collect();
    let seen: HashSet<UserNid> = if others.is_empty() {
        HashSet::new()
    } else {
        let mut reader = context.inner.store.reader().await?;
        reader.list_users_sharing_room(context.request.user, &others).await?.into_iter().collect()
    };
    let events = rows
        .iter()
        .filter(|row| row.user == context.request.user || seen.contains(&row.user))
        .filter(|row| filter::allows(wanted, "m.presence", Some(&row.user_id)))
        .map(|row| ephemeral.presence_event(row))
        .collect();
    Ok(Batch { events })
}
