//! Headers in and out, ordinary and hostile.

use proptest::prelude::*;

use super::*;

#[test]
fn types_are_served_as_uploaded_or_not_at_all() {
    for kept in ["image/png", "text/plain; charset=koi8-r", "Image/PNG", "application/x-foo+bar;a=\"b c\""] {
        assert_eq!(served_type(Some(kept)), kept);
    }
    for refused in
        ["", "image", "image/", "/png", "im age/png", "image/png\r\nset-cookie: a=b", "image/pñg", "a/b/c"]
    {
        assert_eq!(served_type(Some(refused)), OCTET_STREAM, "{refused:?}");
    }
    assert_eq!(served_type(None), OCTET_STREAM);
    assert_eq!(served_type(Some(&format!("a/{}", "b".repeat(300)))), OCTET_STREAM);
}

#[test]
fn only_harmless_types_are_shown_in_place() {
    for inline in
        ["image/png", "IMAGE/PNG", "text/plain; charset=utf-8", "video/mp4;codecs=x", "audio/x-pn-wav"]
    {
        assert_eq!(disposition(inline, None), "inline", "{inline}");
    }
    for attachment in [
        "image/svg+xml",
        "text/html",
        "application/xhtml+xml",
        "application/pdf",
        "text/xml",
        "x/y",
        "image/png2",
    ] {
        assert_eq!(disposition(attachment, None), "attachment", "{attachment}");
    }
}

#[test]
fn names_are_written_so_that_all_browsers_read_them_alike() {
    for (name, expected) in [
        ("cat.png", "inline; filename=cat.png"),
        ("my cat.png", "inline; filename=\"my cat.png\""),
        ("a;b,c.png", "inline; filename=\"a;b,c.png\""),
        ("50%20.png", "inline; filename*=utf-8''50%2520.png"),
        ("say \"hi\".png", "inline; filename*=utf-8''say%20%22hi%22.png"),
        ("猫.png", "inline; filename*=utf-8''%E7%8C%AB.png"),
        ("a\r\nb: c", "inline; filename*=utf-8''a%0D%0Ab%3A%20c"),
        ("", "inline"),
    ] {
        assert_eq!(disposition("image/png", Some(name)), expected);
    }
}

#[test]
fn names_from_elsewhere_are_found() {
    for (header, expected) in [
        ("attachment; filename=cat.png", Some("cat.png")),
        ("attachment;filename=\"my; cat.png\" ; x=y", Some("my; cat.png")),
        ("inline; filename=\"say \\\"hi\\\".png\"", Some("say \"hi\".png")),
        ("inline; filename=fallback.png; filename*=UTF-8''%E7%8C%AB.png", Some("猫.png")),
        ("inline; filename*=UTF-8'en'%E2%82%AC%20rates", Some("€ rates")),
        ("inline; filename*=iso-8859-1''%E9t%E9", Some("été")),
        ("inline; filename*=utf-8''%FF; filename=a", Some("a")),
        ("inline; FileName=A", Some("A")),
        ("filename=a", Some("a")),
        ("inline; filename=\"never ends", Some("never ends")),
        ("inline", None),
        ("", None),
        ("inline; filename=", None),
        ("inline; filename", None),
    ] {
        assert_eq!(file_name(header).as_deref(), expected, "{header}");
    }
}

#[test]
fn parts_are_cut_as_asked() {
    let part = |start, end| Ranged::Part(ByteRange { start, end });
    for (header, expected) in [
        ("bytes=0-0", part(0, 1)),
        ("bytes=0-99", part(0, 100)),
        ("bytes=10-", part(10, 100)),
        ("bytes=-10", part(90, 100)),
        ("bytes=-1000", part(0, 100)),
        ("bytes=50-1000", part(50, 100)),
        ("BYTES = 1 - 2", part(1, 3)),
        ("bytes=0-99999999999999999999999999", part(0, 100)),
        ("bytes=100-", Ranged::Unsatisfiable),
        ("bytes=-0", Ranged::Unsatisfiable),
        ("bytes=5-4", Ranged::Whole),
        ("bytes=a-b", Ranged::Whole),
        ("bytes=-", Ranged::Whole),
        ("bytes=", Ranged::Whole),
        ("items=0-1", Ranged::Whole),
        ("bytes=0-1,5-6", Ranged::Whole),
        ("bytes=--1", Ranged::Whole),
    ] {
        assert_eq!(range(Some(header), 100), expected, "{header}");
    }
    assert_eq!(range(None, 100), Ranged::Whole);
    assert_eq!(range(Some("bytes=0-"), 0), Ranged::Unsatisfiable);
    assert_eq!(ByteRange { start: 2, end: 5 }.content_range(9), "bytes 2-4/9");
}

