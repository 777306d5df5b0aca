//! Mailbox files (RFC 4155 and its kin): where each mail in one lies, found while reading, in little memory.
//!
//! There is no standard that all writers follow, so: a mail begins with a line `From … ` that ends in a date as `ctime`
//! writes it, if a blank line (or the file's beginning) is before it or a header field behind it. The date keeps sentences
//! that begin with "From" together with their mail. Old list archives also fold that line in two. In a file whose
//! first line has no date none is asked for; a blank line before it and a header field behind it are. Thunderbird's files have
//! dates in their older lines and none in their newer ones. The one blank line
//! in front of a separator belongs to it. Every other byte of a mail is left as it is stored: whether a `>From ` was
//! quoted by the mailbox's writer or by the mail's author, nobody can tell. Writers that quote nothing say in a field
//! `Content-Length` how long a mail's text is: it is believed where a separator or the file's end follows that text. Old
//! Macintosh programs end lines by a carriage return alone.

use std::collections::VecDeque;
use std::io::{self, BufRead};

/// Bytes of a line that are looked at; a longer line is no separator.
const LOOK: usize = 1000;

/// Where one mail lies in a mailbox file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Where its `From ` line begins.
    pub separator: u64,
    /// Where the mail begins.
    pub start: u64,
    /// Where the mail ends; a blank line may follow.
    pub end: u64,
    /// Where the next mail's `From ` line begins, or the file ends.
    pub next: u64,
}

/// The mails of a mailbox file, as they are found.
pub struct Mbox<R> {
    from: R,
    ahead: VecDeque<Line>,
    /// Where the line that is taken next begins.
    offset: u64,
    /// Where the first `From ` line begins.
    begin: u64,
    /// The file's writer puts dates into its `From ` lines.
    dated: bool,
    /// Thunderbird wrote some of it. Its newer versions write no more than `From ` behind what older ones dated.
    thunderbird: bool,
    /// What lines end with.
    line_end: u8,
    look: Option<Look>,
}

/// Gives some bytes of the file from a place on, few only at its end.
type Look = Box<dyn Fn(u64) -> io::Result<Vec<u8>> + Send>;

/// The beginning of a line.
#[derive(Debug, Default)]
struct Line {
    /// At most [`LOOK`] bytes, the line end included.
    head: Vec<u8>,
    /// Bytes in the whole line; 0 at the end of the file.
    length: u64,
}

impl Line {
    fn is_blank(&self) -> bool {
        matches!(self.head.as_slice(), b"\n" | b"\r\n" | b"\r")
    }

    fn is_from(&self) -> bool {
        self.head.starts_with(b"From ")
    }

    /// Nothing behind the word.
    fn is_bare(&self) -> bool {
        self.head.trim_ascii_end() == b"From"
    }

    fn has_date(&self) -> bool {
        self.length <= LOOK as u64 && has_date(&self.head)
    }
}

/// True if `start`, the beginning of a file, is that of a mailbox file: a line `From … ` with a date, or with a header
/// field behind it. `From : …` is a field, as old senders wrote it.
#[must_use]
pub fn begins_mbox(start: &[u8]) -> bool {
    let line = first_line(start);
    let rest = &start[line.len()..];
    line.starts_with(b"From ")
        && !line.starts_with(b"From :")
        && (has_date(line) || is_header(rest) || rest.starts_with(b">From "))
}

/// What lines end with in a file that begins so.
#[must_use]
pub fn line_end(start: &[u8]) -> u8 {
    const LOOKED_AT: usize = 8 << 10;
    let start = &start[..start.len().min(LOOKED_AT)];
    if start.contains(&b'\r') && !start.contains(&b'\n') {
        b'\r'
    } else {
        b'\n'
    }
}

fn first_line(bytes: &[u8]) -> &[u8] {
    let end = line_end(bytes);
    bytes
        .split_inclusive(|byte| *byte == end)
        .next()
        .unwrap_or_default()
}

