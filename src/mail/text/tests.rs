use super::*;

fn found(message: &str) -> SearchText {
    search_text(message.as_bytes(), &Bounds::default())
}

/// A mail with one file.
fn with_file(content_type: &str, name: &str, content: &[u8]) -> SearchText {
    let encoded = transfer::to_base64(content, "\r\n");
    found(&format!(
        "Subject: s\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nsee\r\n--b\r\nContent-Type: {content_type}\r\nContent-Disposition: attachment; filename=\"{name}\"\r\nContent-Transfer-Encoding: base64\r\n\r\n{encoded}\r\n--b--\r\n"
    ))
}

#[test]
fn only_protected_headers_take_the_place_of_the_outer_ones() {
    let wrapping = |parameter: &str| {
        found(&format!(
            "From: a@x.example\r\nSubject: Outer\r\nContent-Type: message/rfc822{parameter}\r\n\r\nFrom: b@x.example\r\nSubject: Inner\r\n\r\ntext\r\n"
        ))
    };
    let forwarded = wrapping("");
    assert_eq!(forwarded.subject, "Outer");
    assert_eq!(forwarded.from.len(), 1);
    assert!(forwarded.body.contains("Inner"));
    let wrapped = wrapping("; forwarded=no");
    assert_eq!(wrapped.subject, "Inner");
    assert_eq!(wrapped.from.len(), 2);
    let protected = "Subject: ...\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; protected-headers=v1\r\nSubject: Inner\r\n\r\ntext\r\n--b--\r\n";
    assert_eq!(found(protected).subject, "Inner");
}

#[test]
fn attachments_are_what_a_reader_sees_as_such() {
    let of = |kind: &str, parts: &[&str]| {
        let mut mail = format!("Content-Type: multipart/{kind}; boundary=b\r\n\r\n");
        for part in parts {
            mail.push_str(&format!("--b\r\n{part}\r\n\r\nx\r\n"));
        }
        found(&(mail + "--b--\r\n")).is_with_attachment()
    };
    let text = "Content-Type: text/plain";
    assert!(!of("mixed", &[text, text]));
    for attached in [
        "Content-Type: image/png; name=a.png",
        "Content-Type: image/png\r\nContent-Disposition: Attachment",
        "Content-Type: message/rfc822\r\n\r\nSubject: forwarded",
        "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\nU3ViamVjdDogeAo=",
        "Content-Type: application/pgp-keys; name=key.asc",
    ] {
        assert!(of("mixed", &[text, attached]), "{attached}");
    }
    for signature in [
        "Content-Type: application/pkcs7-signature; name=smime.p7s\r\nContent-Disposition: attachment; filename=smime.p7s",
        "Content-Type: application/octet-stream; name=smime.p7s",
        "Content-Type: application/pgp-signature; name=OpenPGP_signature",
        "Content-Type: application/octet-stream; name=signature.asc",
    ] {
        assert!(!of("signed", &[text, signature]), "{signature}");
    }
    let encrypted = [
        "Content-Type: application/pgp-encrypted; name=version",
        "Content-Type: application/octet-stream; name=encrypted.asc",
    ];
    assert!(!of("encrypted", &encrypted));
    let sealed = "Content-Type: application/pkcs7-mime; name=smime.p7m\r\n\r\nx";
    assert!(!found(sealed).is_with_attachment());
    let wrapped = "Content-Type: message/rfc822; forwarded=no\r\n\r\nSubject: x\r\n\r\nx";
    assert!(!found(wrapped).is_with_attachment());
    // As older manifests have it.
    let named = SearchText {
        attachments: vec!["x".to_owned()],
        ..SearchText::default()
    };
    assert!(named.is_with_attachment() && !SearchText::default().is_with_attachment());
}

#[test]
fn what_outlook_wraps_is_searched() {
    let attribute = |id: u32, data: &[u8]| {
        let length = u32::try_from(data.len()).unwrap();
        [
            &[2][..],
            &id.to_le_bytes(),
            &length.to_le_bytes(),
            data,
            &[0, 0],
        ]
        .concat()
    };
    let body = attribute(0x0002_800c, b"tnefbody\0");
    let file = [
        attribute(0x0006_9002, &[0; 14]),
        attribute(0x0001_8010, b"note.txt\0"),
        attribute(0x0006_800f, b"tnefattached"),
    ];
    let head = [0x78, 0x9f, 0x3e, 0x22, 1, 0];
    let whole = [&head[..], &body, &file.concat()].concat();
    let result = with_file("application/ms-tnef", "winmail.dat", &whole);
    assert!(result.body.contains("tnefbody") && result.body.contains("tnefattached"));
    assert_eq!(result.attachments, ["winmail.dat", "note.txt"]);
    assert!(result.is_with_attachment());
    let bodied = [&head[..], &body].concat();
    let result = with_file("application/octet-stream", "winmail.dat", &bodied);
    assert!(result.body.contains("tnefbody") && !result.is_with_attachment());
}

