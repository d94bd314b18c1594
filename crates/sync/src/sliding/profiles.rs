//! Profiles of those whom the client sees (MSC4262).
//!
//! Whoever's member event or message is in a response comes with their whole profile; after that changes are told, also of
//! those in rooms that the client does not look at. Profiles of users elsewhere are not followed, since no server tells
//! of their changes: what rooms say of them is in their member events.
//!
//! <https://github.com/matrix-org/matrix-spec-proposals/pull/4262>

use std::collections::BTreeSet;

use hs_storage::{StorageError, profiles::ProfileFieldOf};
use ruma::{OwnedUserId, UserId};
use serde_json::value::RawValue;

use super::{Context, request, response::Profiles, room::Built};

/// What there is to tell, of the rooms of a response and of changes since the last one. `parted` have left the last room that
/// they shared with the user.
pub(super) async fn build<'a>(
    context: &Context<'_>,
    wanted: &request::Profiles,
    rooms: impl Iterator<Item = &'a Built>,
    parted: Vec<OwnedUserId>,
) -> Result<Option<Profiles>, StorageError> {
    let users = parted.into_iter().map(|user| (user, None)).collect();
    let mut profiles = Profiles { users };
    let seen: BTreeSet<&UserId> = rooms.flat_map(people).collect();
    let mut reader = context.inner.store.reader().await?;
    let mut fields = Vec::new();
    if context.request.pos.is_some() && context.has_profiles {
        fields = reader.list_profile_changes(context.request.user, context.since, context.until).await?;
    }
    if !seen.is_empty() {
        let seen: Vec<&UserId> = seen.into_iter().collect();
        fields.extend(reader.list_profiles(&seen).await?);
    }
    drop(reader);
    let is_wanted =
        |field: &ProfileFieldOf| wanted.fields.as_ref().is_none_or(|names| names.contains(&field.field));
    for field in fields.into_iter().filter(is_wanted) {
        add(&mut profiles, field);
    }
    Ok((!profiles.users.is_empty()).then_some(profiles))
}

/// Those whom a room's part of the response shows.
fn people(built: &Built) -> impl Iterator<Item = &UserId> {
    let members = built.members.iter().filter_map(|id| <&UserId>::try_from(&**id).ok());
    let senders = built.events.iter().map(|event| &*event.sender);
    let heroes = built.result.iter().flat_map(|result| result.heroes.iter().flatten());
    members.chain(senders).chain(heroes.map(|hero| &*hero.user_id))
}

fn add(profiles: &mut Profiles, field: ProfileFieldOf) {
    let changes = profiles.users.entry(field.user_id).or_default().get_or_insert_default();
    match field.value.map(RawValue::from_string) {
        Some(Ok(value)) => {
            changes.removed.remove(&field.field);
            changes.updated.insert(field.field, value);
        }
        // What is stored was checked to be JSON.
        Some(Err(_)) => {}
        None => {
            changes.removed.insert(field.field);
        }
    }
}
