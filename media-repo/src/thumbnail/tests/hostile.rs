//! Files that are made to do harm, or merely broken.

use std::{sync::LazyLock, time::Instant};

use super::{
    super::{animation::animate, decode::Opened},
    *,
};

const SMALL: Spec = Spec { width: 32, height: 32, method: Method::Crop, animated: false };

fn frames() -> Vec<DynamicImage> {
    [RED, GREEN, BLUE].map(|colour| plain(120, 90, colour)).into()
}

static CORPUS: LazyLock<Vec<(&'static str, Vec<u8>)>> = LazyLock::new(|| {
    vec![
        ("JPEG", jpeg(&photo(200, 150))),
        ("JPEG with metadata", with_exif(&jpeg(&photo(200, 150)), 6)),
        ("PNG", png(&seen_through(200, 150))),
        ("WebP", webp(&photo(200, 150))),
        ("GIF", gif(&frames())),
        ("APNG", apng(&frames())),
        ("animated WebP", animated_webp(&frames())),
    ]
});

/// A chunk of PNG.
fn chunk(name: [u8; 4], data: &[u8]) -> Vec<u8> {
    let mut chunk = (data.len() as u32).to_be_bytes().to_vec();
    chunk.extend_from_slice(&name);
    chunk.extend_from_slice(data);
    let mut crc = u32::MAX;
    for byte in &chunk[4..] {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xEDB8_8320 & 0_u32.wrapping_sub(crc & 1));
        }
    }
    chunk.extend_from_slice(&(!crc).to_be_bytes());
    chunk
}

fn png_of_size(width: u32, height: u32) -> Vec<u8> {
    let mut header = width.to_be_bytes().to_vec();
    header.extend_from_slice(&height.to_be_bytes());
    header.extend_from_slice(&[8, 6, 0, 0, 0]);
    let mut file = b"\x89PNG\r\n\x1A\n".to_vec();
    file.extend(chunk(*b"IHDR", &header));
    file.extend(chunk(*b"IDAT", &[0x78, 0x9C, 0x03, 0x00, 0x00, 0x00, 0x00, 0x01]));
    file.extend(chunk(*b"IEND", b""));
    file
}

#[tokio::test]
async fn bombs_cost_an_error() {
    let mut gif_bomb = gif(&[plain(10, 10, RED)]);
    gif_bomb[6..10].copy_from_slice(&[0xFF; 4]);
    let mut jpeg_bomb = jpeg(&photo(16, 16));
    let frame = jpeg_bomb.windows(2).position(|part| part == [0xFF, 0xC0]).unwrap();
    jpeg_bomb[frame + 5..frame + 9].copy_from_slice(&[0xFF; 4]);
    // Half a gigabyte of black that fits into half a megabyte.
    let black = png(&DynamicImage::ImageLuma8(image::GrayImage::new(9000, 9000)));
    for (name, file) in [
        ("PNG", png_of_size(60_000, 60_000)),
        ("PNG, greatest size", png_of_size(0x7FFF_FFFF, 0x7FFF_FFFF)),
        ("GIF", gif_bomb),
        ("JPEG", jpeg_bomb),
        ("black", black),
    ] {
        let started = Instant::now();
        let made = make(file, SMALL).await;
        assert_eq!(made.unwrap_err(), ThumbnailError::TooLarge, "{name}");
        assert!(started.elapsed() < Duration::from_secs(5), "{name}");
    }
    assert!(make(png_of_size(0, 0), SMALL).await.is_err());
}

#[tokio::test]
async fn limits_are_kept() {
    let file = Bytes::from(jpeg(&photo(400, 300)));
    let with = async |options: ThumbnailOptions| {
        Thumbnailer::new(options).make(Source::Bytes(file.clone()), SMALL).await
    };
    let defaults = ThumbnailOptions::default;
    let too_large = Err(ThumbnailError::TooLarge);
    let result = |made: Result<Made, ThumbnailError>| made.map(|_| ());
    assert_eq!(result(with(ThumbnailOptions { max_pixels: 400 * 300, ..defaults() }).await), Ok(()));
    assert_eq!(result(with(ThumbnailOptions { max_pixels: 400 * 300 - 1, ..defaults() }).await), too_large);
    assert_eq!(result(with(ThumbnailOptions { max_source_bytes: 100, ..defaults() }).await), too_large);
    assert_eq!(result(with(ThumbnailOptions { memory_bytes: 1000, ..defaults() }).await), too_large);
    assert_eq!(result(with(ThumbnailOptions { timeout: Duration::ZERO, ..defaults() }).await), too_large);
    assert_eq!(
        result(with(ThumbnailOptions { max_waiting: 0, ..defaults() }).await),
        Err(ThumbnailError::Busy)
    );
}

