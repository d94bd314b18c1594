//! `Range`: which part of a file is wanted.
//!
//! <https://www.rfc-editor.org/rfc/rfc9110#name-range-requests>

/// A part of a file that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    /// The first byte.
    pub start: u64,
    /// The byte behind the last.
    pub end: u64,
}

impl ByteRange {
    /// How many bytes.
    pub const fn len(self) -> u64 {
        self.end - self.start
    }

    /// Never: a part without bytes cannot be asked for.
    pub const fn is_empty(self) -> bool {
        self.end == self.start
    }

    /// The header `Content-Range` of an answer with this part of a file of `size` bytes.
    pub fn content_range(self, size: u64) -> String {
        format!("bytes {}-{}/{size}", self.start, self.end - 1)
    }
}

/// What is to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ranged {
    /// The whole file (200): nothing else was asked for, or in a way that is passed over.
    Whole,
    /// A part of it (206).
    Part(ByteRange),
    /// Nothing (416), with `Content-Range: bytes */SIZE`: the file has no such part.
    Unsatisfiable,
}

/// What a `Range` header asks for of a file of `size` bytes.
///
/// Several parts at once are answered with the whole file, as a server may: players and resumed downloads ask for one, and
/// many small parts cost more than they are worth.
pub fn range(header: Option<&str>, size: u64) -> Ranged {
    let Some(wanted) = header.map(str::trim).and_then(bytes_unit) else { return Ranged::Whole };
    if wanted.contains(',') {
        return Ranged::Whole;
    }
    let Some((first, last)) = wanted.trim().split_once('-') else { return Ranged::Whole };
    match (number(first), number(last)) {
        // The last so many bytes.
        (None, Some(0)) if first.trim().is_empty() => Ranged::Unsatisfiable,
        (None, Some(count)) if first.trim().is_empty() => part(size.saturating_sub(count), size, size),
        (Some(start), None) if last.trim().is_empty() => part(start, size, size),
        (Some(start), Some(last)) if start <= last => part(start, last.saturating_add(1), size),
        // Not a range: as if nothing had been asked for.
        _ => Ranged::Whole,
    }
}

fn bytes_unit(header: &str) -> Option<&str> {
    let (unit, wanted) = header.split_once('=')?;
    unit.trim().eq_ignore_ascii_case("bytes").then_some(wanted)
}

fn part(start: u64, end: u64, size: u64) -> Ranged {
    let end = end.min(size);
    if start >= end { Ranged::Unsatisfiable } else { Ranged::Part(ByteRange { start, end }) }
}

/// Digits and nothing else. What is beyond all files is as good as the greatest number.
fn number(text: &str) -> Option<u64> {
    let text = text.trim();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(u64::MAX))
}
