//! What a blob is, by its first bytes. Names and declared types are hints only: gateways lose them.

use super::openpgp::packets::{packets, tag};
use super::openpgp::{altered, armor};
use super::transfer;
use memchr::memmem::Finder;
use std::sync::LazyLock;

/// Bytes looked at to recognise text or a header block.
pub const WINDOW: usize = 64 << 10;

/// True if `bytes` begin as a CMS ContentInfo: SEQUENCE, then an object identifier of PKCS#7 or S/MIME.
#[must_use]
pub fn is_cms(bytes: &[u8]) -> bool {
    const PKCS7: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07];
    const SMIME_CT: &[u8] = &[
        0x06, 0x0b, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x10, 0x01,
    ];
    let Some((0x30, rest)) = bytes.split_first().map(|(tag, rest)| (*tag, rest)) else {
        return false;
    };
    let skip = match rest.first() {
        Some(length) if *length > 0x80 => 1 + usize::from(length & 0x7f),
        Some(_) => 1,
        None => return false,
    };
    rest.get(skip..)
        .is_some_and(|rest| rest.starts_with(PKCS7) || rest.starts_with(SMIME_CT))
}

/// The CMS object in a part's body: by the declared transfer encoding, or by whatever the encoding really is.
#[must_use]
pub fn cms_in(body: &[u8], encoding: &str) -> Option<Vec<u8>> {
    if let Some(ber) = disguised_cms(body) {
        return Some(ber);
    }
    let declared = transfer::decode(body, encoding);
    if is_cms(&declared) {
        return Some(declared.into_owned());
    }
    if encoding == "quoted-printable" {
        let twice = transfer::base64(&declared);
        if is_cms(&twice) {
            return Some(twice);
        }
    }
    let start = &body[..body.len().min(WINDOW)];
    if is_cms(body) {
        return Some(body.to_vec());
    }
    if is_cms(&transfer::base64(start)) {
        return Some(transfer::base64(body));
    }
    let unquoted = transfer::quoted_printable(body);
    if is_cms(&unquoted) {
        return Some(unquoted);
    }
    if let Some(file) = transfer::uudecode(body).filter(|file| is_cms(file)) {
        return Some(file);
    }
    let twice = [transfer::base64(&declared), transfer::base64(&unquoted)];
    let pem = || {
        super::smime::decode_container(&declared).or_else(|| super::smime::decode_container(body))
    };
    twice
        .into_iter()
        .find(|bytes| is_cms(bytes))
        .or_else(pem)
        .filter(|bytes| is_cms(bytes))
}

/// CMS in base64 that was quoted as in a reply, or that is written with the alphabet for addresses of web pages. Read as
/// other base64 it would be nearly right.
fn disguised_cms(body: &[u8]) -> Option<Vec<u8>> {
    const LOOKED_AT: usize = 4000;
    let start = &body[..body.len().min(LOOKED_AT)];
    // Most bodies have none of these, and every signature and every encrypted part comes by here.
    memchr::memchr3(b'>', b'-', b'_', start)?;
    let mut lines = start.split(|&byte| byte == b'\n');
    lines.find(|line| line.starts_with(b">") || is_web_base64(line.trim_ascii()))?;
    let quotes = |byte: &&u8| matches!(byte, b'>' | b' ' | b'\t');
    let usual = |byte: &u8| match byte {
        b'-' => b'+',
        b'_' => b'/',
        other => *other,
    };
    let plain = |bytes: &[u8]| -> Vec<u8> {
        let lines = bytes.split_inclusive(|&byte| byte == b'\n');
        let unquoted = lines.flat_map(|line| line.iter().skip_while(quotes));
        transfer::base64(&unquoted.map(usual).collect::<Vec<u8>>())
    };
    is_cms(&plain(start)).then(|| plain(body))
}

/// A line of base64 in which hyphens and underscores stand for the plus and the slash.
fn is_web_base64(line: &[u8]) -> bool {
    const SHORTEST: usize = 40;
    let others = line
        .iter()
        .filter(|byte| matches!(byte, b'-' | b'_'))
        .count();
    let digits = line
        .iter()
        .filter(|byte| byte.is_ascii_alphanumeric())
        .count();
    line.len() >= SHORTEST && others > 0 && others * 4 < digits && others + digits == line.len()
}

