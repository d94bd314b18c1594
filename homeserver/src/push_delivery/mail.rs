//! Notifications by mail: what has stayed unread for a while, in one mail.
//!
//! A mail goes out when something in a room has waited long enough, and takes along whatever else waits. After it, the
//! room is no reason for another mail for a while, which grows with each mail until the user reads what was mailed.

use anyhow::Context as _;
use hs_model::{ids::RoomNid, records::EventRecord, stream::Position};
use hs_push::JoinedRoom;
use hs_rooms::Room;
use hs_storage::{
    StorageError,
    mail_pushers::{MailPause, RoomToMail},
    pushers::{PusherRow, QueuedPush},
};
use rand::{RngExt as _, distr::Alphanumeric};
use std::{collections::HashMap, sync::Arc};

use super::{
    Worker,
    digest::{Digest, DigestRoom, Line},
    payload::{content_of, state_text},
};
use crate::{
    client_api::UNSUBSCRIBE_PATH,
    config::Config,
    mailer::{Mail, Mailer},
};

/// How many rooms one mail tells of; others have to wait for the next.
const MAX_ROOMS: i64 = 20;
/// How many messages of a room it quotes: the newest.
const QUOTES_PER_ROOM: i64 = 8;
/// Each pause of a room is so much longer than the one before.
const PAUSE_GROWTH: i64 = 4;
const LONGEST_PAUSE_MS: i64 = 24 * 60 * 60 * 1_000;
/// What could not be mailed for so long is news no longer.
const OUTDATED_MS: i64 = 3 * 24 * 60 * 60 * 1_000;
const TOKEN_LENGTH: usize = 32;

/// What mails are made and sent with.
#[derive(Clone, Debug)]
pub(super) struct Mails {
    mailer: Mailer,
    delay_ms: i64,
    quotes: bool,
    server_name: String,
    unsubscribe_url: String,
    /// What the id of a room is added to.
    room_url: String,
}

impl Mails {
    /// `None` when no mail server is configured.
    pub(super) fn new(config: &Config) -> anyhow::Result<Option<Self>> {
        let email = &config.email;
        let Some(mailer) = Mailer::new(email)? else { return Ok(None) };
        let delay_ms = email.notification_delay_seconds.saturating_mul(1_000);
        Ok(Some(Self {
            mailer,
            delay_ms: i64::try_from(delay_ms).context("email.notification_delay_seconds is too much")?,
            quotes: email.include_content,
            server_name: config.server.name.to_string(),
            unsubscribe_url: format!("{}{UNSUBSCRIBE_PATH}", config.server.public_base_url),
            room_url: match email.client_url.trim_end_matches('/') {
                "" => "https://matrix.to/#/".to_owned(),
                client => format!("{client}/#/room/"),
            },
        }))
    }
}

/// What one mail is about.
struct Contents {
    digest: Digest,
    /// For each room that was looked at, up to where.
    seen: Vec<(RoomNid, Position)>,
    /// For each room that the mail tells of, how long it will be quiet.
    pauses: Vec<(RoomNid, MailPause)>,
}

impl Worker {
    /// Mails what waits for a pusher, once some of it has waited long enough.
    pub(super) async fn send_mail(&self, pusher: &PusherRow) -> Result<(), StorageError> {
        let user_id = self.store.user_id(pusher.user).await?;
        let mails = self.mails.as_ref().filter(|_| self.push.may_mail(&user_id, &pusher.pusher.pushkey));
        let Some(mails) = mails else {
            return self.strike_off(pusher.nid, Position(i64::MAX)).await;
        };
        let rooms = self.store.reader().await?.list_rooms_to_mail(pusher.nid, MAX_ROOMS).await?;
        let now = self.clock.now_ms();
        let mut due = i64::MAX;
        for room in &rooms {
            due = due.min(self.due(mails, pusher, room).await?);
        }
        if due > now {
            // What comes next is due after one delay, which may be sooner.
            return self.put_off(pusher, due.min(now.saturating_add(mails.delay_ms))).await;
        }
        let contents = self.contents(mails, pusher, &rooms).await?;
        if !contents.digest.rooms.is_empty()
            && let Err(error) = self.mail(mails, pusher, &contents.digest).await
        {
            tracing::info!(error = format!("{error:#}"), "could not mail notifications");
            let (failures, retry_at) = self.next_retry(pusher);
            let mut txn = self.store.begin().await?;
            txn.set_pusher_retry(pusher.nid, failures, retry_at).await?;
            return txn.commit().await;
        }
        let mut txn = self.store.begin().await?;
        txn.upsert_mail_pauses(pusher.nid, &contents.pauses).await?;
        txn.delete_mailed(pusher.nid, &contents.seen).await?;
        txn.note_pusher_success(pusher.nid, None).await?;
        txn.commit().await
    }

    /// From when on a room is a reason for a mail.
    async fn due(&self, mails: &Mails, pusher: &PusherRow, room: &RoomToMail) -> Result<i64, StorageError> {
        let due = room.waiting_since.saturating_add(mails.delay_ms);
        let Some(pause) = self.pause(pusher, room).await? else { return Ok(due) };
        Ok(due.max(pause.mailed_at.saturating_add(pause.pause_ms)))
    }

