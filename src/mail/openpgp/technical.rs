//! What clear-signed text has in its header lines and in those of its signature that tells a reader nothing. They are shown,
//! and signed by nobody: so only what clients are known to have written counts as technical.

use encoding_rs::Encoding;

/// Programs that name themselves in `Version`; PGP 2 gives its number alone.
const PROGRAMS: [&str; 27] = [
    "",
    "PGP",
    "PGPfreeware",
    "PGP Personal Privacy",
    "PGP for Personal Privacy",
    "PGP Personal Security",
    "PGP for Business Security",
    "PGP Business Security",
    "PGP Desktop",
    "PGP Desktop Security",
    "PGP Universal",
    "PGP Command Line",
    "PGP SDK",
    "PGPsdk version",
    "Encryption Desktop",
    "GnuPG",
    "GnuPG/MacGPG2",
    "BCPG",
    "OpenPGP.js",
    "Mailvelope",
    "APG",
    "Cryptix OpenPGP",
    "NetPGP",
    "ProtonMail",
    "GopenPGP",
    "PGPainless",
    "PGPy",
];
/// What stands behind the number in parentheses.
const SYSTEMS: [&str; 19] = [
    "GNU/Linux",
    "Linux",
    "MingW32",
    "Cygwin",
    "Darwin",
    "FreeBSD",
    "GNU/kFreeBSD",
    "OpenBSD",
    "NetBSD",
    "BSD/OS",
    "SunOS",
    "Solaris",
    "AIX",
    "HP-UX",
    "IRIX",
    "OSF1",
    "OS/2",
    "Win32",
    "Android",
];
/// What stands at the end.
const LICENCES: [&str; 9] = [
    "for non-commercial use <http://www.nai.com>",
    "for non-commercial use http://www.nai.com",
    "for non-commercial use <http://www.pgp.com>",
    "for non-commercial use http://www.pgp.com",
    "for non-commercial use <http://www.pgpi.com>",
    "for non-commercial use <http://www.pgpi.org>",
    "for non-commercial use <http://www.pgpinternational.com>",
    "- not licensed for commercial use: www.pgp.com",
    "- not licensed for commercial use: http://www.pgp.com",
];
/// Programs around GnuPG that add themselves.
const FRONT_ENDS: [&str; 4] = ["WinPT", "GPGshell", "GPGOE", "GPGrelay"];
/// Comments that programs write unasked.
const COMMENTS: [&str; 10] = [
    "For info see http://www.gnupg.org",
    "GPGTools - https://gpgtools.org",
    "GPGTools - http://gpgtools.org",
    "https://openpgpjs.org",
    "http://openpgpjs.org",
    "https://www.mailvelope.com",
    "https://protonmail.com",
    "https://gopenpgp.org",
    "Message signed with OpenPGP using GPGMail",
    "This is a digitally signed message part.",
];
/// Mail programs that Enigmail names, and where it lived.
const ENIGMAIL_IN: [&str; 7] = [
    "Mozilla",
    "Thunderbird",
    "SeaMonkey",
    "Icedove",
    "Fedora",
    "SUSE",
    "undefined",
];
const ENIGMAIL_AT: [&str; 5] = [
    "http://enigmail.mozdev.org",
    "http://enigmail.mozdev.org/",
    "http://www.enigmail.net",
    "http://www.enigmail.net/",
    "https://enigmail.net/",
];
const NOT_DASH_ESCAPED: [&str; 2] = [
    "You need GnuPG to verify this message",
    "You need gpg to verify this message",
];
const DIGESTS: [&str; 11] = [
    "MD2",
    "MD5",
    "SHA1",
    "RIPEMD160",
    "TIGER192",
    "SHA224",
    "SHA256",
    "SHA384",
    "SHA512",
    "SHA3-256",
    "SHA3-512",
];

/// Names of the lines above a signature's digits.
const SIGNATURE_NAMES: [&str; 5] = ["Version:", "Comment:", "Charset:", "Hash:", "MessageID:"];
/// Most lines with them.
const MOST_LINES: usize = 8;
/// Longest line of digits.
const LONGEST_LINE: usize = 80;

