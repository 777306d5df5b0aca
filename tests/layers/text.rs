//! Objects that lie in a text, with something to read around them.

use super::{INNER, THEIRS, armored, encrypted, open, packets, pgp_mime, rendition};
use strongroom::mail::model::{Format, Outcome};
use strongroom::mail::openpgp::armor;
use strongroom::mail::openpgp::packets::{framed, packets as split, tag};

#[test]
fn text_around_a_block_stays_wherever_it_was_found() {
    let text = format!("before\n\n{}\nafter\n", armored("the secret word\n"));
    let wide: Vec<u8> = "\u{feff}"
        .encode_utf16()
        .chain(text.encode_utf16())
        .flat_map(u16::to_le_bytes)
        .collect();
    let mail = format!("From: a@x\n{}", pgp_mime(&text));
    let inner = armored(&text);
    for (what, message) in [
        ("a file", text.as_bytes()),
        ("a file in UTF-16", &wide),
        ("inside a message", mail.as_bytes()),
        ("inside a bare message", inner.as_bytes()),
    ] {
        let opened = open(message);
        assert_eq!(opened.outcome, Outcome::Opened, "{what}");
        let text = rendition(&opened);
        for word in ["before", "the secret word", "after"] {
            assert!(text.contains(word), "{what}: {text}");
            assert!(opened.text.body.contains(word), "{what}");
        }
    }
    let two = armored("the first\n") + &armored("the second\n");
    for message in [two.clone(), pgp_mime(&two)] {
        let text = rendition(&open(message.as_bytes()));
        assert!(
            text.contains("the first") && text.contains("the second"),
            "{text}"
        );
    }
}

#[test]
fn a_long_list_of_other_recipients_costs_nothing() {
    let first = |message: &[u8]| {
        let packet = split(message).next().unwrap().unwrap();
        framed(packet.tag, &packet.body())
    };
    let others = first(&encrypted(&THEIRS.cert, INNER)).repeat(200);
    let opened = open(&[others, packets(INNER)].concat());
    assert_eq!(opened.outcome, Outcome::Opened, "{:?}", opened.reason);
}

#[test]
fn an_object_inside_that_does_not_open_is_told_once() {
    let closed = armored_for_them();
    let opened = open(pgp_mime(&closed).as_bytes());
    let outcomes: Vec<Outcome> = opened.layers.iter().map(|layer| layer.outcome).collect();
    assert_eq!(outcomes, [Outcome::Opened, Outcome::NoKey]);
}

fn armored_for_them() -> String {
    strongroom::mail::openpgp::armor::armored("MESSAGE", &encrypted(&THEIRS.cert, INNER))
}

const STUB: &[u8] = b"\x30\x80\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03\xa0\x80";

#[test]
fn smime_in_pem_is_found_in_text() {
    let base64 = data_encoding::BASE64.encode(STUB);
    for label in ["PKCS7", "CMS", "PKCS #7 SIGNED DATA"] {
        let pem = format!("-----BEGIN {label}-----\n{base64}\n-----END {label}-----\n");
        for text in [pem.clone(), format!("see:\n{pem}bye\n")] {
            let opened = open(format!("Content-Type: text/plain\n\n{text}").as_bytes());
            let formats: Vec<_> = opened.layers.iter().map(|layer| layer.format).collect();
            assert_eq!(formats, [Format::Smime], "{text}");
        }
    }
}

#[test]
fn fields_that_slid_into_the_body_are_read() {
    let message = format!("From: a@x\nSubject: s\n\n{}", pgp_mime(INNER));
    let opened = open(message.as_bytes());
    assert_eq!(
        rendition(&opened),
        "From: a@x\nSubject: s\nMIME-Version: 1.0\nContent-Type: text/plain\n\nthe secret word\n"
    );
}

