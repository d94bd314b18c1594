//! How big thumbnails are, and what they show.

use image::{GenericImageView as _, ImageFormat};
use sytest_like::{Server, ServerOptions};

use super::pictures::{
    Media, RED, film, glass, is_near, photo, picture, quarters, size, uploaded, with_exif, written,
};

/// The sizes that servers should have are served: no smaller than asked, in the picture's own proportions when it is
/// scaled, in those that were asked for when it is cropped.
/// spec: client-server-api/#thumbnails
/// covers: GET /_matrix/client/v1/media/thumbnail/{serverName}/{mediaId}
#[tokio::test]
async fn recommended_sizes_are_served() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let media = uploaded(&alice, "image/jpeg", written(&photo(1500, 1000), ImageFormat::Jpeg)).await;
    for (width, height, method) in
        [(32, 32, "crop"), (96, 96, "crop"), (320, 240, "scale"), (640, 480, "scale"), (800, 600, "scale")]
    {
        let answer = media.thumbnail(&alice, (width, height, method)).await.expect_status(200);
        let (real_width, real_height) = size(&answer);
        assert!(real_width <= 1500 && real_height <= 1000, "never bigger than the picture");
        if method == "crop" {
            assert_eq!((real_width, real_height), (width, height));
        } else {
            assert!(real_width >= width || real_height >= height, "{real_width}x{real_height}");
            let ratio = f64::from(real_width) / f64::from(real_height);
            assert!((ratio - 1.5).abs() < 0.02, "{real_width}x{real_height}");
        }
    }
}

/// "Servers MUST NOT return a smaller thumbnail than requested": both sides are at least as long as asked for.
/// spec: client-server-api/#thumbnails
/// covers: GET /_matrix/client/v1/media/thumbnail/{serverName}/{mediaId}
/// not on synapse: its scaled thumbnails fit into the size that was asked for
#[tokio::test]
async fn thumbnails_are_no_smaller_than_asked() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let media = uploaded(&alice, "image/png", written(&photo(900, 1200), ImageFormat::Png)).await;
    for (width, height) in [(320, 240), (100, 100), (33, 500), (700, 10), (899, 1199)] {
        for method in ["scale", "crop"] {
            let answer = media.thumbnail(&alice, (width, height, method)).await.expect_status(200);
            let (real_width, real_height) = size(&answer);
            assert!(real_width >= width && real_height >= height, "{method}: {real_width}x{real_height}");
            assert!(real_width <= 900 && real_height <= 1200, "{method}: {real_width}x{real_height}");
        }
    }
}

/// A picture that is smaller than what was asked for is served as it is: nothing is ever enlarged.
/// spec: client-server-api/#thumbnails
/// covers: GET /_matrix/client/v1/media/thumbnail/{serverName}/{mediaId}
/// not on synapse: it makes pictures anew that are small already
#[tokio::test]
async fn small_pictures_are_served_as_they_are() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    for (content_type, format) in [
        ("image/png", ImageFormat::Png),
        ("image/jpeg", ImageFormat::Jpeg),
        ("image/webp", ImageFormat::WebP),
    ] {
        let file = written(&photo(40, 30), format);
        let media = uploaded(&alice, content_type, file.clone()).await;
        for wanted in [(96, 96, "crop"), (640, 480, "scale"), (40, 30, "crop")] {
            let answer = media.thumbnail(&alice, wanted).await.expect_status(200);
            assert_eq!(answer.body, file, "{content_type} {wanted:?}");
            assert_eq!(answer.header("content-type"), content_type);
        }
    }
}

/// Without a method, pictures are scaled.
/// spec: client-server-api/#get_matrixclientv1mediathumbnailservernamemediaid
/// covers: GET /_matrix/client/v1/media/thumbnail/{serverName}/{mediaId}
#[tokio::test]
async fn pictures_are_scaled_without_a_method() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let media = uploaded(&alice, "image/png", written(&photo(1200, 600), ImageFormat::Png)).await;
    let request = alice.get(&media.path("thumbnail")).query("width", "320").query("height", "240");
    let (width, height) = size(&request.await.expect_status(200));
    assert_eq!(width, height * 2);
}

/// A thumbnail shows the picture upright, whatever way the camera was held, and tells nothing else that the file knew.
/// spec: client-server-api/#thumbnails
/// covers: GET /_matrix/client/v1/media/thumbnail/{serverName}/{mediaId}
#[tokio::test]
async fn thumbnails_are_upright_and_without_metadata() {
    const SECRET: &[u8] = b"48.8583 N 2.2945 E";
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let jpeg = written(&quarters(600, 400), ImageFormat::Jpeg);
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
        let media = uploaded(&alice, "image/jpeg", with_exif(&jpeg, orientation, SECRET)).await;
        let answer = media.thumbnail(&alice, (96, 96, "scale")).await.expect_status(200);
        assert!(!answer.body.windows(SECRET.len()).any(|part| part == SECRET), "{orientation}");
        let picture = picture(&answer);
        let (width, height) = picture.dimensions();
        assert_eq!(width < height, is_turned, "{orientation}: {width}x{height}");
        let (x, y) = (corner.0 * (width - 20) + 10, corner.1 * (height - 20) + 10);
        assert!(is_near(picture.get_pixel(x, y), RED), "{orientation}: {:?}", picture.get_pixel(x, y));
    }
}

