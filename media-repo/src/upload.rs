//! Taking files from users.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use hs_model::ids::UserNid;
use hs_storage::{
    StorageError,
    media::{MediaKind, NewMedia},
};

use crate::{
    figures,
    ids::{MediaId, MediaUri},
    repository::{Failure, Repository},
    store::Received,
};

/// How long the next bytes of a file may take to come.
const PATIENCE: Duration = Duration::from_mins(1);

/// Why a file was not taken.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// It is longer than allowed.
    #[error("Files may have at most {max_bytes} bytes")]
    TooLarge {
        /// What is allowed.
        max_bytes: u64,
    },
    /// The user has stored as much as they may.
    #[error("You have stored as much as you may")]
    QuotaExceeded,
    /// Administrators do not want this content.
    #[error("This file is not welcome here")]
    Blocked,
    /// There is no such id, or it has expired.
    #[error("There is no such media id")]
    UnknownId,
    /// The id belongs to another user.
    #[error("This media id belongs to another user")]
    OfAnother,
    /// Something has been uploaded under this id before.
    #[error("There is a file under this media id already")]
    Taken,
    /// The file did not come whole.
    #[error("The file did not come whole")]
    Broken,
    /// A failure of our own.
    #[error(transparent)]
    Failure(#[from] Failure),
}

impl From<StorageError> for UploadError {
    fn from(error: StorageError) -> Self {
        Self::Failure(error.into())
    }
}

/// Why no id was made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The user has as many unused ones as they may.
    #[error("You have too many media ids that nothing was uploaded under")]
    TooMany {
        /// When the next of them ends.
        retry_after: Duration,
    },
    /// A failure of our own.
    #[error(transparent)]
    Failure(#[from] StorageError),
}

/// What a user says about a file.
#[derive(Clone, Copy, Debug)]
pub struct Upload<'a> {
    /// Who uploads it.
    pub user: UserNid,
    /// Its type.
    pub content_type: Option<&'a str>,
    /// Its name.
    pub file_name: Option<&'a str>,
    /// How long it is going to be, if they say so.
    pub length: Option<u64>,
}

impl Repository {
    /// Makes an id to upload something under later. Answers until when.
    pub async fn create(&self, user: UserNid) -> Result<(MediaUri, i64), CreateError> {
        let options = &self.inner.options;
        let (uri, now_ms) = (self.uri(MediaId::random()), self.now_ms());
        let expires_at = now_ms.saturating_add(options.pending_lifetime.as_millis() as i64);
        let max = i64::from(options.max_pending_per_user);
        let mut txn = self.inner.store.begin().await?;
        let refused = txn.insert_pending_media(uri.id.as_str(), user, (now_ms, expires_at), max).await?;
        if let Some(next_at) = refused {
            txn.rollback().await?;
            let retry_after = Duration::from_millis((next_at - now_ms).max(1000) as u64);
            return Err(CreateError::TooMany { retry_after });
        }
        txn.commit().await?;
        Ok((uri, expires_at))
    }

    /// Takes a file, under an id of its own.
    pub async fn upload<E>(
        &self,
        upload: Upload<'_>,
        body: impl Stream<Item = Result<Bytes, E>> + Unpin,
    ) -> Result<MediaUri, UploadError> {
        let taken = async {
            let received = self.receive(&upload, body).await?;
            let (uri, size) = (self.uri(MediaId::random()), received.size);
            self.store_upload(&uri, &upload, received, false).await?;
            Ok((uri, size))
        };
        count(taken.await)
    }

    /// Takes a file for an id that was made before.
    pub async fn upload_to<E>(
        &self,
        uri: &MediaUri,
        upload: Upload<'_>,
        body: impl Stream<Item = Result<Bytes, E>> + Unpin,
    ) -> Result<(), UploadError> {
        let taken = async {
            self.check_pending(uri, upload.user).await?;
            let received = self.receive(&upload, body).await?;
            let size = received.size;
            if !self.store_upload(uri, &upload, received, true).await? {
                // Somebody was faster, or the time was up while the file came.
                self.check_pending(uri, upload.user).await?;
                return Err(UploadError::UnknownId);
            }
            self.inner.completed.notify_waiters();
            Ok(((), size))
        };
        count(taken.await)
    }

