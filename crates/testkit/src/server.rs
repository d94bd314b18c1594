//! [`TestServer`]: rooms over a test database, with the log followed, as a running server has them.

use std::sync::Arc;

use hs_model::clock::{Clock, SystemClock};
use hs_room_rules::sign::SigningKey;
use hs_rooms::{Rooms, RoomsOptions};
use hs_storage::{Store, append::appender, tail::LogApplier};
use ruma::{OwnedServerName, RoomVersionId};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::TestDb;

/// The name of every test server.
pub const SERVER_NAME: &str = "test.example";

/// One replica: its own connection pool, caches and tail. Stops when dropped.
#[derive(Debug)]
pub struct TestServer {
    /// The database.
    pub store: Store,
    /// The rooms.
    pub rooms: Rooms,
    tasks: Vec<JoinHandle<()>>,
}

impl TestServer {
    /// A replica on `db`.
    pub async fn start(db: &TestDb) -> Self {
        Self::start_with(db, Arc::new(SystemClock), |_, _| Vec::new()).await
    }

    /// A replica with a clock of the test's, and more caches that follow the log after the rooms.
    ///
    /// # Panics
    /// When the database cannot be reached.
    pub async fn start_with(
        db: &TestDb,
        clock: Arc<dyn Clock>,
        appliers: impl FnOnce(&Store, &Rooms) -> Vec<Arc<dyn LogApplier>>,
    ) -> Self {
        let store = db.store().await;
        let server_name: OwnedServerName = SERVER_NAME.try_into().expect("a valid server name");
        let options = RoomsOptions { default_version: RoomVersionId::V12, ..RoomsOptions::new(server_name) };
        let key = SigningKey::from_seed("1", &[7; 32]).expect("a valid key version");
        let (appender, worker) = appender(store.clone());
        let rooms = Rooms::new(store.clone(), appender, clock, Arc::new(key), options);
        store.tail().start(&store).await.expect("the database was just made");
        store.tail().register(Arc::new(rooms.clone()));
        for applier in appliers(&store, &rooms) {
            store.tail().register(applier);
        }
        let followed = store.clone();
        let tasks = vec![
            tokio::spawn(async move { followed.tail().run(&followed).await }),
            tokio::spawn(worker.run(CancellationToken::new())),
        ];
        Self { store, rooms, tasks }
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}