#[test]
fn a_mail_saved_as_utf_16_is_opened() {
    let message = format!("\u{feff}From: a@x\nSubject: s\n{}", pgp_mime(INNER));
    for to_bytes in [u16::to_le_bytes, u16::to_be_bytes] {
        for message in [&message, message.trim_start_matches('\u{feff}')] {
            let wide: Vec<u8> = message.encode_utf16().flat_map(to_bytes).collect();
            let opened = open(&wide);
            assert_eq!(opened.outcome, Outcome::Opened);
            assert_eq!(opened.text.subject, "s");
            let body = data_encoding::BASE64_MIME.encode(&wide);
            let file = format!(
                "Content-Type: application/octet-stream; name=a.eml\nContent-Transfer-Encoding: base64\n\n{body}"
            );
            assert_eq!(open(file.as_bytes()).outcome, Outcome::Opened);
        }
    }
}

#[test]
fn a_part_that_is_smime_by_its_name_only() {
    let part = |body: &str| {
        format!(
            "From: a@x\nContent-Type: multipart/mixed; boundary=m\n\n--m\n\nhi\n--m\nContent-Type: application/pkcs7-mime; name=smime.p7m\n\n{body}\n--m--\n"
        )
    };
    // As Outlook keeps a clear-signed mail in TNEF: the whole entity.
    let opened = open(part(&pgp_mime(INNER)).as_bytes());
    assert_eq!(opened.outcome, Outcome::Opened, "{:?}", opened.reason);
    let opened = open(part("The attachment was removed.").as_bytes());
    assert_eq!(opened.outcome, Outcome::NotEncrypted, "{:?}", opened.reason);
    let opened = open(b"From: a@x\nContent-Type: application/pkcs7-mime\n\nnothing\n");
    assert_eq!(opened.outcome, Outcome::Damaged);
}

#[test]
fn html_that_was_encrypted_in_html_stays_html() {
    let mail = |plaintext: &str| {
        let armor = armored(plaintext);
        let html = format!("Content-Type: text/html; charset=iso-8859-1\n\n<pre>{armor}</pre>\n");
        rendition(&open(format!("From: a@x\n{html}").as_bytes()))
    };
    let html = mail("<p>the <b>secret</b> word</p>\n");
    assert!(html.contains("text/html; charset=iso-8859-1\n"), "{html}");
    assert!(
        html.ends_with("\n\n<p>the <b>secret</b> word</p>\n"),
        "{html}"
    );
    let utf8 = mail("<p>größe</p>\n");
    assert!(utf8.contains("text/html; charset=utf-8\n"), "{utf8}");
    let entity = mail(INNER);
    assert!(
        entity.ends_with("Content-Type: text/plain\n\nthe secret word\n"),
        "{entity}"
    );
    for plain in ["<a@example.org>\n", "the <b>secret</b> word\n"] {
        assert!(mail(plain).contains("Content-Type: text/plain"), "{plain}");
    }
}

#[test]
fn a_byte_order_mark_before_an_encrypted_entity_hides_nothing() {
    let inner = "\u{feff}Content-Type: text/html; charset=utf-8\n\n<b>gr\u{f6}\u{df}e</b>\n";
    for message in [pgp_mime(inner), armored(inner)] {
        let opened = open(message.as_bytes());
        assert!(!rendition(&opened).contains('\u{feff}'), "{message}");
        assert_eq!(opened.text.body, "größe", "{message}");
    }
}

#[test]
fn html_still_finds_a_picture_that_was_encrypted() {
    let picture = data_encoding::BASE64_MIME.encode(&packets("\u{1}picture"));
    let head =
        "Content-Type: application/octet-stream; name=p.png.pgp\nContent-Transfer-Encoding: base64";
    let mail = format!(
        "From: a@x\nContent-Type: multipart/related; boundary=r\n\n--r\nContent-Type: text/html\n\n<img src=\"cid:p@x\">\n--r\n{head}\nContent-ID: <p@x>\nContent-Description: a\n picture\nContent-Disposition: inline; filename=p.png.pgp\n\n{picture}\n--r--\n"
    );
    let text = rendition(&open(mail.as_bytes()));
    let kept = "Content-ID: <p@x>\nContent-Description: a\n picture\nContent-Type: image/png\nContent-Transfer-Encoding: base64\nContent-Disposition: inline; filename=\"p.png\"\n\n";
    assert!(text.contains(kept), "{text}");
}

