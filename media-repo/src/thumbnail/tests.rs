//! Pictures of all kinds, made here, and what becomes of them.

mod corpus;
mod hostile;

use image::{AnimationDecoder, DynamicImage, ImageReader, Rgba, codecs::webp::WebPDecoder};
use proptest::prelude::*;
use std::io::Cursor;

use super::{
    size::{Plan, Size, plan},
    *,
};
use corpus::*;

fn spec(width: u32, height: u32, method: Method) -> Spec {
    Spec { width, height, method, animated: false }
}

async fn make(bytes: impl Into<Bytes>, spec: Spec) -> Result<Made, ThumbnailError> {
    Thumbnailer::new(ThumbnailOptions::default()).make(Source::Bytes(bytes.into()), spec).await
}

async fn thumbnail(bytes: impl Into<Bytes>, spec: Spec) -> Thumbnail {
    match make(bytes, spec).await.unwrap() {
        Made::Thumbnail(thumbnail) => thumbnail,
        Made::Original(info) => panic!("kept as it is: {info:?}"),
    }
}

fn pixels(thumbnail: &Thumbnail) -> DynamicImage {
    let reader = ImageReader::new(Cursor::new(&thumbnail.bytes)).with_guessed_format().unwrap();
    let pixels = reader.decode().unwrap();
    assert_eq!((pixels.width(), pixels.height()), (thumbnail.width, thumbnail.height));
    pixels
}

fn is_near(found: Rgba<u8>, expected: [u8; 3]) -> bool {
    found.0.iter().zip(expected).all(|(found, expected)| found.abs_diff(expected) < 40)
}

#[tokio::test]
async fn sizes_are_as_the_specification_says() {
    for (spec, expected) in [
        (spec(32, 32, Method::Crop), (32, 32)),
        (spec(96, 96, Method::Crop), (96, 96)),
        (spec(320, 240, Method::Scale), (360, 240)),
        (spec(640, 480, Method::Scale), (720, 480)),
        (spec(50, 100, Method::Crop), (50, 100)),
        (spec(10, 10, Method::Scale), (15, 10)),
    ] {
        let made = thumbnail(jpeg(&photo(1500, 1000)), spec).await;
        assert_eq!((made.width, made.height), expected, "{spec:?}");
        assert_eq!((made.content_type, made.is_animated), ("image/jpeg", false));
        pixels(&made);
    }
}

#[tokio::test]
async fn small_pictures_stay_as_they_are() {
    for file in [jpeg(&photo(30, 20)), png(&photo(30, 20)), webp(&photo(30, 20)), gif(&[quarters(30, 20)])] {
        for spec in [spec(32, 32, Method::Crop), spec(320, 240, Method::Scale), spec(30, 20, Method::Crop)] {
            let made = make(file.clone(), spec).await.unwrap();
            let Made::Original(info) = made else { panic!("{spec:?} made {made:?}") };
            assert_eq!((info.width, info.height, info.is_animated), (30, 20, false));
        }
    }
}

#[tokio::test]
async fn pictures_are_upright_whatever_way_the_camera_was_held() {
    // Where the corner that is stored first belongs, and whether the picture lies on its side.
    for (orientation, corner, is_turned) in [
        (1, (0, 0), false),
        (2, (1, 0), false),
        (3, (1, 1), false),
        (4, (0, 1), false),
        (5, (0, 0), true),
        (6, (1, 0), true),
        (7, (1, 1), true),
        (8, (0, 1), true),
    ] {
        let file = with_exif(&jpeg(&quarters(600, 400)), orientation);
        let made = thumbnail(file, spec(60, 60, Method::Scale)).await;
        assert_eq!((made.width, made.height), if is_turned { (60, 90) } else { (90, 60) }, "{orientation}");
        let pixels = pixels(&made).to_rgba8();
        let (x, y) = (corner.0 * (made.width - 20) + 10, corner.1 * (made.height - 20) + 10);
        assert!(is_near(*pixels.get_pixel(x, y), RED), "{orientation}: {:?}", pixels.get_pixel(x, y));
    }
}

