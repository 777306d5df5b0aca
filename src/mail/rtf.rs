//! Rich text as Outlook sends it in a `winmail.dat`: unpacked (MS-OXRTFCP) and stripped to its text (RTF 1.9.1; of HTML
//! that is wrapped in RTF, MS-OXRTFEX, what a reader sees).

use super::charset;

/// Bytes that one document may unpack to.
const MAX_UNPACKED: usize = 16 << 20;
/// Groups within groups.
const MAX_DEPTH: usize = 1000;
const COMPRESSED: u32 = 0x7546_5a4c;
const UNCOMPRESSED: u32 = 0x414c_454d;
/// What the dictionary holds at the beginning.
const DICTIONARY: &[u8] = b"{\\rtf1\\ansi\\mac\\deff0\\deftab720{\\fonttbl;}{\\f0\\fnil \\froman \\fswiss \\fmodern \\fscript \\fdecor MS Sans SerifSymbolArialTimes New RomanCourier{\\colortbl\\red0\\green0\\blue0\r\n\\par \\pard\\plain\\f0\\fs20\\b\\i\\u\\tab\\tx";

/// Unpacks the value of `PR_RTF_COMPRESSED`, as far as it goes; `None` if it is none.
#[must_use]
pub fn unpacked(value: &[u8]) -> Option<Vec<u8>> {
    let number = |at: usize| {
        let bytes = value.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_le_bytes(bytes))
    };
    let length = usize::try_from(number(4)?).ok()?.min(MAX_UNPACKED);
    let content = value.get(16..)?;
    match number(8)? {
        UNCOMPRESSED => Some(content[..content.len().min(length)].to_vec()),
        COMPRESSED => Some(decompressed(content, length)),
        _ => None,
    }
}

fn decompressed(content: &[u8], length: usize) -> Vec<u8> {
    let mut window = [b' '; 4096];
    window[..DICTIONARY.len()].copy_from_slice(DICTIONARY);
    let mut at = DICTIONARY.len();
    let mut out = Vec::with_capacity(length.min(content.len() * 4));
    let mut bytes = content.iter().copied();
    while let Some(control) = bytes.next() {
        for bit in 0..8 {
            let Some(first) = bytes.next().filter(|_| out.len() < length) else {
                return out;
            };
            let (from, count) = if control >> bit & 1 == 0 {
                window[at] = first;
                (at, 1)
            } else {
                let Some(second) = bytes.next() else {
                    return out;
                };
                let reference = usize::from(u16::from_be_bytes([first, second]));
                (reference >> 4, (reference & 15) + 2)
            };
            if count > 1 && from == at {
                return out;
            }
            for step in 0..count {
                let byte = window[(from + step) % window.len()];
                window[at] = byte;
                at = (at + 1) % window.len();
                out.push(byte);
            }
        }
    }
    out
}

/// The text of a document.
#[must_use]
pub fn to_text(rtf: &[u8]) -> String {
    let mut text = Text::default();
    let mut rest = rtf;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'{' => text.open(),
            b'}' => text.close(),
            b'\\' => rest = text.control(tail),
            // Outlook compresses the string with its end.
            b'\r' | b'\n' | 0 => {}
            _ => text.byte(byte),
        }
    }
    text.flush();
    text.out
}

/// What holds in a group.
#[derive(Clone, Copy)]
struct Group {
    /// Nothing of it is text.
    silent: bool,
    /// It is there only for readers that don't see the HTML.
    beside_html: bool,
    /// How many characters stand in for one in Unicode.
    substitutes: u32,
}

struct Text {
    out: String,
    /// Bytes in the document's code page.
    bytes: Vec<u8>,
    /// UTF-16.
    units: Vec<u16>,
    code_page: String,
    outer: Vec<Group>,
    group: Group,
    /// Groups deeper than the bound.
    too_deep: usize,
    /// Characters still to be passed over, since they stand in for one in Unicode.
    passed_over: u32,
}

impl Default for Text {
    fn default() -> Self {
        Self {
            out: String::new(),
            bytes: Vec::new(),
            units: Vec::new(),
            code_page: "windows-1252".to_owned(),
            outer: Vec::new(),
            group: Group {
                silent: false,
                beside_html: false,
                substitutes: 1,
            },
            too_deep: 0,
            passed_over: 0,
        }
    }
}

impl Text {
    fn open(&mut self) {
        self.passed_over = 0;
        if self.outer.len() < MAX_DEPTH {
            self.outer.push(self.group);
        } else {
            self.too_deep += 1;
        }
    }

    fn close(&mut self) {
        self.passed_over = 0;
        if self.too_deep > 0 {
            self.too_deep -= 1;
        } else if let Some(group) = self.outer.pop() {
            self.group = group;
        }
    }