#[test]
fn packets_of_later_versions_are_passed_over() {
    let later = framed(tag::PKESK, &[23; 40]);
    let private = framed(60, b"private");
    for before in [&later, &private, &[&later[..], &private].concat()] {
        let message = [&before[..], &packets(INNER)].concat();
        let armor = armor::armored("MESSAGE", &message);
        let opened = open(format!("From: a@x\r\n\r\n{armor}").as_bytes());
        assert_eq!(opened.outcome, Outcome::Opened, "{:?}", opened.reason);
    }
}

#[test]
fn text_around_a_block_keeps_its_charset_and_so_does_the_block() {
    let block = armored("größe\n");
    for (charset, before) in [
        ("iso-8859-1", &b"f\xfcr"[..]),
        ("utf-8", "für".as_bytes()),
        ("iso-8859-2", b"f\xfcr"),
    ] {
        let head = format!("From: a@x\nContent-Type: text/plain; charset={charset}\n\n");
        let mail = [head.as_bytes(), before, b"\n", block.as_bytes()].concat();
        let opened = open(&mail);
        assert_eq!(opened.text.body, "für\ngröße", "{charset}");
    }
    let japanese = armored("\x1b$BF|K\\\x1b(B\n");
    let mail = format!("From: a@x\nContent-Type: text/plain; charset=utf-8\n\nfür\n{japanese}");
    assert_eq!(open(mail.as_bytes()).text.body, "für\n日本");
}

#[test]
fn of_an_entity_in_a_text_the_text_is_shown() {
    let entity = "Content-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\n\ngr=F6=DFe\n";
    let mail = format!("From: a@x\n\nhello\n{}\nlist footer\n", armored(entity));
    assert_eq!(open(mail.as_bytes()).text.body, "hello\ngröße\nlist footer");
    // A forwarded mail's header is there to be read.
    let forwarded = "From: b@y\nSubject: s\n\nhello\n";
    let text = rendition(&open(
        format!("From: a@x\n\nsee\n{}", armored(forwarded)).as_bytes(),
    ));
    assert!(text.contains(forwarded), "{text}");
}

#[test]
fn a_quoted_mail_is_text_and_not_the_mail() {
    let quoted = "From: b@y\nSubject: quoted\n\nhello\n";
    let opened = open(format!("From: a@x\nSubject: s\n\n{}", armored(quoted)).as_bytes());
    let text = rendition(&opened);
    assert!(
        text.starts_with("From: a@x\nSubject: s\n") && text.ends_with(quoted),
        "{text}"
    );
    assert_eq!(opened.text.subject, "s");
    let file = |name: &str, content: &str| {
        let armor = armored(content);
        let head = "From: a@x\nContent-Type: multipart/mixed; boundary=m\n\n--m\n\nsee\n--m\n";
        let part = format!("Content-Type: application/octet-stream; name={name}\n\n{armor}");
        rendition(&open(format!("{head}{part}\n--m--\n").as_bytes()))
    };
    let saved = quoted.replace("\n\n", "\nContent-Type: text/plain\n\n");
    for text in [file("m.txt.pgp", quoted), file("m.txt.pgp", &saved)] {
        assert!(text.contains("filename=\"m.txt\""), "{text}");
    }
    assert!(file("encrypted.asc", quoted).contains("filename=\"encrypted\""));
    assert!(file("encrypted.asc", INNER).contains("\nContent-Type: text/plain\n\nthe secret word"));
}

