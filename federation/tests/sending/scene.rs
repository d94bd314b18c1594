//! A server whose transactions to others come to the test, which answers them.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use federation::outbound::{SendFailure, SendFuture, Sender, SenderOptions, Transaction, Transport};
use hs_e2ee::E2ee;
use hs_model::{clock::TestClock, ids::UserNid};
use hs_rooms::{
    Intent, RoomActions, Sender as Person,
    create::{CreateRoom, Preset},
    ports::{Profile, ProfileFuture, Profiles},
};
use hs_storage::{
    accounts::NewAccount,
    ephemeral::{EphemeralWrite, ephemeral_writer},
    presence::{Presence, PresenceUpdate, StatusMsgChange},
    tail::LogApplier,
};
use hs_testkit::{TestDb, TestServer, server::SERVER_NAME};
use parking_lot::Mutex;
use ruma::{OwnedEventId, OwnedRoomId, OwnedServerName, RoomId, ServerName, UserId};
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// When the tests begin.
const START_MS: i64 = 1_700_000_000_000;

/// A transaction on its way, which waits for its answer.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) destination: String,
    pub(crate) id: String,
    pub(crate) pdus: Vec<Value>,
    pub(crate) edus: Vec<Value>,
    reply: oneshot::Sender<Result<(), SendFailure>>,
}

impl Attempt {
    pub(crate) fn accept(self) {
        let _ = self.reply.send(Ok(()));
    }

    /// Refused as such: it is not sent again.
    pub(crate) fn refuse(self) {
        let _ = self.reply.send(Err(SendFailure::Refused("no".to_owned())));
    }

    /// What the messages say.
    pub(crate) fn bodies(&self) -> Vec<&str> {
        self.pdus.iter().filter_map(|pdu| pdu["content"]["body"].as_str()).collect()
    }
}

/// Hands transactions to the test.
#[derive(Debug)]
struct Scripted(mpsc::UnboundedSender<Attempt>);

impl Transport for Scripted {
    fn send_transaction<'a>(
        &'a self,
        destination: &'a ServerName,
        transaction: &'a Transaction,
        _: Duration,
    ) -> SendFuture<'a> {
        let parse = |parts: &[Arc<str>]| {
            parts.iter().map(|part| serde_json::from_str(part).expect("JSON")).collect::<Vec<Value>>()
        };
        let (reply, answer) = oneshot::channel();
        let attempt = Attempt {
            destination: destination.to_string(),
            id: transaction.id.clone(),
            pdus: parse(&transaction.pdus),
            edus: parse(&transaction.edus),
            reply,
        };
        // A test that has ended takes nothing.
        let _ = self.0.send(attempt);
        Box::pin(async move {
            answer
                .await
                .unwrap_or_else(|_| Err(SendFailure::Unavailable("the test has dropped it".to_owned())))
        })
    }
}

#[derive(Debug)]
struct NoNames;

impl Profiles for NoNames {
    fn profile<'a>(&'a self, _: UserNid, _: &'a UserId) -> ProfileFuture<'a> {
        Box::pin(async { Ok(Profile { displayname: None, avatar_url: None }) })
    }
}

/// One replica, with its sender.
pub(crate) struct Replica {
    pub(crate) server: TestServer,
    pub(crate) actions: RoomActions,
    pub(crate) sender: Sender,
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

impl Replica {
    async fn start(db: &TestDb, clock: &TestClock, transport: Arc<Scripted>, holder: &str) -> Self {
        let mut sender = None;
        let server = TestServer::start_with(db, Arc::new(clock.clone()), |store, rooms| {
            let name: OwnedServerName = SERVER_NAME.try_into().expect("a valid server name");
            let e2ee = E2ee::new(store.clone(), Arc::new(clock.clone()), name);
            let options = SenderOptions {
                tick: Duration::from_millis(10),
                // Long enough that a busy machine does not lose it by accident.
                lease: Duration::from_secs(3),
                patience: Duration::from_millis(50),
                drain: Duration::from_millis(100),
                ..SenderOptions::new(holder.to_owned())
            };
            let made = Sender::new(rooms.clone(), e2ee, Arc::new(clock.clone()), transport, options);
            let appliers: Vec<Arc<dyn LogApplier>> = vec![made.applier()];
            sender = Some(made);
            appliers
        })
        .await;
        let actions = RoomActions::new(server.rooms.clone(), Arc::new(NoNames));
        let (sender, stop) = (sender.expect("it was just made"), CancellationToken::new());
        #[expect(clippy::disallowed_methods, reason = "its end is awaited when the test stops it")]
        let task = tokio::spawn({
            let (sender, stop) = (sender.clone(), stop.clone());
            async move { sender.run(stop).await.expect("a working database") }
        });
        Self { server, actions, sender, stop, task: Some(task) }
    }

    /// Stops the sender in order.
    pub(crate) async fn stop(&mut self) {
        self.stop.cancel();
        if let Some(task) = self.task.take() {
            task.await.expect("no panic");
        }
    }

    /// Ends the sender at once.
    pub(crate) async fn kill(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            let _ = task.await;
        }
    }

