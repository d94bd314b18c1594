//! Pages of all kinds, and what is made of them.

use proptest::prelude::*;

use super::*;

fn at(url: &str) -> Url {
    url.parse().unwrap()
}

fn preview_of(html: &str) -> Map<String, Value> {
    assemble(&Page::read(html), &Described::default(), &at("https://example.org/a/b"))
}

fn said<'a>(preview: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    preview.get(name).and_then(Value::as_str)
}

#[test]
fn pages_speak_for_themselves() {
    let preview = preview_of(
        "<html><head><title>Other</title>
         <meta property='og:title' content='  A &quot;title&quot;\n &amp; more '>
         <meta property=\"og:description\" content=\"What it is&#8217;about\">
         <meta property=og:site_name content=Site>
         <meta property='og:type' content='article'><meta property='og:type' content='second'>
         <meta property='og:url' content='/canonical'>
         <meta name='twitter:title' content='Not this'>
         </head><body><p>Text</body>",
    );
    assert_eq!(said(&preview, "og:title"), Some("A \"title\" & more"));
    assert_eq!(said(&preview, "og:description"), Some("What it is’about"));
    assert_eq!(said(&preview, "og:site_name"), Some("Site"));
    assert_eq!(said(&preview, "og:type"), Some("article"));
    assert_eq!(said(&preview, "og:url"), Some("https://example.org/canonical"));
}

#[test]
fn other_words_do_where_open_graph_is_missing() {
    let twitter = preview_of(
        "<meta name='twitter:title' content='T'><meta name='twitter:description' content='D'>
         <meta name='twitter:site' content='@site'>",
    );
    assert_eq!((said(&twitter, "og:title"), said(&twitter, "og:description")), (Some("T"), Some("D")));
    assert_eq!(said(&twitter, "og:site_name"), Some("@site"));

    let plain = preview_of("<TITLE>Plain</TITLE><META NAME=Description CONTENT='About'>");
    assert_eq!((said(&plain, "og:title"), said(&plain, "og:description")), (Some("Plain"), Some("About")));

    let nothing = preview_of(
        "<header>Menu</header><nav><a>Home</a></nav><script>var a = '<p>code</p>';</script><style>p{}</style>
         <svg><title>Icon</title></svg><h1>Heading</h1><p>First <b>paragraph</b>.</p><p>Second.<footer>Imprint</footer>",
    );
    assert_eq!(said(&nothing, "og:title"), Some("Heading"));
    assert_eq!(said(&nothing, "og:description"), Some("Heading First paragraph. Second."));
    assert_eq!(preview_of(""), Map::new());
}

#[test]
fn a_page_cannot_say_what_is_ours_to_say() {
    let preview = preview_of(
        "<meta property='og:image' content='mxc://evil/a'><meta property='og:image:width' content='9'>
         <meta property='og:image:url' content='https://x/'><meta property='matrix:image:size' content='1'>
         <meta property='og:url' content='javascript:alert(1)'><meta property='og:video' content='data:text/html,x'>
         <meta property='og:audio:secure_url' content='file:///etc/passwd'><meta property='og:sp ace' content='x'>
         <meta property='og:title' content='safe\u{202E}txt.exe\u{0000}\u{0007}'>",
    );
    assert_eq!(preview.keys().collect::<Vec<_>>(), ["og:title"]);
    assert_eq!(said(&preview, "og:title"), Some("safetxt.exe"));
}

#[test]
fn what_a_page_says_is_bounded() {
    let tags =
        (0..1000).map(|number| format!("<meta property='og:x{number}' content='{}'>", "long ".repeat(1000)));
    let title = format!("<title>{}</title>", "長".repeat(10_000));
    let page = tags.chain([title, "<div>".repeat(100_000)]).collect::<String>();
    let preview = preview_of(&page);
    assert!(preview.len() <= 55, "{}", preview.len());
    assert!(Value::Object(preview).to_string().len() < 100_000);
    let long =
        preview_of(&format!("<title>{}</title><p>{}", "長".repeat(10_000), "words and ".repeat(10_000)));
    assert_eq!(said(&long, "og:title").unwrap().chars().count(), 300);
    let description = said(&long, "og:description").unwrap();
    assert!(description.ends_with('…') && description.chars().count() <= 500, "{description}");
    assert!(!description.ends_with("wor…") && !description.ends_with("an…"));
}

