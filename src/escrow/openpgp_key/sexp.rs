//! S-expressions as Libgcrypt writes them: canonical (`(3:rsa(1:n…`) and advanced (`(rsa (n #00E0…#)`). GnuPG's agent
//! keeps private keys in them. Strict and bounded: what is not understood is refused, not skipped.

use data_encoding::{BASE64, HEXUPPER_PERMISSIVE};
use zeroize::Zeroizing;

/// Deepest nesting: a protected key has six levels.
const MOST_DEPTH: usize = 16;
/// Most elements of one list.
const MOST_ITEMS: usize = 256;

/// An atom or a list. Atoms may be secret.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub(super) enum Sexp {
    Atom(Zeroizing<Vec<u8>>),
    List(Vec<Sexp>),
}

impl Sexp {
    /// The list's elements; an atom has none.
    pub(super) fn items(&self) -> &[Sexp] {
        match self {
            Self::List(items) => items,
            Self::Atom(_) => &[],
        }
    }

    /// The atom's bytes.
    pub(super) fn atom(&self) -> Option<&[u8]> {
        match self {
            Self::Atom(bytes) => Some(bytes),
            Self::List(_) => None,
        }
    }

    /// The name that a list starts with.
    pub(super) fn name(&self) -> Option<&[u8]> {
        self.items().first()?.atom()
    }

    /// The first list inside this one that starts with `name`.
    pub(super) fn list(&self, name: &str) -> Option<&Sexp> {
        self.items()
            .iter()
            .find(|item| item.name() == Some(name.as_bytes()))
    }

    /// The atom behind `name` in a list `(name value)` inside this one.
    pub(super) fn value(&self, name: &str) -> Option<&[u8]> {
        self.list(name)?.items().get(1)?.atom()
    }

    /// Appends the canonical form, which GnuPG hashes and authenticates.
    pub(super) fn write_canonical(&self, out: &mut Vec<u8>) {
        match self {
            Self::Atom(bytes) => {
                out.extend_from_slice(format!("{}:", bytes.len()).as_bytes());
                out.extend_from_slice(bytes);
            }
            Self::List(items) => {
                out.push(b'(');
                items.iter().for_each(|item| item.write_canonical(out));
                out.push(b')');
            }
        }
    }
}

/// Reads the list at the front of `text`, and how many bytes it takes; what follows is not looked at.
pub(super) fn parse(text: &[u8]) -> Option<(Sexp, usize)> {
    let mut open: Vec<Vec<Sexp>> = Vec::new();
    let mut at = 0;
    loop {
        let next = *text.get(at)?;
        let item = match next {
            b'(' => {
                at += 1;
                open.push(Vec::new());
                if open.len() > MOST_DEPTH {
                    return None;
                }
                continue;
            }
            b')' => {
                at += 1;
                let list = Sexp::List(open.pop()?);
                if open.is_empty() {
                    return Some((list, at));
                }
                list
            }
            space if space.is_ascii_whitespace() => {
                at += 1;
                continue;
            }
            _ => {
                let (atom, size) = atom(&text[at..])?;
                at += size;
                Sexp::Atom(Zeroizing::new(atom))
            }
        };
        let list = open.last_mut()?;
        if list.len() == MOST_ITEMS {
            return None;
        }
        list.push(item);
    }
}

/// One atom and its size in the text: `5:bytes`, `#hex#`, `|base64|`, `"string"` or a token.
fn atom(text: &[u8]) -> Option<(Vec<u8>, usize)> {
    let digits = text.iter().take_while(|b| b.is_ascii_digit()).count();
    let length = || std::str::from_utf8(&text[..digits]).ok()?.parse().ok();
    match text.get(digits)? {
        b':' if digits > 0 => {
            let length: usize = length()?;
            let start = digits + 1;
            let end = start.checked_add(length)?;
            Some((text.get(start..end)?.to_vec(), end))
        }
        mark @ (b'#' | b'|' | b'"') => {
            let (bytes, size) = delimited(*mark, &text[digits + 1..])?;
            let fits = digits == 0 || length() == Some(bytes.len());
            fits.then_some((bytes, digits + 1 + size))
        }
        _ => {
            let size = text.iter().take_while(|b| is_token(**b)).count();
            (size > 0).then(|| (text[..size].to_vec(), size))
        }
    }
}

