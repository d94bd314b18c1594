//! What a word is, in any language, and how Postgres is told.
//!
//! Text is folded: compatibility forms, case, and the accents of Latin, Greek and Cyrillic letters do not matter. Languages
//! that put spaces between words are split there. Others (Chinese, Japanese, Korean, Thai and their neighbours) are cut into
//! pairs of neighbouring characters, and the last character alone; a search for a run of characters looks for its pairs in
//! a row. So every part of such a text is found, and none that is not there.

use std::{collections::BTreeMap, fmt::Write as _};

use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

/// Longer words are cut off, in texts and in searches alike.
const MAX_WORD_CHARS: usize = 64;
/// How many words of a text count. More would not fit into an event.
const MAX_WORDS: usize = 16_000;
/// How many terms of a search count.
const MAX_TERMS: usize = 32;
/// The shortest word of which a search also finds longer ones that begin with it.
const MIN_PREFIX_CHARS: usize = 2;

/// A piece of text between two breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Run {
    /// A word of a language with spaces.
    Word(String),
    /// Text of a language without.
    Dense(Vec<char>),
}

/// Whether a character belongs to a script that is written without spaces, or (Korean) with such that do not end words.
fn is_dense(c: char) -> bool {
    matches!(u32::from(c),
        0x0E00..=0x0EFF // Thai, Lao
        | 0x1000..=0x109F // Burmese
        | 0x1100..=0x11FF | 0xAC00..=0xD7FF // Korean
        | 0x1780..=0x17FF // Khmer
        | 0x3005..=0x3007 | 0x3040..=0x312F | 0x31A0..=0x31FF // Japanese, Bopomofo
        | 0x3400..=0x9FFF | 0xF900..=0xFAFF | 0x2_0000..=0x3_FFFF) // Chinese characters
}

fn is_word_char(c: char) -> bool {
    c.is_alphanumeric() || is_combining_mark(c)
}

/// Folds a text: see the module's description.
pub(crate) fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    for c in text.nfkc() {
        let has_accents = matches!(u32::from(c), 0xC0..=0x52F | 0x1E00..=0x1FFF);
        if has_accents {
            let plain = std::iter::once(c).nfd().filter(|part| !matches!(u32::from(*part), 0x300..=0x36F));
            folded.extend(plain.flat_map(char::to_lowercase));
        } else if !matches!(u32::from(c), 0x300..=0x36F) {
            folded.extend(c.to_lowercase());
        }
    }
    folded
}

fn runs(text: &str) -> Vec<Run> {
    let mut runs = Vec::new();
    let mut current: Option<Run> = None;
    for c in fold(text).chars() {
        if !is_word_char(c) {
            runs.extend(current.take());
            continue;
        }
        match (&mut current, is_dense(c)) {
            (Some(Run::Word(word)), false) => {
                if word.chars().count() < MAX_WORD_CHARS {
                    word.push(c);
                }
            }
            (Some(Run::Dense(dense)), true) => dense.push(c),
            (_, true) => runs.extend(current.replace(Run::Dense(vec![c]))),
            (_, false) => runs.extend(current.replace(Run::Word(c.to_string()))),
        }
    }
    runs.extend(current);
    runs
}

/// The words of texts as the text of a `tsvector`. `weight` is a letter from A (most) to D for each text.
pub(crate) fn vector(texts: &[(&str, char)]) -> String {
    let mut lexemes: BTreeMap<String, Vec<(usize, char)>> = BTreeMap::new();
    let mut position = 0;
    for (text, weight) in texts {
        for run in runs(text) {
            match run {
                Run::Word(word) => {
                    position += 1;
                    lexemes.entry(word).or_default().push((position, *weight));
                }
                Run::Dense(chars) => {
                    for (i, c) in chars.iter().enumerate() {
                        position += 1;
                        let pair: String =
                            [Some(*c), chars.get(i + 1).copied()].into_iter().flatten().collect();
                        lexemes.entry(pair).or_default().push((position, *weight));
                    }
                }
            }
            if position > MAX_WORDS {
                break;
            }
        }
        // A phrase does not reach from one text into the next.
        position += 1;
    }
    let mut text = String::new();
    for (lexeme, places) in lexemes {
        if !text.is_empty() {
            text.push(' ');
        }
        // Lexemes hold nothing but letters, marks and digits, so that nothing needs to be escaped.
        let _ = write!(text, "'{lexeme}':");
        // Postgres takes no more places of one lexeme.
        let places: Vec<String> =
            places.iter().take(255).map(|(position, weight)| format!("{position}{weight}")).collect();
        text.push_str(&places.join(","));
    }
    text
}

