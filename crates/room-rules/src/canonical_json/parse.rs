//! Reading JSON with bounds on depth and numbers.

use std::borrow::Cow;

use thiserror::Error;

use super::{DuplicateKeys, MAX_DEPTH, MAX_INTEGER, Number, Numbers, Object, ParseOptions, Value, number};

/// Why a text is not acceptable JSON.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ParseError {
    /// The value could not be written as JSON at all.
    #[error("the value cannot be written as JSON")]
    NotJson,
    /// Not JSON.
    #[error("invalid JSON at byte {0}")]
    Syntax(usize),
    /// A string holds an escape that stands for no character, such as half of a surrogate pair.
    #[error("invalid escape in a string at byte {0}")]
    Escape(usize),
    /// Too many arrays and objects inside each other.
    #[error("nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// A float where only integers may be.
    #[error("floating point numbers are not allowed")]
    Float,
    /// An integer outside of the allowed range.
    #[error("an integer is outside of -(2^53 - 1) to 2^53 - 1")]
    IntegerOutOfRange,
    /// An object has the same key twice.
    #[error("an object has the same key twice")]
    DuplicateKey,
    /// JSON, but not an object.
    #[error("not a JSON object")]
    NotAnObject,
}

pub(super) fn parse(json: &str, options: ParseOptions) -> Result<Value<'_>, ParseError> {
    let mut parser = Parser { text: json, bytes: json.as_bytes(), at: 0, depth: 0, options };
    let value = parser.value()?;
    parser.skip_whitespace();
    if parser.at == parser.bytes.len() { Ok(value) } else { Err(parser.syntax()) }
}

struct Parser<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    depth: usize,
    options: ParseOptions,
}

impl<'a> Parser<'a> {
    fn syntax(&self) -> ParseError {
        ParseError::Syntax(self.at)
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_whitespace(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), ParseError> {
        if self.peek() == Some(byte) {
            self.at += 1;
            Ok(())
        } else {
            Err(self.syntax())
        }
    }

    fn value(&mut self) -> Result<Value<'a>, ParseError> {
        self.skip_whitespace();
        match self.peek() {
            Some(b'"') => self.string().map(Value::String),
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            Some(b'-' | b'0'..=b'9') => self.number().map(Value::Number),
            _ => Err(self.syntax()),
        }
    }

    fn nested(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<Value<'a>, ParseError>,
    ) -> Result<Value<'a>, ParseError> {
        if self.depth == MAX_DEPTH {
            return Err(ParseError::TooDeep);
        }
        self.depth += 1;
        self.at += 1;
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn word(&mut self, word: &str, value: Value<'a>) -> Result<Value<'a>, ParseError> {
        if self.bytes[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(value)
        } else {
            Err(self.syntax())
        }
    }

    /// The rest of an array, after its bracket.
    fn array(&mut self) -> Result<Value<'a>, ParseError> {
        let mut items = Vec::new();
        self.skip_whitespace();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Value::Array(items));
        }
        loop {
            items.push(self.value()?);
            self.skip_whitespace();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Value::Array(items));
                }
                _ => return Err(self.syntax()),
            }
        }
    }

    /// The rest of an object, after its brace.
    fn object(&mut self) -> Result<Value<'a>, ParseError> {
        let mut entries = Vec::new();
        self.skip_whitespace();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Value::Object(Object::new()));
        }
        loop {
            self.skip_whitespace();
            if self.peek() != Some(b'"') {
                return Err(self.syntax());
            }
            let key = self.string()?;
            self.skip_whitespace();
            self.expect(b':')?;
            entries.push((key, self.value()?));
            self.skip_whitespace();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    break;
                }
                _ => return Err(self.syntax()),
            }
        }
        let refuse_duplicates = self.options.duplicate_keys == DuplicateKeys::Refuse;
        Object::from_unsorted(entries, refuse_duplicates).map(Value::Object).ok_or(ParseError::DuplicateKey)
    }

    fn string(&mut self) -> Result<Cow<'a, str>, ParseError> {
        self.at += 1;
        let mut start = self.at;
        let mut unescaped: Option<String> = None;
        loop {
            match self.peek() {
                Some(b'"') => {
                    let tail = &self.text[start..self.at];
                    self.at += 1;
                    return Ok(match unescaped {
                        None => Cow::Borrowed(tail),
                        Some(mut string) => {
                            string.push_str(tail);
                            Cow::Owned(string)
                        }
                    });
                }
                Some(b'\\') => {
                    let string = unescaped.get_or_insert_default();
                    string.push_str(&self.text[start..self.at]);
                    let character = self.escape()?;
                    unescaped.get_or_insert_default().push(character);
                    start = self.at;
                }
                Some(0x20..) => self.at += 1,
                _ => return Err(self.syntax()),
            }
        }
    }

    fn escape(&mut self) -> Result<char, ParseError> {
        let start = self.at;
        self.at += 2;
        Ok(match self.bytes.get(start + 1) {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let first = self.hex4()?;
                let code = if (0xD800..0xDC00).contains(&first) {
                    if self.bytes.get(self.at..self.at + 2) != Some(b"\\u") {
                        return Err(ParseError::Escape(start));
                    }
                    self.at += 2;
                    let second = self.hex4()?;
                    if !(0xDC00..0xE000).contains(&second) {
                        return Err(ParseError::Escape(start));
                    }
                    0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00)
                } else {
                    first
                };
                char::from_u32(code).ok_or(ParseError::Escape(start))?
            }
            _ => return Err(ParseError::Escape(start)),
        })
    }

    fn hex4(&mut self) -> Result<u32, ParseError> {
        let digits = self.bytes.get(self.at..self.at + 4).ok_or(ParseError::Escape(self.at))?;
        let mut code = 0;
        for digit in digits {
            let digit = char::from(*digit).to_digit(16).ok_or(ParseError::Escape(self.at))?;
            code = code * 16 + digit;
        }
        self.at += 4;
        Ok(code)
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        self.at - start
    }

    fn number(&mut self) -> Result<Number<'a>, ParseError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let has_leading_zero = self.peek() == Some(b'0');
        let integer_digits = self.digits();
        if integer_digits == 0 || (has_leading_zero && integer_digits > 1) {
            return Err(self.syntax());
        }
        let mut is_float = false;
        if self.peek() == Some(b'.') {
            is_float = true;
            self.at += 1;
            if self.digits() == 0 {
                return Err(self.syntax());
            }
        }
        if let Some(b'e' | b'E') = self.peek() {
            is_float = true;
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            if self.digits() == 0 {
                return Err(self.syntax());
            }
        }
        self.number_value(&self.text[start..self.at], is_float)
    }

    fn number_value(&self, text: &'a str, is_float: bool) -> Result<Number<'a>, ParseError> {
        let is_strict = self.options.numbers == Numbers::Strict;
        if is_float {
            if is_strict {
                return Err(ParseError::Float);
            }
            let float: f64 = text.parse().map_err(|_| self.syntax())?;
            let text = number::float_text(float).ok_or(ParseError::IntegerOutOfRange)?;
            return Ok(Number::Text(Cow::Owned(text)));
        }
        match text.parse::<i64>() {
            // `-0` becomes 0, which is what other servers hash it as.
            Ok(int) if !is_strict || int.unsigned_abs() <= MAX_INTEGER.unsigned_abs() => Ok(Number::Int(int)),
            Err(_) if !is_strict => Ok(Number::Text(Cow::Borrowed(text))),
            _ => Err(ParseError::IntegerOutOfRange),
        }
    }
}
