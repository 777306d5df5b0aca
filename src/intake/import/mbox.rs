//! Splits a mailbox file (RFC 4155 and its kin) while reading it, one mail in memory at a time.
//!
//! There is no standard that all writers follow, so: a mail begins with a line `From … ` that ends in
//! a date as `ctime` writes it, if a blank line (or the file's beginning) is before it or a header
//! field behind it. The date keeps sentences that begin with "From" together with their mail. Old
//! list archives also fold that line in two. The one blank line in front of a separator belongs to
//! it. Writers put `>` before a text line `From ` (mboxo) or `>…>From ` (mboxrd); one `>` is taken
//! away from each, which restores mboxrd exactly. All other bytes, line ends included, stay.

use std::collections::VecDeque;
use std::io::{self, BufRead};

/// One mail of a mailbox file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Where its `From ` line begins in the file.
    pub offset: u64,
    /// Bytes it takes up in the file, its `From ` line included.
    pub span: u64,
    /// The mail, without its `From ` line.
    pub bytes: Vec<u8>,
}

/// True if a file that begins with `line` may be a mailbox file.
#[must_use]
pub fn begins_mbox(line: &[u8]) -> bool {
    line.starts_with(b"From ") && has_date(line)
}

/// The mails of a mailbox file, in order.
pub struct Mbox<R> {
    from: R,
    /// Lines read ahead, with their LF.
    ahead: VecDeque<Vec<u8>>,
    offset: u64,
}

impl<R: BufRead> Mbox<R> {
    /// `from` begins with a `From ` line.
    pub const fn new(from: R) -> Self {
        Self {
            from,
            ahead: VecDeque::new(),
            offset: 0,
        }
    }

    fn peek(&mut self, index: usize) -> io::Result<&[u8]> {
        while self.ahead.len() <= index {
            let mut line = Vec::new();
            self.from.read_until(b'\n', &mut line)?;
            self.ahead.push_back(line);
        }
        Ok(&self.ahead[index])
    }

    /// The next line; empty at the end of the file.
    fn take(&mut self) -> io::Result<Vec<u8>> {
        self.peek(0)?;
        let line = self.ahead.pop_front().unwrap_or_default();
        self.offset += line.len() as u64;
        Ok(line)
    }

    /// The number of lines of the separator that comes next; 0 where none does.
    fn separator(&mut self, after_blank: bool) -> io::Result<usize> {
        if !self.peek(0)?.starts_with(b"From ") {
            return Ok(0);
        }
        if has_date(self.peek(0)?) {
            let is_one = after_blank || is_header(self.peek(1)?);
            return Ok(usize::from(is_one));
        }
        let is_folded = after_blank
            && self.peek(1)?.starts_with(b" ")
            && has_date(self.peek(1)?)
            && is_header(self.peek(2)?);
        Ok(if is_folded { 2 } else { 0 })
    }

    fn next_message(&mut self) -> io::Result<Option<Message>> {
        let offset = self.offset;
        for _ in 0..self.separator(true)?.max(1) {
            self.take()?;
        }
        if self.offset == offset {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        let mut blank = Vec::new();
        while !self.peek(0)?.is_empty() && self.separator(!blank.is_empty())? == 0 {
            bytes.append(&mut blank);
            let line = self.take()?;
            if line == b"\n" || line == b"\r\n" {
                blank = line;
            } else {
                bytes.extend_from_slice(unquoted(&line));
            }
        }
        Ok(Some(Message {
            offset,
            span: self.offset - offset,
            bytes,
        }))
    }
}

impl<R: BufRead> Iterator for Mbox<R> {
    type Item = io::Result<Message>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_message().transpose()
    }
}

fn unquoted(line: &[u8]) -> &[u8] {
    let marks = line.iter().take_while(|&&byte| byte == b'>').count();
    if marks > 0 && line[marks..].starts_with(b"From ") {
        &line[1..]
    } else {
        line
    }
}

