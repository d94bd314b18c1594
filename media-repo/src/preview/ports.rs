//! What previews need of others.

use std::{fmt::Debug, future::Future, pin::Pin};

use bytes::Bytes;

/// A picture of a page, to be kept as media of this server.
#[derive(Clone, Debug)]
pub struct PreviewImage {
    /// The file.
    pub bytes: Bytes,
    /// Its type, as its bytes say.
    pub content_type: &'static str,
    /// Its width.
    pub width: u32,
    /// Its height.
    pub height: u32,
}

/// A picture was not kept. The preview does without.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the picture was not kept: {0}")]
pub struct NotKept(pub String);

/// The answer of [`PreviewImages`].
pub type PreviewImagesFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Keeps pictures of pages.
pub trait PreviewImages: Send + Sync + Debug {
    /// Keeps a picture; returns its `mxc://` URI.
    fn keep(&self, image: PreviewImage) -> PreviewImagesFuture<'_, Result<String, NotKept>>;

    /// No preview names these any longer.
    fn discard(&self, mxc_uris: Vec<String>) -> PreviewImagesFuture<'_, ()>;
}
