//! Texts with objects in them, OpenPGP armor, S/MIME in PEM and uuencoded files: what each holds is put in its place, and
//! what stands around it stays.

use super::bare::{self, Object};
use super::inline::{charset_of, content_of, place_of};
use super::{Place, Spot, Walk};
use crate::mail::mime::Part;
use crate::mail::openpgp::armor;
use crate::mail::rendition::{
    self, Edits, as_entity, as_file, as_mixed, replace_attachment, replace_text,
};
use crate::mail::smime::ber::Element;
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
                rendition::as_file_of(&text_type(spot.part, text), text, name)
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

/// The part's media type, with the charset that `text`, a piece of it, is in.
fn text_type(part: &Part, text: &[u8]) -> String {
    let became_utf8 = !text.is_ascii() && std::str::from_utf8(text).is_ok();
    let declared = charset_of(part).filter(|_| !became_utf8);
    let label = declared.or(became_utf8.then_some("utf-8"));
    let essence = part.content_type.essence();
    match label.filter(|label| rendition::is_charset_name(label)) {
        Some(label) => format!("{essence}; charset=\"{label}\""),
        None => essence,
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

/// Shortest line of digits that others of the same object may follow.
const SHORTEST_BEFORE: usize = 40;
/// Most objects of a kind that are looked for in one text.
const MOST: usize = 20;
/// How many times its length is looked at of a text: hostile ones have a beginning in each of their lines, and one end.
const ROOM: usize = 4;

/// What no uuencoded file is without.
static UUENCODED: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"begin "));

/// Whether a body may have objects in it; most have none, and are not decoded for that.
pub(super) fn may_have_objects(body: &[u8], encoding: &str) -> bool {
    /// CMS is a SEQUENCE with a length of two octets and more.
    static BASE64_BEGINS: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"MI"));
    let all = [&*armor::MARKS, &*UUENCODED, &*BASE64_BEGINS];
    transfer::contains(body, encoding, &all)
}

/// What base64 of CMS has at its beginning: the object identifier of PKCS#7, behind lengths of one to four octets.
static BASE64: LazyLock<[Finder<'static>; 3]> =
    LazyLock::new(|| ["KoZIhvcNAQc", "CSqGSIb3DQEH", "BgkqhkiG9w0BBw"].map(Finder::new));

/// The objects in a text that are not in OpenPGP armor: CMS in PEM, whatever its label says, and uuencoded CMS and OpenPGP.
pub(super) fn objects_in(text: &[u8]) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    let room = &mut text.len().saturating_mul(ROOM);
    for at in sniff::PEM.find_iter(text).take(MOST) {
        add(pem_at(text, at), &mut found);
    }
    let bare = BASE64.iter().flat_map(|digits| digits.find_iter(text));
    for at in bare.take(MOST) {
        add(base64_at(text, at, room), &mut found);
    }
    let ends: Vec<usize> = ends_of_files(text);
    for at in UUENCODED.find_iter(text).take(MOST * 10) {
        add(uuencoded_at(text, at, &ends, room), &mut found);
        if found.len() >= MOST * 3 {
            break;
        }
    }
    found
}

fn add(object: Option<Found>, found: &mut Vec<Found>) {
    let overlaps = |one: &Found, other: &Found| {
        one.span.start < other.span.end && other.span.start < one.span.end
    };
    found.extend(object.filter(|new| !found.iter().any(|other| overlaps(new, other))));
}

/// Takes what looking at `length` bytes costs; `None` where nothing is left.
fn take(room: &mut usize, length: usize) -> Option<()> {
    *room = room.checked_sub(length)?;
    Some(())
}

/// CMS in PEM whose first line has its hyphens at `at`, indented or quoted as in a reply perhaps.
fn pem_at(text: &[u8], at: usize) -> Option<Found> {
    let start = line_start(text, at);
    let prefix = &text[start..at];
    if !prefix.iter().all(is_mark) {
        return None;
    }
    let next = sniff::PEM.find(&text[at + 1..]).unwrap_or(text.len());
    let length = memchr::memmem::find(&text[at..], b"-----END ").filter(|end| *end <= next)?;
    let (line_end, next) = mime::line_at(text, at + length);
    let last = at + length;
    let end = armor::behind_end(&text[last..line_end]).map_or(next, |words| last + words);
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

/// CMS in base64 without any frame, the beginning of which is at `at`: lines of nothing but digits, quoted or each followed
/// by an empty one perhaps.
fn base64_at(text: &[u8], at: usize, room: &mut usize) -> Option<Found> {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    let start = line_start(text, at);
    let first = unmarked(text, start).0;
    if !first.starts_with(b"M") || !sniff::is_cms(&transfer::base64(first)) {
        return None;
    }
    // PKCS#12 and others have CMS inside, where a line may begin.
    let before = text[..start].trim_ascii_end();
    let before = unmarked(before, line_start(before, before.len())).0;
    if before.len() >= SHORTEST_BEFORE && before.iter().all(is_digit) {
        return None;
    }
    let (mut digits, mut end, mut next) = (Vec::new(), start, start);
    let mut is_full = true;
    while next < text.len() {
        let (line, behind) = unmarked(text, next);
        take(room, behind - next)?;
        if line.is_empty() && is_full {
            next = behind;
            continue;
        }
        if line.is_empty() || !line.iter().all(is_digit) {
            break;
        }
        digits.extend_from_slice(line);
        (end, next) = (behind, behind);
        is_full = line.len() == first.len();
        if line.ends_with(b"=") {
            break;
        }
    }
    let ber = transfer::base64(&digits);
    // What somebody quotes of an object is none.
    let is_whole = Element::split(&ber).is_ok();
    (is_whole && sniff::is_cms(&ber)).then(|| Found {
        span: start..end,
        object: Object::Cms(ber.into()),
        name: String::new(),
    })
}

/// The line at `at` without what a reply puts before it, and where the next one is.
fn unmarked(text: &[u8], at: usize) -> (&[u8], usize) {
    let (end, next) = mime::line_at(text, at);
    let line = &text[at..end];
    let marks = line.iter().take_while(|byte| is_mark(byte)).count();
    (line[marks..].trim_ascii(), next)
}

fn is_mark(byte: &u8) -> bool {
    matches!(byte, b'>' | b'|' | b' ' | b'\t')
}

/// A uuencoded file that is CMS or an OpenPGP message, whose first line begins at `at`.
fn uuencoded_at(text: &[u8], at: usize, ends: &[usize], room: &mut usize) -> Option<Found> {
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
    let end = *ends.get(ends.partition_point(|end| *end <= begin))?;
    take(room, end - at)?;
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

/// Behind each line `end`.
fn ends_of_files(text: &[u8]) -> Vec<usize> {
    let found = memchr::memmem::find_iter(text, b"\nend").map(|at| at + 1);
    let lines = found.map(|at| (at, mime::line_at(text, at)));
    let ends = lines.filter(|(at, (line_end, _))| text[*at..*line_end] == *b"end");
    ends.map(|(_, (_, next))| next).collect()
}

fn line_start(text: &[u8], at: usize) -> usize {
    let before = memchr::memrchr(b'\n', &text[..at]);
    before.map_or(0, |line_end| line_end + 1)
}
