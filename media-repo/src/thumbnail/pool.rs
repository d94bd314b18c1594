//! How much of all this happens at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use fast_image_resize::Resizer;
use image::{DynamicImage, metadata::Orientation};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    Info, Made, Poster, Source, Spec, Thumbnail, ThumbnailError, ThumbnailOptions,
    animation::animate,
    decode::{Opened, Picture},
    encode::{blurhash, encode},
    size::{Method, Plan, Size, plan},
    still::{reduce, shrink},
};
use crate::{
    content::{Kind, sniff},
    figures,
};

/// The budget of memory is kept in pieces of this size.
const PIECE_BYTES: u64 = 1 << 20;
/// What the blurred picture is made of: its longer side.
const BLURHASH_SIDE: u32 = 48;

/// Makes thumbnails, a few at a time, on threads where that does not disturb. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Thumbnailer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    options: ThumbnailOptions,
    threads: Arc<Semaphore>,
    memory: Arc<Semaphore>,
    memory_pieces: u32,
    waiting: AtomicUsize,
    poster: Option<Poster>,
}

/// What a file turned out to be.
enum Begun {
    Picture(Box<Opened>),
    /// To be read by ffmpeg, with this demuxer.
    Film(&'static str),
}

/// Counts who waits for as long as they do.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
        figures::thumbnails_in_line(-1.0);
    }
}

