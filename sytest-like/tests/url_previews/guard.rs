//! Where previews may not lead.

use sytest_like::{Page, Server, ServerOptions, Website};

use super::{picture, preview, previewing, with_user};

/// Nobody can make the server ask its own network, however the address is written.
/// spec: client-server-api/#get_matrixclientv1mediapreview_url
/// covers: GET /_matrix/client/v1/media/preview_url
/// not on synapse: previews are off there
#[tokio::test]
async fn private_addresses_are_refused() {
    let (_server, alice) = with_user(ServerOptions::default()).await;
    let site = Website::start().await;
    site.put("/", Page::html("<title>Secret</title>"));
    let port = site.port();
    for host in [
        "127.0.0.1",
        "localhost",
        "LOCALHOST",
        "127.1",
        "0x7f.1",
        "2130706433",
        "0177.0.0.1",
        "0.0.0.0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "10.0.0.1",
        "192.168.0.1",
        "169.254.169.254",
        "[fd00::1]",
    ] {
        let answer = preview(&alice, &format!("http://{host}:{port}/")).await;
        answer.expect_err(403, "M_FORBIDDEN");
    }
    assert!(site.heard().is_empty(), "{:?}", site.heard());
}

/// A redirect leads no farther than the first request: not into forbidden networks, and not in circles.
/// spec: client-server-api/#get_matrixclientv1mediapreview_url
/// covers: GET /_matrix/client/v1/media/preview_url
/// not on synapse: previews are off there
#[tokio::test]
async fn redirects_are_judged_like_the_first_request() {
    let (_server, alice) = with_user(previewing()).await;
    let site = Website::start().await;
    let inside = Website::start_at("127.0.0.2").await;
    inside.put("/", Page::html("<title>Secret</title>"));
    inside.put("/secret.png", Page::new("image/png", picture(200, 200)));
    site.put("/final", Page::html("<title>Arrived</title>"));
    site.put("/relative", Page::redirect(302, "/final"));
    site.put("/twice", Page::redirect(301, &site.url("/relative")));
    site.put("/inside", Page::redirect(307, &inside.url("/")));
    site.put("/file", Page::redirect(302, "file:///etc/passwd"));
    site.put("/circle", Page::redirect(308, "/circle"));
    site.put("/nowhere", Page::redirect(302, "http://"));
    let ask = async |path: &str| preview(&alice, &site.url(path)).await;

    ask("/relative").await.expect_ok().has("og:title", "Arrived");
    ask("/twice").await.expect_ok().has("og:title", "Arrived");
    ask("/inside").await.expect_err(403, "M_FORBIDDEN");
    ask("/file").await.expect_err(403, "M_FORBIDDEN");
    ask("/circle").await.expect_err(502, "M_UNKNOWN");
    assert!(site.count("/circle") <= 10);
    ask("/nowhere").await.expect_err(502, "M_UNKNOWN");

    // Neither do the other things that a page leads to.
    let page = format!(
        "<title>Page</title><meta property='og:image' content='{}'>
         <link rel=alternate type='application/json+oembed' href='{}'><base href='{}'><img src='/secret.png'>",
        inside.url("/secret.png"),
        inside.url("/oembed"),
        inside.url("/"),
    );
    site.put("/page", Page::html(&page));
    ask("/page").await.expect_ok().has("og:title", "Page").expect_absent("og:image");
    assert!(inside.heard().is_empty(), "{:?}", inside.heard());
}

/// The operator names URLs that no previews are made of, also where they are redirected to.
/// spec: client-server-api/#get_matrixclientv1mediapreview_url
/// covers: GET /_matrix/client/v1/media/preview_url
/// not on synapse: previews are off there
#[tokio::test]
async fn denied_urls_are_not_asked() {
    let (_server, alice) =
        with_user(previewing().kith("url_previews.deny", "[\"*/private/*\", \"*.example\"]")).await;
    let site = Website::start().await;
    site.put("/private/page", Page::html("<title>Private</title>"));
    site.put("/public", Page::redirect(302, "/private/page"));
    site.put("/open", Page::html("<title>Open</title>"));
    for url in [site.url("/private/page"), site.url("/public"), "http://any.example/".to_owned()] {
        preview(&alice, &url).await.expect_err(403, "M_FORBIDDEN");
    }
    assert_eq!(site.count("/private/page"), 0);
    preview(&alice, &site.url("/open")).await.expect_ok().has("og:title", "Open");
}

