//! What links lead to, without going there.

mod guard;
mod keeping;
mod pages;

use image::{DynamicImage, ImageFormat, RgbImage};
use std::io::Cursor;
use sytest_like::{Request, Server, ServerOptions, User};

/// A server whose previews may be of websites here.
fn previewing() -> ServerOptions {
    ServerOptions::default().kith("url_previews.allowed_private_ranges", "[\"127.0.0.1/32\"]")
}

async fn with_user(options: ServerOptions) -> (Server, User) {
    let server = options.start().await;
    let alice = server.register("alice").await;
    (server, alice)
}

fn preview(user: &User, url: &str) -> Request {
    user.get("/v1/media/preview_url").query("url", url)
}

/// A PNG of this size.
fn picture(width: u32, height: u32) -> Vec<u8> {
    let pixels = RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, 99]));
    let mut file = Cursor::new(Vec::new());
    DynamicImage::ImageRgb8(pixels).write_to(&mut file, ImageFormat::Png).expect("a picture can be written");
    file.into_inner()
}
