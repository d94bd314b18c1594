//! Small pictures of big ones.
//!
//! Start with [`Thumbnailer`]. `size.rs` decides which size is made, `decode.rs` reads pictures within limits, `still.rs` and
//! `animation.rs` make them small, `encode.rs` and `webp.rs` write them down, `poster.rs` has ffmpeg take a picture out of a
//! film, `pool.rs` bounds how much of that happens at once.
//!
//! What is done with each format, and why:
//! - JPEG, PNG, GIF and WebP are decoded here, by decoders without unsafe code of other languages.
//! - AVIF and HEIF are served as they are and decoded by ffmpeg alone, if it is there: their decoders are C libraries, and
//!   those belong into a process of their own.
//! - SVG is a program more than a picture. It is never drawn, and no thumbnail of it is made.
//! - Films have a picture of one of their first moments if ffmpeg is installed.
//!
//! Invariants:
//! - Nothing is decoded before its size is known and allowed. What a picture may cost (pixels, frames, memory, time) is
//!   bounded, and all pictures together keep to one budget of memory and a few threads, so a hostile file costs an error.
//! - A thumbnail consists of pixels and nothing else: no place, no camera, no embedded second picture. It is upright, and in
//!   the colours of the web (sRGB).
//! - Nothing is ever enlarged. What is small enough is served as it is.

mod animation;
mod colour;
mod decode;
mod encode;
mod input;
mod pool;
mod poster;
mod size;
mod still;
mod webp;

pub use input::Source;
pub use pool::Thumbnailer;
pub use poster::Poster;
pub use size::{COMMON, Method, Spec};

use std::{path::PathBuf, time::Duration};

use bytes::Bytes;

/// How much a picture may cost. The defaults suit a server with a few gigabytes of memory.
#[derive(Clone, Debug)]
pub struct ThumbnailOptions {
    /// How many pictures are worked on at once.
    pub threads: usize,
    /// How much memory they may take together, in bytes. A picture that needs more is refused.
    pub memory_bytes: u64,
    /// The most pixels of a picture.
    pub max_pixels: u64,
    /// The longest file that is read.
    pub max_source_bytes: u64,
    /// The most frames of an animation that stays one. Longer ones become stills.
    pub max_frames: u32,
    /// The most pixels of all frames of an animation together, before they are made small.
    pub max_animation_pixels: u64,
    /// How long a picture may take once work on it has begun.
    pub timeout: Duration,
    /// How many may wait for their turn.
    pub max_waiting: usize,
    /// Quality of JPEG thumbnails, 1 to 100.
    pub jpeg_quality: u8,
    /// The program that takes pictures out of films; `None` where films have none.
    pub ffmpeg: Option<PathBuf>,
}

impl Default for ThumbnailOptions {
    fn default() -> Self {
        Self {
            threads: 2,
            memory_bytes: 768 << 20,
            max_pixels: 64_000_000,
            max_source_bytes: 128 << 20,
            max_frames: 250,
            max_animation_pixels: 200_000_000,
            timeout: Duration::from_secs(20),
            max_waiting: 200,
            jpeg_quality: 85,
            ffmpeg: None,
        }
    }
}

/// What a picture is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// Its type, as its bytes say.
    pub content_type: &'static str,
    /// Its width as it is shown: upright.
    pub width: u32,
    /// Its height as it is shown.
    pub height: u32,
    /// Whether it moves.
    pub is_animated: bool,
}

/// A thumbnail.
#[derive(Clone, Debug)]
pub struct Thumbnail {
    /// The file.
    pub bytes: Bytes,
    /// Its type: one of those that the specification allows for thumbnails.
    pub content_type: &'static str,
    /// Its width.
    pub width: u32,
    /// Its height.
    pub height: u32,
    /// Whether it moves.
    pub is_animated: bool,
}

/// What a request for a thumbnail is answered with.
#[derive(Clone, Debug)]
pub enum Made {
    /// A picture made for it.
    Thumbnail(Thumbnail),
    /// The file itself: it is not bigger than what was asked for, or what was asked for is too big to be called a thumbnail.
    Original(Info),
}

/// Why there is no thumbnail.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ThumbnailError {
    /// No picture, or one of a kind that thumbnails are not made of.
    #[error("no thumbnails are made of files of this kind")]
    Unsupported,
    /// A picture, but a broken one.
    #[error("the picture cannot be read: {0}")]
    Unreadable(String),
    /// It has too many pixels, or would take too much memory or time.
    #[error("the picture is too large")]
    TooLarge,
    /// Too many others are waiting.
    #[error("too many thumbnails are being made")]
    Busy,
    /// The file cannot be read.
    #[error("the file cannot be read: {0}")]
    Io(String),
}

impl ThumbnailError {
    /// What figures call it.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Unsupported => "unsupported",
            Self::Unreadable(_) => "unreadable",
            Self::TooLarge => "too_large",
            Self::Busy => "busy",
            Self::Io(_) => "failed",
        }
    }
}

#[cfg(test)]
mod tests;
