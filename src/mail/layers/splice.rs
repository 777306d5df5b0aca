//! Texts with objects in them, OpenPGP armor, S/MIME in PEM and uuencoded files: what each holds is put in its place, and
//! what stands around it stays.

use super::bare::{self, Object};
use super::inline::{charset_of, content_of, place_of};
use super::{Place, Spot, Walk};
use crate::mail::rendition::{
    self, Edits, as_entity, as_file, as_mixed, replace_attachment, replace_text,
};
use crate::mail::{charset, mime, smime, sniff, transfer};
use memchr::memmem::Finder;
use std::ops::Range;
use std::sync::LazyLock;

/// What an object in a text held.
pub(super) enum Inner {
    /// Text, which goes where the object was.
    Text(Vec<u8>),
    /// A MIME entity, which no text can hold.
    Entity(Vec<u8>),
}

/// The objects in one text that were opened.
#[derive(Default)]
pub(super) struct Splices(Vec<(Range<usize>, Inner)>);

impl Splices {
    pub(super) fn push(&mut self, span: Range<usize>, inner: Inner) {
        self.0.push((span, inner));
    }

    /// The text, which says that it is in `charset`, with everything in it that was opened; `None` if nothing was.
    pub(super) fn into_text(self, text: &[u8], charset: Option<&str>) -> Option<Vec<u8>> {
        let pieces = self.pieces(text, charset)?.into_iter();
        let bytes = pieces.map(|(Inner::Text(piece) | Inner::Entity(piece))| piece);
        Some(bytes.collect::<Vec<_>>().concat())
    }

    /// The same as an entity for the part at `spot`: text where all that was opened is text, else the pieces one after
    /// the other.
    pub(super) fn into_entity(
        self,
        text: &[u8],
        charset: Option<&str>,
        spot: Spot<'_>,
    ) -> Option<Vec<u8>> {
        let name = spot.part.file_name();
        let piece = |text: &[u8]| {
            if name.is_empty() || spot.is_message {
                let is_utf8 = std::str::from_utf8(text).is_ok();
                rendition::as_text(text, charset.filter(|_| !is_utf8))
            } else {
                as_file(text, name)
            }
        };
        let mut pieces = self.pieces(text, charset)?;
        if let [Inner::Text(text)] = pieces.as_slice() {
            return Some(piece(text));
        }
        pieces.retain(|piece| !matches!(piece, Inner::Text(text) if text.trim_ascii().is_empty()));
        let parts = pieces.into_iter().map(|found| match found {
            Inner::Text(text) => piece(&text),
            Inner::Entity(entity) => entity,
        });
        Some(as_mixed(&parts.collect::<Vec<_>>()))
    }

    /// Texts and entities as they come to lie one behind the other; `None` if nothing was opened. Where one text is UTF-8
    /// and another is not, all become UTF-8.
    fn pieces(self, text: &[u8], charset: Option<&str>) -> Option<Vec<Inner>> {
        let Self(mut all) = self;
        if all.is_empty() {
            return None;
        }
        all.sort_by_key(|(span, _)| span.start);
        let opened = all.iter().filter_map(|(_, inner)| match inner {
            Inner::Text(inner) => Some(inner.as_slice()),
            Inner::Entity(_) => None,
        });
        let is_one = in_one_charset(opened.chain([text]));
        let known = |piece: &[u8]| match str::from_utf8(piece) {
            Err(_) if !is_one => charset::decode(piece, charset).into_bytes(),
            _ => piece.to_vec(),
        };
        let (mut pieces, mut gathered, mut at) = (Vec::new(), Vec::new(), 0);
        for (span, inner) in all {
            let Some(before) = text.get(at..span.start) else {
                continue;
            };
            gathered.extend(known(before));
            at = span.end;
            match inner {
                Inner::Text(inner) => gathered.extend(known(&inner)),
                entity @ Inner::Entity(_) => {
                    pieces.push(Inner::Text(std::mem::take(&mut gathered)));
                    pieces.push(entity);
                }
            }
        }
        gathered.extend(known(&text[at..]));
        pieces.push(Inner::Text(gathered));
        Some(pieces)
    }