/// Bytes in front of the first mail that editors and tools leave: a byte order mark, blank lines.
#[must_use]
pub fn before_mail(start: &[u8]) -> usize {
    let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start);
    let blank = text.iter().take_while(|byte| matches!(byte, b'\r' | b'\n'));
    start.len() - text.len() + blank.count()
}

/// The mails in `file`. A file that does not begin with a `From ` line, and a header field behind it, is one mail; a byte
/// order mark or blank lines may come first.
#[must_use]
pub fn messages(file: &[u8]) -> Vec<&[u8]> {
    let mailbox = &file[before_mail(file)..];
    if !begins_mbox(mailbox) {
        return vec![file];
    }
    let file = mailbox;
    let at = |offset: u64| {
        usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(file.len())
    };
    let places = Mbox::new(file, line_end(file)).filter_map(Result::ok);
    places
        .map(|place| &file[at(place.start)..at(place.end)])
        .collect()
}

impl<R: BufRead> Mbox<R> {
    /// `from` begins with a `From ` line; its lines end with `line_end`.
    pub const fn new(from: R, line_end: u8) -> Self {
        Self {
            from,
            ahead: VecDeque::new(),
            offset: 0,
            begin: 0,
            dated: false,
            thunderbird: false,
            line_end,
            look: None,
        }
    }

    /// `from` stands at the file's first `From ` line, at `begin`; `look` reads the same file.
    pub fn at(
        from: R,
        begin: u64,
        line_end: u8,
        look: impl Fn(u64) -> io::Result<Vec<u8>> + Send + 'static,
    ) -> Self {
        Self {
            offset: begin,
            begin,
            look: Some(Box::new(look)),
            ..Self::new(from, line_end)
        }
    }

    fn peek(&mut self, index: usize) -> io::Result<&Line> {
        while self.ahead.len() <= index {
            let line = read_line(&mut self.from, self.line_end)?;
            self.ahead.push_back(line);
        }
        Ok(&self.ahead[index])
    }

    /// Goes to the next line.
    fn skip(&mut self) -> io::Result<()> {
        self.peek(0)?;
        let line = self.ahead.pop_front().unwrap_or_default();
        self.offset += line.length;
        Ok(())
    }

    /// The number of lines of the separator that comes next; 0 where none does.
    fn separator(&mut self, after_blank: bool) -> io::Result<u8> {
        if !self.peek(0)?.is_from() {
            return Ok(0);
        }
        if !self.dated || (self.thunderbird && self.peek(0)?.is_bare()) {
            return Ok(u8::from(after_blank && is_header(&self.peek(1)?.head)));
        }
        if self.peek(0)?.has_date() {
            let is_one = after_blank || is_header(&self.peek(1)?.head);
            return Ok(u8::from(is_one));
        }
        let is_folded = after_blank
            && self.peek(1)?.head.starts_with(b" ")
            && self.peek(1)?.has_date()
            && is_header(&self.peek(2)?.head);
        Ok(if is_folded { 2 } else { 0 })
    }

    /// True if a separator, or the end of the file, follows what lies before `place`.
    fn ends_at(&self, place: u64) -> io::Result<bool> {
        let (Some(look), Some(before)) = (&self.look, place.checked_sub(1)) else {
            return Ok(false);
        };
        let bytes = look(before)?;
        let Some((before, rest)) = bytes.split_first() else {
            return Ok(false); // beyond the end
        };
        let mut next = rest;
        for _ in 0..2 {
            let stripped = next
                .strip_prefix(b"\r\n")
                .or_else(|| next.strip_prefix(b"\n"));
            next = stripped.unwrap_or(next);
        }
        let separated = next.len() < rest.len();
        let line = first_line(next);
        let is_followed = is_header(&next[line.len()..]);
        let is_separator = line.starts_with(b"From ")
            && (*before == b'\n' || separated)
            && if self.dated {
                has_date(line) && (separated || is_followed)
            } else {
                separated && is_followed
            };
        Ok(next.is_empty() || is_separator)
    }

