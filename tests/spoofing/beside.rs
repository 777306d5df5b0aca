//! What a reader is shown beside the signed content: words, pictures, names, other files.

use super::*;

#[test]
fn what_is_shown_beside_the_signed_text_makes_it_a_part() {
    let text = sign(BOSS, "You are promoted.\n", "SIGNED MESSAGE");
    let (first, rest) = text.split_once('\n').unwrap();
    let head = format!("From: {BOSS}\nContent-Type: text/plain\n\n");
    assert_eq!(verify(&format!("{head}{text}")).scope, Scope::Whole);
    for spoof in [
        format!("{head}You are fired.\n\n{text}"),
        format!("{head}{text}\nYou are fired.\n"),
        format!("{head}{first} You are fired.\n{rest}"),
        format!("{head}{first}\nComment: You are fired.\n{rest}"),
        format!("{head}{first}\nHash: You are fired.\n{rest}"),
        format!("You are fired.\n\n{text}"),
        format!("{text}\nYou are fired.\n"),
    ] {
        let signature = verify(&spoof);
        assert_eq!(
            (signature.verdict, signature.scope),
            (Verdict::Valid, Scope::Part),
            "{spoof}"
        );
    }
}

/// Files signed beside themselves, as clients without PGP/MIME send them: each signature is over a part of the mail.
#[test]
fn signature_files_are_checked_over_the_files_beside_them() {
    use strongroom::mail::model::SignatureMath;
    let file = "The house, the key.\r\n";
    let signature = sign(BOSS, file, "SIGNATURE");
    let mail = |parts: &str| {
        format!(
            "From: {BOSS}\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n{parts}--b--\r\n"
        )
    };
    let attached = |name: &str, content: &str| {
        format!(
            "--b\r\nContent-Type: application/octet-stream; name=\"{name}\"\r\n\
             Content-Disposition: attachment; filename=\"{name}\"\r\n\r\n{content}\r\n"
        )
    };
    let text = attached("note.txt", "Hello,\r\n");
    for (what, parts, math, verdict) in [
        (
            "by its name",
            [
                &text,
                &attached("a.pdf.sig", &signature),
                &attached("a.pdf", file),
            ]
            .map(String::as_str)
            .concat(),
            SignatureMath::Good,
            Verdict::Valid,
        ),
        (
            "behind the file",
            [
                &text,
                &attached("a.pdf", file),
                &attached("signature.asc", &signature),
            ]
            .map(String::as_str)
            .concat(),
            SignatureMath::Good,
            Verdict::Valid,
        ),
        (
            "altered",
            [
                &attached("a.pdf", "The house."),
                &attached("A.PDF.asc", &signature),
            ]
            .map(String::as_str)
            .concat(),
            SignatureMath::Bad,
            Verdict::Invalid,
        ),
        (
            "over nothing that is here",
            [&text, &attached("signature.asc", &signature)]
                .map(String::as_str)
                .concat(),
            SignatureMath::Unchecked,
            Verdict::UnknownSigner,
        ),
    ] {
        let found = verify(&mail(&parts));
        assert_eq!(
            (found.math, found.verdict),
            (math, verdict),
            "{what}: {}",
            found.reason
        );
        assert_eq!(found.scope, Scope::Part, "{what}");
    }
}

#[test]
fn html_shows_more_than_the_text_that_is_signed_in_it() {
    for kind in ["SIGNED MESSAGE", "MESSAGE"] {
        let text = sign(BOSS, "You are promoted.", kind);
        for html in [
            format!("<img src=\"https://evil.example/fired.png\"><pre>{text}</pre>"),
            format!(
                "<style>body::before{{content:'You are fired.'}} pre{{display:none}}</style><pre>{text}</pre>"
            ),
        ] {
            let mail = format!("From: {BOSS}\nContent-Type: text/html\n\n{html}\n");
            let found = verify(&mail);
            assert_eq!(
                (found.verdict, found.scope),
                (Verdict::Valid, Scope::Part),
                "{mail}"
            );
        }
    }
}

#[test]
fn a_name_or_a_description_that_nobody_signed_makes_the_content_a_part() {
    let opaque = sign(BOSS, "You are promoted.\n", "MESSAGE");
    let clear = sign(BOSS, "You are promoted.\n", "SIGNED MESSAGE");
    let alone = |fields: &str, text: &str| {
        let part = format!("--b\nContent-Type: {fields}\n\n{text}\n--b--\n");
        let head = format!("From: {BOSS}\nContent-Type: multipart/mixed; boundary=b\n");
        verify(&format!("{head}\n{part}")).scope
    };
    let file = "application/octet-stream; name=";
    for (fields, text, scope) in [
        (format!("{file}encrypted.asc"), &opaque, Scope::Whole),
        (format!("{file}\"You are fired.pgp\""), &opaque, Scope::Part),
        (
            format!("{file}encrypted.asc\nContent-Description: You are fired"),
            &opaque,
            Scope::Part,
        ),
        ("text/plain; name=msg.txt".to_owned(), &clear, Scope::Whole),
        (
            "text/plain; name=\"You are fired.txt\"".to_owned(),
            &clear,
            Scope::Part,
        ),
        (
            "text/plain\nContent-Description: You are fired".to_owned(),
            &clear,
            Scope::Part,
        ),
        (
            format!("{file}\"You are fired.pgp\"\nContent-Disposition: inline; filename=msg.pgp"),
            &opaque,
            Scope::Part,
        ),
    ] {
        assert_eq!(alone(&fields, text), scope, "{fields}");
    }
    for names in [
        "filename=msg.txt\nContent-Disposition: inline; filename=\"You are fired.txt\"",
        "filename=\"You are fired.txt\"; filename*=utf-8''msg.txt",
    ] {
        let fields = format!("text/plain\nContent-Disposition: inline; {names}");
        assert_eq!(alone(&fields, &clear), Scope::Part, "{names}");
    }
}
