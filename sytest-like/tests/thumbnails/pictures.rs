//! Pictures for cases, and how they are uploaded and looked at.

use std::io::Cursor;
use std::time::Duration;

use image::codecs::gif::GifEncoder;
use image::{Delay, DynamicImage, Frame, ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};
use sytest_like::{Request, Response, User};

pub(super) const RED: [u8; 3] = [255, 0, 0];
pub(super) const GREEN: [u8; 3] = [0, 255, 0];
pub(super) const BLUE: [u8; 3] = [0, 0, 255];

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

/// A picture that can be seen through at its left.
pub(super) fn glass(width: u32, height: u32) -> DynamicImage {
    DynamicImage::ImageRgba8(RgbaImage::from_fn(width, height, |x, _| {
        Rgba([200, 10, 10, (x * 255 / width) as u8])
    }))
}

pub(super) fn written(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    picture.write_to(&mut file, format).expect("a picture can be written");
    file.into_inner()
}

/// An animation of plain colours, 200 ms each.
pub(super) fn animation(width: u32, height: u32, colours: &[[u8; 3]]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = GifEncoder::new_with_speed(&mut file, 30);
    for [red, green, blue] in colours {
        let pixels = RgbaImage::from_pixel(width, height, Rgba([*red, *green, *blue, 255]));
        let delay = Delay::from_saturating_duration(Duration::from_millis(200));
        encoder.encode_frame(Frame::from_parts(pixels, 0, 0, delay)).expect("a frame can be written");
    }
    drop(encoder);
    file
}

/// The same JPEG with an orientation, and a text that must not get out, in its metadata.
pub(super) fn with_exif(jpeg: &[u8], orientation: u16, secret: &[u8]) -> Vec<u8> {
    let mut exif = b"Exif\0\0MM\0\x2A\0\0\0\x08\0\x02".to_vec();
    exif.extend_from_slice(&[0x01, 0x12, 0, 3, 0, 0, 0, 1]);
    exif.extend_from_slice(&orientation.to_be_bytes());
    exif.extend_from_slice(&[0, 0, 0x01, 0x0E, 0, 2]);
    exif.extend_from_slice(&(secret.len() as u32).to_be_bytes());
    exif.extend_from_slice(&[0, 0, 0, 38, 0, 0, 0, 0]);
    exif.extend_from_slice(secret);
    let mut file = jpeg[..2].to_vec();
    file.extend_from_slice(&[0xFF, 0xE1]);
    file.extend_from_slice(&(exif.len() as u16 + 2).to_be_bytes());
    file.extend_from_slice(&exif);
    file.extend_from_slice(&jpeg[2..]);
    file
}

/// Media of a server, as its users see them.
#[derive(Clone, Debug)]
pub(super) struct Media {
    pub(super) server: String,
    pub(super) id: String,
}

impl Media {
    pub(super) fn of(uri: &str) -> Self {
        let (server, id) =
            uri.strip_prefix("mxc://").and_then(|rest| rest.split_once('/')).expect("an mxc URI");
        Self { server: server.to_owned(), id: id.to_owned() }
    }

    pub(super) fn path(&self, what: &str) -> String {
        format!("/v1/media/{what}/{}/{}", self.server, self.id)
    }

    /// A request for a thumbnail.
    pub(super) fn thumbnail(&self, user: &User, (width, height, method): (u32, u32, &str)) -> Request {
        user.get(&self.path("thumbnail"))
            .query("width", width.to_string())
            .query("height", height.to_string())
            .query("method", method)
    }
}

/// A request that uploads a file.
pub(super) fn upload(user: &User, content_type: &str, bytes: impl Into<Vec<u8>>) -> Request {
    let request = user.request(http::Method::POST, "/_matrix/media/v3/upload").body(bytes.into());
    request.header("content-type", content_type)
}

/// Uploads a file.
pub(super) async fn uploaded(user: &User, content_type: &str, bytes: impl Into<Vec<u8>>) -> Media {
    Media::of(upload(user, content_type, bytes).await.expect_ok().str("content_uri"))
}

/// The picture in an answer, which has to be one of the type that it says.
pub(super) fn picture(answer: &Response) -> DynamicImage {
    let format = match answer.header("content-type") {
        "image/png" => ImageFormat::Png,
        "image/jpeg" => ImageFormat::Jpeg,
        "image/gif" => ImageFormat::Gif,
        "image/webp" => ImageFormat::WebP,
        other => panic!("thumbnails are not of the type {other}"),
    };
    image::load_from_memory_with_format(&answer.body, format).expect("a thumbnail can be read")
}

pub(super) fn size(answer: &Response) -> (u32, u32) {
    let picture = picture(answer);
    (picture.width(), picture.height())
}

pub(super) fn is_near(found: Rgba<u8>, expected: [u8; 3]) -> bool {
    found.0.iter().zip(expected).all(|(found, expected)| found.abs_diff(expected) < 40)
}

/// A film of this size, if there is a program that makes one.
pub(super) fn film(width: u32, height: u32) -> Option<Vec<u8>> {
    let directory = std::env::temp_dir().join(sytest_like::unique("kith-film"));
    std::fs::create_dir_all(&directory).expect("a directory can be made");
    let file = directory.join("film.mp4");
    let made = std::process::Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-f", "lavfi", "-i"])
        .arg(format!("color=c=red:s={width}x{height}:d=1:r=10"))
        .args(["-pix_fmt", "yuv420p", "-c:v", "mpeg4"])
        .arg(&file)
        .status();
    let film = made.is_ok_and(|status| status.success()).then(|| std::fs::read(&file).expect("a film"));
    std::fs::remove_dir_all(&directory).expect("the directory can be deleted");
    film
}
