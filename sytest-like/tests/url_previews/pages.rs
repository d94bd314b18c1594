//! What previews say of pages.

use sytest_like::{Page, Response, Website, json};

use super::{picture, preview, previewing, with_user};

/// A page's own words, with its picture as media of this server.
/// spec: client-server-api/#get_matrixclientv1mediapreview_url
/// covers: GET /_matrix/client/v1/media/preview_url
/// covers: GET /_matrix/client/v1/media/download/{serverName}/{mediaId}
/// not on synapse: previews are off there
#[tokio::test]
async fn open_graph_and_its_picture() {
    let (server, alice) = with_user(previewing()).await;
    let site = Website::start().await;
    let file = picture(320, 200);
    site.put("/picture.png", Page::new("image/png", file.clone()));
    site.put(
        "/page",
        Page::html(
            "<!doctype html><html><head><title>Other</title>
             <meta property='og:title' content='A &quot;title&quot; &amp; more'>
             <meta property='og:description' content='What it is about'>
             <meta property='og:site_name' content='Site'><meta property='og:type' content='article'>
             <meta property='og:image' content='picture.png'><meta property='og:image:width' content='9999'>",
        ),
    );
    let answer = preview(&alice, &site.url("/page#part")).await.expect_ok();
    let answer = answer.has("og:title", "A \"title\" & more").has("og:description", "What it is about");
    let answer = answer.has("og:site_name", "Site").has("og:type", "article");
    let answer =
        answer.has("og:image:type", "image/png").has("og:image:width", 320).has("og:image:height", 200);
    let answer = answer.has("matrix:image:size", file.len());
    assert!(answer.str("matrix:image:blurhash").len() > 6, "{answer}");
    let uri = answer.str("og:image").strip_prefix("mxc://").expect("the picture is ours").to_owned();
    assert_eq!(uri.split('/').next(), Some(server.name()));
    let kept = alice.get(&format!("/v1/media/download/{uri}")).await.expect_status(200);
    assert_eq!((kept.body.as_ref(), kept.header("content-type")), (file.as_slice(), "image/png"));
    let heard = site.heard();
    assert_eq!(heard.iter().map(|heard| heard.path.as_str()).collect::<Vec<_>>(), ["/page", "/picture.png"]);
    assert!(heard[0].headers["user-agent"].contains("bot"), "{:?}", heard[0]);
    assert!(!heard[0].headers.contains_key("authorization") && !heard[0].headers.contains_key("cookie"));
}

/// Pages without Open Graph are described by the words that they have: those for Twitter, a plain title and description,
/// oEmbed, or the text itself.
/// spec: client-server-api/#get_matrixclientv1mediapreview_url
/// covers: GET /_matrix/client/v1/media/preview_url
/// not on synapse: previews are off there
#[tokio::test]
async fn other_words_do_as_well() {
    let (_server, alice) = with_user(previewing()).await;
    let site = Website::start().await;
    site.put(
        "/twitter",
        Page::html("<meta name='twitter:title' content='T'><meta name='twitter:description' content='D'>"),
    );
    site.put("/plain", Page::html("<TITLE> Plain \n title </TITLE><META NAME=Description CONTENT='About'>"));
    site.put(
        "/text",
        Page::html(
            "<header>Menu</header><nav>Home</nav><script>var a = '<p>code</p>';</script><svg><title>Icon</title></svg>
             <h1>Heading</h1><p>First <b>paragraph</b>.</p><p>Second.",
        ),
    );
    site.put(
        "/oembed",
        Page::html("<title>Film</title><link rel=alternate type='application/json+oembed' href='/described?a=1&amp;b=2'>"),
    );
    let described = json!({
        "version": "1.0", "type": "video", "title": "The film", "provider_name": "Tube",
        "thumbnail_url": site.url("/thumbnail.png"),
    });
    site.put("/described?a=1&b=2", Page::new("application/json", described.to_string()));
    site.put("/thumbnail.png", Page::new("image/png", picture(200, 100)));
    let ask = async |path: &str| preview(&alice, &site.url(path)).await.expect_ok();

    ask("/twitter").await.has("og:title", "T").has("og:description", "D");
    ask("/plain").await.has("og:title", "Plain title").has("og:description", "About");
    ask("/text").await.has("og:title", "Heading").has("og:description", "Heading First paragraph. Second.");
    let film = ask("/oembed")
        .await
        .has("og:title", "The film")
        .has("og:site_name", "Tube")
        .has("og:image:width", 200);
    assert!(film.str("og:image").starts_with("mxc://"));
}