impl Thumbnailer {
    /// A pool with these limits.
    pub fn new(options: ThumbnailOptions) -> Self {
        let memory_pieces = u32::try_from(options.memory_bytes / PIECE_BYTES).unwrap_or(u32::MAX).max(1);
        let memory_pieces = memory_pieces.min(u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX));
        let poster = options.ffmpeg.as_ref().map(|program| Poster::new(program, options.timeout));
        Self {
            shared: Arc::new(Shared {
                threads: Arc::new(Semaphore::new(options.threads.max(1))),
                memory: Arc::new(Semaphore::new(memory_pieces as usize)),
                memory_pieces,
                waiting: AtomicUsize::new(0),
                poster,
                options,
            }),
        }
    }

    /// How many are worked on or wait.
    #[cfg(test)]
    pub(super) fn load(&self) -> usize {
        self.shared.waiting.load(Ordering::Relaxed)
    }

    /// Makes one thumbnail.
    pub async fn make(&self, source: Source, spec: Spec) -> Result<Made, ThumbnailError> {
        let made = self.make_many(source, vec![spec]).await?.into_iter().next();
        made.map(|(_, made)| made).ok_or_else(|| ThumbnailError::Unreadable("nothing came of it".to_owned()))
    }

    /// Makes all of these, decoding the picture once.
    pub async fn make_many(
        &self,
        source: Source,
        specs: Vec<Spec>,
    ) -> Result<Vec<(Spec, Made)>, ThumbnailError> {
        self.work(source, move |job, opened| job.run(opened, &specs)).await
    }

    /// A few letters that stand for a blurred picture of this one. <https://blurha.sh>
    pub async fn blurhash(&self, source: Source) -> Result<String, ThumbnailError> {
        self.work(source, |_, opened| blurred(opened)).await
    }

    /// What a picture is, by its first bytes.
    pub async fn inspect(&self, source: Source) -> Result<Info, ThumbnailError> {
        let _waiting = self.wait_in_line()?;
        let permit = self.thread().await?;
        let shared = Arc::clone(&self.shared);
        run(permit, move || {
            let until = Instant::now() + shared.options.timeout;
            Opened::new(&source, &shared.options, until).map(|opened| opened.info())
        })
        .await
    }

    /// Opens a picture, waits until there is room for it, and works on it.
    async fn work<T: Send + 'static>(
        &self,
        source: Source,
        work: impl FnOnce(&Job<'_>, Opened) -> Result<T, ThumbnailError> + Send + 'static,
    ) -> Result<T, ThumbnailError> {
        let _waiting = self.wait_in_line()?;
        let permit = self.thread().await?;
        let (permit, source, opened) = self.open(permit, source).await?;
        let (permit, source, opened, is_poster) = match opened {
            Begun::Picture(opened) => (permit, source, opened, false),
            Begun::Film(demuxer) => {
                let poster = self.poster_of(&source, demuxer).await?;
                let (permit, poster, opened) = self.open(permit, poster).await?;
                let Begun::Picture(opened) = opened else { return Err(ThumbnailError::Unsupported) };
                (permit, poster, opened, true)
            }
        };

        // Held together with a thread: who waits here waits for those who have both.
        let pieces = u32::try_from(opened.memory_bytes().div_ceil(PIECE_BYTES)).unwrap_or(u32::MAX);
        let memory = Arc::clone(&self.shared.memory)
            .acquire_many_owned(pieces.clamp(1, self.shared.memory_pieces))
            .await
            .map_err(|_| ThumbnailError::Busy)?;
        let shared = Arc::clone(&self.shared);
        run((permit, memory), move || work(&Job { source, options: &shared.options, is_poster }, *opened))
            .await
    }

    /// Reads the first bytes. The permit is on the way with the work, so that it is held when nobody waits any longer.
    async fn open(
        &self,
        permit: OwnedSemaphorePermit,
        source: Source,
    ) -> Result<(OwnedSemaphorePermit, Source, Begun), ThumbnailError> {
        let shared = Arc::clone(&self.shared);
        run((), move || {
            let kind = sniff(&source.head()?).ok_or(ThumbnailError::Unsupported)?;
            let begun = if let Some(demuxer) = Poster::demuxer(kind) {
                Begun::Film(demuxer)
            } else {
                let until = Instant::now() + shared.options.timeout;
                Begun::Picture(Box::new(Opened::new(&source, &shared.options, until)?))
            };
            Ok((permit, source, begun))
        })
        .await
    }

    async fn poster_of(&self, source: &Source, demuxer: &str) -> Result<Source, ThumbnailError> {
        match (&self.shared.poster, source) {
            (Some(poster), Source::File(path)) => poster.take(path, demuxer).await.map(Source::Bytes),
            _ => Err(ThumbnailError::Unsupported),
        }
    }

    fn wait_in_line(&self) -> Result<Waiting<'_>, ThumbnailError> {
        let waiting = &self.shared.waiting;
        let line = Waiting(waiting);
        figures::thumbnails_in_line(1.0);
        if waiting.fetch_add(1, Ordering::Relaxed) >= self.shared.options.max_waiting {
            return Err(ThumbnailError::Busy);
        }
        Ok(line)
    }

    async fn thread(&self) -> Result<OwnedSemaphorePermit, ThumbnailError> {
        Arc::clone(&self.shared.threads).acquire_owned().await.map_err(|_| ThumbnailError::Busy)
    }
}

/// Works where it may block. What is held is held until the work ends, also when nobody waits for it any longer.
async fn run<H: Send + 'static, T: Send + 'static>(
    held: H,
    work: impl FnOnce() -> Result<T, ThumbnailError> + Send + 'static,
) -> Result<T, ThumbnailError> {
    let done = tokio::task::spawn_blocking(move || {
        let result = work();
        drop(held);
        result
    });
    done.await.unwrap_or_else(|error| {
        // A decoder that gives up loudly has met a file that it cannot read.
        tracing::warn!(%error, "a picture could not be worked on");
        Err(ThumbnailError::Unreadable("the decoder gave up".to_owned()))
    })
}

/// All that is made of one picture.
struct Job<'a> {
    source: Source,
    options: &'a ThumbnailOptions,
    /// A picture out of a film: never served as it is.
    is_poster: bool,
}

/// What has been found of a picture when thumbnails of it are made.
struct Found {
    info: Info,
    kind: Kind,
    orientation: Orientation,
    until: Instant,
}

