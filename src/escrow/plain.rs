//! Key files as text software leaves them: in UTF-16, with carriage returns alone, indented, quoted as in a reply, or as
//! base64 without any frame.

use super::openpgp_key::is_agent_file;
use crate::mail::openpgp::altered;
use crate::mail::{charset, sniff};
use crate::secret::SecretBytes;

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
/// Largest file that is looked at.
const LARGEST: usize = 16 << 20;
/// Shortest base64 that may be a key or a certificate.
const SHORTEST: usize = 64;

/// The file as it was before; `None` if nothing was done to it.
#[must_use]
pub fn plain(bytes: &[u8]) -> Option<SecretBytes> {
    if bytes.len() > LARGEST || is_agent_file(bytes) {
        return None;
    }
    let narrow = narrow(bytes);
    let text = narrow.as_ref().map_or(bytes, SecretBytes::expose);
    if !sniff::is_text(text) {
        return None;
    }
    let lined = with_line_feeds(text);
    let text = lined.as_ref().map_or(text, SecretBytes::expose);
    let framed = memchr::memmem::find(text, BEGIN).is_some();
    let rest = if framed {
        unquoted(text)
    } else {
        unframed(text)
    };
    rest.or(lined).or(narrow)
}

/// The text in octets that was in UTF-16, or had a byte order mark, or long dashes.
fn narrow(bytes: &[u8]) -> Option<SecretBytes> {
    let text = altered::restored(bytes).or_else(|| match bytes {
        [0xff, 0xfe, rest @ ..] => Some(charset::decode(rest, Some("utf-16le")).into_bytes()),
        [0xfe, 0xff, rest @ ..] => Some(charset::decode(rest, Some("utf-16be")).into_bytes()),
        [0xef, 0xbb, 0xbf, rest @ ..] => Some(rest.to_vec()),
        _ => None,
    });
    text.map(SecretBytes::new)
}

fn with_line_feeds(text: &[u8]) -> Option<SecretBytes> {
    if text.contains(&b'\n') || !text.contains(&b'\r') {
        return None;
    }
    let line_feed = |byte: &u8| if *byte == b'\r' { b'\n' } else { *byte };
    Some(SecretBytes::new(text.iter().map(line_feed).collect()))
}

/// The text with nothing before the lines of its PEM and armor; `None` if nothing is.
fn unquoted(text: &[u8]) -> Option<SecretBytes> {
    let is_mark = |byte: &u8| matches!(byte, b'>' | b'|' | b' ' | b'\t');
    let mut out = Vec::with_capacity(text.len());
    let mut inside = false;
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        let marks = line.iter().take_while(|byte| is_mark(byte)).count();
        let plain = &line[marks..];
        inside |= plain.starts_with(BEGIN);
        out.extend_from_slice(if inside { plain } else { line });
        inside &= !plain.starts_with(END);
    }
    let out = SecretBytes::new(out);
    (out.expose().len() < text.len()).then_some(out)
}

/// What base64 without any frame holds, if that is DER or an OpenPGP key.
fn unframed(text: &[u8]) -> Option<SecretBytes> {
    let ignored = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'>' | b'=');
    let digits = SecretBytes::new(text.iter().copied().filter(|b| !ignored(b)).collect());
    if digits.expose().len() < SHORTEST {
        return None;
    }
    let decoded = data_encoding::BASE64_NOPAD.decode(digits.expose()).ok()?;
    let decoded = SecretBytes::new(decoded);
    let is_openpgp = matches!(decoded.expose(), [0x94..=0x9b | 0xc5 | 0xc6, ..]);
    let is_der = matches!(decoded.expose(), [0x30, 0x80..=0x84, ..]);
    (is_openpgp || is_der).then_some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PEM: &str = "Bag Attributes\n    friendlyName: a\n-----BEGIN PRIVATE KEY-----\nMC4CAQAw\n-----END PRIVATE KEY-----\n";

    fn read(bytes: &[u8]) -> String {
        let plain = plain(bytes).expect("changed");
        String::from_utf8(plain.expose().to_vec()).unwrap()
    }

    #[test]
    fn what_text_software_does_to_pem_is_undone() {
        assert!(plain(PEM.as_bytes()).is_none());
        assert_eq!(read(PEM.replace('\n', "\r").as_bytes()), PEM);
        let (before, block) = PEM.split_once("-----BEGIN").unwrap();
        let block = format!("-----BEGIN{block}");
        for mark in ["> ", "    ", "\t", "> > "] {
            let lines = block.lines().map(|line| format!("{mark}{line}\n"));
            let quoted = before.to_owned() + &lines.collect::<String>();
            assert_eq!(read(quoted.as_bytes()), PEM, "{mark:?}");
        }
        for unit in [u16::to_le_bytes, u16::to_be_bytes] {
            for marked in [format!("\u{feff}{PEM}"), PEM.to_owned()] {
                let wide: Vec<u8> = marked.encode_utf16().flat_map(unit).collect();
                assert_eq!(read(&wide), PEM);
            }
        }
    }

    #[test]
    fn base64_without_a_frame_is_read_if_it_is_der() {
        let der = [&[0x30, 0x82, 0, 60][..], &[7; 60]].concat();
        let digits = data_encoding::BASE64_MIME.encode(&der);
        assert_eq!(plain(digits.as_bytes()).unwrap().expose(), der);
        assert!(plain(&der).is_none());
        assert!(plain(data_encoding::BASE64.encode(&[7; 90]).as_bytes()).is_none());
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = plain(&bytes);
        }

        #[test]
        fn any_text_is_survived(text in "(-----(BEGIN|END) [A-Z ]{0,9}-----|[a-zA-Z=:/ \r\n>]{0,9}){0,20}") {
            let _ = plain(text.as_bytes());
        }
    }
}