/// Pages in any language and encoding, whichever way that is declared; a byte order mark counts most.
/// spec: client-server-api/#get_matrixclientv1mediapreview_url
/// covers: GET /_matrix/client/v1/media/preview_url
/// not on synapse: previews are off there
#[tokio::test]
async fn every_encoding_is_read() {
    let (_server, alice) = with_user(previewing()).await;
    let site = Website::start().await;
    // "こんにちは" in Shift_JIS, "Привет" in KOI8-R and in windows-1251, "你好" in GBK, "été" in ISO 8859-1.
    let shift_jis = b"\x82\xB1\x82\xF1\x82\xC9\x82\xBF\x82\xCD".as_slice();
    let koi8 = b"\xF0\xD2\xC9\xD7\xC5\xD4".as_slice();
    let windows = b"\xCF\xF0\xE8\xE2\xE5\xF2".as_slice();
    let utf16: Vec<u8> = "<title>世界</title>".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let title = |head: &str, text: &[u8]| [head.as_bytes(), b"<title>", text, b"</title>"].concat();
    for (path, content_type, body, expected) in [
        ("/header", "text/html; charset=Shift_JIS", title("", shift_jis), "こんにちは"),
        ("/meta", "text/html", title("<meta charset='koi8-r'>", koi8), "Привет"),
        (
            "/equiv",
            "text/html",
            title("<META content='text/html; charset=windows-1251' http-equiv=Content-Type>", windows),
            "Привет",
        ),
        (
            "/xml",
            "application/xhtml+xml",
            title("<?xml version='1.0' encoding='gbk'?>", b"\xC4\xE3\xBA\xC3"),
            "你好",
        ),
        ("/latin", "text/html; charset=iso-8859-1", title("", b"\xE9t\xE9"), "été"),
        ("/bom", "text/html; charset=koi8-r", [b"\xFF\xFE".as_slice(), &utf16].concat(), "世界"),
        ("/utf8", "text/html", title("", "שלום, ไทย, हिन्दी 🌍".as_bytes()), "שלום, ไทย, हिन्दी 🌍"),
    ] {
        site.put(path, Page::new(content_type, body));
        preview(&alice, &site.url(path)).await.expect_ok().has("og:title", expected);
    }
}

/// A link to a picture shows the picture; to another file, its name; to a text, its beginning.
/// spec: client-server-api/#get_matrixclientv1mediapreview_url
/// covers: GET /_matrix/client/v1/media/preview_url
/// not on synapse: previews are off there
#[tokio::test]
async fn files_are_shown_as_far_as_they_go() {
    let (_server, alice) = with_user(previewing()).await;
    let site = Website::start().await;
    site.put("/a/cat%20one.png", Page::new("image/png", picture(64, 48)));
    site.put(
        "/report",
        Page::new("application/pdf", "%PDF-1.7")
            .header("content-disposition", "attachment; filename*=utf-8''r%C3%A9sum%C3%A9.pdf"),
    );
    site.put("/notes.txt", Page::new("text/plain; charset=utf-8", "First line\n\n  second line\n"));
    site.put("/nothing", Page::html(""));
    let ask = async |path: &str| preview(&alice, &site.url(path)).await.expect_ok();

    let cat = ask("/a/cat%20one.png").await.has("og:title", "cat one.png").has("og:image:width", 64);
    assert!(cat.str("og:image").starts_with("mxc://"));
    ask("/report").await.has("og:title", "résumé.pdf").expect_absent("og:image");
    ask("/notes.txt").await.has("og:title", "notes.txt").has("og:description", "First line second line");
    assert_eq!(ask("/nothing").await.body.as_ref(), b"{}");
}

