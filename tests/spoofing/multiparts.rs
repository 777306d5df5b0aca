//! Multiparts around and beside what is signed, and parts that clients may show in more than one way.

use super::*;

const SIGNATURE_TYPE: &str = "Content-Type: application/pgp-signature\r\n\r\n";

/// A multipart/signed by `signers` over the part, with all parts that are not the first one as `rest` makes them of the
/// armored signatures.
fn signed_with(signers: [&str; 2], rest: impl Fn(String, String) -> String) -> String {
    let [first, second] = signers.map(|signer| sign(signer, PART, "SIGNATURE"));
    let rest = rest(first, second);
    format!(
        "From: {BOSS}\r\nContent-Type: multipart/signed; boundary=s; protocol=\"application/pgp-signature\"\r\n\r\n--s\r\n{PART}\r\n--s\r\n{rest}\r\n--s--\r\n"
    )
}

#[test]
fn each_of_several_signatures_is_judged() {
    let forms: [&dyn Fn(String, String) -> String; 3] = [
        &|first, second| format!("{SIGNATURE_TYPE}{first}{second}"),
        &|first, second| format!("{SIGNATURE_TYPE}{first}\r\n--s\r\n{SIGNATURE_TYPE}{second}"),
        &|first, second| {
            let inner =
                format!("--i\r\n{SIGNATURE_TYPE}{first}\r\n--i\r\n{SIGNATURE_TYPE}{second}");
            format!("Content-Type: multipart/mixed; boundary=i\r\n\r\n{inner}\r\n--i--\r\n")
        },
    ];
    for form in forms {
        for signers in [[BOSS, EVE], [EVE, BOSS]] {
            let message = signed_with(signers, form);
            let signatures = open(&message).signatures;
            let of = |signer: &str| {
                let mut all = signatures.iter();
                all.find(|one| one.signer == signer).map(|one| one.verdict)
            };
            assert_eq!(
                (signatures.len(), of(BOSS), of(EVE)),
                (2, Some(Verdict::Valid), Some(Verdict::UnknownSigner)),
                "{message}"
            );
        }
    }
}

#[test]
fn text_in_the_place_of_the_signature_makes_the_signed_text_a_part() {
    let one = |rest: &dyn Fn(&str) -> String| {
        verify(&signed_with([BOSS, BOSS], |signature, _| rest(&signature)))
    };
    let honest = one(&|signature| format!("{SIGNATURE_TYPE}{signature}"));
    assert_eq!(
        (honest.verdict, honest.scope),
        (Verdict::Valid, Scope::Whole)
    );
    let spoofs: [&dyn Fn(&str) -> String; 3] = [
        &|signature| {
            format!("Content-Type: text/html\r\n\r\n<p>Pay Eve.</p>\r\n<pre>\r\n{signature}</pre>")
        },
        &|signature| {
            let inner = format!("--i\r\n\r\nPay Eve.\r\n--i\r\n{SIGNATURE_TYPE}{signature}");
            format!("Content-Type: multipart/mixed; boundary=i\r\n\r\n{inner}\r\n--i--\r\n")
        },
        &|signature| {
            format!(
                "Content-Type: text/plain\r\n\r\nPay Eve.\r\n--s\r\n{SIGNATURE_TYPE}{signature}"
            )
        },
    ];
    for spoof in spoofs {
        let signature = one(spoof);
        assert_eq!(
            (signature.verdict, signature.scope),
            (Verdict::Valid, Scope::Part)
        );
    }
}

#[test]
fn a_mail_of_two_types_is_not_signed_as_a_whole() {
    let entity = signed(BOSS, PART).replacen(
        "\r\n\r\n",
        "\r\nContent-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\n\r\nYou are promoted.\r\n--m--\r\n",
        1,
    );
    let signature = verify(&format!("From: {BOSS}\r\n{entity}"));
    assert_eq!(
        (signature.verdict, signature.scope),
        (Verdict::Valid, Scope::Part)
    );
}

