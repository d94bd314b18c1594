//! What a page says of itself.
//!
//! The page is read as a stream of tags and text, by the tokenizer that browsers follow too; no tree is built. So a page
//! can be nested as deeply as it likes, and be as broken.

use std::cell::RefCell;

use html5ever::{
    Attribute,
    tendril::StrTendril,
    tokenizer::{
        BufferQueue, Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts,
        states::RawKind,
    },
};

/// Bounds of what is remembered of a page.
const MAX_META: usize = 200;
const MAX_VALUE_BYTES: usize = 4096;
const MAX_IMAGES: usize = 8;
const MAX_TEXT_BYTES: usize = 8192;
const MAX_SKIPPED_DEPTH: usize = 200;

/// Elements whose text is not what the page is about.
const SKIPPED: [&str; 22] = [
    "aside", "audio", "button", "canvas", "dialog", "footer", "form", "header", "iframe", "math", "menu",
    "nav", "noscript", "object", "picture", "script", "select", "style", "svg", "template", "textarea",
    "video",
];

/// Elements that begin a new line.
const BLOCKS: [&str; 26] = [
    "address",
    "article",
    "blockquote",
    "br",
    "dd",
    "details",
    "div",
    "dl",
    "dt",
    "figcaption",
    "figure",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "hr",
    "li",
    "main",
    "ol",
    "p",
    "section",
    "table",
    "td",
    "ul",
];

/// What a page says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) title: Option<String>,
    pub(super) heading: Option<String>,
    /// Names in small letters, in the order of the page.
    pub(super) meta: Vec<(String, String)>,
    /// Where oEmbed has its description, as JSON.
    pub(super) oembed: Option<String>,
    /// `<link rel="image_src">`.
    pub(super) image_src: Option<String>,
    pub(super) base: Option<String>,
    /// Pictures in the text that are not declared to be tiny.
    pub(super) images: Vec<String>,
    /// The text, by paragraphs.
    pub(super) paragraphs: Vec<String>,
}

impl Page {
    pub(super) fn read(html: &str) -> Self {
        let input = BufferQueue::default();
        input.push_back(StrTendril::from_slice(html));
        let tokenizer = Tokenizer::new(Reader::default(), TokenizerOpts::default());
        // It pauses only where the sink asks it to, which this one never does.
        let _ = tokenizer.feed(&input);
        tokenizer.end();
        tokenizer.sink.0.into_inner().finish()
    }

    /// The first of these that the page has and that is not empty.
    pub(super) fn first_meta(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|wanted| {
            let named = self.meta.iter().find(|(name, value)| name == wanted && !value.trim().is_empty());
            named.map(|(_, value)| value.as_str())
        })
    }
}

#[derive(Default)]
struct Reader(RefCell<State>);

#[derive(Default)]
struct State {
    page: Page,
    collecting: Option<Collecting>,
    collected: String,
    /// Elements whose text is passed over, outermost first.
    skipped: Vec<String>,
    paragraph: String,
    text_bytes: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Collecting {
    Title,
    Heading,
}

impl TokenSink for Reader {
    type Handle = ();

    fn process_token(&self, token: Token, _line: u64) -> TokenSinkResult<()> {
        let mut state = self.0.borrow_mut();
        match token {
            Token::TagToken(tag) => match tag.kind {
                TagKind::StartTag => return state.start(&tag),
                TagKind::EndTag => state.end(&tag.name),
            },
            Token::CharacterTokens(text) => state.text(&text),
            _ => {}
        }
        TokenSinkResult::Continue
    }
}

impl State {
    fn start(&mut self, tag: &Tag) -> TokenSinkResult<()> {
        let name: &str = &tag.name;
        match name {
            "meta" => self.meta(tag),
            "link" => self.link(tag),
            "base" if self.page.base.is_none() => self.page.base = attribute(tag, "href"),
            "img" if self.skipped.is_empty() => self.image(tag),
            // Drawings have titles as well.
            "title" if self.page.title.is_none() && self.skipped.is_empty() => {
                self.collect(Collecting::Title);
            }
            "h1" | "h2" if self.page.heading.is_none() && self.skipped.is_empty() => {
                self.collect(Collecting::Heading);
            }
            _ => {}
        }
        if BLOCKS.contains(&name) {
            self.end_paragraph();
        }
        if SKIPPED.contains(&name) && !tag.self_closing && self.skipped.len() < MAX_SKIPPED_DEPTH {
            self.skipped.push(name.to_owned());
        }
        match name {
            "title" | "textarea" => TokenSinkResult::RawData(RawKind::Rcdata),
            "script" if !tag.self_closing => TokenSinkResult::RawData(RawKind::ScriptData),
            "style" | "xmp" | "iframe" | "noembed" | "noframes" if !tag.self_closing => {
                TokenSinkResult::RawData(RawKind::Rawtext)
            }
            _ => TokenSinkResult::Continue,
        }
    }

