//! Reading pictures within limits.

use std::{io, time::Instant};

use image::{
    AnimationDecoder, DynamicImage, Frames, ImageDecoder, ImageError, ImageResult, Limits,
    codecs::{gif::GifDecoder, jpeg::JpegDecoder, png::PngDecoder, webp::WebPDecoder},
    metadata::Orientation,
};

use super::{Info, Source, ThumbnailError, ThumbnailOptions, input::Input, size::Size};
use crate::content::{Kind, sniff};

/// A picture of which the first bytes have been read.
pub(super) struct Opened {
    decoder: Decoder,
    pub(super) kind: Kind,
    /// As its pixels are stored, before it is put upright.
    pub(super) stored: Size,
    pub(super) orientation: Orientation,
    pub(super) is_animated: bool,
    icc_profile: Option<Vec<u8>>,
}

enum Decoder {
    Jpeg(Box<JpegDecoder<Input>>),
    Png(Box<PngDecoder<Input>>),
    Gif(Box<GifDecoder<Input>>),
    Webp(Box<WebPDecoder<Input>>),
}

/// A picture in memory, as its pixels are stored.
pub(super) struct Picture {
    /// All of them, or fewer where less will do.
    pub(super) pixels: DynamicImage,
    /// How many there were.
    pub(super) stored: Size,
    pub(super) icc_profile: Option<Vec<u8>>,
}

impl Opened {
    /// Reads what a picture is, and refuses what would cost too much.
    pub(super) fn new(
        source: &Source,
        options: &ThumbnailOptions,
        until: Instant,
    ) -> Result<Self, ThumbnailError> {
        if source.len()? > options.max_source_bytes {
            return Err(ThumbnailError::TooLarge);
        }
        let kind = sniff(&source.head()?).ok_or(ThumbnailError::Unsupported)?;
        let input = source.open(until)?;
        let mut opened = Self::read_header(kind, input, limits(options)).map_err(from_library)?;
        let Size { width, height } = opened.stored;
        if width == 0 || height == 0 {
            return Err(ThumbnailError::Unreadable("it has no pixels".to_owned()));
        }
        if opened.stored.pixels() > options.max_pixels || opened.memory_bytes() > options.memory_bytes {
            return Err(ThumbnailError::TooLarge);
        }
        if matches!(opened.decoder, Decoder::Gif(_)) {
            opened.is_animated = has_second_frame(source, until)?;
        }
        Ok(opened)
    }

    fn read_header(kind: Kind, input: Input, limits: Limits) -> ImageResult<Self> {
        let decoder = match kind {
            Kind::Jpeg => Decoder::Jpeg(Box::new(JpegDecoder::new(input)?)),
            Kind::Png => Decoder::Png(Box::new(PngDecoder::with_limits(input, limits.clone())?)),
            Kind::Gif => Decoder::Gif(Box::new(GifDecoder::new(input)?)),
            Kind::Webp => Decoder::Webp(Box::new(WebPDecoder::new(input)?)),
            _ => {
                let format = image::error::ImageFormatHint::Unknown;
                return Err(ImageError::Unsupported(format.into()));
            }
        };
        let mut opened = Self {
            decoder,
            kind,
            stored: Size { width: 0, height: 0 },
            orientation: Orientation::NoTransforms,
            is_animated: false,
            icc_profile: None,
        };
        opened.is_animated = match &opened.decoder {
            Decoder::Png(png) => png.is_apng()?,
            Decoder::Webp(webp) => webp.has_animation(),
            Decoder::Jpeg(_) | Decoder::Gif(_) => false,
        };
        let decoder = opened.any();
        let (width, height) = decoder.dimensions();
        decoder.set_limits(limits)?;
        // Metadata that cannot be read is as good as none.
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        let icc_profile = decoder.icc_profile().unwrap_or_default();
        opened.stored = Size { width, height };
        opened.orientation = orientation;
        opened.icc_profile = icc_profile;
        Ok(opened)
    }

    fn any(&mut self) -> &mut dyn ImageDecoder {
        match &mut self.decoder {
            Decoder::Jpeg(decoder) => decoder,
            Decoder::Png(decoder) => decoder,
            Decoder::Gif(decoder) => decoder,
            Decoder::Webp(decoder) => decoder,
        }
    }