/// True if the text of a part is CMS in base64, as it is where a gateway took the content type away.
#[must_use]
pub fn is_cms_text(body: &[u8], encoding: &str) -> bool {
    let start = transfer::beginning(body, encoding, 400);
    let digits = start.trim_ascii_start();
    is_cms(&start) || digits.starts_with(b"M") && is_cms(&transfer::base64(digits))
}

/// The OpenPGP message that the whole text of a part is, where a gateway called it text: binary, or armor that lost its
/// first line.
#[must_use]
pub fn openpgp_text(body: &[u8], encoding: &str) -> Option<Vec<u8>> {
    const SHORTEST: usize = 40;
    let start = transfer::beginning(body, encoding, 400);
    if is_surely_openpgp(&start) {
        return Some(transfer::decode(body, encoding).into_owned());
    }
    let first = start
        .trim_ascii_start()
        .split(|&byte| byte == b'\n')
        .next()?;
    let first = first.trim_ascii_end();
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    if first.len() < SHORTEST || !first.iter().all(is_digit) {
        return None;
    }
    if !is_surely_openpgp(&transfer::base64(first)) {
        return None;
    }
    let text = transfer::decode(body, encoding);
    let mut lines = text.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
    let is_all =
        lines.all(|line| line.iter().all(is_digit) || line == b"-----END PGP MESSAGE-----");
    is_all.then(|| transfer::base64(&text))
}

/// Finds where PEM begins. To make what finds it costs more than to look through a short mail.
pub static PEM: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"-----BEGIN "));

/// True if `bytes` begin with an OpenPGP packet that may begin a message or a signature, with a sane header. Wrapped
/// session keys of versions that are not known here may come first.
#[must_use]
pub fn is_openpgp(bytes: &[u8]) -> bool {
    begins_behind(bytes, |tag| matches!(tag, tag::PKESK | tag::SKESK))
}

/// As [`is_openpgp`], of armor, whose label says what is in it: all that readers are to pass over (RFC 9580 §4.3) may
/// come first.
#[must_use]
pub fn is_openpgp_armor(bytes: &[u8]) -> bool {
    begins_behind(bytes, |tag| {
        matches!(tag, tag::PKESK | tag::SKESK | tag::ONE_PASS | 40..=63)
    })
}

/// Packets of unknown versions or types that are passed over in search of a known one.
const MOST_PASSED_OVER: usize = 50;

fn begins_behind(bytes: &[u8], is_passed_over: impl Fn(u8) -> bool) -> bool {
    let mut all = packets(bytes);
    for _ in 0..MOST_PASSED_OVER {
        if begins_openpgp(all.rest()) {
            return true;
        }
        match all.next() {
            Some(Ok(packet)) if is_passed_over(packet.tag) => {}
            _ => break,
        }
    }
    false
}

fn begins_openpgp(bytes: &[u8]) -> bool {
    packet_start(bytes).is_some_and(|(tag, body)| match tag {
        1 => matches!(body.first(), Some(2 | 3 | 6)),
        2 => matches!(body.first(), Some(2..=6)) && !is_about_a_key(body),
        3 => matches!(body.first(), Some(4..=6)),
        4 => matches!(body.first(), Some(3 | 6)),
        8 => matches!(body.first(), Some(0..=3)),
        10 => body.starts_with(b"PGP"),
        11 => matches!(body.first(), Some(b'b' | b't' | b'u' | b'l' | b'1' | b'm')),
        18 => matches!(body.first(), Some(1 | 2)),
        20 => body.first() == Some(&1),
        9 | 21 => true,
        _ => false,
    })
}

/// True for certifications, bindings and revocations (RFC 9580 §5.2.1), which are over no document: somebody sends the
/// revocation of their key, for one.
fn is_about_a_key(signature: &[u8]) -> bool {
    match signature {
        [2 | 3, _, kind, ..] | [4..=6, kind, ..] => (0x10..=0x30).contains(kind),
        _ => false,
    }
}

