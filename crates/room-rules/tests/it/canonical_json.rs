//! Canonical JSON: <https://spec.matrix.org/v1.19/appendices/#canonical-json>.

use hs_room_rules::canonical_json::{
    DuplicateKeys, MAX_DEPTH, MAX_INTEGER, Numbers, Object, ParseError, ParseOptions, Value,
    to_canonical_string,
};
use proptest::prelude::*;
use ruma::CanonicalJsonValue;
use serde_json::json;

const LENIENT: ParseOptions =
    ParseOptions { numbers: Numbers::Lenient, duplicate_keys: DuplicateKeys::LastWins };

fn strict(json: &str) -> Result<String, ParseError> {
    Value::parse(json, ParseOptions::STRICT).map(|value| value.to_canonical_string())
}

fn lenient(json: &str) -> Result<String, ParseError> {
    Value::parse(json, LENIENT).map(|value| value.to_canonical_string())
}

/// The examples of the specification.
#[test]
fn examples_come_out_as_in_the_specification() {
    let auth = r#"{ "auth": { "success": true, "mxid": "@john.doe:example.com", "profile": {
        "display_name": "John Doe", "three_pids": [
            { "medium": "email", "address": "john.doe@example.org" },
            { "medium": "msisdn", "address": "123456789" } ] } } }"#;
    let cases = [
        ("{}", "{}"),
        (r#"{ "one": 1, "two": "Two" }"#, r#"{"one":1,"two":"Two"}"#),
        (r#"{ "b": "2", "a": "1" }"#, r#"{"a":"1","b":"2"}"#),
        (r#"{"b":"2","a":"1"}"#, r#"{"a":"1","b":"2"}"#),
        (
            auth,
            r#"{"auth":{"mxid":"@john.doe:example.com","profile":{"display_name":"John Doe","three_pids":[{"address":"john.doe@example.org","medium":"email"},{"address":"123456789","medium":"msisdn"}]},"success":true}}"#,
        ),
        (r#"{ "a": "日本語" }"#, r#"{"a":"日本語"}"#),
        (r#"{ "本": 2, "日": 1 }"#, r#"{"日":1,"本":2}"#),
        (r#"{ "a": "\u65E5" }"#, r#"{"a":"日"}"#),
        (r#"{ "a": null }"#, r#"{"a":null}"#),
        (r#"{ "a": -0, "b": 1 }"#, r#"{"a":0,"b":1}"#),
    ];
    for (input, output) in cases {
        assert_eq!(strict(input).as_deref(), Ok(output), "{input}");
    }
}

#[test]
fn strings_have_the_shortest_escapes() {
    let input = r#""\u0000\b\t\n\f\r\u001F\u0022\u005C\/\u007f\uD83D\uDE00""#;
    let output = "\"\\u0000\\b\\t\\n\\f\\r\\u001f\\\"\\\\/\u{7f}😀\"";
    assert_eq!(strict(input).as_deref(), Ok(output));
}

#[test]
fn keys_are_sorted_by_code_point() {
    // In UTF-16, the emoji would come before U+FF5E.
    assert_eq!(strict(r#"{"😀":1,"～":2,"a":3,"":4}"#).as_deref(), Ok(r#"{"":4,"a":3,"～":2,"😀":1}"#));
}

#[test]
fn integers_end_at_2_to_the_53() {
    for ok in [MAX_INTEGER, -MAX_INTEGER, 0] {
        assert_eq!(strict(&ok.to_string()), Ok(ok.to_string()));
    }
    for bad in ["9007199254740992", "-9007199254740992", "100000000000000000000"] {
        assert_eq!(strict(bad), Err(ParseError::IntegerOutOfRange), "{bad}");
        assert_eq!(lenient(bad).as_deref(), Ok(bad));
    }
}

#[test]
fn floats_are_refused_where_json_is_strict() {
    for bad in ["1.0", "1e3", "1E+2", "-0.5", "0e0"] {
        assert_eq!(strict(bad), Err(ParseError::Float), "{bad}");
    }
}

/// As the JSON encoder of Python writes them, which old rooms were signed with.
#[test]
fn floats_of_old_rooms_are_written_as_others_do() {
    let cases = [
        ("1.0", "1.0"),
        ("1.50", "1.5"),
        ("-0.0", "-0.0"),
        ("0.1", "0.1"),
        ("123.456", "123.456"),
        ("1e3", "1000.0"),
        ("1e15", "1000000000000000.0"),
        ("1e16", "1e+16"),
        ("1.5e16", "1.5e+16"),
        ("12345678901234567890.0", "1.2345678901234567e+19"),
        ("0.0001", "0.0001"),
        ("0.00012", "0.00012"),
        ("0.00001", "1e-05"),
        ("1e-7", "1e-07"),
        ("5e-324", "5e-324"),
        ("1.7976931348623157e308", "1.7976931348623157e+308"),
        ("-2.5E-10", "-2.5e-10"),
    ];
    for (input, output) in cases {
        assert_eq!(lenient(input).as_deref(), Ok(output), "{input}");
    }
    assert!(lenient("1e400").is_err());
}

#[test]
fn depth_is_bounded() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(strict(&nested(MAX_DEPTH)).is_ok());
    assert_eq!(strict(&nested(MAX_DEPTH + 1)), Err(ParseError::TooDeep));
    // Far too deep, and never closed: answered at once.
    assert_eq!(strict(&"{\"a\":".repeat(1_000_000)), Err(ParseError::TooDeep));
    // Depth counts what is open, not what was.
    assert!(strict(&format!("[{}]", vec!["[]"; 1000].join(","))).is_ok());
}

#[test]
fn repeated_keys_are_refused_or_the_last_one_wins() {
    let json = r#"{"b":1,"a":2,"b":3,"\u0062":4}"#;
    assert_eq!(strict(json), Err(ParseError::DuplicateKey));
    assert_eq!(lenient(json).as_deref(), Ok(r#"{"a":2,"b":4}"#));
    assert_eq!(strict(r#"{"a":1,"a":1}"#), Err(ParseError::DuplicateKey));
}

#[test]
fn what_is_not_json_is_refused() {
    for bad in [
        "",
        " ",
        "{",
        "[",
        "[1,]",
        "{\"a\":1,}",
        "{a:1}",
        "{\"a\"}",
        "01",
        "-",
        "+1",
        "1.",
        ".5",
        "1e",
        "nul",
        "truee",
        "[1 2]",
        "\"a",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\n\"",
        "\"\\uD800\"",
        "\"\\uD800\\u0041\"",
        "\"\\uDC00\"",
        "{} {}",
        "NaN",
        "Infinity",
        "'a'",
        "\u{feff}{}",
        "\"\\",
        "\"\\u",
        "[}",
        "0x1",
        "1_0",
    ] {
        assert!(strict(bad).is_err(), "{bad:?}");
        assert!(lenient(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn object_is_kept_sorted_when_it_changes() {
    let mut object = Object::parse(r#"{"c":1,"a":2}"#, ParseOptions::STRICT).unwrap();
    assert!(object.insert("b", "x").is_none());
    assert_eq!(object.insert("a", "y").and_then(|old| old.as_int()), Some(2));
    object.object_or_insert("d").insert("e", "f");
    assert_eq!(object.to_canonical_string(), r#"{"a":"y","b":"x","c":1,"d":{"e":"f"}}"#);
    assert!(object.remove("c").is_some());
    assert!(object.remove("c").is_none());
    assert_eq!(object.get_str("b"), Some("x"));
    assert_eq!(object.len(), 3);
    assert!(!object.is_empty());
    let mut out = String::new();
    object.write_without(&["a", "d"], &mut out);
    assert_eq!(out, r#"{"b":"x"}"#);
}

#[test]
fn only_objects_are_objects() {
    assert_eq!(Object::parse("[]", ParseOptions::STRICT), Err(ParseError::NotAnObject));
}

#[test]
fn anything_serde_writes_can_be_made_canonical() {
    let value = json!({ "b": [1, 2], "a": "x" });
    assert_eq!(to_canonical_string(&value, ParseOptions::STRICT).as_deref(), Ok(r#"{"a":"x","b":[1,2]}"#));
    assert_eq!(to_canonical_string(&json!(0.5), ParseOptions::STRICT), Err(ParseError::Float));
}

fn json_value() -> impl Strategy<Value = serde_json::Value> {
    let text = prop_oneof![any::<String>(), "[a-c\\\\\"/]{0,3}", "[\u{0}-\u{20}]{0,3}"];
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|value| json!(value)),
        (-MAX_INTEGER..=MAX_INTEGER).prop_map(|value| json!(value)),
        text.clone().prop_map(|value| json!(value)),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(|value| json!(value)),
            prop::collection::btree_map(text.clone(), inner, 0..6).prop_map(|value| json!(value)),
        ]
    })
}

proptest! {
    #![proptest_config(crate::room::cases(500))]

    /// ruma's encoding is the oracle where it has one.
    #[test]
    fn encoding_is_that_of_ruma(value in json_value()) {
        let rumas = CanonicalJsonValue::try_from(value.clone()).unwrap().to_string();
        prop_assert_eq!(strict(&value.to_string()), Ok(rumas.clone()));
        prop_assert_eq!(strict(&serde_json::to_string_pretty(&value).unwrap()), Ok(rumas.clone()));
        // Canonical JSON is its own canonical form, strict or not.
        prop_assert_eq!(strict(&rumas), Ok(rumas.clone()));
        prop_assert_eq!(lenient(&rumas), Ok(rumas));
    }

    /// What is accepted is what serde_json accepts, apart from our own limits.
    #[test]
    fn garbage_never_panics_and_is_judged_as_by_serde(text in "[\\[\\]{}\",:0-9.eE+\\-tfn\\\\ul a-d]{0,24}") {
        let ours = lenient(&text);
        let serdes = serde_json::from_str::<serde_json::Value>(&text);
        prop_assert_eq!(ours.is_ok(), serdes.is_ok(), "{:?} {:?}", ours, serdes);
    }

    /// Floats read back as they were.
    #[test]
    fn floats_keep_their_value(float in any::<f64>().prop_filter("finite", |float| float.is_finite())) {
        let text = lenient(&format!("{float:?}")).unwrap();
        prop_assert_eq!(text.parse::<f64>().unwrap().to_bits(), float.to_bits());
        prop_assert_eq!(lenient(&text), Ok(text));
    }
}
