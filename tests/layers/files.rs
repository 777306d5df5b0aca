//! Text files with objects in them: what was opened is put in its place, and all the rest stays, the file's name too.

use super::{INNER, armored, encrypted, open, packets, pgp_mime};
use crate::signed_text::clear_signed;
use strongroom::mail::mime::{Part, parse};
use strongroom::mail::model::{Opened, Outcome, Scope};
use strongroom::mail::{bounds::Bounds, context::Budget, transfer};

/// A mail with this file beside its text.
fn with_file(content_type: &str, name: &str, file: &[u8]) -> Vec<u8> {
    let body = data_encoding::BASE64_MIME.encode(file);
    let mail = format!(
        "From: a@x\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nhello\r\n--b\r\nContent-Type: {content_type}; name=\"{name}\"\r\nContent-Disposition: attachment; filename=\"{name}\"\r\nContent-Transfer-Encoding: base64\r\n\r\n{body}\r\n--b--\r\n"
    );
    mail.into_bytes()
}

/// Name, type and content of each leaf of the rendition.
fn leaves(opened: &Opened) -> Vec<(String, String, String)> {
    fn collect(bytes: &[u8], part: &Part, out: &mut Vec<(String, String, String)>) {
        if part.children.is_empty() {
            let content = transfer::decode(&bytes[part.body.clone()], &part.encoding);
            let content = String::from_utf8_lossy(&content).into_owned();
            let essence = part.content_type.essence();
            out.push((part.file_name().to_owned(), essence, content));
        }
        for child in &part.children {
            collect(bytes, child, out);
        }
    }
    let bytes = opened.rendition.as_deref().expect("a rendition");
    let (root, _) = parse(bytes, 0, &Bounds::default(), &Budget::default());
    let mut out = Vec::new();
    collect(bytes, &root, &mut out);
    out
}

const KINDS: [(&str, &str); 7] = [
    ("text/plain", "a.asc"),
    ("text/plain", "a.txt"),
    ("application/octet-stream", "a.asc"),
    ("application/octet-stream", "a.pgp"),
    ("application/octet-stream", "a.dat"),
    ("application/x-unknown-content-type", "a"),
    ("application/pgp-encrypted", "a.asc"),
];

#[test]
fn what_stands_around_a_block_in_a_file_stays() {
    let (one, two) = (armored("the first\n"), armored("the second\n"));
    for (text, expected) in [
        (
            format!("before\n{one}after\n"),
            "before\nthe first\nafter\n",
        ),
        (
            format!("{one}between\n{two}"),
            "the first\nbetween\nthe second\n",
        ),
        (format!("{one}{two}"), "the first\nthe second\n"),
    ] {
        for (kind, name) in KINDS {
            let opened = open(&with_file(kind, name, text.as_bytes()));
            assert_eq!(opened.outcome, Outcome::Opened, "{kind} {name}");
            let found = leaves(&opened);
            let file = (name.to_owned(), kind.to_owned(), expected.to_owned());
            assert_eq!(found[1], file);
            assert_eq!(found[0].2, "hello");
            let is_searched = kind != "application/pgp-encrypted" && !kind.contains("unknown");
            assert_eq!(opened.text.body.contains("the first"), is_searched);
        }
    }
}

#[test]
fn a_text_file_in_another_charset_keeps_its_name() {
    let file = format!("before\n{}", armored("größe\n"));
    let part = "text/plain; charset=us-ascii";
    let found = leaves(&open(&with_file(part, "a.asc", file.as_bytes())));
    assert_eq!(found[1].0, "a.asc");
    assert!(found[1].2.contains("größe"), "{found:?}");
}

#[test]
fn what_was_opened_in_a_text_is_in_the_charset_of_the_text() {
    let named = armored("\u{1b}$BF|K\\\u{1b}(B\n").replacen('\n', "\nCharset: ISO-2022-JP\n", 1);
    for (label, around, armor, expected) in [
        (
            "iso-8859-1",
            &b"gr\xfc\xdfe"[..],
            armored("größe\n"),
            "größe",
        ),
        ("iso-8859-2", b"\xb1", armored("łódź\n"), "łódź"),
        ("iso-8859-1", b"gr\xfc\xdfe", armored("łódź\n"), "łódź"),
        ("utf-8", "grüße".as_bytes(), named, "日本"),
    ] {
        let text = [around, b"\n", armor.as_bytes(), b"bye\n"].concat();
        let head =
            format!("Content-Type: text/plain; charset={label}\nContent-Transfer-Encoding: 8bit\n");
        let mail = [b"From: a@x\n", head.as_bytes(), b"\n", &text].concat();
        let file = with_file(&format!("text/plain; charset={label}"), "a.txt", &text);
        let letters = strongroom::mail::charset::decode(around, Some(label));
        for message in [mail, file] {
            let opened = open(&message);
            for words in [&letters, expected, "bye"] {
                assert!(
                    opened.text.body.contains(words),
                    "{label}: {}",
                    opened.text.body
                );
            }
        }
    }
}

