//! The media repository: files that people attach, and pictures of them.
//!
//! Start with [`Repository`]: `upload.rs` takes files, `download.rs` finds and hands them out, `remote.rs` fetches those of
//! other servers. [`store`] is where bytes lie; [`content`], [`thumbnail`] and [`preview`] are about what is in them.
//!
//! Invariants:
//! - A file is whole and on disk before a row names it, and its row is deleted before the file: a crash leaves files too
//!   many, never too few.
//! - No file is in memory as a whole; what waits for the disk, hashes or decodes does so away from the async threads.
//! - Nothing here knows rooms, HTTP or other servers; what is needed of them comes through [`ports`].

pub mod content;
mod download;
mod figures;
pub mod ids;
mod lifecycle;
mod maintenance;
mod options;
mod pictures;
pub mod ports;
pub mod preview;
mod remote;
mod repository;
pub mod store;
pub mod thumbnail;
mod upload;

pub use self::{
    download::{Asker, Find, Media},
    ids::{MediaId, MediaUri},
    lifecycle::MediaNews,
    maintenance::{Checked, Moved},
    options::{MediaOptions, ObjectOptions},
    pictures::{Picture, PictureError},
    repository::{Failure, FindError, Repository},
    upload::{CreateError, Upload, UploadError},
};
