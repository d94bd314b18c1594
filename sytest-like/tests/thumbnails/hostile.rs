//! Requests and files that are broken, or made to do harm.

use image::ImageFormat;
use sytest_like::{Server, json};

use super::pictures::{
    BLUE, GREEN, Media, RED, animation, photo, picture, quarters, uploaded, with_exif, written,
};

/// Sizes and methods that make no sense are refused.
/// spec: client-server-api/#get_matrixclientv1mediathumbnailservernamemediaid
/// covers: GET /_matrix/client/v1/media/thumbnail/{serverName}/{mediaId}
#[tokio::test]
async fn nonsense_is_refused() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let media = uploaded(&alice, "image/png", written(&quarters(300, 300), ImageFormat::Png)).await;
    for query in [
        vec![("width", "32")],
        vec![("height", "32")],
        vec![("width", "0"), ("height", "32")],
        vec![("width", "-1"), ("height", "32")],
        vec![("width", "1.5"), ("height", "32")],
        vec![("width", "wide"), ("height", "32")],
        vec![("width", "99999999999999999999"), ("height", "32")],
        vec![("width", "32"), ("height", "32"), ("method", "stretch")],
        vec![("width", "32"), ("height", "32"), ("animated", "perhaps")],
    ] {
        let mut request = alice.get(&media.path("thumbnail"));
        for (name, value) in &query {
            request = request.query(name, value);
        }
        let answer = request.await;
        assert_eq!(answer.status, 400, "{query:?}: {answer:?}");
    }
}

/// Thumbnails need a token, and media that are there.
/// spec: client-server-api/#get_matrixclientv1mediathumbnailservernamemediaid
/// covers: GET /_matrix/client/v1/media/thumbnail/{serverName}/{mediaId}
/// covers: POST /_matrix/media/v1/create
#[tokio::test]
async fn tokens_and_media_are_needed() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let media = uploaded(&alice, "image/png", written(&quarters(300, 300), ImageFormat::Png)).await;
    media.thumbnail(&alice, (32, 32, "crop")).anonymous().await.expect_err(401, "M_MISSING_TOKEN");

    let nothing = Media { server: server.name().to_owned(), id: "nothingHere".to_owned() };
    nothing.thumbnail(&alice, (32, 32, "crop")).await.expect_err(404, "M_NOT_FOUND");
    let created = alice.post("/_matrix/media/v1/create", json!({})).await.expect_ok();
    let pending = Media::of(created.str("content_uri"));
    let request = pending.thumbnail(&alice, (32, 32, "crop")).query("timeout_ms", "0");
    request.await.expect_err(504, "M_NOT_YET_UPLOADED");
    for id in ["..", "a%2Fb", "a.b", "%00", "%C3%A4"] {
        let path = format!("/v1/media/thumbnail/{}/{id}", server.name());
        let answer = alice.get(&path).query("width", "32").query("height", "32").await;
        assert!((400..500).contains(&answer.status), "{id}: {answer:?}");
    }
}

/// What is no picture has no thumbnail; above all nothing that would have to be run to be seen.
/// spec: client-server-api/#content-repo-security-considerations
/// covers: GET /_matrix/client/v1/media/thumbnail/{serverName}/{mediaId}
#[tokio::test]
async fn what_is_no_picture_has_no_thumbnail() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let svg =
        "<svg xmlns='http://www.w3.org/2000/svg' width='500' height='500'><script>alert(1)</script></svg>";
    let entities =
        "<?xml version='1.0'?><!DOCTYPE svg [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><svg>&x;</svg>";
    for (content_type, file) in [
        ("text/plain", "only text"),
        ("image/png", "only text that says it is a picture"),
        ("image/svg+xml", svg),
        ("image/png", svg),
        ("image/svg+xml", entities),
        ("text/html", "<html><script>alert(1)</script>"),
        ("application/pdf", "%PDF-1.7"),
        ("image/png", ""),
        ("image/png", "\u{0}\u{1}\u{2}encrypted"),
    ] {
        let media = uploaded(&alice, content_type, file).await;
        let answer = media.thumbnail(&alice, (32, 32, "crop")).await;
        assert_eq!(answer.status, 400, "{content_type} {file}: {answer:?}");
    }
}

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

