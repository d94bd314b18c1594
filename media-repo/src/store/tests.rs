use futures_util::TryStreamExt as _;
use ruma::server_name;

use super::*;

/// A directory that goes away with its test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("kith-media-{:016x}", rand::rng().random::<u64>())))
    }

    fn files(&self) -> Files {
        let options = MediaOptions {
            server_name: server_name!("example.org").to_owned(),
            directory: self.0.clone(),
            objects: None,
            prefers_objects: false,
            max_upload_bytes: 0,
            max_bytes_per_user: 0,
            max_pending_per_user: 0,
            pending_lifetime: std::time::Duration::ZERO,
            max_remote_bytes: 0,
            max_fetches: 1,
            open_before_ms: 0,
            remote_keep_ms: 0,
            remote_max_bytes: 0,
            local_keep_ms: 0,
            deletes_redacted: false,
        };
        Files::open(&options).unwrap()
    }

    fn incoming(&self) -> usize {
        std::fs::read_dir(self.0.join("incoming")).unwrap().count()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn put(files: &Files, content: &[u8]) -> BlobRecord {
    let mut incoming = files.receive();
    for chunk in content.chunks(70_000) {
        incoming.write(Bytes::copy_from_slice(chunk)).await.unwrap();
    }
    files.keep(incoming.finish().await.unwrap()).await.unwrap()
}

async fn get(files: &Files, blob: &BlobRecord, range: Range<u64>) -> Vec<u8> {
    let pieces: Vec<Bytes> = files.read(blob, range).await.unwrap().try_collect().await.unwrap();
    pieces.concat()
}

#[tokio::test]
async fn file_is_read_as_it_was_written() {
    let scratch = Scratch::new();
    let files = scratch.files();
    let content: Vec<u8> = (0..1_000_000_u32).map(|at| (at % 251) as u8).collect();

    let blob = put(&files, &content).await;

    assert_eq!(blob.size, 1_000_000);
    assert_eq!(get(&files, &blob, 0..1_000_000).await, content);
    assert_eq!(get(&files, &blob, 300_000..300_007).await, content[300_000..300_007]);
    assert_eq!(scratch.incoming(), 0);
}

#[tokio::test]
async fn empty_file_is_a_file() {
    let scratch = Scratch::new();
    let files = scratch.files();

    let blob = put(&files, b"").await;

    assert_eq!(hex(&blob.hash), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert!(get(&files, &blob, 0..0).await.is_empty());
}

#[tokio::test]
async fn what_is_deleted_is_missing() {
    let scratch = Scratch::new();
    let files = scratch.files();
    let blob = put(&files, b"gone").await;

    files.delete(&blob).await.unwrap();

    assert!(matches!(files.read(&blob, 0..4).await, Err(StoreError::Missing(_))));
    assert_eq!(files.size_of(&blob).await.unwrap(), None);
    files.delete(&blob).await.unwrap();
}

#[tokio::test]
async fn what_stops_coming_leaves_nothing() {
    let scratch = Scratch::new();
    let files = scratch.files();
    let mut incoming = files.receive();
    incoming.write(vec![1; 500_000].into()).await.unwrap();
    assert_eq!(scratch.incoming(), 1);

    drop(incoming);

    while scratch.incoming() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn files_are_listed_by_age() {
    let scratch = Scratch::new();
    let files = scratch.files();
    let blob = put(&files, b"here").await;

    let list = async |before| -> Vec<Vec<Lying>> {
        files.list(BlobStore::Disk, before).unwrap().try_collect().await.unwrap()
    };

    assert_eq!(list(i64::MAX / 2).await.concat(), [Lying { key: blob.key, size: 4 }]);
    assert_eq!(list(0).await.concat(), []);
}