#[test]
fn tags_are_compared() {
    let tag = etag(&[0xAB; 32]);
    assert_eq!(tag, format!("\"{}\"", "ab".repeat(16)));
    for header in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}"), "*".to_owned()] {
        assert!(if_none_match(Some(&header), &tag), "{header}");
    }
    assert!(!if_none_match(Some("\"x\""), &tag));
    assert!(!if_none_match(None, &tag));
    assert!(if_range(None, &tag) && if_range(Some(&tag), &tag));
    assert!(!if_range(Some("Wed, 21 Oct 2015 07:28:00 GMT"), &tag));
}

#[test]
fn files_are_known_by_their_first_bytes() {
    for (head, expected) in [
        (b"\xFF\xD8\xFF\xE0".as_slice(), Some(Kind::Jpeg)),
        (b"\x89PNG\r\n\x1A\n....", Some(Kind::Png)),
        (b"GIF89a", Some(Kind::Gif)),
        (b"RIFF\0\0\0\0WEBPVP8 ", Some(Kind::Webp)),
        (b"\0\0\0\x1Cftypmif1\0\0\0\0mif1avif", Some(Kind::Avif)),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", Some(Kind::Heif)),
        (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", Some(Kind::QuickTime)),
        (b"\0\0\0\x18ftypisom\0\0\0\0isomiso2", Some(Kind::Mp4)),
        (b"\xFF\xFF\xFF\xFFftyp", Some(Kind::Mp4)),
        (b"\x1A\x45\xDF\xA3", Some(Kind::Matroska)),
        (b"<?xml version='1.0'?><!-- x --><svg xmlns='...'>", Some(Kind::Svg)),
        (b"\xEF\xBB\xBF \n<SVG>", Some(Kind::Svg)),
        (b"<!DOCTYPE html><html>", Some(Kind::Html)),
        (b"<html><svg></svg>", Some(Kind::Html)),
        (b"%PDF-1.7", Some(Kind::Pdf)),
        (b"plain", None),
        (b"", None),
    ] {
        assert_eq!(sniff(head), expected, "{:?}", String::from_utf8_lossy(head));
    }
}

proptest! {
    #[test]
    fn every_name_survives_the_header(name in "\\PC{1,80}|[\\x01-\\x7f]{1,20}") {
        let header = disposition("image/png", Some(&name));
        prop_assert!(header.bytes().all(|byte| matches!(byte, b' '..=b'~')));
        // Blanks around a name that stands in quotes are kept, too.
        let read = file_name(&header);
        prop_assert_eq!(read.as_deref(), Some(name.as_str()));
    }

    #[test]
    fn reading_headers_never_fails(header in "\\PC{0,60}|[ -~]{0,60}|(inline|;|=|\"|\\\\|filename|\\*|'|%|é){0,20}", size in any::<u64>()) {
        let _ = file_name(&header);
        let _ = served_type(Some(&header));
        let _ = disposition(&header, Some(&header));
        let _ = if_none_match(Some(&header), "\"a\"");
        if let Ranged::Part(part) = range(Some(&header), size) {
            prop_assert!(part.start < part.end && part.end <= size);
        }
        if let Ranged::Part(part) = range(Some(&format!("bytes={header}")), size) {
            prop_assert!(part.start < part.end && part.end <= size);
        }
    }

    #[test]
    fn ranges_stay_inside(start in any::<u64>(), end in any::<u64>(), size in any::<u64>()) {
        if let Ranged::Part(part) = range(Some(&format!("bytes={start}-{end}")), size) {
            prop_assert!(part.start < part.end && part.end <= size && !part.is_empty());
        }
    }

    #[test]
    fn sniffing_never_fails(head in prop::collection::vec(any::<u8>(), 0..64), ftyp in any::<bool>()) {
        let mut head = head;
        if ftyp && head.len() >= 8 {
            head[4..8].copy_from_slice(b"ftyp");
        }
        let _ = sniff(&head);
    }
}
