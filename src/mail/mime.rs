//! Where the parts of a message lie, to the byte.
//!
//! Signatures cover exact bytes and renditions change only what was opened, so every position refers to the
//! original. The parser is tolerant (LF or CRLF, missing final boundaries, wrong boundary parameters), reads
//! each byte once, and stops at the bounds with what it has.

use super::bounds::Bounds;
use super::context::{Budget, Failure};
use super::header::{self, ContentType};
use super::transfer;
use memchr::memmem::Finder;
use std::ops::Range;
use std::sync::LazyLock;

/// Header fields kept in one parse; further ones stay in the bytes but are not looked at.
const MAX_FIELDS: usize = 50_000;
/// Multiparts whose boundary is guessed because the declared one never appears.
const MAX_GUESSES: u32 = 8;

/// Finds a line that begins like a boundary.
static NEXT_DASHES: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\n--"));

/// One header field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// From the name to behind the last line end.
    pub span: Range<usize>,
    /// The name without the colon.
    pub name: Range<usize>,
    /// Behind the colon to before the last line end, folds included.
    pub value: Range<usize>,
}

/// A MIME entity: the message itself, or a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Header and body; ends before the line end that belongs to the next boundary.
    pub span: Range<usize>,
    /// Header fields in order.
    pub fields: Vec<Field>,
    /// End of the header block, before the blank line.
    pub head_end: usize,
    /// What follows the blank line.
    pub body: Range<usize>,
    /// Type, subtype and parameters; defaults filled in.
    pub content_type: ContentType,
    /// `Content-Disposition`, which looks like a type without a subtype.
    pub disposition: Option<ContentType>,
    /// `Content-Transfer-Encoding`, as [`transfer::name_of`] has it.
    pub encoding: String,
    /// Parts of a multipart, or the one message in a `message/rfc822`.
    pub children: Vec<Part>,
}

impl Part {
    /// The values of all fields named `name` (any case), raw.
    pub fn all<'b>(&'b self, bytes: &'b [u8], name: &str) -> impl Iterator<Item = &'b [u8]> {
        self.fields
            .iter()
            .filter(move |field| bytes[field.name.clone()].eq_ignore_ascii_case(name.as_bytes()))
            .map(move |field| &bytes[field.value.clone()])
    }

    /// The first field named `name`, raw.
    #[must_use]
    pub fn first<'b>(&'b self, bytes: &'b [u8], name: &str) -> Option<&'b [u8]> {
        self.all(bytes, name).next()
    }

    /// The file name by `Content-Disposition` or `Content-Type`, decoded; empty if there is none.
    #[must_use]
    pub fn file_name(&self) -> &str {
        let by_disposition = self.disposition.as_ref();
        by_disposition
            .and_then(|disposition| disposition.parameter("filename"))
            .or_else(|| self.content_type.parameter("name"))
            .map(header::without_folders)
            .unwrap_or_default()
    }

    /// True for a multipart, whether or not its parts were found.
    #[must_use]
    pub fn is_multipart(&self) -> bool {
        self.content_type.kind == "multipart"
    }
}

/// Parses `bytes` as one entity. Parts are counted in `budget`; `nesting` is how deep this entity lies already.
/// The second value names the bound that stopped the parse, if one did.
pub fn parse(
    bytes: &[u8],
    nesting: u32,
    bounds: &Bounds,
    budget: &Budget,
) -> (Part, Option<Failure>) {
    let mut parser = Parser {
        bytes,
        bounds,
        budget,
        stack: Vec::new(),
        over: None,
        fields: 0,
        nesting,
    };
    let mut root = parser.run(0, Vec::new());
    let mut guesses = 0;
    parser.mend(&mut root, nesting, &mut guesses);
    (root, parser.over)
}

/// The header of `bytes` alone; the body is everything behind it and is not looked into.
#[must_use]
pub fn header_of(bytes: &[u8]) -> Part {
    let bounds = Bounds::default();
    let budget = Budget::default();
    let mut parser = Parser {
        bytes,
        bounds: &bounds,
        budget: &budget,
        stack: Vec::new(),
        over: None,
        fields: 0,
        nesting: 0,
    };
    finish(parser.read_header(0, false), bytes.len())
}

/// An entity that is not closed yet.
struct Open {
    part: Part,
    boundary: Option<Vec<u8>>,
}

struct Parser<'a> {
    bytes: &'a [u8],
    bounds: &'a Bounds,
    budget: &'a Budget,
    stack: Vec<Open>,
    over: Option<Failure>,
    fields: usize,
    nesting: u32,
}