#[tokio::test]
async fn thumbnails_hold_nothing_but_pixels() {
    let file = with_exif(&jpeg(&photo(600, 400)), 1);
    let holds = |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).any(|part| part == what);
    assert!(holds(&file, SECRET));
    for spec in COMMON {
        let Made::Thumbnail(made) = make(file.clone(), spec).await.unwrap() else { continue };
        assert!(!holds(&made.bytes, SECRET) && !holds(&made.bytes, b"Exif"), "{spec:?}");
    }
}

#[tokio::test]
async fn formats_become_what_suits_them() {
    let small = spec(64, 64, Method::Crop);
    for (name, file, content_type) in [
        ("photo as JPEG", jpeg(&photo(400, 300)), "image/jpeg"),
        ("grey JPEG", jpeg(&DynamicImage::ImageLuma8(photo(400, 300).to_luma8())), "image/jpeg"),
        ("photo as PNG", png(&photo(400, 300)), "image/jpeg"),
        ("photo as WebP", webp(&photo(400, 300)), "image/jpeg"),
        ("drawing as PNG", png(&quarters(400, 300)), "image/png"),
        ("drawing as GIF", gif(&[quarters(400, 300)]), "image/png"),
        ("16 bits", png(&DynamicImage::ImageRgb16(photo(400, 300).to_rgb16())), "image/jpeg"),
        ("16 bits grey", png(&DynamicImage::ImageLuma16(photo(400, 300).to_luma16())), "image/png"),
        (
            "grey, seen through",
            png(&DynamicImage::ImageLumaA8(seen_through(400, 300).to_luma_alpha8())),
            "image/png",
        ),
        ("PNG, seen through", png(&seen_through(400, 300)), "image/png"),
        ("WebP, seen through", webp(&seen_through(400, 300)), "image/png"),
    ] {
        let made = thumbnail(file, small).await;
        assert_eq!(made.content_type, content_type, "{name}");
        assert_eq!((made.width, made.height), (64, 64), "{name}");
        assert_eq!(pixels(&made).color().has_alpha(), name.contains("through"), "{name}");
    }
}

#[tokio::test]
async fn colours_are_those_of_the_web() {
    let profile = moxcms::ColorProfile::new_display_p3().encode().unwrap();
    let picture = DynamicImage::ImageRgb8(image::RgbImage::from_pixel(300, 300, image::Rgb([200, 100, 100])));
    let plain = thumbnail(jpeg(&picture), spec(32, 32, Method::Crop)).await;
    let profiled = thumbnail(jpeg_with_profile(&picture, profile), spec(32, 32, Method::Crop)).await;
    let red = |made: &Thumbnail| pixels(made).to_rgba8().get_pixel(16, 16).0[0];
    assert!(red(&plain).abs_diff(200) < 4, "{}", red(&plain));
    // The same numbers are a stronger red there.
    assert!(red(&profiled) > 208, "{}", red(&profiled));
    let nonsense = thumbnail(jpeg_with_profile(&picture, vec![7; 3000]), spec(32, 32, Method::Crop)).await;
    assert!(red(&nonsense).abs_diff(200) < 4);
}

#[tokio::test]
async fn what_moves_goes_on_moving_if_that_is_wanted() {
    let frames: Vec<_> = [RED, GREEN, BLUE].map(|colour| plain(200, 100, colour)).into();
    for (name, file) in [("GIF", gif(&frames)), ("APNG", apng(&frames)), ("WebP", animated_webp(&frames))] {
        let moving = thumbnail(file.clone(), Spec { animated: true, ..spec(32, 32, Method::Crop) }).await;
        assert_eq!((moving.content_type, moving.is_animated), ("image/webp", true), "{name}");
        let decoder = WebPDecoder::new(Cursor::new(&moving.bytes)).unwrap();
        let shown = decoder.into_frames().collect_frames().unwrap();
        assert_eq!(shown.len(), 3, "{name}");
        for (shown, colour) in shown.iter().zip([RED, GREEN, BLUE]) {
            assert!(is_near(*shown.buffer().get_pixel(16, 16), colour), "{name}");
            assert_eq!(shown.delay().numer_denom_ms(), (200, 1), "{name}");
        }

        // Neither made small nor served as it is.
        for size in [spec(32, 32, Method::Crop), spec(1000, 1000, Method::Scale)] {
            let still = thumbnail(file.clone(), size).await;
            assert!(!still.is_animated && still.content_type == "image/png", "{name}");
            assert!(is_near(*pixels(&still).to_rgba8().get_pixel(16, 16), RED), "{name}");
        }
        let kept = make(file, Spec { animated: true, ..spec(1000, 1000, Method::Scale) }).await.unwrap();
        assert!(matches!(kept, Made::Original(Info { is_animated: true, .. })), "{name}: {kept:?}");
    }
}