#[test]
fn every_language_is_read() {
    // The same page in the encodings of the world, declared in every way there is.
    for (label, text) in [
        ("utf-8", "Grüße, 世界 🌍"),
        ("shift_jis", "こんにちは世界"),
        ("euc-jp", "こんにちは世界"),
        ("iso-2022-jp", "こんにちは世界"),
        ("gb18030", "你好，世界"),
        ("big5", "你好，世界"),
        ("euc-kr", "안녕하세요 세계"),
        ("koi8-r", "Привет, мир"),
        ("windows-1251", "Привет, мир"),
        ("windows-1252", "Größe, à côté"),
        ("iso-8859-2", "Příliš žluťoučký kůň"),
        ("windows-1253", "Γειά σου κόσμε"),
        ("windows-1255", "שלום עולם"),
        ("windows-1256", "مرحبا بالعالم"),
        ("tis-620", "สวัสดีชาวโลก"),
    ] {
        let encoding = encoding_rs::Encoding::for_label(label.as_bytes()).unwrap();
        let encoded = |page: &str| {
            let (bytes, _, has_errors) = encoding.encode(page);
            assert!(!has_errors, "{label}");
            bytes.into_owned()
        };
        let title = |body: &[u8], header: Option<&str>| {
            Page::read(&charset::decode(body, header, None)).title.unwrap()
        };
        let page = |head: &str| encoded(&format!("{head}<title>{text}</title>"));
        assert_eq!(
            title(&page(""), Some(&format!("text/html; charset=\"{label}\""))),
            text,
            "{label} in the header"
        );
        assert_eq!(title(&page(&format!("<meta charset={label}>")), None), text, "{label} in <meta>");
        let http_equiv = format!("<META http-equiv='Content-Type' content='text/html; charset={label}'>");
        assert_eq!(title(&page(&http_equiv), Some("text/html")), text, "{label} in <meta http-equiv>");
        let xml = format!("<?xml version='1.0' encoding='{label}'?>");
        assert_eq!(title(&page(&xml), None), text, "{label} in XML");
        let commented =
            format!("<!-- <meta charset=utf-16> --><meta name=a content=b><meta charset='{label}'/>");
        assert_eq!(title(&page(&commented), None), text, "{label} behind a comment");
    }
    for (bom, body) in [
        (
            b"\xFF\xFE".as_slice(),
            "<title>世界</title>".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>(),
        ),
        (b"\xFE\xFF", "<title>世界</title>".encode_utf16().flat_map(u16::to_be_bytes).collect()),
        (b"\xEF\xBB\xBF", "<title>世界</title>".as_bytes().to_vec()),
    ] {
        let page = [bom, &body].concat();
        let text = charset::decode(&page, Some("text/html; charset=koi8-r"), None);
        assert_eq!(Page::read(&text).title.as_deref(), Some("世界"));
    }
}

#[test]
fn undeclared_encodings_are_guessed() {
    let russian = "<title>Новости дня: в городе открылась новая библиотека</title><p>Сегодня утром состоялось открытие.";
    let japanese =
        "<title>本日のニュース</title><p>新しい図書館が今朝、市内にオープンしました。多くの人が訪れました。";
    for (encoding, page, host) in [
        (encoding_rs::WINDOWS_1251, russian, Some("news.example.ru")),
        (encoding_rs::KOI8_R, russian, None),
        (encoding_rs::SHIFT_JIS, japanese, Some("example.jp.")),
        (encoding_rs::EUC_JP, japanese, Some("EXAMPLE.JP")),
        (encoding_rs::UTF_8, japanese, Some("[::1]")),
        (encoding_rs::UTF_8, russian, Some("xn--e1afmkfd.xn--p1ai")),
    ] {
        let body = encoding.encode(page).0;
        assert_eq!(charset::decode(&body, Some("text/html"), host), page, "{} of {host:?}", encoding.name());
    }
}