/// As [`is_openpgp`], but only for what is surely an encrypted message: nothing else begins with these bytes by chance.
#[must_use]
pub fn is_surely_openpgp(bytes: &[u8]) -> bool {
    const PUBLIC_KEY_ALGORITHMS: &[u8] = &[1, 2, 3, 16, 18, 20, 25, 26, 35, 36];
    packet_start(bytes).is_some_and(|(tag, body)| match (tag, body) {
        (1, [2 | 3, _, _, _, _, _, _, _, _, algorithm, ..]) => {
            PUBLIC_KEY_ALGORITHMS.contains(algorithm)
        }
        (1, [6, length, ..]) => matches!(length, 0 | 21 | 33),
        (3, [4, 1..=13, 0 | 1 | 3 | 4, ..]) | (3, [5 | 6, _, 1..=13, ..]) => true,
        _ => false,
    })
}

/// True if an armored OpenPGP message may begin somewhere near the beginning.
#[must_use]
pub fn mentions_armor(bytes: &[u8]) -> bool {
    let start = &bytes[..bytes.len().min(WINDOW)];
    altered::mentions(start, b"BEGIN PGP MESSAGE")
}

/// Tag and start of the body of the first packet.
fn packet_start(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    if first & 0x80 == 0 {
        return None;
    }
    if first & 0x40 == 0 {
        let skip = [1, 2, 4, 0][usize::from(first & 3)];
        return Some(((first >> 2) & 15, rest.get(skip..)?));
    }
    let skip = match *rest.first()? {
        0..=191 | 224..=254 => 1,
        192..=223 => 2,
        255 => 5,
    };
    Some((first & 63, rest.get(skip..)?))
}

/// The OpenPGP message (or detached signature) in a part's body, as binary packets: armored or not, in the
/// declared transfer encoding or another.
#[must_use]
pub fn openpgp_in(body: &[u8], encoding: &str, label: &str) -> Option<Vec<u8>> {
    let declared = transfer::decode(body, encoding);
    let unquoted = || {
        let mentioned = transfer::contains(body, "quoted-printable", &[&armor::MARKS]);
        mentioned
            .then(|| armored(&transfer::quoted_printable(body), label))
            .flatten()
    };
    let found = armored(&declared, label)
        .or_else(|| armored(body, label))
        .or_else(unquoted);
    if found.is_some() {
        return found;
    }
    if is_openpgp(&declared) {
        return Some(declared.into_owned());
    }
    let twice = || {
        let bytes = transfer::base64(&declared);
        armored(&bytes, label).or_else(|| is_surely_openpgp(&bytes).then_some(bytes))
    };
    is_openpgp(body)
        .then(|| body.to_vec())
        .or_else(|| Some(transfer::base64(body)).filter(|bytes| is_openpgp(bytes)))
        .or_else(twice)
}

/// The detached signatures in a part's body. Where they lie in several armored blocks, of several signers, their packets
/// are put one behind the other.
#[must_use]
pub fn openpgp_signatures_in(body: &[u8], encoding: &str) -> Option<Vec<u8>> {
    let first = openpgp_in(body, encoding, "SIGNATURE")?;
    let text = transfer::decode(body, encoding);
    if PEM.find_iter(&text).nth(1).is_none() {
        return Some(first);
    }
    let blocks = armor::blocks(&text)
        .filter(|block| block.label == "SIGNATURE" && is_openpgp_armor(&block.bytes));
    let all: Vec<u8> = blocks.flat_map(|block| block.bytes).collect();
    Some(if all.is_empty() { first } else { all })
}

/// The first armored block with this label that holds packets.
fn armored(text: &[u8], label: &str) -> Option<Vec<u8>> {
    let first = |text: &[u8]| {
        armor::blocks(text)
            .find(|block| block.label.starts_with(label) && is_openpgp_armor(&block.bytes))
            .map(|block| block.bytes)
    };
    first(text).or_else(|| first(&altered::restored(text)?))
}