/// A header field's beginning (RFC 5322 §2.2).
#[must_use]
pub fn is_header(line: &[u8]) -> bool {
    let name = line
        .iter()
        .take_while(|&&byte| (33..=126).contains(&byte) && byte != b':')
        .count();
    name > 0 && line.get(name) == Some(&b':')
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LINE: &str = "From ann at example.org  Tue Apr  1 09:28:56 1997\n";

    fn split(file: &str) -> Vec<String> {
        Mbox::new(file.as_bytes())
            .map(|message| String::from_utf8(message.expect("read").bytes).expect("text"))
            .collect()
    }

    #[test]
    fn mails_are_split_at_dated_lines_only() {
        let file = format!(
            "{LINE}A: 1\n\nFrom here on\nit is text\n\nFrom now on too\n\n{LINE}B: 2\n\nx\n"
        );
        assert_eq!(
            split(&file),
            [
                "A: 1\n\nFrom here on\nit is text\n\nFrom now on too\n",
                "B: 2\n\nx\n"
            ]
        );
        assert_eq!(
            split(&format!("{LINE}A: 1\n\nx\n{LINE}B: 2\n")),
            ["A: 1\n\nx\n", "B: 2\n"]
        );
        let folded = "From a\"\n <a at b  Mon Jan 15 12:58:00 2001\n";
        assert_eq!(
            split(&format!("{LINE}A: 1\n\n{folded}B: 2\n")),
            ["A: 1\n", "B: 2\n"]
        );
        let crlf = LINE.replace('\n', "\r\n");
        assert_eq!(
            split(&format!("{crlf}\r\n{crlf}A: 1\r\n\r\n")),
            ["", "A: 1\r\n"]
        );
    }

    #[test]
    fn dates_of_many_writers_are_known() {
        for good in [
            "From - Tue Apr 01 09:28:56 1997",
            "From a Tue Apr  1 09:28:56 +0200 1997",
            "From a Tue Apr  1 09:28:56 1997 +0200",
            "From a Tue Apr  1 09:28 MET 1997",
            "From a b c  Tue Apr  1 9:28:56 1997",
        ] {
            assert!(begins_mbox(good.as_bytes()), "{good}");
        }
        for bad in [
            "From Tue Apr onwards",
            "From a Tue Apr  1 09:28:56 1997 and much more text",
            "From a Tue Apr 1",
            ">From - Tue Apr 01 09:28:56 1997",
        ] {
            assert!(!begins_mbox(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn every_mail_of_the_volume_corpus_is_found() {
        let Some(folder) = std::env::var_os("STRONGROOM_VOLUME") else {
            eprintln!("SKIPPED: STRONGROOM_VOLUME names no folder with the r-devel archive");
            return;
        };
        let (mut mails, mut obfuscated) = (0, 0);
        for entry in std::fs::read_dir(folder).expect("list") {
            let file = std::fs::read(entry.expect("entry").path()).expect("read");
            for message in Mbox::new(file.as_slice()).map(|message| message.expect("read")) {
                assert!(is_header(&message.bytes), "a mail begins with its header");
                let line = file[usize::try_from(message.offset).expect("small")..]
                    .split(|&byte| byte == b'\n')
                    .next();
                obfuscated += usize::from(
                    line.is_some_and(|line| line.windows(4).any(|word| word == b" at ")),
                );
                mails += 1;
            }
        }
        // 46,296 have an obfuscated address; list archives of the first years have plain ones.
        assert_eq!((mails, obfuscated), (77_345, 46_296));
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_mboxrd_comes_back(
            mails in proptest::collection::vec("A: b\n\n(From |>|>From |x|\n){0,12}\n", 1..5),
        ) {
            let mut file = String::new();
            for mail in &mails {
                file.push_str(LINE);
                for line in mail.split_inclusive('\n') {
                    let quoted = line.trim_start_matches('>').starts_with("From ");
                    file.push_str(if quoted { ">" } else { "" });
                    file.push_str(line);
                }
                file.push('\n');
            }
            prop_assert_eq!(split(&file), mails);
            let spans: u64 = Mbox::new(file.as_bytes()).map(|message| message.expect("read").span).sum();
            prop_assert_eq!(spans, file.len() as u64);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let spans: u64 = Mbox::new(bytes.as_slice()).map(|message| message.expect("read").span).sum();
            prop_assert_eq!(spans, bytes.len() as u64);
        }
    }
}