#[tokio::test]
async fn only_what_changes_is_written_again() {
    // A dot that wanders, and frames that say nothing new.
    let mut frames = Vec::new();
    for step in 0..6 {
        let mut frame = plain(400, 400, BLUE).to_rgba8();
        for (x, y) in (0..40).flat_map(|x| (0..40).map(move |y| (x, y))) {
            frame.put_pixel(x + step * 60, y + 100, Rgba([255, 0, 0, 255]));
        }
        frames.push(DynamicImage::ImageRgba8(frame));
        frames.push(frames[frames.len() - 1].clone());
    }
    let made = thumbnail(gif(&frames), Spec { animated: true, ..spec(200, 200, Method::Crop) }).await;
    let decoder = WebPDecoder::new(Cursor::new(&made.bytes)).unwrap();
    let shown = decoder.into_frames().collect_frames().unwrap();
    assert_eq!(shown.len(), 6);
    for (step, shown) in shown.iter().enumerate() {
        assert_eq!(shown.delay().numer_denom_ms(), (400, 1));
        assert!(is_near(*shown.buffer().get_pixel(10 + step as u32 * 30, 60), RED), "{step}");
        assert!(is_near(*shown.buffer().get_pixel(100, 150), BLUE), "{step}");
        if step > 0 {
            assert!(is_near(*shown.buffer().get_pixel(10 + (step as u32 - 1) * 30, 60), BLUE), "{step}");
        }
    }
}

#[tokio::test]
async fn one_decoding_serves_all_sizes() {
    let thumbnailer = Thumbnailer::new(ThumbnailOptions::default());
    let made =
        thumbnailer.make_many(Source::Bytes(jpeg(&photo(2000, 1500)).into()), COMMON.to_vec()).await.unwrap();
    let sizes: Vec<_> = made
        .iter()
        .map(|(_, made)| match made {
            Made::Thumbnail(made) => (made.width, made.height),
            Made::Original(_) => panic!("kept"),
        })
        .collect();
    assert_eq!(sizes, [(32, 32), (96, 96), (320, 240), (640, 480), (800, 600)]);
    assert_eq!(thumbnailer.load(), 0);
}

#[tokio::test]
async fn blurred_picture_has_the_colours_of_the_picture() {
    let red = DynamicImage::ImageRgb8(image::RgbImage::from_pixel(300, 200, image::Rgb([250, 0, 0])));
    let thumbnailer = Thumbnailer::new(ThumbnailOptions::default());

    let letters = thumbnailer.blurhash(Source::Bytes(png(&red).into())).await.unwrap();

    let pixels = blurhash::decode(&letters, 8, 8, 1.0).unwrap();
    let mean = |channel: usize| {
        pixels.iter().skip(channel).step_by(4).map(|byte| u32::from(*byte)).sum::<u32>() / 64
    };
    assert!(mean(0) > 200 && mean(1) < 60 && mean(2) < 60, "{letters}");
    let broken = thumbnailer.blurhash(Source::Bytes(png(&red)[..80].to_vec().into())).await;
    assert!(matches!(broken, Err(ThumbnailError::Unreadable(_))), "{broken:?}");
}

#[tokio::test]
async fn files_on_disk_are_read_as_well() {
    let folder = Folder::new();
    let path = folder.write("picture", &jpeg(&photo(300, 300)));
    let thumbnailer = Thumbnailer::new(ThumbnailOptions::default());
    let made = thumbnailer.make(Source::File(path.clone()), spec(32, 32, Method::Crop)).await.unwrap();
    assert!(matches!(made, Made::Thumbnail(_)));
    let info = thumbnailer.inspect(Source::File(path)).await.unwrap();
    assert_eq!((info.content_type, info.width, info.height), ("image/jpeg", 300, 300));
    let missing = thumbnailer.inspect(Source::File(folder.path("nothing"))).await;
    assert!(matches!(missing, Err(ThumbnailError::Io(_))), "{missing:?}");
}

