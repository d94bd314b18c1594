use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use hs_model::{
    clock::{Clock, TestClock},
    ids::UserNid,
};
use hs_testkit::TestDb;
use ruma::{ServerName, server_name};
use tokio::sync::Semaphore;

use super::mxc_uris;
use crate::{
    Asker, CreateError, Find, FindError, MediaId, MediaOptions, MediaUri, Repository, Upload, UploadError,
    ports::{FetchError, Fetching, RemoteFile, RemoteMedia},
    thumbnail::{ThumbnailOptions, Thumbnailer},
};

const START_MS: i64 = 1_700_000_000_000;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
const ALICE: UserNid = UserNid(7);
const AS_USER: Find = Find { asker: Asker::User, patience: Duration::ZERO, may_fetch: true };

/// Another server, whose files are a hundred bytes long, and that counts how often it is asked.
#[derive(Debug)]
struct Elsewhere {
    asked: AtomicUsize,
    /// Files come when this lets them.
    gate: Semaphore,
}

impl Elsewhere {
    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl RemoteMedia for Elsewhere {
    fn fetch<'a>(&'a self, _: &'a ServerName, id: &'a MediaId, _: Duration) -> Fetching<'a> {
        Box::pin(async move {
            self.asked.fetch_add(1, Ordering::SeqCst);
            let _open = self.gate.acquire().await.map_err(|_| FetchError::NotFound)?;
            let content = Bytes::from(format!("{:100}", id.as_str()));
            Ok(RemoteFile {
                content_type: Some("text/plain".to_owned()),
                disposition: None,
                length: Some(content.len() as u64),
                body: stream::iter([Ok(content)]).boxed(),
            })
        })
    }
}

struct Scene {
    repository: Repository,
    clock: TestClock,
    elsewhere: Arc<Elsewhere>,
    directory: PathBuf,
    _db: TestDb,
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl Scene {
    async fn new(change: impl FnOnce(&mut MediaOptions)) -> Self {
        let db = TestDb::new().await;
        let clock = TestClock::at(START_MS);
        let directory = std::env::temp_dir().join(format!("kith-media-{:016x}", rand::random::<u64>()));
        let mut options = MediaOptions {
            server_name: server_name!("here.example").to_owned(),
            directory: directory.clone(),
            objects: None,
            prefers_objects: false,
            max_upload_bytes: 1000,
            max_bytes_per_user: 0,
            max_pending_per_user: 2,
            pending_lifetime: Duration::from_hours(24),
            max_remote_bytes: 1000,
            max_fetches: 4,
            open_before_ms: 0,
            remote_keep_ms: 0,
            remote_max_bytes: 0,
            local_keep_ms: 0,
            deletes_redacted: false,
        };
        change(&mut options);
        let elsewhere = Arc::new(Elsewhere { asked: AtomicUsize::new(0), gate: Semaphore::new(100) });
        let repository = Repository::open(
            db.store().await,
            Arc::new(clock.clone()),
            options,
            Thumbnailer::new(ThumbnailOptions::default()),
            Some(elsewhere.clone()),
        );
        Self { repository: repository.unwrap(), clock, elsewhere, directory, _db: db }
    }

    async fn upload(&self, content: &'static str) -> MediaUri {
        let upload = Upload { user: ALICE, content_type: Some("text/plain"), file_name: None, length: None };
        let body = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(content.as_bytes()))]);
        self.repository.upload(upload, body).await.unwrap()
    }

    async fn put(&self, uri: &MediaUri) -> Result<(), UploadError> {
        let upload = Upload { user: ALICE, content_type: Some("text/plain"), file_name: None, length: None };
        let body = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"late"))]);
        self.repository.upload_to(uri, upload, body).await
    }

    async fn find(&self, uri: &MediaUri) -> Result<(), FindError> {
        self.repository.find(uri, AS_USER).await.map(drop)
    }

    /// Cleans as the server does now and then.
    async fn clean(&self) {
        self.repository.note_uses().await.unwrap();
        self.repository.clean().await.unwrap();
    }

    fn files(&self) -> usize {
        fn count(directory: PathBuf) -> usize {
            let paths = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
            paths.map(|path| if path.is_dir() { count(path) } else { 1 }).sum()
        }
        count(self.directory.join("files"))
    }
}

