//! Pictures for tests.

use std::{
    io::Cursor,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use image::{
    Delay, DynamicImage, ExtendedColorType, Frame, ImageEncoder, ImageFormat, Rgb, RgbImage, Rgba, RgbaImage,
    codecs::{gif::GifEncoder, jpeg::JpegEncoder},
};

use super::super::{
    size::Size,
    webp::{Animation, Patch},
};

pub(super) const RED: [u8; 3] = [255, 0, 0];
pub(super) const GREEN: [u8; 3] = [0, 255, 0];
pub(super) const BLUE: [u8; 3] = [0, 0, 255];
/// What metadata hold that must not get out.
pub(super) const SECRET: &[u8] = b"48.8583 N 2.2945 E";

/// Many colours, as photographs have them.
pub(super) fn photo(width: u32, height: u32) -> DynamicImage {
    DynamicImage::ImageRgb8(RgbImage::from_fn(width, height, |x, y| {
        let wave = f64::from(x * 7 + y * 3).sin() * 40.0 + 60.0;
        Rgb([(x * 255 / width) as u8, (y * 255 / height) as u8, wave as u8])
    }))
}

/// Red, green, blue and white, from the upper left.
pub(super) fn quarters(width: u32, height: u32) -> DynamicImage {
    DynamicImage::ImageRgb8(RgbImage::from_fn(width, height, |x, y| {
        Rgb(match (x < width / 2, y < height / 2) {
            (true, true) => RED,
            (false, true) => GREEN,
            (true, false) => BLUE,
            (false, false) => [255; 3],
        })
    }))
}

pub(super) fn plain(width: u32, height: u32, [red, green, blue]: [u8; 3]) -> DynamicImage {
    DynamicImage::ImageRgba8(RgbaImage::from_pixel(width, height, Rgba([red, green, blue, 255])))
}

pub(super) fn seen_through(width: u32, height: u32) -> DynamicImage {
    DynamicImage::ImageRgba8(RgbaImage::from_fn(width, height, |x, y| {
        Rgba([(x * 255 / width) as u8, (y * 255 / height) as u8, 9, (x * 255 / width) as u8])
    }))
}

fn written(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    picture.write_to(&mut file, format).unwrap();
    file.into_inner()
}

pub(super) fn png(picture: &DynamicImage) -> Vec<u8> {
    written(picture, ImageFormat::Png)
}

pub(super) fn jpeg(picture: &DynamicImage) -> Vec<u8> {
    written(picture, ImageFormat::Jpeg)
}

pub(super) fn webp(picture: &DynamicImage) -> Vec<u8> {
    written(picture, ImageFormat::WebP)
}

pub(super) fn jpeg_with_profile(picture: &DynamicImage, profile: Vec<u8>) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = JpegEncoder::new_with_quality(&mut file, 95);
    encoder.set_icc_profile(profile).unwrap();
    encoder
        .write_image(picture.as_bytes(), picture.width(), picture.height(), ExtendedColorType::Rgb8)
        .unwrap();
    file
}

/// The same JPEG with an orientation and a place in its metadata.
pub(super) fn with_exif(jpeg: &[u8], orientation: u16) -> Vec<u8> {
    let mut exif = b"Exif\0\0MM\0\x2A\0\0\0\x08".to_vec();
    exif.extend_from_slice(&2_u16.to_be_bytes());
    // Orientation, one short; then a description that stands behind the directory.
    exif.extend_from_slice(&[0x01, 0x12, 0, 3, 0, 0, 0, 1]);
    exif.extend_from_slice(&orientation.to_be_bytes());
    exif.extend_from_slice(&[0, 0]);
    exif.extend_from_slice(&[0x01, 0x0E, 0, 2]);
    exif.extend_from_slice(&(SECRET.len() as u32).to_be_bytes());
    exif.extend_from_slice(&38_u32.to_be_bytes());
    exif.extend_from_slice(&[0; 4]);
    exif.extend_from_slice(SECRET);
    let mut file = jpeg[..2].to_vec();
    file.extend_from_slice(&[0xFF, 0xE1]);
    file.extend_from_slice(&(exif.len() as u16 + 2).to_be_bytes());
    file.extend_from_slice(&exif);
    file.extend_from_slice(&jpeg[2..]);
    file
}

/// An animation with 200 ms for each frame.
pub(super) fn gif(frames: &[DynamicImage]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = GifEncoder::new_with_speed(&mut file, 30);
    for frame in frames {
        let delay = Delay::from_saturating_duration(Duration::from_millis(200));
        encoder.encode_frame(Frame::from_parts(frame.to_rgba8(), 0, 0, delay)).unwrap();
    }
    drop(encoder);
    file
}

pub(super) fn apng(frames: &[DynamicImage]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, frames[0].width(), frames[0].height());
    encoder.set_color(png::ColorType::Rgba);
    encoder.set_animated(frames.len() as u32, 0).unwrap();
    encoder.set_frame_delay(200, 1000).unwrap();
    let mut writer = encoder.write_header().unwrap();
    for frame in frames {
        writer.write_image_data(frame.to_rgba8().as_raw()).unwrap();
    }
    writer.finish().unwrap();
    file
}

pub(super) fn animated_webp(frames: &[DynamicImage]) -> Vec<u8> {
    let mut animation = Animation::new(Size { width: frames[0].width(), height: frames[0].height() }, 0);
    for frame in frames {
        animation.push(&Patch { left: 0, top: 0, pixels: frame.to_rgba8(), duration_ms: 200 }).unwrap();
    }
    animation.finish()
}

/// A folder that goes away with the test.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new() -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("kith-thumbnails-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// A program. Each has a file of its own: one that is running cannot be written.
    pub(super) fn program(&self, name: &str, script: &str) -> PathBuf {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let path =
            self.write(&format!("{name}-{}", COUNTER.fetch_add(1, Ordering::Relaxed)), script.as_bytes());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
