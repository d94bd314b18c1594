//! Text of strangers, made fit to be shown.

/// One line: blanks are single, and what turns the direction of the text around it or cannot be seen is gone. No longer
/// than so many characters.
pub(super) fn line(text: &str, max_chars: usize) -> Option<String> {
    let mut out = String::new();
    let mut count = 0;
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()) {
        let mut word = word.chars().filter(|c| !is_harmful(*c)).peekable();
        if word.peek().is_none() {
            continue;
        }
        if !out.is_empty() {
            out.push(' ');
            count += 1;
        }
        for c in word {
            if count >= max_chars {
                return Some(shorten(out));
            }
            out.push(c);
            count += 1;
        }
    }
    (!out.is_empty()).then_some(out)
}

/// Marks that reorder what follows, and letters that nobody has given a meaning.
fn is_harmful(c: char) -> bool {
    matches!(
        c,
        '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}' | '\u{FFFD}' | '\u{FFFE}' | '\u{FFFF}' | '\u{E0000}'..='\u{E0FFF}'
    )
}

/// Ends a text that was too long behind its last whole word, unless that would take much of it, as where words are not
/// parted by blanks.
fn shorten(mut text: String) -> String {
    let last_blank = text.rfind(' ').filter(|at| *at >= text.len() / 2);
    if let Some(at) = last_blank {
        text.truncate(at);
    } else {
        text.pop();
    }
    let length = text.trim_end_matches([' ', ',', ';', ':']).len();
    text.truncate(length);
    text.push('…');
    text
}

/// The first paragraphs, up to a length that says what a page is about.
pub(super) fn summary<'a>(paragraphs: impl IntoIterator<Item = &'a str>) -> Option<String> {
    const ENOUGH_CHARS: usize = 200;
    const MAX_CHARS: usize = 500;
    let mut text = String::new();
    let mut count = 0;
    for paragraph in paragraphs {
        if count >= ENOUGH_CHARS {
            break;
        }
        text.push_str(paragraph);
        text.push('\n');
        count += paragraph.chars().count();
    }
    line(&text, MAX_CHARS)
}