fn far(id: &str) -> MediaUri {
    MediaUri::from_parts("far.example", id).unwrap()
}

#[tokio::test]
async fn copies_end_when_nobody_has_asked_for_them_for_long() {
    let scene = Scene::new(|options| options.remote_keep_ms = 90 * DAY_MS).await;
    let own = scene.upload("own").await;
    for id in ["used", "unused"] {
        scene.find(&far(id)).await.unwrap();
    }
    scene.clean().await;
    scene.clock.advance_ms(60 * DAY_MS);
    scene.find(&far("used")).await.unwrap();
    scene.clean().await;
    assert_eq!(scene.files(), 3);

    scene.clock.advance_ms(60 * DAY_MS);
    scene.clean().await;

    assert_eq!((scene.files(), scene.elsewhere.asked()), (2, 2));
    scene.find(&far("used")).await.unwrap();
    scene.find(&own).await.unwrap();
    assert_eq!(scene.elsewhere.asked(), 2);
    scene.find(&far("unused")).await.unwrap();
    assert_eq!(scene.elsewhere.asked(), 3);
}

#[tokio::test]
async fn copies_beyond_their_size_end_with_those_unused_for_longest() {
    let scene = Scene::new(|options| options.remote_max_bytes = 250).await;
    scene.upload("own files do not count").await;
    for id in ["one", "two", "three"] {
        scene.find(&far(id)).await.unwrap();
        scene.clock.advance_ms(1000);
    }
    scene.find(&far("one")).await.unwrap();

    scene.clean().await;

    assert_eq!(scene.files(), 3);
    for id in ["one", "three"] {
        scene.find(&far(id)).await.unwrap();
    }
    assert_eq!(scene.elsewhere.asked(), 3);
    scene.find(&far("two")).await.unwrap();
    assert_eq!(scene.elsewhere.asked(), 4);
}

#[tokio::test]
async fn withheld_copies_stay() {
    let scene = Scene::new(|options| {
        options.remote_keep_ms = DAY_MS;
        options.remote_max_bytes = 10;
    })
    .await;
    scene.find(&far("bad")).await.unwrap();
    let keys = [("far.example".to_owned(), "bad".to_owned())];
    let mut txn = scene.repository.store().begin().await.unwrap();
    txn.set_media_quarantine(&keys, Some("@admin:here.example"), false, START_MS).await.unwrap();
    txn.commit().await.unwrap();
    scene.clock.advance_ms(10 * DAY_MS);

    scene.clean().await;

    assert!(matches!(scene.find(&far("bad")).await, Err(FindError::NotFound)));
    assert_eq!(scene.elsewhere.asked(), 1);
}

#[tokio::test]
async fn own_files_end_when_so_configured() {
    let scene = Scene::new(|options| options.local_keep_ms = 30 * DAY_MS).await;
    let (old, used) = (scene.upload("old").await, scene.upload("used").await);
    scene.clock.advance_ms(20 * DAY_MS);
    scene.find(&used).await.unwrap();
    let young = scene.upload("young").await;
    scene.clean().await;
    scene.clock.advance_ms(20 * DAY_MS);

    scene.clean().await;

    assert!(matches!(scene.find(&old).await, Err(FindError::NotFound)));
    scene.find(&used).await.unwrap();
    scene.find(&young).await.unwrap();
    let mut reader = scene.repository.store().reader().await.unwrap();
    assert_eq!(reader.find_media_usage(ALICE).await.unwrap(), (2, 9));
    assert_eq!(scene.files(), 2);
}

