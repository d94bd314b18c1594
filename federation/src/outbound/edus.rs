//! EDUs that wait for a server, and how they are written.
//!
//! What is overtaken is replaced: of a user's presence, of who is typing, and of a receipt only the newest is sent.

use std::{
    collections::{BTreeMap, VecDeque, btree_map::Entry},
    sync::Arc,
};

use hs_model::{
    ids::{RoomNid, UserNid},
    stream::Position,
};
use hs_storage::{
    outgoing_edus::{EduPlace, OutgoingEdu},
    presence::PresenceRow,
    receipts::ReceiptRow,
};
use ruma::{OwnedRoomId, OwnedUserId, RoomId};
use serde::Serialize;

use super::transaction::{Builder, BuiltEdu, MAX_EDU_BYTES, MAX_EDUS};

/// How many EDUs that must not be lost wait in memory for a server; with more it falls behind.
const MAX_WAITING: usize = 1_000;
/// How many of those that pass wait; further ones are dropped.
const MAX_PASSING: usize = 500;
/// How many users are told of in one `m.presence`.
const MAX_PRESENCE: usize = 100;

/// Somebody who started or stopped typing.
#[derive(Clone, Debug)]
pub(super) struct TypingNews {
    pub(super) position: Position,
    pub(super) room: RoomNid,
    pub(super) room_id: OwnedRoomId,
    pub(super) user: UserNid,
    pub(super) user_id: OwnedUserId,
    pub(super) is_typing: bool,
}

/// A receipt, with the room's name.
#[derive(Clone, Debug)]
pub(super) struct ReceiptNews {
    pub(super) room_id: OwnedRoomId,
    pub(super) row: ReceiptRow,
}

/// Something to be told that is no event. Shared between the servers that it is for.
#[derive(Clone, Debug)]
pub(super) enum EduNews {
    /// Stored until it is delivered.
    Stored(Arc<OutgoingEdu>),
    /// Devices or signing keys of a user, at a position.
    Device(Position, BuiltEdu),
    Receipt(Arc<ReceiptNews>),
    Typing(Arc<TypingNews>),
    Presence(Arc<PresenceRow>),
}

/// Room, user, thread.
type ReceiptKey = (RoomNid, UserNid, Option<Box<str>>);

/// The EDUs that wait for a server.
#[derive(Debug, Default)]
pub(super) struct EduQueue {
    stored: VecDeque<Arc<OutgoingEdu>>,
    devices: VecDeque<(Position, BuiltEdu)>,
    receipts: BTreeMap<ReceiptKey, Arc<ReceiptNews>>,
    typing: BTreeMap<(RoomNid, UserNid), Arc<TypingNews>>,
    presence: BTreeMap<UserNid, Arc<PresenceRow>>,
}

/// What of the queue went into a transaction.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TakenEdus {
    /// The first position of what must not be lost.
    pub(super) oldest: Option<Position>,
    /// Up to where stored ones are in it.
    pub(super) stored_up_to: Option<EduPlace>,
}

