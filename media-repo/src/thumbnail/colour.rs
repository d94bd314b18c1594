//! Colours as the web has them.

use image::DynamicImage;
use moxcms::{ColorProfile, DataColorSpace, Layout, TransformOptions};

/// Real profiles of cameras and screens have a few kilobytes.
const MAX_PROFILE_BYTES: usize = 4 << 20;

/// Brings the colours of a picture to sRGB. The profile itself is metadata, which thumbnails have none of; without it the
/// photos of most telephones would look pale.
///
/// A profile that makes no sense is passed over, as browsers do.
pub(super) fn to_srgb(pixels: &mut DynamicImage, profile: &[u8]) {
    if profile.len() > MAX_PROFILE_BYTES {
        return;
    }
    let Ok(profile) = ColorProfile::new_from_slice(profile) else { return };
    if profile.color_space != DataColorSpace::Rgb {
        return;
    }
    let (layout, buffer) = match pixels {
        DynamicImage::ImageRgb8(pixels) => (Layout::Rgb, &mut **pixels),
        DynamicImage::ImageRgba8(pixels) => (Layout::Rgba, &mut **pixels),
        _ => return,
    };
    let srgb = ColorProfile::new_srgb();
    let Ok(transform) = profile.create_transform_8bit(layout, &srgb, layout, TransformOptions::default())
    else {
        return;
    };
    let mut transformed = vec![0; buffer.len()];
    if transform.transform(buffer, &mut transformed).is_ok() {
        buffer.copy_from_slice(&transformed);
    }
}
