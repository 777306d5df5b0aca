//! A reader for BER as senders really write it: indefinite lengths, constructed strings, lengths that
//! are longer than needed. It copies nothing, so that opening a large mail costs its plaintext and no
//! more. Depth is bounded and the walk over nested lengths is a loop, not a recursion.

mod write;

pub use write::{der, put, put_head};

use const_oid::ObjectIdentifier;
use std::borrow::Cow;

/// Deepest nesting of values in one object.
pub const MAX_DEPTH: usize = 64;

/// Identifier octets used by CMS (X.690 §8.1.2).
pub mod tag {
    /// BOOLEAN.
    pub const BOOLEAN: u8 = 0x01;
    /// INTEGER.
    pub const INTEGER: u8 = 0x02;
    /// BIT STRING.
    pub const BIT_STRING: u8 = 0x03;
    /// OCTET STRING.
    pub const OCTET_STRING: u8 = 0x04;
    /// NULL.
    pub const NULL: u8 = 0x05;
    /// OBJECT IDENTIFIER.
    pub const OID: u8 = 0x06;
    /// UTF8String.
    pub const UTF8_STRING: u8 = 0x0c;
    /// UTCTime.
    pub const UTC_TIME: u8 = 0x17;
    /// GeneralizedTime.
    pub const GENERALIZED_TIME: u8 = 0x18;
    /// SEQUENCE and SEQUENCE OF.
    pub const SEQUENCE: u8 = 0x30;
    /// SET and SET OF.
    pub const SET: u8 = 0x31;
    /// The bit that marks a constructed encoding.
    pub const CONSTRUCTED: u8 = 0x20;

    /// Context tag `number`, primitive.
    #[must_use]
    pub const fn primitive(number: u8) -> u8 {
        0x80 | number
    }

    /// Context tag `number`, constructed.
    #[must_use]
    pub const fn context(number: u8) -> u8 {
        0xa0 | number
    }
}

/// Why bytes are not the BER that was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BerError {
    /// The value ends before its length says.
    #[error("truncated ASN.1 value")]
    Truncated,
    /// A length or tag form that X.690 forbids, or that no mail needs.
    #[error("malformed ASN.1 tag or length")]
    Malformed,
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("ASN.1 nested too deep")]
    TooDeep,
    /// Another type than the structure wants here.
    #[error("ASN.1 value of unexpected type {found:#04x} where {wanted} is due")]
    Unexpected {
        /// What the structure wants.
        wanted: &'static str,
        /// The identifier octet that is there; 0 at the end.
        found: u8,
    },
}

/// One value: identifier, length, contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Element<'a> {
    /// First identifier octet.
    pub tag: u8,
    /// The whole encoding, end-of-contents octets included.
    pub raw: &'a [u8],
    /// The contents, without end-of-contents octets.
    pub body: &'a [u8],
}

struct Header {
    tag: u8,
    header_len: usize,
    body_len: Option<usize>,
}

fn header(input: &[u8]) -> Result<Header, BerError> {
    let tag = *input.first().ok_or(BerError::Truncated)?;
    let mut at = 1;
    if tag & 0x1f == 0x1f {
        while input.get(at).ok_or(BerError::Truncated)? & 0x80 != 0 {
            at += 1;
            if at > 5 {
                return Err(BerError::Malformed);
            }
        }
        at += 1;
    }
    let first = *input.get(at).ok_or(BerError::Truncated)?;
    at += 1;
    let body_len = match first {
        0..=0x7f => Some(usize::from(first)),
        0x80 if tag & tag::CONSTRUCTED != 0 => None,
        0x80 | 0xff => return Err(BerError::Malformed),
        _ => {
            let count = usize::from(first & 0x7f);
            let digits = input.get(at..at + count).ok_or(BerError::Truncated)?;
            at += count;
            Some(big_endian(digits).ok_or(BerError::Malformed)?)
        }
    };
    Ok(Header {
        tag,
        header_len: at,
        body_len,
    })
}

fn big_endian(digits: &[u8]) -> Option<usize> {
    let significant = &digits[digits.iter().take_while(|digit| **digit == 0).count()..];
    (significant.len() <= size_of::<usize>()).then(|| {
        significant
            .iter()
            .fold(0, |value, digit| (value << 8) | usize::from(*digit))
    })
}

