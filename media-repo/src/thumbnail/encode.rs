//! Writing thumbnails down.

use image::{
    DynamicImage, ExtendedColorType, ImageEncoder,
    codecs::{
        jpeg::JpegEncoder,
        png::{CompressionType, FilterType, PngEncoder},
    },
};

use super::{Thumbnail, ThumbnailError, decode::from_library};
use crate::content::Kind;

/// Pictures with fewer colours than this are drawn rather than taken: PNG keeps their edges sharp and is shorter.
const FEW_COLOURS: usize = 600;

/// Writes a picture in the format that suits it: PNG where it can be seen through or is a drawing, JPEG otherwise.
pub(super) fn encode(mut pixels: DynamicImage, kind: Kind, quality: u8) -> Result<Thumbnail, ThumbnailError> {
    if let DynamicImage::ImageRgba8(rgba) = &pixels
        && rgba.pixels().all(|pixel| pixel.0[3] == u8::MAX)
    {
        pixels = DynamicImage::ImageRgb8(pixels.into_rgb8());
    }
    let is_drawing = kind != Kind::Jpeg && has_few_colours(&pixels);
    let (width, height) = (pixels.width(), pixels.height());
    let colour = ExtendedColorType::from(pixels.color());
    let mut bytes = Vec::new();
    let content_type = if pixels.color().has_alpha() || is_drawing {
        PngEncoder::new_with_quality(&mut bytes, CompressionType::Fast, FilterType::Adaptive)
            .write_image(pixels.as_bytes(), width, height, colour)
            .map_err(from_library)?;
        "image/png"
    } else {
        JpegEncoder::new_with_quality(&mut bytes, quality)
            .write_image(pixels.as_bytes(), width, height, colour)
            .map_err(from_library)?;
        "image/jpeg"
    };
    Ok(Thumbnail { bytes: bytes.into(), content_type, width, height, is_animated: false })
}

fn has_few_colours(pixels: &DynamicImage) -> bool {
    let DynamicImage::ImageRgb8(pixels) = pixels else {
        // There are 256 greys.
        return true;
    };
    // Neighbouring colours count as one: five bits of each channel.
    let mut seen = vec![false; 1 << 15];
    let mut count = 0;
    for pixel in pixels.pixels() {
        let [red, green, blue] = pixel.0.map(|channel| usize::from(channel >> 3));
        let seen = &mut seen[red << 10 | green << 5 | blue];
        if !*seen {
            *seen = true;
            count += 1;
            if count > FEW_COLOURS {
                return false;
            }
        }
    }
    true
}

/// A few letters that stand for a blurred picture of this one, which should be small already.
pub(super) fn blurhash(pixels: &DynamicImage) -> Option<String> {
    let (width, height) = (pixels.width(), pixels.height());
    // More components along the longer side.
    let (x, y) = if width > height { (4, 3) } else { (3, 4) };
    blurhash::encode(x, y, width, height, pixels.to_rgba8().as_raw()).ok()
}