#[test]
fn encrypted_text_without_a_header_is_named_by_what_it_is() {
    let invoice = "<?xml version=\"1.0\"?>\n<ubl:Invoice xmlns:ubl=\"urn:oasis:names:specification:ubl:schema:xsd:Invoice-2\"><cbc:ID>NUMBER77</cbc:ID></ubl:Invoice>\n";
    let opened = open(pgp_mime(invoice).as_bytes());
    assert!(rendition(&opened).contains("Content-Type: application/xml\n"));
    assert!(opened.text.notes[0].starts_with("e-invoice EN 16931 (UBL)"));
    let wide: Vec<u8> = "\u{feff}wide words\r\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let entity = strongroom::mail::rendition::as_entity(wide);
    assert!(entity.starts_with(b"Content-Type: text/plain; charset=utf-16\r\n"));
}

#[test]
fn a_file_of_apple_mail_is_the_message_in_it() {
    let mail = format!("From: a@x.example\nSubject: s\n{}", pgp_mime(INNER));
    let list = "<?xml version=\"1.0\"?>\n<plist><dict/></plist>\n";
    let opened = open(format!("{:<10}\n{mail}{list}", mail.len()).as_bytes());
    assert_eq!(opened.outcome, Outcome::Opened);
    assert_eq!(opened.text.subject, "s");
    assert!(!rendition(&opened).contains("plist"));
    // Nothing that only begins with a number.
    for text in [
        format!("{}\n{mail}", mail.len()),
        format!("9999\n{mail}{list}"),
    ] {
        assert_ne!(open(text.as_bytes()).text.subject, "s", "{text}");
    }
}

#[test]
fn what_is_opened_does_not_end_the_part_that_it_is_put_into() {
    let nested =
        "Content-Type: multipart/mixed; boundary=m\n\n--m\n\nfirst\n--m\n\nsecond\n--m--\n";
    let quoted = "Content-Type: text/plain\n\nfirst\n--m\nsecond\n";
    let text = "first\n--m--\nsecond\n";
    for part in [
        pgp_mime(nested),
        pgp_mime(quoted),
        format!("\n{}", armored(text)),
    ] {
        let mail = format!(
            "Content-Type: multipart/mixed; boundary=m\n\n--m\n\nhead\n--m\n{part}\n--m\n\nfooter\n--m--\n"
        );
        let opened = open(mail.as_bytes());
        let text = rendition(&opened);
        let inside = text.matches("\n--m-").count() >= 4 && text.contains("boundary=m-");
        assert!(inside || !text.contains("\n--m\nsecond"), "{text}");
        for word in ["head", "first", "second", "footer"] {
            assert!(opened.text.body.contains(word), "{text}");
        }
    }
}

#[test]
fn a_charset_brings_no_fields_into_the_rendition() {
    let armor = armored("Content-Type: text/plain\n\nthe secret word\n");
    let charset = "us-ascii''x%0D%0ASubject:%20pay%20at%20once%0D%0AX:%20";
    let head = format!(
        "From: a@x\nContent-Type: text/plain; charset*={charset}\nContent-Transfer-Encoding: 8bit\n\n"
    );
    let mail = [head.as_bytes(), b"gr\xf6\xdfe\n", armor.as_bytes()].concat();
    let text = rendition(&open(&mail));
    assert!(text.contains("the secret word"), "{text}");
    assert!(!text.contains("pay at once"), "{text}");
}

#[test]
fn words_behind_the_last_line_of_an_object_stay() {
    let armor = armored("the secret word\n");
    let behind = format!("{} pay at once\n", armor.trim_end());
    let opened = open(format!("Content-Type: text/plain\n\n{behind}").as_bytes());
    assert_eq!(opened.outcome, Outcome::Opened);
    for words in ["the secret word", "pay at once"] {
        assert!(opened.text.body.contains(words), "{:?}", opened.text);
    }
}

