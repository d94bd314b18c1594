//! Pictures that move.

use std::time::Instant;

use fast_image_resize::Resizer;
use image::{DynamicImage, RgbaImage, imageops};

use super::{
    Source, Thumbnail, ThumbnailError, ThumbnailOptions,
    decode::{Opened, Picture},
    size::{Plan, Size},
    still::shrink,
    webp::{Animation, Patch},
};

/// The longest animated thumbnail. What would be longer is a film, and stands still instead.
const MAX_BYTES: usize = 8 << 20;

/// What browsers make of frames that are to be shown for no time at all.
const FAST_MS: u32 = 10;
const DEFAULT_MS: u32 = 100;

/// Makes an animation small. `None` where there is but one frame, or more than animated thumbnails are made of.
pub(super) fn animate(
    source: &Source,
    options: &ThumbnailOptions,
    plan: Plan,
    until: Instant,
) -> Result<Option<Thumbnail>, ThumbnailError> {
    let opened = Opened::new(source, options, until)?;
    let stored = opened.stored;
    let orientation = opened.orientation;
    let size = match plan {
        Plan::Keep => opened.upright(),
        Plan::Shrink { to, .. } => to,
    };
    let Some(frames) = opened.into_frames()? else { return Ok(None) };
    let mut resizer = Resizer::new();
    let mut writer = Writer::new(size);
    let mut seen = 0;
    for frame in frames {
        // A file that breaks off shows what came before.
        let Ok(frame) = frame else { break };
        seen += 1;
        let is_too_long =
            seen > options.max_frames || stored.pixels() * u64::from(seen) > options.max_animation_pixels;
        if is_too_long || writer.animation.len() > MAX_BYTES || Instant::now() >= until {
            return Ok(None);
        }
        let (numerator, denominator) = frame.delay().numer_denom_ms();
        let duration_ms = match numerator / denominator.max(1) {
            0..=FAST_MS => DEFAULT_MS,
            duration_ms => duration_ms,
        };
        let picture =
            Picture { pixels: DynamicImage::ImageRgba8(frame.into_buffer()), stored, icc_profile: None };
        let small = shrink(&mut resizer, &picture, orientation, plan)?;
        writer.push(small.into_rgba8(), duration_ms)?;
    }
    let Some(bytes) = writer.finish()? else { return Ok(None) };
    Ok(Some(Thumbnail {
        bytes: bytes.into(),
        content_type: "image/webp",
        width: size.width,
        height: size.height,
        is_animated: true,
    }))
}

/// Writes of each frame only what differs from the one before.
struct Writer {
    animation: Animation,
    shown: Option<RgbaImage>,
    /// Not written yet, since its duration grows while the frames behind it look the same.
    pending: Option<Patch>,
    written: u32,
}

impl Writer {
    fn new(size: Size) -> Self {
        Self { animation: Animation::new(size, 0), shown: None, pending: None, written: 0 }
    }

    fn push(&mut self, frame: RgbaImage, duration_ms: u32) -> Result<(), ThumbnailError> {
        let changed = match &self.shown {
            None => Some((0, 0, frame.width(), frame.height())),
            Some(shown) => difference(shown, &frame),
        };
        match (changed, &mut self.pending) {
            (Some((left, top, width, height)), _) => {
                self.write_pending()?;
                let pixels = imageops::crop_imm(&frame, left, top, width, height).to_image();
                self.pending = Some(Patch { left, top, pixels, duration_ms });
                self.shown = Some(frame);
            }
            (None, Some(pending)) => pending.duration_ms = pending.duration_ms.saturating_add(duration_ms),
            (None, None) => {}
        }
        Ok(())
    }

    fn write_pending(&mut self) -> Result<(), ThumbnailError> {
        if let Some(patch) = self.pending.take() {
            self.animation
                .push(&patch)
                .map_err(|_| ThumbnailError::Unreadable("a frame cannot be written".to_owned()))?;
            self.written += 1;
        }
        Ok(())
    }

    /// The file, if it has more than one frame and is not too long.
    fn finish(mut self) -> Result<Option<Vec<u8>>, ThumbnailError> {
        self.write_pending()?;
        Ok((self.written > 1 && self.animation.len() <= MAX_BYTES).then(|| self.animation.finish()))
    }
}

/// The smallest rectangle that holds all differences, from an even place on: left, top, width, height.
fn difference(before: &RgbaImage, after: &RgbaImage) -> Option<(u32, u32, u32, u32)> {
    let width = after.width() as usize;
    let row = width * 4;
    let (before, after_raw) = (before.as_raw(), after.as_raw());
    let differing = |y: &usize| before[y * row..(y + 1) * row] != after_raw[y * row..(y + 1) * row];
    let rows = 0..after.height() as usize;
    let top = rows.clone().find(differing)?;
    let bottom = rows.rev().find(differing)?;
    let (mut left, mut right) = (width, 0);
    for y in top..=bottom {
        let pixels = |x: &usize| before[y * row + x * 4..][..4] != after_raw[y * row + x * 4..][..4];
        if let Some(first) = (0..left).find(pixels) {
            left = first;
        }
        if let Some(last) = (right..width).rev().find(pixels) {
            right = last;
        }
    }
    let (left, top) = (left & !1, top & !1);
    Some((left as u32, top as u32, (right + 1 - left) as u32, (bottom + 1 - top) as u32))
}