/// A page says nothing that is the server's to say, and nothing that is not fit to be shown.
/// spec: client-server-api/#get_matrixclientv1mediapreview_url
/// covers: GET /_matrix/client/v1/media/preview_url
/// not on synapse: previews are off there
#[tokio::test]
async fn pages_cannot_lie_about_pictures() {
    let (_server, alice) = with_user(previewing()).await;
    let site = Website::start().await;
    site.put(
        "/drawing.svg",
        Page::new("image/svg+xml", "<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>"),
    );
    site.put("/page.png", Page::new("image/png", "<html><script>alert(1)</script>"));
    site.put("/endless.png", Page::new("image/png", picture(200, 200)).endless());
    for (path, image) in [
        ("/mxc", "mxc://elsewhere.example/abc"),
        ("/data", "data:image/png;base64,AAAA"),
        ("/file", "file:///etc/passwd"),
        ("/svg", "/drawing.svg"),
        ("/html", "/page.png"),
        ("/gone", "/gone.png"),
        ("/too-long", "/endless.png"),
    ] {
        let page = format!(
            "<meta property='og:title' content='safe\u{202E}txt.exe&#0;'><meta property='og:image' content='{image}'>
             <meta property='og:image:width' content='10'><meta property='matrix:image:size' content='10'>
             <meta property='og:url' content='javascript:alert(1)'><meta property='og:video' content='data:text/html,x'>"
        );
        site.put(path, Page::html(&page));
        let answer = preview(&alice, &site.url(path)).await.expect_ok();
        let names: Vec<_> = answer.json.as_object().expect("an object").keys().cloned().collect();
        assert_eq!(names, ["og:title"], "{path}: {answer:?}");
        assert_eq!(answer.str("og:title"), "safetxt.exe");
    }
}

/// Pages that are broken, nested without end, or longer than anybody reads are answered with what they began with.
/// spec: client-server-api/#get_matrixclientv1mediapreview_url
/// covers: GET /_matrix/client/v1/media/preview_url
/// not on synapse: previews are off there
#[tokio::test]
async fn broken_pages_are_read_as_far_as_they_go() {
    let (_server, alice) = with_user(previewing()).await;
    let site = Website::start().await;
    site.put("/deep", Page::html(&format!("<title>Deep</title>{}", "<div>".repeat(200_000))));
    site.put(
        "/endless",
        Page::html(&format!("<title>Endless</title>{}", "<p>text".repeat(10_000))).endless(),
    );
    site.put(
        "/many",
        Page::html(&format!("<title>Many</title>{}", "<meta property='og:x' content='y'>".repeat(20_000))),
    );
    site.put("/cut", Page::html("<title>Cut</title><meta property='og:description' content='"));
    site.put("/zeros", Page::html("<title>Ze\0ro</title>\0<p \0=\0>"));
    let ask = async |path: &str| preview(&alice, &site.url(path)).await.expect_ok();
    for (path, title) in [("/deep", "Deep"), ("/endless", "Endless"), ("/many", "Many"), ("/cut", "Cut")] {
        let answer: Response = ask(path).await;
        assert_eq!(answer.str("og:title"), title);
        assert!(answer.body.len() < 100_000, "{path}");
    }
    assert_eq!(ask("/zeros").await.str("og:title"), "Zero");
    site.put("/long", Page::html(&format!("<title>{}</title>", "長".repeat(50_000))));
    assert!(ask("/long").await.str("og:title").chars().count() <= 1000);
}