/// Each line begins an object that lasts to the end of the text.
#[test]
fn beginnings_of_objects_cost_no_more_than_the_text_is_long() {
    let ber = [
        &[
            0x30, 0x80, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 3,
        ][..],
        &[7; 17],
    ]
    .concat();
    let digits = data_encoding::BASE64.encode(&ber[..18]);
    let line: String = std::iter::once(b' ' + 30)
        .chain(ber.chunks(3).flat_map(|group| {
            let joined = u32::from_be_bytes([0, group[0], group[1], group[2]]);
            [18, 12, 6, 0].map(|shift| b' ' + u8::try_from(joined >> shift & 63).unwrap())
        }))
        .map(char::from)
        .collect();
    let begun = format!("begin 644 x.p7m\n{line}\n").repeat(200);
    let first = format!("{digits}\nA\n").repeat(20);
    for (beginning, rest, end) in [
        (&begun, format!("{line}\n"), ""),
        (&begun, format!("{line}\n"), "end\n"),
        (&begun, "endx\n".to_owned(), ""),
        (&first, "\n".to_owned(), ""),
        (&first, format!("{}\n", "A".repeat(76)), ""),
    ] {
        let text = format!("{beginning}{}{end}", rest.repeat(1_000_000 / rest.len()));
        let started = std::time::Instant::now();
        let _ = open(format!("From: a@x\n\n{text}").as_bytes());
        let took = started.elapsed();
        assert!(took < std::time::Duration::from_secs(2), "{took:?}");
    }
}

#[test]
fn armor_in_strings_of_json_and_in_calendar_entries_is_opened() {
    let armor = armored("the secret word").replace("\r\n", "\n");
    let escaped = armor.replace('\n', "\\n");
    let entry = format!("DESCRIPTION:see {escaped} there");
    let lines: Vec<&str> = (0..entry.len().div_ceil(70))
        .map(|line| &entry[line * 70..entry.len().min(line * 70 + 70)])
        .collect();
    let calendar = format!(
        "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nSUMMARY:words\r\n{}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n",
        lines.join("\r\n ")
    );
    let json = format!("{{\"words\": 1, \"text\": \"{escaped}\"}}\n");
    for (essence, body) in [
        ("text/calendar", &calendar),
        ("application/json", &json),
        ("text/plain", &json),
        ("text/plain", &json.replace("\\n", "\\\\r\\\\n")),
    ] {
        let opened = open(format!("From: a@x\nContent-Type: {essence}\n\n{body}").as_bytes());
        assert_eq!(opened.outcome, Outcome::Opened, "{essence}");
        let rendition = rendition(&opened);
        assert!(rendition.contains("the secret word"), "{rendition}");
        assert!(rendition.contains("words"), "{rendition}");
        assert!(!rendition.contains("BEGIN PGP"), "{rendition}");
    }
}

#[test]
fn armor_in_rich_text_is_opened() {
    let armor = armored("the secret word").replace("\r\n", "\n");
    let rich = |end: &str, hyphen: &str| {
        let lines = armor.replace('-', hyphen).replace('\n', end);
        format!("{{\\rtf1\\ansi{{\\fonttbl{{\\f0 Arial;}}}}\\f0 before\\par\n{lines}after\\par\n}}")
    };
    for essence in [
        "text/rtf",
        "application/rtf",
        "application/octet-stream; name=a.rtf",
    ] {
        for file in [
            rich("\\par\n", "-"),
            rich("\\line ", "-"),
            rich("\\par\r\n", "\\_"),
        ] {
            let opened = open(format!("From: a@x\nContent-Type: {essence}\n\n{file}").as_bytes());
            assert_eq!(opened.outcome, Outcome::Opened, "{essence}: {file}");
            let rendition = rendition(&opened);
            for words in ["before", "the secret word", "after"] {
                assert!(rendition.contains(words), "{essence}: {rendition}");
            }
        }
    }
}