/// What can be seen through in the picture can be seen through in its thumbnail.
/// spec: client-server-api/#thumbnails
/// covers: GET /_matrix/client/v1/media/thumbnail/{serverName}/{mediaId}
#[tokio::test]
async fn transparency_is_kept() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    for (content_type, format) in [("image/png", ImageFormat::Png), ("image/webp", ImageFormat::WebP)] {
        let media = uploaded(&alice, content_type, written(&glass(400, 300), format)).await;
        let answer = media.thumbnail(&alice, (96, 96, "crop")).await.expect_status(200);
        let picture = picture(&answer);
        assert!(picture.get_pixel(2, 40).0[3] < 120, "{content_type}");
        assert!(picture.get_pixel(93, 40).0[3] > 130, "{content_type}");
    }
}

/// A thumbnail is the same after a restart, and from any replica.
/// spec: client-server-api/#thumbnails
/// covers: GET /_matrix/client/v1/media/thumbnail/{serverName}/{mediaId}
#[tokio::test]
async fn thumbnails_outlive_a_restart_and_are_shared() {
    let replicas = ServerOptions::default().start_replicas(2).await;
    let alice = replicas[0].register("alice").await;
    let media = uploaded(&alice, "image/jpeg", written(&photo(600, 600), ImageFormat::Jpeg)).await;
    let first = media.thumbnail(&alice, (96, 96, "crop")).await.expect_status(200);
    let elsewhere =
        media.thumbnail(&replicas[1].as_seen_here(&alice), (96, 96, "crop")).await.expect_status(200);
    assert_eq!(first.body, elsewhere.body);
    replicas[0].restart().await;
    let again = media.thumbnail(&alice, (96, 96, "crop")).await.expect_status(200);
    assert_eq!(first.body, again.body);
}

/// Many who ask for the same thumbnail at once all get it.
/// spec: client-server-api/#thumbnails
/// covers: GET /_matrix/client/v1/media/thumbnail/{serverName}/{mediaId}
#[tokio::test]
async fn many_may_ask_at_once() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let media = uploaded(&alice, "image/jpeg", written(&photo(1000, 800), ImageFormat::Jpeg)).await;
    let asking = (0..24).map(|number| {
        let (media, alice) = (media.clone(), alice.clone());
        let side = 40 + 8 * (number % 4);
        async move { size(&media.thumbnail(&alice, (side, side, "crop")).await.expect_status(200)) }
    });
    for (width, height) in futures_util::future::join_all(asking).await {
        assert!(width >= 40 && width == height);
    }
}

/// The other way to ask for thumbnails still knows media that were there before media needed a token, and no others.
/// spec: client-server-api/#content-repo-client-behaviour
/// covers: GET /_matrix/media/v3/thumbnail/{serverName}/{mediaId}
#[tokio::test]
async fn unauthenticated_thumbnails_are_of_old_media_only() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let Media { server: name, id } =
        uploaded(&alice, "image/png", written(&photo(300, 300), ImageFormat::Png)).await;
    let path = format!("/_matrix/media/v3/thumbnail/{name}/{id}");
    let answer = server.get(&path).query("width", "32").query("height", "32").query("method", "crop").await;
    answer.expect_err(404, "M_NOT_FOUND");
}

/// Films show one of their first moments where ffmpeg is installed, and have no thumbnail where it is not.
/// spec: client-server-api/#thumbnails
/// covers: GET /_matrix/client/v1/media/thumbnail/{serverName}/{mediaId}
/// not on synapse: it makes no thumbnails of films
#[tokio::test]
async fn films_have_posters() {
    let without = ServerOptions::default().kith("media.ffmpeg", "\"\"").start().await;
    let (there, here) = (Server::shared().await.register("alice").await, without.register("alice").await);
    let made = film(320, 200);
    let film = made.clone().unwrap_or_else(|| b"\0\0\0\x18ftypisom\0\0\0\0isomiso2".to_vec());

    let nothing = uploaded(&here, "video/mp4", film.clone()).await;
    nothing.thumbnail(&here, (96, 96, "crop")).await.expect_err(400, "M_UNKNOWN");
    let media = uploaded(&there, "video/mp4", film).await;
    let answer = media.thumbnail(&there, (96, 96, "crop")).await;
    if made.is_none() {
        answer.expect_err(400, "M_UNKNOWN");
        return;
    }
    let poster = picture(&answer.expect_status(200));
    assert_eq!(poster.dimensions(), (96, 96));
    assert!(is_near(poster.get_pixel(48, 48), RED), "{:?}", poster.get_pixel(48, 48));
}