/// A picture that unfolds into more than memory holds costs an error, and costs it at once.
/// spec: client-server-api/#content-repo-security-considerations
/// covers: GET /_matrix/client/v1/media/thumbnail/{serverName}/{mediaId}
#[tokio::test]
async fn bombs_are_too_large() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let mut header = 60_000_u32.to_be_bytes().repeat(2);
    header.extend_from_slice(&[8, 6, 0, 0, 0]);
    let mut png = b"\x89PNG\r\n\x1A\n".to_vec();
    png.extend(chunk(*b"IHDR", &header));
    png.extend(chunk(*b"IDAT", &[0x78, 0x9C, 0x03, 0, 0, 0, 0, 1]));
    png.extend(chunk(*b"IEND", b""));
    let mut gif = animation(10, 10, &[RED]);
    gif[6..10].copy_from_slice(&[0xFF; 4]);
    let mut jpeg = written(&photo(16, 16), ImageFormat::Jpeg);
    let frame = jpeg.windows(2).position(|part| part == [0xFF, 0xC0]).expect("a JPEG has a frame");
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0xFF; 4]);
    for (content_type, file) in [("image/png", png), ("image/gif", gif), ("image/jpeg", jpeg)] {
        let media = uploaded(&alice, content_type, file).await;
        media.thumbnail(&alice, (32, 32, "crop")).await.expect_err(413, "M_TOO_LARGE");
    }
}

/// Pictures that break off, or have something else behind them, are answered with a picture or with a refusal.
/// spec: client-server-api/#content-repo-security-considerations
/// covers: GET /_matrix/client/v1/media/thumbnail/{serverName}/{mediaId}
#[tokio::test]
async fn broken_pictures_are_no_trouble() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let jpeg = with_exif(&written(&photo(400, 300), ImageFormat::Jpeg), 6, b"x");
    let files = [
        ("image/jpeg", jpeg),
        ("image/png", written(&quarters(400, 300), ImageFormat::Png)),
        ("image/webp", written(&photo(400, 300), ImageFormat::WebP)),
        ("image/gif", animation(400, 300, &[RED, GREEN, BLUE])),
    ];
    for (content_type, file) in files {
        for part in [4, 40, file.len() / 2, file.len() - 3] {
            let media = uploaded(&alice, content_type, file[..part].to_vec()).await;
            for animated in ["true", "false"] {
                let answer = media.thumbnail(&alice, (32, 32, "crop")).query("animated", animated).await;
                assert!([200, 400].contains(&answer.status), "{content_type} {part}: {answer:?}");
            }
        }
        let mut polyglot = file.clone();
        polyglot.extend_from_slice(b"<html><script>alert(1)</script></html>PK\x03\x04");
        let media = uploaded(&alice, content_type, polyglot).await;
        let answer = media.thumbnail(&alice, (32, 32, "crop")).await.expect_status(200);
        picture(&answer);
        assert!(!answer.body.windows(6).any(|part| part == b"script"), "{content_type}");
    }
}

/// What a file is said to be does not matter: its bytes decide how it is read.
/// spec: client-server-api/#thumbnails
/// covers: GET /_matrix/client/v1/media/thumbnail/{serverName}/{mediaId}
#[tokio::test]
async fn types_that_lie_do_not_matter() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    for content_type in ["image/png", "image/gif", "application/octet-stream"] {
        let media = uploaded(&alice, content_type, written(&photo(300, 300), ImageFormat::Jpeg)).await;
        let answer = media.thumbnail(&alice, (32, 32, "crop")).await.expect_status(200);
        picture(&answer);
    }
}
