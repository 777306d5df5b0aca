//! Files that Outlook might have saved, and hostile ones.

use super::*;
use proptest::prelude::*;
use std::io::Write;

/// A file with these streams.
fn file(streams: &[(&str, &[u8])]) -> Vec<u8> {
    let mut file = CompoundFile::create(Cursor::new(Vec::new())).unwrap();
    for (path, content) in streams {
        let folder = Path::new(path).parent().unwrap();
        file.create_storage_all(folder).unwrap();
        let mut stream = file.create_stream(path).unwrap();
        stream.write_all(content).unwrap();
    }
    file.flush().unwrap();
    file.into_inner().into_inner()
}

fn wide(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn told(bytes: &[u8]) -> String {
    String::from_utf8(as_mail(bytes).expect("a message")).unwrap()
}

#[test]
fn fields_text_and_attachments_come_out() {
    let sent = [
        &[0; 32][..],
        &SENT.to_le_bytes(),
        &[6, 0, 0, 0],
        &116_444_736_000_000_000_u64.to_le_bytes(),
    ]
    .concat();
    let long = [7; 5000];
    let bytes = file(&[
        ("/__properties_version1.0", &sent),
        ("/__substg1.0_0037001F", &wide("Größe\nBcc: x@y")),
        ("/__substg1.0_0C1A001F", &wide("Alice \"A\" B")),
        ("/__substg1.0_5D01001F", &wide("alice@example.org")),
        ("/__substg1.0_1000001F", &wide("the words")),
        (
            "/__recip_version1.0_#00000000/__substg1.0_3001001F",
            &wide("Bob"),
        ),
        (
            "/__recip_version1.0_#00000000/__substg1.0_39FE001F",
            &wide("bob@example.org"),
        ),
        (
            "/__attach_version1.0_#00000000/__substg1.0_3707001F",
            &wide("smime.p7m"),
        ),
        ("/__attach_version1.0_#00000000/__substg1.0_37010102", &long),
        (
            "/__attach_version1.0_#00000002/__substg1.0_370E001E",
            b"multipart/signed",
        ),
        (
            "/__attach_version1.0_#00000002/__substg1.0_37010102",
            b"MIME-Version: 1.0\r\n",
        ),
        (
            "/__attach_version1.0_#00000001/__substg1.0_3001001F",
            &wide("inner"),
        ),
        (
            "/__attach_version1.0_#00000001/__substg1.0_3701000D/__properties_version1.0",
            b"",
        ),
        (
            "/__attach_version1.0_#00000001/__substg1.0_3701000D/__substg1.0_1000001E",
            b"inner words",
        ),
    ]);
    let mail = told(&bytes);
    let (header, body) = mail.split_once("\r\n\r\n").unwrap();
    let digits = transfer::to_base64("Größe\nBcc: x@y".as_bytes(), "");
    let expected = format!(
        "From: \"Alice \\\"A\\\" B\" <alice@example.org>\r\nTo: \"Bob\" <bob@example.org>\r\nSubject: =?utf-8?B?{digits}?=\r\nDate: Thu, 1 Jan 1970 00:00:00 +0000\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed"
    );
    assert!(header.starts_with(&expected), "{header}");
    assert!(body.contains("the words"));
    // That of the second is told by its type.
    assert_eq!(body.matches("filename=\"smime.p7m\"").count(), 2);
    assert!(body.contains(&transfer::to_base64(&long, "\r\n")));
    assert!(body.contains("filename=\"inner.eml\""), "{body}");
}

#[test]
fn the_header_of_its_way_is_taken_without_what_is_said_of_the_content() {
    let header =
        "Received: by x\r\nFrom: a@x\r\nContent-Type: application/pkcs7-mime\r\nSubject: s\r\n\r\n";
    let bytes = file(&[
        ("/__properties_version1.0", b""),
        ("/__substg1.0_007D001E", header.as_bytes()),
        ("/__substg1.0_0037001E", b"another"),
    ]);
    let mail = told(&bytes);
    let expected = "Received: by x\r\nFrom: a@x\r\nSubject: s\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed";
    assert!(mail.starts_with(expected), "{mail}");
}

#[test]
fn a_sender_that_outlook_shows_instead_of_the_one_in_the_header_is_told_too() {
    let mail = |name: &str, address: &str| {
        let header = b"From: \"A\" <A@x.example>\r\nSubject: s\r\n\r\n";
        let bytes = file(&[
            ("/__properties_version1.0", b""),
            ("/__substg1.0_007D001E", header),
            ("/__substg1.0_0042001F", &wide(name)),
            ("/__substg1.0_5D02001F", &wide(address)),
        ]);
        told(&bytes).matches("From: ").count()
    };
    assert_eq!(mail("A", "a@X.example"), 1);
    assert_eq!(mail("", ""), 1);
    assert_eq!(mail("A", "boss@big.example"), 2);
    assert_eq!(mail("boss@big.example", "a@x.example"), 2);
}

#[test]
fn one_allocation_table_under_many_numbers_is_not_read() {
    const LISTS: u32 = 20_000;
    let mut bytes = file(&[("/__properties_version1.0", b"")]);
    assert!(has_sane_tables(&bytes));
    let first = u32::try_from(bytes.len() / 512 - 1).unwrap();
    bytes[68..72].copy_from_slice(&first.to_le_bytes());
    for list in 1..=LISTS {
        let table = u32::from_le_bytes(bytes[76..80].try_into().unwrap());
        bytes.extend(table.to_le_bytes().repeat(127));
        let next = if list < LISTS {
            first + list
        } else {
            0xffff_fffe
        };
        bytes.extend(next.to_le_bytes());
    }
    let started = std::time::Instant::now();
    assert_eq!(as_mail(&bytes), None);
    let took = started.elapsed();
    assert!(took < std::time::Duration::from_secs(1), "{took:?}");
}

#[test]
fn what_is_no_message_is_none() {
    let document = file(&[("/WordDocument", b"words")]);
    assert!(may_be(&document));
    for bytes in [&document[..], &document[..600], b"", b"text"] {
        assert_eq!(as_mail(bytes), None);
    }
}

proptest! {
    #[test]
    fn never_panics(
        bytes in proptest::collection::vec(any::<u8>(), 0..20),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..20),
    ) {
        let mut message = file(&[
            ("/__properties_version1.0", b""),
            ("/__substg1.0_1000001F", &bytes),
            ("/__attach_version1.0_#00000000/__substg1.0_37010102", &[1; 5000]),
        ]);
        for (at, byte) in changes {
            let at = at.index(message.len());
            message[at] = byte;
        }
        let _ = as_mail(&message);
    }
}

#[test]
fn an_author_with_more_words_than_a_name_has_is_another() {
    let header = "From: Bob <bob@example.org>\r\nSubject: x\r\n\r\n";
    let with_author = |author: &str| {
        let bytes = file(&[
            ("/__properties_version1.0", &[0; 32]),
            ("/__substg1.0_007D001F", &wide(header)),
            ("/__substg1.0_0042001F", &wide("Eve")),
            ("/__substg1.0_0065001F", &wide(author)),
        ]);
        told(&bytes).matches("From:").count()
    };
    assert_eq!(with_author("bob@example.org"), 1);
    assert_eq!(with_author(&"bob@example.org ".repeat(1000)), 2);
}
