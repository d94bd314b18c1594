//! What a file is, by its first bytes.
//!
//! This decides what is decoded and how, never what a file is served as.

/// What the first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// JPEG.
    Jpeg,
    /// PNG, animated or not: that stands further behind.
    Png,
    /// GIF.
    Gif,
    /// WebP.
    Webp,
    /// AVIF, animated or not.
    Avif,
    /// HEIC and other HEIF.
    Heif,
    /// SVG.
    Svg,
    /// MP4 and its kin.
    Mp4,
    /// QuickTime.
    QuickTime,
    /// WebM and other Matroska.
    Matroska,
    /// Ogg.
    Ogg,
    /// MP3.
    Mp3,
    /// WAV.
    Wav,
    /// FLAC.
    Flac,
    /// PDF.
    Pdf,
    /// HTML.
    Html,
}

impl Kind {
    /// The type that such files are served as when we say it.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::Gif => "image/gif",
            Self::Webp => "image/webp",
            Self::Avif => "image/avif",
            Self::Heif => "image/heif",
            Self::Svg => "image/svg+xml",
            Self::Mp4 => "video/mp4",
            Self::QuickTime => "video/quicktime",
            Self::Matroska => "video/webm",
            Self::Ogg => "application/ogg",
            Self::Mp3 => "audio/mpeg",
            Self::Wav => "audio/wav",
            Self::Flac => "audio/flac",
            Self::Pdf => "application/pdf",
            Self::Html => "text/html",
        }
    }

    /// Whether it is a picture made of pixels that every client can show.
    pub const fn is_picture(self) -> bool {
        matches!(self, Self::Jpeg | Self::Png | Self::Gif | Self::Webp | Self::Avif)
    }
}

/// How many bytes are looked at.
const LOOKED_AT: usize = 1024;

/// What a file is whose first bytes are these.
pub fn sniff(head: &[u8]) -> Option<Kind> {
    let head = &head[..head.len().min(LOOKED_AT)];
    let at = |offset: usize, magic: &[u8]| head.get(offset..).is_some_and(|rest| rest.starts_with(magic));
    Some(match head {
        _ if at(0, b"\xFF\xD8\xFF") => Kind::Jpeg,
        _ if at(0, b"\x89PNG\r\n\x1A\n") => Kind::Png,
        _ if at(0, b"GIF87a") || at(0, b"GIF89a") => Kind::Gif,
        _ if at(0, b"RIFF") && at(8, b"WEBP") => Kind::Webp,
        _ if at(0, b"RIFF") && at(8, b"WAVE") => Kind::Wav,
        _ if at(4, b"ftyp") => sniff_iso(head),
        _ if at(0, b"\x1A\x45\xDF\xA3") => Kind::Matroska,
        _ if at(0, b"OggS\0") => Kind::Ogg,
        _ if at(0, b"ID3") || at(0, b"\xFF\xFB") || at(0, b"\xFF\xF3") => Kind::Mp3,
        _ if at(0, b"fLaC") => Kind::Flac,
        _ if at(0, b"%PDF-") => Kind::Pdf,
        _ => return sniff_markup(head),
    })
}

/// Files in boxes say by brands what they are: the main one first, then all that they are compatible with.
fn sniff_iso(head: &[u8]) -> Kind {
    let size = head.first_chunk().map_or(0, |size| u32::from_be_bytes(*size) as usize);
    let brands = head.get(8..size.clamp(8, head.len())).unwrap_or_default();
    let (main, compatible) = brands.split_at(brands.len().min(4));
    let names = |wanted: &[&[u8]]| {
        wanted.contains(&main)
            || compatible.as_chunks::<4>().0.iter().any(|brand| wanted.contains(&brand.as_slice()))
    };
    if names(&[b"avif", b"avis"]) {
        Kind::Avif
    } else if names(&[b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"]) {
        Kind::Heif
    } else if main == b"qt  " {
        Kind::QuickTime
    } else {
        Kind::Mp4
    }
}

fn sniff_markup(head: &[u8]) -> Option<Kind> {
    let head = head.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(head).trim_ascii_start();
    let begins = |tag: &[u8]| head.get(..tag.len()).is_some_and(|start| start.eq_ignore_ascii_case(tag));
    let holds = |tag: &[u8]| head.windows(tag.len()).any(|part| part.eq_ignore_ascii_case(tag));
    let is_markup = begins(b"<");
    // Whatever has the root of a drawing near its beginning is one, whatever declarations and comments stand before.
    if is_markup && holds(b"<svg") && !holds(b"<html") {
        Some(Kind::Svg)
    } else if [b"<!doctype html".as_slice(), b"<html", b"<head", b"<body", b"<script"].into_iter().any(begins)
    {
        Some(Kind::Html)
    } else {
        None
    }
}
