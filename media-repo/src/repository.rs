//! The repository itself: what all its parts share.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures_util::future::{BoxFuture, WeakShared};
use hs_model::clock::Clock;
use hs_storage::{
    StorageError, Store,
    media::{BlobRecord, MediaHash, MediaKey, MediaKind, NewMedia},
};
use moka::future::Cache;
use parking_lot::Mutex;
use ruma::ServerName;
use tokio::sync::{Notify, Semaphore};

use crate::{
    ids::{MediaId, MediaUri},
    options::MediaOptions,
    pictures::{Picture, PictureError},
    ports::{FetchError, RemoteMedia},
    preview::{NotKept, PreviewImage, PreviewImages, PreviewImagesFuture},
    store::{Files, Received, StoreError},
    thumbnail::{Spec, Thumbnailer},
};

/// How many thumbnails are remembered, and that none could be made, and for how long.
const MAX_PICTURES: u64 = 2000;
const PICTURE_LIFETIME: Duration = Duration::from_mins(1);

/// Files that people attach. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Repository {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) files: Files,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) options: MediaOptions,
    pub(crate) remote: Option<Arc<dyn RemoteMedia>>,
    /// What is being fetched from other servers, for all who wait for it.
    pub(crate) fetching: Mutex<HashMap<MediaUri, WeakShared<Fetch>>>,
    pub(crate) fetches: Semaphore,
    /// Something has been uploaded under an id that was made before.
    pub(crate) completed: Notify,
    pub(crate) thumbnailer: Thumbnailer,
    /// Thumbnails that are being made, or were lately.
    pub(crate) pictures: Cache<(MediaHash, Spec), Result<Picture, PictureError>>,
    /// What was asked for since it was last written down.
    pub(crate) touched: Mutex<HashSet<i64>>,
}

/// A fetch that many may wait for.
pub(crate) type Fetch = BoxFuture<'static, Result<(), FindError>>;

/// Why media are not handed out.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FindError {
    /// There are none under this id, or they are withheld.
    #[error("There is no such file")]
    NotFound,
    /// Nothing has been uploaded under the id yet.
    #[error("The file has not been uploaded yet")]
    NotYetUploaded,
    /// The server that they come from does not give them.
    #[error("The file cannot be fetched: {0}")]
    Remote(FetchError),
    /// A failure of our own.
    #[error(transparent)]
    Failure(Arc<Failure>),
}

/// A failure of our own. None of it reaches a client.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The database did not do as asked.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A store did not do as asked.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl<E: Into<Failure>> From<E> for FindError {
    fn from(error: E) -> Self {
        Self::Failure(Arc::new(error.into()))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Store(error.into())
    }
}

impl Repository {
    /// A repository; without `remote`, media of other servers are not fetched.
    pub fn open(
        store: Store,
        clock: Arc<dyn Clock>,
        options: MediaOptions,
        thumbnailer: Thumbnailer,
        remote: Option<Arc<dyn RemoteMedia>>,
    ) -> Result<Self, StoreError> {
        crate::figures::describe();
        let files = Files::open(&options)?;
        let inner = Inner {
            store,
            files,
            clock,
            remote,
            fetching: Mutex::default(),
            fetches: Semaphore::new(options.max_fetches.max(1)),
            completed: Notify::new(),
            thumbnailer,
            pictures: Cache::builder().max_capacity(MAX_PICTURES).time_to_live(PICTURE_LIFETIME).build(),
            touched: Mutex::default(),
            options,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// How the repository behaves.
    pub fn options(&self) -> &MediaOptions {
        &self.inner.options
    }

    /// The database.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// The stores of files.
    pub fn files(&self) -> &Files {
        &self.inner.files
    }

    /// What time it is.
    pub fn now_ms(&self) -> i64 {
        self.inner.clock.now_ms()
    }

    /// Whether media come from this server.
    pub fn is_local(&self, server: &ServerName) -> bool {
        *server == *self.inner.options.server_name
    }

    /// The URI of media of this server.
    pub fn uri(&self, id: MediaId) -> MediaUri {
        MediaUri { server: self.inner.options.server_name.clone(), id }
    }

    /// How the database names media.
    pub fn key<'a>(&self, uri: &'a MediaUri) -> MediaKey<'a> {
        let origin = if self.is_local(&uri.server) { "" } else { uri.server.as_str() };
        MediaKey { origin, media_id: uri.id.as_str() }
    }

    /// Gives a file a place: writes it to its store, then has `write` refer to it in the same transaction. `write` says
    /// `false` when it has no use for it.
    pub(crate) async fn place<E: From<Failure>>(
        &self,
        received: Received,
        write: impl AsyncFnOnce(&mut hs_storage::Txn, &BlobRecord) -> Result<bool, E>,
    ) -> Result<Option<BlobRecord>, E> {
        let failure = |error: StorageError| E::from(Failure::from(error));
        let files = &self.inner.files;
        let new = files.keep(received).await.map_err(|error| E::from(error.into()))?;
        let mut is_committing = false;
        let placed = async {
            let mut txn = self.inner.store.begin().await.map_err(failure)?;
            let blob = txn.upsert_blob(&new, self.now_ms()).await.map_err(failure)?;
            if !write(&mut txn, &blob).await? {
                txn.rollback().await.map_err(failure)?;
                return Ok(None);
            }
            is_committing = true;
            txn.commit().await.map_err(failure)?;
            Ok(Some(blob))
        };
        let placed = placed.await;
        // The same content was here already, or nobody refers to it after all. When a commit has failed nobody knows
        // whether it was done: then the file stays, and is found by `kith media check`.
        let is_unused = match &placed {
            Ok(Some(blob)) => blob.key != new.key || blob.store != new.store,
            Ok(None) => true,
            Err(_) => !is_committing,
        };
        if is_unused {
            self.delete_file(&new).await;
        }
        placed
    }

    /// Deletes a file that nothing refers to. A failure is logged: the file is one too many, and does no harm.
    pub(crate) async fn delete_file(&self, blob: &BlobRecord) {
        if let Err(error) = self.inner.files.delete(blob).await {
            tracing::warn!(%error, key = blob.key, "a file that nothing refers to could not be deleted");
        }
    }

    /// Stores a picture that belongs to a preview, under an id of this server.
    async fn store_preview_picture(
        &self,
        content: bytes::Bytes,
        content_type: &str,
    ) -> Result<MediaUri, Failure> {
        let mut incoming = self.inner.files.receive();
        incoming.write(content).await?;
        let received = incoming.finish().await?;
        let uri = self.uri(MediaId::random());
        let new = NewMedia {
            key: self.key(&uri),
            kind: MediaKind::Preview,
            uploader: None,
            content_type: Some(content_type),
            file_name: None,
            now_ms: self.now_ms(),
        };
        self.place(received, async |txn, blob| Ok::<_, Failure>(txn.insert_media(&new, blob).await?)).await?;
        Ok(uri)
    }
}

impl PreviewImages for Repository {
    fn keep(&self, image: PreviewImage) -> PreviewImagesFuture<'_, Result<String, NotKept>> {
        Box::pin(async move {
            let kept = self.store_preview_picture(image.bytes, image.content_type).await;
            kept.map(|uri| uri.to_string()).map_err(|error| NotKept(error.to_string()))
        })
    }

    /// They go like everything that nobody has used for long.
    fn discard(&self, mxc_uris: Vec<String>) -> PreviewImagesFuture<'_, ()> {
        tracing::debug!(count = mxc_uris.len(), "pictures of previews have become old");
        Box::pin(std::future::ready(()))
    }
}