/// Length of the contents of an indefinite-length value, without its end-of-contents octets.
fn indefinite_body(input: &[u8]) -> Result<usize, BerError> {
    let (mut at, mut open) = (0, 1);
    loop {
        let rest = input.get(at..).ok_or(BerError::Truncated)?;
        if rest.starts_with(&[0, 0]) {
            open -= 1;
            if open == 0 {
                return Ok(at);
            }
            at += 2;
            continue;
        }
        let header = header(rest)?;
        at += header.header_len;
        match header.body_len {
            Some(len) => at = at.checked_add(len).ok_or(BerError::Malformed)?,
            None if open == MAX_DEPTH => return Err(BerError::TooDeep),
            None => open += 1,
        }
    }
}

impl<'a> Element<'a> {
    /// The first value of `input`, and what follows it.
    #[inline]
    pub fn split(input: &'a [u8]) -> Result<(Self, &'a [u8]), BerError> {
        match input {
            // Most values are short, and of a type that has one octet.
            &[tag, length @ ..0x80, ref after @ ..] if tag & 0x1f != 0x1f => {
                let length = usize::from(length);
                let body = after.get(..length).ok_or(BerError::Truncated)?;
                let (raw, rest) = input.split_at(2 + length);
                Ok((Self { tag, raw, body }, rest))
            }
            _ => Self::split_any(input),
        }
    }

    fn split_any(input: &'a [u8]) -> Result<(Self, &'a [u8]), BerError> {
        let header = header(input)?;
        let after = &input[header.header_len..];
        let (body_len, trailer) = match header.body_len {
            Some(len) => (len, 0),
            None => (indefinite_body(after)?, 2),
        };
        let body = after.get(..body_len).ok_or(BerError::Truncated)?;
        let end = header.header_len + body_len + trailer;
        let raw = input.get(..end).ok_or(BerError::Truncated)?;
        Ok((
            Self {
                tag: header.tag,
                raw,
                body,
            },
            &input[end..],
        ))
    }

    /// The only value of `input`; anything behind it is an error.
    pub fn only(input: &'a [u8]) -> Result<Self, BerError> {
        match Self::split(input)? {
            (element, []) => Ok(element),
            _ => Err(BerError::Malformed),
        }
    }

    /// Reads the values inside.
    #[must_use]
    pub const fn inside(&self) -> Reader<'a> {
        Reader { rest: self.body }
    }

    /// Reads the values inside, if this has the identifier octet `tag`.
    pub fn inside_of(&self, tag: u8, wanted: &'static str) -> Result<Reader<'a>, BerError> {
        if self.tag == tag {
            Ok(self.inside())
        } else {
            Err(self.unexpected(wanted))
        }
    }

    /// "wanted … but found this".
    #[must_use]
    pub const fn unexpected(&self, wanted: &'static str) -> BerError {
        BerError::Unexpected {
            wanted,
            found: self.tag,
        }
    }

    /// The value as an OBJECT IDENTIFIER.
    pub fn oid(&self) -> Result<ObjectIdentifier, BerError> {
        if self.tag != tag::OID {
            return Err(self.unexpected("an OBJECT IDENTIFIER"));
        }
        ObjectIdentifier::from_bytes(self.body).map_err(|_| BerError::Malformed)
    }

    /// Contents of an INTEGER as the fewest octets that keep value and sign.
    pub fn integer(&self) -> Result<&'a [u8], BerError> {
        if self.tag != tag::INTEGER || self.body.is_empty() {
            return Err(self.unexpected("an INTEGER"));
        }
        let mut digits = self.body;
        while let [first, second, ..] = digits
            && ((*first == 0 && *second < 0x80) || (*first == 0xff && *second >= 0x80))
        {
            digits = &digits[1..];
        }
        Ok(digits)
    }

    /// A small, non-negative INTEGER.
    pub fn small(&self) -> Result<u32, BerError> {
        let digits = self.integer()?;
        let value = (digits[0] < 0x80).then(|| big_endian(digits)).flatten();
        value
            .and_then(|value| u32::try_from(value).ok())
            .ok_or(BerError::Malformed)
    }

    /// The pieces of a string type, primitive or constructed, in order. The identifier is the caller's
    /// to check: with implicit tags it is not the string's own.
    #[must_use]
    pub fn chunks(&self) -> Chunks<'a> {
        if self.tag & tag::CONSTRUCTED == 0 {
            Chunks {
                whole: Some(self.body),
                nested: Vec::new(),
            }
        } else {
            Chunks {
                whole: None,
                nested: vec![self.inside()],
            }
        }
    }

    /// The octets of a string type in one piece; copied only if constructed.
    pub fn octets(&self) -> Result<Cow<'a, [u8]>, BerError> {
        if self.tag & tag::CONSTRUCTED == 0 {
            return Ok(Cow::Borrowed(self.body));
        }
        let mut whole = Vec::new();
        for chunk in self.chunks() {
            whole.extend_from_slice(chunk?);
        }
        Ok(Cow::Owned(whole))
    }

    /// The octets of an OCTET STRING, primitive or constructed.
    pub fn octet_string(&self) -> Result<Cow<'a, [u8]>, BerError> {
        if self.tag & !tag::CONSTRUCTED != tag::OCTET_STRING {
            return Err(self.unexpected("an OCTET STRING"));
        }
        self.octets()
    }

    /// The octets of a BIT STRING without unused bits.
    pub fn bit_string(&self) -> Result<&'a [u8], BerError> {
        match (self.tag, self.body.split_first()) {
            (tag::BIT_STRING, Some((0, bits))) => Ok(bits),
            _ => Err(self.unexpected("a BIT STRING of whole octets")),
        }
    }
}