impl Job<'_> {
    fn run(&self, opened: Opened, specs: &[Spec]) -> Result<Vec<(Spec, Made)>, ThumbnailError> {
        let until = Instant::now() + self.options.timeout;
        let found = Found { info: opened.info(), kind: opened.kind, orientation: opened.orientation, until };
        let finest = self.finest(specs, &found.info);
        let mut still = Still::new(opened, finest);
        specs.iter().map(|spec| Ok((*spec, self.make(*spec, &found, &mut still)?))).collect()
    }

    /// The greatest factor by which the picture is shrunk; 1 where there is but one, which is as well made of the whole.
    fn finest(&self, specs: &[Spec], info: &Info) -> f64 {
        let size = Size { width: info.width, height: info.height };
        if specs.len() < 2 {
            return 1.0;
        }
        // What is not made small is served as it is; but if it moves, all of its pixels may be needed.
        let factors = specs.iter().map(|spec| plan(*spec, size).factor());
        let finest =
            factors.filter(|factor| *factor < 1.0 || info.is_animated || self.is_poster).fold(0.0, f64::max);
        if finest > 0.0 { finest } else { 1.0 }
    }

    fn make(&self, spec: Spec, found: &Found, still: &mut Still) -> Result<Made, ThumbnailError> {
        let Info { width, height, is_animated, .. } = found.info;
        let plan = plan(spec, Size { width, height });
        // What moves is not served to who wants a still.
        if plan == Plan::Keep && !self.is_poster && (spec.animated || !is_animated) {
            return Ok(Made::Original(found.info.clone()));
        }
        if spec.animated
            && is_animated
            && let Some(moving) = animate(&self.source, self.options, plan, found.until)?
        {
            return Ok(Made::Thumbnail(moving));
        }
        let small = still.shrink(found.orientation, plan)?;
        self.encode(small, found.kind).map(Made::Thumbnail)
    }

    fn encode(&self, small: DynamicImage, kind: Kind) -> Result<Thumbnail, ThumbnailError> {
        encode(small, if self.is_poster { Kind::Jpeg } else { kind }, self.options.jpeg_quality)
    }
}

fn blurred(opened: Opened) -> Result<String, ThumbnailError> {
    let Info { width, height, .. } = opened.info();
    let orientation = opened.orientation;
    // The longer side decides: what is asked for is the size of the shorter one at most.
    let side = BLURHASH_SIDE.min(width.max(height));
    let shorter = (u64::from(side) * u64::from(width.min(height))).div_ceil(u64::from(width.max(height)));
    let shorter = u32::try_from(shorter).unwrap_or(1).max(1);
    let spec = Spec { width: shorter, height: shorter, method: Method::Scale, animated: false };
    let small = Still::new(opened, 1.0).shrink(orientation, plan(spec, Size { width, height }))?;
    blurhash(&small).ok_or_else(|| ThumbnailError::Unreadable("it cannot be blurred".to_owned()))
}

/// The picture, decoded when it is first needed.
struct Still {
    opened: Option<Opened>,
    picture: Option<Picture>,
    resizer: Resizer,
    /// The greatest factor by which it will be shrunk.
    finest: f64,
}

impl Still {
    fn new(opened: Opened, finest: f64) -> Self {
        Self { opened: Some(opened), picture: None, resizer: Resizer::new(), finest }
    }

    fn shrink(&mut self, orientation: Orientation, plan: Plan) -> Result<DynamicImage, ThumbnailError> {
        if let Some(opened) = self.opened.take() {
            let mut picture = opened.decode()?;
            reduce(&mut self.resizer, &mut picture, self.finest)?;
            self.picture = Some(picture);
        }
        let picture = self
            .picture
            .as_ref()
            .ok_or_else(|| ThumbnailError::Unreadable("it was not decoded".to_owned()))?;
        shrink(&mut self.resizer, picture, orientation, plan)
    }
}
