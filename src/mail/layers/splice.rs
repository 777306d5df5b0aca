//! Texts with objects in them, OpenPGP armor, S/MIME in PEM and uuencoded files: what each holds is put in its place, and
//! what stands around it stays.

use super::bare::{self, Object};
use super::inline::{content_of, place_of};
use super::{Place, Spot, Walk};
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

    /// The text with everything in it that was opened; `None` if nothing was.
    pub(super) fn into_text(self, text: &[u8]) -> Option<Vec<u8>> {
        let mut edits = Edits::default();
        for (span, Inner::Text(inner) | Inner::Entity(inner)) in self.0 {
            edits.replace(span, inner);
        }
        edits.apply(text)
    }

    /// The same as an entity for the part at `spot`: text where all that was opened is text, else the pieces one after
    /// the other.
    pub(super) fn into_entity(self, text: &[u8], spot: Spot<'_>) -> Option<Vec<u8>> {
        let name = spot.part.file_name();
        let content_type = &spot.part.content_type;
        let charset = content_type.parameter("charset");
        let is_plain =
            charset.filter(|label| label.bytes().all(|c| c.is_ascii_graphic() && c != b'"'));
        let media_type = is_plain.map_or_else(
            || content_type.essence(),
            |label| format!("{}; charset=\"{label}\"", content_type.essence()),
        );
        let piece = |text: &[u8]| {
            if name.is_empty() || spot.is_message {
                let is_utf8 = std::str::from_utf8(text).is_ok();
                rendition::as_text(text, charset.filter(|_| !is_utf8))
            } else {
                rendition::as_file_of(&media_type, text, name)
            }
        };
        if self.is_text() {
            return self.into_text(text).map(|text| piece(&text));
        }
        let Self(mut all) = self;
        all.sort_by_key(|(span, _)| span.start);
        let (mut parts, mut gathered, mut at) = (Vec::new(), Vec::new(), 0);
        for (span, inner) in all {
            gathered.extend_from_slice(text.get(at..span.start).unwrap_or_default());
            at = span.end;
            match inner {
                Inner::Text(inner) => gathered.extend(inner),
                Inner::Entity(entity) => {
                    if !gathered.trim_ascii().is_empty() {
                        parts.push(piece(&gathered));
                    }
                    gathered.clear();
                    parts.push(entity);
                }
            }
        }
        gathered.extend_from_slice(&text[at..]);
        if !gathered.trim_ascii().is_empty() {
            parts.push(piece(&gathered));
        }
        Some(as_mixed(&parts))
    }

    /// With all that is text in the charset of the text around it, as far as it has the letters; what it has not becomes a
    /// part of its own.
    fn in_charset_of(self, text: &[u8], label: Option<&str>) -> Self {
        if text.is_ascii() {
            return self;
        }
        let is_utf8 = std::str::from_utf8(text).is_ok();
        let all = self.0.into_iter().map(|(span, inner)| match inner {
            Inner::Text(inner) if !inner.is_ascii() => {
                let inner = match std::str::from_utf8(&inner) {
                    Ok(letters) if !is_utf8 => match charset::encode(letters, label) {
                        Some(inner) => Inner::Text(inner),
                        None => Inner::Entity(rendition::as_text(&inner, None)),
                    },
                    Err(_) if is_utf8 => Inner::Text(charset::decode(&inner, None).into_bytes()),
                    _ => Inner::Text(inner),
                };
                (span, inner)
            }
            inner => (span, inner),
        });
        Self(all.collect())
    }

    fn is_text(&self) -> bool {
        let is_text = |(_, inner): &(_, Inner)| matches!(inner, Inner::Text(_));
        self.0.iter().all(is_text)
    }

    /// Puts the changed text in the part's place. A file keeps its name and type as long as it is one text.
    pub(super) fn put(self, spot: Spot<'_>, text: &[u8], edits: &mut Edits) {
        let label = spot.part.content_type.parameter("charset");
        let splices = self.in_charset_of(text, label);
        let kind = &spot.part.content_type.kind;
        let is_file = !super::parts::is_read_as_text(kind);
        if !splices.is_text() || is_file && spot.is_message {
            let entity = splices.into_entity(text, spot);
            if let Some(entity) = entity {
                spot.replace(entity, edits);
            }
        } else if let Some(changed) = splices.into_text(text) {
            if is_file {
                replace_attachment(spot.bytes, spot.part, &changed, edits);
            } else {
                replace_text(spot.bytes, spot.part, &changed, edits);
            }
        }
    }
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
                        self.inner(plaintext, super::pgp::stripped(&name), &place.inside(count))
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
fn is_typed(plaintext: &[u8]) -> bool {
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

/// What no uuencoded file is without.
static UUENCODED: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"begin "));

/// Whether a body may have objects in it; most have none, and are not decoded for that.
pub(super) fn may_have_objects(body: &[u8], encoding: &str) -> bool {
    let [one, two, three] = &*BASE64;
    let all = [&*armor::MARKS, &*UUENCODED, one, two, three];
    transfer::contains(body, encoding, &all)
}

/// What base64 of CMS has at its beginning: the object identifier of PKCS#7, behind lengths of one to four octets.
static BASE64: LazyLock<[Finder<'static>; 3]> =
    LazyLock::new(|| ["KoZIhvcNAQc", "CSqGSIb3DQEH", "BgkqhkiG9w0BBw"].map(Finder::new));

/// The objects in a text that are not in OpenPGP armor: CMS in PEM, whatever its label says, and uuencoded CMS and OpenPGP.
pub(super) fn objects_in(text: &[u8]) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    let pem = sniff::PEM.find_iter(text).take(MOST);
    let pem = pem.filter_map(|at| pem_at(text, at));
    let bare = BASE64.iter().flat_map(|digits| digits.find_iter(text));
    let bare = bare.take(MOST).filter_map(|at| base64_at(text, at));
    let files = UUENCODED.find_iter(text).take(MOST * 10);
    let files = files.filter_map(|at| uuencoded_at(text, at)).take(MOST);
    for object in pem.chain(bare).chain(files) {
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
    if !prefix.iter().all(is_mark) {
        return None;
    }
    let next = sniff::PEM.find(&text[at + 1..]).unwrap_or(text.len());
    let length = memchr::memmem::find(&text[at..], b"-----END ").filter(|end| *end <= next)?;
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

/// CMS in base64 without any frame, the beginning of which is at `at`: lines of nothing but digits, quoted or each followed
/// by an empty one perhaps.
fn base64_at(text: &[u8], at: usize) -> Option<Found> {
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
