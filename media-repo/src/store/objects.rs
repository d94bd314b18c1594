//! Files in an S3-compatible store.

use std::{fs::File, io, ops::Range, os::unix::fs::FileExt as _, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{
    StreamExt as _, TryStreamExt as _,
    stream::{self, BoxStream},
};
use object_store::{
    Error, GetOptions, GetRange, MultipartUpload, ObjectStore, ObjectStoreExt as _, PutPayload,
    aws::{AmazonS3, AmazonS3Builder},
    path::Path,
    signer::{SignedUrlOptions, Signer as _},
};

use super::{FileStream, Link, Lying, Received, StoreError, blocking};
use crate::options::ObjectOptions;

/// What is sent in one request, and how much is in memory of a file on its way. No part but the last may be smaller than
/// 5 MiB, and there may be 10,000 of them: more than any upload limit.
const PART: u64 = 8 * 1024 * 1024;
/// How many names are handed on at once.
const BATCH: usize = 1000;

/// A bucket. Cloning is cheap.
#[derive(Clone, Debug)]
pub(super) struct Objects {
    store: Arc<AmazonS3>,
    prefix: Arc<str>,
    link_lifetime: Duration,
}

impl Objects {
    /// A bucket; nothing is asked of it yet. What fails for a moment is tried again by the library.
    pub(super) fn open(options: &ObjectOptions) -> Result<Self, StoreError> {
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&options.bucket)
            .with_region(&options.region)
            .with_access_key_id(&options.access_key_id)
            .with_secret_access_key(&options.secret_access_key)
            .with_virtual_hosted_style_request(options.virtual_hosted_style);
        if !options.endpoint.is_empty() {
            builder = builder.with_endpoint(&options.endpoint).with_allow_http(true);
        }
        let prefix = options.prefix.trim_matches('/');
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Ok(Self {
            store: Arc::new(builder.build()?),
            prefix: prefix.into(),
            link_lifetime: options.link_lifetime,
        })
    }

    /// Sends a file. A small one goes in one request, another in parts, of which the store makes a file only when all have
    /// come.
    pub(super) async fn keep(&self, received: Received, key: &str) -> Result<(), StoreError> {
        let path = received.path().to_owned();
        let file = Arc::new(blocking(move || File::open(path)).await?);
        let location = self.location(key);
        if received.size <= PART {
            let content = read(&file, 0..received.size).await?;
            self.store.put(&location, PutPayload::from(content)).await?;
            return Ok(());
        }
        let mut upload = self.store.put_multipart(&location).await?;
        match send_parts(&mut *upload, &file, received.size).await {
            Ok(()) => {
                upload.complete().await?;
                Ok(())
            }
            Err(error) => {
                // What is left of it costs money until somebody clears it away.
                if let Err(error) = upload.abort().await {
                    tracing::warn!(%error, key, "an upload that failed could not be taken back");
                }
                Err(error)
            }
        }
    }

    pub(super) async fn read(&self, key: &str, range: Range<u64>) -> Result<FileStream, StoreError> {
        if range.is_empty() {
            return match self.size_of(key).await? {
                Some(_) => Ok(stream::empty().boxed()),
                None => Err(StoreError::Missing(key.to_owned())),
            };
        }
        let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
        match self.store.get_opts(&self.location(key), options).await {
            Ok(found) => Ok(found.into_stream().map_err(io::Error::other).boxed()),
            Err(Error::NotFound { .. }) => Err(StoreError::Missing(key.to_owned())),
            Err(error) => Err(error.into()),
        }
    }

    /// Where anybody can fetch a file for a while, if they are to be sent there. The store answers with the headers that are
    /// named in the link, and the signature keeps them as they are.
    pub(super) async fn link(&self, key: &str, link: Link<'_>) -> Result<Option<String>, StoreError> {
        if self.link_lifetime.is_zero() {
            return Ok(None);
        }
        let options = SignedUrlOptions::new().with_query([
            ("response-content-type", link.content_type),
            ("response-content-disposition", link.disposition),
            ("response-cache-control", link.cache_control),
        ]);
        let location = self.location(key);
        let url = self.store.signed_url_opts(http::Method::GET, &location, self.link_lifetime, &options);
        Ok(Some(url.await?.into()))
    }

    pub(super) async fn delete(&self, key: &str) -> Result<(), StoreError> {
        match self.store.delete(&self.location(key)).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn size_of(&self, key: &str) -> Result<Option<u64>, StoreError> {
        match self.store.head(&self.location(key)).await {
            Ok(found) => Ok(Some(found.size)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn list(&self, before_ms: i64) -> BoxStream<'static, Result<Vec<Lying>, StoreError>> {
        let prefix = Arc::clone(&self.prefix);
        let within = (!prefix.is_empty()).then(|| Path::from(&*prefix));
        self.store
            .list(within.as_ref())
            .map_err(StoreError::from)
            .try_filter_map(move |found| {
                let key = found.location.as_ref().strip_prefix(&*prefix).map(str::to_owned);
                let key = key.filter(|_| found.last_modified.timestamp_millis() < before_ms);
                std::future::ready(Ok(key.map(|key| Lying { key, size: found.size })))
            })
            .try_chunks(BATCH)
            .map_err(|error| error.1)
            .boxed()
    }

    fn location(&self, key: &str) -> Path {
        Path::from(format!("{}{key}", self.prefix))
    }
}

async fn send_parts(upload: &mut dyn MultipartUpload, file: &Arc<File>, size: u64) -> Result<(), StoreError> {
    let mut at = 0;
    while at < size {
        let end = size.min(at + PART);
        let part = read(file, at..end).await?;
        upload.put_part(PutPayload::from(part)).await?;
        at = end;
    }
    Ok(())
}

async fn read(file: &Arc<File>, range: Range<u64>) -> io::Result<Bytes> {
    let file = Arc::clone(file);
    blocking(move || {
        let mut part = vec![0; (range.end - range.start) as usize];
        file.read_exact_at(&mut part, range.start)?;
        Ok(part.into())
    })
    .await
}