    /// The last mail about a room, unless the user has read what was in it.
    async fn pause(
        &self,
        pusher: &PusherRow,
        waiting: &RoomToMail,
    ) -> Result<Option<MailPause>, StorageError> {
        let Some(pause) = waiting.pause else { return Ok(None) };
        let Some(room) = self.rooms.find_by_nid(waiting.room).await? else { return Ok(None) };
        let joined = JoinedRoom { room: room.nid, room_id: &room.room_id };
        let is_read = self.push.has_read(pusher.user, joined, pause.last_event).await?;
        Ok(Some(pause).filter(|_| !is_read))
    }

    async fn put_off(&self, pusher: &PusherRow, until: i64) -> Result<(), StorageError> {
        let mut txn = self.store.begin().await?;
        txn.set_pusher_retry(pusher.nid, pusher.failures, until).await?;
        txn.commit().await
    }

    /// Looks at what waits, and leaves out what is news no longer.
    async fn contents(
        &self,
        mails: &Mails,
        pusher: &PusherRow,
        rooms: &[RoomToMail],
    ) -> Result<Contents, StorageError> {
        let nids: Vec<RoomNid> = rooms.iter().map(|room| room.room).collect();
        let waiting =
            self.store.reader().await?.list_newest_to_mail(pusher.nid, &nids, QUOTES_PER_ROOM).await?;
        let events: Vec<_> = waiting.iter().map(|push| push.event).collect();
        let events = self.store.find_events(&events).await?;
        let now = self.clock.now_ms();
        let mut by_room: HashMap<RoomNid, Vec<(&QueuedPush, &Arc<EventRecord>)>> = HashMap::new();
        for push in waiting.iter().filter(|push| now - push.queued_at <= OUTDATED_MS) {
            if let Some(event) = events.get(&push.event) {
                by_room.entry(push.room).or_default().push((push, event));
            }
        }
        let mut contents = Contents {
            digest: Digest { server_name: mails.server_name.clone(), rooms: Vec::new() },
            seen: rooms.iter().map(|room| (room.room, room.newest)).collect(),
            pauses: Vec::new(),
        };
        for waiting in rooms {
            let Some(pushes) = by_room.remove(&waiting.room) else { continue };
            let Some(room) = self.rooms.find_by_nid(waiting.room).await? else { continue };
            let Some(told) = self.tell_of_room(mails, pusher, (&room, waiting), &pushes).await? else {
                continue;
            };
            contents.digest.rooms.push(told);
            let pause_ms = match self.pause(pusher, waiting).await? {
                Some(pause) => pause.pause_ms.saturating_mul(PAUSE_GROWTH),
                None => mails.delay_ms.saturating_mul(PAUSE_GROWTH),
            };
            if let Some((newest, _)) = pushes.last() {
                let pause_ms = pause_ms.min(LONGEST_PAUSE_MS);
                let pause = MailPause { last_event: newest.event, mailed_at: now, pause_ms };
                contents.pauses.push((waiting.room, pause));
            }
        }
        Ok(contents)
    }

    /// What a mail says of a room; nothing when all of it has been read.
    async fn tell_of_room(
        &self,
        mails: &Mails,
        pusher: &PusherRow,
        (room, waiting): (&Room, &RoomToMail),
        pushes: &[(&QueuedPush, &Arc<EventRecord>)],
    ) -> Result<Option<DigestRoom>, StorageError> {
        let joined = JoinedRoom { room: room.nid, room_id: &room.room_id };
        let mut lines = Vec::new();
        for (push, event) in pushes {
            if event.redacted_by.is_some()
                || self.push.ignores(pusher.user, event.sender_nid).await?
                || self.push.has_read(pusher.user, joined, push.event).await?
            {
                continue;
            }
            let sender = ("m.room.member", event.sender.as_str());
            let sender = state_text(&self.rooms, room, sender, "displayname").await?;
            lines.push(Line {
                sender: sender.unwrap_or_else(|| event.sender.to_string()),
                said: Line::said(&event.event_type, &content_of(event)),
            });
        }
        let Some(last) = lines.last() else { return Ok(None) };
        let name = match state_text(&self.rooms, room, ("m.room.name", ""), "name").await? {
            Some(name) => Some(name),
            None => state_text(&self.rooms, room, ("m.room.canonical_alias", ""), "alias").await?,
        };
        // Older ones that are not quoted are unread too if the oldest that could be quoted is.
        let unquoted = if lines.len() == pushes.len() { waiting.count - pushes.len() as i64 } else { 0 };
        let count = lines.len() as u64 + u64::try_from(unquoted).unwrap_or(0);
        Ok(Some(DigestRoom {
            name: name.unwrap_or_else(|| format!("a conversation with {}", last.sender)),
            url: format!("{}{}", mails.room_url, room.room_id),
            count,
            lines: if mails.quotes { lines } else { Vec::new() },
        }))
    }

    async fn mail(&self, mails: &Mails, pusher: &PusherRow, digest: &Digest) -> anyhow::Result<()> {
        let proposed: String =
            rand::rng().sample_iter(Alphanumeric).take(TOKEN_LENGTH).map(char::from).collect();
        let mut txn = self.store.begin().await?;
        let token = txn.ensure_unsubscribe_token(pusher.nid, &proposed).await?;
        txn.commit().await?;
        // The user does not want mail any more.
        let Some(token) = token else { return Ok(()) };
        let unsubscribe_url = format!("{}?token={token}", mails.unsubscribe_url);
        let mail = Mail {
            to: &pusher.pusher.pushkey,
            subject: &digest.subject(),
            text: digest.text(&unsubscribe_url),
            html: digest.html(&unsubscribe_url),
            unsubscribe_url: &unsubscribe_url,
        };
        Ok(mails.mailer.send(mail).await?)
    }
}