    async fn check_pending(&self, uri: &MediaUri, user: UserNid) -> Result<(), UploadError> {
        if !self.is_local(&uri.server) {
            return Err(UploadError::UnknownId);
        }
        let media = self.inner.store.reader().await?.find_media(self.key(uri)).await?;
        let media = media.ok_or(UploadError::UnknownId)?;
        if media.uploader != Some(user) {
            return Err(UploadError::OfAnother);
        }
        if media.blob.is_some() {
            return Err(UploadError::Taken);
        }
        if media.expires_at.is_none_or(|expires_at| expires_at <= self.now_ms()) {
            return Err(UploadError::UnknownId);
        }
        Ok(())
    }

    /// Reads a file to disk, within the limits.
    async fn receive<E>(
        &self,
        upload: &Upload<'_>,
        mut body: impl Stream<Item = Result<Bytes, E>> + Unpin,
    ) -> Result<Received, UploadError> {
        let options = &self.inner.options;
        let mut max_bytes = options.max_upload_bytes;
        let mut too_much = UploadError::TooLarge { max_bytes };
        if options.max_bytes_per_user > 0 {
            let (_, used) = self.inner.store.reader().await?.find_media_usage(upload.user).await?;
            let left = options.max_bytes_per_user.saturating_sub(used.max(0) as u64);
            if left < max_bytes {
                (max_bytes, too_much) = (left, UploadError::QuotaExceeded);
            }
        }
        // Before anything is read, if it is clear that it does not fit.
        if upload.length.is_some_and(|length| length > max_bytes) {
            return Err(too_much);
        }
        let mut incoming = self.inner.files.receive();
        loop {
            let chunk = match tokio::time::timeout(PATIENCE, body.next()).await {
                Ok(Some(Ok(chunk))) => chunk,
                Ok(None) => break,
                Ok(Some(Err(_))) | Err(_) => return Err(UploadError::Broken),
            };
            if incoming.size() + chunk.len() as u64 > max_bytes {
                return Err(too_much);
            }
            incoming.write(chunk).await.map_err(Failure::from)?;
        }
        Ok(incoming.finish().await.map_err(Failure::from)?)
    }

    async fn store_upload(
        &self,
        uri: &MediaUri,
        upload: &Upload<'_>,
        received: Received,
        is_pending: bool,
    ) -> Result<bool, UploadError> {
        let (hash, size) = (received.hash, received.size);
        if self.inner.store.reader().await?.is_media_blocked(&hash).await? {
            tracing::info!(user = upload.user.0, "a blocked file was uploaded");
            return Err(UploadError::Blocked);
        }
        let new = NewMedia {
            key: self.key(uri),
            kind: MediaKind::Upload,
            uploader: Some(upload.user),
            content_type: upload.content_type,
            file_name: upload.file_name,
            now_ms: self.now_ms(),
        };
        let max_bytes = self.inner.options.max_bytes_per_user;
        let placed = self.place(received, async |txn, blob| {
            // Other uploads of the user may have come to an end meanwhile.
            if !txn.add_media_usage(upload.user, size, max_bytes).await? {
                return Err(UploadError::QuotaExceeded);
            }
            let stored = if is_pending {
                txn.complete_pending_media(&new, blob).await?
            } else {
                txn.insert_media(&new, blob).await?
            };
            Ok(stored)
        });
        Ok(placed.await?.is_some())
    }
}

/// Notes what came of an upload, and how long a file is that was taken.
fn count<T>(outcome: Result<(T, u64), UploadError>) -> Result<T, UploadError> {
    let (name, size) = match &outcome {
        Ok((_, size)) => ("ok", *size),
        Err(UploadError::Broken) => ("broken", 0),
        Err(UploadError::Failure(_)) => ("failed", 0),
        Err(_) => ("refused", 0),
    };
    figures::upload(name, size);
    outcome.map(|(taken, _)| taken)
}