/// What somebody searches for, ready for Postgres.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// What must be there: each term as a whole word or the beginning of one.
    pub(crate) matching: String,
    /// The same with whole words only, for the rank.
    pub(crate) exact: String,
    /// The words to highlight in what is found.
    pub highlights: Vec<String>,
}

impl Query {
    /// Reads a search term: words, of which all must be there; `"several words"` in a row; `-words` that must not be there.
    /// `None` when nothing is searched for.
    pub fn parse(term: &str) -> Option<Self> {
        let mut query = Self { matching: String::new(), exact: String::new(), highlights: Vec::new() };
        let mut has_wanted = false;
        for Term { text, is_quoted, is_unwanted } in terms(term).into_iter().take(MAX_TERMS) {
            let runs = runs(&text);
            if runs.is_empty() {
                continue;
            }
            let (matching, exact) = (phrase(&runs, !is_quoted), phrase(&runs, false));
            for (all, part) in [(&mut query.matching, matching), (&mut query.exact, exact)] {
                if !all.is_empty() {
                    all.push_str(" & ");
                }
                let not = if is_unwanted { "!" } else { "" };
                let _ = write!(all, "{not}({part})");
            }
            if !is_unwanted {
                has_wanted = true;
                query.highlights.extend(runs.into_iter().map(|run| match run {
                    Run::Word(word) => word,
                    Run::Dense(chars) => chars.into_iter().collect(),
                }));
            }
        }
        query.highlights.sort_unstable();
        query.highlights.dedup();
        has_wanted.then_some(query)
    }
}

struct Term {
    text: String,
    is_quoted: bool,
    is_unwanted: bool,
}

/// Splits a search at spaces, except between quotation marks.
fn terms(search: &str) -> Vec<Term> {
    let mut terms = Vec::new();
    let mut rest = search.trim_start();
    while !rest.is_empty() {
        let unwanted = rest.strip_prefix('-').filter(|after| !after.is_empty() && !after.starts_with(' '));
        let (is_unwanted, body) = unwanted.map_or((false, rest), |after| (true, after));
        let quoted = body.strip_prefix('"').and_then(|inner| inner.split_once('"'));
        let (text, is_quoted, after) = if let Some((inner, after)) = quoted {
            (inner, true, after)
        } else {
            let end = body.find(char::is_whitespace).unwrap_or(body.len());
            (&body[..end], false, &body[end..])
        };
        terms.push(Term { text: text.to_owned(), is_quoted, is_unwanted });
        rest = after.trim_start();
    }
    terms
}

/// Runs that must follow each other.
fn phrase(runs: &[Run], allows_prefixes: bool) -> String {
    // Each lexeme with its place.
    let mut lexemes: Vec<(usize, String)> = Vec::new();
    let mut position = 0;
    for run in runs {
        match run {
            Run::Word(word) => {
                let is_prefix = allows_prefixes && word.chars().count() >= MIN_PREFIX_CHARS;
                lexemes.push((position, format!("'{word}'{}", if is_prefix { ":*" } else { "" })));
                position += 1;
            }
            Run::Dense(chars) if chars.len() == 1 => {
                // Stands alone only at the end of a run; elsewhere it begins a pair.
                lexemes.push((position, format!("'{}':*", chars[0])));
                position += 1;
            }
            Run::Dense(chars) => {
                for pair in chars.windows(2) {
                    lexemes.push((position, format!("'{}{}'", pair[0], pair[1])));
                    position += 1;
                }
                position += 1;
            }
        }
    }
    let mut text = String::new();
    let mut last = 0;
    for (position, lexeme) in lexemes {
        if !text.is_empty() {
            let _ = write!(text, " <{}> ", position - last);
        }
        text.push_str(&lexeme);
        last = position;
    }
    text
}

/// The words that a name must begin with, or whose words must, as a query; `None` when there are none.
pub(crate) fn name_query(term: &str) -> Option<String> {
    let mut parts = Vec::new();
    for run in runs(term).into_iter().take(MAX_TERMS) {
        match run {
            Run::Word(word) => parts.push(format!("'{word}':*")),
            Run::Dense(_) => parts.push(format!("({})", phrase(&[run], true))),
        }
    }
    (!parts.is_empty()).then(|| parts.join(" & "))
}

#[cfg(test)]
mod tests;