#[test]
fn a_mail_of_two_boundaries_is_not_signed_as_a_whole() {
    for second in ["boundary=m", "boundary*=''s", "boundary*0=\"s\""] {
        let entity = signed(BOSS, PART).replacen("boundary=s", &format!("boundary=s; {second}"), 1);
        let signature = verify(&format!("From: {BOSS}\r\n{entity}"));
        assert_eq!(
            (signature.verdict, signature.scope),
            (Verdict::Valid, Scope::Part),
            "{second}"
        );
    }
}

#[test]
fn a_mail_whose_boundary_is_not_declared_is_not_signed_as_a_whole() {
    for declared in ["", "; boundary=another"] {
        let entity = signed(BOSS, PART);
        let signature = verify(&format!(
            "From: {BOSS}\r\nContent-Type: multipart/mixed{declared}\r\n\r\nYou are promoted.\r\n--m\r\n{entity}\r\n--m--\r\n"
        ));
        assert_eq!(
            (signature.verdict, signature.scope),
            (Verdict::Valid, Scope::Part),
            "{declared}"
        );
    }
}

/// Who sends it again chooses the boundaries around it, and so where a reader of the rendition would see its end.
#[test]
fn what_is_signed_is_not_cut_off_at_a_boundary_around_it() {
    const LINE: &str = "-----Original Message-----";
    let text = format!("Content-Type: text/plain\r\n\r\nYou are fired.\r\n{LINE}\r\nNot you.\r\n");
    let message = sign(BOSS, &text, "MESSAGE");
    let (boundary, _) = LINE[2..].rsplit_once("--").unwrap();
    let inner = format!(
        "Content-Type: multipart/mixed; boundary=i\r\n\r\n--i\r\nContent-Type: text/plain\r\n\r\n{message}\r\n--i--\r\n"
    );
    let forwarded = format!(
        "Content-Type: message/rfc822\r\n\r\nFrom: {BOSS}\r\nContent-Type: text/plain\r\n\r\n{message}"
    );
    for (part, scope) in [(inner, Scope::Whole), (forwarded, Scope::Part)] {
        let opened = open(&format!(
            "From: {BOSS}\r\nContent-Type: multipart/mixed; boundary=\"{boundary}\"\r\n\r\n--{boundary}\r\n{part}\r\n--{boundary}--\r\n"
        ));
        let body = &opened.text.body;
        assert!(
            body.contains("fired") && body.contains("Not you."),
            "{body}"
        );
        let [signature] = opened.signatures.try_into().unwrap();
        assert_eq!(
            (signature.verdict, signature.scope),
            (Verdict::Valid, scope)
        );
    }
}

#[test]
fn a_signed_multipart_that_became_mixed_is_verified() {
    let entity = signed(BOSS, PART).replacen("multipart/signed", "multipart/mixed", 1);
    let head = format!("From: {BOSS}\r\n");
    assert_eq!(verify(&format!("{head}{entity}")).verdict, Verdict::Valid);
    // Over another content it may be the signature of a file that is not here.
    let other = verify(&format!("{head}{}", entity.replacen("fired", "hired", 1)));
    assert_eq!(other.verdict, Verdict::UnknownSigner, "{}", other.reason);
    assert!(other.reason.starts_with("detached: "), "{}", other.reason);
}

#[test]
fn a_part_that_clients_may_show_in_two_ways_is_not_signed_as_a_whole() {
    let clear = sign(BOSS, "You are promoted.\n", "SIGNED MESSAGE");
    let digits = data_encoding::BASE64.encode(clear.as_bytes());
    let mixed = "Content-Type: multipart/mixed; boundary=b\n\n--b\n";
    let two_types = format!("Content-Type: text/plain\nContent-Type: text/html\n\n{clear}\n");
    let encoding = "Content-Transfer-Encoding:";
    let two_encodings =
        format!("{encoding} base64\n{encoding} 7bit\n\n*** You are fired! ***\n\n{digits}\n");
    let slid = format!("\nContent-Type: text/plain; x=y\nX-Note: You are fired\n\n{clear}");
    for mail in [
        format!("{mixed}{two_types}--b--\n"),
        format!("{mixed}{two_encodings}--b--\n"),
        two_encodings,
        slid,
    ] {
        let signature = verify(&format!("From: {BOSS}\n{mail}"));
        assert_eq!(
            (signature.verdict, signature.scope),
            (Verdict::Valid, Scope::Part),
            "{mail}"
        );
    }
}