/// Whether a line with this name, its colon included, tells a reader nothing.
#[must_use]
pub fn is_technical(name: &str, value: &[u8]) -> bool {
    let Ok(value) = std::str::from_utf8(value) else {
        return false;
    };
    let is_one_of = |known: &[&str]| known.iter().any(|known| value.eq_ignore_ascii_case(known));
    if value.is_empty() {
        return true;
    }
    match name {
        "Hash:" => value.split(',').all(|digest| is_digest(digest.trim())),
        "Charset:" => is_one_of(&["us-ascii", "noconv"]) || is_charset(value),
        "Version:" => value == "N/A" || is_version(value),
        "NotDashEscaped:" => is_one_of(&NOT_DASH_ESCAPED),
        "Comment:" => COMMENTS.contains(&value) || is_enigmail(value),
        // 24 octets, of PGP 5.
        "MessageID:" => data_encoding::BASE64
            .decode(value.as_bytes())
            .is_ok_and(|id| id.len() == 24),
        _ => false,
    }
}

/// Whether the armor of a signature, its first line included, shows a reader nothing but a signature.
#[must_use]
pub fn is_plain_signature(armor: &[u8]) -> bool {
    let mut lines = armor
        .split(|&byte| byte == b'\n')
        .map(<[u8]>::trim_ascii_end);
    if lines.next() != Some(b"-----BEGIN PGP SIGNATURE-----") {
        return false;
    }
    let (mut named, mut ended, mut begun, mut last) = (0, false, false, Digits::More);
    for line in lines {
        let name = SIGNATURE_NAMES
            .iter()
            .find(|name| !begun && line.starts_with(name.as_bytes()));
        let is_plain = match name {
            _ if ended => line.is_empty(),
            Some(name) => {
                named += 1;
                named <= MOST_LINES && is_technical(name, line[name.len()..].trim_ascii())
            }
            None if line == b"-----END PGP SIGNATURE-----" => {
                ended = true;
                true
            }
            None => {
                begun = true;
                let digits = Digits::of(line);
                let follows = line.is_empty() || digits.is_some_and(|next| next.may_follow(last));
                last = digits.filter(|_| !line.is_empty()).unwrap_or(last);
                follows && line.len() <= LONGEST_LINE
            }
        };
        if !is_plain {
            return false;
        }
    }
    true
}

/// A line of digits; readers leave out what stands behind the last one, so that it may be anything.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Digits {
    More,
    Last,
    Checksum,
}

impl Digits {
    fn of(line: &[u8]) -> Option<Self> {
        const CHECKSUM: usize = 4;
        let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
        let are_digits = |line: &[u8]| line.iter().all(is_digit);
        match line {
            [b'=', sum @ ..] if sum.len() == CHECKSUM => are_digits(sum).then_some(Self::Checksum),
            [digits @ .., b'=', b'='] | [digits @ .., b'='] => {
                are_digits(digits).then_some(Self::Last)
            }
            digits => are_digits(digits).then_some(Self::More),
        }
    }

    fn may_follow(self, before: Self) -> bool {
        match before {
            Self::More => true,
            Self::Last => self == Self::Checksum,
            Self::Checksum => false,
        }
    }
}

fn is_digest(name: &str) -> bool {
    name.is_empty() || DIGESTS.iter().any(|known| name.eq_ignore_ascii_case(known))
}

fn is_charset(name: &str) -> bool {
    Encoding::for_label_no_replacement(name.as_bytes()).is_some()
}

fn is_enigmail(comment: &str) -> bool {
    let rest = comment.strip_prefix("Using GnuPG with ");
    let parts = rest.and_then(|rest| rest.split_once(" - "));
    parts.is_some_and(|(client, site)| ENIGMAIL_IN.contains(&client) && ENIGMAIL_AT.contains(&site))
}

/// `GnuPG v1.4.11 (GNU/Linux)`, `PGPfreeware 6.5.8 for non-commercial use <http://www.pgp.com>`, `2.6.3ia` and their like.
fn is_version(value: &str) -> bool {
    let of = |program: &&str| {
        let rest = value.strip_prefix(*program)?;
        let rest = if program.is_empty() {
            rest
        } else if rest.is_empty() {
            return Some("");
        } else {
            rest.strip_prefix(' ')?
        };
        let (number, tail) = rest.split_once(' ').unwrap_or((rest, ""));
        is_number(number).then_some(tail)
    };
    PROGRAMS.iter().filter_map(of).any(is_tail)
}