impl Parser<'_> {
    /// Reads from `start` to the end of the bytes. `outer` are entities that are open already.
    fn run(&mut self, start: usize, outer: Vec<Open>) -> Part {
        let mut at = start;
        self.stack = outer;
        if self.stack.is_empty() {
            at = self.enter(start, false);
        }
        while let Some(found) = self.next_candidate(at) {
            at = found;
            let (content_end, next) = self.line(at);
            match self.boundary_at(at, content_end) {
                Some((level, last)) if self.over.is_none() => {
                    self.close_above(level + 1, at);
                    if last {
                        self.stack[level].boundary = None;
                        at = next;
                    } else {
                        let digest = self.stack[level].part.content_type.subtype == "digest";
                        at = self.enter(next, digest);
                    }
                }
                _ => at = next,
            }
        }
        self.close_above(1, usize::MAX);
        match self.stack.pop() {
            Some(open) => finish(open.part, self.bytes.len()),
            None => empty_part(self.bytes.len()),
        }
    }

    /// Opens the entity that begins at `start`, and the message inside it if it is a `message/rfc822`. Returns
    /// where its body begins. Over a bound nothing is opened.
    fn enter(&mut self, start: usize, in_digest: bool) -> usize {
        let depth = u32::try_from(self.stack.len())
            .unwrap_or(u32::MAX)
            .saturating_add(self.nesting);
        if depth >= self.bounds.depth && !self.stack.is_empty() {
            self.over = Some(Failure::OverBound {
                bound: "depth",
                limit: u64::from(self.bounds.depth),
            });
            return start;
        }
        if let Err(failure) = self.budget.part(self.bounds)
            && !self.stack.is_empty()
        {
            self.over = Some(failure);
            return start;
        }
        let mut part = self.read_header(start, in_digest);
        let body = part.body.start;
        let boundary = boundary_of(&part);
        let embedded = part.content_type.is_message() && is_identity(&part.encoding);
        part.span.start = start;
        self.stack.push(Open { part, boundary });
        if embedded {
            self.enter(body, false)
        } else {
            body
        }
    }

    /// Closes all entities from stack level `level` up; the line at `boundary` ends them.
    fn close_above(&mut self, level: usize, boundary: usize) {
        while self.stack.len() > level.max(1) {
            let Some(open) = self.stack.pop() else { return };
            let end = if boundary == usize::MAX {
                self.bytes.len()
            } else {
                self.before_line_end(boundary)
            };
            let closed = finish(open.part, end);
            if let Some(parent) = self.stack.last_mut() {
                parent.part.children.push(closed);
            }
        }
    }

    /// The next line, from the one at `at` on, that may be a boundary.
    fn next_candidate(&self, at: usize) -> Option<usize> {
        if self.stack.iter().all(|open| open.boundary.is_none()) {
            return None;
        }
        let rest = self.bytes.get(at..)?;
        if rest.starts_with(b"--") {
            return Some(at);
        }
        NEXT_DASHES.find(rest).map(|before| at + before + 1)
    }

    /// The stack level whose boundary stands in the line, and whether it is the closing one.
    fn boundary_at(&self, start: usize, end: usize) -> Option<(usize, bool)> {
        let line = self.bytes[start..end].strip_prefix(b"--")?;
        self.stack
            .iter()
            .enumerate()
            .rev()
            .find_map(|(level, open)| {
                let rest = line.strip_prefix(open.boundary.as_deref()?)?;
                if rest.iter().all(u8::is_ascii_whitespace) {
                    Some((level, false))
                } else {
                    rest.starts_with(b"--").then_some((level, true))
                }
            })
    }

    /// End of the line's content and start of the next line.
    fn line(&self, at: usize) -> (usize, usize) {
        line_at(self.bytes, at)
    }

    fn before_line_end(&self, at: usize) -> usize {
        match self.bytes[..at] {
            [.., b'\r', b'\n'] => at - 2,
            [.., b'\n'] => at - 1,
            _ => at,
        }
    }

    /// Reads header fields from `start` to the blank line, or to the first line that cannot be a header.
    fn read_header(&mut self, start: usize, in_digest: bool) -> Part {
        let mut fields: Vec<Field> = Vec::new();
        let mut at = start;
        let mut head_end = start;
        let body;
        loop {
            if at >= self.bytes.len() {
                body = self.bytes.len();
                break;
            }
            let (end, next) = self.line(at);
            let line = &self.bytes[at..end];
            if line.is_empty() {
                body = next;
                break;
            }
            if self.boundary_at(at, end).is_some() {
                body = at;
                break;
            }
            match (field_name_length(line), fields.last_mut()) {
                (Some(length), _) if !is_blank(line[0]) => {
                    self.fields += 1;
                    if self.fields <= MAX_FIELDS {
                        fields.push(Field {
                            span: at..next,
                            name: at..at + length,
                            value: colon(line, at)..end,
                        });
                    }
                }
                (_, Some(field)) if is_blank(line[0]) && field.span.end == at => {
                    field.span.end = next;
                    field.value.end = end;
                }
                _ if line.starts_with(b"From ") || line.starts_with(b">From ") => {}
                (_, last) if self.header_goes_on(next) => {
                    if let Some(field) = last.filter(|field| field.span.end == at) {
                        field.span.end = next;
                        field.value.end = end;
                    }
                }
                _ => {
                    body = at;
                    break;
                }
            }
            at = next;
            head_end = next;
        }
        let declared = |name: &[u8]| {
            fields
                .iter()
                .find(|field| self.bytes[field.name.clone()].eq_ignore_ascii_case(name))
                .map(|field| &self.bytes[field.value.clone()])
        };
        let content_type = declared(b"content-type").map(ContentType::parse);
        let disposition = declared(b"content-disposition").map(ContentType::parse);
        let encoding = declared(b"content-transfer-encoding").map(transfer::name_of);
        let content_type = content_type.unwrap_or_else(|| ContentType::default_for(in_digest));
        Part {
            span: start..body,
            fields,
            head_end,
            body: body..body,
            content_type,
            disposition,
            encoding: encoding.unwrap_or_default(),
            children: Vec::new(),
        }
    }

    /// Whether, after a line that is no header field, the next one is: then the odd line is a broken fold.
    fn header_goes_on(&self, at: usize) -> bool {
        if at >= self.bytes.len() {
            return false;
        }
        let (end, _) = self.line(at);
        let line = &self.bytes[at..end];
        line.len() >= 8
            && (line[..8].eq_ignore_ascii_case(b"content-")
                || line[..5].eq_ignore_ascii_case(b"mime-"))
            && field_name_length(line).is_some()
    }

    /// Splits multiparts whose declared boundary never appeared by the boundary that does.
    fn mend(&mut self, part: &mut Part, depth: u32, guesses: &mut u32) {
        if part.is_multipart()
            && part.children.is_empty()
            && *guesses < MAX_GUESSES
            && depth < self.bounds.depth
            && let Some(boundary) = self.guess_boundary(part.body.clone())
        {
            *guesses += 1;
            let start = part.body.start;
            let seed = Part {
                children: Vec::new(),
                ..part.clone()
            };
            let mut inner = Parser {
                bytes: &self.bytes[..part.body.end],
                bounds: self.bounds,
                budget: self.budget,
                stack: Vec::new(),
                over: None,
                fields: self.fields,
                nesting: depth,
            };
            let mended = inner.run(
                start,
                vec![Open {
                    part: seed,
                    boundary: Some(boundary),
                }],
            );
            self.over = self.over.take().or(inner.over);
            *part = mended;
        }
        for child in &mut part.children {
            self.mend(child, depth + 1, guesses);
        }
    }

    /// A line that begins with `--`, is followed by a header field, and comes again.
    fn guess_boundary(&self, body: Range<usize>) -> Option<Vec<u8>> {
        let mut at = body.start;
        while at < body.end {
            let (end, next) = self.line(at);
            let line = self.bytes[at..end.min(body.end)].trim_ascii_end();
            if line.len() > 2 && line.starts_with(b"--") && next < body.end {
                let (next_end, _) = self.line(next);
                let follows = &self.bytes[next..next_end.min(body.end)];
                if follows.len() >= 8 && follows[..8].eq_ignore_ascii_case(b"content-") {
                    return Some(line[2..].to_vec());
                }
            }
            at = next;
        }
        None
    }
}

