//! A picture out of a film, taken by ffmpeg in a process of its own.

use std::{path::Path, process::Stdio, time::Duration};

use bytes::Bytes;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tokio::{
    io::AsyncReadExt,
    process::{Child, Command},
    time::timeout,
};

use super::ThumbnailError;
use crate::content::Kind;

/// The longest side of a poster.
const SIDE: u32 = 1280;
/// The longest picture that is read: such a poster without any compression, and a little more.
const MAX_BYTES: u64 = 8 << 20;
/// Memory of the process.
const MEMORY_BYTES: u64 = 2 << 30;

/// Takes pictures out of films. Whoever names a program here trusts it with files of strangers; it gets no network, no
/// other files than the one, and bounded memory and time.
#[derive(Clone, Debug)]
pub struct Poster {
    program: std::path::PathBuf,
    timeout: Duration,
}

impl Poster {
    /// Takes pictures with this program, in this time.
    pub fn new(program: impl Into<std::path::PathBuf>, timeout: Duration) -> Self {
        Self { program: program.into(), timeout }
    }

    /// The demuxer for a kind. Naming it keeps ffmpeg from guessing: some of its formats are lists of other files.
    pub(super) fn demuxer(kind: Kind) -> Option<&'static str> {
        match kind {
            Kind::Mp4 | Kind::QuickTime | Kind::Avif | Kind::Heif => Some("mov"),
            Kind::Matroska => Some("matroska"),
            Kind::Ogg => Some("ogg"),
            _ => None,
        }
    }

    /// A PNG of one of the first moments.
    pub(super) async fn take(&self, film: &Path, demuxer: &str) -> Result<Bytes, ThumbnailError> {
        let mut child = self.command(film, demuxer).spawn().map_err(|error| {
            tracing::warn!(%error, program = %self.program.display(), "the program for films cannot be started");
            ThumbnailError::Unsupported
        })?;
        bound(&child);
        let picture = timeout(self.timeout, read(&mut child)).await;
        // Dropping the child ends it, whatever it is doing.
        match picture {
            Ok(Some(picture)) => Ok(picture.into()),
            Ok(None) => Err(ThumbnailError::Unreadable("no picture can be taken out of the film".to_owned())),
            Err(_) => Err(ThumbnailError::TooLarge),
        }
    }

    fn command(&self, film: &Path, demuxer: &str) -> Command {
        let mut input = std::ffi::OsString::from("file:");
        input.push(film);
        // Scaled first: what chooses among frames keeps them all.
        let filter = format!(
            "scale=w='min({SIDE},iw)':h='min({SIDE},ih)':force_original_aspect_ratio=decrease,thumbnail=24"
        );
        let mut command = Command::new(&self.program);
        command
            .args([
                "-nostdin",
                "-v",
                "error",
                "-threads",
                "1",
                "-protocol_whitelist",
                "file,pipe",
                "-f",
                demuxer,
                "-i",
            ])
            .arg(input)
            .args([
                "-map",
                "0:v:0",
                "-an",
                "-sn",
                "-dn",
                "-map_metadata",
                "-1",
                "-frames:v",
                "1",
                "-vf",
                &filter,
            ])
            .args(["-f", "image2pipe", "-c:v", "png", "pipe:1"])
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        command
    }
}

/// Bounds what the process may use. It has only just begun, so that the moment before does not matter.
fn bound(child: &Child) {
    let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) else { return };
    for (resource, most) in [(Resource::As, MEMORY_BYTES), (Resource::Fsize, 0), (Resource::Core, 0)] {
        let limit = Rlimit { current: Some(most), maximum: Some(most) };
        if let Err(error) = prlimit(Some(pid), resource, limit) {
            tracing::debug!(%error, "a process for a film cannot be bounded");
        }
    }
}

async fn read(child: &mut Child) -> Option<Vec<u8>> {
    let mut picture = Vec::new();
    child.stdout.take()?.take(MAX_BYTES + 1).read_to_end(&mut picture).await.ok()?;
    let is_complete = picture.len() as u64 <= MAX_BYTES && !picture.is_empty();
    let succeeded = is_complete && child.wait().await.ok()?.success();
    succeeded.then_some(picture)
}
