//! Pictures that move.

use std::io::Cursor;

use image::AnimationDecoder as _;
use image::codecs::webp::WebPDecoder;
use image::{GenericImageView as _, ImageFormat};
use sytest_like::Server;

use super::pictures::{BLUE, GREEN, RED, animation, is_near, photo, picture, uploaded, written};

/// An animation moves in its thumbnail if that is wanted, and stands still if it is not, whatever its size.
/// spec: client-server-api/#get_matrixclientv1mediathumbnailservernamemediaid
/// covers: GET /_matrix/client/v1/media/thumbnail/{serverName}/{mediaId}
/// not on synapse: it makes no animated thumbnails
#[tokio::test]
async fn animations_move_only_if_wanted() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let file = animation(200, 100, &[RED, GREEN, BLUE]);
    let media = uploaded(&alice, "image/gif", file.clone()).await;

    let moving = media.thumbnail(&alice, (32, 32, "crop")).query("animated", "true").await.expect_status(200);
    assert_eq!(moving.header("content-type"), "image/webp");
    let decoder = WebPDecoder::new(Cursor::new(&moving.body)).expect("a WebP");
    let frames = decoder.into_frames().collect_frames().expect("frames can be read");
    let colours: Vec<_> = frames.iter().map(|frame| *frame.buffer().get_pixel(16, 16)).collect();
    assert!(
        [RED, GREEN, BLUE].into_iter().zip(&colours).all(|(colour, found)| is_near(*found, colour)),
        "{colours:?}"
    );
    assert_eq!(frames.len(), 3);

    for wanted in [(32, 32, "crop"), (640, 480, "scale")] {
        for animated in ["", "false"] {
            let mut request = media.thumbnail(&alice, wanted);
            if !animated.is_empty() {
                request = request.query("animated", animated);
            }
            let still = request.await.expect_status(200);
            assert_ne!(still.body, file);
            assert!(["image/png", "image/jpeg"].contains(&still.header("content-type")));
            assert!(is_near(picture(&still).get_pixel(16, 16), RED), "{wanted:?} {animated}");
        }
    }

    let as_it_is =
        media.thumbnail(&alice, (640, 480, "scale")).query("animated", "true").await.expect_status(200);
    assert_eq!((as_it_is.body.as_ref(), as_it_is.header("content-type")), (file.as_slice(), "image/gif"));
}

/// What cannot move is answered as if nobody had asked for it to.
/// spec: client-server-api/#get_matrixclientv1mediathumbnailservernamemediaid
/// covers: GET /_matrix/client/v1/media/thumbnail/{serverName}/{mediaId}
#[tokio::test]
async fn what_cannot_move_stands_still() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    for (content_type, file) in [
        ("image/jpeg", written(&photo(300, 200), ImageFormat::Jpeg)),
        ("image/gif", animation(300, 200, &[RED])),
    ] {
        let media = uploaded(&alice, content_type, file).await;
        let answer =
            media.thumbnail(&alice, (96, 96, "crop")).query("animated", "true").await.expect_status(200);
        assert_eq!(picture(&answer).dimensions(), (96, 96), "{content_type}");
        assert!(["image/png", "image/jpeg"].contains(&answer.header("content-type")), "{content_type}");
    }
}