/// Reads values one after the other.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Over the values in `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The identifier octet of the next value; 0 at the end.
    #[must_use]
    pub fn peek(&self) -> u8 {
        self.rest.first().copied().unwrap_or(0)
    }

    /// The next value, whatever it is.
    pub fn value(&mut self, wanted: &'static str) -> Result<Element<'a>, BerError> {
        if self.rest.is_empty() {
            return Err(BerError::Unexpected { wanted, found: 0 });
        }
        let (element, rest) = Element::split(self.rest)?;
        self.rest = rest;
        Ok(element)
    }

    /// The next value, which must have the identifier octet `tag`.
    pub fn expect(&mut self, tag: u8, wanted: &'static str) -> Result<Element<'a>, BerError> {
        if self.peek() == tag {
            self.value(wanted)
        } else {
            Err(BerError::Unexpected {
                wanted,
                found: self.peek(),
            })
        }
    }

    /// The next value, if it has the identifier octet `tag`.
    pub fn optional(&mut self, tag: u8) -> Result<Option<Element<'a>>, BerError> {
        if self.peek() == tag && !self.rest.is_empty() {
            self.value("").map(Some)
        } else {
            Ok(None)
        }
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<Element<'a>, BerError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let element = self.value("");
        if element.is_err() {
            self.rest = &[];
        }
        Some(element)
    }
}

/// The pieces of a string, found as they are asked for.
#[derive(Debug, Clone)]
pub struct Chunks<'a> {
    whole: Option<&'a [u8]>,
    nested: Vec<Reader<'a>>,
}

impl<'a> Chunks<'a> {
    /// Pieces of a string that is all here.
    #[must_use]
    pub const fn whole(bytes: &'a [u8]) -> Self {
        Self {
            whole: Some(bytes),
            nested: Vec::new(),
        }
    }

    /// Octets that the pieces and what is around each of them take.
    #[must_use]
    pub fn encoded(&self) -> usize {
        let whole = self.whole.map_or(0, <[u8]>::len);
        let nested = self.nested.iter().map(|reader| reader.rest.len());
        nested.fold(whole, usize::saturating_add)
    }

    /// Octets in all pieces together.
    pub fn total(&self) -> Result<usize, BerError> {
        self.clone()
            .try_fold(0, |sum, chunk| Ok(sum + chunk?.len()))
    }
}

impl<'a> Iterator for Chunks<'a> {
    type Item = Result<&'a [u8], BerError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(whole) = self.whole.take() {
            return Some(Ok(whole));
        }
        loop {
            let Some(piece) = self.nested.last_mut()?.next() else {
                self.nested.pop();
                continue;
            };
            let failed = match piece {
                Err(error) => error,
                Ok(piece) if piece.tag & 0xc0 != 0 => piece.unexpected("a piece of a string"),
                Ok(piece) if piece.tag & tag::CONSTRUCTED == 0 => return Some(Ok(piece.body)),
                Ok(_) if self.nested.len() >= MAX_DEPTH => BerError::TooDeep,
                Ok(piece) => {
                    self.nested.push(piece.inside());
                    continue;
                }
            };
            self.nested.clear();
            return Some(Err(failed));
        }
    }
}

#[cfg(test)]
mod tests;