#[test]
fn a_signature_in_a_file_is_over_a_part() {
    let signed = clear_signed("the signed words\n");
    let both = format!("{signed}{}", armored(&signed));
    for (kind, name) in KINDS {
        for (file, count) in [
            (format!("{signed}pay somebody else\n"), 1),
            (both.clone(), 2),
        ] {
            let opened = open(&with_file(kind, name, file.as_bytes()));
            let scopes: Vec<Scope> = opened.signatures.iter().map(|found| found.scope).collect();
            assert_eq!(scopes, [Scope::Part].repeat(count), "{kind} {name}");
        }
    }
}

#[test]
fn what_no_text_can_hold_becomes_a_part_beside_it() {
    let picture = strongroom::mail::openpgp::armor::armored("MESSAGE", &{
        let cert = &super::OURS.cert;
        encrypted(cert, "\u{0}\u{1}\u{2}\u{0}\u{0}binary")
    });
    for (inner, kind) in [
        (armored(INNER), "text/plain"),
        (picture, "application/octet-stream"),
    ] {
        let text = format!("before\n{inner}after\n");
        let file = open(&with_file("text/plain", "a.asc", text.as_bytes()));
        let found = leaves(&file);
        let names: Vec<&str> = found.iter().map(|(name, ..)| name.as_str()).collect();
        assert_eq!(names, ["", "a.asc", "", "a.asc"]);
        assert_eq!((&*found[1].1, &*found[3].1), ("text/plain", "text/plain"));
        assert_eq!(found[2].1, kind);
        let body = open(format!("From: a@x\n\n{text}").as_bytes());
        let found = leaves(&body);
        let kinds: Vec<&str> = found.iter().map(|(_, kind, _)| kind.as_str()).collect();
        assert_eq!(kinds, ["text/plain", kind, "text/plain"]);
        assert_eq!(found[0].2.trim_end(), "before");
    }
}

#[test]
fn a_footer_that_a_gateway_put_into_pgp_mime_stays() {
    let mail = pgp_mime(INNER).replacen("\n--e--", "\nThis mail was scanned.\n--e--", 1);
    for mail in [
        mail.clone(),
        mail.replacen("multipart/encrypted", "multipart/mixed", 1),
    ] {
        let opened = open(format!("From: a@x\n{mail}").as_bytes());
        assert_eq!(opened.outcome, Outcome::Opened);
        for word in ["the secret word", "This mail was scanned."] {
            assert!(opened.text.body.contains(word), "{:?}", opened.text);
        }
        let all = leaves(&opened);
        assert!(
            all.iter().any(|(.., text)| text.contains("was scanned")),
            "{all:?}"
        );
    }
}

#[test]
fn text_beside_a_control_part_that_holds_the_message_stays() {
    let file = armored(INNER);
    let opened = open(&with_file(
        "application/pgp-encrypted",
        "a.asc",
        file.as_bytes(),
    ));
    assert_eq!(opened.outcome, Outcome::Opened);
    assert_eq!(leaves(&opened)[0].2, "hello");
}

#[test]
fn a_uuencoded_message_in_a_text_is_opened() {
    let file = packets("the secret word\n");
    let lines = file.chunks(45).map(|line| {
        let digit = |value: u8| char::from(if value == 0 { b'`' } else { value + 32 });
        let groups = line.chunks(3).flat_map(|group| {
            let at = |index: usize| group.get(index).copied().unwrap_or(0);
            [
                at(0) >> 2,
                (at(0) & 3) << 4 | at(1) >> 4,
                (at(1) & 15) << 2 | at(2) >> 6,
                at(2) & 63,
            ]
        });
        let length = u8::try_from(line.len()).unwrap();
        let text: String = std::iter::once(length).chain(groups).map(digit).collect();
        text + "\n"
    });
    let block = format!(
        "begin 644 notes.txt.pgp\n{}`\nend\n",
        lines.collect::<String>()
    );
    for text in [block.clone(), format!("begin with this:\n\n{block}bye\n")] {
        let opened = open(format!("From: a@x\n\n{text}").as_bytes());
        assert_eq!(opened.outcome, Outcome::Opened, "{text}");
        let found = leaves(&opened);
        let names: Vec<&str> = found.iter().map(|(name, ..)| name.as_str()).collect();
        let is_all = text == block;
        let expected: &[&str] = if is_all {
            &["notes.txt"]
        } else {
            &["", "notes.txt", ""]
        };
        assert_eq!(names, expected);
        assert_eq!(found[usize::from(!is_all)].2, "the secret word\n");
    }
    let talk = "From: a@x\n\nlet us\nbegin 100 percent of it\nend\n";
    assert_eq!(open(talk.as_bytes()).outcome, Outcome::NotEncrypted);
}

