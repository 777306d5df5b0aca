//! Header field values: media types with their parameters (RFC 2045, 2231), and encoded words (RFC 2047) in [`words`].

mod words;

pub use words::decode_words;

use super::charset;
use std::borrow::Cow;

/// Longest header value that is taken apart, in bytes; the rest is ignored.
pub const MAX_VALUE: usize = 64 << 10;
/// Parameters read from one value.
const MAX_PARAMETERS: usize = 500;

/// A media type with parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentType {
    /// `text`, `multipart`, …; lower case.
    pub kind: String,
    /// `plain`, `signed`, …; lower case.
    pub subtype: String,
    /// Parameter names (lower case) and decoded values, in order.
    pub parameters: Vec<(String, String)>,
}

impl ContentType {
    /// Reads the value of a `Content-Type` or (with an empty subtype) `Content-Disposition` field.
    #[must_use]
    pub fn parse(value: &[u8]) -> Self {
        let value = &value[..value.len().min(MAX_VALUE)];
        let text = lossy(value);
        let text = without_comments(&text);
        let mut pieces = split_outside_quotes(&text, b';');
        let first = pieces.next().unwrap_or_default();
        let (kind, subtype) = split_at(first, b'/').unwrap_or((first, ""));
        let raw = name_in_type(first)
            .into_iter()
            .chain(pieces.filter_map(parameter))
            .take(MAX_PARAMETERS);
        let kind = kind.trim().to_ascii_lowercase();
        let subtype = subtype
            .split_ascii_whitespace()
            .next()
            .unwrap_or_default()
            .to_ascii_lowercase();
        Self {
            kind,
            subtype,
            parameters: joined_parameters(raw.collect()),
        }
    }

    /// The type of a part that does not say: `text/plain`, in a digest `message/rfc822`.
    #[must_use]
    pub fn default_for(in_digest: bool) -> Self {
        let (kind, subtype) = if in_digest {
            ("message", "rfc822")
        } else {
            ("text", "plain")
        };
        Self {
            kind: kind.into(),
            subtype: subtype.into(),
            parameters: Vec::new(),
        }
    }

    /// A parameter's value by its lower-case name.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .find(|(have, _)| have == name)
            .map(|(_, value)| value.as_str())
    }

    /// Whether readers may differ on a parameter's value: it is there more than once.
    #[must_use]
    pub fn is_ambiguous(&self, name: &str) -> bool {
        self.parameters
            .iter()
            .filter(|(have, _)| have == name)
            .nth(1)
            .is_some()
    }

    /// Whether the type is this `kind/subtype`, which is in lower case.
    #[must_use]
    pub fn is(&self, essence: &str) -> bool {
        essence.split_once('/') == Some((&self.kind, &self.subtype))
    }

    /// `kind/subtype`.
    #[must_use]
    pub fn essence(&self) -> String {
        format!("{}/{}", self.kind, self.subtype)
    }

    /// True for types that hold a whole message.
    #[must_use]
    pub fn is_message(&self) -> bool {
        self.kind == "message" && matches!(self.subtype.as_str(), "rfc822" | "global" | "news")
    }
}

/// Name (lower case) and value of a parameter.
fn parameter(piece: &str) -> Option<(String, String)> {
    let (name, value) = split_at(piece, b'=')?;
    let name = name.trim().to_ascii_lowercase();
    let value = unquoted(value.trim(), is_of_file(&name));
    Some((name, value))
}

/// A file's name that stands where the type does or behind it, since the semicolon is missing.
fn name_in_type(first: &str) -> Option<(String, String)> {
    let (before, _) = split_at(first, b'=')?;
    let start = before.rfind(|c: char| c.is_ascii_whitespace() || c == ',');
    parameter(&first[start.map_or(0, |at| at + 1)..]).filter(|(name, _)| is_of_file(name))
}

/// Whether a parameter is the name of a file, or a piece of it.
fn is_of_file(name: &str) -> bool {
    let base = split_at(name, b'*').map_or(name, |(base, _)| base);
    matches!(base, "name" | "filename")
}

