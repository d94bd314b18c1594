//! What files are served as.

use image::ImageFormat;
use sytest_like::{Response, Server, User, encode};

use super::pictures::{Media, photo, upload, uploaded, written};

async fn downloaded(user: &User, media: &Media) -> Response {
    user.get(&media.path("download")).await.expect_status(200)
}

/// Types that a browser only shows are shown in place; everything else, and all that it could run, is saved.
/// spec: client-server-api/#serving-inline-content
/// covers: GET /_matrix/client/v1/media/download/{serverName}/{mediaId}
#[tokio::test]
async fn only_harmless_types_are_inline() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    for (content_type, expected) in [
        ("image/png", "inline"),
        ("IMAGE/PNG", "inline"),
        ("text/plain; charset=utf-8", "inline"),
        ("image/avif", "inline"),
        ("video/mp4", "inline"),
        ("audio/x-flac", "inline"),
        ("application/json", "inline"),
        ("text/html", "attachment"),
        ("image/svg+xml", "attachment"),
        ("application/xhtml+xml", "attachment"),
        ("text/xml", "attachment"),
        ("application/javascript", "attachment"),
        ("application/pdf", "attachment"),
        ("application/octet-stream", "attachment"),
        ("made/up", "attachment"),
    ] {
        let media = uploaded(&alice, content_type, "<svg/><script>alert(1)</script>").await;
        let answer = downloaded(&alice, &media).await;
        assert_eq!(answer.header("content-disposition"), expected, "{content_type}");
        assert_eq!(answer.header("content-type"), content_type);
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    }
}

/// Nothing that is served can act as a page of the server.
/// spec: client-server-api/#content-repository
/// covers: GET /_matrix/client/v1/media/download/{serverName}/{mediaId}
/// covers: GET /_matrix/client/v1/media/thumbnail/{serverName}/{mediaId}
#[tokio::test]
async fn files_come_with_security_headers() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let media = uploaded(&alice, "image/png", written(&photo(200, 200), ImageFormat::Png)).await;
    let thumbnail = media.thumbnail(&alice, (32, 32, "crop")).await.expect_status(200);
    assert!(thumbnail.header("content-disposition").starts_with("inline; filename=thumbnail."));
    for answer in [downloaded(&alice, &media).await, thumbnail] {
        let policy = answer.header("content-security-policy");
        for part in ["sandbox", "default-src 'none'", "script-src 'none'", "object-src 'self'"] {
            assert!(policy.contains(part), "{policy}");
        }
        assert_eq!(answer.header("cross-origin-resource-policy"), "cross-origin");
        assert_eq!(answer.header("access-control-allow-origin"), "*");
    }
}

/// A type that cannot be one, or is missing, is served as bytes.
/// spec: client-server-api/#get_matrixclientv1mediadownloadservernamemediaid
/// covers: POST /_matrix/media/v3/upload
/// covers: GET /_matrix/client/v1/media/download/{serverName}/{mediaId}
#[tokio::test]
async fn missing_types_are_bytes() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let request = upload(&alice, "text/plain", "bytes").without_content_type();
    let media = Media::of(request.await.expect_ok().str("content_uri"));
    let answer = downloaded(&alice, &media).await;
    assert_eq!(answer.header("content-type"), "application/octet-stream");
    assert_eq!(answer.header("content-disposition"), "attachment");
}

/// Names come back as they were given, in every script, and cannot leave the header that they stand in.
/// spec: client-server-api/#get_matrixclientv1mediadownloadservernamemediaid
/// covers: POST /_matrix/media/v3/upload
/// covers: GET /_matrix/client/v1/media/download/{serverName}/{mediaId}
/// covers: GET /_matrix/client/v1/media/download/{serverName}/{mediaId}/{fileName}
/// not on synapse: it writes names with blanks and marks in other ways
#[tokio::test]
async fn names_survive() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    for name in [
        "cat.png",
        "my cat (1).png",
        "a;b,c=d.png",
        "50%20.png",
        "say \"hi\" \\ there.png",
        "猫の写真.png",
        "صورة.png",
        "Żółć — 𝔘𝔫𝔦.png",
        "line\r\nbreak: yes.png",
        "tab\t.png",
    ] {
        let request = upload(&alice, "image/png", "x").query("filename", name);
        let media = Media::of(request.await.expect_ok().str("content_uri"));
        let answer = downloaded(&alice, &media).await;
        assert_eq!(name_in(answer.header("content-disposition")), name);
        assert!(answer.headers.get("break").is_none());

        let plain = uploaded(&alice, "image/png", "x").await;
        let path = format!("{}/{}", plain.path("download"), encode(name));
        let answer = alice.get(&path).await.expect_status(200);
        assert_eq!(name_in(answer.header("content-disposition")), name);
    }
}