impl EduQueue {
    /// Adds to the queue. `false` when there is no room for what must not be lost.
    pub(super) fn push(&mut self, news: &EduNews) -> bool {
        match news {
            EduNews::Stored(edu) => self.stored.push_back(edu.clone()),
            EduNews::Device(position, edu) => self.devices.push_back((*position, edu.clone())),
            EduNews::Receipt(news) => {
                let receipt = &news.row.receipt;
                let key = (receipt.room, receipt.user, receipt.thread_id.clone());
                self.receipts.insert(key, news.clone());
            }
            EduNews::Typing(news) => {
                if self.typing.len() < MAX_PASSING || self.typing.contains_key(&(news.room, news.user)) {
                    self.typing.insert((news.room, news.user), news.clone());
                }
            }
            EduNews::Presence(row) => {
                if self.presence.len() < MAX_PASSING || self.presence.contains_key(&row.user) {
                    self.presence.insert(row.user, row.clone());
                }
            }
        }
        self.stored.len() + self.devices.len() + self.receipts.len() <= MAX_WAITING
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn len(&self) -> usize {
        self.stored.len() + self.devices.len() + self.receipts.len() + self.typing.len() + self.presence.len()
    }

    /// The first position of what must not be lost.
    pub(super) fn oldest(&self) -> Option<Position> {
        let stored = self.stored.front().map(|edu| edu.place.position);
        let device = self.devices.front().map(|(position, _)| *position);
        let receipt = self.receipts.values().map(|news| news.row.position).min();
        [stored, device, receipt].into_iter().flatten().min()
    }

    /// What passes is worth nothing to a server that does not answer.
    pub(super) fn drop_passing(&mut self) {
        self.typing.clear();
        self.presence.clear();
    }

    /// Moves as much into a transaction as fits.
    pub(super) fn take(&mut self, builder: &mut Builder, now_ms: i64) -> TakenEdus {
        let mut taken = TakenEdus::default();
        let mut room = Allowance { edus: MAX_EDUS, bytes: MAX_EDU_BYTES };
        let mut note = |position: Position| {
            taken.oldest = Some(taken.oldest.map_or(position, |oldest| oldest.min(position)));
        };
        while let Some((_, edu)) = self.devices.front()
            && room.takes(edu.json.len())
            && let Some((position, edu)) = self.devices.pop_front()
        {
            note(position);
            builder.edu(edu);
        }
        while let Some(edu) = self.stored.front()
            && room.takes(edu.content.len())
            && let Some(edu) = self.stored.pop_front()
        {
            note(edu.place.position);
            taken.stored_up_to = Some(edu.place);
            builder.edu(stored_edu(&edu));
        }
        let receipts = self.take_receipts(room.edus);
        for news in &receipts {
            note(news.row.position);
        }
        for edu in receipt_edus(receipts.iter().map(|news| &**news)) {
            room.edus -= 1;
            builder.edu(edu);
        }
        self.take_passing(builder, &mut room, now_ms);
        taken
    }

    /// The receipts that go into so many EDUs. A user's receipts in a room need one each: those that find no place stay.
    fn take_receipts(&mut self, edus: usize) -> Vec<Arc<ReceiptNews>> {
        let mut counts: BTreeMap<(RoomNid, UserNid), usize> = BTreeMap::new();
        let mut taken = Vec::new();
        for (key, news) in std::mem::take(&mut self.receipts) {
            let count = counts.entry((key.0, key.1)).or_default();
            if *count < edus {
                *count += 1;
                taken.push(news);
            } else {
                self.receipts.insert(key, news);
            }
        }
        taken
    }

    fn take_passing(&mut self, builder: &mut Builder, room: &mut Allowance, now_ms: i64) {
        while room.edus > 0
            && let Some((_, news)) = self.typing.pop_first()
        {
            room.edus -= 1;
            builder.passing_edu(typing_edu(&news));
        }
        while room.edus > 0 && !self.presence.is_empty() {
            let mut rows = Vec::new();
            while rows.len() < MAX_PRESENCE
                && let Some((_, row)) = self.presence.pop_first()
            {
                rows.push(row);
            }
            room.edus -= 1;
            builder.passing_edu(presence_edu(&rows, now_ms));
        }
    }
}

/// What still goes into a transaction.
struct Allowance {
    edus: usize,
    bytes: usize,
}

impl Allowance {
    /// Whether another EDU goes in, which is then counted. The first one always does.
    fn takes(&mut self, bytes: usize) -> bool {
        let fits = self.edus > 0 && (bytes <= self.bytes || self.edus == MAX_EDUS);
        if fits {
            self.edus -= 1;
            self.bytes = self.bytes.saturating_sub(bytes);
        }
        fits
    }
}

/// An EDU that was stored.
pub(super) fn stored_edu(edu: &OutgoingEdu) -> BuiltEdu {
    BuiltEdu::new((edu.place.position.0 << 8) | i64::from(edu.place.ordinal), &edu.edu_type, &edu.content)
}

/// As many of the EDUs as go into one transaction; how many, and up to where.
pub(super) fn take_stored(builder: &mut Builder, edus: &[OutgoingEdu]) -> Option<EduPlace> {
    let mut room = Allowance { edus: MAX_EDUS, bytes: MAX_EDU_BYTES };
    let mut up_to = None;
    for edu in edus {
        if !room.takes(edu.content.len()) {
            break;
        }
        builder.edu(stored_edu(edu));
        up_to = Some(edu.place);
    }
    up_to
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("maps with string keys can be written as JSON")
}

/// The `m.receipt` EDUs for receipts: one, unless a user has receipts for several threads of a room.
///
/// <https://spec.matrix.org/v1.19/server-server-api/#receipts>
pub(super) fn receipt_edus<'a>(news: impl IntoIterator<Item = &'a ReceiptNews>) -> Vec<BuiltEdu> {
    #[derive(Serialize)]
    struct Receipt<'a> {
        event_ids: [&'a str; 1],
        data: Data<'a>,
    }
    #[derive(Serialize)]
    struct Data<'a> {
        ts: i64,
        #[serde(skip_serializing_if = "Option::is_none")]
        thread_id: Option<&'a str>,
    }
    type Users<'a> = BTreeMap<&'a str, Receipt<'a>>;
    type Rooms<'a> = BTreeMap<&'a RoomId, BTreeMap<&'static str, Users<'a>>>;
    let mut contents: Vec<(i64, Rooms<'a>)> = Vec::new();
    for news in news {
        let receipt = &news.row.receipt;
        let mut value = Some(Receipt {
            event_ids: [receipt.event_id.as_str()],
            data: Data { ts: receipt.ts, thread_id: receipt.thread_id.as_deref() },
        });
        for at in 0.. {
            if at == contents.len() {
                contents.push((0, Rooms::new()));
            }
            let (mark, rooms) = &mut contents[at];
            let users = rooms.entry(&news.room_id).or_default().entry("m.read").or_default();
            if let Entry::Vacant(place) = users.entry(receipt.user_id.as_str())
                && let Some(value) = value.take()
            {
                place.insert(value);
                *mark = (*mark).max(news.row.position.0);
                break;
            }
        }
    }
    contents.into_iter().map(|(mark, rooms)| BuiltEdu::new(mark, "m.receipt", &json(&rooms))).collect()
}