/// True if `bytes` begin as a MIME entity or a message: header fields, one of which is about the content or
/// typical for a message.
#[must_use]
pub fn is_entity(bytes: &[u8]) -> bool {
    const TELLING: [&str; 5] = ["received", "message-id", "from", "subject", "date"];
    let mut telling = 0_u32;
    let mut at = 0;
    let window = &bytes[..bytes.len().min(WINDOW)];
    let mut first = true;
    while at < window.len() {
        let (end, next) = super::mime::line_at(window, at);
        let line = &window[at..end];
        at = next;
        if line.is_empty() {
            break;
        }
        if matches!(line[0], b' ' | b'\t') && !first {
            continue;
        }
        if first && line.starts_with(b"From ") {
            continue;
        }
        first = false;
        let Some(colon) = line.iter().position(|&byte| byte == b':') else {
            return telling >= 2;
        };
        let name = line[..colon].trim_ascii_end();
        if name.is_empty() || name.iter().any(|byte| !(33..=126).contains(byte)) {
            return telling >= 2;
        }
        let is = |telling: &str| name.eq_ignore_ascii_case(telling.as_bytes());
        let of_content = name
            .get(..8)
            .is_some_and(|start| start.eq_ignore_ascii_case(b"content-"));
        telling += if of_content || is("mime-version") {
            2
        } else {
            u32::from(TELLING.into_iter().any(is))
        };
    }
    telling >= 2
}

/// True if `bytes` begin as a mail that has more than plain text in it: fields of a message, and one that names the
/// content's type.
#[must_use]
pub fn is_mail(bytes: &[u8]) -> bool {
    if !is_entity(bytes) {
        return false;
    }
    let header = super::mime::header_of(bytes);
    let has = |name: &str| header.first(bytes, name).is_some();
    has("content-type")
        && ["from", "subject", "received", "message-id"]
            .into_iter()
            .any(has)
}

/// True if `bytes` look like text in UTF-8 or an 8-bit charset.
#[must_use]
pub fn is_text(bytes: &[u8]) -> bool {
    let window = &bytes[..bytes.len().min(WINDOW)];
    // 0 to 8, 14 to 26, 28 to 31 and 127, without a branch for each byte.
    let is_control = |byte: u8| {
        (byte <= 8) | (byte.wrapping_sub(14) <= 12) | (byte.wrapping_sub(28) <= 3) | (byte == 127)
    };
    let controls: usize = window
        .iter()
        .map(|&byte| usize::from(is_control(byte)))
        .sum();
    controls * 50 <= window.len() && memchr::memchr(0, window).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn blobs_are_known_by_their_first_bytes() {
        let cms = b"\x30\x80\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03\xa0\x80";
        assert!(is_cms(cms));
        assert_eq!(
            cms_in(transfer::to_base64(cms, "\n").as_bytes(), "7bit").as_deref(),
            Some(&cms[..])
        );
        let content: Vec<u8> = (0..=255).collect();
        let long = [&cms[..], &content].concat();
        let behind_a_blank_line = [b"\r\n", &long[..]].concat();
        assert_eq!(cms_in(&behind_a_blank_line, "binary"), Some(long.clone()));
        let base64 = transfer::to_base64(&long, "\r\n");
        let quoted = base64
            .lines()
            .map(|line| format!("> {line}\r\n"))
            .collect::<String>();
        for body in [base64.replace('+', "-").replace('/', "_"), quoted] {
            let found = cms_in(body.as_bytes(), "base64");
            assert_eq!(found.as_deref(), Some(&long[..]), "{body}");
        }
        assert!(is_openpgp(&[0x85, 1, 12, 3]) && !is_openpgp(b"\x89PNG") && !is_openpgp(b"text"));
        let later = [&[0xc1, 2, 23, 0][..], &[0xd2, 1, 1]].concat();
        assert!(is_openpgp(&later) && !is_openpgp(&later[..4]));
        let private = [&[0xfc, 1, 0][..], &later].concat();
        assert!(is_openpgp_armor(&private) && !is_openpgp(&private));
        assert!(is_entity(b"Content-Type: text/plain\n\nx") && !is_entity(b"Dear all: this\n\nx"));
        assert!(is_entity(b"From: a\nSubject: b\n\nx") && !is_entity(b""));
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (is_cms(&bytes), is_openpgp(&bytes), is_surely_openpgp(&bytes), is_entity(&bytes), is_text(&bytes));
            let _ = cms_in(&bytes, "base64");
            let _ = openpgp_in(&bytes, "quoted-printable", "MESSAGE");
        }
    }
}
