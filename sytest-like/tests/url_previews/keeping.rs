//! How long previews are kept, and for whom.

use sytest_like::{Page, Website};

use super::{preview, previewing, with_user};

/// A page is asked once, for all users and all replicas, and after a restart as well.
/// spec: client-server-api/#get_matrixclientv1mediapreview_url
/// covers: GET /_matrix/client/v1/media/preview_url
/// not on synapse: previews are off there
#[tokio::test]
async fn a_page_is_asked_once() {
    let replicas = previewing().start_replicas(2).await;
    let (alice, bob) = (replicas[0].register("alice").await, replicas[0].register("bob").await);
    let site = Website::start().await;
    site.put("/page", Page::html("<title>First</title>"));
    let url = site.url("/page");
    let asking = (0..10).map(|_| async { preview(&alice, &url).await.expect_ok() });
    for answer in futures_util::future::join_all(asking).await {
        assert_eq!(answer.str("og:title"), "First");
    }
    assert_eq!(site.count("/page"), 1);

    site.put("/page", Page::html("<title>Second</title>"));
    let elsewhere = replicas[1].as_seen_here(&bob);
    preview(&elsewhere, &url).await.expect_ok().has("og:title", "First");
    replicas[0].restart().await;
    preview(&bob, &url).await.expect_ok().has("og:title", "First");
    // What stands behind the sign never reaches a server.
    preview(&bob, &format!("{url}#part")).await.expect_ok().has("og:title", "First");
    assert_eq!(site.count("/page"), 1);
}

/// A page is asked again when its preview has expired, unless somebody wants to know what it was then.
/// spec: client-server-api/#get_matrixclientv1mediapreview_url
/// covers: GET /_matrix/client/v1/media/preview_url
/// not on synapse: previews are off there
#[tokio::test]
async fn expired_previews_are_made_anew() {
    let (_server, alice) = with_user(previewing().kith("url_previews.keep_hours", "0")).await;
    let site = Website::start().await;
    let url = site.url("/page");
    site.put("/page", Page::html("<title>First</title>"));
    preview(&alice, &url).await.expect_ok().has("og:title", "First");
    site.put("/page", Page::html("<title>Second</title>"));
    preview(&alice, &url).await.expect_ok().has("og:title", "Second");
    assert_eq!(site.count("/page"), 2);
    let then = preview(&alice, &url).query("ts", "1000000000000").await.expect_ok();
    assert_eq!((then.str("og:title"), site.count("/page")), ("First", 2));
}

/// Pages are asked for in the languages of the client, and what they say in one is not told in another.
/// spec: client-server-api/#get_matrixclientv1mediapreview_url
/// covers: GET /_matrix/client/v1/media/preview_url
/// not on synapse: previews are off there
#[tokio::test]
async fn languages_are_passed_on() {
    let (_server, alice) = with_user(previewing().kith("url_previews.languages", "\"fr\"")).await;
    let site = Website::start().await;
    let url = site.url("/page");
    let ask = async |languages: &str, title: &str| {
        site.put("/page", Page::html(&format!("<title>{title}</title>")));
        let request = preview(&alice, &url);
        let request =
            if languages.is_empty() { request } else { request.header("accept-language", languages) };
        request.await.expect_ok().str("og:title").to_owned()
    };
    assert_eq!(ask("de-CH, de;q=0.9", "Hallo").await, "Hallo");
    assert_eq!(ask("ja", "こんにちは").await, "こんにちは");
    assert_eq!(ask("", "Bonjour").await, "Bonjour");
    assert_eq!(ask("DE-ch, de;q=0.9", "unused").await, "Hallo");
    let heard: Vec<_> = site.heard().iter().map(|heard| heard.headers["accept-language"].clone()).collect();
    assert_eq!(heard, ["de-ch, de;q=0.9", "ja", "fr"]);
}

/// A page that could not be had is left alone for a while.
/// spec: client-server-api/#get_matrixclientv1mediapreview_url
/// covers: GET /_matrix/client/v1/media/preview_url
/// not on synapse: previews are off there
#[tokio::test]
async fn failures_are_not_repeated_at_once() {
    let (_server, alice) = with_user(previewing()).await;
    let site = Website::start().await;
    site.put("/page", Page::html("").status(503));
    for _ in 0..3 {
        preview(&alice, &site.url("/page")).await.expect_err(502, "M_UNKNOWN");
    }
    assert_eq!(site.count("/page"), 1);
}
