//! Files with mail in them that are not read here, told by their first bytes, and what their owner does about that.

use super::mbox::is_header;

/// First bytes, what the file is, and what to do.
const KNOWN: [(&[u8], &str, &str); 14] = [
    (b"PK\x03\x04", "a ZIP archive", UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", UNPACK),
    (b"Rar!\x1a\x07", "a RAR archive", UNPACK),
    (b"\xfd7zXZ\0", "a file compressed by xz", UNPACK),
    (
        b"!BDN",
        "an Outlook data file (.pst, .ost)",
        "unpack it with readpst -e",
    ),
    (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        "an Outlook message file (.msg, .oft) or another compound file",
        "make mails of the messages with msgconvert",
    ),
    (
        b"\xcf\xad\x12\xfe",
        "a mailbox of Outlook Express (.dbx)",
        "convert it with undbx",
    ),
    (
        b"BABYL OPTIONS",
        "a Babyl mailbox (Rmail)",
        "convert it in Emacs with unrmail",
    ),
    (
        b"*mbx*\r\n",
        "a mailbox of the UW IMAP server (mbx)",
        MAILUTIL,
    ),
    (
        b"*mtx*\r\n",
        "a mailbox of the UW IMAP server (mtx)",
        MAILUTIL,
    ),
    (b"\x01\x01\x01\x01\n", "an MMDF mailbox", MAILUTIL),
    (b"\x01\x01\x01\x01\r\n", "an MMDF mailbox", MAILUTIL),
    (
        b"\x10\x10\x10\x10\x10\x10\x11\x11\x11\x11\x11\x11S\r\n",
        "a mailbox of Foxmail",
        "export its mails there as .eml files",
    ),
    (
        b"\x1a\x00\x00\x04\x00\x00",
        "a database of Lotus Notes (.nsf)",
        "export its mails there as .eml files",
    ),
];

const UNPACK: &str = "unpack it first";
const MAILUTIL: &str = "make an mbox file of it with mailutil copy";
/// Length of what is in front of the first mail in a folder of Pegasus Mail.
const PEGASUS_HEAD: usize = 128;

/// What a file that begins so is and what to do with it, for people; `None` where nothing is known of it.
#[must_use]
pub fn told(start: &[u8]) -> Option<String> {
    let known = KNOWN.iter().find(|(magic, ..)| start.starts_with(magic));
    let (what, remedy) = match known {
        Some((_, what, remedy)) => (*what, *remedy),
        None => by_shape(start)?,
    };
    Some(format!("is {what}: {remedy}"))
}

fn by_shape(start: &[u8]) -> Option<(&'static str, &'static str)> {
    if super::tar::is_tar(start) {
        return Some(("a tar archive", UNPACK));
    }
    if is_wide_mail(start) {
        return Some((
            "text in UTF-16",
            "make UTF-8 of it with iconv -f UTF-16 -t UTF-8",
        ));
    }
    is_pegasus_folder(start).then_some((
        "a folder of Pegasus Mail (.pmm)",
        "export it there as a Unix mailbox",
    ))
}

/// A header field or a `From ` line, each sign in two octets.
fn is_wide_mail(start: &[u8]) -> bool {
    let marked = start.starts_with(b"\xff\xfe") || start.starts_with(b"\xfe\xff");
    let start = if marked { &start[2..] } else { start };
    let (pairs, _) = start.as_chunks::<2>();
    let mut narrow: Vec<u8> = Vec::new();
    for pair in pairs {
        match pair {
            [octet, 0] | [0, octet] => narrow.push(*octet),
            _ => break,
        }
    }
    is_header(&narrow) || narrow.starts_with(b"From ")
}

/// Its name in octets that end in NULs, then the mails.
fn is_pegasus_folder(start: &[u8]) -> bool {
    start
        .split_at_checked(PEGASUS_HEAD)
        .is_some_and(|(head, mails)| {
            head[0] > b' ' && head[PEGASUS_HEAD - 1] == 0 && is_header(mails)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn files_of_other_programs_are_told_by_name() {
        let wide = |text: &str, unit: fn(u16) -> [u8; 2]| -> Vec<u8> {
            text.encode_utf16().flat_map(unit).collect()
        };
        let mut pegasus = b"Inbox".to_vec();
        pegasus.resize(PEGASUS_HEAD, 0);
        pegasus.extend(b"From: a@b\r\n");
        for (start, part) in [
            (
                b"PK\x03\x04 words".to_vec(),
                "is a ZIP archive: unpack it first",
            ),
            (b"BABYL OPTIONS: -*- rmail -*-\n".to_vec(), "Emacs"),
            (b"\x01\x01\x01\x01\nFrom: a@b\n".to_vec(), "an MMDF mailbox"),
            (b"*mbx*\r\n0000".to_vec(), "mailutil"),
            (pegasus, "Pegasus Mail"),
            (
                wide("\u{feff}From: a@b\r\n", u16::to_le_bytes),
                "text in UTF-16",
            ),
            (
                wide("\u{feff}From: a@b\r\n", u16::to_be_bytes),
                "text in UTF-16",
            ),
            (wide("From a@b Mon Nov", u16::to_le_bytes), "text in UTF-16"),
        ] {
            let told = told(&start).unwrap_or_default();
            assert!(told.contains(part), "{told}");
        }
        for start in [
            "From: a@b\n",
            "From a@b\n",
            "MIAGCSqGSIb3DQEHA6CA",
            "",
            "no mail",
        ] {
            assert_eq!(told(start.as_bytes()), None);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(start in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = told(&start);
        }
    }
}