#[tokio::test]
async fn own_files_stay_for_ever_by_default() {
    let scene = Scene::new(|_| {}).await;
    let uri = scene.upload("kept").await;
    scene.clock.advance_ms(10_000 * DAY_MS);

    scene.clean().await;

    scene.find(&uri).await.unwrap();
}

#[tokio::test]
async fn unused_ids_end_in_time() {
    let scene = Scene::new(|_| {}).await;
    let (uri, expires_at) = scene.repository.create(ALICE).await.unwrap();
    assert_eq!(expires_at, START_MS + DAY_MS);
    scene.repository.create(ALICE).await.unwrap();
    let refused = scene.repository.create(ALICE).await;
    assert!(
        matches!(refused, Err(CreateError::TooMany { retry_after }) if retry_after.as_millis() == DAY_MS as u128)
    );
    assert!(matches!(scene.find(&uri).await, Err(FindError::NotYetUploaded)));

    scene.clock.advance_ms(DAY_MS);

    assert!(matches!(scene.put(&uri).await, Err(UploadError::UnknownId)));
    assert!(matches!(scene.find(&uri).await, Err(FindError::NotFound)));
    scene.repository.create(ALICE).await.unwrap();
    scene.clean().await;
    let mut reader = scene.repository.store().reader().await.unwrap();
    assert!(reader.find_media(scene.repository.key(&uri)).await.unwrap().is_none());
    assert_eq!(scene.files(), 0);
}

#[tokio::test]
async fn one_fetch_serves_all_who_wait() {
    let scene = Scene::new(|_| {}).await;
    let _closed = scene.elsewhere.gate.acquire_many(100).await.unwrap();
    let uri = far("wanted");
    let mut waiting: Vec<_> = (0..20).map(|_| Box::pin(scene.find(&uri))).collect();
    while scene.elsewhere.asked() == 0 {
        for find in &mut waiting {
            assert!(futures_util::poll!(find).is_pending());
        }
        tokio::task::yield_now().await;
    }

    // Who asked first goes away; the others still get it.
    drop(waiting.remove(0));
    scene.elsewhere.gate.add_permits(1);
    for found in futures_util::future::join_all(waiting).await {
        found.unwrap();
    }

    assert_eq!(scene.elsewhere.asked(), 1);
}

#[tokio::test]
async fn fetch_that_nobody_waits_for_is_given_up() {
    let scene = Scene::new(|_| {}).await;
    let closed = scene.elsewhere.gate.acquire_many(100).await.unwrap();
    let uri = far("given-up");
    let mut waiting = Box::pin(scene.find(&uri));
    while scene.elsewhere.asked() == 0 {
        assert!(futures_util::poll!(&mut waiting).is_pending());
        tokio::task::yield_now().await;
    }
    drop(waiting);
    drop(closed);

    scene.find(&uri).await.unwrap();

    assert_eq!(scene.elsewhere.asked(), 2);
}

#[tokio::test]
async fn files_on_their_way_are_cleared_away_when_they_are_old() {
    let scene = Scene::new(|_| {}).await;
    let incoming = scene.directory.join("incoming");
    for (name, time) in [("old", START_MS - 2 * DAY_MS), ("young", START_MS)] {
        let file = std::fs::File::create(incoming.join(name)).unwrap();
        let time = std::time::UNIX_EPOCH + Duration::from_millis(time as u64);
        file.set_modified(time).unwrap();
    }

    scene.clean().await;

    assert!(!incoming.join("old").exists() && incoming.join("young").exists());
    assert_eq!(scene.clock.now_ms(), START_MS);
}

#[test]
fn uris_are_found_wherever_they_stand() {
    let json = r#"{"content":{"url":"mxc://a.org/one","info":{"thumbnail_url":"mxc:\/\/a.org\/two"},
        "body":"see mxc://a.org/three here","other":"mxc://a.org/one","x":"mxc:"}}"#;

    let found: Vec<String> = mxc_uris(json).map(|uri| uri.to_string()).collect();

    assert_eq!(found, ["mxc://a.org/one", "mxc://a.org/two"]);
}
