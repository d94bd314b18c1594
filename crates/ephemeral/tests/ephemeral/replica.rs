//! A replica of a server with the service under test.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use hs_ephemeral::{Ephemeral, EphemeralOptions, PresenceOptions, ReceiptError, ReceiptRequest};
use hs_model::{
    clock::TestClock,
    ids::{DeviceNid, RoomNid, UserNid},
    stream::Position,
};
use hs_rooms::{Intent, Room, Sender, WriteRequest, new_room::NewRoomRequest};
use hs_storage::{
    ephemeral::ephemeral_writer,
    presence::{Presence, PresenceRow},
    receipts::ReceiptType,
};
use hs_testkit::{TestDb, TestServer};
use ruma::{OwnedEventId, RoomVersionId, UserId};
use tokio::task::JoinHandle;

/// What the clocks of these tests show at first.
pub(crate) const START_MS: i64 = 1_700_000_000_000;

/// How many rooms the tests have made.
static ROOMS: AtomicU32 = AtomicU32::new(0);

pub(crate) struct Replica {
    pub(crate) server: TestServer,
    pub(crate) ephemeral: Ephemeral,
    pub(crate) name: &'static str,
    worker: JoinHandle<()>,
}

impl Replica {
    /// A replica that does by itself nothing that depends on time.
    pub(crate) async fn start(db: &TestDb, clock: &TestClock, name: &'static str) -> Self {
        Self::start_with(db, clock, name, true).await
    }

    pub(crate) async fn start_with(
        db: &TestDb,
        clock: &TestClock,
        name: &'static str,
        has_presence: bool,
    ) -> Self {
        let mut made = None;
        let server = TestServer::start_with(db, Arc::new(clock.clone()), |store, _| {
            let (writer, worker) = ephemeral_writer(store.clone());
            let options = EphemeralOptions {
                replica: name.into(),
                presence: PresenceOptions { is_enabled: has_presence },
            };
            let clock = Arc::new(clock.clone());
            made = Some((
                Ephemeral::new(store.clone(), writer, clock, options),
                tokio::spawn(worker.run(tokio_util::sync::CancellationToken::new())),
            ));
            Vec::new()
        })
        .await;
        let (ephemeral, worker) = made.expect("made above");
        ephemeral.start().await.expect("a working database");
        Self { server, ephemeral, name, worker }
    }

    pub(crate) async fn user(&self, name: &str) -> Sender {
        let user_id = UserId::parse(format!("@{name}:test.example")).expect("a valid id");
        let nid = self.server.store.intern_user(&user_id).await.expect("a working database");
        Sender { nid, user_id }
    }

    /// A room with these users; the first one makes it.
    pub(crate) async fn room(&self, users: &[&Sender]) -> Arc<Room> {
        let join = r#"{"membership":"join"}"#;
        // The clock stands still, and rooms that begin with the same event are the same room.
        let create = format!(r#"{{"room_version":"12","n":{}}}"#, ROOMS.fetch_add(1, Ordering::Relaxed));
        let request = NewRoomRequest {
            creator: users[0].clone(),
            version: RoomVersionId::V12,
            intents: vec![
                Intent::state("m.room.create", "", create),
                Intent::state("m.room.member", users[0].user_id.as_str(), join),
                Intent::state("m.room.join_rules", "", r#"{"join_rule":"public"}"#),
            ],
            is_published: false,
            alias: None,
        };
        let room = self.server.rooms.create(request).await.expect("a valid room");
        for user in &users[1..] {
            self.write(&room, user, Intent::state("m.room.member", user.user_id.as_str(), join)).await;
        }
        room
    }

    pub(crate) async fn write(&self, room: &Arc<Room>, sender: &Sender, intent: Intent) -> OwnedEventId {
        let request = WriteRequest::one(sender.clone(), intent);
        let written = self.server.rooms.write(room, request).await.expect("an allowed event");
        written[0].event_id().clone()
    }

    pub(crate) async fn send(&self, room: &Arc<Room>, sender: &Sender) -> OwnedEventId {
        self.write(room, sender, Intent::message("m.room.message", r#"{"msgtype":"m.text","body":"a"}"#))
            .await
    }

    /// Sends a message that relates to another.
    pub(crate) async fn relate(
        &self,
        room: &Arc<Room>,
        sender: &Sender,
        rel_type: &str,
        parent: &OwnedEventId,
    ) -> OwnedEventId {
        let content = format!(
            r#"{{"msgtype":"m.text","body":"a","m.relates_to":{{"rel_type":"{rel_type}","event_id":"{parent}","key":"k"}}}}"#
        );
        let event_type = if rel_type == "m.annotation" { "m.reaction" } else { "m.room.message" };
        self.write(room, sender, Intent::message(event_type, content)).await
    }

    pub(crate) async fn read(
        &self,
        room: RoomNid,
        user: &Sender,
        event_id: &OwnedEventId,
        thread_id: Option<&str>,
    ) -> Result<(), ReceiptError> {
        self.read_as(ReceiptType::Read, room, user, event_id, thread_id).await
    }

    pub(crate) async fn read_as(
        &self,
        receipt_type: ReceiptType,
        room: RoomNid,
        user: &Sender,
        event_id: &OwnedEventId,
        thread_id: Option<&str>,
    ) -> Result<(), ReceiptError> {
        let request = ReceiptRequest {
            room,
            user: user.nid,
            user_id: &user.user_id,
            receipt_type,
            event_id,
            thread_id,
        };
        self.ephemeral.set_receipt(request).await
    }

    /// The events that the receipts in a room are on which changed after a position.
    pub(crate) async fn receipts_after(
        &self,
        room: RoomNid,
        viewer: &Sender,
        after: Position,
    ) -> Vec<OwnedEventId> {
        let up_to = self.server.store.applied();
        let mut found = self
            .ephemeral
            .receipts_between(&[room], viewer.nid, after, up_to)
            .await
            .expect("a working database");
        let rows = found.remove(&room).unwrap_or_default();
        rows.iter().map(|row| row.receipt.event_id.clone()).collect()
    }

    pub(crate) async fn presence(&self, user: &Sender) -> Option<PresenceRow> {
        self.ephemeral.find_presence(user.nid).await.expect("a working database")
    }

    /// Whose presence changed after a position, and to what.
    pub(crate) async fn presence_after(&self, after: Position) -> Vec<(UserNid, Presence)> {
        let up_to = self.server.store.applied();
        let rows = self.ephemeral.presence_between(after, up_to, |_| true).await;
        rows.expect("a working database").iter().map(|row| (row.user, row.presence)).collect()
    }

    pub(crate) async fn sweep(&self) {
        self.ephemeral.sweep_presence().await.expect("a working database");
    }

    /// Waits until this replica has heard of everything that is in the log.
    pub(crate) async fn catch_up(&self) -> Position {
        let head = self.server.store.reader().await.expect("a connection").find_log_head().await;
        let head = head.expect("the head of the log");
        self.server.store.tail().wait_applied(head).await;
        head
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.worker.abort();
    }
}

pub(crate) const PHONE: DeviceNid = DeviceNid(1);
pub(crate) const LAPTOP: DeviceNid = DeviceNid(2);