    /// Puts the changed text in the part's place. A file keeps its name and type as long as it is one text.
    pub(super) fn put(self, spot: Spot<'_>, text: &[u8], edits: &mut Edits) {
        let charset = charset_of(spot.part);
        let is_file = !super::parts::is_read_as_text(&spot.part.content_type.kind);
        let is_text = |(_, inner): &(_, Inner)| matches!(inner, Inner::Text(_));
        if !self.0.iter().all(is_text) || is_file && spot.is_message {
            if let Some(entity) = self.into_entity(text, charset, spot) {
                spot.replace(entity, edits);
            }
        } else if let Some(changed) = self.into_text(text, charset) {
            if is_file {
                replace_attachment(spot.bytes, spot.part, &changed, edits);
            } else {
                replace_text(spot.bytes, spot.part, &changed, edits);
            }
        }
    }
}

/// Whether all that is not ASCII is UTF-8, or nothing is.
fn in_one_charset<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> bool {
    let mut are_utf8 = pieces
        .filter(|piece| !piece.is_ascii())
        .map(|piece| str::from_utf8(piece).is_ok());
    let first = are_utf8.next();
    first.is_none_or(|first| are_utf8.all(|is_utf8| is_utf8 == first))
}

impl Walk<'_> {
    /// What an object in a text held, opened further. A file in it is called `name`.
    pub(super) fn inner(&mut self, plaintext: Vec<u8>, name: &str, place: &Place) -> Inner {
        if is_typed(&plaintext) {
            return Inner::Entity(self.inside_entity(plaintext, place));
        }
        let inner = if sniff::is_cms(&plaintext) {
            self.inside_bare(plaintext, place)
        } else {
            self.inside_text(plaintext, place)
        };
        if is_typed(&inner) {
            Inner::Entity(inner)
        } else if !name.is_empty() || !sniff::is_text(&inner) {
            Inner::Entity(as_file(&inner, name))
        } else {
            Inner::Text(inner)
        }
    }

    /// Opens the objects in a text that are not in OpenPGP armor.
    pub(super) fn splice_objects(&mut self, text: &[u8], place: &Place, splices: &mut Splices) {
        let content = content_of(text);
        for Found { span, object, name } in objects_in(text) {
            if let Err(failure) = self.budget.part(&self.policy.bounds) {
                self.failures.push(failure);
                break;
            }
            let place = place_of(&span, &content, place);
            let inner = match object {
                Object::Cms(ber) => self.inner_cms(ber.into_owned(), &place),
                Object::OpenPgp(packets) => {
                    let opened = self.open_pgp(packets.into_owned(), &place);
                    opened.map(|(plaintext, count)| {
                        self.inner(
                            plaintext,
                            super::file::stripped(&name),
                            &place.inside(count),
                        )
                    })
                }
            };
            if let Some(inner) = inner {
                splices.push(span, inner);
            }
        }
    }

    /// What a CMS object in a text held. Certificates alone have no content: they stay where they are.
    fn inner_cms(&mut self, ber: Vec<u8>, place: &Place) -> Option<Inner> {
        let peeled = self.open_cms(ber.into(), place)?;
        if peeled.plaintext.is_empty() {
            None
        } else if peeled.closed {
            Some(Inner::Entity(as_entity(peeled.plaintext)))
        } else {
            let inside = place.inside(peeled.layers);
            Some(self.inner(peeled.plaintext, "", &inside))
        }
    }
}

/// A MIME entity that says what it is; what only begins with header fields may be a text.
pub(super) fn is_typed(plaintext: &[u8]) -> bool {
    let header = || mime::header_of(plaintext);
    sniff::is_entity(plaintext) && header().first(plaintext, "content-type").is_some()
}

