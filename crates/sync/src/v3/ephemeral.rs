//! Typing and receipts of a room.

use std::{collections::HashMap, sync::Arc};

use hs_ephemeral::events::{receipt_events, typing_event};
use hs_model::{ids::RoomNid, stream::Position};
use hs_rooms::Room;
use hs_storage::{StorageError, receipts::ReceiptRow};

use super::{Batch, Context};
use crate::filter;

/// Receipts by room.
pub(super) type Receipts = HashMap<RoomNid, Vec<Arc<ReceiptRow>>>;

/// What has passed in a room; everything that holds when the room is new to the client.
pub(super) async fn section(
    context: &Context<'_>,
    receipts: &Receipts,
    room: &Arc<Room>,
    is_new: bool,
) -> Result<Batch, StorageError> {
    let wanted = &context.request.filter.room.ephemeral;
    let mut batch = Batch::default();
    if !filter::allows_room_section(wanted, &room.room_id) {
        return Ok(batch);
    }
    if filter::allows_room_data(wanted, "m.typing")
        && let Some(typing) = context.inner.ephemeral.typing(room.nid)
    {
        // A client that knows the room is also told when the last one has stopped.
        let is_news = if is_new { !typing.user_ids.is_empty() } else { typing.changed > context.since };
        if is_news && typing.changed <= context.until {
            batch.events.push(typing_event(&context.ignored.others(&typing.user_ids)));
        }
    }
    if filter::allows_room_data(wanted, "m.receipt") {
        if is_new && !context.is_initial() {
            let ephemeral = &context.inner.ephemeral;
            let all = ephemeral
                .receipts_between(&[room.nid], context.request.user, Position::START, context.until)
                .await?;
            batch.events.extend(receipt_events(told(context, all.values().flatten())));
        } else if let Some(rows) = receipts.get(&room.nid) {
            batch.events.extend(receipt_events(told(context, rows.iter())));
        }
    }
    Ok(batch)
}

/// The receipts of those whom the user does not ignore.
fn told<'a>(
    context: &Context<'_>,
    rows: impl Iterator<Item = &'a Arc<ReceiptRow>>,
) -> impl Iterator<Item = &'a ReceiptRow> {
    rows.map(|row| &**row).filter(|row| !context.ignored.contains(&row.receipt.user_id))
}
