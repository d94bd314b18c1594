//! Thumbnails of what is kept, kept themselves.

use std::sync::Arc;

use hs_storage::{StorageError, media::BlobRecord, media_blobs::ThumbnailKey};

use crate::{
    download::Media,
    figures,
    repository::{Failure, Repository},
    store::{FileStream, Received, StoreError},
    thumbnail::{COMMON, Made, Method, Source, Spec, Thumbnail, ThumbnailError},
};

/// A picture to be handed out.
#[derive(Clone, Debug)]
pub struct Picture {
    /// Its content.
    pub blob: BlobRecord,
    /// Its type.
    pub content_type: String,
}

/// Why there is no thumbnail.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PictureError {
    /// None can be made.
    #[error(transparent)]
    Made(#[from] ThumbnailError),
    /// A failure of our own.
    #[error(transparent)]
    Failure(Arc<Failure>),
}

impl From<Failure> for PictureError {
    fn from(failure: Failure) -> Self {
        Self::Failure(Arc::new(failure))
    }
}

impl From<StorageError> for PictureError {
    fn from(error: StorageError) -> Self {
        Failure::from(error).into()
    }
}

impl From<StoreError> for PictureError {
    fn from(error: StoreError) -> Self {
        Failure::from(error).into()
    }
}

impl From<std::io::Error> for PictureError {
    fn from(error: std::io::Error) -> Self {
        Failure::from(error).into()
    }
}

impl Repository {
    /// A thumbnail of media, or the media themselves where they are small enough. It is made once, however many ask, and
    /// kept; that none can be made is remembered for a while.
    pub async fn thumbnail(&self, media: &Media, spec: Spec) -> Result<Picture, PictureError> {
        let spec = spec.rounded_up();
        let key = key(&media.blob, spec);
        if let Some((blob, content_type)) = self.inner.store.reader().await?.find_thumbnail(key).await? {
            return Ok(Picture { blob, content_type });
        }
        let made = self.inner.pictures.get_with((media.blob.hash, spec), self.make(&media.blob, spec));
        let made = made.await;
        if let Err(PictureError::Failure(_) | PictureError::Made(ThumbnailError::Busy)) = &made {
            // Another time it may go well.
            self.inner.pictures.invalidate(&(media.blob.hash, spec)).await;
        }
        made
    }

    async fn make(&self, original: &BlobRecord, spec: Spec) -> Result<Picture, PictureError> {
        // What lies elsewhere is brought here for as long as that takes.
        let (source, _brought) = if let Some(path) = self.inner.files.local_path(original) {
            (Source::File(path), None)
        } else {
            let brought = self.bring(original).await?;
            (Source::File(brought.path().to_owned()), Some(brought))
        };
        // Whoever wants one of the usual sizes will want others: reading the picture is most of the work.
        let specs = if COMMON.contains(&spec) { COMMON.to_vec() } else { vec![spec] };
        let all = self.inner.thumbnailer.make_many(source, specs).await;
        figures::thumbnails(all.as_ref().map_or_else(ThumbnailError::name, |_| "ok"));
        let mut wanted = None;
        for (made_for, made) in all? {
            let picture = match made {
                Made::Original(info) => {
                    Picture { blob: original.clone(), content_type: info.content_type.to_owned() }
                }
                Made::Thumbnail(thumbnail) => self.keep_thumbnail(original, made_for, thumbnail).await?,
            };
            if made_for == spec {
                wanted = Some(picture);
            }
        }
        wanted.ok_or_else(|| PictureError::Made(ThumbnailError::Io("it was not made".to_owned())))
    }

    async fn keep_thumbnail(
        &self,
        original: &BlobRecord,
        spec: Spec,
        thumbnail: Thumbnail,
    ) -> Result<Picture, PictureError> {
        let Thumbnail { bytes, content_type, .. } = thumbnail;
        let mut incoming = self.inner.files.receive();
        incoming.write(bytes).await?;
        let received = incoming.finish().await?;
        let now_ms = self.now_ms();
        let placed = self.place(received, async |txn, blob| {
            txn.upsert_thumbnail(key(original, spec), blob, content_type, now_ms).await?;
            Ok::<_, PictureError>(true)
        });
        let blob = placed.await?;
        let blob =
            blob.ok_or_else(|| PictureError::Made(ThumbnailError::Io("it was not kept".to_owned())))?;
        Ok(Picture { blob, content_type: content_type.to_owned() })
    }

    /// Copies a file here.
    pub(crate) async fn bring(&self, blob: &BlobRecord) -> Result<Received, StoreError> {
        use futures_util::TryStreamExt as _;
        let mut stream: FileStream = self.inner.files.read(blob, 0..blob.size).await?;
        let mut incoming = self.inner.files.receive();
        while let Some(chunk) = stream.try_next().await? {
            incoming.write(chunk).await?;
        }
        Ok(incoming.finish().await?)
    }
}

/// What a thumbnail is kept under.
fn key(original: &BlobRecord, spec: Spec) -> ThumbnailKey {
    ThumbnailKey {
        source: original.hash,
        width: spec.width as i32,
        height: spec.height as i32,
        is_cropped: spec.method == Method::Crop,
        is_animated: spec.animated,
    }
}