/// Where the operator wants no previews, nothing is asked.
/// spec: client-server-api/#get_matrixclientv1mediapreview_url
/// covers: GET /_matrix/client/v1/media/preview_url
/// not on synapse: previews are off there
#[tokio::test]
async fn previews_can_be_off() {
    let (_server, alice) = with_user(previewing().kith("url_previews.enabled", "false")).await;
    let site = Website::start().await;
    preview(&alice, &site.url("/")).await.expect_err(404, "M_UNRECOGNIZED");
    assert!(site.heard().is_empty());
}

/// What is no URL of the web, or comes without a token, is refused.
/// spec: client-server-api/#get_matrixclientv1mediapreview_url
/// covers: GET /_matrix/client/v1/media/preview_url
/// covers: GET /_matrix/media/v3/preview_url
/// not on synapse: previews are off there
#[tokio::test]
async fn nonsense_is_refused() {
    let server = Server::shared().await;
    let alice = server.register("alice").await;
    let nameless = alice.get("/v1/media/preview_url").await;
    nameless.expect_err_of(&[(400, "M_MISSING_PARAM"), (400, "M_INVALID_PARAM")]);
    for url in [
        "",
        "words",
        "//example.org/",
        "ftp://example.org/",
        "javascript:alert(1)",
        "file:///etc/passwd",
        "http://",
        "http://[::1",
    ] {
        preview(&alice, url).await.expect_err(400, "M_INVALID_PARAM");
    }
    preview(&alice, &format!("http://example.org/{}", "a".repeat(5000)))
        .await
        .expect_err(400, "M_INVALID_PARAM");
    preview(&alice, "http://user:password@example.org/").await.expect_err(403, "M_FORBIDDEN");
    let strange = preview(&alice, "http://127.0.0.1/").query("ts", "yesterday").await;
    assert_eq!(strange.status, 400, "{strange:?}");
    preview(&alice, "http://127.0.0.1/").anonymous().await.expect_err(401, "M_MISSING_TOKEN");
    let old = server.get("/_matrix/media/v3/preview_url").query("url", "http://127.0.0.1/").await;
    old.expect_err(401, "M_MISSING_TOKEN");
}

/// A page that is not there, or does not answer, is an error that says so, and soon.
/// spec: client-server-api/#get_matrixclientv1mediapreview_url
/// covers: GET /_matrix/client/v1/media/preview_url
/// not on synapse: previews are off there
#[tokio::test]
async fn pages_that_cannot_be_had_are_bad_gateways() {
    let (_server, alice) = with_user(previewing().kith("url_previews.timeout_seconds", "2")).await;
    let site = Website::start().await;
    site.put("/broken", Page::html("<title>Broken</title>").status(500));
    site.put("/silent", Page::html("<title>Silent</title>").never_ending());
    site.put("/packed", Page::html("not really gzip").header("content-encoding", "gzip"));
    for path in ["/missing", "/broken", "/silent", "/packed"] {
        preview(&alice, &site.url(path)).await.expect_err(502, "M_UNKNOWN");
    }
    let closed = Website::start().await.url("/");
    preview(&alice, &closed).await.expect_err(502, "M_UNKNOWN");
}

/// Nobody may ask for previews without end.
/// spec: client-server-api/#get_matrixclientv1mediapreview_url
/// covers: GET /_matrix/client/v1/media/preview_url
/// not on synapse: previews are off there
#[tokio::test]
async fn previews_are_limited() {
    let options =
        previewing().with_rate_limits().kith("rate_limits.fetches", "{ per_second = 0.01, burst = 3 }");
    let (_server, alice) = with_user(options).await;
    for _ in 0..3 {
        preview(&alice, "http://10.0.0.1/").await.expect_err(403, "M_FORBIDDEN");
    }
    preview(&alice, "http://10.0.0.1/").await.expect_err(429, "M_LIMIT_EXCEEDED");
}
