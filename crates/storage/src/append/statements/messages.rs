//! Batches of nothing but messages: one statement, which is a transaction of its own.
//!
//! This is what a server does most of the time. A transaction around the statement would cost two more round trips, during
//! which the log is locked.

use crate::{
    Store,
    append::{AppendUnit, Appended, NewEvent},
    error::{Result, StorageError},
    sticky_events::sticky_until,
};

/// Whether everything about a unit is written by the main statement.
pub(super) fn is_messages_only(unit: &AppendUnit) -> bool {
    let AppendUnit {
        room: _,
        expected_version: _,
        create,
        head: _,
        events,
        state_groups,
        state_changes,
        memberships,
        corrections,
        replaces_room,
        former_outliers,
        found,
        completeness,
        rejudged,
    } = unit;
    events.iter().all(is_message_only)
        && create.is_none()
        && state_groups.is_empty()
        && state_changes.is_empty()
        && memberships.is_empty()
        && corrections.is_empty()
        && !replaces_room
        && former_outliers.is_empty()
        && found.is_empty()
        && completeness.is_none()
        && rejudged.is_empty()
}

fn is_message_only(event: &NewEvent) -> bool {
    let NewEvent {
        record,
        type_nid: _,
        state_after: _,
        reason: _,
        prev: _,
        missing_prev,
        auth: _,
        relation,
        redacts_id,
    } = event;
    let individuals = record.notice.as_ref().and_then(|notice| notice.individuals.as_ref());
    missing_prev.is_empty()
        && relation.is_none()
        && redacts_id.is_none()
        && record.redacted_by.is_none()
        && individuals.is_none_or(Vec::is_empty)
        && sticky_until(record, 0).is_none()
}

/// Writes such units. `None` when a room has moved on: then nothing was written.
pub(super) async fn write(store: &Store, units: &[AppendUnit]) -> Result<Option<Vec<Appended>>> {
    let mut txn = store.begin_single().await?;
    let head = match txn.insert_events(units, true).await {
        Err(error) if is_lost(&error) => return Ok(None),
        written => written?,
    };
    let appended = txn.note_events(units, head.first);
    txn.commit_noted().await?;
    Ok(Some(appended))
}

/// Whether the main statement has undone itself.
fn is_lost(error: &StorageError) -> bool {
    const DIVISION_BY_ZERO: &str = "22012";
    let StorageError::Driver(error) = error else { return false };
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| code == DIVISION_BY_ZERO)
}