#[tokio::test]
async fn long_animations_stand_still() {
    let file = Bytes::from(gif(&frames()));
    let moving = Spec { animated: true, ..SMALL };
    for options in [
        ThumbnailOptions { max_frames: 2, ..ThumbnailOptions::default() },
        ThumbnailOptions { max_animation_pixels: 2 * 120 * 90, ..ThumbnailOptions::default() },
    ] {
        let made = Thumbnailer::new(options).make(Source::Bytes(file.clone()), moving).await.unwrap();
        assert!(matches!(made, Made::Thumbnail(Thumbnail { is_animated: false, .. })), "{made:?}");
    }
}

#[tokio::test]
async fn what_is_no_picture_has_no_thumbnail() {
    for file in [
        b"<svg xmlns='http://www.w3.org/2000/svg' width='500' height='500'><script>1</script></svg>"
            .as_slice(),
        b"<?xml version='1.0'?><!DOCTYPE svg [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><svg>&x;</svg>",
        b"<html><script>alert(1)</script></html>",
        b"%PDF-1.7",
        b"only text",
        b"",
        b"\0\0\0\x1Cftypavif\0\0\0\0mif1avif",
        b"\x1A\x45\xDF\xA3",
    ] {
        let made = make(Bytes::from_static(file), SMALL).await;
        assert_eq!(made.unwrap_err(), ThumbnailError::Unsupported, "{}", String::from_utf8_lossy(file));
    }
    // Magic bytes alone do not make a picture.
    for file in [b"\xFF\xD8\xFF".as_slice(), b"\x89PNG\r\n\x1A\n", b"GIF89a", b"RIFF\0\0\0\0WEBP"] {
        assert!(make(Bytes::from_static(file), SMALL).await.is_err(), "{}", String::from_utf8_lossy(file));
    }
}

#[tokio::test]
async fn what_is_behind_a_picture_does_not_matter() {
    for (name, file) in CORPUS.iter() {
        let mut file = file.clone();
        file.extend_from_slice(b"<html><script>alert(1)</script></html>PK\x03\x04");
        let made = make(file, SMALL).await.unwrap();
        let Made::Thumbnail(made) = made else { panic!("{name}") };
        assert!(!made.bytes.windows(6).any(|part| part == b"script"), "{name}");
    }
}

#[tokio::test]
async fn files_that_break_off_are_no_trouble() {
    let thumbnailer = Thumbnailer::new(ThumbnailOptions::default());
    for (_, file) in CORPUS.iter() {
        let file = Bytes::from(file.clone());
        for part in 1..20 {
            let cut = file.slice(..file.len() * part / 20);
            for animated in [false, true] {
                // An error, or what could be read: both are answers.
                let _ = thumbnailer.make(Source::Bytes(cut.clone()), Spec { animated, ..SMALL }).await;
            }
        }
    }
    assert_eq!(thumbnailer.load(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn decoders_survive_what_is_changed(
        which in 0_usize..7,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
    ) {
        let mut file = CORPUS[which].1.clone();
        for (at, byte) in changes {
            let at = at.index(file.len());
            file[at] = byte;
        }
        let options = ThumbnailOptions { max_pixels: 1_000_000, ..ThumbnailOptions::default() };
        let source = Source::Bytes(file.into());
        let until = Instant::now() + Duration::from_secs(10);
        if let Ok(opened) = Opened::new(&source, &options, until) {
            let _ = opened.decode();
        }
        let to = Plan::Shrink { to: Size { width: 8, height: 8 }, of_width: 20.0, of_height: 20.0 };
        let _ = animate(&source, &options, to, until);
    }
}
