//! Signing keys and signatures: <https://spec.matrix.org/v1.19/appendices/#signing-details>.

use std::collections::BTreeMap;

use hs_room_rules::{
    canonical_json::{Object, ParseOptions},
    sign::{SignatureError, SigningKey, SigningKeyError, is_valid_signature, verify_json},
};
use rand::{SeedableRng as _, rngs::StdRng};
use ruma::server_name;

/// The key of the specification's test vectors.
pub(crate) const SPEC_SEED: &str = "YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1";

pub(crate) fn spec_key() -> SigningKey {
    SigningKey::from_text(&format!("ed25519 1 {SPEC_SEED}")).unwrap()
}

fn signed(json: &str) -> String {
    let mut object = Object::parse(json, ParseOptions::STRICT).unwrap();
    spec_key().sign_json(server_name!("domain"), &mut object);
    object.to_canonical_string()
}

/// <https://spec.matrix.org/v1.19/appendices/#json-signing>
#[test]
fn vectors_of_the_specification_come_out() {
    assert_eq!(
        signed("{}"),
        r#"{"signatures":{"domain":{"ed25519:1":"K8280/U9SSy9IVtjBuVeLr+HpOB4BQFWbg+UZaADMtTdGYI7Geitb76LTrr5QV/7Xg4ahLwYGYZzuHGZKM5ZAQ"}}}"#
    );
    assert_eq!(
        signed(r#"{"one":1,"two":"Two"}"#),
        r#"{"one":1,"signatures":{"domain":{"ed25519:1":"KqmLSbO39/Bzb0QIYE82zqLwsA+PDzYIpIRA2sRQ4sL53+sN6/fpNSoqE7BP7vBZhG6kYdD13EIMJpvhJI+6Bw"}},"two":"Two"}"#
    );
}

#[test]
fn signing_covers_neither_unsigned_nor_other_signatures() {
    let json = r#"{"one":1,"signatures":{"other":{"ed25519:x":"abc"}},"two":"Two","unsigned":{"age":1}}"#;
    let signed = signed(json);
    assert!(
        signed.contains(
            "KqmLSbO39/Bzb0QIYE82zqLwsA+PDzYIpIRA2sRQ4sL53+sN6/fpNSoqE7BP7vBZhG6kYdD13EIMJpvhJI+6Bw"
        )
    );
    assert!(signed.contains(r#""other":{"ed25519:x":"abc"}"#));
}

#[test]
fn key_survives_its_text_form() {
    let key = SigningKey::generate(&mut StdRng::seed_from_u64(1), "a_Xy9").unwrap();
    let text = key.to_text();
    let again = SigningKey::from_text(&text).unwrap();
    assert_eq!(key.public_key(), again.public_key());
    assert_eq!(again.key_id().as_str(), "ed25519:a_Xy9");
    assert!(text.ends_with('\n'));
    // Padding is forgiven.
    assert!(SigningKey::from_text(&format!("ed25519 1 {SPEC_SEED}=\n")).is_ok());
}

#[test]
fn malformed_keys_are_refused() {
    let cases = [
        ("", SigningKeyError::Format),
        ("ed25519 1", SigningKeyError::Format),
        ("ed25519 1 seed more", SigningKeyError::Format),
        ("rsa 1 YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1", SigningKeyError::Algorithm),
        ("ed25519 a:b YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1", SigningKeyError::Version),
        ("ed25519 1 YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW", SigningKeyError::Seed),
        ("ed25519 1 !!!", SigningKeyError::Seed),
        (
            "ed25519 1 YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1YJDBA9Xnr2sVqXD9Vj7XVUnm",
            SigningKeyError::Seed,
        ),
    ];
    for (text, error) in cases {
        assert_eq!(SigningKey::from_text(text).unwrap_err(), error, "{text}");
    }
    assert_eq!(SigningKey::from_seed("", &[0; 32]).unwrap_err(), SigningKeyError::Version);
}

#[test]
fn debug_output_does_not_show_the_secret() {
    let shown = format!("{:?}", spec_key());
    assert!(shown.contains("ed25519:1"));
    assert!(!shown.contains("YJDBA9"));
    let bytes = "96, 144, 193, 3";
    assert!(!shown.contains(bytes));
}

fn keys() -> BTreeMap<String, String> {
    [("ed25519:1".to_owned(), spec_key().public_key())].into()
}

#[test]
fn signature_is_checked() {
    let signed = signed(r#"{"one":1}"#);
    let good = Object::parse(&signed, ParseOptions::STRICT).unwrap();
    assert_eq!(verify_json(&good, "domain", &keys()), Ok(()));
    let missing = Err(SignatureError::Missing("other".to_owned()));
    assert_eq!(verify_json(&good, "other", &keys()), missing);
    assert!(matches!(verify_json(&good, "domain", &BTreeMap::new()), Err(SignatureError::Missing(_))));

    let changed = signed.replace("\"one\":1", "\"one\":2");
    let bad = Object::parse(&changed, ParseOptions::STRICT).unwrap();
    assert!(matches!(verify_json(&bad, "domain", &keys()), Err(SignatureError::Wrong { .. })));
}

#[test]
fn one_wrong_signature_spoils_the_right_one() {
    let signed = signed(r#"{"one":1}"#);
    let mut object = Object::parse(&signed, ParseOptions::STRICT).unwrap();
    let other = SigningKey::from_seed("2", &[3; 32]).unwrap();
    let mut keys = keys();
    keys.insert("ed25519:2".to_owned(), other.public_key());
    // A signature by a key that is not known is skipped, whatever it is.
    let of_domain = object
        .get_mut("signatures")
        .and_then(|signatures| signatures.as_object_mut()?.get_mut("domain")?.as_object_mut());
    let of_domain = of_domain.unwrap();
    of_domain.insert("ed25519:unknown", "nonsense");
    of_domain.insert("rsa:1", "nonsense");
    assert_eq!(verify_json(&object, "domain", &keys), Ok(()));
    other.sign_json(server_name!("domain"), &mut object);
    assert_eq!(verify_json(&object, "domain", &keys), Ok(()));
    object.insert("two", "2");
    other.sign_json(server_name!("domain"), &mut object);
    assert!(verify_json(&object, "domain", &keys).is_err());
}

#[test]
fn nonsense_is_no_signature() {
    let key = spec_key();
    let signature = key.sign_text("text");
    assert!(is_valid_signature("text", &key.public_key(), &signature));
    assert!(is_valid_signature("text", &key.public_key(), &format!("{signature}==")));
    assert!(!is_valid_signature("other", &key.public_key(), &signature));
    assert!(!is_valid_signature("text", "", &signature));
    assert!(!is_valid_signature("text", &key.public_key(), ""));
    assert!(!is_valid_signature("text", &key.public_key(), "not base64!"));
    // A key of all zeros is of small order: it would accept signatures that nobody made.
    let zeros = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    assert!(!is_valid_signature("text", zeros, &format!("{zeros}{zeros}")));
}