#[test]
fn armor_in_utf_16_or_with_no_break_spaces_opens_wherever_it_lies() {
    let armor = armored("the secret word\n");
    let spaced = armor.replace("BEGIN PGP MESSAGE", "BEGIN\u{a0}PGP\u{a0}MESSAGE");
    let wide =
        |unit: fn(u16) -> [u8; 2]| -> Vec<u8> { armor.encode_utf16().flat_map(unit).collect() };
    let latin: Vec<u8> = spaced.chars().map(|c| c as u8).collect();
    for bytes in [
        wide(u16::to_le_bytes),
        wide(u16::to_be_bytes),
        spaced.clone().into_bytes(),
        latin,
    ] {
        let body = data_encoding::BASE64_MIME.encode(&bytes);
        let text = format!(
            "From: a@x\nContent-Type: text/plain\nContent-Transfer-Encoding: base64\n\n{body}"
        );
        let mut messages = vec![bytes.clone(), text.into_bytes()];
        messages.extend(KINDS.map(|(kind, name)| with_file(kind, name, &bytes)));
        for message in messages {
            let opened = open(&message);
            assert_eq!(
                opened.outcome,
                Outcome::Opened,
                "{}",
                String::from_utf8_lossy(&message)
            );
        }
    }
    let page = spaced.replace('\u{a0}', "&nbsp;").replace('\n', "<br>\n");
    let opened = open(format!("From: a@x\nContent-Type: text/html\n\n<p>{page}</p>").as_bytes());
    assert_eq!(opened.outcome, Outcome::Opened);
}

/// A message as Outlook saves it, with these streams.
fn saved_by_outlook(streams: &[(&str, &[u8])]) -> Vec<u8> {
    use std::io::Write;
    let mut file = cfb::CompoundFile::create(std::io::Cursor::new(Vec::new())).unwrap();
    for (path, content) in streams {
        let folder = std::path::Path::new(path).parent().unwrap();
        file.create_storage_all(folder).unwrap();
        let mut stream = file.create_stream(path).unwrap();
        stream.write_all(content).unwrap();
    }
    file.flush().unwrap();
    file.into_inner().into_inner()
}

#[test]
fn what_is_encrypted_in_a_message_that_outlook_saved_is_opened() {
    let message = |file: &[u8]| {
        saved_by_outlook(&[
            ("/__properties_version1.0", b""),
            ("/__substg1.0_0037001E", b"the subject"),
            ("/__substg1.0_1000001E", b"see the file"),
            (
                "/__attach_version1.0_#00000000/__substg1.0_3707001E",
                b"mail.txt.pgp",
            ),
            ("/__attach_version1.0_#00000000/__substg1.0_37010102", file),
        ])
    };
    let closed = message(&packets("the secret word\n"));
    let attached = with_file("application/vnd.ms-outlook", "mail.msg", &closed);
    for mail in [&closed, &attached] {
        let opened = open(mail);
        assert_eq!(opened.outcome, Outcome::Opened, "{:?}", opened.reason);
        for words in ["the subject", "see the file", "the secret word"] {
            let found = [&opened.text.subject, &opened.text.body];
            assert!(found.iter().any(|text| text.contains(words)), "{found:?}");
        }
    }
    let kinds: Vec<String> = leaves(&open(&attached))
        .into_iter()
        .map(|leaf| leaf.1)
        .collect();
    assert_eq!(kinds, ["text/plain"; 3]);
    let plain = with_file(
        "application/octet-stream",
        "mail.msg",
        &message(b"a file\n"),
    );
    let opened = open(&plain);
    assert_eq!(
        (opened.outcome, opened.rendition),
        (Outcome::NotEncrypted, None)
    );
    assert!(
        opened.text.body.contains("see the file"),
        "{:?}",
        opened.text
    );
}

#[test]
fn a_binary_message_or_armor_without_its_first_line_is_opened_where_text_is_due() {
    let binary = data_encoding::BASE64_MIME.encode(&packets("the secret word\n"));
    let armor = armored("the secret word\n");
    let (_, headless) = armor.split_once('\n').unwrap();
    for (head, body) in [
        (
            "Content-Type: text/plain\nContent-Transfer-Encoding: base64\n",
            binary.as_str(),
        ),
        ("Content-Type: text/plain\n", binary.as_str()),
        ("", headless),
    ] {
        let opened = open(format!("From: a@x\n{head}\n{body}\n").as_bytes());
        assert_eq!(opened.outcome, Outcome::Opened, "{head}{body}");
        assert!(opened.text.body.contains("the secret word"));
    }
    let around = format!("From: a@x\n\n{binary}\nbye bye, says Bob\n");
    assert_eq!(
        open(around.as_bytes()).rendition,
        None,
        "what stands around it is not lost"
    );
}
