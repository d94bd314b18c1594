//! `Content-Disposition`: whether a file is shown in place, and its name.
//!
//! <https://www.rfc-editor.org/rfc/rfc6266>, <https://www.rfc-editor.org/rfc/rfc8187>

use std::fmt::Write;

use super::media_type::{essence, is_inline, is_token, is_token_byte};

/// The most bytes of a name that go into a header. File systems end at 255.
const MAX_NAME_BYTES: usize = 1024;

/// What is done with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// It may be shown where it is.
    Inline,
    /// It is saved.
    Attachment,
}

impl Disposition {
    /// What is done with files of this type.
    pub fn of(content_type: &str) -> Self {
        if is_inline(content_type) { Self::Inline } else { Self::Attachment }
    }

    /// As the header says it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inline => "inline",
            Self::Attachment => "attachment",
        }
    }
}

/// The header for a file of this type and name.
///
/// A name that all browsers read alike stands as it is. Others are written with `filename*` alone: of two names in one
/// header some clients take the wrong one.
pub fn disposition(content_type: &str, name: Option<&str>) -> String {
    let mut header = Disposition::of(content_type).as_str().to_owned();
    let Some(name) = name.map(shortened).filter(|name| !name.is_empty()) else { return header };
    if is_token(name) && !name.contains(['%', '\'', '*']) {
        header.push_str("; filename=");
        header.push_str(name);
    } else if name.bytes().all(|byte| matches!(byte, b' '..=b'~') && !b"\"\\%".contains(&byte)) {
        header.push_str("; filename=\"");
        header.push_str(name);
        header.push('"');
    } else {
        header.push_str("; filename*=utf-8''");
        percent_encode(name, &mut header);
    }
    header
}

/// The header for a thumbnail of this type.
pub fn thumbnail_disposition(content_type: &str) -> &'static str {
    match essence(content_type).as_str() {
        "image/jpeg" => "inline; filename=thumbnail.jpg",
        "image/png" => "inline; filename=thumbnail.png",
        "image/apng" => "inline; filename=thumbnail.apng",
        "image/gif" => "inline; filename=thumbnail.gif",
        "image/webp" => "inline; filename=thumbnail.webp",
        _ => "inline; filename=thumbnail",
    }
}

fn shortened(name: &str) -> &str {
    &name[..name.floor_char_boundary(MAX_NAME_BYTES)]
}

fn percent_encode(name: &str, out: &mut String) {
    for byte in name.bytes() {
        if is_token_byte(byte) && !b"*'%".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

/// The name in a header that another server sent. `filename*` counts before `filename`; what makes no sense counts as
/// missing.
pub fn file_name(header: &str) -> Option<String> {
    let mut plain = None;
    let mut extended = None;
    for (key, value) in Parameters::after_type(header) {
        match key.to_ascii_lowercase().as_str() {
            "filename" => plain = plain.or(Some(value)),
            "filename*" => extended = extended.or_else(|| decode_extended(&value)),
            _ => {}
        }
    }
    extended
        .or(plain)
        .map(|name| shortened(&name).to_owned())
        .filter(|name| !name.is_empty() && !name.contains('\0'))
}

/// `UTF-8'en'%e2%82%ac%20rates`: character set, language, and the text in percent encoding.
fn decode_extended(value: &str) -> Option<String> {
    let mut parts = value.splitn(3, '\'');
    let (charset, _language, text) = (parts.next()?, parts.next()?, parts.next()?);
    let bytes = percent_decode(text)?;
    if charset.eq_ignore_ascii_case("utf-8") {
        String::from_utf8(bytes).ok()
    } else if charset.eq_ignore_ascii_case("iso-8859-1") {
        Some(bytes.into_iter().map(char::from).collect())
    } else {
        None
    }
}

fn percent_decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let (high, low) = (hex(rest.next()?)?, hex(rest.next()?)?);
            bytes.push(high << 4 | low);
        } else {
            bytes.push(byte);
        }
    }
    Some(bytes)
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

/// The parameters of a header like `attachment; filename="a;b"; x=y`.
struct Parameters<'a> {
    rest: &'a str,
}

impl<'a> Parameters<'a> {
    fn after_type(header: &'a str) -> Self {
        // A header that forgets the type begins with a parameter.
        let rest = match header.split_once(';') {
            Some((first, rest)) if !first.contains('=') => rest,
            Some(_) => header,
            None if header.contains('=') => header,
            None => "",
        };
        Self { rest }
    }
}

impl Iterator for Parameters<'_> {
    type Item = (String, String);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            self.rest = self.rest.trim_start_matches([' ', '\t', ';']);
            if self.rest.is_empty() {
                return None;
            }
            let end = self.rest.find(['=', ';']).unwrap_or(self.rest.len());
            let key = self.rest[..end].trim().to_owned();
            if !self.rest[end..].starts_with('=') {
                // A parameter without a value says nothing.
                self.rest = &self.rest[end..];
                continue;
            }
            self.rest = self.rest[end + 1..].trim_start_matches([' ', '\t']);
            let value = if let Some(quoted) = self.rest.strip_prefix('"') {
                self.quoted(quoted.len())
            } else {
                let end = self.rest.find(';').unwrap_or(self.rest.len());
                let value = self.rest[..end].trim().to_owned();
                self.rest = &self.rest[end..];
                value
            };
            return Some((key, value));
        }
    }
}

impl Parameters<'_> {
    /// Reads a string in quotes, `length` bytes before the end of the header. One that does not end takes the rest.
    fn quoted(&mut self, length: usize) -> String {
        let inside = &self.rest[self.rest.len() - length..];
        let mut value = String::new();
        let mut chars = inside.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.rest = &inside[at + 1..];
                    return value;
                }
                '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
                c => value.push(c),
            }
        }
        self.rest = "";
        value
    }
}
