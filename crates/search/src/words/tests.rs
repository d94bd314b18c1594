use super::*;

#[test]
fn case_accents_and_forms_do_not_matter() {
    for (text, folded) in [
        ("Ünïcödé", "unicode"),
        ("ＡＢＣ", "abc"),
        ("ΆΛΦΑ", "αλφα"),
        ("ЁЖ", "еж"),
        ("ｶﾀｶﾅ", "カタカナ"),
        ("한글", "한글"),
    ] {
        assert_eq!(fold(text), folded, "{text}");
    }
}

#[test]
fn words_are_split_where_languages_split_them() {
    assert_eq!(
        runs("Hello, wide_world! 日本語test 안녕"),
        [
            Run::Word("hello".to_owned()),
            Run::Word("wide".to_owned()),
            Run::Word("world".to_owned()),
            Run::Dense("日本語".chars().collect()),
            Run::Word("test".to_owned()),
            Run::Dense("안녕".chars().collect()),
        ]
    );
    assert!(runs(" \u{0}'\\:*&|!()<->\"").is_empty());
}

#[test]
fn vector_has_places_and_pairs() {
    assert_eq!(vector(&[("to be or to", 'D')]), "'be':2D 'or':3D 'to':1D,4D");
    assert_eq!(vector(&[("日本語", 'A')]), "'日本':1A '本語':2A '語':3A");
    assert_eq!(vector(&[("a", 'A'), ("b", 'B')]), "'a':1A 'b':3B");
    assert_eq!(vector(&[("", 'A')]), "");
}

#[test]
fn vector_stays_within_what_postgres_takes() {
    let long = "x".repeat(5_000);
    assert!(vector(&[(&long, 'D')]).len() < 100);
    let many = "a ".repeat(30_000);
    assert!(vector(&[(&many, 'D')]).len() < 2_500);
    let different = (0..30_000).map(|i| i.to_string()).collect::<Vec<_>>().join(" ");
    assert!(vector(&[(&different, 'D')]).len() < 400_000);
}

#[test]
fn query_wants_all_words_or_their_beginnings() {
    let query = Query::parse("Martians and men").unwrap();

    assert_eq!(query.matching, "('martians':*) & ('and':*) & ('men':*)");
    assert_eq!(query.exact, "('martians') & ('and') & ('men')");
    assert_eq!(query.highlights, ["and", "martians", "men"]);
}

#[test]
fn query_knows_phrases_and_unwanted_words() {
    assert_eq!(Query::parse("\"big cat\" -dog").unwrap().matching, "('big' <1> 'cat') & !('dog':*)");
    assert_eq!(Query::parse("e-mail").unwrap().matching, "('e' <1> 'mail':*)");
    assert_eq!(Query::parse("日本語").unwrap().matching, "('日本' <1> '本語')");
    assert_eq!(Query::parse("日").unwrap().matching, "('日':*)");
    assert_eq!(Query::parse("日本語test").unwrap().matching, "('日本' <1> '本語' <2> 'test':*)");
}

#[test]
fn query_for_nothing_is_none() {
    for nothing in ["", "   ", "-dog", "\"\"", "!!!", "-", "\"", "- -"] {
        assert_eq!(Query::parse(nothing), None, "{nothing}");
    }
    assert!(Query::parse("\"open").is_some());
}