    pub(crate) async fn say(&self, room_id: &RoomId, who: &Person, body: &str) -> OwnedEventId {
        let content = json!({ "msgtype": "m.text", "body": body }).to_string();
        let intent = Intent::message("m.room.message", content);
        self.actions.send_message(room_id, who.clone(), intent, None).await.expect("a member")
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// A database, a replica, and other servers that the test plays.
pub(crate) struct Scene {
    pub(crate) replica: Replica,
    pub(crate) clock: TestClock,
    attempts: mpsc::UnboundedReceiver<Attempt>,
    transport: Arc<Scripted>,
    /// Came while the test waited for others.
    others: Mutex<VecDeque<Attempt>>,
    db: TestDb,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        let db = TestDb::new().await;
        let clock = TestClock::at(START_MS);
        let (sink, attempts) = mpsc::unbounded_channel();
        let transport = Arc::new(Scripted(sink));
        let replica = Replica::start(&db, &clock, transport.clone(), "first").await;
        Self { replica, clock, attempts, transport, others: Mutex::default(), db }
    }

    /// Another replica, or the same after a restart.
    pub(crate) async fn start_replica(&self, holder: &str) -> Replica {
        Replica::start(&self.db, &self.clock, self.transport.clone(), holder).await
    }

    pub(crate) async fn person(&self, user_id: &str) -> Person {
        let user_id = UserId::parse(user_id).expect("a valid id");
        let store = &self.replica.server.store;
        let nid = store.intern_user(&user_id).await.expect("a working database");
        if user_id.server_name() == SERVER_NAME {
            let mut txn = store.begin().await.expect("a working database");
            txn.insert_account(nid, &NewAccount::default()).await.expect("a new account");
            txn.commit().await.expect("a working database");
        }
        Person { nid, user_id }
    }

    /// A public room of a user of this server and some of others.
    pub(crate) async fn room(&mut self, creator: &Person, others: &[&Person]) -> OwnedRoomId {
        let parameters = CreateRoom { preset: Preset::Public, ..CreateRoom::default() };
        let created = self.replica.actions.create_room(creator.clone(), parameters).await;
        let room_id = created.expect("a valid room");
        for other in others {
            let joined = self.replica.actions.join((&*room_id).into(), other, None).await;
            joined.expect("a public room");
        }
        room_id
    }

    /// Somebody is there, or not.
    pub(crate) async fn presence(&self, who: &Person, hold: Presence) {
        let (writer, worker) = ephemeral_writer(self.replica.server.store.clone());
        let update = PresenceUpdate {
            user: who.nid,
            user_id: who.user_id.clone(),
            replica: "first".into(),
            hold,
            status_msg: StatusMsgChange::Keep,
            last_active_at: START_MS,
            currently_active: false,
            expires_at: None,
        };
        tokio::select! {
            written = writer.write(EphemeralWrite::Presence(update)) => {
                written.expect("a working database");
            }
            () = worker.run(CancellationToken::new()) => panic!("the writer works until it is stopped"),
        }
    }

    /// A transaction that came while one to another server was waited for.
    fn set_aside(&self, destination: &str) -> Option<Attempt> {
        let mut others = self.others.lock();
        let at = others.iter().position(|attempt| attempt.destination == destination)?;
        others.remove(at)
    }

    /// The next transaction to a server.
    pub(crate) async fn next(&mut self, destination: &str) -> Attempt {
        if let Some(attempt) = self.set_aside(destination) {
            return attempt;
        }
        let wanted = async {
            loop {
                let attempt = self.attempts.recv().await.expect("the transport lives as long as the scene");
                if attempt.destination == destination {
                    return attempt;
                }
                self.others.lock().push_back(attempt);
            }
        };
        tokio::time::timeout(PATIENCE, wanted).await.expect("a transaction is sent")
    }

    /// Whether a transaction to a server has come that the test has not asked for.
    pub(crate) fn has_more(&mut self, destination: &str) -> bool {
        while let Ok(attempt) = self.attempts.try_recv() {
            self.others.lock().push_back(attempt);
        }
        self.others.lock().iter().any(|attempt| attempt.destination == destination)
    }

    /// Fails a transaction as if the server could not be reached.
    pub(crate) async fn fail(&mut self, attempt: Attempt) {
        self.fail_with(attempt, SendFailure::Unavailable("no route".to_owned())).await;
    }

    /// Fails a transaction; returns when the sender has noted it, so that the clock may move on.
    pub(crate) async fn fail_with(&mut self, attempt: Attempt, failure: SendFailure) {
        let before = self.failures(&attempt.destination).await;
        let _ = attempt.reply.send(Err(failure));
        let noted = async {
            while self.failures(&attempt.destination).await == before {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, noted).await.expect("the failure is noted");
    }

    /// How often sending to a server has failed in a row, as the database has it.
    async fn failures(&self, destination: &str) -> i32 {
        let mut reader = self.replica.server.store.reader().await.expect("a working database");
        let rows = reader.list_unsettled_destinations().await.expect("a working database");
        rows.iter().find(|row| row.server_name == destination).map_or(0, |row| row.failures)
    }

    /// Answers a server's transactions until the test's message is among them. Returns what they all said, in order.
    pub(crate) async fn accept_until(&mut self, destination: &str, body: &str) -> Vec<String> {
        let mut bodies = Vec::new();
        loop {
            let attempt = self.next(destination).await;
            bodies.extend(attempt.bodies().into_iter().map(ToOwned::to_owned));
            attempt.accept();
            if bodies.iter().any(|said| said == body) {
                return bodies;
            }
        }
    }
}

/// Fails as often as it takes for what waits in memory to be dropped.
pub(crate) async fn give_up(scene: &mut Scene, destination: &str) {
    for _ in 0..3 {
        let attempt = scene.next(destination).await;
        scene.fail(attempt).await;
        scene.clock.advance_ms(60_000);
    }
}

/// As [`give_up`], and once more: what is said from here on is missed until the next attempt.
pub(crate) async fn fall_behind(scene: &mut Scene, destination: &str) {
    give_up(scene, destination).await;
    let fourth = scene.next(destination).await;
    scene.fail(fourth).await;
}