#[test]
fn files_are_read_by_name_content_and_their_own_charset() {
    let octets = "application/octet-stream";
    let cyrillic = b"<html><head><meta charset=\"windows-1251\"></head>\xf1\xeb\xee\xe2\xee";
    for (content_type, name, content, word) in [
        (octets, "readme.md", &b"markdownword"[..], "markdownword"),
        (octets, "noname", b"octetword", "octetword"),
        ("application/json", "x", b"{\"a\":\"jsonword\"}", "jsonword"),
        (octets, "r.html", cyrillic, "слово"),
        (octets, "u.html", b"\xff\xfe<\0p\0>\0w\0i\0d\0e\0", "wide"),
        (
            octets,
            "x.fodt",
            b"<?xml version=\"1.0\"?><office:document><text:p>spl<text:span>it</text:span></text:p></office:document>",
            "split",
        ),
        (
            "application/xml",
            "x.xml",
            b"<?xml version=\"1.0\" encoding=\"ISO-8859-2\"?><a>\xbelu\xbb</a>",
            "žluť",
        ),
    ] {
        let result = with_file(content_type, name, content);
        assert!(result.body.contains(word), "{name}: {:?}", result.body);
    }
}

#[test]
fn rich_text_calendars_and_reports_are_read() {
    for (content_type, name, content, words) in [
        (
            "application/rtf",
            "x.rtf",
            &b"{\\rtf1\\ansi rich {\\b wo}rd\\par}"[..],
            "rich word",
        ),
        (
            "text/calendar",
            "x.ics",
            b"BEGIN:VCALENDAR\r\nSUMMARY:quarterly rev\r\n iew\r\n",
            "quarterly review",
        ),
        (
            "message/delivery-status",
            "",
            b"Reporting-MTA: dns; mx.x.example\n\nDiagnostic-Code: smtp; 550 nosuchuser\n",
            "550 nosuchuser",
        ),
        (
            "message/disposition-notification",
            "",
            b"Original-Message-ID: <original@x.example>\n",
            "original@x.example",
        ),
    ] {
        let result = with_file(content_type, name, content);
        assert!(result.body.contains(words), "{name}: {:?}", result.body);
    }
    let flowed = "Content-Type: text/plain; format=Flowed; delsp=yes\r\n\r\na long wo \r\nrd\r\n";
    assert_eq!(found(flowed).body, "a long word");
}

#[test]
fn header_fields_in_eight_bits_are_in_the_charset_of_the_text() {
    for (label, word) in [
        ("gb2312", "邮件"),
        ("windows-1251", "Привет"),
        ("utf-8", "Müll"),
    ] {
        let encoding = encoding_rs::Encoding::for_label(label.as_bytes()).unwrap();
        let mail = format!(
            "From: {word} <a@x.example>\nSubject: {word}\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain; charset={label}\n\n{word}\n--b--\n"
        );
        let result = search_text(&encoding.encode(&mail).0, &Bounds::default());
        assert_eq!(
            (result.subject.as_str(), result.from[0].name.as_str()),
            (word, word)
        );
        assert_eq!(result.from[0].address, "a@x.example");
    }
    let escaped = found("Subject: \x1b$B$\"\x1b(B\n\nx");
    assert_eq!(escaped.subject, "あ");
}

#[test]
fn uuencoded_files_in_plain_text_are_attachments() {
    let text = "see\r\nbegin 644 notes.txt\r\n%:&5L;&\\\r\n`\r\nend\r\nbye\r\n";
    let result = found(&format!("Subject: s\r\n\r\n{text}"));
    assert_eq!(result.body, "see\nhello\nbye");
    assert_eq!(result.attachments, ["notes.txt"]);
    assert!(result.is_with_attachment());
}

#[test]
fn invoices_and_failures_are_noted() {
    let invoice = "<?xml version=\"1.0\" encoding=\"UTF-16\"?><ubl:Invoice xmlns:ubl=\"urn:oasis:names:specification:ubl:schema:xsd:Invoice-2\"><cbc:ID>NUMBER77</cbc:ID></ubl:Invoice>";
    let wide: Vec<u8> = invoice.encode_utf16().flat_map(u16::to_be_bytes).collect();
    for content in [invoice.as_bytes(), &wide] {
        let result = with_file("application/xml", "u.xml", content);
        assert_eq!(result.notes, ["e-invoice EN 16931 (UBL): u.xml"]);
        assert!(result.body.contains("NUMBER77"));
    }
    let broken = with_file("application/pdf", "x.pdf", b"%PDF-1.4 broken");
    assert!(broken.notes[0].starts_with("no text taken from \"x.pdf\": "));
}

#[test]
fn line_ends_between_texts_are_within_the_bound_too() {
    let part = "--b\r\n\r\nab\r\n".repeat(50);
    let mail = format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{part}--b--\r\n");
    for text_bytes in 0..30 {
        let bounds = Bounds {
            text_bytes,
            ..Bounds::default()
        };
        let body = search_text(mail.as_bytes(), &bounds).body;
        assert!(
            body.len() as u64 <= text_bytes && !body.ends_with('\n'),
            "{body:?}"
        );
    }
}
