//! Handing files out.

use std::{ops::Range, time::Duration};

use hs_storage::media::{BlobRecord, MediaRecord};
use tokio::time::Instant;

use crate::{
    figures,
    ids::MediaUri,
    repository::{FindError, Repository},
    store::{FileStream, StoreError},
};

/// How often to look whether something has been uploaded through another replica.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Who asks for media.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// A user of this server, who has shown a token.
    User,
    /// Anybody, who has shown nothing. They get what was here before tokens were needed.
    Anybody,
    /// Another server, which gets what comes from this one.
    Server,
}

/// How media are looked for.
#[derive(Clone, Copy, Debug)]
pub struct Find {
    /// Who asks.
    pub asker: Asker,
    /// How long to wait for an upload.
    pub patience: Duration,
    /// Whether media may be fetched from other servers.
    pub may_fetch: bool,
}

/// Media that are here.
#[derive(Clone, Debug)]
pub struct Media {
    /// What is known of them.
    pub record: MediaRecord,
    /// Their content.
    pub blob: BlobRecord,
}

impl Repository {
    /// Finds media, here or elsewhere, and waits for them if they are still to be uploaded.
    pub async fn find(&self, uri: &MediaUri, find: Find) -> Result<Media, FindError> {
        let is_local = self.is_local(&uri.server);
        if find.asker == Asker::Server && !is_local {
            return Err(FindError::NotFound);
        }
        let deadline = Instant::now() + find.patience;
        loop {
            // Before the look, so that nothing that comes after it is missed.
            let completed = self.inner.completed.notified();
            match self.look(uri, find).await? {
                Looked::Found(media) => {
                    figures::download(is_local);
                    self.inner.touched.lock().insert(media.record.nid);
                    return Ok(*media);
                }
                Looked::Pending if Instant::now() < deadline => {
                    let next = deadline.min(Instant::now() + LOOK_INTERVAL);
                    // Either way there is another look.
                    let _ = tokio::time::timeout_at(next, completed).await;
                }
                Looked::Pending => return Err(FindError::NotYetUploaded),
                Looked::Elsewhere => {
                    self.fetch(uri, deadline.saturating_duration_since(Instant::now())).await?;
                    return match self.look(uri, find).await? {
                        Looked::Found(media) => {
                            figures::download(is_local);
                            Ok(*media)
                        }
                        _ => Err(FindError::NotFound),
                    };
                }
            }
        }
    }

    async fn look(&self, uri: &MediaUri, find: Find) -> Result<Looked, FindError> {
        let open_before = self.inner.options.open_before_ms;
        let found = self.inner.store.reader().await?.find_media(self.key(uri)).await?;
        let Some(mut record) = found else {
            let is_open =
                find.asker == Asker::User || (find.asker == Asker::Anybody && self.now_ms() < open_before);
            if !self.is_local(&uri.server) && find.may_fetch && is_open {
                return Ok(Looked::Elsewhere);
            }
            return Err(FindError::NotFound);
        };
        if record.is_withheld || (find.asker == Asker::Anybody && record.created_at >= open_before) {
            return Err(FindError::NotFound);
        }
        match record.blob.take() {
            Some(blob) => Ok(Looked::Found(Box::new(Media { record, blob }))),
            None if record.expires_at.is_some_and(|at| at > self.now_ms()) => Ok(Looked::Pending),
            None => Err(FindError::NotFound),
        }
    }

    /// The bytes of a part of a file.
    pub async fn read(&self, blob: &BlobRecord, range: Range<u64>) -> Result<FileStream, FindError> {
        match self.inner.files.read(blob, range.clone()).await {
            Ok(stream) => Ok(stream),
            Err(StoreError::Missing(key)) => {
                // It may have been moved to the other store since it was looked up.
                let moved = self.inner.store.reader().await?.find_blob(&blob.hash).await?;
                match moved.filter(|moved| moved.key != blob.key) {
                    Some(moved) => Ok(self.inner.files.read(&moved, range).await?),
                    None => Err(StoreError::Missing(key).into()),
                }
            }
            Err(error) => Err(error.into()),
        }
    }
}

enum Looked {
    Found(Box<Media>),
    Pending,
    Elsewhere,
}