fn is_tail(tail: &str) -> bool {
    let (first, rest) = match tail.strip_prefix('(').and_then(|tail| tail.split_once(')')) {
        Some((inside, rest)) => (Some(inside), rest.trim_start()),
        None => (None, tail),
    };
    let is_build = |inside: &str| {
        let build = inside.strip_prefix("Build ");
        build.is_some_and(is_number)
    };
    let is_front_end = |rest: &str| {
        let rest = rest.strip_prefix("- ");
        let parts = rest.and_then(|rest| rest.split_once(' '));
        parts.is_some_and(|(name, number)| FRONT_ENDS.contains(&name) && is_number(number))
    };
    first.is_none_or(|inside| SYSTEMS.contains(&inside) || is_build(inside))
        && (rest.is_empty() || LICENCES.contains(&rest) || is_front_end(rest))
}

/// `v1.4.11`, `6.5.8ckt`, `1.4.0-svn123`.
fn is_number(word: &str) -> bool {
    const MOST_LETTERS: usize = 3;
    let word = word.strip_prefix('v').unwrap_or(word);
    let (number, suffix) = word.split_once('-').unwrap_or((word, ""));
    let digits = number.trim_end_matches(|c: char| c.is_ascii_lowercase());
    let is_plain = |text: &str| {
        let mut groups = text.split('.');
        text.len() <= 24
            && groups.all(|group| !group.is_empty() && group.bytes().all(|c| c.is_ascii_digit()))
    };
    let kinds = ["svn", "cvs", "beta", "rc", "git"];
    let is_suffix = suffix.is_empty()
        || kinds
            .iter()
            .filter_map(|kind| suffix.strip_prefix(kind))
            .any(|rest| rest.is_empty() || is_plain(rest));
    is_plain(digits) && number.len() - digits.len() <= MOST_LETTERS && is_suffix
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_that_programs_wrote_are_technical() {
        for version in [
            "2.6.3ia",
            "PGP 6.5.8ckt",
            "PGPfreeware 6.5.8 for non-commercial use <http://www.pgp.com>",
            "PGPfreeware 5.5.5 for non-commercial use <http://www.nai.com>",
            "PGP for Personal Privacy 5.0",
            "PGP Personal Privacy 6.0.2",
            "PGP Desktop 9.9.1 (Build 287) - not licensed for commercial use: www.pgp.com",
            "GnuPG v1.4.11 (GNU/Linux)",
            "GnuPG v1.4.5 (MingW32) - WinPT 1.0.0",
            "GnuPG v2.0.0-beta12",
            "GnuPG v2",
            "GnuPG/MacGPG2 v2.0.17 (Darwin)",
            "BCPG v1.60",
            "OpenPGP.js v4.10.10",
        ] {
            assert!(is_technical("Version:", version.as_bytes()), "{version}");
        }
        for version in [
            "You are fired",
            "2 of us are fired",
            "GnuPG v1.4.11 (You are fired)",
            "GnuPG v1.4.11 (GNU/Linux) You are fired",
            "GnuPG fired",
            "1.you.are.fired",
            "1.4fired",
            "1.4-fired",
        ] {
            assert!(!is_technical("Version:", version.as_bytes()), "{version}");
        }
    }

    #[test]
    fn a_signature_with_words_in_it_is_not_plain() {
        let armor = |headers: &str, digits: &str, end: &str| {
            let text = format!("-----BEGIN PGP SIGNATURE-----\n{headers}\n{digits}\n{end}\n");
            is_plain_signature(text.as_bytes())
        };
        const END: &str = "-----END PGP SIGNATURE-----";
        for headers in [
            "",
            "Version: GnuPG v2\nComment: Using GnuPG with Mozilla - http://enigmail.mozdev.org/\n",
            "Charset: noconv\nVersion: PGP for Personal Privacy 5.0\nMessageID: 1mbm/C1uHyoKnqPnOnyDpAH39ssdbDoO\n",
        ] {
            assert!(armor(headers, "wsBz\n=abcd", END), "{headers}");
        }
        assert!(!armor("Comment: You are fired\n", "wsBz", END));
        assert!(!armor("Subject: you\n", "wsBz", END));
        assert!(!armor("", "wsBz\nYou are fired", END));
        for digits in [
            "wsBz\n=abcd\nYouAreFired",
            "ws==\nYouAreFired",
            "==You==\nwsBz",
            "=YouAreFired",
        ] {
            assert!(!armor("", digits, END), "{digits}");
        }
        assert!(armor("", "wsBz\nws==\n\n=abcd", END));
        assert!(!armor("", "wsBz\nComment:\n", END));
        assert!(!armor(
            "",
            "wsBz",
            "-----END PGP SIGNATURE----- You are fired"
        ));
        assert!(!armor("", "wsBz", &format!("{END}\nfired")));
    }
}
