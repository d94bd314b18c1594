//! Input that no honest client sends, generated from the specification's OpenAPI.

use serde_json::{Map, Value, json};

/// The values that a field of this type must not have, and extremes that it may have.
pub fn wrong_values(shape: &Value) -> Vec<Value> {
    let is = |kind: &str| shape == kind;
    let mut values =
        vec![Value::Null, json!(-1), json!([]), json!({}), json!([[[]]]), json!({"a": {"b": null}})];
    if !is("string") {
        values.extend([json!("text"), json!("")]);
    }
    if !is("integer") && !is("number") {
        values.push(json!(7));
    }
    if !is("boolean") {
        values.push(json!(true));
    }
    values.push(json!(1.5));
    if shape.is_array() {
        values.extend([json!([null]), json!([1, "a", {}]), json!({"0": "a"})]);
    }
    if shape.is_object() {
        values.extend([json!([{"a": 1}]), json!({"": ""})]);
    }
    values
}

/// Values of the right type for almost any field that nobody expects, as raw JSON: some cannot be said otherwise.
pub fn extreme_values() -> Vec<String> {
    let text = |text: &str| json!(text).to_string();
    vec![
        text("\u{0}"),
        text("a\u{0}b"),
        text("\u{202E}\u{FEFF}\u{FFFF}\u{10FFFF}"),
        text(&"x".repeat(300)),
        text(&"\u{1F4A9}".repeat(20_000)),
        text("'; DROP TABLE users; --"),
        text("../../../../etc/passwd"),
        text("%00%ff"),
        text("@"),
        text("!"),
        text("@:"),
        text("@a:b:c:d"),
        text("$\n"),
        r#""\ud800""#.to_owned(),
        r#""\udfff\ud800x""#.to_owned(),
        "9007199254740992".to_owned(),
        "-9007199254740992".to_owned(),
        "9223372036854775807".to_owned(),
        "-9223372036854775808".to_owned(),
        "18446744073709551616".to_owned(),
        "1e400".to_owned(),
        "-1e400".to_owned(),
        "1e-400".to_owned(),
        "0.1".to_owned(),
        "-0".to_owned(),
        "9".repeat(1_000),
        format!("{}1{}", "[".repeat(60), "]".repeat(60)),
        format!("{}1{}", "{\"a\":".repeat(60), "}".repeat(60)),
        format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000)),
        format!("[{}1]", "1,".repeat(20_000)),
    ]
}

/// Whole bodies that are not the object a request wants.
pub fn wrong_bodies() -> Vec<Vec<u8>> {
    let mut bodies: Vec<Vec<u8>> = [
        "",
        " ",
        "[]",
        "[{}]",
        "null",
        "true",
        "0",
        "\"text\"",
        "{",
        "}",
        "{}{}",
        "{\"a\"}",
        "{\"a\":}",
        "{a:1}",
        "{\"a\":1,}",
        "{'a':1}",
        "{\"a\":1 \"b\":2}",
        "NaN",
        "{\"a\":NaN}",
        "{\"a\":Infinity}",
        "{\"a\":01}",
        "{\"a\":\"\n\"}",
        "{\"a\":\"\\x41\"}",
        "{\"\\u0000\":1}",
        "/* no */{}",
        "<xml/>",
        "a=b&c=d",
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect();
    bodies.push(b"\xef\xbb\xbf{}".to_vec());
    bodies.push(b"{\"a\":\"\xc3\x28\"}".to_vec());
    bodies.push(b"{\"a\":\"\xed\xa0\x80\"}".to_vec());
    bodies.push(b"\xff\xfe{\x00}\x00".to_vec());
    bodies.push(vec![0; 64]);
    bodies.push("[".repeat(100_000).into_bytes());
    bodies.push("{\"a\":".repeat(100_000).into_bytes());
    bodies
}

/// What stands in a path where an identifier should be, percent-encoded.
pub const WRONG_SEGMENTS: &[&str] = &[
    "%00",
    "a%00b",
    "%FF%FE",
    "%C3%28",
    "%ED%A0%80",
    "%20",
    "%2F",
    "..%2F..%2Fetc",
    "%2e%2e",
    "%25",
    "%",
    "%zz",
    "@",
    "!",
    "$",
    "%23",
    "@%3A",
    "!%3A",
    "%40a%3Ab%3Ac%3Ad",
    "-1",
    "0",
    "99999999999999999999",
    "{}",
    "%7B%7D",
    "%5B%5D",
    "null",
    "%F0%9F%92%A9",
    "*",
    "a%0Ab",
    "a%0D%0Ab",
    "%27%3B--",
];

/// What stands in a query where a number, a token, a direction or a filter should be, percent-encoded.
pub const WRONG_QUERIES: &[&str] = &[
    "",
    "%00",
    "a%00b",
    "%FF%FE",
    "-1",
    "0",
    "1.5",
    "1e9",
    "99999999999999999999",
    "-99999999999999999999",
    "9223372036854775807",
    "abc",
    "x",
    "%20",
    "null",
    "true",
    "[]",
    "%7B",
    "%7B%7D",
    "%5B%5D",
    "%7B%22room%22%3A1%7D",
    "s_1_2_3",
    "t1-2_3",
    "%F0%9F%92%A9",
    "'%3B--",
    "a%0Ab",
    "%25",
    "%zz",
];

/// An example of the shape that is right in every field.
pub fn sample(shape: &Value) -> Value {
    match shape {
        Value::String(kind) => match kind.as_str() {
            "string" => json!("text"),
            "integer" => json!(1),
            "number" => json!(0.5),
            "boolean" => json!(false),
            "array" => json!([]),
            _ => json!({}),
        },
        Value::Array(items) => Value::Array(items.iter().map(sample).collect()),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, field)| (if name == "*" { "key" } else { name.as_str() }.to_owned(), sample(field)))
            .collect::<Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

/// The JSON pointers of all fields of a shape, with the field's own shape.
pub fn fields(shape: &Value) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    walk(shape, String::new(), &mut found);
    found
}

fn walk(shape: &Value, pointer: String, found: &mut Vec<(String, Value)>) {
    if !pointer.is_empty() {
        found.push((pointer.clone(), shape.clone()));
    }
    match shape {
        Value::Array(items) => {
            if let Some(item) = items.first() {
                walk(item, format!("{pointer}/0"), found);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                let name = if name == "*" { "key" } else { name };
                walk(field, format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1")), found);
            }
        }
        _ => {}
    }
}