/// <https://spec.matrix.org/v1.19/server-server-api/#typing-notifications>
fn typing_edu(news: &TypingNews) -> BuiltEdu {
    #[derive(Serialize)]
    struct Content<'a> {
        room_id: &'a RoomId,
        typing: bool,
        user_id: &'a OwnedUserId,
    }
    let content = Content { room_id: &news.room_id, typing: news.is_typing, user_id: &news.user_id };
    BuiltEdu::new(news.position.0, "m.typing", &json(&content))
}

/// <https://spec.matrix.org/v1.19/server-server-api/#presence>
fn presence_edu(rows: &[Arc<PresenceRow>], now_ms: i64) -> BuiltEdu {
    #[derive(Serialize)]
    struct Content<'a> {
        push: Vec<Update<'a>>,
    }
    #[derive(Serialize)]
    struct Update<'a> {
        currently_active: bool,
        last_active_ago: i64,
        presence: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        status_msg: Option<&'a str>,
        user_id: &'a OwnedUserId,
    }
    let push = rows.iter().map(|row| Update {
        currently_active: row.currently_active,
        last_active_ago: if row.last_active_at > 0 { (now_ms - row.last_active_at).max(0) } else { 0 },
        presence: row.presence.as_str(),
        status_msg: row.status_msg.as_deref(),
        user_id: &row.user_id,
    });
    let mark = rows.iter().map(|row| row.position.0).max().unwrap_or_default();
    BuiltEdu::new(mark, "m.presence", &json(&Content { push: push.collect() }))
}

#[cfg(test)]
mod tests;
