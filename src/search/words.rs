//! What counts as a word, for the index and for queries alike: runs of letters and digits in lower case,
//! without accents. Everything else separates, so an address, a host name or a file name is a phrase of
//! its parts and is found by the whole and by each part. Chinese, Japanese, Korean, Thai, Lao, Khmer
//! and Myanmar characters are words of their own, since nothing separates them.

use tantivy::tokenizer::{Token, TokenStream, Tokenizer};
use unicode_normalization::char::{decompose_canonical, is_combining_mark};
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfkc_quick};

/// A word is cut to this many bytes (at a character), in the index and in queries.
const LONGEST: usize = 64;

/// The words of `text` in order.
#[must_use]
pub fn words(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut stream = Words::new(text);
    let mut word = String::new();
    while stream.next_into(&mut word) {
        out.push(std::mem::take(&mut word));
    }
    out
}

/// `text` in lower case and without accents, for exact comparison of addresses.
#[must_use]
pub fn fold(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.trim().nfkc() {
        fold_char(c, &mut out);
    }
    out
}

enum Chars<'a> {
    Plain(std::str::Chars<'a>),
    Normalised(std::vec::IntoIter<char>),
}

impl Iterator for Chars<'_> {
    type Item = char;
    fn next(&mut self) -> Option<char> {
        match self {
            Self::Plain(chars) => chars.next(),
            Self::Normalised(chars) => chars.next(),
        }
    }
}

struct Words<'a> {
    chars: Chars<'a>,
    held: Option<char>,
}

impl<'a> Words<'a> {
    fn new(text: &'a str) -> Self {
        let plain = text.is_ascii() || is_nfkc_quick(text.chars()) == IsNormalized::Yes;
        let chars = if plain {
            Chars::Plain(text.chars())
        } else {
            Chars::Normalised(text.nfkc().collect::<Vec<_>>().into_iter())
        };
        Self { chars, held: None }
    }

    /// Replaces `word` by the next word; false after the last.
    fn next_into(&mut self, word: &mut String) -> bool {
        word.clear();
        while let Some(c) = self.held.take().or_else(|| self.chars.next()) {
            if c.is_ascii_alphanumeric() {
                if word.len() < LONGEST {
                    word.push(c.to_ascii_lowercase());
                }
            } else if c.is_ascii() {
                if !word.is_empty() {
                    return true;
                }
            } else if stands_alone(c) {
                if word.is_empty() {
                    word.push(c);
                } else {
                    self.held = Some(c);
                }
                return true;
            } else if c.is_alphanumeric() {
                if word.len() < LONGEST {
                    fold_char(c, word);
                }
            } else if !is_invisible(c) && !word.is_empty() {
                return true;
            }
        }
        !word.is_empty()
    }
}

/// Appends `c` in lower case without its accents.
fn fold_char(c: char, to: &mut String) {
    if c.is_ascii() {
        to.push(c.to_ascii_lowercase());
        return;
    }
    decompose_canonical(c, |base| {
        if is_combining_mark(base) {
            return;
        }
        for lower in base.to_lowercase() {
            match lower {
                'ß' => to.push_str("ss"),
                'æ' => to.push_str("ae"),
                'œ' => to.push_str("oe"),
                'þ' => to.push_str("th"),
                'ø' => to.push('o'),
                'đ' | 'ð' => to.push('d'),
                'ł' => to.push('l'),
                'ı' => to.push('i'),
                'ς' => to.push('σ'),
                other if is_combining_mark(other) => {}
                other => to.push(other),
            }
        }
    });
}

/// Accents, soft hyphens and zero-width characters: inside a word they are passed over.
fn is_invisible(c: char) -> bool {
    is_combining_mark(c)
        || matches!(
            c,
            '\u{ad}' | '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}'
        )
}

/// Characters of scripts that write no spaces between words (Thai, Lao, Khmer, Myanmar and their neighbours, Chinese and
/// Japanese), and Hangul. Vowel signs are marks and pass as accents do.
fn stands_alone(c: char) -> bool {
    matches!(c, '\u{0e01}'..='\u{0e4e}' | '\u{0e80}'..='\u{0eff}' | '\u{1000}'..='\u{109f}'
        | '\u{1780}'..='\u{17d3}' | '\u{1950}'..='\u{19df}' | '\u{1a20}'..='\u{1aaf}'
        | '\u{a9e0}'..='\u{a9ff}' | '\u{aa60}'..='\u{aadf}' | '\u{1100}'..='\u{11ff}' | '\u{2e80}'..='\u{2fdf}' | '\u{3005}'..='\u{3007}'
        | '\u{3041}'..='\u{3096}' | '\u{30a1}'..='\u{30fa}' | '\u{30fc}'..='\u{318f}'
        | '\u{31a0}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{a960}'..='\u{a97f}'
        | '\u{ac00}'..='\u{d7ff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3fffd}')
        && c.is_alphanumeric()
        && !is_combining_mark(c)
}

/// [`words`] as tantivy wants them.
#[derive(Clone, Default)]
pub struct MailTokenizer {
    token: Token,
}

/// The stream of one text.
pub struct MailTokenStream<'a> {
    words: Words<'a>,
    token: &'a mut Token,
}

impl Tokenizer for MailTokenizer {
    type TokenStream<'a> = MailTokenStream<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> MailTokenStream<'a> {
        self.token.reset();
        MailTokenStream {
            words: Words::new(text),
            token: &mut self.token,
        }
    }
}

impl TokenStream for MailTokenStream<'_> {
    fn advance(&mut self) -> bool {
        self.token.position = self.token.position.wrapping_add(1);
        self.words.next_into(&mut self.token.text)
    }

    fn token(&self) -> &Token {
        self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        self.token
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_accents_and_scripts_without_spaces() {
        for (text, expected) in [
            ("John.Doe@Example.com", "john doe example com"),
            (
                "Müller, STRASSE Straße e\u{301}te\u{301}",
                "muller strasse strasse ete",
            ),
            ("Rech\u{ad}nung 1.234,56", "rechnung 1 234 56"),
            ("会議は10時", "会 議 は 10 時"),
            ("สวัสดี2570", "ส ว ส ด 2570"),
            ("ສະບາຍ ប្រទេស မြန်မာ", "ສ ະ ບ າ ຍ ប រ ទ ស မ န မ"),
            ("ﬁle ＡＢＣ", "file abc"),
            ("  -- !!", ""),
        ] {
            assert_eq!(words(text).join(" "), expected, "{text}");
        }
        assert_eq!(words(&"x".repeat(100)), ["x".repeat(64)]);
    }

    proptest! {
        #[test]
        fn words_are_words_of_themselves(text in "\\PC{0,60}") {
            for word in words(&text) {
                prop_assert_eq!(words(&word), [word.clone()]);
            }
        }
    }
}