/// End of the content of the line at `at` (without CR LF), and the start of the next line.
#[must_use]
pub fn line_at(bytes: &[u8], at: usize) -> (usize, usize) {
    match memchr::memchr(b'\n', &bytes[at..]) {
        Some(length) => {
            let end = at + length;
            let content = if length > 0 && bytes[end - 1] == b'\r' {
                end - 1
            } else {
                end
            };
            (content, end + 1)
        }
        None => (bytes.len(), bytes.len()),
    }
}

fn is_identity(encoding: &str) -> bool {
    matches!(encoding, "" | "7bit" | "8bit" | "binary")
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// Length of the field name if the line is a field: printable characters without space, then (blanks and) a colon.
fn field_name_length(line: &[u8]) -> Option<usize> {
    let length = line
        .iter()
        .take(200)
        .position(|&byte| !(33..=126).contains(&byte) || byte == b':')?;
    let rest = line[length..].trim_ascii_start();
    (length > 0 && rest.starts_with(b":")).then_some(length)
}

fn colon(line: &[u8], at: usize) -> usize {
    at + line
        .iter()
        .position(|&byte| byte == b':')
        .map_or(line.len(), |colon| colon + 1)
}

fn boundary_of(part: &Part) -> Option<Vec<u8>> {
    if !part.is_multipart() {
        return None;
    }
    let boundary = part.content_type.parameter("boundary")?.trim_end();
    (!boundary.is_empty()).then(|| boundary.as_bytes().to_vec())
}

/// Ends the part at `end`. In a part that is empty or all header, the last line end may belong to the boundary
/// behind it, so that even its beginning lies before where it was read.
fn finish(mut part: Part, end: usize) -> Part {
    part.span = part.span.start.min(end)..end;
    part.head_end = part.head_end.min(end);
    part.body = part.body.start.min(end)..end;
    if let Some(last) = part.fields.last_mut() {
        last.span.end = last.span.end.min(end);
        last.value.end = last.value.end.min(end);
    }
    part
}

fn empty_part(at: usize) -> Part {
    Part {
        span: at..at,
        fields: Vec::new(),
        head_end: at,
        body: at..at,
        content_type: ContentType::default_for(false),
        disposition: None,
        encoding: String::new(),
        children: Vec::new(),
    }
}

#[cfg(test)]
#[path = "mime_tests.rs"]
mod tests;
