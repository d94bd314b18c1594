//! Pictures that stand still.

use fast_image_resize::{
    FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer, images::Image, images::ImageRef,
};
use image::{DynamicImage, GrayImage, RgbImage, RgbaImage, metadata::Orientation};

use super::{
    ThumbnailError,
    colour::to_srgb,
    decode::{Picture, lies_on_its_side},
    size::{Plan, Size},
};

/// Makes a picture small, and puts it upright. The plan is for the upright picture.
pub(super) fn shrink(
    resizer: &mut Resizer,
    picture: &Picture,
    orientation: Orientation,
    plan: Plan,
) -> Result<DynamicImage, ThumbnailError> {
    let plan = if lies_on_its_side(orientation) { plan.turned() } else { plan };
    let mut small = match plan {
        Plan::Keep => picture.pixels.clone(),
        Plan::Shrink { to, of_width, of_height } => {
            let (pixels, stored) = (&picture.pixels, picture.stored);
            let of_width = of_width * f64::from(pixels.width()) / f64::from(stored.width);
            let of_height = of_height * f64::from(pixels.height()) / f64::from(stored.height);
            resize(resizer, pixels, to, (of_width, of_height))?
        }
    };
    if let Some(profile) = &picture.icc_profile {
        to_srgb(&mut small, profile);
    }
    small.apply_orientation(orientation);
    Ok(small)
}

/// Leaves a picture so many pixels that all which is made of it has at least twice as few, if that spares half of them: then
/// the many are walked over once, and not for each size. `finest` is the greatest of the factors by which it will be shrunk.
pub(super) fn reduce(
    resizer: &mut Resizer,
    picture: &mut Picture,
    finest: f64,
) -> Result<(), ThumbnailError> {
    let factor = finest * 2.0;
    if factor > 0.5 {
        return Ok(());
    }
    let (width, height) = (f64::from(picture.pixels.width()), f64::from(picture.pixels.height()));
    let to = Size { width: (width * factor).ceil() as u32, height: (height * factor).ceil() as u32 };
    picture.pixels = resize(resizer, &picture.pixels, to, (width, height))?;
    Ok(())
}

/// Brings the middle of a picture to a size.
fn resize(
    resizer: &mut Resizer,
    pixels: &DynamicImage,
    to: Size,
    (of_width, of_height): (f64, f64),
) -> Result<DynamicImage, ThumbnailError> {
    let (width, height) = (pixels.width(), pixels.height());
    let (pixel_type, buffer) = match pixels {
        DynamicImage::ImageLuma8(pixels) => (PixelType::U8, pixels.as_raw()),
        DynamicImage::ImageRgb8(pixels) => (PixelType::U8x3, pixels.as_raw()),
        DynamicImage::ImageRgba8(pixels) => (PixelType::U8x4, pixels.as_raw()),
        _ => return Err(ThumbnailError::Unsupported),
    };
    let from = ImageRef::new(width, height, buffer, pixel_type).map_err(unreadable)?;
    let mut small = Image::new(to.width, to.height, pixel_type);
    let options =
        ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter(of_width / f64::from(to.width)))).crop(
            (f64::from(width) - of_width) / 2.0,
            (f64::from(height) - of_height) / 2.0,
            of_width,
            of_height,
        );
    resizer.resize(&from, &mut small, &options).map_err(unreadable)?;
    let buffer = small.into_vec();
    let small = match pixel_type {
        PixelType::U8 => GrayImage::from_raw(to.width, to.height, buffer).map(DynamicImage::ImageLuma8),
        PixelType::U8x3 => RgbImage::from_raw(to.width, to.height, buffer).map(DynamicImage::ImageRgb8),
        _ => RgbaImage::from_raw(to.width, to.height, buffer).map(DynamicImage::ImageRgba8),
    };
    small.ok_or_else(|| ThumbnailError::Unreadable("its pixels do not fill it".to_owned()))
}

/// Where very many pixels become one, the finer filter is not to be told from the coarser one, and takes twice as long.
fn filter(times: f64) -> FilterType {
    if times > 6.0 { FilterType::Hamming } else { FilterType::Lanczos3 }
}

fn unreadable(error: impl std::error::Error) -> ThumbnailError {
    ThumbnailError::Unreadable(error.to_string())
}