#[test]
fn pictures_are_tried_best_first() {
    let page = Page::read(
        "<base href='https://cdn.example.org/x/'><img src=first.png width=10><img src='data:image/png;base64,AA'>
         <img src=second.png><nav><img src=menu.png></nav><link rel='image_src' href='linked.png'>
         <meta property='og:image' content='  /og.png '><meta name='twitter:image' content='tw.png'>",
    );
    let base = web_address(&at("https://example.org/"), page.base.as_deref().unwrap()).unwrap();
    let described = Described { image: Some("ftp://x/y".to_owned()), ..Described::default() };
    let candidates = pictures(&page, &described, &base);
    let named: Vec<_> = candidates.named.iter().map(Url::as_str).collect();
    assert_eq!(
        named,
        [
            "https://cdn.example.org/og.png",
            "https://cdn.example.org/x/tw.png",
            "https://cdn.example.org/x/linked.png"
        ]
    );
    let found: Vec<_> = candidates.found.iter().map(Url::as_str).collect();
    assert_eq!(found, ["https://cdn.example.org/x/second.png"]);
}

#[test]
fn oembed_is_read() {
    let video = br#"{"version":"1.0","type":"video","title":"Film","provider_name":"Tube","thumbnail_url":"https://x/t.jpg"}"#;
    let described = Described::read(video).unwrap();
    assert_eq!(described.title.as_deref(), Some("Film"));
    assert_eq!((described.kind, described.image.as_deref()), (Some("video.other"), Some("https://x/t.jpg")));
    let message = br#"{"version":1,"type":"rich","author_name":"A","html":"<blockquote><p>Said &amp; done</p><script>x</script>"}"#;
    let described = Described::read(message).unwrap();
    assert_eq!(
        (described.title.as_deref(), described.description.as_deref()),
        (Some("A"), Some("Said & done"))
    );
    for nonsense in [b"".as_slice(), b"[]", b"{}", b"{\"version\":\"2.0\"}", b"<xml>", b"{\"version\":[]}"] {
        assert_eq!(Described::read(nonsense), None);
    }
    let page = Page::read("<link rel='alternate' type='application/json+oembed' href='/oembed?a=b&amp;c=d'>");
    assert_eq!(page.oembed.as_deref(), Some("/oembed?a=b&c=d"));
    assert!(wants_oembed(&page));
}

#[test]
fn patterns_name_urls() {
    for (pattern, url, expected) in [
        ("example.org", "https://example.org/a", true),
        ("example.org", "https://EXAMPLE.org./a", true),
        ("example.org", "https://a.example.org/", false),
        ("*.example.org", "https://a.b.example.org/", true),
        ("*.example.org", "https://example.org/", false),
        ("example.org/private/*", "https://example.org/private/x?y", true),
        ("example.org/private/*", "https://example.org/public", false),
        ("http://*", "http://example.org/", true),
        ("http://*", "https://example.org/", false),
        ("*:8080", "http://example.org:8080/", true),
        ("*:80", "http://example.org/", true),
        ("*:8080", "http://example.org/", false),
        ("bücher.example", "https://xn--bcher-kva.example/", false),
        ("[::1]:80", "http://[::1]/", true),
        ("[::1]", "http://[::1]/", true),
    ] {
        assert_eq!(pattern.parse::<UrlPattern>().unwrap().matches(&at(url)), expected, "{pattern} {url}");
    }
    for nonsense in ["", "/path", "://x", "a b", "host:port"] {
        assert!(nonsense.parse::<UrlPattern>().is_err(), "{nonsense}");
    }
}

