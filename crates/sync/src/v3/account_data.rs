//! Account data, global and of rooms.

use std::collections::HashMap;

use hs_model::{ids::RoomNid, stream::Position};
use hs_push::RULES_TYPE;
use hs_rooms::Room;
use hs_storage::{StorageError, account_data::AccountDataRow};
use ruma::UserId;
use serde_json::value::RawValue;

use super::{Batch, Context};
use crate::filter;

/// What has changed, by room.
#[derive(Debug, Default)]
pub(super) struct Sections {
    by_room: HashMap<Option<RoomNid>, Vec<AccountDataRow>>,
}

impl Sections {
    /// Everything that changed in the range of the sync, in one query.
    pub(super) async fn read(context: &Context<'_>) -> Result<Self, StorageError> {
        let mut reader = context.inner.store.reader().await?;
        let rows = reader.list_account_data(context.request.user, context.since, context.until).await?;
        let mut by_room: HashMap<_, Vec<_>> = HashMap::new();
        for row in rows {
            by_room.entry(row.room).or_default().push(row);
        }
        Ok(Self { by_room })
    }

    /// The rooms with changes.
    pub(super) fn rooms(&self) -> impl Iterator<Item = RoomNid> {
        self.by_room.keys().copied().flatten()
    }

    /// The part of the whole account.
    pub(super) fn take_global(&mut self, context: &Context<'_>) -> Batch {
        let wanted = &context.request.filter.account_data;
        let rows = self.by_room.entry(None).or_default();
        complete_push_rules(rows, &context.request.user_id, context.is_initial());
        self.take(None, |data_type| filter::allows(wanted, data_type, Some(&context.request.user_id)))
    }

    /// The part of one room.
    pub(super) fn take_room(&mut self, context: &Context<'_>, room: &Room) -> Batch {
        let wanted = &context.request.filter.room.account_data;
        if !filter::allows_room_section(wanted, &room.room_id) {
            return Batch::default();
        }
        self.take(Some(room.nid), |data_type| filter::allows_room_data(wanted, data_type))
    }

    fn take(&mut self, room: Option<RoomNid>, is_wanted: impl Fn(&str) -> bool) -> Batch {
        let rows = self.by_room.remove(&room).unwrap_or_default();
        Batch { events: rows.iter().filter(|row| is_wanted(&row.data_type)).filter_map(event).collect() }
    }
}

/// All account data of a room that is new to the client; some may have been set before the user joined.
pub(super) async fn whole_room(context: &Context<'_>, room: &Room) -> Result<Batch, StorageError> {
    let mut reader = context.inner.store.reader().await?;
    let rows = reader.list_account_data(context.request.user, Position::START, context.until).await?;
    let rows = rows.into_iter().filter(|row| row.room == Some(room.nid)).collect();
    Ok(Sections { by_room: HashMap::from([(Some(room.nid), rows)]) }.take_room(context, room))
}

/// Everybody has push rules, stored or not, and what is stored may lack predefined ones. `rows` are global account data.
pub(crate) fn complete_push_rules(rows: &mut Vec<AccountDataRow>, user_id: &UserId, is_initial: bool) {
    if let Some(row) = rows.iter_mut().find(|row| row.data_type == RULES_TYPE) {
        row.content = hs_push::client_content(user_id, Some(&row.content));
    } else if is_initial {
        rows.push(AccountDataRow {
            room: None,
            data_type: RULES_TYPE.to_owned(),
            content: hs_push::client_content(user_id, None),
            position: Position::START,
        });
    }
}

pub(crate) fn event(row: &AccountDataRow) -> Option<Box<RawValue>> {
    #[derive(serde::Serialize)]
    struct Event<'a> {
        #[serde(rename = "type")]
        data_type: &'a str,
        content: &'a RawValue,
    }
    let content = serde_json::from_str(&row.content).ok()?;
    serde_json::value::to_raw_value(&Event { data_type: &row.data_type, content }).ok()
}
