//! Moving files between the stores, and looking whether what the database says of them is true.

use std::collections::HashSet;

use futures_util::StreamExt as _;
use hs_storage::media::{BlobRecord, BlobStore};

use crate::repository::{Failure, Repository};

/// How many blobs are looked at between two questions to the database.
const BATCH: i64 = 200;
/// Files younger than this may belong to an upload that is not finished yet.
const SETTLED_MS: i64 = 60 * 60 * 1000;

/// What a move has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Files that lie in the other store now.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that were missing or damaged, and stay where they are.
    pub failed: u64,
}

/// What a look has come to.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// Contents that were looked at.
    pub blobs: u64,
    /// Contents whose file is missing or has another length.
    pub missing: Vec<BlobRecord>,
    /// Files that nothing in the database names: the store, the name, and how long they are.
    pub orphaned: Vec<(BlobStore, String, u64)>,
}

impl Repository {
    /// Moves all files into a store: copies each, compares its hash on the way, notes in the database where it lies, and only
    /// then deletes the first. Servers may run meanwhile. A move that is broken off is simply begun again.
    pub async fn move_all(&self, to: BlobStore, mut progress: impl FnMut(Moved)) -> Result<Moved, Failure> {
        let from = match to {
            BlobStore::Disk => BlobStore::Objects,
            BlobStore::Objects => BlobStore::Disk,
        };
        let mut moved = Moved::default();
        let mut after: Vec<u8> = Vec::new();
        loop {
            let blobs = self.inner.store.reader().await?.list_blobs(&after, Some(from), BATCH).await?;
            let Some(last) = blobs.last() else { return Ok(moved) };
            after = last.hash.to_vec();
            for blob in &blobs {
                if self.move_one(blob, to).await? {
                    moved.files += 1;
                    moved.bytes += blob.size;
                } else {
                    moved.failed += 1;
                }
            }
            progress(moved);
        }
    }

    async fn move_one(&self, blob: &BlobRecord, to: BlobStore) -> Result<bool, Failure> {
        let received = match self.bring(blob).await {
            Ok(received) => received,
            Err(crate::store::StoreError::Missing(key)) => {
                tracing::warn!(key, "a file is missing");
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        };
        if received.hash != blob.hash {
            tracing::warn!(key = blob.key, "a file is damaged");
            return Ok(false);
        }
        let copy = self.inner.files.keep_in(to, received).await?;
        if self.inner.files.size_of(&copy).await? != Some(blob.size) {
            tracing::warn!(key = copy.key, "a copy does not have the length of the file");
            self.delete_file(&copy).await;
            return Ok(false);
        }
        let mut txn = self.inner.store.begin().await?;
        let is_moved = txn.move_blob(blob, &copy).await?;
        txn.commit().await?;
        // It was deleted, or moved by somebody else, meanwhile.
        self.delete_file(if is_moved { blob } else { &copy }).await;
        Ok(true)
    }

    /// Looks for contents without a file, and for files without a content.
    pub async fn check(&self) -> Result<Checked, Failure> {
        let mut checked = Checked::default();
        let mut after: Vec<u8> = Vec::new();
        loop {
            let blobs = self.inner.store.reader().await?.list_blobs(&after, None, BATCH).await?;
            let Some(last) = blobs.last() else { break };
            after = last.hash.to_vec();
            for blob in blobs {
                checked.blobs += 1;
                if self.inner.files.size_of(&blob).await? != Some(blob.size) {
                    checked.missing.push(blob);
                }
            }
        }
        let before_ms = self.now_ms() - SETTLED_MS;
        for store in self.inner.files.stores() {
            let mut listed = self.inner.files.list(store, before_ms)?;
            while let Some(batch) = listed.next().await {
                let batch = batch?;
                let keys: Vec<String> = batch.iter().map(|file| file.key.clone()).collect();
                let known = self.inner.store.reader().await?.list_known_blob_keys(store, &keys).await?;
                let known: HashSet<String> = known.into_iter().collect();
                let orphaned = batch.into_iter().filter(|file| !known.contains(&file.key));
                checked.orphaned.extend(orphaned.map(|file| (store, file.key, file.size)));
            }
        }
        Ok(checked)
    }

    /// Forgets contents without a file, with the media that had them, and deletes files without a content. Answers with the
    /// media that are lost: servers (empty for this one) and ids.
    pub async fn repair(&self, checked: &Checked) -> Result<Vec<(String, String)>, Failure> {
        let hashes: Vec<Vec<u8>> = checked.missing.iter().map(|blob| blob.hash.to_vec()).collect();
        let mut txn = self.inner.store.begin().await?;
        let lost = txn.delete_lost_blobs(&hashes).await?;
        txn.commit().await?;
        for (store, key, size) in &checked.orphaned {
            let blob = BlobRecord { hash: [0; 32], store: *store, key: key.clone(), size: *size };
            self.delete_file(&blob).await;
        }
        Ok(lost)
    }
}