    fn next_place(&mut self) -> io::Result<Option<Place>> {
        let separator = self.offset;
        if separator == self.begin {
            let folded = self.peek(1)?.head.starts_with(b" ") && self.peek(1)?.has_date();
            self.dated = folded || self.peek(0)?.has_date();
        }
        for _ in 0..self.separator(true)?.max(1) {
            self.skip()?;
        }
        if self.offset == separator {
            return Ok(None);
        }
        let start = self.offset;
        let mut end = start;
        let mut after_blank = false;
        let (mut in_header, mut told) = (true, None);
        while self.peek(0)?.length > 0 && self.separator(after_blank)? == 0 {
            let line = self.peek(0)?;
            after_blank = line.is_blank();
            told = told.or_else(|| content_length(&line.head));
            let status = in_header && line.head.starts_with(b"X-Mozilla-Status");
            self.thunderbird |= status;
            end = self.offset;
            self.skip()?;
            if !after_blank {
                end = self.offset;
            } else if std::mem::take(&mut in_header)
                && let Some(told) = told.and_then(|length| self.offset.checked_add(length))
                && self.ends_at(told)?
            {
                while self.offset < told && self.peek(0)?.length > 0 {
                    after_blank = self.peek(0)?.is_blank();
                    self.skip()?;
                }
                end = self.offset;
            }
        }
        Ok(Some(Place {
            separator,
            start,
            end,
            next: self.offset,
        }))
    }
}

impl<R: BufRead> Iterator for Mbox<R> {
    type Item = io::Result<Place>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_place().transpose()
    }
}

/// Reads one line, keeping its beginning.
fn read_line(from: &mut impl BufRead, line_end: u8) -> io::Result<Line> {
    let mut line = Line::default();
    loop {
        let buffer = match from.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        let end = buffer.iter().position(|&byte| byte == line_end);
        let piece = &buffer[..end.map_or(buffer.len(), |at| at + 1)];
        let keep = LOOK.saturating_sub(line.head.len()).min(piece.len());
        line.head.extend_from_slice(&piece[..keep]);
        let taken = piece.len();
        line.length += taken as u64;
        from.consume(taken);
        if end.is_some() || taken == 0 {
            return Ok(line);
        }
    }
}

/// The length of a mail's text, if `line` is the field that says it.
fn content_length(line: &[u8]) -> Option<u64> {
    const NAME: &[u8] = b"content-length:";
    let (name, value) = line.split_at_checked(NAME.len())?;
    let value = std::str::from_utf8(value).ok()?;
    let is_it = name.eq_ignore_ascii_case(NAME);
    is_it.then(|| value.trim().parse().ok())?
}

/// A header field's beginning (RFC 5322 §2.2), also with blanks before the colon (§4.5).
#[must_use]
pub fn is_header(line: &[u8]) -> bool {
    let name = line
        .iter()
        .take_while(|&&byte| (33..=126).contains(&byte) && byte != b':')
        .count();
    let blanks = line[name..]
        .iter()
        .take_while(|&&byte| matches!(byte, b' ' | b'\t'))
        .count();
    name > 0 && line.get(name + blanks) == Some(&b':')
}

/// `Tue Apr  1 09:28:56 1997`, with or without seconds or a time zone, at the end of the line.
fn has_date(line: &[u8]) -> bool {
    let words: Vec<&[u8]> = line
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
        .collect();
    let days = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let one_of = |word: &[u8], names: &[&str]| names.iter().any(|name| name.as_bytes() == word);
    let number = |word: &[u8], digits: std::ops::RangeInclusive<usize>| {
        digits.contains(&word.len()) && word.iter().all(u8::is_ascii_digit)
    };
    let time = |word: &[u8]| {
        let parts: Vec<_> = word.split(|&byte| byte == b':').collect();
        (2..=3).contains(&parts.len()) && parts.iter().all(|part| number(part, 1..=2))
    };
    words.windows(4).enumerate().any(|(at, window)| {
        let rest = &words[at + 4..];
        one_of(window[0], &days)
            && one_of(window[1], &months)
            && number(window[2], 1..=2)
            && time(window[3])
            && (1..=2).contains(&rest.len())
            && rest.iter().any(|word| number(word, 4..=4))
    })
}

#[cfg(test)]
mod tests;