    /// Takes what follows a backslash.
    fn control<'a>(&mut self, rest: &'a [u8]) -> &'a [u8] {
        let Some((&first, tail)) = rest.split_first() else {
            return rest;
        };
        match first {
            b'\'' => {
                let digits = tail.get(..2).and_then(|two| std::str::from_utf8(two).ok());
                let Some(byte) = digits.and_then(|two| u8::from_str_radix(two, 16).ok()) else {
                    return tail;
                };
                self.byte(byte);
                return &tail[2..];
            }
            b'*' => self.group.silent = true,
            b'~' => self.byte(b' '),
            b'_' => self.byte(b'-'),
            b'\r' | b'\n' => self.line(),
            b'\\' | b'{' | b'}' => self.byte(first),
            b'a'..=b'z' | b'A'..=b'Z' => return self.word(rest),
            _ => {}
        }
        tail
    }

    /// Takes a control word with its number.
    fn word<'a>(&mut self, rest: &'a [u8]) -> &'a [u8] {
        let count = |bytes: &[u8], is: fn(&u8) -> bool| bytes.iter().take_while(|b| is(b)).count();
        let (word, rest) = rest.split_at(count(rest, u8::is_ascii_alphabetic));
        let sign = usize::from(rest.first() == Some(&b'-'));
        let digits = count(&rest[sign..], u8::is_ascii_digit);
        let (number, rest) = rest.split_at(if digits > 0 { sign + digits } else { 0 });
        let number = std::str::from_utf8(number)
            .ok()
            .and_then(|number| number.parse::<i32>().ok());
        let rest = rest.strip_prefix(b" ").unwrap_or(rest);
        match word {
            b"par" | b"line" | b"row" | b"sect" | b"page" => self.line(),
            b"tab" | b"cell" | b"emspace" | b"enspace" => self.byte(b' '),
            b"u" => self.unit(number.unwrap_or(0)),
            b"uc" => self.group.substitutes = number.and_then(|n| n.try_into().ok()).unwrap_or(1),
            b"ansicpg" => self.code_page = format!("windows-{}", number.unwrap_or(1252)),
            b"htmlrtf" => self.group.beside_html = number != Some(0),
            b"fonttbl" | b"colortbl" | b"stylesheet" | b"info" | b"pict" | b"object" => {
                self.group.silent = true;
            }
            b"bin" => {
                let length = number.and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
                return &rest[length.min(rest.len())..];
            }
            b"lquote" | b"rquote" => self.byte(b'\''),
            b"ldblquote" | b"rdblquote" => self.byte(b'"'),
            b"endash" | b"emdash" => self.byte(b'-'),
            _ => {}
        }
        rest
    }

    /// A line ends, for readers of the HTML too.
    fn line(&mut self) {
        if !self.group.silent {
            self.flush_units();
            self.bytes.push(b'\n');
        }
    }

    fn byte(&mut self, byte: u8) {
        if self.passed_over > 0 {
            self.passed_over -= 1;
        } else if !self.group.silent && !self.group.beside_html {
            self.flush_units();
            self.bytes.push(byte);
        }
    }

    fn unit(&mut self, number: i32) {
        if !self.group.silent && !self.group.beside_html {
            self.flush_bytes();
            // Numbers above 32767 are written negative.
            self.units
                .push((number & 0xffff).try_into().unwrap_or(0xfffd));
        }
        self.passed_over = self.group.substitutes;
    }

    fn flush(&mut self) {
        self.flush_units();
        self.flush_bytes();
    }

    fn flush_bytes(&mut self) {
        if !self.bytes.is_empty() {
            let text = charset::decode(&self.bytes, Some(&self.code_page));
            self.out.push_str(&text);
            self.bytes.clear();
        }
    }

    fn flush_units(&mut self) {
        if !self.units.is_empty() {
            let units = char::decode_utf16(self.units.drain(..));
            let text = units.map(|unit| unit.unwrap_or('\u{fffd}'));
            self.out.extend(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn compressed_rich_text_unpacks() {
        // The examples of MS-OXRTFCP, 3.1 and 3.2.
        let simple = b"\x2d\0\0\0\x2b\0\0\0LZFu\xf1\xc5\xc7\xa7\x03\0\x0a\0rcpg125\x42\x32\x0a\xf3 hel\x09\0 bw\x05\xb0ld}\x0a\x80\x0f\xa0";
        assert_eq!(
            unpacked(simple).as_deref(),
            Some(&b"{\\rtf1\\ansi\\ansicpg1252\\pard hello world}\r\n"[..])
        );
        let crossing =
            b"\x1a\0\0\0\x1c\0\0\0LZFu\xe2\xd4\x4b\x51\x41\0\x04\x20WXYZ\x0d\x6e\x7d\x01\x0e\xb0";
        assert_eq!(
            unpacked(crossing).as_deref(),
            Some(&b"{\\rtf1 WXYZWXYZWXYZWXYZWXYZ}"[..])
        );
        let plain = b"\0\0\0\0\x03\0\0\0MELA\0\0\0\0{a}rest";
        assert_eq!(unpacked(plain).as_deref(), Some(&b"{a}"[..]));
        assert_eq!(unpacked(b"short"), None);
    }

    #[test]
    fn the_text_of_rich_text() {
        for (rtf, text) in [
            (&br"{\rtf1\ansi\ansicpg1251{\fonttbl{\f0 Arial;}}{\*\generator x;}\pard\'cf\'f0\par b\tab c}"[..], "Пр\nb c"),
            (br"{\rtf1\uc1 M\u252?ll\u-10179?\u-8704? {\uc2\u228 ae}\{x\}}", "Müll\u{1f600} ä{x}"),
            (br"{\rtf1\fromhtml1{\*\htmltag64 <p>}\htmlrtf {no\htmlrtf0 yes{\*\htmltag72 </p>}\htmlrtf\par\htmlrtf0 end}", "yes\nend"),
            (br"{\rtf1{\pict\bin4 }}}}x}y}", "y"),
            (b"{\\rtf1 a\0}\r\n\0", "a"),
            (br"", ""),
        ] {
            assert_eq!(to_text(rtf), text, "{}", String::from_utf8_lossy(rtf));
        }
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300), rtf in "([{}\\\\]|[a-z*' -]|u-?[0-9]|bin[0-9]){0,100}") {
            let head = b"\0\0\0\0\xff\xff\xff\xffLZFu\0\0\0\0";
            let _ = unpacked(&[head, bytes.as_slice()].concat()).map(|rtf| to_text(&rtf));
            let _ = (to_text(&bytes), to_text(rtf.as_bytes()));
        }
    }
}