#[tokio::test]
async fn films_show_what_the_program_took_out_of_them() {
    let folder = Folder::new();
    let film = folder.write("film", b"\0\0\0\x18ftypisom\0\0\0\0isomiso2");
    let poster = folder.write("poster.png", &png(&photo(640, 360)));
    let takes = |script: &str| {
        let program = folder.program("takes", script);
        Thumbnailer::new(ThumbnailOptions {
            ffmpeg: Some(program),
            timeout: Duration::from_secs(20),
            ..ThumbnailOptions::default()
        })
    };
    let small = spec(96, 96, Method::Crop);

    let good = takes(&format!("#!/bin/sh\nexec /bin/cat {}\n", poster.display()));
    let made = good.make(Source::File(film.clone()), small).await.unwrap();
    let Made::Thumbnail(made) = made else { panic!("{made:?}") };
    assert_eq!((made.width, made.height, made.content_type), (96, 96, "image/jpeg"));
    // A film is never its own thumbnail, however small it is.
    let big = good.make(Source::File(film.clone()), spec(2000, 2000, Method::Scale)).await.unwrap();
    assert!(matches!(big, Made::Thumbnail(Thumbnail { width: 640, height: 360, .. })), "{big:?}");

    let failing = takes("#!/bin/sh\nexit 1\n").make(Source::File(film.clone()), small).await;
    assert!(matches!(failing, Err(ThumbnailError::Unreadable(_))), "{failing:?}");
    let endless = takes("#!/bin/sh\nexec /bin/cat /dev/zero\n").make(Source::File(film.clone()), small).await;
    assert!(endless.is_err(), "{endless:?}");
    let without = Thumbnailer::new(ThumbnailOptions::default()).make(Source::File(film), small).await;
    assert_eq!(without.unwrap_err(), ThumbnailError::Unsupported);
}

#[test]
fn sizes_that_are_kept_are_few() {
    let rounded = |width, height, method| {
        let spec = spec(width, height, method).rounded_up();
        (spec.width, spec.height)
    };
    assert_eq!(rounded(1, 1, Method::Scale), (16, 16));
    assert_eq!(rounded(100, 50, Method::Scale), (128, 64));
    assert_eq!(rounded(100, 100, Method::Crop), (128, 128));
    assert_eq!(rounded(100, 50, Method::Crop), (128, 64));
    assert_eq!(rounded(50, 100, Method::Crop), (64, 128));
    assert_eq!(rounded(5000, 1, Method::Scale), (5000, 16));
    for common in COMMON {
        assert_eq!(common.rounded_up(), common);
    }
}

proptest! {
    #[test]
    fn thumbnails_are_no_smaller_than_asked_and_no_bigger_than_the_picture(
        wanted in (1_u32..3000, 1_u32..3000),
        size in (1_u32..9000, 1_u32..9000),
        is_crop in any::<bool>(),
    ) {
        let method = if is_crop { Method::Crop } else { Method::Scale };
        let size = Size { width: size.0, height: size.1 };
        match plan(spec(wanted.0, wanted.1, method), size) {
            Plan::Keep => {}
            Plan::Shrink { to, of_width, of_height } => {
                prop_assert!(to.width >= wanted.0.min(size.width) && to.height >= wanted.1.min(size.height));
                prop_assert!(to.width <= size.width && to.height <= size.height);
                prop_assert!(to.width >= 1 && to.height >= 1);
                prop_assert!(of_width <= f64::from(size.width) && of_height <= f64::from(size.height));
                if is_crop {
                    prop_assert!(to.width <= wanted.0 && to.height <= wanted.1);
                    // Nothing is drawn out of shape by more than the rounding of a pixel.
                    let (x, y) = (of_width / f64::from(to.width), of_height / f64::from(to.height));
                    prop_assert!((x - y).abs() < 0.01 + x / f64::from(to.width) + y / f64::from(to.height), "{x} {y}");
                }
            }
        }
    }

    #[test]
    fn rounding_only_makes_bigger(wanted in (1_u32..5000, 1_u32..5000), is_crop in any::<bool>()) {
        let wanted = spec(wanted.0, wanted.1, if is_crop { Method::Crop } else { Method::Scale });
        let rounded = wanted.rounded_up();
        prop_assert!(rounded.width >= wanted.width && rounded.height >= wanted.height);
    }
}