/// Joins RFC 2231 continuations (`name*0*=`, `name*1=`), decodes their charset, and decodes encoded words that
/// broken clients put into plain parameters.
fn joined_parameters(raw: Vec<(String, String)>) -> Vec<(String, String)> {
    let mut plain: Vec<(String, String)> = Vec::new();
    let mut pieces: Vec<(String, u32, bool, String)> = Vec::new();
    for (name, value) in raw {
        match split_at(&name, b'*') {
            None if has_words(&value) => plain.push((name, decode_words(value.as_bytes()))),
            None if value.trim().len() == value.len() => plain.push((name, value)),
            None => plain.push((name, value.trim().to_owned())),
            Some((base, rest)) => {
                let extended = rest.is_empty() || rest.ends_with('*');
                let number = rest.trim_end_matches('*').parse().unwrap_or(0);
                pieces.push((base.to_owned(), number, extended, value));
            }
        }
    }
    // Of one piece in both forms the extended one counts.
    pieces.sort_by(|a, b| (&a.0, a.1, !a.2).cmp(&(&b.0, b.1, !b.2)));
    let mut others = Vec::new();
    pieces.dedup_by(|a, b| {
        let again = (&a.0, a.1) == (&b.0, b.1);
        if again {
            others.push((a.0.clone(), a.3.clone()));
        }
        again
    });
    for group in pieces.chunk_by(|a, b| a.0 == b.0) {
        let mut charset = String::from("utf-8");
        let mut bytes = Vec::new();
        for (index, (_, _, extended, value)) in group.iter().enumerate() {
            let mut value = value.as_str();
            if index == 0 && *extended {
                let mut split = value.splitn(3, '\'');
                if let (Some(label), Some(_), Some(rest)) =
                    (split.next(), split.next(), split.next())
                {
                    label.clone_into(&mut charset);
                    value = rest;
                }
            }
            if *extended {
                percent_decode(value, &mut bytes)
            } else {
                bytes.extend_from_slice(value.as_bytes())
            }
        }
        let name = group[0].0.clone();
        let is_extended = group.iter().any(|(_, _, extended, _)| *extended);
        let value = match charset::decode(&bytes, Some(&charset)) {
            // Some senders cut encoded words into pieces.
            words if !is_extended && has_words(&words) => decode_words(words.as_bytes()),
            value => value,
        };
        // Readers stop at a piece that is missing, or go on behind it.
        let is_whole = (0..).zip(group).all(|(number, piece)| piece.1 == number);
        if !is_whole {
            others.push((name.clone(), group[0].3.clone()));
        }
        // Before a plain one of the same name.
        plain.insert(0, (name, value));
    }
    // What other readers take is the same parameter once more.
    plain.extend(others);
    plain
}

fn percent_decode(value: &str, out: &mut Vec<u8>) {
    let bytes = value.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let pair = bytes.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        match pair.and_then(|pair| data_encoding::HEXLOWER_PERMISSIVE.decode(pair).ok()) {
            Some(byte) => {
                out.extend_from_slice(&byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
}

fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(charset::decode(bytes, None)),
    }
}

/// Removes `(…)` outside quoted strings, and folds.
fn without_comments(text: &str) -> Cow<'_, str> {
    let folds = |c: char| matches!(c, '\r' | '\n');
    if memchr::memchr(b'(', text.as_bytes()).is_none() {
        return match unfolded(text.as_bytes()) {
            Cow::Borrowed(_) => Cow::Borrowed(text),
            Cow::Owned(line) => String::from_utf8(line).map_or(Cow::Borrowed(text), Cow::Owned),
        };
    }
    let mut out = String::with_capacity(text.len());
    let (mut depth, mut quoted, mut escaped) = (0_u32, false, false);
    for c in text.chars() {
        let was_escaped = escaped;
        escaped = c == '\\' && !was_escaped && (quoted || depth > 0);
        match c {
            c if folds(c) => continue,
            '"' if depth == 0 && !was_escaped => quoted = !quoted,
            '(' if !quoted && !was_escaped => depth += 1,
            ')' if !quoted && depth > 0 && !was_escaped => {
                depth -= 1;
                continue;
            }
            _ => {}
        }
        if depth == 0 {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// The pieces of `text` between separators that are not quoted.
fn split_outside_quotes(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let (piece, behind) = split_once_outside_quotes(rest?, separator);
        rest = behind;
        Some(piece)
    })
}

fn split_once_outside_quotes(text: &str, separator: u8) -> (&str, Option<&str>) {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'"' if !escaped => quoted = !quoted,
            _ if byte == separator && !quoted => return (&text[..at], Some(&text[at + 1..])),
            _ => {}
        }
        escaped = byte == b'\\' && !escaped;
    }
    (text, None)
}