    fn end(&mut self, name: &str) {
        let ended = match name {
            "title" => Some(Collecting::Title),
            "h1" | "h2" => Some(Collecting::Heading),
            _ => None,
        };
        if ended.is_some() && self.collecting == ended {
            self.keep_collected();
        }
        if BLOCKS.contains(&name) {
            self.end_paragraph();
        }
        if let Some(at) = self.skipped.iter().rposition(|skipped| skipped == name) {
            self.skipped.truncate(at);
        }
    }

    fn text(&mut self, text: &str) {
        if self.collecting.is_some() {
            push_bounded(&mut self.collected, text, MAX_VALUE_BYTES);
        }
        if self.skipped.is_empty()
            && self.collecting != Some(Collecting::Title)
            && self.text_bytes < MAX_TEXT_BYTES
        {
            push_bounded(&mut self.paragraph, text, MAX_TEXT_BYTES);
        }
    }

    fn collect(&mut self, what: Collecting) {
        self.keep_collected();
        self.collecting = Some(what);
    }

    fn keep_collected(&mut self) {
        let Some(what) = self.collecting.take() else { return };
        let text = std::mem::take(&mut self.collected);
        if text.trim().is_empty() {
            return;
        }
        match what {
            Collecting::Title => self.page.title.get_or_insert(text),
            Collecting::Heading => self.page.heading.get_or_insert(text),
        };
    }

    fn end_paragraph(&mut self) {
        let paragraph = self.paragraph.trim();
        if !paragraph.is_empty() {
            self.text_bytes += paragraph.len();
            self.page.paragraphs.push(paragraph.to_owned());
        }
        self.paragraph.clear();
    }

    fn meta(&mut self, tag: &Tag) {
        let Some(content) = attribute(tag, "content") else { return };
        for key in ["property", "name", "itemprop"] {
            if let Some(name) = attribute(tag, key)
                && self.page.meta.len() < MAX_META
            {
                self.page.meta.push((name.trim().to_lowercase(), content.clone()));
            }
        }
    }

    fn link(&mut self, tag: &Tag) {
        let (Some(rel), Some(href)) = (attribute(tag, "rel"), attribute(tag, "href")) else { return };
        for rel in rel.split_ascii_whitespace() {
            if rel.eq_ignore_ascii_case("image_src") {
                self.page.image_src.get_or_insert_with(|| href.clone());
            }
            let is_oembed = || {
                attribute(tag, "type")
                    .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json+oembed"))
            };
            if (rel.eq_ignore_ascii_case("alternate") || rel.eq_ignore_ascii_case("alternative"))
                && is_oembed()
            {
                self.page.oembed.get_or_insert_with(|| href.clone());
            }
        }
    }

    fn image(&mut self, tag: &Tag) {
        const TINY: u32 = 64;
        let is_tiny = |side| {
            attribute(tag, side)
                .and_then(|length| length.trim().parse::<u32>().ok())
                .is_some_and(|length| length < TINY)
        };
        let Some(src) = attribute(tag, "src") else { return };
        let is_remote = !src.trim_start().to_ascii_lowercase().starts_with("data:");
        if is_remote && !is_tiny("width") && !is_tiny("height") && self.page.images.len() < MAX_IMAGES {
            self.page.images.push(src);
        }
    }

    fn finish(mut self) -> Page {
        self.keep_collected();
        self.end_paragraph();
        self.page
    }
}

fn attribute(tag: &Tag, name: &str) -> Option<String> {
    let found = tag.attrs.iter().find(|Attribute { name: found, .. }| &*found.local == name)?;
    let mut value = String::new();
    push_bounded(&mut value, &found.value, MAX_VALUE_BYTES);
    Some(value)
}

/// Adds text up to a bound.
fn push_bounded(out: &mut String, text: &str, max_bytes: usize) {
    let room = max_bytes.saturating_sub(out.len());
    out.push_str(&text[..text.floor_char_boundary(room)]);
}