    /// What decoding it takes at most, as far as can be told before: the pixels, and what the decoder keeps beside.
    pub(super) fn memory_bytes(&self) -> u64 {
        let pixels = self.stored.pixels();
        match &self.decoder {
            // Progressive ones keep all coefficients, two bytes for each of three channels.
            Decoder::Jpeg(_) => pixels * 9,
            Decoder::Png(png) if self.is_animated => png.total_bytes() + pixels * 16,
            // Two bytes for a channel become one in a second buffer.
            Decoder::Png(png) => {
                png.total_bytes() + if png.color_type().bytes_per_pixel() > 4 { pixels * 4 } else { 0 }
            }
            Decoder::Gif(_) | Decoder::Webp(_) => pixels * 12,
        }
    }

    pub(super) fn info(&self) -> Info {
        let Size { width, height } = self.upright();
        let content_type = match self.kind {
            Kind::Png if self.is_animated => "image/apng",
            kind => kind.content_type(),
        };
        Info { content_type, width, height, is_animated: self.is_animated }
    }

    /// Its size when it is upright.
    pub(super) fn upright(&self) -> Size {
        if lies_on_its_side(self.orientation) { self.stored.turned() } else { self.stored }
    }

    /// All of its pixels; the first frame of an animation.
    pub(super) fn decode(self) -> Result<Picture, ThumbnailError> {
        let (icc_profile, stored) = (self.icc_profile, self.stored);
        let pixels = match self.decoder {
            Decoder::Jpeg(decoder) => DynamicImage::from_decoder(decoder),
            Decoder::Png(decoder) => DynamicImage::from_decoder(decoder),
            Decoder::Gif(decoder) => DynamicImage::from_decoder(decoder),
            // `read_image` of an animation gives its first frame on its background.
            Decoder::Webp(decoder) => DynamicImage::from_decoder(decoder),
        };
        let pixels = pixels.map_err(from_library)?;
        Ok(Picture { pixels: in_bytes(pixels), stored, icc_profile })
    }

    /// Its frames, each whole, in the order in which they are shown.
    pub(super) fn into_frames(self) -> Result<Option<Frames<'static>>, ThumbnailError> {
        Ok(Some(match self.decoder {
            Decoder::Jpeg(_) => return Ok(None),
            Decoder::Png(decoder) => decoder.apng().map_err(from_library)?.into_frames(),
            Decoder::Gif(decoder) => decoder.into_frames(),
            Decoder::Webp(decoder) => decoder.into_frames(),
        }))
    }
}

fn limits(options: &ThumbnailOptions) -> Limits {
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(options.memory_bytes);
    limits
}

/// GIF does not say how many frames there are. Finding the second one means to pass over the first without decoding it.
fn has_second_frame(source: &Source, until: Instant) -> Result<bool, ThumbnailError> {
    let mut options = gif::DecodeOptions::new();
    options.skip_frame_decoding(true);
    let Ok(mut decoder) = options.read_info(source.open(until)?) else { return Ok(false) };
    let mut frames = 0;
    while frames < 2 {
        match decoder.next_frame_info() {
            Ok(Some(_)) => frames += 1,
            // What is broken behind the first frame is not shown.
            Ok(None) | Err(_) => break,
        }
    }
    Ok(frames == 2)
}

/// One byte for a channel is all that thumbnails have.
fn in_bytes(pixels: DynamicImage) -> DynamicImage {
    match pixels {
        DynamicImage::ImageLuma16(_) => DynamicImage::ImageLuma8(pixels.into_luma8()),
        DynamicImage::ImageLumaA8(_) | DynamicImage::ImageLumaA16(_) | DynamicImage::ImageRgba16(_) => {
            DynamicImage::ImageRgba8(pixels.into_rgba8())
        }
        DynamicImage::ImageLuma8(_) | DynamicImage::ImageRgb8(_) | DynamicImage::ImageRgba8(_) => pixels,
        _ => DynamicImage::ImageRgb8(pixels.into_rgb8()),
    }
}

pub(super) fn lies_on_its_side(orientation: Orientation) -> bool {
    matches!(
        orientation,
        Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH
    )
}

pub(super) fn from_library(error: ImageError) -> ThumbnailError {
    match error {
        ImageError::Limits(_) => ThumbnailError::TooLarge,
        ImageError::Unsupported(_) => ThumbnailError::Unsupported,
        ImageError::IoError(error) if error.kind() == io::ErrorKind::TimedOut => ThumbnailError::TooLarge,
        error => ThumbnailError::Unreadable(error.to_string()),
    }
}