/// The value without its quotes. In the name of a file a backslash stands for itself unless a quote or another one follows:
/// Windows senders write paths as they are.
fn unquoted(value: &str, of_file: bool) -> String {
    let Some(inner) = value.strip_prefix('"') else {
        return value.to_owned();
    };
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        let whole = split_at(inner, b'"').map_or(inner, |(whole, _)| whole);
        return whole.to_owned();
    }
    let mut out = String::with_capacity(inner.len());
    let mut escaped = false;
    for c in inner.chars() {
        match c {
            '\\' if !escaped => escaped = true,
            '"' if !escaped => break,
            _ => {
                if escaped && of_file && !matches!(c, '"' | '\\') {
                    out.push('\\');
                }
                escaped = false;
                out.push(c);
            }
        }
    }
    out
}

/// A file's name without the folders that it lay in on the sender's machine; those of nothing else are kept.
#[must_use]
pub fn without_folders(name: &str) -> &str {
    let name = name.trim();
    let behind = |separator: &str| name.rsplit_once(separator).map(|(_, last)| last);
    let bytes = name.as_bytes();
    let on_drive = bytes.get(1..3) == Some(b":\\") && bytes[0].is_ascii_alphabetic();
    let last = match bytes {
        _ if on_drive || name.starts_with('\\') => behind("\\"),
        [b'/', ..] => behind("/"),
        _ => None,
    };
    last.filter(|last| !last.is_empty()).unwrap_or(name)
}

/// The value on one line, raw bytes otherwise.
#[must_use]
pub fn unfolded(value: &[u8]) -> Cow<'_, [u8]> {
    let mut out = Vec::new();
    let mut start = 0;
    for end in memchr::memchr2_iter(b'\r', b'\n', value) {
        out.reserve(value.len() - start);
        out.extend_from_slice(&value[start..end]);
        start = end + 1;
    }
    if start == 0 {
        return Cow::Borrowed(value);
    }
    out.extend_from_slice(&value[start..]);
    Cow::Owned(out)
}

/// What stands before and behind the first `byte`, which is ASCII. Unlike `split_once` it looks at many at once.
fn split_at(text: &str, byte: u8) -> Option<(&str, &str)> {
    let at = memchr::memchr(byte, text.as_bytes())?;
    Some((&text[..at], &text[at + 1..]))
}

