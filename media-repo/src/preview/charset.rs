//! The letters of a page, whatever they are encoded in.
//!
//! <https://html.spec.whatwg.org/multipage/parsing.html#determining-the-character-encoding>

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252, X_USER_DEFINED};

/// Pages say it within the first kilobyte, or should. Some have more before.
const PRESCAN_BYTES: usize = 4096;

/// The text of a page: by its byte order mark, by what the header says, by what it says itself, or as it looks.
pub(super) fn decode(body: &[u8], content_type: Option<&str>, host: Option<&str>) -> String {
    let encoding = Encoding::for_bom(body)
        .map(|(encoding, _)| encoding)
        .or_else(|| {
            content_type.and_then(charset_parameter).and_then(|label| Encoding::for_label(label.as_bytes()))
        })
        .or_else(|| declared(&body[..body.len().min(PRESCAN_BYTES)]))
        .unwrap_or_else(|| guess(body, host));
    encoding.decode(body).0.into_owned()
}

fn charset_parameter(content_type: &str) -> Option<&str> {
    content_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches(['"', '\'']))
    })
}

/// What the page says in `<meta>` or its XML declaration.
fn declared(head: &[u8]) -> Option<&'static Encoding> {
    let head = without_comments(head);
    let label = xml_encoding(&head).or_else(|| meta_charset(&head))?;
    let encoding = Encoding::for_label(label)?;
    // Whoever reads these letters at all has them in ASCII.
    Some(if encoding == UTF_16LE || encoding == UTF_16BE {
        UTF_8
    } else if encoding == X_USER_DEFINED {
        WINDOWS_1252
    } else {
        encoding
    })
}

fn without_comments(head: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(head.len());
    let mut rest = head;
    while let Some(start) = find(rest, b"<!--") {
        kept.extend_from_slice(&rest[..start]);
        match find(&rest[start + 4..], b"-->") {
            Some(end) => rest = &rest[start + 4 + end + 3..],
            None => return kept,
        }
    }
    kept.extend_from_slice(rest);
    kept
}

fn xml_encoding(head: &[u8]) -> Option<&[u8]> {
    let declaration = head.trim_ascii_start().strip_prefix(b"<?xml")?;
    let declaration = &declaration[..find(declaration, b"?>")?];
    let value = &declaration[find(declaration, b"encoding")? + 8..];
    label(value)
}

fn meta_charset(head: &[u8]) -> Option<&[u8]> {
    let mut rest = head;
    while let Some(start) = find(rest, b"<meta") {
        rest = &rest[start + 5..];
        let end = find(rest, b">").unwrap_or(rest.len());
        let mut tag = &rest[..end];
        while let Some(at) = find(tag, b"charset") {
            tag = &tag[at + 7..];
            if let Some(label) = label(tag) {
                return Some(label);
            }
        }
        rest = &rest[end..];
    }
    None
}

/// The value in ` = "utf-8" ...`.
fn label(text: &[u8]) -> Option<&[u8]> {
    let value = text.trim_ascii_start().strip_prefix(b"=")?.trim_ascii_start();
    let value = value.strip_prefix(b"\"").or_else(|| value.strip_prefix(b"'")).unwrap_or(value);
    let end = value.iter().position(|byte| b"\"'; />".contains(byte) || byte.is_ascii_whitespace());
    let value = &value[..end.unwrap_or(value.len())];
    (!value.is_empty()).then_some(value)
}

/// The first place of some bytes, small and capital letters being the same.
fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|part| part.eq_ignore_ascii_case(wanted))
}

fn guess(body: &[u8], host: Option<&str>) -> &'static Encoding {
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Allow);
    detector.feed(body, true);
    // Where a page stands says something about its language. Names of other shapes make the detector give up.
    let tld = host
        .and_then(|host| host.trim_end_matches('.').rsplit('.').next())
        .map(str::to_ascii_lowercase)
        .filter(|tld| !tld.is_empty() && tld.bytes().all(|byte| byte.is_ascii_lowercase()));
    detector.guess(tld.as_deref().map(str::as_bytes), Utf8Detection::Allow)
}
