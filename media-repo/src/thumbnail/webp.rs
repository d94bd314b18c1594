//! The container of animated WebP. The library writes single pictures only; each frame is one of those, in a box.
//!
//! <https://developers.google.com/speed/webp/docs/riff_container>

use image::RgbaImage;
use image_webp::{ColorType, WebPEncoder};

use super::size::Size;

/// What is before the frame's data in its box: place, size, duration and flags.
const FRAME_HEADER_BYTES: usize = 16;
/// "Do not blend": the frame replaces what is there.
const NO_BLEND: u8 = 0b10;
const HAS_ALPHA: u8 = 0b1_0000;
const IS_ANIMATION: u8 = 0b10;
/// Durations have 24 bits.
const MAX_DURATION_MS: u32 = (1 << 24) - 1;

/// A part of a picture that replaces what was there.
pub(super) struct Patch {
    /// Even numbers: the format counts places in steps of two.
    pub(super) left: u32,
    pub(super) top: u32,
    pub(super) pixels: RgbaImage,
    pub(super) duration_ms: u32,
}

/// An animation that is being written.
pub(super) struct Animation {
    frames: Vec<u8>,
    size: Size,
    loops: u16,
}

/// A frame could not be written.
#[derive(Clone, Copy, Debug)]
pub(super) struct CannotEncode;

impl Animation {
    /// One that is shown so many times; for ever with 0.
    pub(super) fn new(size: Size, loops: u16) -> Self {
        Self { frames: Vec::new(), size, loops }
    }

    pub(super) fn push(&mut self, patch: &Patch) -> Result<(), CannotEncode> {
        let (width, height) = patch.pixels.dimensions();
        let mut file = Vec::new();
        WebPEncoder::new(&mut file)
            .encode(patch.pixels.as_raw(), width, height, ColorType::Rgba8)
            .map_err(|_| CannotEncode)?;
        // A file is "RIFF", its length, "WEBP", and then the box with the picture that goes into ours as it is.
        let picture = file.get(12..).ok_or(CannotEncode)?;
        self.frames.extend_from_slice(b"ANMF");
        self.frames.extend_from_slice(&((FRAME_HEADER_BYTES + picture.len()) as u32).to_le_bytes());
        for number in
            [patch.left / 2, patch.top / 2, width - 1, height - 1, patch.duration_ms.min(MAX_DURATION_MS)]
        {
            self.frames.extend_from_slice(&number.to_le_bytes()[..3]);
        }
        self.frames.push(NO_BLEND);
        self.frames.extend_from_slice(picture);
        Ok(())
    }

    /// How long the file is so far.
    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }

    pub(super) fn finish(self) -> Vec<u8> {
        let mut file = Vec::with_capacity(self.frames.len() + 64);
        file.extend_from_slice(b"RIFF\0\0\0\0WEBPVP8X\x0A\0\0\0");
        file.extend_from_slice(&[HAS_ALPHA | IS_ANIMATION, 0, 0, 0]);
        file.extend_from_slice(&(self.size.width - 1).to_le_bytes()[..3]);
        file.extend_from_slice(&(self.size.height - 1).to_le_bytes()[..3]);
        // A background that can be seen through.
        file.extend_from_slice(b"ANIM\x06\0\0\0\0\0\0\0");
        file.extend_from_slice(&self.loops.to_le_bytes());
        file.extend_from_slice(&self.frames);
        let length = (file.len() - 8) as u32;
        file[4..8].copy_from_slice(&length.to_le_bytes());
        file
    }
}