/// An object in a text that is not in OpenPGP armor.
pub(super) struct Found {
    pub(super) span: Range<usize>,
    pub(super) object: Object<'static>,
    /// The file's name.
    pub(super) name: String,
}

/// Most objects of a kind that are looked for in one text.
const MOST: usize = 20;

/// What no uuencoded file is without.
pub(super) static UUENCODED: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"begin "));

/// The objects in a text that are not in OpenPGP armor: CMS in PEM, whatever its label says, and uuencoded CMS and OpenPGP.
pub(super) fn objects_in(text: &[u8]) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    let pem = sniff::PEM.find_iter(text).take(MOST);
    let pem = pem.filter_map(|at| pem_at(text, at));
    let files = UUENCODED.find_iter(text).take(MOST * 10);
    let files = files.filter_map(|at| uuencoded_at(text, at)).take(MOST);
    for object in pem.chain(files) {
        let overlaps = |other: &Found| {
            object.span.start < other.span.end && other.span.start < object.span.end
        };
        if !found.iter().any(overlaps) {
            found.push(object);
        }
    }
    found
}

/// CMS in PEM whose first line has its hyphens at `at`, indented or quoted as in a reply perhaps.
fn pem_at(text: &[u8], at: usize) -> Option<Found> {
    let start = line_start(text, at);
    let prefix = &text[start..at];
    let is_mark = |byte: &u8| matches!(byte, b'>' | b'|' | b' ' | b'\t');
    if !prefix.iter().all(is_mark) {
        return None;
    }
    let length = memchr::memmem::find(&text[at..], b"-----END ")?;
    let end = mime::line_at(text, at + length).1;
    let lines = text[at..end].split_inclusive(|&byte| byte == b'\n');
    let lines = lines.flat_map(|line| line.iter().skip_while(|byte| is_mark(byte)));
    let plain: Vec<u8> = lines.copied().collect();
    let ber = smime::decode_container(&plain).filter(|ber| sniff::is_cms(ber))?;
    Some(Found {
        span: start..end,
        object: Object::Cms(ber.into()),
        name: String::new(),
    })
}

/// A uuencoded file that is CMS or an OpenPGP message, whose first line begins at `at`.
fn uuencoded_at(text: &[u8], at: usize) -> Option<Found> {
    const LONGEST_MODE: usize = 5;
    let (line_end, begin) = mime::line_at(text, at);
    let (mode, name) = std::str::from_utf8(&text[at..line_end])
        .ok()?
        .strip_prefix("begin ")?
        .split_once(' ')?;
    let is_mode = mode.len() <= LONGEST_MODE && mode.bytes().all(|digit| digit.is_ascii_digit());
    if line_start(text, at) != at || !is_mode {
        return None;
    }
    let first = &text[at..mime::line_at(text, begin).1];
    let first = transfer::uudecode(first)?;
    if !sniff::is_cms(&first) && !sniff::is_surely_openpgp(&first) {
        return None;
    }
    let ends = memchr::memmem::find_iter(&text[begin..], b"\nend").map(|end| begin + end + 1);
    let mut ends = ends.map(|end| (end, mime::line_at(text, end)));
    let (_, (_, end)) = ends.find(|(end, (line_end, _))| text[*end..*line_end] == *b"end")?;
    let bytes = transfer::uudecode(&text[at..end])?;
    let object = match bare::find(&bytes)? {
        Object::Cms(_) => Object::Cms(bytes.into()),
        Object::OpenPgp(_) => Object::OpenPgp(bytes.into()),
    };
    Some(Found {
        span: at..end,
        object,
        name: name.trim().to_owned(),
    })
}

fn line_start(text: &[u8], at: usize) -> usize {
    let before = memchr::memrchr(b'\n', &text[..at]);
    before.map_or(0, |line_end| line_end + 1)
}
