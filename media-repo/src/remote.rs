//! Fetching files from other servers: once for all who wait for one, and kept for those who come later.

use std::time::Duration;

use futures_util::{
    FutureExt as _, StreamExt as _,
    future::{Shared, WeakShared},
};
use hs_storage::{
    StorageError,
    media::{MediaKind, NewMedia},
};

use crate::{
    content, figures,
    ids::MediaUri,
    ports::{FetchError, RemoteFile},
    repository::{Failure, Fetch, FindError, Repository},
    store::Received,
};

/// How long a file may take to come, whatever its length.
const WHOLE_PATIENCE: Duration = Duration::from_mins(10);
/// How long the next bytes of it may take.
const PIECE_PATIENCE: Duration = Duration::from_secs(30);

impl From<Failure> for FetchFailure {
    fn from(failure: Failure) -> Self {
        Self::Ours(failure)
    }
}

impl From<StorageError> for FetchFailure {
    fn from(error: StorageError) -> Self {
        Self::Ours(error.into())
    }
}

enum FetchFailure {
    Theirs(FetchError),
    Ours(Failure),
}

impl Repository {
    /// Fetches media of another server, or waits for whoever does so already. They are here when it returns without an
    /// error, unless they are not to be had.
    pub(crate) async fn fetch(&self, uri: &MediaUri, patience: Duration) -> Result<(), FindError> {
        self.shared_fetch(uri, patience).await
    }

    /// The fetch goes on for as long as anybody waits for it.
    fn shared_fetch(&self, uri: &MediaUri, patience: Duration) -> Shared<Fetch> {
        let mut fetching = self.inner.fetching.lock();
        if let Some(fetch) = fetching.get(uri).and_then(WeakShared::upgrade) {
            return fetch;
        }
        // Those that ended, or were given up, are forgotten when the next begins.
        fetching.retain(|_, fetch| fetch.upgrade().is_some());
        let (repository, wanted) = (self.clone(), uri.clone());
        let fetch: Fetch = Box::pin(async move { repository.fetch_once(&wanted, patience).await });
        let fetch = fetch.shared();
        if let Some(weak) = fetch.downgrade() {
            fetching.insert(uri.clone(), weak);
        }
        fetch
    }

    async fn fetch_once(&self, uri: &MediaUri, patience: Duration) -> Result<(), FindError> {
        let Some(remote) = &self.inner.remote else { return Err(FindError::Remote(FetchError::Denied)) };
        let Ok(_permit) = self.inner.fetches.acquire().await else { return Err(FindError::NotFound) };
        // Somebody else may have fetched it while this one waited for its turn.
        if self.inner.store.reader().await?.find_media(self.key(uri)).await?.is_some() {
            return Ok(());
        }
        let fetched = async {
            let file = remote.fetch(&uri.server, &uri.id, patience).await.map_err(FetchFailure::Theirs)?;
            self.take_remote(uri, file).await
        };
        let fetched = tokio::time::timeout(WHOLE_PATIENCE + patience, fetched)
            .await
            .unwrap_or(Err(FetchFailure::Theirs(FetchError::Failed("it takes too long".to_owned()))));
        match fetched {
            Ok(size) => {
                figures::fetch("ok", size);
                Ok(())
            }
            Err(FetchFailure::Theirs(error)) => {
                figures::fetch("refused", 0);
                tracing::debug!(%uri, %error, "media could not be fetched");
                Err(match error {
                    FetchError::NotFound => FindError::NotFound,
                    FetchError::NotYetUploaded => FindError::NotYetUploaded,
                    other => FindError::Remote(other),
                })
            }
            Err(FetchFailure::Ours(failure)) => {
                figures::fetch("failed", 0);
                Err(failure.into())
            }
        }
    }

    async fn take_remote(&self, uri: &MediaUri, file: RemoteFile) -> Result<u64, FetchFailure> {
        let RemoteFile { content_type, disposition, length, body } = file;
        let received = self.receive_remote(length, body).await?;
        let size = received.size;
        if self.inner.store.reader().await?.is_media_blocked(&received.hash).await? {
            return Err(FetchFailure::Theirs(FetchError::NotFound));
        }
        let name = disposition.as_deref().and_then(content::file_name);
        let new = NewMedia {
            key: self.key(uri),
            kind: MediaKind::Remote,
            uploader: None,
            content_type: content_type.as_deref().filter(|text| !text.contains('\0')),
            file_name: name.as_deref(),
            now_ms: self.now_ms(),
        };
        // That another replica was faster is as good.
        self.place(received, async |txn, blob| Ok::<_, FetchFailure>(txn.insert_media(&new, blob).await?))
            .await?;
        Ok(size)
    }

    async fn receive_remote(
        &self,
        length: Option<u64>,
        mut body: futures_util::stream::BoxStream<'static, Result<bytes::Bytes, FetchError>>,
    ) -> Result<Received, FetchFailure> {
        let max_bytes = self.inner.options.max_remote_bytes;
        if length.is_some_and(|length| length > max_bytes) {
            return Err(FetchFailure::Theirs(FetchError::TooLarge));
        }
        let mut incoming = self.inner.files.receive();
        loop {
            let next = tokio::time::timeout(PIECE_PATIENCE, body.next()).await;
            let stalled = || FetchFailure::Theirs(FetchError::Failed("the file stopped coming".to_owned()));
            let Some(chunk) = next.map_err(|_| stalled())? else { break };
            let chunk = chunk.map_err(FetchFailure::Theirs)?;
            if incoming.size() + chunk.len() as u64 > max_bytes {
                return Err(FetchFailure::Theirs(FetchError::TooLarge));
            }
            incoming.write(chunk).await.map_err(Failure::from)?;
        }
        Ok(incoming.finish().await.map_err(Failure::from)?)
    }
}
