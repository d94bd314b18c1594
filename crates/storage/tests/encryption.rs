//! Inboxes of devices are bounded, and what waits for a dehydrated device waits on.

use hs_model::{
    ids::{DeviceNid, UserNid},
    stream::Position,
};
use hs_storage::{
    Store,
    accounts::NewAccount,
    devices::DeviceLogin,
    to_device::{NewToDeviceMessage, ToDeviceOrigin},
};
use hs_testkit::TestDb;
use ruma::user_id;

struct Scene {
    _db: TestDb,
    store: Store,
    user: UserNid,
}

impl Scene {
    async fn new() -> Self {
        let db = TestDb::new().await;
        let store = db.store().await;
        let user = store.intern_user(user_id!("@alice:test.example")).await.expect("a working database");
        let mut txn = store.begin().await.expect("a working database");
        txn.insert_account(user, &NewAccount::default()).await.expect("a new account");
        txn.commit().await.expect("a working database");
        Self { _db: db, store, user }
    }

    async fn device(&self, device_id: &str) -> DeviceNid {
        let mut txn = self.store.begin().await.expect("a working database");
        let login = DeviceLogin { device_id, display_name: None, ip: None, now_ms: 0 };
        let device = txn.upsert_device(self.user, &login).await.expect("a new device").device;
        txn.commit().await.expect("a working database");
        device
    }

    async fn send(&self, device: DeviceNid, content: &str, now_ms: i64) {
        let mut txn = self.store.begin().await.expect("a working database");
        let origin = ToDeviceOrigin { sender: self.user, event_type: "test", now_ms };
        let message = NewToDeviceMessage { user: self.user, device, content };
        txn.insert_to_device(origin, &[message]).await.expect("a message is taken");
        txn.commit().await.expect("a working database");
    }

    async fn waiting(&self, device: DeviceNid) -> Vec<String> {
        let mut reader = self.store.reader().await.expect("a working database");
        let rows = reader.list_to_device(device, Position::START, Position(i64::MAX), 100).await;
        rows.expect("a working database").into_iter().map(|row| row.content).collect()
    }
}

#[tokio::test]
async fn full_inbox_loses_its_oldest_messages() {
    let scene = Scene::new().await;
    let (full, other) = (scene.device("FULL").await, scene.device("OTHER").await);
    for number in 0..5 {
        scene.send(full, &format!("{{\"n\":{number}}}"), 0).await;
    }
    scene.send(other, "{}", 0).await;

    let mut txn = scene.store.begin().await.unwrap();
    let deleted = txn.trim_to_device(&[full, other], 3).await.unwrap();
    txn.commit().await.unwrap();

    assert_eq!(deleted, 2);
    assert_eq!(scene.waiting(full).await, [r#"{"n":2}"#, r#"{"n":3}"#, r#"{"n":4}"#]);
    assert_eq!(scene.waiting(other).await, ["{}"]);
}

#[tokio::test]
async fn old_messages_go_except_for_the_dehydrated_device() {
    let scene = Scene::new().await;
    let (dead, dehydrated) = (scene.device("DEAD").await, scene.device("DRY").await);
    let mut txn = scene.store.begin().await.unwrap();
    txn.insert_dehydrated_device(scene.user, dehydrated, "{}").await.unwrap();
    txn.commit().await.unwrap();
    for device in [dead, dehydrated] {
        scene.send(device, r#"{"old":true}"#, 1_000).await;
        scene.send(device, r#"{"old":false}"#, 2_000).await;
    }

    let mut txn = scene.store.begin().await.unwrap();
    let deleted = txn.delete_old_to_device(2_000).await.unwrap();
    txn.commit().await.unwrap();

    assert_eq!(deleted, 1);
    assert_eq!(scene.waiting(dead).await, [r#"{"old":false}"#]);
    assert_eq!(scene.waiting(dehydrated).await, [r#"{"old":true}"#, r#"{"old":false}"#]);
}
