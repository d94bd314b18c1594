//! An answer, and how a case judges it.

use std::ops::Index;

use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;

/// A complete answer. The `expect_…` methods fail the case with the request and the whole answer in the message.
#[derive(Clone, Debug)]
pub struct Response {
    /// Method, path and query of the request, for messages.
    pub request: String,
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as it came.
    pub body: Bytes,
    /// The body as JSON, `Null` when it is none.
    pub json: Value,
}

#[expect(clippy::return_self_not_must_use, reason = "an answer is judged further or dropped when it is good")]
impl Response {
    pub(crate) fn new(request: String, status: u16, headers: HeaderMap, body: Bytes) -> Self {
        let json = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Self { request, status, headers, body, json }
    }

    /// The answer is a 200 with a JSON object.
    #[track_caller]
    pub fn expect_ok(self) -> Self {
        let answer = self.expect_status(200);
        assert!(answer.json.is_object() || answer.json.is_array(), "{answer}: expected a JSON body");
        answer
    }

    /// The answer has this status.
    #[track_caller]
    pub fn expect_status(self, status: u16) -> Self {
        assert!(self.status == status, "{self}: expected {status}");
        self
    }

    /// The answer is a standard error: this status, this `errcode`, and a string in `error`.
    #[track_caller]
    pub fn expect_err(self, status: u16, errcode: &str) -> Self {
        assert!(
            self.status == status && self.json["errcode"] == errcode,
            "{self}: expected {status} {errcode}"
        );
        assert!(self.json["error"].is_string(), "{self}: `error` must be a string");
        self
    }

    /// The answer is one of these errors, where the specification leaves the choice.
    #[track_caller]
    pub fn expect_err_of(self, choices: &[(u16, &str)]) -> Self {
        let found =
            choices.iter().any(|(status, code)| self.status == *status && self.json["errcode"] == *code);
        assert!(found, "{self}: expected one of {choices:?}");
        self
    }

    /// The answer is some 4xx with some `errcode`: what hostile input must get.
    #[track_caller]
    pub fn expect_refused(self) -> Self {
        assert!((400..500).contains(&self.status), "{self}: expected a 4xx");
        assert!(self.json["errcode"].is_string(), "{self}: expected an `errcode`");
        self
    }

    /// The value at a JSON pointer (`/a/0/b`) or top-level key is exactly this.
    #[track_caller]
    pub fn has(self, key: &str, value: impl Into<Value>) -> Self {
        let value = value.into();
        assert!(*self.at(key) == value, "{self}: expected {value} at {key}");
        self
    }

    /// The key (or JSON pointer) is not there.
    #[track_caller]
    pub fn expect_absent(self, key: &str) -> Self {
        assert!(self.get(key).is_none(), "{self}: expected nothing at {key}");
        self
    }

    /// The value at a JSON pointer (`/a/0/b`) or top-level key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        if key.starts_with('/') { self.json.pointer(key) } else { self.json.get(key) }
    }

    /// The value at a JSON pointer or top-level key; its absence fails the case.
    #[track_caller]
    pub fn at(&self, key: &str) -> &Value {
        self.get(key).unwrap_or_else(|| panic!("{self}: nothing at {key}"))
    }

    /// The string at a JSON pointer or top-level key.
    #[track_caller]
    pub fn str(&self, key: &str) -> &str {
        self.at(key).as_str().unwrap_or_else(|| panic!("{self}: no string at {key}"))
    }

    /// The integer at a JSON pointer or top-level key.
    #[track_caller]
    pub fn int(&self, key: &str) -> i64 {
        self.at(key).as_i64().unwrap_or_else(|| panic!("{self}: no integer at {key}"))
    }

    /// The array at a JSON pointer or top-level key.
    #[track_caller]
    pub fn array(&self, key: &str) -> &Vec<Value> {
        self.at(key).as_array().unwrap_or_else(|| panic!("{self}: no array at {key}"))
    }

    /// The values of one field over an array: `answer.column("/devices", "device_id")`.
    #[track_caller]
    pub fn column(&self, array: &str, field: &str) -> Vec<String> {
        self.array(array).iter().filter_map(|row| row[field].as_str().map(str::to_owned)).collect()
    }

    /// A header's value, empty when it is absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

impl Index<&str> for Response {
    type Output = Value;

    #[track_caller]
    fn index(&self, key: &str) -> &Value {
        self.at(key)
    }
}

impl std::fmt::Display for Response {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const SHOWN: usize = 4_000;
        let body = String::from_utf8_lossy(&self.body);
        let shown: String = body.chars().take(SHOWN).collect();
        write!(formatter, "{} answered {} {shown}", self.request, self.status)
    }
}