/// The name in the header, read by the rules of RFC 6266.
fn name_in(disposition: &str) -> String {
    let (_, parameter) = disposition.split_once("; ").expect("there is a name");
    if let Some(encoded) = parameter.strip_prefix("filename*=utf-8''") {
        let mut bytes = Vec::new();
        let mut rest = encoded.bytes();
        while let Some(byte) = rest.next() {
            if byte == b'%' {
                let digits =
                    [rest.next(), rest.next()].map(|digit| char::from(digit.expect("two digits follow")));
                let number = digits.iter().collect::<String>();
                bytes.push(u8::from_str_radix(&number, 16).expect("they are digits"));
            } else {
                bytes.push(byte);
            }
        }
        return String::from_utf8(bytes).expect("names are UTF-8");
    }
    let name = parameter.strip_prefix("filename=").expect("there is a name");
    name.trim_matches('"').to_owned()
}

/// Parts of a file are served as they are asked for, so that films can be wound forward and downloads resumed.
/// spec: client-server-api/#get_matrixclientv1mediadownloadservernamemediaid
/// covers: GET /_matrix/client/v1/media/download/{serverName}/{mediaId}
/// not on synapse: it serves whole files only
#[tokio::test]
async fn parts_are_served() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let media = uploaded(&alice, "video/mp4", "0123456789").await;
    let ask = async |range: &str| alice.get(&media.path("download")).header("range", range).await;

    let whole = downloaded(&alice, &media).await;
    assert_eq!(whole.header("accept-ranges"), "bytes");
    let etag = whole.header("etag").to_owned();
    for (range, body, described) in [
        ("bytes=0-0", "0", "bytes 0-0/10"),
        ("bytes=3-", "3456789", "bytes 3-9/10"),
        ("bytes=-2", "89", "bytes 8-9/10"),
        ("bytes=5-500", "56789", "bytes 5-9/10"),
    ] {
        let answer = ask(range).await.expect_status(206);
        assert_eq!(
            (answer.body.as_ref(), answer.header("content-range")),
            (body.as_bytes(), described),
            "{range}"
        );
    }
    assert_eq!(ask("bytes=10-").await.expect_status(416).header("content-range"), "bytes */10");
    for nonsense in ["bytes=5-4", "bytes=x-y", "items=0-1", "bytes=", "bytes=0-1,3-4"] {
        assert_eq!(ask(nonsense).await.expect_status(200).body.as_ref(), b"0123456789", "{nonsense}");
    }
    for (if_range, status) in [(etag.as_str(), 206), ("\"another\"", 200)] {
        let request =
            alice.get(&media.path("download")).header("range", "bytes=0-0").header("if-range", if_range);
        request.await.expect_status(status);
    }
}

/// What a client has already is not sent again, and it may keep it for long.
/// spec: client-server-api/#content-repository
/// covers: GET /_matrix/client/v1/media/download/{serverName}/{mediaId}
/// not on synapse: it answers with the file again
#[tokio::test]
async fn what_is_kept_is_not_sent_again() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let media = uploaded(&alice, "image/png", written(&photo(200, 200), ImageFormat::Png)).await;
    let answer = downloaded(&alice, &media).await;
    assert!(
        answer.header("cache-control").contains("max-age=")
            && answer.header("cache-control").contains("private")
    );
    let etag = answer.header("etag").to_owned();
    for header in [etag.as_str(), &format!("W/{etag}"), &format!("\"other\", {etag}"), "*"] {
        let again =
            alice.get(&media.path("download")).header("if-none-match", header).await.expect_status(304);
        assert!(again.body.is_empty(), "{header}");
    }
    alice.get(&media.path("download")).header("if-none-match", "\"other\"").await.expect_status(200);
}