/// What lies before the closing mark, decoded, and the size with the mark.
fn delimited(mark: u8, text: &[u8]) -> Option<(Vec<u8>, usize)> {
    if mark == b'"' {
        return quoted(text);
    }
    let end = text.iter().position(|b| *b == mark)?;
    let digits: Zeroizing<Vec<u8>> = Zeroizing::new(
        text[..end]
            .iter()
            .copied()
            .filter(|b| !b.is_ascii_whitespace())
            .collect(),
    );
    let decoded = if mark == b'#' {
        HEXUPPER_PERMISSIVE.decode(&digits)
    } else {
        BASE64.decode(&digits)
    };
    Some((decoded.ok()?, end + 1))
}

/// A quoted string with C's escapes.
fn quoted(text: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut bytes, mut at) = (Vec::new(), 0);
    loop {
        let byte = *text.get(at)?;
        at += 1;
        match byte {
            b'"' => return Some((bytes, at)),
            b'\\' => {
                let escaped = *text.get(at)?;
                at += 1;
                bytes.push(match escaped {
                    b'b' => 0x08,
                    b't' => b'\t',
                    b'v' => 0x0b,
                    b'n' => b'\n',
                    b'f' => 0x0c,
                    b'r' => b'\r',
                    b'"' | b'\'' | b'\\' => escaped,
                    b'x' => {
                        let hex = text.get(at..at + 2)?;
                        at += 2;
                        HEXUPPER_PERMISSIVE.decode(hex).ok()?[0]
                    }
                    b'0'..=b'3' => {
                        let octal = text.get(at - 1..at + 2)?;
                        at += 2;
                        u8::from_str_radix(std::str::from_utf8(octal).ok()?, 8).ok()?
                    }
                    _ => return None,
                });
            }
            other => bytes.push(other),
        }
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-./_:*+=".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sexps() -> impl Strategy<Value = Sexp> {
        let atom = proptest::collection::vec(any::<u8>(), 0..9)
            .prop_map(|bytes| Sexp::Atom(Zeroizing::new(bytes)));
        atom.prop_recursive(5, 40, 5, |inner| {
            proptest::collection::vec(inner, 0..5).prop_map(Sexp::List)
        })
    }

    #[test]
    fn both_forms_say_the_same() {
        let advanced =
            b"(private-key (rsa (n #00 E0\n ce#)(e |AQAB|)) (comment \"a\\x41\\\"\\101\"))rest";
        let canonical =
            b"(11:private-key(3:rsa(1:n3:\x00\xe0\xce)(1:e3:\x01\x00\x01))(7:comment4:aA\"A))";
        let (read, size) = parse(advanced).expect("advanced form");
        assert_eq!(&advanced[size..], b"rest");
        let mut out = Vec::new();
        read.write_canonical(&mut out);
        assert_eq!(out, canonical);
        assert_eq!(
            read.list("rsa").and_then(|rsa| rsa.value("e")),
            Some(&[1, 0, 1][..])
        );
    }

    #[test]
    fn what_is_cut_off_or_too_deep_is_refused() {
        for text in [
            &b"(3:rsa"[..],
            b"(9:rsa)",
            b"(99999999999999999999:a)",
            b"(#0#)",
            b"(#zz#)",
            b"(\"a)",
            b")",
            b"a",
            b"(4#00#)",
            b"([hint]a)",
            &[b'('; 17],
        ] {
            assert!(parse(text).is_none(), "{}", String::from_utf8_lossy(text));
        }
    }

    proptest! {
        #[test]
        fn canonical_forms_come_back(items in proptest::collection::vec(sexps(), 0..5)) {
            let list = Sexp::List(items);
            let mut out = Vec::new();
            list.write_canonical(&mut out);
            let (read, size) = parse(&out).expect("own form");
            prop_assert!(read == list && size == out.len());
        }

        #[test]
        fn any_text_is_survived(text in "[()#|\"\\\\0-9:a-z ]{0,60}") {
            if let Some((_, size)) = parse(text.as_bytes()) {
                prop_assert!(size <= text.len());
            }
        }
    }
}