#[test]
fn languages_are_passed_on_if_they_make_sense() {
    assert_eq!(clean_languages(" de-CH, fr;q=0.9, *;q=0.1 ").as_deref(), Some("de-ch, fr;q=0.9, *;q=0.1"));
    for refused in ["", "de\r\nx: y", "日本語", &"a".repeat(300)] {
        assert_eq!(clean_languages(refused), None);
    }
}

#[test]
fn files_are_called_by_their_names() {
    let found = |url: &str, disposition: Option<&str>| Found {
        url: at(url),
        content_type: Some("application/pdf".to_owned()),
        disposition: disposition.map(str::to_owned),
        body: bytes::Bytes::new(),
    };
    let title = |found: Found| said(&of_file(&found), "og:title").map(str::to_owned);
    assert_eq!(title(found("https://x/a/b%20c.pdf?q", None)).as_deref(), Some("b c.pdf"));
    assert_eq!(title(found("https://x/a+b&c=d%E7%8C%AB.pdf", None)).as_deref(), Some("a+b&c=d猫.pdf"));
    assert_eq!(title(found("https://x/a", Some("attachment; filename=\"r.pdf\""))).as_deref(), Some("r.pdf"));
    assert_eq!(title(found("https://x/", None)), None);
}

#[test]
fn a_preview_of_then_is_good_if_a_new_one_is_farther_away() {
    let stored = UrlPreview { fetched_at: 1000, expires_at: 2000, body: String::new(), image_uri: None };
    assert!(is_good(&stored, 1999, None));
    assert!(!is_good(&stored, 2000, None));
    assert!(is_good(&stored, 5000, Some(900)) && is_good(&stored, 5000, Some(i64::MIN)));
    assert!(!is_good(&stored, 5000, Some(4900)) && !is_good(&stored, 5000, Some(i64::MAX)));
}

proptest! {
    #[test]
    fn no_page_is_too_broken(
        parts in prop::collection::vec(
            prop_oneof![
                Just("<meta property='og:title' content='"), Just("<title>"), Just("</title>"), Just("<svg>"), Just("</"),
                Just("<script>"), Just("<!--"), Just("-->"), Just("<![CDATA["), Just("'>"), Just("&#x110000;"), Just("&amp"),
                Just("<p"), Just("<img src="), Just("<base href=//["), Just("<plaintext>"), Just("\0"), Just("é"), Just("\u{202E}"),
            ],
            0..40,
        ),
        rest in "\\PC{0,40}",
    ) {
        let html = parts.concat() + &rest;
        let page = Page::read(&html);
        let url = at("https://example.org/");
        let preview = assemble(&page, &Described::default(), &url);
        prop_assert!(!Value::Object(preview).to_string().contains("\\u0000"));
        let _ = pictures(&page, &Described::default(), &url);
    }

    #[test]
    fn no_bytes_are_too_strange(body in prop::collection::vec(any::<u8>(), 0..300), header in "[ -~]{0,40}", host in "[a-z.\\[\\]:0-9-]{0,20}") {
        let text = charset::decode(&body, Some(&header), Some(&host));
        let _ = Page::read(&text);
        let declared = [b"<meta charset=".as_slice(), &body].concat();
        let _ = charset::decode(&declared, Some(&format!("text/html; charset={header}")), Some(&host));
        let _ = Described::read(&body);
    }

    #[test]
    fn lines_are_short_and_clean(text in "\\PC{0,200}|[\\x00-\\x20a\u{202E}\u{FEFF}]{0,50}", max in 1_usize..60) {
        if let Some(line) = text::line(&text, max) {
            prop_assert!(!line.is_empty() && line.chars().count() <= max + 1);
            let is_clean = line.chars().all(|c| !c.is_control() && c != '\u{202E}');
            prop_assert!(is_clean);
        }
    }

    #[test]
    fn patterns_take_any_text(pattern in "[a-z*./:\\[\\]]{0,30}", url in "https?://[a-z.]{1,20}(/[a-z*/]{0,20})?") {
        if let (Ok(pattern), Ok(url)) = (pattern.parse::<UrlPattern>(), url.parse::<Url>()) {
            let _ = pattern.matches(&url);
        }
    }
}