/// Whether an encoded word may begin somewhere.
fn has_words(text: &str) -> bool {
    let bytes = text.as_bytes();
    memchr::memchr_iter(b'=', bytes).any(|at| bytes.get(at + 1) == Some(&b'?'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn media_types_with_all_that_senders_write() {
        let t = ContentType::parse(b" multipart/Signed ;(c) micalg=\"sha-256\"; boundary=\"a;\\\"b\"; x*0*=UTF-8''%C3%A4; x*1=b");
        assert_eq!(t.essence(), "multipart/signed");
        assert_eq!(t.parameter("boundary"), Some("a;\"b"));
        assert_eq!(t.parameter("x"), Some("äb"));
        assert_eq!(ContentType::parse(b"").essence(), "/");
        // Behind a backslash outside of quotes a boundary is one all the same.
        let t = ContentType::parse(b"multipart/mixed; x=\\; boundary=b; y=\"\\\";\"; z=c");
        assert_eq!(t.parameter("boundary"), Some("b"));
        assert_eq!(t.parameter("z"), Some("c"));
    }

    #[test]
    fn names_of_files_with_all_that_senders_write() {
        let name = |value: &str| {
            let parsed = ContentType::parse(value.as_bytes());
            let name = parsed
                .parameter("filename")
                .or_else(|| parsed.parameter("name"));
            name.map(|name| without_folders(name).to_owned())
        };
        for (value, expected) in [
            (r#"x; filename="C:\TEMP\notes.png""#, "notes.png"),
            (r#"x; filename="C:\\TEMP\\notes.png""#, "notes.png"),
            (r#"x; filename="\\server\share\notes.png""#, "notes.png"),
            ("x; filename=/home/a/notes.png", "notes.png"),
            ("x; filename=\"a/b\"", "a/b"),
            ("x; filename=\"/\"", "/"),
            (r#"x; filename="a \"b\" c\d.doc""#, r#"a "b" c\d.doc"#),
            (
                "x; filename*0=\"=?UTF-8?Q?=C3=BCb\"; filename*1=\"er.doc?=\"",
                "über.doc",
            ),
            ("x; filename*0=\"long \"; filename*1=\"name\"", "long name"),
            (
                "x; filename*0=u.doc; filename*0*=utf-8''%C3%BC.doc",
                "ü.doc",
            ),
            ("application/x name=\"a b.doc\"", "a b.doc"),
            ("application/x, name=a.doc", "a.doc"),
            ("filename=\"a.doc\"; size=1", "a.doc"),
        ] {
            assert_eq!(name(value).as_deref(), Some(expected), "{value}");
        }
        assert_eq!(name("application/x boundary=b"), None);
    }

    #[test]
    fn a_piece_that_readers_may_take_or_leave_makes_a_parameter_ambiguous() {
        for (value, expected) in [
            ("x; boundary*0=a; boundary*1=b", false),
            ("x; boundary*=utf-8''a", false),
            ("x; boundary*0=a; boundary*0=b", true),
            ("x; boundary*0*=a; boundary*0=b", true),
            ("x; boundary*0=a; boundary*2=b", true),
            ("x; boundary*1=a", true),
            ("x; boundary=a; boundary*0=b", true),
        ] {
            let parsed = ContentType::parse(value.as_bytes());
            assert_eq!(parsed.is_ambiguous("boundary"), expected, "{value}");
        }
    }

    #[test]
    fn encoded_words_are_decoded_together() {
        assert_eq!(
            decode_words(b"=?utf-8?Q?a=C3?= =?utf-8?Q?=A4_b?= c"),
            "aä b c"
        );
        assert_eq!(decode_words(b"Re: =?ISO-8859-1?b?5Pb8?= x"), "Re: äöü x");
        assert_eq!(decode_words(b"=? no =?x"), "=? no =?x");
        assert_eq!(decode_words(b"=?ISO-2022-JP?B?GyRCJCIbKEI=?="), "あ");
    }

    #[test]
    fn parameters_are_bounded() {
        let value: String = (0..5000).map(|n| format!("{n}*=x;")).collect();
        let parsed = ContentType::parse(format!("text/plain;{value}").as_bytes());
        assert_eq!(parsed.parameters.len(), MAX_PARAMETERS);
    }

    #[test]
    fn words_without_an_end_cost_no_more_than_their_length() {
        let started = std::time::Instant::now();
        let unfinished = "=?a?Q? ".repeat(MAX_VALUE / 7);
        let nested = format!("{unfinished}=?a?X?=");
        for value in [&unfinished, &nested] {
            for _ in 0..200 {
                assert!(!decode_words(value.as_bytes()).is_empty());
            }
        }
        assert!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let parsed = ContentType::parse(&bytes);
            for (_, value) in &parsed.parameters {
                let _ = without_folders(value);
            }
            let _ = decode_words(&bytes);
        }
    }
}
