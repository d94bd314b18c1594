//! JSON in the form that Matrix hashes and signs.
//!
//! [`Value`] is a tree that borrows from the text it was read from; [`Value::write`] emits it with sorted
//! keys and no whitespace. Room versions 1 to 5 allow numbers that later versions refuse, which is why this
//! module exists beside ruma's (which knows integers up to 2^53 - 1 only).
//!
//! Specification: <https://spec.matrix.org/v1.19/appendices/#canonical-json>

mod number;
mod object;
mod parse;

use std::{borrow::Cow, fmt::Write as _};

use ruma::room_version_rules::RoomVersionRules;
use serde::Serialize;

use crate::room_version::RoomVersionRulesExt as _;

pub use self::{number::Number, object::Object, parse::ParseError};

/// How many arrays and objects may be open at once.
///
/// Whatever is accepted here is later sent out again inside other JSON (a sync response wraps an event in
/// about ten levels, more where it is bundled into another event). Common JSON readers, serde_json among
/// them, give up at 128 levels, so that an event much deeper than this would make whole responses unreadable
/// to clients and servers alike.
pub const MAX_DEPTH: usize = 100;

/// The largest integer (and, negated, the smallest) that canonical JSON can express: 2^53 - 1.
pub const MAX_INTEGER: i64 = (1 << 53) - 1;

/// A JSON value. Objects are sorted by key.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number.
    Number(Number<'a>),
    /// A string, with escapes resolved.
    String(Cow<'a, str>),
    /// An array.
    Array(Vec<Value<'a>>),
    /// An object.
    Object(Object<'a>),
}

/// Which numbers a text may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// Integers from -(2^53 - 1) to 2^53 - 1.
    Strict,
    /// Any finite number (room versions 1 to 5).
    Lenient,
}

/// What to do with an object that names a key twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DuplicateKeys {
    /// Refuse the text: readers would disagree on what it means.
    Refuse,
    /// Take the last. Other servers have hashed an event in this reading, so refusing it would split the room.
    LastWins,
}

/// What [`Value::parse`] accepts.
#[derive(Clone, Copy, Debug)]
pub struct ParseOptions {
    /// Which numbers are allowed.
    pub numbers: Numbers,
    /// What to do about repeated keys.
    pub duplicate_keys: DuplicateKeys,
}

impl ParseOptions {
    /// For JSON that has no room version: signed requests, keys, device keys.
    pub const STRICT: Self = Self { numbers: Numbers::Strict, duplicate_keys: DuplicateKeys::Refuse };

    /// For content that a client sends into a room.
    pub fn client(rules: &RoomVersionRules) -> Self {
        Self { numbers: Numbers::of(rules), duplicate_keys: DuplicateKeys::Refuse }
    }

    /// For an event received from another server.
    pub fn federation(rules: &RoomVersionRules) -> Self {
        Self { numbers: Numbers::of(rules), duplicate_keys: DuplicateKeys::LastWins }
    }
}

impl Numbers {
    fn of(rules: &RoomVersionRules) -> Self {
        if rules.strict_canonical_json() { Self::Strict } else { Self::Lenient }
    }
}

impl<'a> Value<'a> {
    /// Reads a whole text.
    pub fn parse(json: &'a str, options: ParseOptions) -> Result<Self, ParseError> {
        parse::parse(json, options)
    }

    /// Appends the canonical form.
    pub fn write(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(true) => out.push_str("true"),
            Self::Bool(false) => out.push_str("false"),
            Self::Number(number) => number.write(out),
            Self::String(string) => write_string(string, out),
            Self::Array(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    item.write(out);
                }
                out.push(']');
            }
            Self::Object(object) => object.write(out),
        }
    }

    /// The canonical form.
    pub fn to_canonical_string(&self) -> String {
        let mut out = String::with_capacity(256);
        self.write(&mut out);
        out
    }

    /// The string, if this is one.
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(string) = self { Some(string) } else { None }
    }

    /// The integer, if this is one that fits.
    pub fn as_int(&self) -> Option<i64> {
        if let Self::Number(Number::Int(int)) = self { Some(*int) } else { None }
    }

    /// The boolean, if this is one.
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(bool) = self { Some(*bool) } else { None }
    }

    /// The items, if this is an array.
    pub fn as_array(&self) -> Option<&[Value<'a>]> {
        if let Self::Array(items) = self { Some(items) } else { None }
    }

    /// The members, if this is an object.
    pub fn as_object(&self) -> Option<&Object<'a>> {
        if let Self::Object(object) = self { Some(object) } else { None }
    }

    /// The members for changing, if this is an object.
    pub fn as_object_mut(&mut self) -> Option<&mut Object<'a>> {
        if let Self::Object(object) = self { Some(object) } else { None }
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(value: &'a str) -> Self {
        Self::String(Cow::Borrowed(value))
    }
}

impl From<String> for Value<'_> {
    fn from(value: String) -> Self {
        Self::String(Cow::Owned(value))
    }
}

impl<'a> From<Object<'a>> for Value<'a> {
    fn from(value: Object<'a>) -> Self {
        Self::Object(value)
    }
}

/// The canonical JSON of anything serde can write.
pub fn to_canonical_string(value: &impl Serialize, options: ParseOptions) -> Result<String, ParseError> {
    let json = serde_json::to_string(value).map_err(|_| ParseError::NotJson)?;
    Ok(Value::parse(&json, options)?.to_canonical_string())
}

/// Appends a JSON string with the shortest escapes.
pub(crate) fn write_string(string: &str, out: &mut String) {
    out.push('"');
    let mut written = 0;
    for (index, byte) in string.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            0x08 => "\\b",
            b'\t' => "\\t",
            b'\n' => "\\n",
            0x0C => "\\f",
            b'\r' => "\\r",
            0x00..0x20 => "",
            _ => continue,
        };
        out.push_str(&string[written..index]);
        written = index + 1;
        if escape.is_empty() {
            write!(out, "\\u{byte:04x}").expect("writing to a String never fails");
        } else {
            out.push_str(escape);
        }
    }
    out.push_str(&string[written..]);
    out.push('"');
}
